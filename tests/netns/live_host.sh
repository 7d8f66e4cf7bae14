#!/bin/bash
# Hosts that do not let a daemon work: each is told by name with its mend, and is left as it was. Daemons whose disk
# is full or that may not write; a relay's SIGHUP; what no log has, at the talkative level either.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

MARK=0x73697370
TABLE=1936290672
net_up --relays 3 --exits 1 --client-set log=debug --relay-set log=debug
name=$(exit_name exit1)
token=$(exit_token exit1)
folder=$RUN/client1
config=$folder/client.ini
host_state client1 >"$TMP/before"

# refused WORDS...: --up ends with 9 and one line with all these words; the host is as it is now.
refused() {
	local word
	host_state client1 >"$TMP/here"
	expect 9 go_up client1 exit1
	step "$(tail -n 1 "$OUT")"
	same "lines" "$(wc -l <"$OUT")" 1
	for word; do
		grep -qF -- "$word" "$OUT" || fail "no '$word' in: $(cat "$OUT")"
	done
	same_state client1 "$TMP/here"
}

works() {
	go_up client1 exit1
	same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
	vpn client1 --down
	same_state client1 "$TMP/before"
}

step "9: things that others use"
on client1 ip route add 192.0.2.0/24 dev eth0 table $TABLE
refused "routing table $TABLE" "in use" "another"
on client1 ip route del 192.0.2.0/24 dev eth0 table $TABLE
on client1 ip -6 rule add fwmark $MARK lookup 99 priority 5000
refused "mark $MARK" "in use" "another"
on client1 ip -6 rule del priority 5000
on client1 ip rule add from 192.0.2.9 lookup $TABLE priority 6000
refused "routing table $TABLE" "6000"
on client1 ip rule del priority 6000
on client1 nft add table inet sispopnet_sispop0
refused "sispopnet_sispop0" "nft delete table"
on client1 nft delete table inet sispopnet_sispop0
on client1 ip link add sispop0 type bridge
refused "sispop0" "ip link del"
on client1 ip link del sispop0
works

# alone SHELL...: the daemon without its supervisor, after SHELL in a mount namespace of its own.
alone() {
	(exec "$TESTNET" exec --prefix "$NET" client1 bash -c "set -e; $1; exec setpriv --inh-caps=-all \
		--bounding-set=-all,+net_admin --no-new-privs sispopnetd" >"$TMP/alone" 2>&1) &
	daemon=$!
	wait_for 5 vpn client1 --status
}
end_alone() {
	kill "$daemon"
	wait "$daemon" || fail "the daemon ended with $?: $(cat "$TMP/alone")"
	same_state client1 "$TMP/before"
}
knows_exits() {
	vpn client1 --exits --json | grep -qF "$name"
}

"$TESTNET" stop --prefix "$NET" client1
step "9: no /dev/net/tun"
alone "mount -t tmpfs none /dev/net"
refused "/dev/net/tun" "modprobe tun"
end_alone
step "9: no CAP_NET_ADMIN"
expect 9 on client1 setpriv --inh-caps=-all --bounding-set=-all sispopnetd
matches "the sentence" "$(cat "$OUT")" "CAP_NET_ADMIN.*root"
same_state client1 "$TMP/before"

step "2: a network file with a mistake, whoever reads it: file and line"
for change in '2i colour = blue' 's/^k = .*/k = 0/' 's/^id = .*/id = here/' 's,http://,https://,' '/^authority/d' \
	's/^consensus-interval = .*/consensus-interval = never/' '$a subnet-rule = perhaps'; do
	sed "$change" "$RUN/network.conf" >"$TMP/network.conf"
	for host in client1 relay1 auth1; do
		case $host in
		client1) file=client command=(sispopnetd) ;;
		relay1) file=relay command=(sispopnet-relay run) ;;
		auth1) file=authority command=(sispopnet-authority run) ;;
		esac
		sed "s,^network = .*,network = $TMP/network.conf," "$RUN/$host/$file.ini" >"$TMP/$file.ini"
		expect 2 on $host "${command[@]}" --config "$TMP/$file.ini"
		matches "$change at $host" "$(cat "$OUT")" "$TMP/network.conf:[0-9]+: "
		same "lines" "$(wc -l <"$OUT")" 1
	done
done

step "a state folder that is full: said, nothing half-written, and the daemon works"
alone "mount -t tmpfs -o size=8k,mode=700 none $folder/state; echo ready >$folder/state/ready;
	head -c 4096 /dev/zero >$folder/state/filler"
wait_for 10 knows_exits
go_up client1 exit1
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down
grep -qiE "directory is not cached.*(space|full)" "$TMP/alone" || fail "no word of the full disk: $(cat "$TMP/alone")"
grep -qiE "guards.*(space|full)" "$TMP/alone" || fail "no word of the guards: $(cat "$TMP/alone")"
same "files on the full disk" "$(nsenter -m -t "$daemon" find "$folder/state" -type f -printf '%f\n' | sort | xargs)" \
	"filler ready"
end_alone

step "a state folder that may not be written"
chmod 500 "$folder/state"
rm -f "$folder"/state/*
alone true
wait_for 10 knows_exits
go_up client1 exit1
vpn client1 --down
grep -qE "directory is not cached.*Permission denied" "$TMP/alone" || fail "no word of it: $(cat "$TMP/alone")"
same "files there" "$(find "$folder/state" -type f | wc -l)" 0
end_alone
chmod 700 "$folder/state"

step "9: a full disk under the undo journal: nothing is changed without it"
alone "mkdir -p $TMP/run; mount -t tmpfs -o size=4k,mode=755 none $TMP/run; sed 's,^run = .*,run = $TMP/run,' $config \
	>$TMP/run.ini; head -c 4096 /dev/zero >$TMP/run/filler; export SISPOPNET_CONFIG=$TMP/run.ini"
wait_for 10 knows_exits
refused "journal" "room"
end_alone

step "a relay without room for its keys"
mkdir -p "$TMP/keys"
sed "s,^state = .*,state = $TMP/keys/state," "$RUN/relay1/relay.ini" >"$TMP/relay.ini"
expect 1 on relay1 bash -c "mount -t tmpfs -o size=8k,mode=755 none $TMP/keys; mkdir -m 700 $TMP/keys/state
	head -c 8192 /dev/zero >$TMP/keys/filler; code=0
	sispopnet-relay keygen --config $TMP/relay.ini || code=\$?
	find $TMP/keys/state -type f >$TMP/found; exit \$code"
matches "the sentence" "$(cat "$OUT")" "[Ss]pace|full"
same "files" "$(cat "$TMP/found")" ""

step "SIGHUP of a relay: a mistake changes nothing and is told, a good change is taken"
"$TESTNET" start --prefix "$NET" client1
wait_for 5 vpn client1 --status
weight() {
	on auth1 sispopnet-authority show | awk '$NF == "relay1" { print $4 }'
}
weighs() {
	[ "$(weight)" = "$1" ]
}
relay=$(daemon_pid relay1)
was=$(weight)
sed -i 's/^bandwidth-mbit = .*/bandwidth-mbit = 77\ncolour = blue/' "$RUN/relay1/relay.ini"
kill -HUP "$relay"
wait_for 5 grep -qE 'relay.ini:[0-9]+: .*colour.*stays in force' "$RUN/relay1/relay.log"
works
same "weight of relay1" "$(weight)" "$was"
sed -i '/colour/d' "$RUN/relay1/relay.ini"
kill -HUP "$relay"
wait_for 10 weighs 77
same "process of relay1" "$(daemon_pid relay1)" "$relay"

step "memory that others of the same user may not read"
# As root with the capabilities that a client has: the kernel then goes by whether a process may be dumped.
as_client=(setpriv --inh-caps=-all "--bounding-set=-all,+net_admin")
looks() {
	"${as_client[@]}" cat "/proc/$1/environ" >"$TMP/environ" 2>"$OUT"
}
"${as_client[@]}" sleep 1000 &
open=$!
wait_for 5 looks $open
kill $open
wait $open || true
for host in relay1 exit1 auth1 client1; do
	if looks "$(daemon_pid $host)"; then
		fail "the memory of $host's daemon can be read"
	fi
done

step "nothing of the inside in a log of level debug, nor in a command line of a daemon"
vpn client1 --up --exit "$name" --token "$token"
lease4=$(vpn client1 --status --json | jq -r .lease.ipv4)
lease6=$(vpn client1 --status --json | jq -r .lease.ipv6)
on client1 curl -sS -m 5 http://web.test/ >"$OUT"
on client1 ping -q -n -c 2 -i 0.05 "$(info .web.address6)" >"$OUT"
vpn client1 --down
mapfile -t logs < <(find "$RUN" -name relay.log -o -name sispopnetd.log -o -name authority.log)
for secret in "$token" "$lease4" "$lease6" "$(info .web.address4)" "$(info .web.address6)" web.test; do
	if grep -F -- "$secret" "${logs[@]}" "$TMP/alone"; then
		fail "a log has $secret"
	fi
	for host in relay1 exit1 auth1 client1; do
		if tr '\0' ' ' <"/proc/$(daemon_pid $host)/cmdline" | grep -F -- "$secret"; then
			fail "a command line has $secret"
		fi
	done
done
same_state client1 "$TMP/before"
step "done"
