#!/usr/bin/env bash
# down.sh: takes the cluster away: processes, mounts, cgroups, namespaces, bridge, routes and state. Works after a crash of
# any part, and twice. What was built stays in the cache. Logs are lost: copy them before, or set KEEP_LOGS to a folder.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# = 0 ] || fail 'usage: down.sh'
need_root
one_at_a_time
set +e
if [ -n "${KEEP_LOGS-}" ] && [ -d "$run" ]; then mkdir -p "$KEEP_LOGS" && cp "$run"/*.log "$KEEP_LOGS"; fi
was_there=false
if something_runs || [ -e "$state/.holdfast-cluster" ] || ip link show "$bridge" >/dev/null 2>&1; then was_there=true; fi
take_down || fail 'not all of the cluster is gone; run it again'
if $was_there; then say "The cluster is down; nothing of it is left in $state."; else say 'No cluster was up.'; fi
