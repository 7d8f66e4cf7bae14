#!/bin/bash
# --exit A --exit B: tried in their order, each with its own token or all with one.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 4 --exits 2
A=$(exit_name exit1)
B=$(exit_name exit2)
own4=$(info .clients[0].address4)
host_state client1 >"$TMP/before"

# up ARG...: through A, then B.
up() {
	vpn client1 --up --exit "$A" --exit "$B" "$@"
}

# went_up EXIT: the web sees it, and the status names it; then down, and nothing is left.
went_up() {
	same "exit" "$(vpn client1 --status --json | jq -r .exit.name)" "$(exit_name "$1")"
	same "address" "$(seen4 client1)" "$(exit_address "$1" 4)"
	vpn client1 --down
	same_state client1 "$TMP/before"
	same "address" "$(seen4 client1)" "$own4"
}

step "2: tokens that do not match the exits"
expect 2 up --token a --token b --token c
expect 2 vpn client1 --up --exit "$A" --token a --token b
mapfile -t many < <(printf -- '--token=t%s\n' 1 2 3 4 5 6 7 8 9)
expect 2 up "${many[@]}"

step "a token for each, in their order: the first serves"
up --token-file <(exit_token exit1) --token-file <(exit_token exit2)
went_up exit1
step "two lines of standard input"
{ exit_token exit1; exit_token exit2; } | up --token - --token -
went_up exit1

step "the first denies: the second is used"
up --token-file <(exit_token exit2) --token-file <(exit_token exit2)
went_up exit2
step "one token for all, which the second alone knows"
up --token-file <(exit_token exit2)
went_up exit2

step "both deny: the last reason is told"
expect 7 up --token wrong --token wrong-too
same_state client1 "$TMP/before"
step "in the wrong order, both deny"
expect 7 up --token-file <(exit_token exit2) --token-file <(exit_token exit1)
same_state client1 "$TMP/before"

step "the first is not listed: the second is used"
vpn client1 --up --exit "$(printf 'y%.0s' {1..52}).sispop" --exit "$B" --token-file <(exit_token exit2)
went_up exit2

step "the first forwards nothing: the second is used, with the same ranges"
on exit1 nft -f - <<-END
	table inet block {
		chain forward { type filter hook forward priority 0; policy drop; }
	}
END
up --token-file <(exit_token exit1) --token-file <(exit_token exit2) --range "$(info .web.address4)"
same "IPv6 goes directly" "$(seen6 client1)" "$(info .clients[0].address6)"
went_up exit2
on exit1 nft delete table inet block

step "the first is down: the second is used"
"$TESTNET" stop --prefix "$NET" exit1
within 25 up --token-file <(exit_token exit1) --token-file <(exit_token exit2)
went_up exit2
step "done"
