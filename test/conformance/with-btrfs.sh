#!/bin/bash
# Runs a command whose temporary folders lie on btrfs, which clones and compresses files: what needs such a volume
# (FSCTL_DUPLICATE_EXTENTS_TO_FILE, FSCTL_SET_COMPRESSION) can be tested there.
#   with-btrfs.sh bash -c 'npx holdfast serve "$(mktemp -d)" --user alice:secret'
# The volume lies in a file of 4 GiB, with holes, and is mounted for the command alone. Needs root, a loop device and mkfs.btrfs.
# Ends with 69 where that cannot be had.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 64; }
command -v mkfs.btrfs >/dev/null || { echo "with-btrfs.sh: mkfs.btrfs is missing: apt-get install btrfs-progs" >&2; exit 69; }
unshare --mount true || { echo "with-btrfs.sh: no mount namespace can be made here" >&2; exit 69; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
truncate -s 4G "$folder/image"
mkfs.btrfs -q -f "$folder/image" >/dev/null
mkdir "$folder/volume"
# The mount is seen by the command and what it starts, and ends with the last of them.
unshare --mount --propagation private bash -c '
  mount -o loop "$0/image" "$0/volume" || { echo "with-btrfs.sh: btrfs cannot be mounted from a file here" >&2; exit 69; }
  chmod 1777 "$0/volume"
  export TMPDIR="$0/volume"
  "$@"
' "$folder" "$@"
