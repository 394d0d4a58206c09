#!/usr/bin/env bash
# leftovers.sh: lists what of a cluster is on this machine; silent, with status 0, when there is nothing.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
found=$(
  cgroup_processes "$cgroup" | while read -r pid; do echo "process $pid: $(tr '\0' ' ' < "/proc/$pid/cmdline" | cut -c1-100)"; done
  # Looked for once more by what they are called, so that one that left its cgroup is found too.
  pgrep -a -f "^[^ ]*($bin/|$state/)" | sed 's/^/process /'
  pgrep -a -f "containerd-shim.* -address $state/" | sed 's/^/process /'
  awk -v state="$state" 'index($2, state) == 1 || $2 ~ /^\/run\/netns\/(hf-|cni-)/ {print "mount " $2}' /proc/mounts
  for hierarchy in $(cgroup_hierarchies); do [ ! -d "$hierarchy/$cgroup" ] || echo "cgroup $hierarchy/$cgroup"; done
  ls -d /run/netns/hf-* 2>/dev/null | sed 's/^/namespace /'
  ip -o link | awk -F': ' '$2 ~ /^(hfbr|hfv|cni0)/ {print "link " $2}'
  ip route | grep -E '^10\.(77|96|244)\.' | sed 's/^/route /'
  { nft list ruleset 2>/dev/null; iptables-save 2>/dev/null; } | grep -iE 'kube|cni|holdfast' | sed 's/^/rule /'
  [ ! -e "$state" ] || echo "folder $state"
  [ ! -e "$active" ] || echo "file $active"
  [ ! -d /var/lib/cni ] || echo 'folder /var/lib/cni'
)
[ -z "$found" ] || { printf '%s\n' "$found"; exit 1; }
