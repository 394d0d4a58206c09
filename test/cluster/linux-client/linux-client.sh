#!/usr/bin/env bash
# linux-client.sh COMMANDS-FILE: runs shell commands on a machine whose SMB client is the Linux kernel's, prints its
# console, and ends with the commands' exit status.
#
# The machine is emulated, with Debian's own kernel, its cifs.ko and busybox; it takes about 6 s to start. It sees the
# network of the namespace NAMESPACE (default hf-client, the test cluster's, from which pods, Services and their names are
# reached); NAMESPACE= (empty) means this machine's own. In it 10.0.2.2 is the namespace's loopback, cifs is loaded, /mnt is
# there to mount on, and the commands run with `sh -e`.
#   TIMEOUT_SECONDS=600   the machine is switched off after that, with status 124
#   MEMORY_MIB=512        of the machine
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
[ $# = 1 ] && [ -r "$1" ] || fail 'usage: linux-client.sh COMMANDS-FILE'
need_root
commands=$(realpath "$1")
namespace=${NAMESPACE-$client_namespace}
[ -z "$namespace" ] || [ -e "/run/netns/$namespace" ] || fail "there is no network namespace $namespace; start the cluster with $here/up.sh, or set NAMESPACE"
"$here/install-packages.sh" linux-client >&2

# cmac hmac ccm gcm and the ciphers are what cifs.ko asks for by name when it signs and encrypts.
modules='e1000 cifs cmac hmac ccm gcm aesni_intel ghash_generic sha512_generic md5 ecb nls_utf8'
kept=$cache/linux-client-$(sha256sum "$0" | cut -c1-16)

# prepare: the kernel and an initramfs without commands, made once and kept.
prepare() {
  local image package version work module file
  exec 8> "$kept.lock"
  flock 8
  [ -f "$kept/complete" ] && return
  say 'fetching a kernel for the Linux client'
  work=$(mktemp -d "$cache/linux-client.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf --one-file-system '$work'" EXIT
  image=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends/ {print $2; exit}')
  if [ -z "$image" ]; then
    apt-get -q update >&2
    image=$(apt-cache depends linux-image-amd64 | awk '/Depends/ {print $2; exit}')
  fi
  [ -n "$image" ] || fail 'the Debian package linux-image-amd64 is not to be found; this runs on amd64 only'
  (cd "$work" && chmod 755 . && { apt-get -q -o APT::Sandbox::User=root download "$image" || { apt-get -q update && apt-get -q -o APT::Sandbox::User=root download "$image"; }; } >&2) || fail "the package $image cannot be downloaded"
  package=$(ls "$work"/linux-image-*.deb)
  dpkg -x "$package" "$work/package"
  version=$(ls "$work/package/lib/modules")
  depmod -b "$work/package" "$version"

  mkdir -p "$work"/root/{bin,proc,sys,dev,mnt,etc,tmp,"lib/modules/$version"}
  cp /bin/busybox "$work/root/bin/"
  ln -s busybox "$work/root/bin/sh"
  for module in $modules; do modprobe -d "$work/package" -S "$version" --show-depends "$module" 2>/dev/null || true; done |
    awk '/^insmod/ {print $2}' | sort -u | while read -r file; do
      install -D -m 644 "$file" "$work/root/${file#"$work/package/"}"
    done
  cp "$work/package/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$work/root/lib/modules/$version/"
  depmod -b "$work/root" "$version"
  cat > "$work/root/init" <<EOF
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $modules; do modprobe \$module 2>/dev/null; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
echo "127.0.0.1 localhost" > /etc/hosts
sh -e /commands
printf '\nlinux-client: status %s\n' "\$?"
umount -a -t cifs 2>/dev/null
poweroff -f
EOF
  chmod +x "$work/root/init"
  mkdir "$work/kept"
  (cd "$work/root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) > "$work/kept/initramfs.gz"
  cp "$work/package/boot/vmlinuz-$version" "$work/kept/vmlinuz"
  touch "$work/kept/complete"
  rm -rf "$kept"
  mv "$work/kept" "$kept"
  rm -rf --one-file-system "$work"
  trap - EXIT
}

mkdir -p "$cache"
prepare
exec 8>&-

work=$(mktemp -d /tmp/holdfast-linux-client.XXXXXX)
machine=
trap 'rm -rf "$work"' EXIT
# The shell would end only when the machine does.
trap '[ -z "$machine" ] || kill "$machine" 2>/dev/null; exit 143' TERM INT
mkdir "$work/root" "$work/root/etc"
cp "$commands" "$work/root/commands"
printf 'nameserver %s\n' "$host_address" > "$work/root/etc/resolv.conf"
# The kernel unpacks one archive after another.
(cat "$kept/initramfs.gz"; cd "$work/root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) > "$work/initramfs.gz"

enter=()
[ -z "$namespace" ] || enter=(nsenter "--net=/run/netns/$namespace")
status=0
# Emulation, never KVM: where machines are nested it hangs.
mkfifo "$work/output"
tee "$work/console" < "$work/output" &
printer=$!
timeout --foreground --kill-after=5 "${TIMEOUT_SECONDS:-600}" "${enter[@]}" qemu-system-x86_64 -accel tcg -cpu max -m "${MEMORY_MIB:-512}" \
  -nodefaults -display none -serial stdio -no-reboot \
  -kernel "$kept/vmlinuz" -initrd "$work/initramfs.gz" -append 'console=ttyS0 quiet panic=1' \
  -netdev user,id=n -device e1000,netdev=n,romfile= < /dev/null > "$work/output" &
machine=$!
wait "$machine" || status=$?
wait "$printer" || true
[ "$status" != 124 ] || { complain "linux-client.sh: switched off after ${TIMEOUT_SECONDS:-600} s"; exit 124; }
result=$(tr -d '\r' < "$work/console" | awk '/^linux-client: status [0-9]+$/ {status = $3} END {print status}')
[ -n "$result" ] || fail "the machine ended before its commands did (status $status)"
exit "$result"
