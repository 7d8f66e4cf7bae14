#!/bin/bash
# The onion network over IPv6 alone: both families inside, not one IPv4 datagram outside.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --underlay 6
host_state client1 >"$TMP/before"
capture client1 eth0 "$TMP/four" "ip and not icmp"
capture client1 eth0 "$TMP/six" "ip6 and udp port 4400"
step "up"
go_up client1 exit1
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
same "address" "$(seen6 client1)" "$(exit_address exit1 6)"
hash_down client1 "$(info .web.address4)" 20000000
hash_up client1 "[$(info .web.address6)]" 20000000
udp_echo client1 "$(info .web.address6)" 20
same "hops that are no IPv6 address" \
	"$(vpn client1 --status --json | jq -r '.paths[].hops[].address' | grep -vc '^2001:db8:100::' || true)" 0
vpn client1 --down
capture_stop
same "IPv4 packets outside" "$(tcpdump -n -r "$TMP/four" 2>"$OUT" | wc -l)" 0
matches "IPv6 datagrams outside" "$(tcpdump -n -r "$TMP/six" 2>"$OUT" | wc -l)" '^[0-9]{3,}$'
same_state client1 "$TMP/before"
step "done"
