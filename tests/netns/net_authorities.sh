#!/bin/bash
# Three authorities of which two must sign: one may die, two may not.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 4 --exits 1 --authorities 3 --param consensus-valid=12s
# The serial of the consensus that a host serves: 8 bytes after magic and net id.
serial() {
	on auth1 curl -sS -m 2 "http://$1/sispop/1/consensus" | od -An -j 8 -N 8 -t u8 --endian=big | tr -d ' '
}
auth1=$(info '.authorities[0].address4'):8400

step "one is dead: two go on signing"
"$TESTNET" stop --prefix "$NET" auth3
first=$(serial "$auth1")
newer() {
	[ "$(serial "$auth1")" -gt $(($1)) ]
}
wait_for 15 newer "$first"
wait_for 15 newer "$(serial "$auth1")"
go_up client1 exit1
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down

step "two are dead: nothing new, and the old one runs out"
"$TESTNET" stop --prefix "$NET" auth2
no_directory() {
	local code=0
	go_up client1 exit1 --timeout 10 || code=$?
	[ $code != 0 ] || vpn client1 --down
	[ $code = 4 ]
}
wait_for 40 no_directory

step "they come back: all is well again"
"$TESTNET" start --prefix "$NET" auth2
"$TESTNET" start --prefix "$NET" auth3
wait_for 40 go_up client1 exit1
same "address" "$(seen6 client1)" "$(exit_address exit1 6)"
vpn client1 --down
step "done"
