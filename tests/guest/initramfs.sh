#!/bin/busybox sh
# The guest's first program: finds the host's root and goes on there. Only busybox exists here.
b=/bin/busybox
die() { echo "lab-guest: $1"; $b poweroff -f; }

$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
# In the order of their dependencies.
for module in $($b cat /modules/order); do
    $b insmod "/modules/$module" || die "cannot load $module"
done
if $b grep -qw lab.probe /proc/cmdline; then
    echo lab-probe-passed
    $b poweroff -f
fi

# msize: the fewer round trips, the faster a page fault of a program.
options=trans=virtio,version=9p2000.L,msize=512000
# The host's files don't change below a running guest, so the kernel may keep what it has read.
$b mount -t 9p -o "$options,cache=loose,ro" root /host || die "cannot mount the host's root"
$b mount -t tmpfs -o size=80% upper /upper
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work root /root ||
    die "cannot mount the overlay"
$b mount -t tmpfs run /root/run
$b mkdir -p /root/run/lab/share
# Here both sides write, so nothing may be kept.
$b mount -t 9p -o "$options,cache=none" share /root/run/lab/share || die "cannot mount the share"
$b umount /sys
$b umount /dev
$b umount /proc
exec $b switch_root /root /bin/sh /run/lab/share/init.sh
