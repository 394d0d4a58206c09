#!/usr/bin/env bash
# load-image.sh ARCHIVE [NODE...]: imports an oci-archive into the containerd of every node (or of those named).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$here/nodes.sh"
[ $# -ge 1 ] || fail 'usage: load-image.sh ARCHIVE [NODE...]'
need_root
archive=$(realpath -e "$1") || fail "there is no $1; build it with $here/image.sh"
shift
[ -e "$state/.holdfast-cluster" ] || fail "no cluster is up (looked in $state); start one with $here/up.sh"
for node in "${@:-${nodes[@]}}"; do
  is_node "$node" || fail "'$node' is not a node; there are ${nodes[*]}"
  alive "containerd-$node" || fail "$node is off; bring it back with $here/node.sh join $node"
  node_load "$node" "$archive" | sed "s/^/$node: /"
done
