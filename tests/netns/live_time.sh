#!/bin/bash
# Time lived through: with short periods, one download crosses three successors each of path, link, onion key and
# consensus, and its hash is right. What the client says of itself is counted, and what is on its wire.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

SUCCESSORS=3
# Without offloads an answer goes up for every other packet of the download: each link is seen to carry data.
net_up --relays 6 --exits 1 --client-set offloads-off=all --param path-lifetime=9s --param path-grace=2s --param link-renew=5s \
	--param link-idle=3s --param onion-key-period=6s --param onion-key-valid=18s \
	--param consensus-interval=3s --param consensus-fresh=3s --param consensus-valid=15s \
	--param descriptor-period=2s --param descriptor-valid=30s
web4=$(info .web.address4)
client4=$(info .clients[0].address4)
host_state client1 >"$TMP/before"
# The secret halves of a relay's onion keys, in hex; a record is keyid[2], public[32], secret[32], times[16].
secret() {
	od -An -v -t x1 -w82 "$RUN/$1/state/onion-keys" | tr -d ' ' | cut -c 69-132
}
declare -A first=([relay1]=$(secret relay1 | head -n 1) [exit1]=$(secret exit1 | head -n 1))
go_up client1 exit1
capture client1 eth0 "$TMP/wire" -s 80 udp port 4400

step "a download of 34 s"
size=34000000
want=$(on web curl -sS "http://$web4/sha256/$size?time")
"$TOP/tests/netns/live_traffic.py" download "$NET-client1" "$web4" $size time 1000000 "$TMP/progress" >"$TMP/hash" &
download=$!
while kill -0 $download 2>/dev/null; do
	vpn client1 --status --json >>"$TMP/status"
	echo >>"$TMP/status"
	sleep 0.25 # the rhythm of the samples
done
wait $download
same "hash" "$(cat "$TMP/hash")" "$want"
silence=$(awk '$2 > most { most = $2 } END { print most }' "$TMP/progress")

# A path that took over is younger than the one before it.
paths=$(jq -r '.paths[] | select(.role == "primary") | .age_s' "$TMP/status" |
	awk '$1 < last { n++ } { last = $1 } END { print n + 0 }')
serials=$(jq -r 'select(.directory.valid) | .directory.serial' "$TMP/status" | uniq | wc -l)
same "states in that time" "$(jq -r .state "$TMP/status" | sort -u)" up
capture_stop
"$TOP/tests/netns/live_wire.py" links "$TMP/wire" "$client4" >"$OUT"
links=$(jq .links "$OUT")
keys=$(jq '[.keyids[] | .[-1] - .[0]] | max' "$OUT") # a relay's keyid counts up
step "successors: $paths of the path, $((serials - 1)) of the consensus, $((links - 1)) of the link, $keys of \
the onion key of one guard; longest silence $silence s"
[ "$paths" -ge $SUCCESSORS ] || fail "$paths paths took over"
[ "$serials" -gt $SUCCESSORS ] || fail "the client saw $serials consensuses"
[ "$links" -gt $SUCCESSORS ] || fail "$links links carried data: $(cat "$OUT")"
[ "$keys" -ge $SUCCESSORS ] || fail "only $keys onion keys later at a guard: $(cat "$OUT")"
awk -v s="$silence" -v most=$SLOWNESS 'BEGIN { exit !(s < most) }' || fail "$silence s of silence"

step "the keys of the beginning are erased"
for host in relay1 exit1; do

	same "places of the first onion key of $host" "$(secret $host | grep -c "${first[$host]}" || true)" 0
done
same "address" "$(seen6 client1)" "$(exit_address exit1 6)"
vpn client1 --down
same_state client1 "$TMP/before"
step "done"
