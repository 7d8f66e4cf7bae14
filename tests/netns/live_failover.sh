#!/bin/bash
# Relays of the path that die, or end in order, under a download: it ends well, and the silences are short.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

DRAIN_SECONDS=0.5 # a relay that ends in order says so: nothing to find out
net_up --relays 7 --exits 1
web4=$(info .web.address4)
host_state client1 >"$TMP/before"
go_up client1 exit1
slow() {
	awk -v a="$1" -v s="${SLOWNESS-1}" 'BEGIN { print a * s }'
}
has_standby() {
	[ -n "$(hop_hosts client1 standby)" ]
}
hop() {
	hop_hosts client1 | sed -n "$1p"
}
moved_from() {
	[ "$(hop_hosts client1 | xargs)" != "$1" ] && has_standby
}
# so_far: bytes; silence_since BYTES: the longest wait behind them.
so_far() {
	tail -n 1 "$TMP/progress" | cut -d ' ' -f 1
}
got() {
	[ "$(so_far)" -gt "$1" ]
}
silence_since() {
	awk -v from="$1" '$1 > from && $2 > most { most = $2 } END { print most }' "$TMP/progress"
}

# dies PLACE LIMIT: kill -9 of the relay there, under the download.
dies() {
	local host path at longest
	path=$(hop_hosts client1 | xargs)
	host=$(hop "$1")
	at=$(so_far)
	kill_daemon "$host"
	wait_for 10 got $((at + 20000000))
	longest=$(silence_since "$at")
	step "hop $1 ($host) killed: longest silence $longest s (limit $2 s)"
	awk -v a="$longest" -v b="$(slow "$2")" 'BEGIN { exit !(a > 0.1 && a < b) }' || fail "$longest s of silence"
	wait_for 10 moved_from "$path"
	kill -0 $download
	[ "$1" = 1 ] || differ "guards of path and standby" "$(hop 1)" "$(hop_hosts client1 standby | sed -n 1p)"
}

# ends_in_order PLACE LIMIT: the relay there restarts by SIGTERM; prints the longest silence.
ends_in_order() {
	local host longest
	wait_for 15 has_standby
	host=$(hop "$1")
	longest=$("$TOP/tests/netns/live_traffic.py" gap "$NET-client1" "$web4" "$(slow "$2")" \
		"$TESTNET" restart --prefix "$NET" "$host") || fail "$longest s of silence: hop $1, $host"
	step "hop $1 ($host) restarted: longest silence $longest s (limit $2 s)"
}
step "guard and middle end in order and start again"
ends_in_order 1 $DRAIN_SECONDS
ends_in_order 2 $DRAIN_SECONDS

step "kill -9 of the middle, then of the guard, under a download of 200 MB"
size=200000000
want=$(on web curl -sS "http://$web4/sha256/$size?failover")
wait_for 15 has_standby
: >"$TMP/progress"
"$TOP/tests/netns/live_traffic.py" download "$NET-client1" "$web4" $size failover 16000000 "$TMP/progress" \
	>"$TMP/download" &
download=$!
wait_for 10 got 20000000
dies 2 2.5
dies 1 4
wait $download
same "hash of the download" "$(cat "$TMP/download")" "$want"

step "the exit ends in order and starts again: a new session"
ends_in_order 3 10
same "address" "$(seen6 client1)" "$(exit_address exit1 6)"
vpn client1 --down
same_state client1 "$TMP/before"
step "done"
