# Sourced by the scripts of this folder: names, addresses and small functions that they share.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)

cache=${HOLDFAST_CACHE:-${HOME:-/root}/.cache/holdfast}/cluster
# Where the cluster that is up keeps its state; without one, where the next will.
active=/run/holdfast-cluster.state
state=${HOLDFAST_CLUSTER_DIR:-$(cat "$active" 2>/dev/null || echo /var/lib/holdfast-cluster)}
run=$state/run
pki=$state/pki
bin=$state/bin

bridge=hfbr0
host_address=10.77.0.1
client_namespace=hf-client
client_address=10.77.0.2
nodes=(node1 node2 node3)
pod_network=10.244.0.0/16
service_network=10.96.0.0/16
# What the nodes call the folder that they share; $state/shared on this machine.
shared_on_nodes=/run/holdfast/shared
# The name of the cluster's cgroup in every hierarchy. Every process of the cluster is in it, so nothing can be missed.
cgroup=holdfast-cluster

say() { printf '%s\n' "$*"; }
complain() { printf '%s\n' "$*" >&2; }
fail() { complain "$(basename "$0"): $*"; exit 1; }
# need_go WHAT: puts a Go into PATH that is new enough for WHAT: the machine's, or where there is none, one that is fetched and kept.
need_go() {
  local kept=$cache/go-$go_version
  PATH=$PATH:/usr/local/go/bin
  is_new_enough "$(command -v go)" && return
  [ -x "$kept/bin/go" ] || { complain "$1 needs Go 1.24 or newer, which is not here"; fetch_go "$kept"; }
  PATH=$kept/bin:$PATH
}
go_version=1.26.8
is_new_enough() {
  local found
  [ -n "$1" ] && found=$(GOTOOLCHAIN=local "$1" env GOVERSION) || return 1
  case ${found#go} in 1.[0-9] | 1.[0-9].* | 1.1[0-9]* | 1.2[0-3] | 1.2[0-3][.r]*) return 1 ;; esac
}
# fetch_go FOLDER: Go's own distribution as a module: Debian's Go is too old to compile Kubernetes, but checks its sum and unpacks it.
fetch_go() {
  local into=$1 fetched unpacked module
  "$here/install-packages.sh" go >&2
  mkdir -p "$(dirname "$into")"
  fetched=$(mktemp -d "$into.XXXXXX")
  module=golang.org/toolchain@v0.0.1-go$go_version.linux-$(/usr/lib/go/bin/go env GOARCH)
  complain "fetching Go $go_version (70 MB), kept in $into"
  if ! GOFLAGS=-modcacherw GOMODCACHE=$fetched /usr/lib/go/bin/go mod download "$module" >&2; then
    rm -rf "$fetched"
    fail "Go $go_version could not be fetched. Install Go 1.24 or newer from https://go.dev/dl (unpack to /usr/local/go)"
  fi
  unpacked=$fetched/$module
  # What a newer Go does when it unpacks this module: modules hold no executable files, and no go.mod but their own.
  chmod +x "$unpacked"/bin/* "$unpacked"/pkg/tool/*/*
  find "$unpacked" -name _go.mod -execdir mv _go.mod go.mod \;
  mv -T "$unpacked" "$into" 2>/dev/null || [ -x "$into/bin/go" ] # another build may have been quicker
  rm -rf "$fetched"
}
need_root() { [ "$(id -u)" = 0 ] || fail "this needs root (namespaces, mounts, cgroups): run it with sudo"; }

node_number() { printf '%s' "${1#node}"; }
node_address() { printf '10.77.0.1%s' "$(node_number "$1")"; }
node_pods() { printf '10.244.%s.0/24' "$(node_number "$1")"; }
node_namespace() { printf 'hf-%s' "$1"; }
node_link() { printf 'hfv%s' "$(node_number "$1")"; } # the host's end of the node's cable
node_folder() { printf '%s/nodes/%s' "$state" "$1"; }
is_node() { local node; for node in "${nodes[@]}"; do [ "$node" = "${1-}" ] && return 0; done; return 1; }

# wait_until SECONDS COMMAND...: tries the command until it succeeds; fails when the time is over.
wait_until() {
  local deadline=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# write FILE: its standard input, unless the file holds just that already: kube-proxy ends when its file is touched.
write() { cat > "$1.new"; if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi; }

# one_at_a_time: up, down and repairs exclude one another. The lock is descriptor 9; `start` closes it.
one_at_a_time() {
  exec 9>/run/holdfast-cluster.lock
  flock --nonblock 9 && return
  say 'waiting for another up.sh, down.sh or node.sh to finish'
  flock --timeout 600 9 || fail 'another up.sh, down.sh or node.sh has been running for 10 minutes'
}

# --- cgroups: version 1 with one hierarchy a controller, version 2, or both

# cgroup_hierarchies: the mount point of every hierarchy.
cgroup_hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/mounts | sort -u; }

# cgroup_tracking: the hierarchy that processes are started in; the unified one where there is one, since it can kill a
# whole cgroup at once.
cgroup_tracking() {
  local unified
  unified=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
  printf '%s' "${unified:-$(awk '$3 == "cgroup" && $4 ~ /pids/ {print $2; exit}' /proc/mounts)}"
}

# cgroup_create PATH: makes it in every hierarchy, so that kubelets can put their pods below.
cgroup_create() {
  local hierarchy path part
  for hierarchy in $(cgroup_hierarchies); do
    path=$hierarchy
    for part in ${1//\// }; do
      # Only where version 2 is all there is: beside version 1 the unified hierarchy is for finding processes alone.
      if [ "$hierarchy" = /sys/fs/cgroup ] && [ -f "$path/cgroup.controllers" ]; then
        local controller
        for controller in $(cat "$path/cgroup.controllers"); do { echo "+$controller" > "$path/cgroup.subtree_control"; } 2>/dev/null || true; done
      fi
      path=$path/$part
      [ -d "$path" ] || mkdir "$path"
      # A new cpuset of version 1 is empty, and an empty one takes no process.
      if [ -f "$path/cpuset.cpus" ] && [ -f "$path/cpuset.mems" ] && [ ! -f "$path/cgroup.controllers" ]; then
        cat "$path/../cpuset.cpus" > "$path/cpuset.cpus"
        cat "$path/../cpuset.mems" > "$path/cpuset.mems"
      fi
    done
  done
}

# cgroup_processes PATH: the pids in it and below, in any hierarchy.
cgroup_processes() {
  local hierarchy
  for hierarchy in $(cgroup_hierarchies); do
    [ -d "$hierarchy/$1" ] && find "$hierarchy/$1" -name cgroup.procs -exec cat {} + 2>/dev/null
  done | sort -nu
}

# cgroup_kill PATH: SIGKILL to all that is in it and below; returns when nothing is left.
cgroup_kill() {
  local hierarchy deadline=$((SECONDS + 20)) pids
  while :; do
    for hierarchy in $(cgroup_hierarchies); do
      [ -f "$hierarchy/$1/cgroup.kill" ] && { echo 1 > "$hierarchy/$1/cgroup.kill"; } 2>/dev/null
    done
    pids=$(cgroup_processes "$1")
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    [ "$SECONDS" -lt "$deadline" ] || { complain "processes that do not die: $(echo "$pids" | tr '\n' ' ')"; return 1; }
    sleep 0.05
  done
}

# cgroup_remove PATH: a process that was killed is in none any more a moment before its cgroup may go.
cgroup_remove() { wait_until 10 cgroup_removed "$1"; return 0; }
cgroup_removed() {
  local hierarchy left=0
  for hierarchy in $(cgroup_hierarchies); do
    [ -d "$hierarchy/$1" ] || continue
    find "$hierarchy/$1" -depth -type d -exec rmdir {} \; 2>/dev/null
    [ ! -d "$hierarchy/$1" ] || left=1
  done
  return $left
}

# --- processes

# start NAME CGROUP COMMAND...: runs it detached, its output in $run/NAME.log and its pid in $run/NAME.pid.
start() {
  local name=$1 group=$2 tracking; shift 2
  tracking=$(cgroup_tracking)/$cgroup/$group
  mkdir -p "$tracking"
  (
    echo "$BASHPID" > "$tracking/cgroup.procs"
    echo "$BASHPID" > "$run/$name.pid"
    exec 9>&-
    exec setsid "$@"
  ) >> "$run/$name.log" 2>&1 < /dev/null &
  # The pid file is there when start returns, so that `alive` can be asked at once.
  until [ -s "$run/$name.pid" ]; do sleep 0.01; done
}

# alive NAME: whether the process runs. A pid that went to a process outside the cluster does not count.
alive() {
  local pid
  pid=$(cat "$run/$1.pid" 2>/dev/null) && [ -n "$pid" ] && grep -qs "/$cgroup/" "/proc/$pid/cgroup" && [ "$(awk '{print $3}' "/proc/$pid/stat" 2>/dev/null)" != Z ]
}

# ensure NAME CGROUP COMMAND...: starts it unless it runs; says so when it had to.
ensure() {
  alive "$1" && return
  [ ! -e "$run/$1.pid" ] || say "  $1 is not running: starting it again"
  rm -f "$run/$1.pid"
  start "$@"
}

# show_log NAME: the end of its log, for an error message.
show_log() { complain "--- the end of $run/$1.log"; tail -n 15 "$run/$1.log" >&2 || true; }

# in_network NAMESPACE COMMAND...: not `ip netns exec`, which mounts another /sys over the cgroups.
in_network() { local namespace=$1; shift; nsenter --net="/run/netns/$namespace" "$@"; }

kubectl() { "$bin/kubectl" --kubeconfig "$state/admin.conf" "$@"; }

something_runs() { [ -n "$(cgroup_processes "$cgroup")" ]; }

# --- the whole cluster

# take_down: ends all that belongs to the cluster, whatever state it is in, and removes its state.
take_down() {
  local node mounted
  # All at once and without a goodbye: what pods mounted lives in their node's mount namespace and goes with it.
  cgroup_kill "$cgroup" || return 1
  for node in "${nodes[@]}"; do node_remove_network "$node"; done
  [ ! -e "/run/netns/$client_namespace" ] || ip netns del "$client_namespace"
  ip link del hfvclient 2>/dev/null
  ip link del "$bridge" 2>/dev/null
  cgroup_remove "$cgroup"
  for mounted in $(awk -v below="$state/" 'index($2, below) == 1 {print $2}' /proc/mounts | sort -r); do umount -l "$mounted"; done
  # A recursive delete must not follow a mount out of the cluster's folder.
  if awk -v below="$state/" 'index($2, below) == 1 {found = 1} END {exit !found}' /proc/mounts; then
    complain "something is still mounted below $state: not deleting it"; return 1
  fi
  [ ! -e "$state/.holdfast-cluster" ] || rm -rf --one-file-system "$state"
  rmdir --ignore-fail-on-non-empty /var/lib/cni 2>/dev/null
  rm -f "$active"
}

node_remove_network() {
  local namespace; namespace=$(node_namespace "$1")
  ip link del "$(node_link "$1")" 2>/dev/null
  [ ! -e "/run/netns/$namespace" ] || ip netns del "$namespace"
}

# node_power_off NODE: as when the plug is pulled: it falls silent, then every process of it is gone at once.
node_power_off() {
  ip link set "$(node_link "$1")" down 2>/dev/null
  cgroup_kill "$cgroup/$1" || return 1
  node_remove_network "$1"
  rm -f "$run"/{machine,containerd,kubelet,kube-proxy,policies}-"$1".pid
}

node_is_cut() { ! ip link show "$(node_link "$1")" 2>/dev/null | grep -q '[<,]UP[,>]'; }
node_is_whole() { alive "machine-$1" && alive "containerd-$1" && alive "kubelet-$1" && alive "kube-proxy-$1" && alive "policies-$1"; }
# node_was_heard_since NODE TIME: whether its kubelet has renewed its lease since; what Ready says may be older than a kill.
node_was_heard_since() { [[ "$(kubectl -n kube-node-lease get lease "$1" -o 'jsonpath={.spec.renewTime}' 2>/dev/null)" > "$2" ]]; }
node_is_ready() { [ "$(kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]; }
