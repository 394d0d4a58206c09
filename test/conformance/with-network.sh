#!/bin/bash
# Runs a command in a network namespace of its own, which has nothing but a loopback interface: every port is free, and packets can be
# dropped there (iptables) without anybody else losing some.
#   with-network.sh npx holdfast serve /tmp/shared --user alice:secret --port 445
# Needs root, ip and iptables. Ends with 69 where that cannot be had.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 64; }
unshare --net true || { echo "with-network.sh: no network namespace can be made here" >&2; exit 69; }
# Every segment is acknowledged at once (quickack). smbtorture drops what the client's TCP sends; with an acknowledgement up to 40 ms late,
# a fast machine drops that of an answer which the client has had already, and the server's TCP sends nothing new before it has that.
exec unshare --net bash -c '
  ip link set lo up && ip route replace local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1 quickack 1 &&
    /usr/sbin/iptables -L >/dev/null || { echo "with-network.sh: no loopback interface or no iptables" >&2; exit 69; }
  exec "$@"
' with-network "$@"
