#!/bin/sh
# Process 1 of the guest, on the host's files below a writable overlay. boot.env comes from the host.
[ $$ = 1 ] || { echo "this is for a guest of the lab only" >&2; exit 1; }
export PATH=/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=dumb

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /run/lock /run/netns
# Warnings of the kernel go to the console file, which is kept when something fails.
echo 4 > /proc/sys/kernel/printk
ulimit -n 65536
hostname lab

. /run/lab/share/boot.env
# With the modules of the kernel that runs, it loads ip_vs and schedulers by itself.
mkdir -p /lib/modules
mount --bind "$LAB_MODULES" /lib/modules
ln -s /run/lab/share/bin /run/lab/bin

# The management network: Directors join this bridge and reach the host's loopback at 10.0.2.2, as QEMU's user
# network gives it. There is no default route, so nothing beyond the host's loopback is reachable.
ip link set lo up
ip link add management type bridge forward_delay 0 mcast_snooping 0
ip link set eth0 master management
ip link set eth0 up
ip link set management up
ip address add 10.0.2.15/24 dev management

cd /root
lab guest-agent || echo "lab-guest: the agent failed"
sync
/bin/busybox poweroff -f
