# The tutorial's network, with two real servers more, a second port on the first two, and the agent.
set -e
lab guest-topology

# As rs1 and rs2 are: silent in ARP before they hold the VIP.
for number in 3 4; do
  name=rs$number
  ip netns add $name
  ip netns exec $name sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
  ip -n switch link add $name type veth peer name eth0 netns $name
  ip -n switch link set $name master lan up
  ip -n $name link set lo up
  ip -n $name link set eth0 up
  ip -n $name address add 192.168.40.1$((number + 1))/24 dev eth0
  ip -n $name address add 172.16.21.10/32 dev lo
  ip -n $name route add default via 192.168.40.254
done

serve() {
  ip netns exec $1 setsid lab guest-web $1 --port $2 > /dev/null 2>&1 < /dev/null &
  echo $! > /run/$1-$2.pid
}
serve rs3 80
serve rs4 80
serve rs1 8080
serve rs2 8080

ip netns exec director setsid lvs-controller run --node-name d1 --manifests /etc/lvs-operator \
  --http "$PAGE" > /run/lab/share/agent.log 2>&1 < /dev/null &
echo $! > /run/agent.pid
