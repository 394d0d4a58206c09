#!/usr/bin/env bash
# node.sh: what happens to nodes.
#   node.sh list          every node: its address, whether it is connected, what of it runs
#   node.sh cut NODE      off the network, for good: its pods run on and reach nobody
#   node.sh kill NODE     as when its plug is pulled: off the network, then kubelet, containerd and all containers are gone at once
#   node.sh join NODE     back: connected again after cut, started again after kill
#   node.sh exec NODE COMMAND...   runs the command in the node's network and mount namespace
#   node.sh pid POD CONTAINER [NAMESPACE]   the pid, as this machine counts, of the container's first process: to kill or stop it
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$here/nodes.sh"
usage() { sed -n '2,/^set/{/^# /s/^# //p}' "$0" >&2; exit 2; }
need_root

verb=${1-} node=${2-}
[ -e "$state/.holdfast-cluster" ] || fail "no cluster is up (looked in $state); start one with $here/up.sh"
case $verb in
  list) ;;
  pid) [ $# -ge 3 ] || usage ;;
  cut | kill | join | exec) is_node "$node" || fail "'$node' is not a node; there are ${nodes[*]}" ;;
  *) usage ;;
esac

case $verb in
  list)
    for node in "${nodes[@]}"; do
      if node_is_cut "$node"; then network=cut; else network=connected; fi
      parts=
      for part in containerd kubelet kube-proxy policies; do
        if alive "$part-$node"; then parts+="$part "; else parts+="$part:DEAD "; fi
      done
      printf '%-6s %-11s %-9s %s\n' "$node" "$(node_address "$node")" "$network" "$parts"
    done ;;
  pid)
    pod=$(kubectl -n "${4:-default}" get pod "$2" -o json) || exit 1
    node=$(jq -r .spec.nodeName <<< "$pod")
    id=$(jq -r --arg container "$3" '.status | (.containerStatuses + .initContainerStatuses)[]? | select(.name == $container and .state.running) | .containerID | ltrimstr("containerd://")' <<< "$pod")
    [ -n "$id" ] || fail "container $3 of pod $2 is not running"
    ctr -a "$(node_folder "$node")/containerd.sock" -n k8s.io tasks ls | awk -v id="$id" '$1 == id {print $2; found = 1} END {exit !found}' || fail "container $3 of pod $2 has no process on $node" ;;
  exec) shift 2; exec "$here/enter.sh" "$node" "$@" ;;
  cut) one_at_a_time; ip link set "$(node_link "$node")" down; say "$node is cut off the network." ;;
  kill) one_at_a_time; node_power_off "$node" || fail "$node does not go off"; say "$node is off." ;;
  join)
    one_at_a_time
    began=$(now)
    node_start "$node"
    node_join "$node"
    node_await "$node" "$began"
    say "$node is back." ;;
esac
