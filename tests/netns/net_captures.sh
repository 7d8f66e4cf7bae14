#!/bin/bash
# What a watcher of all links sees: on the middle relay neither the client nor the web; the same lengths on
# every link; no byte run of one link on another; nothing of the inside.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

marker="nobody may read this line"
client=198.51.100.101
net_up --relays 5 --exits 1
web4=$(info .web.address4)
go_up client1 exit1
mapfile -t hops < <(hop_hosts client1)
same "hops" "${#hops[@]}" 3
step "path: ${hops[*]}"
declare -A address
for host in client1 "${hops[@]}"; do
	on "$host" ethtool -K eth0 tx-udp-segmentation off
	address[$host]=$(on "$host" ip -4 -j addr show dev eth0 | jq -r '.[0].addr_info[0].local')
	capture "$host" eth0 "$TMP/$host" udp port 4400
done
capture "${hops[1]}" eth0 "$TMP/middle-all" "host $client or host $web4"

sleep 0.3 # what is on its way must not count on one link and be too early on another
start=$EPOCHREALTIME
step "traffic: UDP of many sizes, a download, an upload, all with a line to look for"
on client1 /usr/bin/python3 -I -c '
import socket, sys
sock = socket.create_connection((sys.argv[1], 7), 10)
for size in (20, 100, 300, 600, 900, 1300):
    data = (sys.argv[2].encode() * 60)[:size]
    sock.sendall(data)
    while data:
        data = data[len(sock.recv(65536)):]
' "$web4" "$marker"
udp_echo client1 "$web4" 30
hash_down client1 "$web4" 300000
hash_up client1 "$web4" 300000
sleep 0.3 # for the last acknowledgements: no condition tells that there are none
capture_stop
same "packets that a capture missed" "$(cat "$TMP"/*.err | grep 'dropped by kernel' | grep -vc '^0 ' || true)" 0

step "the middle relay"
same "packets of client or web at the middle" "$(tcpdump -n -r "$TMP/middle-all" 2>"$OUT" | wc -l)" 0
# check_way HOST...: the links between them in that direction.
check_way() {
	local words=() i
	for ((i = 1; i < $#; i++)); do
		words+=("$TMP/${!i}" "${address[${!i}]}>${address[${@:i+1:1}]}")
	done
	"$TOP/tests/netns/pcap_check.py" "$marker" "$start" "${words[@]}"
}
step "forward"
check_way client1 "${hops[@]}"
step "backward"
check_way "${hops[2]}" "${hops[1]}" "${hops[0]}" client1
vpn client1 --down
step "done"
