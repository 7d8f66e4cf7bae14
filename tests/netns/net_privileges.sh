#!/bin/bash
# What each daemon may do, and what of a user's secrets can be found: capabilities, core dumps, command lines, logs.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 3 --exits 1
go_up client1 exit1
seen4 client1 >"$OUT"
on client1 curl -sS -m 5 http://web.test/ >"$OUT"

# status_of HOST WORD: a line of /proc/PID/status.
status_of() {
	awk -v word="$2:" '$1 == word { print $2 }' "/proc/$(daemon_pid "$1")/status"
}

# rights HOST MASK: effective, permitted and bounding sets are MASK, and can never grow.
rights() {
	local set
	for set in CapEff CapPrm CapBnd; do
		same "$set of $1" "$((16#$(status_of "$1" $set)))" $(($2))
	done
	same "no_new_privs of $1" "$(status_of "$1" NoNewPrivs)" 1
	same "core size of $1" "$(awk '/Max core file size/ { print $5 }' "/proc/$(daemon_pid "$1")/limits")" 0
}

step "capabilities, no_new_privs, core dumps"
rights client1 0x1000
rights exit1 0x1000
rights relay1 0
rights auth1 0

step "the token, the inner addresses and the destinations are in no log"
lease4=$(vpn client1 --status --json | jq -r .lease.ipv4)
lease6=$(vpn client1 --status --json | jq -r .lease.ipv6)
mapfile -t logs < <(find "$RUN" -name relay.log -o -name sispopnetd.log -o -name authority.log)
same "logs" "${#logs[@]}" 6
for secret in "$(exit_token exit1)" "${lease4%/*}" "${lease6%/*}" "$(info .web.address4)" "$(info .web.address6)" \
	web.test; do
	same "lines with $secret" "$(cat "${logs[@]}" | grep -cF -- "$secret" || true)" 0
done

step "a token on the command line is wiped from it"
"$TESTNET" stop --prefix "$NET" exit1 # so that --up lasts
vpn client1 --down
token=$(exit_token exit1)
(exec "$TESTNET" exec --prefix "$NET" client1 sispopnet-vpn --up --exit "$(exit_name exit1)" --token "$token" \
	--timeout 3 >"$OUT" 2>&1) &
cli=$! # by exec the command itself
shown() {
	[ "$(cat /proc/$cli/comm)" = sispopnet-vpn ] && tr '\0' ' ' <"/proc/$cli/cmdline"
}
wiped() {
	shown >"$TMP/shown" && ! grep -qF -- "$token" "$TMP/shown"
}
wait_for 2 wiped
matches "what ps shows" "$(cat "$TMP/shown")" "--exit"
wait $cli || true

step "key files"
same "files open to others in the state folders" \
	"$(find "$RUN"/{relay1,exit1,auth1,client1}/state -perm /077 -name '*key*' | wc -l)" 0
same "state folders open to others" "$(find "$RUN"/*/state -maxdepth 0 -perm /077 | wc -l)" 0
step "done"
