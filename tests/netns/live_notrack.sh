#!/bin/bash
# The daemons' own datagrams are not tracked: no entry for them while traffic flows, and full tables at client
# and exit stop neither. A client's firewall that goes by connection tracking is given way to.
#
# client1 has a path of three hops by IPv4, client2 one of one hop by IPv6: the exit's links are of both kinds.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

RELAY_PORT=4400
HELD_BYTES=3000000
HELD=()

net_up --relays 3 --exits 1 --clients 2 --underlay both
sed -i 's/^underlay = .*/underlay = 6/' "$RUN/client2/client.ini"
"$TESTNET" restart --prefix "$NET" client2
wait_for 10 vpn client2 --status
web4=$(info .web.address4)

tracker() {
	on "$1" "$TOP/tests/netns/conntrack.py" "$2"
}

# relay_entries HOST: entries of the onion network's datagrams there.
relay_entries() {
	tracker "$1" list >"$TMP/entries"
	grep -c "^udp .* $RELAY_PORT\\b" "$TMP/entries" || true
}

# The tracker works only where somebody asks it: at the clients this firewall does, at the exit the masquerading.
watch_connections() {
	on "$1" nft add table inet watch '{ chain in { type filter hook input priority 0;
		ct state established,related accept; }; }'
}

is_untracked() {
	on "$1" nft list table inet sispopnet_sispop0 >"$TMP/table"
	grep -q notrack "$TMP/table"
}

is_tracked() {
	! is_untracked "$1"
}

# held_connection CLIENT FILE: in the background, one TCP connection that is open when this returns; once FILE is
# there it carries HELD_BYTES each way, compared by hash.
held_connection() {
	on "$1" /usr/bin/python3 -I -c '
import hashlib, http.client, os, sys, time
address, size, go = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def ask(verb, path, body=None):
    connection.request(verb, path, body)
    return connection.getresponse().read()
connection = http.client.HTTPConnection(address, timeout=20)
print(ask("GET", "/").decode(), flush=True)
port = connection.sock.getsockname()
while not os.path.exists(go):
    time.sleep(0.02)
data = ask("GET", f"/bytes/{size}?{go}")
if hashlib.sha256(data).hexdigest() != ask("GET", f"/sha256/{size}?{go}").decode().strip():
    sys.exit("the download came changed")
if ask("PUT", "/sink", data).decode().split() != [hashlib.sha256(data).hexdigest(), str(size)]:
    sys.exit("the upload came changed")
if connection.sock.getsockname() != port:
    sys.exit("it was another connection")
' "$web4" $HELD_BYTES "$2" >"$TMP/held.$1" &
	HELD+=($!)
	wait_for 5 test -s "$TMP/held.$1"
}

host_state client1 >"$TMP/before"
for client in client1 client2; do
	watch_connections $client
done
step "no entry while traffic flows"
go_up client1 exit1
go_up client2 exit1 --hops 1
same "hops of client2" "$(hop_hosts client2)" exit1
for host in client1 client2 exit1; do
	tracker $host flush # what was tracked before the host was set up
done
for client in client1 client2; do
	hash_down $client "$web4" 5000000
	udp_echo $client "$web4" 20
done
for host in client1 client2 exit1; do
	same "entries of the relay port at $host" "$(relay_entries $host)" 0
	grep -q "^tcp .* 80 [0-9]*\$" "$TMP/entries" || fail "the tracker of $host sees nothing, so this test shows nothing"
	grep -q "^udp .* 7 [0-9]*\$" "$TMP/entries" || fail "the tracker of $host does not see UDP"
done

step "full tables"
if grep "nothing comes back" "$RUN"/client?/sispopnetd.log; then
	fail "the clients gave way to a firewall that there is not"
fi
for client in client1 client2; do
	held_connection $client "$TMP/go"
done
for host in client1 client2 exit1; do
	same "entries of the relay port at $host" "$(relay_entries $host)" 0
	tracker $host fill >/dev/null &
	filling+=($!)
done
for pid in "${filling[@]}"; do
	wait "$pid"
done
for host in client1 client2 exit1; do
	! on $host ping -c 1 -W 1 "$(info .isp.address4)" >"$OUT" 2>&1 || fail "the table of $host is not full"
done
touch "$TMP/go"
for pid in "${HELD[@]}"; do
	wait "$pid"
done
same "state with full tables" "$(vpn client1 --status --json | jq -r .state) $(vpn client2 --status --json | jq -r .state)" "up up"

step "a rule less, and the full table cuts client1 off"
on client1 nft flush chain inet sispopnet_sispop0 own
is_off() {
	[ "$(vpn client1 --status --json | jq -r .state)" != up ]
}
wait_for 15 is_off
same "state of client2" "$(vpn client2 --status --json | jq -r .state)" up
tracker client1 flush
is_on() {
	[ "$(vpn client1 --status --json | jq -r .state)" = up ]
}
wait_for 15 is_on
for host in client2 exit1; do
	tracker $host flush
done
vpn client1 --down
vpn client2 --down

step "a firewall that lets in nothing but answers"
stateful() {
	on client1 nft add table inet watch '{ chain in { type filter hook input priority 0; policy drop;
		ct state established,related accept; meta l4proto icmpv6 accept; }; }'
}
on client1 nft delete table inet watch
stateful
within 2 go_up client1 exit1
is_tracked client1 || fail "the datagrams are not tracked again"
hash_down client1 "$web4" 1000000
on client1 nft delete table inet watch
vpn client1 --down
within 2 go_up client1 exit1
is_untracked client1 || fail "another --up does not try again"

step "one that comes later"
hash_down client1 "$web4" 1000000
stateful
wait_for 15 is_tracked client1
comes_back() {
	seen4 client1 >"$OUT"
}
wait_for 15 comes_back
same "address" "$(cat "$OUT")" "$(exit_address exit1 4)"
on client1 nft delete table inet watch
vpn client1 --down
same_state client1 "$TMP/before"
step "done"
