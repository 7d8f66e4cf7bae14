#!/bin/bash
# A client whose bursts hold everything (tests/peer/hostile.py) against a real guard, middle and exit, with bursts
# taken in one piece and one by one.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_batch.sh"

net_up --relays 2 --exits 1 --relay-set workers=2
attack() {
	step "offloads in use at the guard: $(daemon relay1 .offloads)"
	on client1 /usr/bin/python3 -IB "$TOP/tests/peer/hostile.py" "$RUN/network.conf" "$RUN/info.json" "$RUN" \
		mixed_bursts odd_bursts
}

attack
for host in relay1 relay2 exit1; do
	set_keys $host offloads-off all
	"$TESTNET" restart --prefix "$NET" $host &
done
wait
for host in relay1 relay2 exit1; do
	wait_for 10 daemon $host .offloads
	same "offloads of $host" "$(daemon $host .offloads)" none
done
attack
step "an honest client uses the same relays"
wait_for 20 go_up client1 exit1
same "the address at the web" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down
step "done"
