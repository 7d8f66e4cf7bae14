#!/bin/bash
# Watchers of all wires at once, from before --up until after --down: the client's uplink carries marked datagrams
# to its first hops and nothing else, but the directory of an authority that is its neighbour, as here; the middle
# relay sees neither client nor web; one packet has one length on all links; no run of 16 bytes stands on two links,
# control and handshakes included.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 5 --exits 1
web4=$(info .web.address4)
web6=$(info .web.address6)
client4=$(info .clients[0].address4)
declare -A address=()
mapfile -t hosts < <(info '[.clients[], .relays[], .exits[]] | .[].host')
for host in "${hosts[@]}"; do
	on "$host" ethtool -K eth0 tx-udp-segmentation off
	address[$host]=$(info "[.clients[], .relays[]] + [.exits[] | .address4 = .wan4] | .[] |
		select(.host == \"$host\") | .address4")
	capture "$host" eth0 "$TMP/$host.pcap" not arp and not icmp6
done
on client1 nft -f - <<-END
	table inet watch {
		counter marked {}
		counter other {}
		chain out {
			type filter hook postrouting priority 300;
			oifname "eth0" meta l4proto != ipv6-icmp meta mark 0x73697370 counter name marked
			oifname "eth0" meta l4proto != ipv6-icmp meta mark != 0x73697370 counter name other
		}
	}
END

step "up, ping, DNS, web pages"
go_up client1 exit1
on client1 ping -q -n -c 3 -i 0.05 -W 2 "$web4"
on client1 ping -q -n -c 3 -i 0.05 -W 2 "$web6"
same "by name" "$(on client1 curl -sS -4 -m 5 http://web.test/)" "$(exit_address exit1 4)"
same "by name" "$(on client1 curl -sS -6 -m 5 http://web.test/)" "$(exit_address exit1 6)"
hash_down client1 "$web4" 100000
step "packets of many sizes, each alone on its way"
has_standby() {
	[ -n "$(hop_hosts client1 standby)" ]
}
wait_for 15 has_standby
path=$(hop_hosts client1 | xargs)
"$TOP/tests/netns/live_traffic.py" lone "$NET-client1" "$web4" 20 200 500 900 1200 1300 >"$TMP/windows"
first_hops=$(vpn client1 --status --json | jq -c '[.paths[].hops[0].address]')
same "path" "$(hop_hosts client1 | xargs)" "$path"
vpn client1 --down
capture_stop

packets() {
	on client1 nft -j list counter inet watch "$1" | jq '.nftables[] | select(.counter) | .counter.packets'
}
same "packets without the mark on the client's uplink" "$(packets other)" 0
matches "packets with the mark" "$(packets marked)" '^[1-9][0-9]+$'

for host in "${hosts[@]}"; do
	jq -n --arg a "${address[$host]}" --arg f "$TMP/$host.pcap" '{($a): $f}'
done | jq -s add >"$TMP/captures"
for host in client1 $path; do
	echo "\"${address[$host]}\""
done | jq -s . >"$TMP/path"
jq -n --slurpfile captures "$TMP/captures" --slurpfile path "$TMP/path" --slurpfile windows "$TMP/windows" \
	--argjson first "$first_hops" --arg auth "$(info .authorities[0].address4)" --arg c "$client4" \
	--arg c6 "$(info .clients[0].address6)" --arg w "$web4" --arg w6 "$web6" \
	'{captures: $captures[0], path: $path[0], windows: $windows[0], first_hops: $first, authority: $auth,
		forbidden: [$c, $c6, $w, $w6]}' \
	>"$TMP/watch"
step "what the watchers have"
"$TOP/tests/netns/live_wire.py" watch "$TMP/watch"
step "done"
