#!/bin/bash
# Two clients on one exit: leases of their own, traffic at the same time, one going down without harm to the
# other, no way from one to the other.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --clients 2 --exits 1
name=$(exit_name exit1)
web4=$(info .web.address4)
host_state client1 >"$TMP/before1"
host_state client2 >"$TMP/before2"
on exit1 sispopnet-relay token add second --config "$RUN/exit1/relay.ini" >"$TMP/second"

step "up, with a token each"
go_up client1 exit1
vpn client2 --up --exit "$name" --token - <"$TMP/second"
lease() {
	vpn "$1" --status --json | jq -r ".lease.$2"
}
differ "IPv4 leases" "$(lease client1 ipv4)" "$(lease client2 ipv4)"
differ "IPv6 leases" "$(lease client1 ipv6)" "$(lease client2 ipv6)"
for client in client1 client2; do
	same "address" "$(seen4 $client)" "$(exit_address exit1 4)"
	same "address" "$(seen6 $client)" "$(exit_address exit1 6)"
done

step "downloads at the same time"
(hash_down client1 "$web4" 30000000 one) &
first=$!
(hash_down client2 "[$(info .web.address6)]" 30000000 two) &
second=$!
wait $first
wait $second

step "one client cannot reach the other through the exit"
peer4=$(lease client2 ipv4)
peer6=$(lease client2 ipv6)
if on client1 ping -q -n -c 2 -i 0.1 -W 1 "${peer4%/*}" >"$OUT" 2>&1; then
	fail "client1 reaches client2 at its IPv4 lease"
fi
if on client1 ping -q -n -c 2 -i 0.1 -W 1 "${peer6%/*}" >"$OUT" 2>&1; then
	fail "client1 reaches client2 at its IPv6 lease"
fi

step "one goes down, the other stays"
vpn client1 --down
same_state client1 "$TMP/before1"
same "address" "$(seen4 client1)" "$(info .clients[0].address4)"
same "address" "$(seen4 client2)" "$(exit_address exit1 4)"
hash_up client2 "$web4" 10000000

step "both with one token (the default is 4 sessions)"
go_up client1 exit1
vpn client2 --down
go_up client2 exit1
differ "IPv4 leases" "$(lease client1 ipv4)" "$(lease client2 ipv4)"
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
same "address" "$(seen4 client2)" "$(exit_address exit1 4)"
vpn client1 --down
vpn client2 --down
same_state client1 "$TMP/before1"
same_state client2 "$TMP/before2"
step "done"
