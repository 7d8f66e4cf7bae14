#!/bin/bash
# --range: what is named goes through the exit, the rest as without the VPN, and so does DNS; nothing is left behind.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 4 --exits 2
web4=$(info .web.address4)
web6=$(info .web.address6)
own4=$(info .clients[0].address4)
own6=$(info .clients[0].address6)
exit4=$(exit_address exit1 4)
exit6=$(exit_address exit1 6)
host_state client1 >"$TMP/before"
on client1 cat /etc/resolv.conf >"$TMP/resolv"

# sees ADDRESS4 ADDRESS6: from where the web sees the client come.
sees() {
	same "IPv4 address" "$(seen4 client1)" "$1"
	same "IPv6 address" "$(seen6 client1)" "$2"
}

ranges() {
	vpn client1 --status --json | jq -r '.ranges | join(" ")'
}

in_tunnel() {
	vpn client1 --status --json | jq -r '.bytes.up'
}

step "2: ranges that are none"
for bad in 10.0.0.1/8 10.0.0.0/33 2001:db8::/129 2001:db8::1/64 web.test 10.0.0 "" "$web4:80"; do
	expect 2 vpn client1 --up --exit "$(exit_name exit1)" --range "$bad"
	grep -qF "\"$bad\"" "$OUT" || fail "the value is not named: $(cat "$OUT")"
done
mapfile -t many < <(seq -f "--range=192.0.2.%.0f" 1 17)
expect 2 vpn client1 --up --exit "$(exit_name exit1)" "${many[@]}"
expect 2 vpn client1 --status --range "$web4"
# The daemon does not take the command line's word for it.
ask() {
	/usr/bin/python3 -I -c '
import json, socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(5)
    sock.connect(sys.argv[1])
    params = {"exits": [sys.argv[2]], "auth": "open", "ranges": json.loads(sys.argv[3])}
    sock.sendall(json.dumps({"id": 1, "method": "up", "params": params}).encode() + b"\n")
    print(sock.makefile().readline())' "$RUN/client1/vpn.sock" "$(exit_name exit1)" "$1"
}
matches "host bits" "$(ask '["192.0.2.0/24","10.0.0.1/8"]')" 'bad-request.*10\.0\.0\.1/8'
matches "no list" "$(ask '"10.0.0.0/8"')" bad-request
matches "no text" "$(ask '[10]')" bad-request
same_state client1 "$TMP/before"

step "one address by IPv4"
leaks=$(wc -l <"$LEAK_LOG")
go_up client1 exit1 --range "$web4/32"
same "what --up asked of the provider's resolver" "$(wc -l <"$LEAK_LOG")" "$leaks"
sees "$exit4" "$own6"
same "ranges" "$(ranges)" "$web4/32"
vpn client1 --status | grep -qE "^ranges +$web4/32\$" || fail "--status does not print the ranges"
same "resolv.conf" "$(on client1 cat /etc/resolv.conf)" "$(cat "$TMP/resolv")"
on client1 getent ahostsv4 web.test >"$OUT"
differ "questions to the provider's resolver" "$(wc -l <"$LEAK_LOG")" "$leaks"
hash_down client1 "$web4" 5000000
udp_echo client1 "$web4" 20
before=$(in_tunnel)
hash_down client1 "[$web6]" 5000000
same "bytes in the tunnel" "$(in_tunnel)" "$before"

step "the same again, then IPv6 too, then another range alone"
go_up client1 exit1 --range "$web4"
go_up client1 exit1 --range "$web4" --range 2001:db8:113::/48
sees "$exit4" "$exit6"
same "ranges" "$(ranges)" "$web4/32 2001:db8:113::/48"
hash_up client1 "[$web6]" 1000000
go_up client1 exit1 --range 192.0.2.0/24 --range 2001:db8:7::/48
sees "$own4" "$own6"

step "a range around the network that the client is on: that one stays local"
go_up client1 exit1 --range 198.51.0.0/16 --range 203.0.0.0/8
sees "$exit4" "$own6"
before=$(in_tunnel)
on client1 ping -q -n -c 2 -i 0.05 -W 2 "$(info .relays[0].address4)" >"$OUT"
same "bytes in the tunnel" "$(in_tunnel)" "$before"

step "--swap keeps the ranges"
vpn client1 --swap "$(exit_name exit2)" --token-file <(exit_token exit2)
sees "$(exit_address exit2 4)" "$own6"
same "ranges" "$(ranges)" "198.51.0.0/16 203.0.0.0/8"

step "from ranges to everything, and back"
go_up client1 exit1
sees "$exit4" "$exit6"
same "ranges" "$(ranges)" ""
differ "resolv.conf" "$(on client1 cat /etc/resolv.conf)" "$(cat "$TMP/resolv")"
go_up client1 exit1 --range "$web6"
sees "$own4" "$exit6"
same "resolv.conf" "$(on client1 cat /etc/resolv.conf)" "$(cat "$TMP/resolv")"

step "the exit makes the client answer a stranger: nothing leaves beside the tunnel"
lease=$(vpn client1 --status --json | jq -r .lease.ipv4)
capture client1 eth0 "$TMP/beside.pcap" src host "$lease"
on client1 ping -n -c 1 -W 1 -I "$lease" "$web4" >"$OUT" && fail "a ping from the lease was answered"
capture_stop
same "packets from the lease on the uplink" "$(tcpdump -n -r "$TMP/beside.pcap" 2>"$OUT" | wc -l)" 0

step "verified by IPv6 alone, and by IPv4 alone, also where rp_filter is strict"
vpn client1 --down
was=$(on client1 sysctl net.ipv4.conf.{eth0,default}.rp_filter | tr -d ' ')
on client1 sysctl -qw net.ipv4.conf.{eth0,default}.rp_filter=1
host_state client1 >"$TMP/strict"
# refuse FAMILY: exit1 forwards no packet of that family; the resolver that answers lies in no range.
refuse() {
	on exit1 nft -f - <<-END
		table inet block {
			chain forward { type filter hook forward priority 0; meta nfproto $1 drop; }
		}
	END
}
refuse ipv4
go_up client1 exit1 --range 192.0.2.0/24
sees "$own4" "$own6"
vpn client1 --down
on exit1 nft delete table inet block
refuse ipv6
go_up client1 exit1 --range 2001:db8:7::/48
sees "$own4" "$own6"
on exit1 nft delete table inet block
vpn client1 --down
same_state client1 "$TMP/strict"
# shellcheck disable=SC2086 # two words
on client1 sysctl -qw $was
same_state client1 "$TMP/before"

step "down"
go_up client1 exit1 --range "$web4"
vpn client1 --down
same_state client1 "$TMP/before"
sees "$own4" "$own6"

step "kill -9 while up: closed for the range alone; the next start takes it back"
go_up client1 exit1 --range "$web4" --range "$web6"
kill -STOP "$(cat "$RUN/supervisor.pid")"
kill_daemon client1
closed() {
	[[ $(on client1 ip route get "$1" 2>&1) =~ nreachable|No\ route ]]
}
wait_for 5 closed "$web4"
wait_for 5 closed "$web6"
on client1 ping -q -n -c 1 -W 2 "$(info .isp.address4)" >"$OUT"
kill -CONT "$(cat "$RUN/supervisor.pid")"
undone() {
	host_state client1 | diff -u "$TMP/before" -
}
wait_for 5 undone
go_up client1 exit1 --range "$web4"
sees "$exit4" "$own6"
vpn client1 --down
same_state client1 "$TMP/before"
step "done"
