#!/bin/bash
# gather.sh TO PROGRAM...: lays out in the folder TO what these programs and modules load of the Debian that this runs in, and what any
# process expects of a root: no shell, no tool, no package manager. What belongs to a package of Debian's is said where scanners look
# for it (var/lib/dpkg/status.d, one file a package). Run while the image is built (Containerfile).
set -euo pipefail
to=$1; shift
mkdir -p "$to"/{etc,run,usr/bin,usr/lib,usr/lib64,var/lib/dpkg/status.d}
install -d -m 1777 "$to/tmp"
for folder in bin lib lib64; do ln -s "usr/$folder" "$to/$folder"; done

# package_of FILE: which package it came with; packages name files by /lib as well as by /usr/lib.
package_of() { { dpkg-query -S "$1" 2>/dev/null || dpkg-query -S "${1#/usr}" 2>/dev/null; } | sed 's/[:,].*//; q'; }

# tell_of FILE: its package is in the image from now on, with its licence.
tell_of() {
  local package licence
  package=$(package_of "$1")
  [ -n "$package" ] || { echo "gather.sh: $1 belongs to no package" >&2; exit 1; }
  [ ! -e "$to/var/lib/dpkg/status.d/$package" ] || return 0
  dpkg-query -s "$package" > "$to/var/lib/dpkg/status.d/$package"
  licence=/usr/share/doc/$package/copyright
  [ ! -e "$licence" ] || install -D -m 644 "$licence" "$to$licence"
}

# bring FILE: it, and where it is a link what it leads to, at the same place.
bring() {
  local path target
  path=$(realpath "$(dirname "$1")")/$(basename "$1")
  while :; do
    if [ ! -e "$to$path" ] && [ ! -L "$to$path" ]; then
      mkdir -p "$to$(dirname "$path")"
      cp -a "$path" "$to$path"
    fi
    [ -L "$path" ] || break
    target=$(readlink "$path")
    case $target in /*) ;; *) target=$(dirname "$path")/$target ;; esac
    path=$(realpath "$(dirname "$target")")/$(basename "$target")
  done
  tell_of "$path"
}

# libraries_of FILE: all that its loader would load for it, and the loader.
libraries_of() {
  local loads
  loads=$(ldd "$1") || { echo "gather.sh: ldd cannot tell what $1 loads" >&2; exit 1; }
  ! grep 'not found' <<< "$loads" >&2 || { echo "gather.sh: a library of $1 is missing" >&2; exit 1; }
  sed -n -E 's#^\s*(.* => )?(/[^ ]+) \(0x[0-9a-f]+\)$#\2#p' <<< "$loads"
}

for program; do
  libraries=$(libraries_of "$program")
  for library in $libraries; do bring "$library"; done
  # What is no package's comes from elsewhere: Node and its modules.
  case $program in /usr/*) bring "$program" ;; esac
done

bring /etc/os-release # by which scanners know whose packages they see
printf 'passwd: files\ngroup: files\nhosts: files dns\n' > "$to/etc/nsswitch.conf"
printf '%s\n' 'root:x:0:0:root:/:/sbin/nologin' 'nobody:x:65534:65534:nobody:/:/sbin/nologin' 'holdfast:x:65532:65532:Holdfast:/:/sbin/nologin' > "$to/etc/passwd"
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' 'holdfast:x:65532:' > "$to/etc/group"
