#!/bin/bash
# Large transfers both ways through three hops: whole bursts, single datagrams of which some are lost, whole bursts
# that are lost, and a wire that reorders, doubles and loses. What arrives is what was sent; the rates are told.
#
# SPEED_BYTES: of each transfer, 1 GB unless given; then each ends after its share of two minutes, with what it has.
# Given, it is carried to the end: SPEED_BYTES=10000000000 tests/netns/speed_transfer.sh
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

BYTES=${SPEED_BYTES:-1000000000}
LOSS_PER_MILLE=10
BURST_LOSS_PER_MILLE=1
IMPAIR=(--delay 1 --jitter 1 --reorder 2 --loss 1 --duplicate 1)

net_up --relays 3 --exits 1
go_up client1 exit1
mapfile -t hops < <(hop_hosts client1)
same "hops" "${#hops[@]}" 3
middle=${hops[1]}

# both_ways SECONDS LEAST WORDS: a transfer each way, of at least LEAST bytes; IPv4 and IPv6 take turns.
version=6
both_ways() {
	local seconds=$1 least=$2 way
	shift 2
	[ -z "${SPEED_BYTES-}" ] || seconds=100000
	for way in down up; do
		version=$((10 - version))
		on client1 "$TOP/tests/netns/speed_traffic.py" $way "$(info .web.address$version)" "$BYTES" \
			$((seconds * SLOWNESS)) "$way$version" >"$OUT" 2>&1 || fail "$*, $way: $(cat "$OUT")"
		read -r count rate <"$OUT"
		step "$*, $way by IPv$version: $((count / 1000000)) MB at $rate MB/s"
		[ "$count" -ge "$least" ] || fail "only $count bytes in $seconds s"
	done
	version=$((10 - version))
}

# losing HOST PER_MILLE: so many of the datagrams that come there are lost. lost HOST: how many were.
losing() {
	on "$1" nft add table inet loss "{ chain in { type filter hook prerouting priority -400;
		udp dport 4400 numgen random mod 1000 < $2 counter drop; }; }"
}
lost() {
	on "$1" nft -j list table inet loss | jq '[.. | .counter? | .packets? // empty] | add'
}

segmentation() {
	local host
	for host in client1 relay1 relay2 relay3 exit1; do
		on $host ethtool -K eth0 tx-udp-segmentation "$1"
	done
}

both_ways 25 50000000 "whole bursts"

segmentation off
losing "$middle" $LOSS_PER_MILLE
both_ways 15 5000000 "$LOSS_PER_MILLE of 1000 datagrams lost"
differ "datagrams lost" "$(lost "$middle")" 0
on "$middle" nft delete table inet loss

segmentation on
losing "$middle" $BURST_LOSS_PER_MILLE
both_ways 10 5000000 "$BURST_LOSS_PER_MILLE of 1000 bursts lost"
differ "bursts lost" "$(lost "$middle")" 0
on "$middle" nft delete table inet loss

"$TESTNET" impair --prefix "$NET" "$middle" "${IMPAIR[@]}"
both_ways 10 1000000 "impaired ${IMPAIR[*]}"
"$TESTNET" impair --prefix "$NET" "$middle" --off
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
step "done"
