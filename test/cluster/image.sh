#!/usr/bin/env bash
# image.sh           builds the project's image from Containerfile: build/holdfast-image.tar, an oci-archive whose image is
#                    named holdfast.dev/holdfast:VERSION (the version of package.json). Needs `make build` before.
# image.sh --base    a minimal Debian that stands in for docker.io/library/debian:bookworm-slim; prints its archive
# image.sh --pause   the image of every pod's first container; prints its archive
# Nothing is pulled from an image registry. Base and pause are kept in the cache.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_root
command -v buildah >/dev/null && command -v debootstrap >/dev/null || fail "buildah and debootstrap are needed: $here/install-packages.sh cluster"

release=bookworm
mkdir -p "$cache"
# A store of its own, so that the machine's other images and this one do not meet.
store() { buildah --root "$cache/buildah" --runroot /run/holdfast-buildah --storage-driver overlay "$@"; }

# keep NAME ARCHIVE: writes what the working container NAME holds to an archive, all of it or nothing.
keep() { rm -f "$2.part"; store commit -q "$1" "oci-archive:$2.part:$3" >/dev/null; store rm "$1" >/dev/null; mv "$2.part" "$2"; }

pause_image() {
  local built archive container
  built=$("$here/build.sh" --where) || fail "build Kubernetes and its companions first: $here/build.sh"
  archive=$(dirname "$(readlink "$built/pause")")/image.tar
  if [ ! -f "$archive" ]; then
    complain 'building the pause image'
    container=$(store from scratch)
    store copy -q "$container" "$(readlink "$built/pause")" /pause >/dev/null
    store config --entrypoint '["/pause"]' --user 65535:65535 "$container"
    keep "$container" "$archive" holdfast.dev/pause:local
  fi
  printf '%s\n' "$archive"
}

base_image() {
  local archive=$cache/base-$release-2.tar log=$cache/debootstrap.log root container proxy=
  if [ ! -f "$archive" ]; then
    complain "building the base image: a minimal Debian $release (half a minute; log: $log)"
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "$proxy" ] || export http_proxy=$proxy
    root=$(mktemp -d "$cache/base.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf --one-file-system '$root'" EXIT
    debootstrap --variant=minbase "$release" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} > "$log" 2>&1 || { tail -n 20 "$log" >&2; fail "debootstrap failed; the whole log is in $log"; }
    # As the official slim image: of documentation licences only, no translations, no caches, no service started by an installation.
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "$root"/usr/share/{man,info,locale,lintian,bug}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/debootstrap
    printf 'path-exclude /usr/share/%s/*\n' doc man info locale > "$root/etc/dpkg/dpkg.cfg.d/slim"
    echo 'path-include /usr/share/doc/*/copyright' >> "$root/etc/dpkg/dpkg.cfg.d/slim"
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"; chmod 755 "$root/usr/sbin/policy-rc.d"
    : > "$root/etc/resolv.conf"; : > "$root/etc/hostname"
    container=$(store from scratch)
    store add -q "$container" "$root" / >/dev/null
    store config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    keep "$container" "$archive" "holdfast.dev/base:$release"
  fi
  printf '%s\n' "$archive"
}

# lay_out FOLDER: what goes into the image, and nothing else.
lay_out() {
  local to=$1 module script
  rm -rf --one-file-system "$to"
  mkdir -p "$to/app" "$to/node_modules"
  cp -a bin dist package.json LICENSE "$to/app/"
  find "$to/app/dist" \( -name '*.test.js*' -o -name '.built' \) -delete
  # The very modules that the tests ran with, less those that only development needs.
  npm ls --omit=dev --all --parseable 2>/dev/null | sed -n "s#^$PWD/node_modules/##p" | grep -v -e '/node_modules/' -e '^@types/' | while read -r module; do
    mkdir -p "$to/node_modules/$(dirname "$module")"
    cp -al "node_modules/$module" "$to/node_modules/$module"
  done
  [ -x "$to/node_modules/node/bin/node" ] || fail 'node_modules/node/bin/node is missing; run `make build` first'
  # npm's package for this machine, of which bin/node is another name: the same 120 MB once more.
  rm -rf "$to/node_modules/node/node_modules"
  find "$to/node_modules" -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' -o -name '*.md' -o -name '*.tsbuildinfo' \) -delete
  rm -rf "$to"/node_modules/koffi/{vendor,doc} "$to"/node_modules/@koromix/koffi-*/musl_*
  # There is no shell: what starts the parts is Node's. Scripts of modules are there to be read by others, not to be run.
  { echo '#!/app/node_modules/node/bin/node --enable-source-maps'; cat bin/holdfast.mjs; } > "$to/app/bin/holdfast"
  rm "$to"/app/bin/{holdfast.mjs,kubectl-holdfast}
  find "$to/node_modules" -type f -perm /111 ! -path "$to/node_modules/node/bin/node" ! -name '*.node' | while read -r script; do
    cp "$script" "$script.read" # the module's own has other names, and keeps its mode
    chmod a-x "$script.read"
    mv -f "$script.read" "$script"
  done
}

# What an image is made of, as one digest; the packages of Debian are those of the layers that the store keeps.
inputs() {
  {
    find bin dist -type f ! -name '*.test.js*' ! -name .built -print0
    printf '%s\0' package.json LICENSE Containerfile node_modules/.package-lock.json test/cluster/{image.sh,gather.sh,image-programs.mjs}
  } | sort -z | xargs -0 sha256sum | cat - <(printf '%s\n' "$1") | sha256sum | cut -d' ' -f1
}

project_image() {
  local archive=build/holdfast-image.tar version base name made_of began=$SECONDS
  cd "$repository"
  version=$(jq -er .version package.json) || fail 'package.json names no version'
  name=holdfast.dev/holdfast:$version
  base=$(base_image)
  mkdir -p build
  compgen -G 'dist/*/main.js' >/dev/null || fail 'there is no compiled code in dist/; run `make build` first'
  made_of=$(inputs "$base") || fail 'the image cannot be built: see above'
  if [ -f "$archive" ] && [ "$(cat build/holdfast-image.inputs 2>/dev/null)" = "$made_of" ]; then
    say "$archive is up to date"
    return
  fi
  rm -f build/holdfast-image.inputs
  say "building $name"
  lay_out build/image
  store bud -q --layers --isolation chroot --format oci --build-arg "BASE=oci-archive:$base" -f Containerfile -t "$name" . > build/image.log 2>&1 || { tail -n 30 build/image.log >&2; fail 'the image was not built; the whole log is in build/image.log'; }
  rm -f "$archive.part"
  store push -q "$name" "oci-archive:$archive.part:$name" >> build/image.log 2>&1 || { tail -n 30 build/image.log >&2; fail 'the image was not written'; }
  node_modules/node/bin/node test/cluster/image-programs.mjs "$archive.part" || fail 'the image holds what it should not'
  mv "$archive.part" "$archive"
  printf '%s\n' "$made_of" > build/holdfast-image.inputs
  rm -rf --one-file-system build/image
  store rmi --prune >/dev/null 2>&1 || true # layers that no image uses any more
  say "built $archive ($(du -h "$archive" | cut -f1), $((SECONDS - began)) s)"
}

# Two builds at once would meet in the store; progress goes to standard error where standard output is the answer.
exec 7> "$cache/image.lock"
flock --nonblock 7 || { complain 'waiting for another image to be built'; flock 7; }
case ${1-} in
  --pause) pause_image ;;
  --base) base_image ;;
  '') project_image ;;
  *) fail 'usage: image.sh [--base | --pause]' ;;
esac
