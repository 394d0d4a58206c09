#!/usr/bin/env bash
# build.sh: builds the load generator, once for each state of its source; prints its path as the last line.
set -euo pipefail
source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$source_folder/../../test/cluster/lib.sh"
cache=$(dirname "$cache")/bench

cd "$source_folder"
hash=$(find . -maxdepth 1 -type f \( -name go.mod -o -name '*.go' \) ! -name '*_test.go' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16)
program=$cache/smb-load-$hash
if ! [ -x "$program" ]; then
  need_go "the load generator of the SMB benchmark"
  mkdir -p "$cache"
  complain 'building the load generator'
  # GOTOOLCHAIN: the Go that is here, nothing is fetched.
  CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$program.$$" .
  mv "$program.$$" "$program"
fi
printf '%s\n' "$program"
