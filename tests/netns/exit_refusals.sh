#!/bin/bash
# What an exit refuses to a client that it serves, and how it says so; what it counts; a revocation while it runs.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 3 --exits 1 --clients 2
config=$RUN/exit1/relay.ini
go_up client1 exit1

exit_status() {
	on exit1 sispopnet-relay status --json --config "$config" | jq -r "$1"
}

# refused_audibly ADDRESS...: an ICMP answer of the exit's comes back at once: 3/13, IPv6 1/1.
refused_audibly() {
	local address start
	for address in "$@"; do
		start=$EPOCHREALTIME
		expect 1 on client1 ping -I sispop0 -c 1 -W 4 "$address"
		grep -qE 'From (10\.101\.0\.1|fd53:1::1) icmp_seq=1 (Packet filtered|.*Administratively prohibited)' "$OUT" ||
			fail "no such answer for $address: $(cat "$OUT")"
		awk -v took="$(seconds_since "$start")" 'BEGIN { exit !(took < 1) }' || fail "the answer came late"
	done
}

step "private, shared, documentation not named, leases, the exit, relays: refused by ICMP"
refused_audibly 10.0.0.1 172.16.5.5 192.168.77.1 100.64.0.9 192.0.2.1 10.101.3.4 198.51.100.41 203.0.113.41 \
	198.51.100.21 fd77::1 fd53:1::1234 2001:db8:113::41 2002:a00:1::1
refused=$(exit_status '.drops."inner-destination"')
[ "$refused" -ge 13 ] || fail "only $refused were counted"

step "what the policy does not accept as well, with its port"
refused_audibly 8.8.8.8 2620:fe::fe
matches "counted" "$(exit_status '.drops."inner-policy"')" '^[1-9]'

step "a flood of refused packets gets few answers"
start=$EPOCHREALTIME
on client1 ping -I sispop0 -q -f -c 200 -W 1 10.0.0.1 >"$OUT" 2>&1 || true
took=$(seconds_since "$start")
errors=$(grep -oE '\+[0-9]+ errors' "$OUT" | tr -dc 0-9)
[ "${errors:-0}" -ge 1 ] || fail "no answer at all: $(cat "$OUT")"
# 10 at once, 50 a second
awk -v n="$errors" -v s="$took" 'BEGIN { exit !(n <= 11 + 50 * s) }' || fail "$errors answers in $took s: no limit"

step "the rest goes its way: other destinations, fragments, bytes counted"
same "address at the web" "$(seen4 client1)" 203.0.113.41
on client1 ping -c 1 -W 2 -s 4000 203.0.113.10 >"$OUT"
# The first large IPv6 answer teaches the web the path's MTU (Packet Too Big), the next ones fit.
on client1 ping -c 3 -i 0.2 -W 2 -s 4000 2001:db8:113::10 >"$OUT"
before=$(exit_status .exit.bytes.down)
hash_down client1 203.0.113.10 3000000
after=$(exit_status .exit.bytes.down)
[ $((after - before)) -ge 3000000 ] || fail "counted $((after - before)) bytes of a download of 3,000,000"

step "the client comes back with its token and has the same lease"
lease=$(vpn client1 --status --json | jq -r .lease.ipv4)
vpn client1 --down
none() {
	[ "$(exit_status .exit.sessions)" = 0 ]
}
wait_for 5 none
go_up client1 exit1
same "lease" "$(vpn client1 --status --json | jq -r .lease.ipv4)" "$lease"
go_up client2 exit1
differ "two leases" "$(vpn client2 --status --json | jq -r .lease.ipv4)" "$lease"
same "leases" "$(exit_status .exit.leases)" 2

step "a revoked token's sessions end within two seconds, and it opens no more"
on exit1 sispopnet-relay token revoke testnet --config "$config"
wait_for 2 none
expect 7 vpn client2 --up --exit "$(exit_name exit1)" --token-file <(exit_token exit1)

step "no destination, inner address or token in the exit's log"
if grep -E '10\.101\.|fd53:|8\.8\.8\.8|203\.0\.113\.10' "$RUN/exit1/relay.log"; then
	fail "the exit's log tells of its clients"
fi
step "done"
