#!/bin/bash
# An exit's host, alone in a namespace: set up, taken back, also after kill -9 + start + stop; what is refused;
# accounts while it runs and on a full disk. No directory, no client: those are in net_*.sh.
#
#   NS-exit  eth0 198.51.100.41/24, 2001:db8:100::41/64 ---- eth0  NS-wire
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

RUN=$TMP/run
DIR=$RUN/exit
CONFIG=$TMP/relay.ini
RELAY=${SISPOPNET_BUILD:-$TOP/build}/bin/sispopnet-relay
PID=
mkdir -p "$DIR"
: >"$RUN/supervisor.log"

on() {
	local host=$1
	shift
	ip netns exec "$NET-$host" "$@"
}

relay() {
	on exit "$RELAY" "$@" --config "$CONFIG"
}

at_end() {
	local code=$? host
	trap - ERR EXIT
	set +e
	[ -z "$PID" ] || kill -9 "$PID" 2>/dev/null
	mountpoint -q "$TMP/var" && umount "$TMP/var"
	for host in exit wire; do
		ip netns del "$NET-$host" 2>/dev/null
	done
	(exit $code)
	cleanup
}
trap at_end EXIT

# config [SED]: the exit's config, changed.
config() {
	cat >"$CONFIG" <<-END
		[relay]
		state = $TMP/var
		run = $DIR
		network = $TMP/network.conf
		address4 = 198.51.100.41:4400
		address6 = [2001:db8:100::41]:4400
		workers = 2

		[exit]
		interface = sx-test
		lease4 = 10.101.0.0/16
		lease6 = fd53:1::/64
		dns = 203.0.113.10
		policy = accept 203.0.113.0/24
		policy = accept [2001:db8::]/32
	END
	[ $# = 0 ] || sed -i "$1" "$CONFIG"
}

# As a service manager starts it: CAP_NET_ADMIN and nothing else. Not by on(): the process to end is the relay itself.
launch() {
	ip netns exec "$NET-exit" setpriv --inh-caps=-all --bounding-set=-all,+net_admin --no-new-privs \
		"$RELAY" run --config "$CONFIG" >>"$DIR/relay.log" 2>&1 &
	PID=$!
}

start() {
	launch
	wait_for 5 relay status
}

# ends SIGNAL CODE: the running exit ends with that code.
ends() {
	local got=0
	kill "-$1" "$PID"
	wait "$PID" 2>/dev/null || got=$?
	PID=
	same "exit code after $1" "$got" "$2"
}

# refused WORDS [SED]: `run` with that config ends with 1 and one line that has these words; the host stays as in
# $TMP/now.
refused() {
	host_state exit >"$TMP/now"
	config "${2-}"
	expect 1 relay run
	grep -qi -- "$1" "$OUT" || fail "no word of '$1' in: $(cat "$OUT")"
	same "lines" "$(wc -l <"$OUT")" 1
	same_state exit "$TMP/now"
	[ ! -e "$DIR/journal" ] || fail "a journal is left: $(cat "$DIR/journal")"
	config
}

is_up() {
	host_state exit >"$TMP/up"
	for word in 'sx-test' '10.101.0.1/16' 'fd53:1::1/64' 'table inet sispopnet_exit_sx_test' 'masquerade' \
		'net.ipv4.ip_forward = 1' 'net.ipv6.conf.all.forwarding = 1' 'mtu 1371'; do
		grep -qF -- "$word" "$TMP/up" || fail "$word is missing while the exit runs"
	done
}

STARTED=no
for host in exit wire; do
	ip netns add "$NET-$host"
	on $host ip link set lo up
done
ip -n "$NET-exit" link add eth0 type veth peer name eth0 netns "$NET-wire"
ip -n "$NET-exit" addr add 198.51.100.41/24 dev eth0
ip -n "$NET-exit" addr add 2001:db8:100::41/64 dev eth0 nodad
for host in exit wire; do
	ip -n "$NET-$host" link set eth0 up
done
link_is_settled() {
	! on exit ip -6 addr | grep -q tentative
}
wait_for 5 link_is_settled
config
cat >"$TMP/network.conf" <<-END
	[network]
	id = 7
	k = 1
	authority = $(printf 'y%.0s' {1..52}) http://198.51.100.11:4401
END
NAME=$(relay keygen)
sed -i "s/y\{52\}/${NAME%.sispop}/" "$TMP/network.conf"
host_state exit >"$TMP/before"

step "set up and taken back"
start
is_up
same "mode of the accounts" "$(stat -c %a "$TMP/var/accounts.db")" 600
ends TERM 0
same_state exit "$TMP/before"
[ ! -e "$DIR/journal" ] || fail "a journal is left"

step "kill -9, then start and stop"
start
ends KILL 137
host_state exit >"$TMP/killed"
! cmp -s "$TMP/before" "$TMP/killed" || fail "kill -9 left nothing, so this test shows nothing"
start
is_up
ends TERM 0
same_state exit "$TMP/before"

step "kill -9 in the midst of set-up and of taking back, at many moments"
for delay in 0.005 0.01 0.015 0.02 0.03 0.04 0.05 0.07 0.1; do
	launch
	sleep "$delay" # the moment is what is tested
	ends KILL 137
done
for delay in 0 0.002 0.005 0.01 0.02; do
	start
	kill -TERM "$PID"
	sleep "$delay"
	kill -9 "$PID" 2>/dev/null || true
	wait "$PID" 2>/dev/null || true
	PID=
done
start
ends TERM 0
same_state exit "$TMP/before"

step "what is in use or wrong is named, and nothing is changed"
on exit ip link add sx-test type veth peer name other
refused sx-test
on exit ip link del sx-test
on exit nft add table inet sispopnet_exit_sx_test
refused sispopnet_exit_sx_test
on exit nft delete table inet sispopnet_exit_sx_test
on exit ip addr add 10.101.7.1/24 dev eth0
refused 10.101.7.0/24
on exit ip addr del 10.101.7.1/24 dev eth0
chmod 640 "$TMP/var/accounts.db"
refused "chmod 600"
chmod 600 "$TMP/var/accounts.db"
same_state exit "$TMP/before"
for change in '/^lease/d' 's/^lease4.*/lease4 = 192.168.0.0\/16/' 's/^dns.*/dns = 192.168.0.1/' 's/^idle.*//;$a idle = 1s' \
	'$a policy = accept *:0-99999' '$a policy = refuse *'; do
	config "$change"
	expect 2 relay run
	same "lines" "$(wc -l <"$OUT")" 1
done
config

step "a second exit on the same run folder, and a damaged account file"
start
expect 1 relay run
ends TERM 0
cp "$TMP/var/accounts.db" "$TMP/accounts.db"
dd if=/dev/urandom of="$TMP/var/accounts.db" bs=4096 count=1 conv=notrunc status=none
rm -f "$TMP"/var/accounts.db-*
refused "damaged"
cp "$TMP/accounts.db" "$TMP/var/accounts.db"

step "accounts while it runs, from several commands at once"
start
adders=()
for i in 1 2 3 4; do
	relay token add "user$i" --expires 1d >"$TMP/token$i" &
	adders+=($!)
done
for pid in "${adders[@]}"; do
	wait "$pid"
done
same "accounts" "$(relay token list | wc -l)" 4
same "tokens" "$(sort -u "$TMP"/token[1-4] | wc -l)" 4
expect 1 relay token add user2
relay token revoke user3
same "revoked" "$(relay token list --json | jq -r '.[] | select(.state == "revoked") | .name')" user3
grep -rqFf "$TMP/token1" "$TMP/var" && fail "the token stands in the state folder"
same "leases" "$(relay status --json | jq '.exit.leases')" 0

step "SIGHUP: a new policy is taken, a mistake is not"
reloaded() {
	grep -c "$1" "$DIR/relay.log"
}
config '$a policy = accept *:443'
kill -HUP "$PID"
wait_for 5 reloaded "config read anew"
config 's/^lease4.*/lease4 = 10.102.0.0\/16/'
kill -HUP "$PID"
wait_for 5 reloaded "lease4 changed"
config '$a policy = perhaps'
kill -HUP "$PID"
wait_for 5 reloaded "stays in force"
config
ends TERM 0
same_state exit "$TMP/before"

step "a full disk is said, and nothing is half-written"
mkdir "$TMP/small"
cp -a "$TMP/var/." "$TMP/small"
mount -t tmpfs -o size=400k,mode=700 tmpfs "$TMP/var"
cp -a "$TMP/small/." "$TMP/var"
dd if=/dev/zero of="$TMP/var/most" bs=4k count=$(($(stat -f -c %a "$TMP/var") - 16)) status=none
count=4
while relay token add "more$count" >"$OUT" 2>&1; do
	dd if=/dev/zero of="$TMP/var/rest$count" bs=4k count=1 status=none
	count=$((count + 1))
	[ $count -lt 30 ] || fail "the disk does not get full"
done
grep -qi "full\|space" "$OUT" || fail "no word of the full disk: $(cat "$OUT")"
same "accounts after the disk was full" "$(relay token list | wc -l)" $count
rm "$TMP/var"/most
relay token add after >"$TMP/token"
same "accounts when there is room again" "$(relay token list | wc -l)" $((count + 1))
umount "$TMP/var"
step "done"
