#!/bin/bash
# An exit that betrays its clients (tests/hostile/exit.c): grants that nobody honest gives, no answer, no forwarding,
# forged packets, an UPDATE into the client's own network. The client's daemon refuses each, and the host is as before.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

BUILD=${SISPOPNET_BUILD:-$TOP/build}
HOSTILE=$BUILD/tests/hostile_exit
[ -x "$HOSTILE" ] || { echo "$HOSTILE is missing: build all targets first"; exit 1; }
HOSTILE_PID= # should a test fail, it ends with its namespace

hostile_stop() {
	[ -z "$HOSTILE_PID" ] && return
	kill "$HOSTILE_PID"
	wait "$HOSTILE_PID" || fail "the hostile exit ended badly"
	HOSTILE_PID=
}

hostile_start() {
	hostile_stop
	(exec "$TESTNET" exec --prefix "$NET" exit1 env HOSTILE_EXIT="$1" "$HOSTILE" run --config "$RUN/exit1/relay.ini" \
		>>"$RUN/exit1/hostile.log" 2>&1) &
	HOSTILE_PID=$!
	wait_for 5 on exit1 sispopnet-relay status
}

# refused CODE WORDS MODE [ARG...]: --up through an exit of that mode ends with CODE and one line with WORDS.
refused() {
	local code=$1 words=$2 mode=$3
	shift 3
	hostile_start "$mode"
	expect "$code" go_up client1 exit1 "$@"
	matches "the sentence about $mode" "$(cat "$OUT")" "$words"
	same "lines about $mode" "$(wc -l <"$OUT")" 1
	same_state client1 "$TMP/before"
}

drops() {
	vpn client1 --status --json | jq -r ".drops[\"$1\"] // 0"
}

net_up --relays 3 --exits 1
# A network that the client is on, in a range that leases may come from
on client1 ip link add lan0 type veth peer name lan1
on client1 ip addr add 10.55.0.2/24 dev lan0
on client1 ip addr add fd55::2/64 dev lan0 nodad
on client1 ip link set lan0 up
on client1 ip link set lan1 up
# Networks that it reaches through a router there, as a company's
on client1 ip route add 10.66.0.0/16 via 10.55.0.1
on client1 ip -6 route add fd66::/32 via fd55::1
on client1 ip -6 route add 2001:db8:66::/48 via fd55::1
wait_for 5 bash -c "! $TESTNET exec --prefix $NET client1 ip -6 addr show tentative | grep -q ."
host_state client1 >"$TMP/before"
"$TESTNET" stop --prefix "$NET" exit1

step "grants that no honest exit gives: 8"
for mode in lease-local lease-own lease-public lease-home lease-loopback lease6-local lease6-public lease6-link \
	lease6-loopback lease-none lease-routed lease6-routed; do
	refused 8 "inner address" $mode
done
for mode in dns-local dns-wan dns-loopback dns-link dns-lease dns-routed dns6-routed; do
	refused 8 "DNS server" $mode
done
for mode in mtu-500 mtu-1279; do
	refused 8 "MTU" $mode
done

step "no packet comes back: 8"
within 6 refused 8 "does not forward" deaf

step "AUTH is never answered, or by bytes that are no GRANT: 11"
refused 11 "did not answer" mute --timeout 3
refused 11 "did not answer" cut --timeout 3

step "forged packets: those that an honest exit may send arrive, no other"
hostile_start spoof
go_up client1 exit1
capture client1 sispop0 "$TMP/tun.pcap" udp dst port 4242
capture client1 lan0 "$TMP/lan.pcap" udp dst port 4242
seen4 client1 >/dev/null
seen6 client1 >/dev/null
wait_for 5 bash -c "[ \$(tcpdump -n -r $TMP/tun.pcap 2>/dev/null | wc -l) -ge 10 ]"
capture_stop
tcpdump -n -q -r "$TMP/tun.pcap" 2>/dev/null | awk '{ print $3 }' | sort -u >"$TMP/sources"
same "sources of forged packets" "$(cat "$TMP/sources")" $'2001:db8:113::99.4242\n203.0.113.99.4242'
lease4=$(vpn client1 --status --json | jq -r .lease.ipv4)
lease6=$(vpn client1 --status --json | jq -r .lease.ipv6)
tcpdump -n -q -r "$TMP/tun.pcap" 2>/dev/null | awk '{ sub(/:$/, "", $5); print $5 }' | sort -u >"$TMP/destinations"
same "their destinations" "$(cat "$TMP/destinations")" "$(printf '%s.4242\n' "$lease4" "$lease6" | sort)"
same "forged packets in the local network" "$(tcpdump -n -r "$TMP/lan.pcap" 2>/dev/null | wc -l)" 0
[ "$(drops inner-source)" -gt 20 ] || fail "forged sources were not counted: $(vpn client1 --status --json)"
[ "$(drops inner-destination)" -gt 10 ] || fail "other destinations were not counted: $(vpn client1 --status --json)"
vpn client1 --down
same_state client1 "$TMP/before"

# blocked_by MODE WORDS: up, then the exit turns: nothing leaves beside the tunnel until --down.
blocked_by() {
	hostile_start "$1"
	go_up client1 exit1
	on client1 ping -q -i 0.002 -c 100 -W 1 "$(info .web.address4)" >"$OUT" 2>&1 || true
	wait_for 5 bash -c "$TESTNET exec --prefix $NET client1 sispopnet-vpn --status --json | jq -e '.state == \"blocked\"'"
	vpn client1 --status >"$OUT"
	grep -qi "$2" "$OUT" || fail "no word of '$2' in the status: $(cat "$OUT")"
	expect 28 on client1 curl -sS -m 1 "http://$(info .web.address4)/"
	vpn client1 --down
	same_state client1 "$TMP/before"
}

step "an UPDATE into the local network, or a CLOSE: blocked"
blocked_by update "network that this machine is on"
blocked_by close "closed the session"

step "the same network with an honest exit"
hostile_stop
"$TESTNET" start --prefix "$NET" exit1
wait_for 5 on exit1 sispopnet-relay status
go_up client1 exit1
same "the address at the web" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down
same_state client1 "$TMP/before"
step "done"
