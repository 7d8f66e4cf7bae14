#!/bin/bash
# Authorities that are dead or lie, and what a client does with documents that are no good: it says which, ends
# with 4 when it has none, and keeps the last good one.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 3 --exits 1 --authorities 3
docs=$TMP/docs
state=$RUN/client1/state
log=$RUN/client1/sispopnetd.log
declare -A server=()
mkdir -p "$docs/served"

# stand_in N: auth N ends, and the files in $docs/served are handed out from its address.
stand_in() {
	local address
	address=$(info ".authorities[$(($1 - 1))].address4")
	"$TESTNET" stop --prefix "$NET" "auth$1"
	(exec "$TESTNET" exec --prefix "$NET" "auth$1" /usr/bin/python3 -I "$TOP/tests/netns/live_documents.py" serve \
		"$docs" "$address" 8400 "$(info .clients[0].address4)" >"$TMP/served$1") 2>&1 &
	server[$1]=$!
	wait_for 5 grep -q serving "$TMP/served$1"
}

# make_documents: all kinds, by the clock of now.
make_documents() {
	/usr/bin/python3 -I "$TOP/tests/netns/live_documents.py" make "$docs/base" "$docs" "$RUN"/auth?/state/identity.key
}

# hand_out NAME...: from now on the authorities' addresses answer with these.
hand_out() {
	local name
	rm -f "$docs"/served/*
	for name; do
		cp "$docs/$name" "$docs/.$name"
		mv "$docs/.$name" "$docs/served/$name"
	done
}

# fresh_client [NAME]: a client that starts with NAME in its cache, or with nothing; its log starts anew.
fresh_client() {
	"$TESTNET" stop --prefix "$NET" client1
	rm -f "$state/consensus" "$state/descriptors"
	if [ $# != 0 ]; then
		install -m 600 "$docs/$1" "$state/consensus"
		install -m 600 "$docs/descriptors" "$state/descriptors"
	fi
	: >"$log"
	"$TESTNET" start --prefix "$NET" client1
	wait_for 5 vpn client1 --status
}

serial() {
	on auth1 curl -sS -m 2 "http://$(info '.authorities[0].address4'):8400/sispop/1/consensus" |
		od -An -j 8 -N 8 -t u8 --endian=big | tr -d ' '
}

newer() {
	[ "$(serial)" -gt "$1" ]
}

works() {
	go_up client1 exit1
	same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
	vpn client1 --down
}

step "one signs another body: the two others go on, a client refuses it"
on auth1 curl -sS -m 2 "http://$(info '.authorities[0].address4'):8400/sispop/1/consensus" >"$docs/base"
on auth1 curl -sS -m 2 "http://$(info '.authorities[0].address4'):8400/sispop/1/descriptors" >"$docs/descriptors"
make_documents
hand_out forged
stand_in 3
was=$(serial)
for _ in {1..24}; do # a client asks in random order, and only until one answers well
	fresh_client
	works
	! grep -q '198.51.100.13:8400: .*does not verify' "$log" || break
done
grep -q '198.51.100.13:8400: .*does not verify' "$log"
wait_for 15 newer "$was"

step "it is dead"
kill "${server[3]}"
wait "${server[3]}" || true
was=$(serial)
wait_for 15 newer "$was"
works

step "all are down: a client lives by its cache, also a fresh daemon, until the consensus expires"
stand_in 1
stand_in 2
stand_in 3
rm -f "$docs"/served/*
make_documents
go_up client1 exit1
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down
fresh_client brief
works
expired() {
	local code=0
	go_up client1 exit1 --timeout 5 >"$OUT" 2>&1 || code=$?
	[ $code != 0 ] || vpn client1 --down
	[ $code = 4 ]
}
wait_for 15 expired

# no_directory KIND WORDS [HELD]: --up ends with 4 and these words, whoever is asked.
no_directory() {
	make_documents
	hand_out "$1"
	fresh_client ${3+"$3"}
	expect 4 go_up client1 exit1 --timeout 10
	grep -q "$2" "$OUT" || fail "$1: no '$2' in: $(cat "$OUT")"
	step "refused: $(cat "$OUT")"
	[ -n "${3-}" ] || same "cached after $1" "$(find "$state" -name consensus)" ""
}

step "documents that are no good"
host_state client1 >"$TMP/before"
no_directory expired "no longer valid"
no_directory forged "does not verify"
no_directory short-signed "fewer than k"
no_directory cut "ends too early"
no_directory cut-body "ends too early"
no_directory foreign "another network"
no_directory rolled-back "older than the one that is held" expired
no_directory conflict-expired "two consensuses carry one serial" expired
same_state client1 "$TMP/before"

step "all but the expired, while there is a good one: it stays, and serves"
make_documents
hand_out forged short-signed rolled-back conflict-good cut cut-body foreign
fresh_client good
all_refused() {
	local words
	for words in "does not verify" "fewer than k" "older than" "one serial" "ends too early" \
		"another network"; do
		grep -q "consensus is refused: .*$words" "$log" || return 1
	done
}
wait_for 20 all_refused
cmp "$docs/good" "$state/consensus"
works
cmp "$docs/good" "$state/consensus"

step "the authorities come back"
hand_out # nothing
for number in 1 2 3; do
	kill "${server[$number]}"
	wait "${server[$number]}" || true
	"$TESTNET" start --prefix "$NET" "auth$number"
done
rm -f "$state/consensus"
wait_for 15 newer "$(date +%s -d -3sec)"
fresh_client
wait_for 20 go_up client1 exit1
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down

step "relays that live by an early list of one relay, fresh for an hour, ask anew when a client knows more"
for host in relay1 relay2 relay3; do
	"$TESTNET" stop --prefix "$NET" $host
	install -m 600 "$docs/lonely" "$RUN/$host/state/consensus"
	install -m 600 "$docs/descriptors" "$RUN/$host/state/descriptors"
	"$TESTNET" start --prefix "$NET" $host
done
relays_of() {
	on "$1" sispopnet-relay status --json | jq -r .relays
}
for host in relay1 relay2 relay3; do
	wait_for 5 relays_of $host
	same "relays that $host knows" "$(relays_of $host)" 1
done
within 15 go_up client1 exit1
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down
step "done"
