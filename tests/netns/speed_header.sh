#!/bin/bash
# Inner headers go end to end unchanged, each value of DSCP and ECN, TCP's ECN with marks on the way; outer headers
# show nothing of it: on every link each has DSCP and ECN 0, TTL 64, flow label 0, whatever this host's defaults are.
# An outer ECN field that followed the inner one would be a mark that a web server sets and every link shows.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

BYTES=3000000
HEADERS=128 # bytes of a packet that are captured: a ring has room for many such

mark_some() { # HOST IFACE: of what it sends there, one in twenty that may be marked
	on "$1" nft add table inet markers "{ chain out { type filter hook postrouting priority mangle; oifname \"$2\" jump some; }
		chain some { numgen random mod 20 != 0 return; ip ecn ect0 ip ecn set ce; ip6 ecn ect0 ip6 ecn set ce; }; }"
}

# whole_segments on|off: does the sending kernel hand over many segments as one?
whole_segments() {
	on web ethtool -K eth0 tso "$1" gso "$1" >"$OUT"
	on client1 ethtool -K sispop0 tso "$1" gso "$1" >"$OUT"
}

transfers() {
	local address way
	for address in "$web4" "$web6"; do
		for way in down up; do
			on client1 "$TOP/tests/netns/speed_traffic.py" $way "$address" $BYTES 60 x >"$OUT" 2>&1 ||
				fail "$way, $address: $(cat "$OUT")"
		done
	done
}

for version in 4 6; do
	net_up --relays 3 --exits 1 --underlay $version
	web4=$(info .web.address4)
	web6=$(info .web.address6)
	for host in client1 relay1 relay2 relay3 exit1; do
		on $host sysctl -qw net.ipv4.ip_default_ttl=77 net.ipv6.conf.all.hop_limit=99 \
			net.ipv6.conf.eth0.hop_limit=99 net.ipv6.auto_flowlabels=1
	done
	# exec, so that the process to end is the server itself
	(exec "$TESTNET" exec --prefix "$NET" web "$TOP/tests/netns/speed_datagrams.py" serve "$web4" "$web6" >"$TMP/serve") &
	server=$!
	wait_for 5 grep -q serves "$TMP/serve"
	links=()
	# The authority's tests of relays are its own, and no link of a path.
	for host in client1 relay1 relay2 relay3 exit1; do
		capture $host eth0 "$TMP/outer-$host" -s $HEADERS "udp port 4400 and not host $(info .authorities[0].address$version)"
	done
	go_up client1 exit1
	for host in client1 $(hop_hosts client1); do
		links+=("$TMP/outer-$host")
	done
	same "links" ${#links[@]} 4

	for address in "$web4" "$web6"; do
		on client1 "$TOP/tests/netns/speed_datagrams.py" marks "$address" >"$OUT" 2>&1 || fail "$(cat "$OUT")"
	done
	step "underlay IPv$version: 256 values of DSCP and ECN, both ways"

	for host in client1 web; do
		on $host sysctl -qw net.ipv4.tcp_ecn=1
	done
	mark_some client1 sispop0
	mark_some web eth0
	for word in on off; do
		whole_segments $word
		capture client1 sispop0 "$TMP/near-$word" -s $HEADERS tcp port 80
		capture web eth0 "$TMP/far-$word" -s $HEADERS tcp port 80
		transfers
	done
	capture_stop
	same "packets that a capture missed" "$(cat "$TMP"/*.err | grep 'dropped by kernel' | grep -vc '^0 ' || true)" 0
	for word in on off; do
		"$TOP/tests/netns/speed_header.py" ecn "$TMP/near-$word" "$TMP/far-$word" >"$OUT" 2>&1 ||
			fail "ECN, segmentation $word: $(cat "$OUT")"
		step "underlay IPv$version: TCP with ECN, segmentation $word"
	done
	"$TOP/tests/netns/speed_header.py" outer $version 1000 "${links[@]}" || fail "an outer header"
	step "underlay IPv$version: outer headers of ${#links[@]} links are all alike"
	vpn client1 --down
	kill $server
	wait $server || true
	[ $version = 6 ] || "$TESTNET" down --prefix "$NET"
done
step "done"
