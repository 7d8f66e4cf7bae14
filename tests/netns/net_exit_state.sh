#!/bin/bash
# An exit takes back what it did to its host: after a stop, and after a crash, a start and a stop.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 3 --exits 1
serves() {
	on exit1 ip link show sx1
}
gone() {
	! serves 2>"$OUT"
}

step "while it runs it has its TUN, its table and forwarding"
serves >"$OUT"
matches "nftables of the exit" "$(on exit1 nft list ruleset)" sispop
same "forwarding" "$(on exit1 sysctl -n net.ipv4.ip_forward)" 1
host_state exit1 >"$TMP/running"

step "after a stop nothing of it is left"
"$TESTNET" stop --prefix "$NET" exit1
gone
host_state exit1 >"$TMP/stopped"
same "nftables" "$(on exit1 nft list ruleset)" ""
same "forwarding" "$(on exit1 sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding | xargs)" "0 0"
same "rules" "$(on exit1 ip rule | wc -l)" 3
differ "state" "$(cat "$TMP/running")" "$(cat "$TMP/stopped")"

step "after kill -9, start and stop as well"
"$TESTNET" start --prefix "$NET" exit1
wait_for 5 serves
kill_daemon exit1
wait_for 5 daemon_pid exit1
restarted() {
	"$TESTNET" status --prefix "$NET" | grep -E '^exit1 .* pid .* 3x$' && serves
}
wait_for 5 restarted
"$TESTNET" stop --prefix "$NET" exit1
same_state exit1 "$TMP/stopped"

step "strangers' rules live through it"
on exit1 nft add table inet mine '{ chain forward { type filter hook forward priority 5; policy accept; }; }'
on exit1 sysctl -qw net.ipv4.ip_forward=1
host_state exit1 >"$TMP/mine"
"$TESTNET" start --prefix "$NET" exit1
wait_for 5 serves
"$TESTNET" stop --prefix "$NET" exit1
same_state exit1 "$TMP/mine"
step "done"
