#!/bin/bash
# One client, one exit, everything that a user does: addresses, TCP, UDP, ping and DNS in both families and
# both directions, status, and a host that is the same before and after.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 5 --exits 2
web4=$(info .web.address4)
web6=$(info .web.address6)
host_state client1 >"$TMP/before"

step "without the VPN the web sees the client"
same "address" "$(seen4 client1)" "$(info .clients[0].address4)"
same "address" "$(seen6 client1)" "$(info .clients[0].address6)"

step "up"
go_up client1 exit1
differ "the state of the host" "$(cat "$TMP/before")" "$(host_state client1)"
leaks=$(wc -l <"$LEAK_LOG")

step "the web sees the exit"
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
same "address" "$(seen6 client1)" "$(exit_address exit1 6)"

step "ping"
on client1 ping -q -n -c 5 -i 0.05 -W 2 "$web4"
on client1 ping -q -n -c 5 -i 0.05 -W 2 "$web6"
on client1 ping -q -n -c 2 -i 0.05 -W 2 -s 3000 "$web4"
on client1 ping -q -n -c 2 -i 0.05 -W 2 -s 3000 "$web6"

step "DNS, by the exit's resolver alone"
same "web.test" "$(on client1 getent ahostsv4 web.test | awk '{ print $1; exit }')" "$web4"
same "web.test" "$(on client1 getent ahostsv6 web.test | awk '{ print $1; exit }')" "$web6"
same "whoami.test at web" "$(on client1 dig +short +time=2 whoami.test TXT "@$web4")" "\"$(exit_address exit1 4)\""
same "whoami.test at web" "$(on client1 dig +short +time=2 whoami.test TXT "@$web6")" "\"$(exit_address exit1 6)\""
matches "whoami.test by resolv.conf" "$(on client1 dig +short +time=2 whoami.test TXT)" \
	"^\"($(exit_address exit1 4)|$(exit_address exit1 6))\"$"
same "records of big.test" "$(on client1 dig +short +time=2 big.test TXT "@$web4" | wc -l)" 20
same "what the provider's resolver was asked" "$(($(wc -l <"$LEAK_LOG") - leaks))" 0

step "UDP"
udp_echo client1 "$web4" 100
udp_echo client1 "$web6" 100
on client1 iperf3 -c "$web4" -u -b 20M -t 1 >"$OUT"
on client1 iperf3 -c "$web6" -u -b 20M -t 1 -R >"$OUT"

step "TCP, 200 MB each way"
hash_down client1 "$web4" 200000000
hash_up client1 "$web4" 200000000
step "TCP by IPv6, 50 MB each way"
hash_down client1 "[$web6]" 50000000
hash_up client1 "[$web6]" 50000000
same "by name" "$(on client1 curl -sS -4 -m 5 http://web.test/)" "$(exit_address exit1 4)"

step "status"
vpn client1 --status --json >"$OUT"
same "state" "$(jq -r .state "$OUT")" up
same "schema" "$(jq -r .schema "$OUT")" 1
same "exit" "$(jq -r .exit.name "$OUT")" "$(exit_name exit1)"
same "hops" "$(jq -r '.paths[] | select(.role == "primary") | .hops | length' "$OUT")" 3
same "last hop" "$(jq -r '.paths[] | select(.role == "primary") | .hops[-1].name' "$OUT")" "$(exit_name exit1)"
matches "address of the guard" "$(jq -r '.paths[0].hops[0].address' "$OUT")" '^198\.51\.100\.[0-9]+$'
matches "lease" "$(jq -r .lease.ipv4 "$OUT")" '^10\.101\.'
matches "lease" "$(jq -r .lease.ipv6 "$OUT")" '^fd53:1:'
matches "bytes down" "$(jq -r .bytes.down "$OUT")" '^[0-9]{9,}$'
vpn client1 --status >"$OUT"
expect 0 vpn client1 --exits --json
matches "exits" "$(cat "$OUT")" "$(exit_name exit2)"

step "up again, swap, down, down again"
go_up client1 exit1
go_up client1 exit2
same "address" "$(seen4 client1)" "$(exit_address exit2 4)"
same "address" "$(seen6 client1)" "$(exit_address exit2 6)"
vpn client1 --down
same_state client1 "$TMP/before"
same "state" "$(vpn client1 --status --json | jq -r .state)" off
vpn client1 --down

step "the web sees the client again"
same "address" "$(seen4 client1)" "$(info .clients[0].address4)"
same "address" "$(seen6 client1)" "$(info .clients[0].address6)"
step "done"
