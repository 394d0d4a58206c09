#!/usr/bin/env bash
# leftovers.sh: lists what of a cluster is on this machine; silent, with status 0, when there is nothing. It knows its own by their
# names: what other container engines, or another Kubernetes, have here is nobody's leftover.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
namespaces=("$client_namespace")
links=("$bridge" hfvclient)
for node in "${nodes[@]}"; do namespaces+=("$(node_namespace "$node")"); links+=("$(node_link "$node")"); done
found=$(
  cgroup_processes "$cgroup" | while read -r pid; do echo "process $pid: $(tr '\0' ' ' < "/proc/$pid/cmdline" | cut -c1-100)"; done
  # Looked for once more by what they are called, so that one that left its cgroup is found too.
  pgrep -a -f "^[^ ]*($bin/|$state/)" | sed 's/^/process /'
  pgrep -a -f "containerd-shim.* -address $state/" | sed 's/^/process /'
  awk -v state="$state" '$2 == state || index($2, state "/") == 1 {print "mount " $2}' /proc/mounts
  for hierarchy in $(cgroup_hierarchies); do [ ! -d "$hierarchy/$cgroup" ] || echo "cgroup $hierarchy/$cgroup"; done
  for namespace in "${namespaces[@]}"; do [ ! -e "/run/netns/$namespace" ] || echo "namespace $namespace"; done
  for link in "${links[@]}"; do ! ip link show "$link" >/dev/null 2>&1 || echo "link $link"; done
  ip route | grep -E " dev $bridge( |\$)| via $client_address( |\$)" | sed 's/^/route /'
  # What leads to Services (the API server is one of each cluster) and to ports of pods belongs into the nodes' own namespaces.
  { nft list ruleset 2>/dev/null; iptables-save 2>/dev/null; } | grep -F -e "$host_address:6443" -e holdfast-test | sed 's/^[[:space:]]*/rule /'
  grep -rls holdfast-test /var/lib/cni | sed 's/^/file /'
  # One that was there before, and empty, was somebody else's: a mount point, say.
  [ ! -d "$state" ] || [ -z "$(ls -A "$state")" ] || echo "folder $state"
  [ ! -e "$active" ] || echo "file $active"
)
[ -z "$found" ] || { printf '%s\n' "$found"; exit 1; }
