#!/bin/bash
# Paths of 1 to 8 hops carry both families, and say how long they are.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 14 --exits 1
host_state client1 >"$TMP/before"
for hops in 1 2 3 4 5 6 7 8; do
	step "$hops hops"
	go_up client1 exit1 --hops $hops
	same "hops" "$(vpn client1 --status --json |
		jq -r '.paths[] | select(.role == "primary") | .hops | length')" $hops
	same "relays in two places of a path" "$(vpn client1 --status --json |
		jq -r '.paths[] | select(.role == "primary") | .hops[].name' | sort | uniq -d)" ""
	same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
	same "address" "$(seen6 client1)" "$(exit_address exit1 6)"
	hash_down client1 "$(info .web.address4)" 5000000 "$hops"
	hash_up client1 "[$(info .web.address6)]" 5000000
	vpn client1 --down
done
for hops in 0 9 -1 three; do
	expect 2 go_up client1 exit1 --hops $hops
done
same_state client1 "$TMP/before"
step "done"
