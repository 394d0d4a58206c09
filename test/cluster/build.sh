#!/usr/bin/env bash
# build.sh [--where]: builds what the test cluster is made of, once, and keeps it in the cache:
#   kube (kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl), coredns, policies, helm, pause.
# Each is kept under the hash of its module (go.mod, go.sum, *.go), so clones share it and a change builds only what it must.
# Prints the folder that holds them all as its last line; with --where only that, and fails if it is not complete.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kubernetes_version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' "$here/kube/go.mod")
helm_version=$(awk '$1 == "helm.sh/helm/v3" {print $2} $1 == "require" && $2 == "helm.sh/helm/v3" {print $3}' "$here/helm/go.mod" | head -1)

module_hash() { (cd "$here/$1" && find . -maxdepth 1 -type f \( -name 'go.*' -o -name '*.go' \) ! -name '*_test.go' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16); }
binary() { printf '%s/%s-%s/%s' "$cache" "$1" "$(module_hash "$1")" "$1"; }

# A folder of links named for all of them together, so that one path can be put into PATH.
components='kube coredns policies helm pause'
together=$cache/bin-$(for c in $components; do module_hash "$c"; done | sha256sum | cut -c1-16)
commands='kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl folder-provisioner'

complete() {
  local c
  for c in $components; do [ -x "$(binary "$c")" ] || return 1; done
  for c in $commands coredns policies helm pause; do [ -x "$together/$c" ] || return 1; done
}

if [ "${1-}" = --where ]; then complete || exit 1; printf '%s\n' "$together"; exit; fi
[ $# = 0 ] || fail "usage: build.sh [--where]"
if complete; then say "Kubernetes $kubernetes_version, Helm and CoreDNS are built already."; printf '%s\n' "$together"; exit; fi

need_go 'building Kubernetes'

mkdir -p "$cache"
exec 8> "$cache/build.lock"
flock --nonblock 8 || { say 'waiting for another build of the cluster to finish'; flock 8; }

# build COMPONENT PACKAGE LDFLAGS: one line when it begins, one every 15 s, one at the end.
build() {
  local component=$1 package=$2 ldflags=$3 target began=$SECONDS total log pid
  target=$(binary "$component")
  [ -x "$target" ] && return
  mkdir -p "$(dirname "$target")"
  log=$(dirname "$target")/build.log
  say "building $component: fetching modules"
  (cd "$here/$component" && go mod download) 2>&1 | grep -v '^go: downloading' >&2 || true
  total=$(cd "$here/$component" && go list -deps "$package" | wc -l)
  say "building $component: $total packages (log: $log)"
  (cd "$here/$component" && CGO_ENABLED=0 exec nice -n 5 go build -v -trimpath -buildvcs=false -ldflags "-s -w $ldflags" -o "$target.part" "$package") > "$log" 2>&1 8>&- &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    for _ in $(seq 75); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -0 "$pid" 2>/dev/null && say "building $component: $(wc -l < "$log") packages compiled, $((SECONDS - began)) s"
  done
  wait "$pid" || { tail -n 20 "$log" >&2; fail "building $component failed; the whole log is in $log"; }
  mv "$target.part" "$target"
  say "built $component in $((SECONDS - began)) s: $(du -h "$target" | cut -f1)"
}

minor=${kubernetes_version#v1.}; minor=${minor%%.*}
v=k8s.io/component-base/version
build kube . "-X $v.gitVersion=$kubernetes_version -X $v.gitMajor=1 -X $v.gitMinor=$minor"
build helm helm.sh/helm/v3/cmd/helm "-X helm.sh/helm/v3/internal/version.version=$helm_version"
build coredns . ''
build policies . ''
build pause . ''

rm -rf "$together.part"; mkdir -p "$together.part"
for c in $commands; do ln -s "$(binary kube)" "$together.part/$c"; done
for c in coredns policies helm pause; do ln -s "$(binary "$c")" "$together.part/$c"; done
rm -rf "$together"; mv -T "$together.part" "$together"
printf '%s\n' "$together"
