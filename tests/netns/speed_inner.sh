#!/bin/bash
# Odd packets inside, IPv4 and IPv6: fragments, IP options, UDP that its sender has the kernel cut up, TCP without
# timestamps, without SACK, without both, with small segments. What arrives is what was sent.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

BYTES=60000000
net_up --relays 3 --exits 1
web4=$(info .web.address4)
web6=$(info .web.address6)
# exec, so that the process to end is the server itself
(exec "$TESTNET" exec --prefix "$NET" web "$TOP/tests/netns/speed_datagrams.py" serve "$web4" "$web6" >"$TMP/serve") &
server=$!
wait_for 5 grep -q serves "$TMP/serve"
go_up client1 exit1
mtu=$(vpn client1 --status --json | jq .lease.mtu)

datagrams() {
	on client1 "$TOP/tests/netns/speed_datagrams.py" "$@" >"$OUT" 2>&1 || fail "$*: $(cat "$OUT")"
}
all_come_back() {
	on client1 ping -n -q -c 5 -i 0.05 -W 3 "$@" | grep " 5 received"
}

step "pings in fragments"
for address in "$web4" "$web6"; do
	for size in 1500 5000 20000; do
		wait_for 10 all_come_back -s $size "$address"
	done
done

step "UDP at the MTU, beyond it, and in fragments"
for address in "$web4" "$web6"; do
	room=$((mtu - 28))
	[ "$address" = "$web4" ] || room=$((mtu - 48))
	datagrams echo "$address" 8 100 1000 $((room - 1)) $room $((room + 1)) 2000 4000 8192 20000 60000
done

step "IP options and extension headers"
on client1 ping -n -c 3 -i 0.05 -W 3 -R "$web4" >"$OUT"
grep -q "RR:" "$OUT" || fail "no route was recorded: $(cat "$OUT")"
for address in "$web4" "$web6"; do
	datagrams options "$address"
done

step "bursts of UDP, cut up by the kernel and not"
for address in "$web4" "$web6"; do
	datagrams bursts "$address" 60 500 1200 1323
done

# tcp SETTING=VALUE...: at both ends.
tcp() {
	local host
	for host in client1 web; do
		on $host sysctl -qw "${@/#/net.ipv4.tcp_}"
	done
}
# transfers WORDS
transfers() {
	local way address
	for address in "$web4" "$web6"; do
		for way in down up; do
			on client1 "$TOP/tests/netns/speed_traffic.py" $way "$address" $BYTES 100 "$way" >"$OUT" 2>&1 ||
				fail "$1, $way: $(cat "$OUT")"
			same "bytes $way, $1" "$(cut -d ' ' -f 1 "$OUT")" $BYTES
		done
	done
	step "TCP $1"
}
transfers "as it is"
tcp timestamps=0
transfers "without timestamps"
tcp sack=0
transfers "without timestamps and SACK"
tcp timestamps=1
transfers "without SACK"
tcp sack=1 window_scaling=0
transfers "without window scaling"
tcp window_scaling=1
on client1 nft add table inet small '{
	chain out { type filter hook output priority mangle; oifname "sispop0" tcp flags syn tcp option maxseg size set 216 counter; }
	chain in { type filter hook prerouting priority mangle; iifname "sispop0" tcp flags syn tcp option maxseg size set 216 counter; }; }'
BYTES=$((BYTES / 4))
transfers "in segments of 216 bytes"
same "rules that shrank nothing" "$(on client1 nft -j list table inet small | jq '[.. | .counter? | .packets? // empty] | map(select(. == 0)) | length')" 0
vpn client1 --down
kill $server
wait $server || true
step "done"
