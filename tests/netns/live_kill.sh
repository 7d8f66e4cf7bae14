#!/bin/bash
# kill -9 of the client's daemon at random moments of --up and --down and while up: what comes after it finds the
# host as it was before the first --up. The moments are drawn from a seed; LIVE_SEED repeats a run.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

ROUNDS=20
JOURNAL_BYTES=2000 # about what a journal has when all is set up; as many again when all is taken back
RANDOM=${LIVE_SEED-1}
net_up --relays 4 --exits 1
host_state client1 >"$TMP/before"
find /etc -maxdepth 1 | sort >"$TMP/etc"
journal=$RUN/client1/journal
dirty=0

# kill_at BYTES SECONDS CMD...: the daemon dies when its journal has so many bytes, or so late, while CMD runs.
kill_at() {
	local bytes=$1 seconds=$2 killer cli
	shift 2
	"$TOP/tests/netns/live_kill.py" "$was" "$journal" "$bytes" "$seconds" >"$TMP/killer" &
	killer=$!
	wait_for 5 grep -q watching "$TMP/killer"
	("$@" || true) >"$OUT" 2>&1 &
	cli=$!
	wait $killer
	wait $cli
}

same_etc() {
	find /etc -maxdepth 1 | sort | diff "$TMP/etc" -
}

next_one() {
	local pid
	pid=$(daemon_pid client1)
	[ -n "$pid" ] && [ "$pid" != "$was" ] && vpn client1 --status
}

step "$ROUNDS times, seed ${LIVE_SEED-1}"
for ((round = 0; round < ROUNDS; round++)); do
	was=$(daemon_pid client1)
	at=$((1 + RANDOM % JOURNAL_BYTES))
	ms=$(printf '0.%03d' $((60 + RANDOM % 150)))
	case $((round % 4)) in
	0)
		what="$ms s after --up"
		kill_at 999999 "$ms" go_up client1 exit1
		;;
	1)
		what="--up, $at bytes in the journal"
		kill_at $at 5 go_up client1 exit1
		;;
	2)
		go_up client1 exit1
		size=$(stat -c %s "$journal")
		what="--down, $size + $((at % 170)) bytes in the journal"
		kill_at $((size + at % 170)) 1 vpn client1 --down
		;;
	3)
		what="while up"
		go_up client1 exit1
		kill -9 "$was"
		;;
	esac
	changes=$(host_state client1 | diff "$TMP/before" - | grep -c '^[<>]' || true)
	[ "$changes" = 0 ] || dirty=$((dirty + 1))
	wait_for 5 next_one
	same_state client1 "$TMP/before"
	step "killed: $what; $changes lines of the host's state were others'"
done
wait_for 5 same_etc
step "$dirty deaths left something to take back"
[ $dirty -ge 5 ] || fail "the moments are badly chosen"

# One that no supervisor starts again.
"$TESTNET" stop --prefix "$NET" client1
alone() {
	(exec "$TESTNET" exec --prefix "$NET" client1 sispopnetd --config "$RUN/client1/client.ini" >"$TMP/alone" 2>&1) &
	daemon=$!
	wait_for 5 vpn client1 --status
	go_up client1 exit1
	differ "the host's state" "$(host_state client1)" "$(cat "$TMP/before")"
}
dies() {
	kill -9 "$daemon"
	wait "$daemon" || true
	differ "the host's state" "$(host_state client1)" "$(cat "$TMP/before")"
}

step "sispopnetd --cleanup: not while a daemon lives; then all of it; then nothing"
alone
if on client1 sispopnetd --cleanup >"$OUT" 2>&1; then
	fail "--cleanup took the host from a daemon that lives"
fi
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
dies
expect 0 on client1 sispopnetd --cleanup
same_state client1 "$TMP/before"
expect 0 on client1 sispopnetd --cleanup
same_state client1 "$TMP/before"

step "--cleanup is killed as well"
alone
dies
for ((i = 0; i < 6; i++)); do
	(exec "$TESTNET" exec --prefix "$NET" client1 sispopnetd --cleanup >"$OUT" 2>&1) &
	"$TOP/tests/netns/live_kill.py" $! "$journal" $(($(stat -c %s "$journal" 2>"$OUT" || echo 0) + RANDOM % 100)) 1 \
		>"$TMP/killer" 2>&1 || true # it may have ended
	wait $! || true
done
expect 0 on client1 sispopnetd --cleanup
same_state client1 "$TMP/before"
wait_for 5 same_etc
step "done"
