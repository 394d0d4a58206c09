#!/usr/bin/env bash
# Fails when the committed code of proto/generated or crds/generated, a dashboard of the chart or a reference page of docs/, is not what its source gives.
set -eu
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
npx --no-install buf generate --output "$fresh"
node_modules/node/bin/node proto/share-empty-bytes.mjs "$fresh/proto/generated"
diff -r proto/generated "$fresh/proto/generated" || { echo 'proto/generated is not what proto/*.proto gives: run `make generate`' >&2; exit 1; }
node_modules/node/bin/node crds/generate.mjs --check
node_modules/node/bin/node charts/generate-dashboards.mjs --check
node_modules/node/bin/node docs/generate.mjs --check
