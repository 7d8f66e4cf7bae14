#!/bin/bash
# An independent client, written in Python from docs/PROTOCOL.md alone, does all that a client does against the real
# daemons: directory, link, cookie, paths of 1 to 8 hops, AUTH, GRANT, pings, BIND.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 7 --exits 1
host_state client1 >"$TMP/before"
"$TESTNET" stop --prefix "$NET" client1 # nothing of this is its work
on client1 /usr/bin/python3 -IB "$TOP/tests/peer/ping.py" "$RUN/network.conf" "$RUN/info.json"
same_state client1 "$TMP/before"
step "done"
