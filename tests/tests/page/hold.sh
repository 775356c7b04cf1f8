# Opens connections to the VIP and keeps each one busy with a request that never ends, until it is killed.
trap '' PIPE
for number in $(seq "$1"); do
  exec {connection}<> /dev/tcp/172.16.21.10/80
  connections+=("$connection")
  printf 'GET / HTTP/1.1\r\n' >&"$connection"
done
touch "$2"
while sleep 3; do
  for connection in "${connections[@]}"; do printf 'X: y\r\n' >&"$connection"; done
done
