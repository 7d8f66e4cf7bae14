#!/bin/bash
# Nothing is allocated, logged or locked on the packet path, and the system is asked nothing: clients, relays and exits
# run under a guard (tests/preload/no_malloc.c) that ends a daemon whose worker does so. Both AEAD engines in all places.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_batch.sh"

GUARD=${SISPOPNET_BUILD:-$TOP/build}/tests/no_malloc.so
WORKERS=2
[ -e "$GUARD" ] || fail "the guard was not built: $GUARD"
engines=(openssl)
! grep -qw aes /proc/cpuinfo || engines+=(ipsec-mb)

# Both relays are on every path; the first of each kind has one engine, the second the other.
net_up --relays 2 --exits 2 --clients 2 --preload "$GUARD" --client-set workers=$WORKERS --relay-set workers=$WORKERS \
	--client-set engine=openssl --relay-set engine=openssl --param path-lifetime=8s --param path-grace=2s
if [ ${#engines[@]} = 2 ]; then
	for host in client2 relay2 exit2; do
		set_keys $host engine "${engines[1]}"
		"$TESTNET" restart --prefix "$NET" "$host" &
	done
	wait
fi
web4=$(info .web.address4)
web6=$(info .web.address6)
serve

# All daemons of a client's path wait for its packets under the guard.
guarded() {
	local host
	for host in client1 client2 relay1 relay2 exit1 exit2; do
		[ "$(cat "$RUN/$host"/{relay,sispopnetd}.log 2>/dev/null | grep -c 'no_malloc: worker[01] is watched')" -ge \
			$WORKERS ] || return 1
	done
}
wait_for 10 guarded

path_age() {
	daemon "$1" '.paths[] | select(.role == "primary") | .age_s'
}

# The worker itself must say so: the interface is told that more fits than the path carries.
too_big() {
	on "$1" ip link set sispop0 mtu 1500
	expect 1 on "$1" ping -c 1 -W 2 -M "do" -s 1400 "$web4"
	matches "Fragmentation Needed" "$(cat "$OUT")" 'mtu ?= ?[0-9]+'
	expect 1 on "$1" ping -c 1 -W 2 -M "do" -s 1400 "$web6"
	matches "Packet Too Big" "$(cat "$OUT")" 'mtu ?= ?[0-9]+'
	on "$1" ip link set sispop0 mtu "$2"
}

# too_big_back HOST EXIT ADDRESS: the web answers in packets that the path does not carry, until the worker of the exit
# has told it.
too_big_back() {
	on "$2" ip link set "sx${2#exit}" mtu 1500
	on "$1" /usr/bin/python3 -I -c '
import socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(0.5)
sock.connect((sys.argv[1], 7))
for attempt in range(20):
    sock.send(b"x" * 1400)
    try:
        sys.exit(sock.recv(2000) != b"x" * 1400)
    except TimeoutError:
        pass
sys.exit("no answer of 1400 bytes")' "$3"
}

refused() {
	expect 1 on "$1" ping -c 2 -i 0.05 -W 2 10.0.0.1
	expect 1 on "$1" ping -c 2 -i 0.05 -W 2 fd77::1
	expect 1 on "$1" ping -c 2 -i 0.05 -W 2 8.8.8.8
	matches "what the exit's policy said" "$(cat "$OUT")" 'filtered|Prohibited|prohibited|Unreachable'
}

all_counted() {
	[ "$(daemon "$1" '[.drops[]] | add // 0')" -ge $(($2 + 6)) ]
}

# noise HOST ADDRESS PORT: what no worker can make sense of, in all sizes; each datagram is counted.
noise() {
	local before
	before=$(daemon "$1" '[.drops[]] | add // 0')
	on isp /usr/bin/python3 -I -c '
import os, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (1, 19, 64, 192, 500, 1472):
    sock.sendto(os.urandom(size), (sys.argv[1], int(sys.argv[2])))' "$2" "$3"
	wait_for 3 all_counted "$1" "$before"
}

everything() {
	traffic "$1" tcp "$web4" 8000000
	traffic "$1" tcp "$web6" 8000000
	traffic "$1" udp "$web4" 60 >"$OUT"
	traffic "$1" udp "$web6" 60 >"$OUT"
	on "$1" ping -q -n -c 3 -i 0.05 -W 2 "$web4" >"$OUT"
	on "$1" ping -q -n -c 2 -i 0.05 -W 2 -s 4000 "$web6" >"$OUT"
}

# until_younger HOST AGE: traffic, and another path afterwards.
until_younger() {
	traffic "$1" tcp "$web4" 2000000
	traffic "$1" udp "$web6" 10
	awk -v a="$(path_age "$1")" -v b="$2" 'BEGIN { exit !(a < b) }'
}

number=0
for client in client1 client2; do
	exit=exit$((++number))
	wait_for 20 go_up "$client" "$exit"
	for host in "$client" relay$number "$exit"; do
		same "engine of $host" "$(daemon "$host" .engine)" "${engines[(number - 1) % ${#engines[@]}]}"
	done
	step "$client: what is refused, what is too big"
	refused "$client"
	too_big "$client" "$(on "$client" cat /sys/class/net/sispop0/mtu)"
	too_big_back "$client" "$exit" "$web6"
	[ "$(drops "$exit" inner-mtu)" -ge 1 ] || fail "nothing was too big at $exit"
	step "$client: noise"
	noise "$client" "$(info ".clients[] | select(.host == \"$client\") | .address4")" \
		"$(on "$client" ss -Huan | awk '{ n = split($4, a, ":"); print a[n]; exit }')"
	noise relay$number "$(info ".relays[] | select(.host == \"relay$number\") | .address4")" 4400
	noise "$exit" "$(info ".exits[] | select(.host == \"$exit\") | .wan4")" 4400
	step "$client: TCP, UDP and ping"
	everything "$client"
	step "$client: until another path has taken over"
	before=$(path_age "$client")
	wait_for 20 until_younger "$client" "$before"
	vpn "$client" --down
done

step "nobody was caught"
same "what workers did" "$(cat "$RUN"/*/*.log | grep 'no_malloc:' | grep -v 'is watched$' || true)" ""
serve_stop
step "done"
