#!/usr/bin/env bash
# install-packages.sh GROUP...: installs the Debian packages of the groups that are missing; touches apt only if some are.
# No service is started by it.
set -euo pipefail

packages_of() {
  case $1 in
    npm) echo npm ;;
    go) echo golang-go ca-certificates ;;
    redis) echo redis-server redis-tools ;;
    clients) echo smbclient samba samba-testsuite ;;
    cluster) echo etcd-server containerd runc containernetworking-plugins buildah debootstrap debian-archive-keyring nftables iptables ipset \
      iproute2 conntrack procps kmod util-linux openssl curl ca-certificates jq ;;
    faults) echo iproute2 util-linux bindfs libfaketime ;;
    linux-client) echo qemu-system-x86 busybox-static cpio kmod ;;
    conformance) echo btrfs-progs iproute2 iptables mount util-linux ;;
    workloads) echo git rsync sqlite3 gcc libc6-dev ;;
    volumes) echo bindfs btrfs-progs e2fsprogs gcc libc6-dev libfuse3-dev mount perl-base ;;
    metrics) echo prometheus ;;
    compiler) echo gcc libc6-dev ;;
    model) echo spin gcc libc6-dev ;;
    browser) echo chromium ;;
    *) return 1 ;;
  esac
}
groups='npm go redis clients cluster faults linux-client workloads conformance volumes metrics compiler model browser'
[ $# -ge 1 ] || { echo "usage: install-packages.sh GROUP..., of: $groups" >&2; exit 2; }
wanted=()
for group in "$@"; do
  packages_of "$group" >/dev/null || { echo "install-packages.sh: no group '$group'; there are: $groups" >&2; exit 2; }
  read -ra of_group <<< "$(packages_of "$group" | tr '\n' ' ')"
  wanted+=("${of_group[@]}")
done

# missing: those of the wanted packages that are not installed.
missing() {
  local package
  for package in "${wanted[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done | sort -u
}
[ -n "$(missing)" ] || exit 0

command -v apt-get >/dev/null || { echo "install-packages.sh: this machine has no apt-get; install these by hand: $(missing | tr '\n' ' ')" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "install-packages.sh: installing needs root; run: sudo apt-get install $(missing | tr '\n' ' ')" >&2; exit 1; }

exec 9>/run/holdfast-packages.lock
flock --nonblock 9 || { echo 'waiting for another installation to finish'; flock 9; }
mapfile -t lacking < <(missing) # again: the other installation may have brought them
[ ${#lacking[@]} -gt 0 ] || exit 0
echo "installing ${#lacking[@]} Debian packages: ${lacking[*]}"

# While this process lives, packages may not start their services. The file says so only as long: if we are killed it
# allows everything again, and removes itself when it is next asked.
policy=/usr/sbin/policy-rc.d mark='# holdfast install-packages.sh'
if [ ! -e "$policy" ] || grep -q "^$mark" "$policy"; then
  remove_policy() { if grep -qs "^$mark" "$policy"; then rm -f "$policy"; fi; }
  trap remove_policy EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  born=$(cut -d ' ' -f 22 /proc/$$/stat)
  cat > "$policy.new" <<EOF
#!/bin/sh
$mark
[ "\$(cut -d ' ' -f 22 /proc/$$/stat 2>/dev/null)" = $born ] && exit 101
rm -f $policy
exit 0
EOF
  chmod 755 "$policy.new"
  mv "$policy.new" "$policy"
fi

log=$(mktemp /tmp/holdfast-packages.XXXXXX)
export DEBIAN_FRONTEND=noninteractive
apt() {
  apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@" >> "$log" 2>&1 9>&- && return
  tail -n 20 "$log" >&2
  echo "install-packages.sh: apt-get $1 failed; the whole log is in $log" >&2
  return 1
}
apt update
apt install --no-install-recommends "${lacking[@]}"
rm -f "$log"
echo "installed in $SECONDS s"
