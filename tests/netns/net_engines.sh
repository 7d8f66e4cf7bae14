#!/bin/bash
# Each AEAD engine works, and they understand each other: all on one, then the client on the other.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

# use_engine NAME HOST...: changes the config and starts the daemon anew.
use_engine() {
	local engine=$1 host file
	shift
	for host; do
		file=$RUN/$host/client.ini
		[ -e "$file" ] || file=$RUN/$host/relay.ini
		sed -i "s/^engine = .*/engine = $engine/" "$file"
		"$TESTNET" restart --prefix "$NET" "$host"
	done
}

check_traffic() {
	wait_for 20 go_up client1 exit1
	same "address" "$(seen6 client1)" "$(exit_address exit1 6)"
	hash_down client1 "$(info .web.address4)" 20000000 "$1"
	hash_up client1 "$(info .web.address4)" 20000000
	vpn client1 --down
}

net_up --relays 3 --exits 1 --client-set engine=openssl --relay-set engine=openssl
step "openssl everywhere"
check_traffic a
if ! grep -qw vaes /proc/cpuinfo && ! grep -qw aes /proc/cpuinfo; then
	step "this CPU has no AES instructions: ipsec-mb is left out"
	exit 0
fi
step "the client on ipsec-mb, the relays on openssl"
use_engine ipsec-mb client1
check_traffic b
step "ipsec-mb everywhere"
use_engine ipsec-mb relay1 relay2 relay3 exit1
check_traffic c

step "an engine that does not exist"
sed -i 's/^engine = .*/engine = rot13/' "$RUN/client1/client.ini"
expect 2 on client1 sispopnetd --config "$RUN/client1/client.ini"
matches "the sentence" "$(cat "$OUT")" 'client.ini:[0-9]+'
step "done"
