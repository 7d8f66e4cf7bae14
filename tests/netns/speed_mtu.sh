#!/bin/bash
# Underlays of 1,280, 1,420 and 9,000 bytes, and one relay alone whose wire is narrow, by IPv4 and by IPv6: what
# arrives is what was sent, and pings fill the tunnel's MTU with DF set, one byte more being refused here.
#
#   datagrams of 1,240, 1,320, 1,380, 1,440 carry 1,171, 1,251, 1,311, 1,371 of three hops; below 1,280 no IPv6
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

BYTES=30000000
HOSTS=(isp auth1 relay1 relay2 relay3 exit1 client1)

# wire_mtu MTU HOST...: of their wires to the wan, both ends.
wire_mtu() {
	local mtu=$1 host
	shift
	for host; do
		on "$host" ip link set eth0 mtu "$mtu"
		ip -n "$NET-wire" link set "w-$host" mtu "$mtu"
	done
}

# all_come_back SIZE ADDRESS: a machine that is busy elsewhere may lose one.
all_come_back() {
	on client1 ping -n -q -c 5 -i 0.05 -W 3 -M "do" -s "$1" "$2" | grep " 5 received"
}

# full_pings ADDRESS MTU
full_pings() {
	local room=$(($2 - 28))
	case $1 in *:*) room=$(($2 - 48)) ;; esac
	wait_for 10 all_come_back $room "$1"
	expect 1 on client1 ping -n -c 1 -W 1 -M "do" -s $((room + 1)) "$1"
	grep -qi "too long\|too big" "$OUT" || fail "a ping of $(($2 + 1)) bytes to $1: $(cat "$OUT")"
}

# carries WORDS VERSION MTU
carries() {
	local way address
	address=$(info .web.address"$2")
	full_pings "$address" "$3"
	for way in down up; do
		on client1 "$TOP/tests/netns/speed_traffic.py" $way "$address" $BYTES 100 x >"$OUT" 2>&1 ||
			fail "$1, $way by IPv$2: $(cat "$OUT")"
		same "bytes $way by IPv$2, $1" "$(cut -d ' ' -f 1 "$OUT")" $BYTES
	done
	udp_echo client1 "$address" 20
}

# works MTU WORDS: a path built now has that MTU inside, and carries what fits into it.
works() {
	go_up client1 exit1
	same "the tunnel's MTU, $2" "$(vpn client1 --status --json | jq .lease.mtu)" "$1"
	same "hops, $2" "$(hop_hosts client1 | wc -l)" 3
	carries "$2" 4 "$1"
	if [ "$1" -ge 1280 ]; then
		carries "$2" 6 "$1"
	else
		same "IPv6 lease, $2" "$(vpn client1 --status --json | jq -r .lease.ipv6)" null
		expect 7 on client1 curl -sS -m 5 "http://[$(info .web.address6)]/"
	fi
	vpn client1 --down
	step "$2: $1 inside"
}

underlay() {
	net_up --relays 3 --exits 1 --underlay "$1"
	host_state client1 >"$TMP/before"
}

underlay 4
wire_mtu 1280 "${HOSTS[@]}"
works 1171 "1,280 bytes, IPv4"
wire_mtu 1420 "${HOSTS[@]}"
works 1311 "1,420 bytes, IPv4"
wire_mtu 9000 "${HOSTS[@]}"
works 1371 "9,000 bytes, IPv4"
wire_mtu 1420 relay1 relay2 relay3
works 1311 "1,420 bytes at the relays, 9,000 at client and exit, IPv4"
wire_mtu 1500 "${HOSTS[@]}"
works 1371 "1,500 bytes, IPv4"
same_state client1 "$TMP/before"

"$TESTNET" down --prefix "$NET"
underlay 6
wire_mtu 1280 "${HOSTS[@]}"
host_state client1 >"$TMP/narrow"
# The least datagram that a session may have needs 1,288 bytes of IPv6: refused, and the host left alone.
expect 11 go_up client1 exit1 --timeout 10
grep -q "the exit did not answer" "$OUT" || fail "no reason: $(cat "$OUT")"
same_state client1 "$TMP/narrow"
wire_mtu 1420 "${HOSTS[@]}"
works 1251 "1,420 bytes, IPv6"
wire_mtu 9000 "${HOSTS[@]}"
works 1371 "9,000 bytes, IPv6"
wire_mtu 1420 relay1 relay2 relay3
works 1251 "1,420 bytes at the relays, 9,000 at client and exit, IPv6"
wire_mtu 1500 "${HOSTS[@]}"
works 1371 "1,500 bytes, IPv6"
same_state client1 "$TMP/before"
step "done"
