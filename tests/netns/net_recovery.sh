#!/bin/bash
# Relays that die and come back while traffic runs, and an authority that is away.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 6 --exits 1
web4=$(info .web.address4)
web6=$(info .web.address6)
host_state client1 >"$TMP/before"
go_up client1 exit1
has_standby() {
	[ -n "$(hop_hosts client1 standby)" ]
}

# hole LIMIT CMD...: pings 20 times a second while CMD happens; the longest silence must stay below LIMIT.
hole() {
	local limit=$1 pinger longest
	shift
	on client1 ping -n -D -i 0.05 -w 60 "$web4" >"$TMP/pings" &
	pinger=$!
	wait_for 5 grep -q 'icmp_seq=5 ' "$TMP/pings"
	"$@"
	wait_for 15 answered_again "$(date +%s.%N)"
	kill -INT "$(pgrep -P "$pinger" || echo "$pinger")" 2>/dev/null || true
	wait "$pinger" || true
	longest=$(sed -n 's/^\[\([0-9.]*\)\].*bytes from.*/\1/p' "$TMP/pings" |
		awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { printf "%.2f", most }')
	step "longest silence: $longest s (limit $limit s)"
	awk -v a="$longest" -v b="$limit" -v s=$SLOWNESS 'BEGIN { exit !(a > 0 && a <= b * s) }' || fail "$longest s of silence: $*"
}

# Ten answers in the last second: it flows again, and has had time to stop.
answered_again() {
	awk -v start="$1" -v now="$(date +%s.%N)" -F '[][]' \
		'/bytes from/ && $2 > start && $2 > now - 1 { n++ } END { exit !(n >= 10 && now > start + 1) }' "$TMP/pings"
}

step "a middle relay is cut off while a download runs"
wait_for 15 has_standby
mapfile -t hops < <(hop_hosts client1)
hash_down client1 "$web4" 200000000 &
download=$!
hole 2.5 cut_off "${hops[1]}"
wait $download
step "the download ended well"
heal "${hops[1]}"

for place in 0 1 2; do
	wait_for 20 has_standby
	mapfile -t hops < <(hop_hosts client1)
	step "hop $((place + 1)) (${hops[place]}) is killed and starts again"
	limit=4
	[ $place != 2 ] || limit=10
	hole $limit kill_daemon "${hops[place]}"
	same "address" "$(seen6 client1)" "$(exit_address exit1 6)"
done

step "loss of 5 % at the client: TCP still ends well"
lossy client1 5
hash_down client1 "[$web6]" 3000000
on client1 nft delete table inet loss

step "down, and the host is as before"
vpn client1 --down
same_state client1 "$TMP/before"

step "the authority is away: a client lives by its cache, also a fresh daemon"
"$TESTNET" stop --prefix "$NET" auth1
"$TESTNET" restart --prefix "$NET" client1
wait_for 5 vpn client1 --status
go_up client1 exit1
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
step "kill -9 of the client's daemon while up, then its successor: the host is as before"
kill_daemon client1
undone() {
	host_state client1 | diff -u "$TMP/before" -
}
wait_for 5 undone
go_up client1 exit1
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down
same_state client1 "$TMP/before"
step "done"
