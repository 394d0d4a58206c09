#!/usr/bin/env bash
# enter.sh NODE COMMAND...: runs the command on a node: in its network and mount namespace.
# Not with `ip netns exec`, which mounts another /sys over the cgroups that kubelet needs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
node=${1-}
is_node "$node" && [ $# -ge 2 ] || fail "usage: enter.sh NODE COMMAND..., where NODE is one of ${nodes[*]}"
need_root
alive "machine-$node" || fail "$node is not up"
shift
exec nsenter --net="/run/netns/$(node_namespace "$node")" --mount="/proc/$(cat "$run/machine-$node.pid")/ns/mnt" --wd=/ "$@"
