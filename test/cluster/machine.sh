#!/usr/bin/env bash
# machine.sh SHARED SHARED-ON-NODE READY-FILE HOLDER: runs in a node's new mount namespace; furnishes it and holds it open.
# Everything that programs put at fixed places (/run, /var/log, /var/lib/cni) is the node's own, and gone when it is.
set -euo pipefail
shared=$1 shared_on_node=$2 ready=$3 holder=$4
exec 3< "$shared" # before a mount can hide it
mount --make-rshared /
for own in /var/log /var/lib/cni /run; do mount -t tmpfs -o mode=755 tmpfs "$own"; done
mkdir -p /run/netns /run/lock /run/containerd "$shared_on_node"
mount --bind /proc/self/fd/3 "$shared_on_node"
exec 3<&-
touch "$ready"
exec "$holder"
