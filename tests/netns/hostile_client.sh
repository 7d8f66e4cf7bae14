#!/bin/bash
# A client that keeps to no rule (tests/peer/hostile.py) against a real guard, middle and exit: each attack has the
# answer that the paper says and shows in the counters; afterwards an honest client uses the same relays.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 3 --exits 1 --clients 2
on client1 /usr/bin/python3 -IB "$TOP/tests/peer/hostile.py" "$RUN/network.conf" "$RUN/info.json" "$RUN"
go_up client2 exit1
same "the address at the web" "$(seen4 client2)" "$(exit_address exit1 4)"
vpn client2 --down
step "done"
