#!/bin/sh
# Process 1 of a node of the lab's cluster, on the host's files below a writable overlay. containerd, runc and the CNI
# plugins are the host's; kubelet and kube-proxy come from the lab's multi-call binary. boot.env comes from the host.
[ $$ = 1 ] || { echo "this is for a guest of the lab only" >&2; exit 1; }
export PATH=/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
share=/run/lab/share

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
mkdir -p /dev/pts /dev/shm /dev/mqueue /run/lock
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t cgroup2 cgroup /sys/fs/cgroup
echo 4 > /proc/sys/kernel/printk

# NODE ADDRESS GATEWAY POD_CIDR KUBE CREDENTIALS IMAGES LAB_MODULES
. $share/boot.env
ln -s $share/bin /run/lab/bin
say() { echo "$*" > $share/stage.new && mv $share/stage.new $share/stage; }

# Read ahead: starting 150 MB over 9p costs the kubelet 8 s, from memory 1.5 s.
cat "$KUBE/kubelet" > /dev/null &

# overlayfs cannot lie on overlayfs, and 9p keeps no device nodes: what containers live in is memory.
for folder in containerd kubelet cni lvs-operator; do
  mkdir -p /var/lib/$folder
  mount -t tmpfs -o mode=755 $folder /var/lib/$folder
done
mount --make-rshared /
mkdir -p /lib/modules
mount --bind "$LAB_MODULES" /lib/modules

hostname "$NODE"
printf '127.0.0.1 localhost\n%s %s\n' "$ADDRESS" "$NODE" > /etc/hosts
rm -f /etc/resolv.conf && echo "nameserver $GATEWAY" > /etc/resolv.conf
echo "${NODE}lab00000000000000000000000000000" | tr -c '0-9a-f\n' 0 | cut -c1-32 > /etc/machine-id
ip link set lo up
ip link set eth0 up
ip address add "$ADDRESS/24" dev eth0
ip route add default via "$GATEWAY"
modprobe -a br_netfilter nf_conntrack
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1

# It takes commands from the host, and ends when the host wants it off or is gone.
(lab guest-agent; sync; echo o > /proc/sysrq-trigger) &

say "starting containerd"
mkdir -p /etc/cni/net.d /etc/containerd
cat > /etc/cni/net.d/10-lab.conflist <<END
{"cniVersion": "1.0.0", "name": "lab", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
cat > /etc/containerd/config.toml <<END
version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:lab"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
END
containerd --log-level info > $share/containerd.log 2>&1 &
until ctr version > /dev/null 2>&1; do sleep 0.3; done
(
  code=0
  for image in "$IMAGES"/*.tar; do
    ctr --namespace k8s.io images import "$image" || code=$?
  done > $share/images.log 2>&1
  echo $code > $share/images.done && mv $share/images.done $share/images.code
) &

say "starting the kubelet"
cat > /run/kubelet.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $CREDENTIALS/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $CREDENTIALS/$NODE.crt
tlsPrivateKeyFile: $CREDENTIALS/$NODE.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
failSwapOn: false
makeIPTablesUtilChains: false
enforceNodeAllocatable: []
evictionHard: {memory.available: 50Mi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 5s
END
"$KUBE/kubelet" --config=/run/kubelet.yaml --kubeconfig="$CREDENTIALS/$NODE.kubeconfig" --hostname-override="$NODE" \
  --node-ip="$ADDRESS" > $share/kubelet.log 2>&1 &
kubelet=$!
"$KUBE/kube-proxy" --kubeconfig="$CREDENTIALS/kube-proxy.kubeconfig" --hostname-override="$NODE" \
  --cluster-cidr=10.244.0.0/16 --proxy-mode=iptables --conntrack-max-per-core=0 > $share/kube-proxy.log 2>&1 &
say "the kubelet runs"
wait $kubelet
code=$?
# Still there to be asked why.
say "the kubelet ended with exit code $code"
echo $code > $share/kubelet.code
wait
