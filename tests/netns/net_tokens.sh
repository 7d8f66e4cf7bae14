#!/bin/bash
# Bad input and what it gets: every exit code of sispopnet-vpn from 2 to 11, with the host untouched.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 4 --exits 2 --clients 2
name=$(exit_name exit1)
token=$(exit_token exit1)
config=$RUN/exit1/relay.ini
host_state client1 >"$TMP/before"

# refused CODE WORDS ARG...: sispopnet-vpn ARG... ends with CODE and one line with WORDS; nothing changed.
refused() {
	local code=$1 words=$2
	shift 2
	expect "$code" vpn client1 "$@"
	grep -qiE "$words" "$OUT" || fail "no word of '$words' in: $(cat "$OUT")"
	same_state client1 "$TMP/before"
}

up_with() {
	refused "$1" "$2" --up --exit "$3" --token "$4" "${@:5}"
}

step "2: usage"
refused 2 "." --up
refused 2 "." --frobnicate
refused 2 "." --up --down
refused 2 "." --up --exit "$name" --token "$token" --hops 9
refused 2 "." --up --exit "$name" --token-file "$TMP/missing"
refused 2 "." --up --exit "$name" --token "$token" --timeout never

step "3: no daemon"
expect 3 on client1 sispopnet-vpn --socket "$TMP/nobody" --up --exit "$name" --token "$token"
expect 3 on client1 env SISPOPNET_SOCKET="$TMP/nobody" sispopnet-vpn --status
expect 3 on client1 env SISPOPNET_SOCKET="$TMP/nobody" sispopnet-vpn --down

step "5: names"
up_with 5 "name|exit" "${name:0:51}.sispop" "$token"
up_with 5 "name|exit" "${name:0:51}b.sispop" "$token"
up_with 5 "name|exit" "l${name:1}" "$token"
up_with 5 "name|exit" "${name%.sispop}.onion" "$token"
up_with 5 "exit" "$(printf 'y%.0s' {1..52}).sispop" "$token"
step "5: a relay that is no exit"
up_with 5 "exit" "$(info '.relays[0].name')" "$token"

step "7: tokens"
within 2 up_with 7 "token" "$name" wrong
within 2 up_with 7 "token" "$name" "$(exit_token exit2)"
on exit1 sispopnet-relay token add gone --config "$config" >"$TMP/gone"
on exit1 sispopnet-relay token revoke gone --config "$config"
within 2 up_with 7 "token|revoked" "$name" "$(cat "$TMP/gone")"
# The shortest time is a minute; the account is made older, as nobody wants to wait for that.
on exit1 sispopnet-relay token add brief --expires 60s --config "$config" >"$TMP/brief"
/usr/bin/python3 -I -c '
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    changed = db.execute("UPDATE account SET created = created - 100, expires = expires - 100 WHERE name = ?",
                         ("brief",)).rowcount
sys.exit(changed != 1)' "$RUN/exit1/state/accounts.db"
matches "token list" "$(on exit1 sispopnet-relay token list --config "$config" | grep '^brief ')" ' expired '
within 2 up_with 7 "expired" "$name" "$(cat "$TMP/brief")"
same_state client1 "$TMP/before"

step "the token is in no log and no command line of the network"
go_up client1 exit1
if grep -rqF --include="*.log" -e "$token" "$RUN"; then
	fail "the token stands in a log"
fi
vpn client1 --down

step "8: an exit that forwards nothing"
on exit1 nft -f - <<-END
	table inet block {
		chain forward { type filter hook forward priority 0; policy drop; }
	}
END
up_with 8 "forward" "$name" "$token"
on exit1 nft delete table inet block
go_up client1 exit1
vpn client1 --down

step "9: the interface name is in use"
on client1 ip link add sispop0 type veth peer name other0
host_state client1 >"$TMP/in-use"
expect 9 vpn client1 --up --exit "$name" --token "$token"
matches "the sentence" "$(cat "$OUT")" sispop0
same_state client1 "$TMP/in-use"
on client1 ip link del sispop0
go_up client1 exit1
vpn client1 --down

step "10: not permitted"
cp "$(on client1 bash -c 'command -v sispopnet-vpn')" "$TMP/vpn"
chmod 755 "$TMP" "$TMP/vpn"
expect 10 on client1 setpriv --reuid 65534 --regid 65534 --clear-groups \
	"$TMP/vpn" --up --exit "$name" --token "$token"
expect 10 on client1 setpriv --reuid 65534 --regid 65534 --clear-groups "$TMP/vpn" --down

step "a second daemon on the same socket is refused, the first unharmed"
if on client1 sispopnetd --config "$RUN/client1/client.ini" >"$OUT" 2>&1; then
	fail "a second daemon ran"
fi
go_up client1 exit1
vpn client1 --down

step "2: config files with a mistake"
# mistake PROGRAM FILE SED: the program refuses the changed file with one line that names file and line.
mistake() {
	sed "$3" "$2" >"$TMP/bad.ini"
	expect 2 "${@:4}" --config "$TMP/bad.ini"
	matches "the sentence of $1" "$(cat "$OUT")" "bad.ini:[0-9]+"
	same "lines of $1" "$(wc -l <"$OUT")" 1
}
# shellcheck disable=SC2016 # $a is sed's
for change in '2i colour = blue' '$a [colours]\nblue = 1' 's/^interface = .*/interface = far-too-long-a-name-for-it/' \
	's/^underlay = .*/underlay = 5/'; do
	mistake sispopnetd "$RUN/client1/client.ini" "$change" on client1 sispopnetd
done
for change in '2i colour = blue' 's/^address4 = .*/address4 = here/' 's/^policy = .*/policy = perhaps 1.2.3.4/'; do
	mistake sispopnet-relay "$config" "$change" on exit1 sispopnet-relay check
done
mistake sispopnet-authority "$RUN/auth1/authority.ini" 's/^listen = .*/listen = here/' \
	on auth1 sispopnet-authority run
expect 2 on client1 sispopnetd --config "$TMP/missing.ini"
expect 2 on exit1 sispopnet-relay run --config "$TMP/missing.ini"
expect 2 on auth1 sispopnet-authority run --config "$TMP/missing.ini"

step "11: timed out, and 6: all relays are dead"
for host in relay1 relay2 relay3 relay4 exit2; do
	"$TESTNET" stop --prefix "$NET" $host
done
within 3 up_with 11 "time" "$name" "$token" --timeout 1
within 25 up_with 6 "path|relay" "$name" "$token"

step "4: no directory"
"$TESTNET" stop --prefix "$NET" client2
"$TESTNET" stop --prefix "$NET" auth1
rm -rf "$RUN/client2/state"
"$TESTNET" start --prefix "$NET" client2
wait_for 5 vpn client2 --status
expect 4 vpn client2 --up --exit "$name" --token "$token" --timeout 15
step "done"
