# shellcheck shell=bash
# tests/netns/lib.sh - helpers for tests on a test network; sourced first by each of them.
#
# A test sources this file, calls net_up once, then works with the verbs below. Any command that fails ends
# the test with its line and the daemons' logs; the network is taken down in every case.
#   on HOST CMD...             run on a host (scripts/testnet exec)
#   vpn HOST ARG...            sispopnet-vpn there
#   info JQ                    a value of `scripts/testnet info`
#   wait_for SECONDS CMD...    until CMD succeeds, else fail
#   expect CODE CMD...         CMD must return CODE; its output goes to $OUT
#   within SECONDS CMD...      CMD must succeed and take no longer (whole seconds, as for wait_for)
#   same WHAT GOT WANTED · matches WHAT GOT REGEX · differ WHAT A B
#   host_state HOST            everything that a VPN could change, as text
#   same_state HOST BEFORE     compares it with an earlier one
#   capture HOST IFACE FILE [FILTER] · capture_stop     tcpdump, ready when it returns
#   step WORDS...              says what comes next
set -eEuo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TESTNET=$TOP/scripts/testnet
PATH=$PATH:/usr/sbin:/sbin
TEST=$(basename "$0" .sh)
# Unlike for each test and each run, so that a leftover of one cannot break another.
NET=n$(printf '%s %s' "$TEST" $$ | cksum | cut -d ' ' -f 1 | tail -c 6)
RUN=/run/sispopnet-testnet/$NET
TMP=$(mktemp -d "/tmp/$TEST.XXXXXX")
OUT=$TMP/out
LEAK_LOG=$RUN/isp/dns.log
CAPTURES=()
STARTED=no
# Under a sanitizer everything takes longer, and daemons that nobody may trace cannot be searched for leaks.
SLOWNESS=1
if grep -qs '^SANITIZE:STRING=.' "${SISPOPNET_BUILD:-$TOP/build}/CMakeCache.txt"; then
	SLOWNESS=5
	export ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=suppressions=$TOP/tests/tsan.supp
fi
exec 3>&1 # where a failure is told, also from within a redirected command
export NET RUN OUT LEAK_LOG

if [ "$(id -u)" != 0 ]; then
	echo "skipped: network namespaces need root"
	exit 77
fi

show_logs() {
	local file
	echo "--- output of the last command:"
	tail -n 20 "$OUT" 2>/dev/null || true
	for file in "$RUN"/*/*.log; do
		case $file in */dns.log | */http.log | */iperf3.log) continue ;; esac
		[ -s "$file" ] && { echo "--- $file"; tail -n "${LOG_LINES:-25}" "$file"; }
	done
	return 0
}

# failed LINE WORDS: LINE is where in this test; a failure deep in a helper is shown by the test's own line.
failed() {
	local line=$1 i
	trap - ERR
	for ((i = 1; i < ${#BASH_SOURCE[@]}; i++)); do
		[ "${BASH_SOURCE[i]}" = "$0" ] && { line=${BASH_LINENO[i - 1]}; break; }
	done
	{
		echo "FAILED: $TEST: line $line: $2"
		show_logs
	} >&3
	exit 1
}

# A daemon that ended by itself or would not end, and what sanitizers found: fails an otherwise good test.
bad_ends() {
	grep -E 'ended with|does not end' "$RUN/supervisor.log" |
		grep -vE 'ended with (0|-9)$|(services|iperf3|impair): ' && return 0
	grep -lE 'ERROR: [A-Za-z]*Sanitizer|WARNING: ThreadSanitizer|runtime error:' "$RUN"/*/*.log
}

cleanup() {
	local code=$?
	trap - ERR EXIT
	capture_stop || true
	if [ $code = 0 ] && bad_ends; then
		echo "FAILED: $TEST: a daemon died, or a sanitizer spoke"
		show_logs
		code=1
	fi
	[ $STARTED = no ] || "$TESTNET" down --prefix "$NET" || code=1
	rm -rf "$TMP"
	exit $code
}
trap 'failed "$LINENO" "$BASH_COMMAND"' ERR
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
	failed "${BASH_LINENO[0]}" "$*"
}

step() {
	printf '%6.2f  %s\n' "$(seconds_since "$T0")" "$*"
}

seconds_since() {
	awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'
}
T0=$EPOCHREALTIME

net_up() {
	STARTED=yes
	"$TESTNET" up --prefix "$NET" "$@"
	step "network up ($*)"
}

on() {
	local host=$1
	shift
	"$TESTNET" exec --prefix "$NET" "$host" "$@"
}

vpn() {
	local host=$1
	shift
	on "$host" sispopnet-vpn "$@"
}

info() {
	jq -er "$1" "$RUN/info.json"
}

wait_for() {
	local deadline
	deadline=$(awk -v a="$EPOCHREALTIME" -v b="$(($1 * SLOWNESS))" 'BEGIN { printf "%.3f", a + b }')
	shift
	until "$@" >"$TMP/wait" 2>&1; do
		if awk -v a="$EPOCHREALTIME" -v b="$deadline" 'BEGIN { exit !(a > b) }'; then
			cat "$TMP/wait"
			fail "not in time: $*"
		fi
		sleep 0.03
	done
}

expect() {
	local want=$1 got=0
	shift
	"$@" >"$OUT" 2>&1 || got=$?
	[ "$got" = "$want" ] || fail "exit code $got instead of $want: $*"
}

within() {
	local limit=$1 start=$EPOCHREALTIME took
	shift
	"$@"
	took=$(seconds_since "$start")
	awk -v a="$took" -v b="$((limit * SLOWNESS))" 'BEGIN { exit !(a <= b) }' || fail "$took s instead of $limit s: $*"
}

same() {
	[ "$2" = "$3" ] || fail "$1: got '$2' instead of '$3'"
}

matches() {
	[[ $2 =~ $3 ]] || fail "$1: got '$2', which is not like '$3'"
}

differ() {
	[ "$2" != "$3" ] || fail "$1: both are '$2'"
}

host_state() {
	on "$1" "$TOP/tests/testnet/host-state"
}

same_state() {
	host_state "$1" >"$TMP/state"
	diff -u "$2" "$TMP/state" || fail "the host $1 is not as it was before"
}

# The canonical address that the web sees, by IPv4 or IPv6.
seen4() {
	on "$1" curl -sS -m 5 "http://$(info .web.address4)/"
}

seen6() {
	on "$1" curl -sS -m 5 "http://[$(info .web.address6)]/"
}

# hash_down HOST ADDRESS BYTES [SEED]: a download, compared by hash.
hash_down() {
	local url="http://$2/bytes/$3?${4-s}" want
	want=$(on web curl -sS "http://$(info .web.address4)/sha256/$3?${4-s}")
	same "hash of $3 bytes from $2" "$(on "$1" curl -sS -m 120 "$url" | sha256sum | cut -d ' ' -f 1)" "$want"
}

# hash_up HOST ADDRESS BYTES: an upload, compared by hash and length.
hash_up() {
	local file=$TMP/upload want
	head -c "$3" /dev/urandom >"$file"
	want="$(sha256sum <"$file" | cut -d ' ' -f 1) $3"
	same "hash of $3 bytes to $2" "$(on "$1" curl -sS -m 120 -H Expect: -T "$file" "http://$2/sink")" "$want"
	rm -f "$file"
}

# udp_echo HOST ADDRESS COUNT: datagrams of many sizes to port 7; each must come back whole within 3 tries.
udp_echo() {
	on "$1" /usr/bin/python3 -I -c '
import os, socket, sys
address, count = sys.argv[1], int(sys.argv[2])
sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(1)
sock.connect((address, 7))
for i in range(count):
    data = i.to_bytes(4, "big") + os.urandom(i * 97 % 1300)
    for attempt in range(3):
        sock.send(data)
        try:
            while (got := sock.recv(65536))[:4] != data[:4]:
                pass
        except TimeoutError:
            continue
        if got != data:
            sys.exit(f"datagram {i} of {len(data)} bytes came back changed")
        break
    else:
        sys.exit(f"datagram {i} of {len(data)} bytes did not come back")' "$2" "$3"
}

capture() {
	local host=$1 iface=$2 file=$3
	shift 3
	# exec, so that the process to end is tcpdump itself
	(exec "$TESTNET" exec --prefix "$NET" "$host" tcpdump -i "$iface" -U --immediate-mode -B 32768 -n -s 0 -w "$file" \
		"$@" 2>"$file.err") &
	CAPTURES+=("$! $file")
	wait_for 5 grep -q "listening on" "$file.err"
}

# Ends all captures once their files stop growing.
capture_stop() {
	local one file size
	for one in ${CAPTURES[@]+"${CAPTURES[@]}"}; do
		file=${one#* }
		size=-1
		until [ "$(stat -c %s "$file")" = "$size" ]; do
			size=$(stat -c %s "$file")
			sleep 0.05
		done
		kill "${one%% *}"
		wait "${one%% *}" || true
	done
	CAPTURES=()
}

# go_up HOST EXIT [ARG...]: up through exitN with its token of the test network.
go_up() {
	local host=$1 exit=$2
	shift 2
	vpn "$host" --up --exit "$(exit_name "$exit")" --token-file <(exit_token "$exit") "$@"
}

exit_name() {
	info ".exits[] | select(.host == \"$1\") | .name"
}

exit_token() {
	info ".exits[] | select(.host == \"$1\") | .token"
}

exit_address() {
	info ".exits[] | select(.host == \"$1\") | .address$2"
}

# hop_hosts HOST [ROLE]: the hosts of its path, guard first (by the addresses in its status).
hop_hosts() {
	local address
	for address in $(vpn "$1" --status --json |
		jq -r ".paths[] | select(.role == \"${2-primary}\") | .hops[].address"); do
		info "[.relays[], .exits[]] | .[] | select([.address4, .wan4, .address6, .wan6] |
			index(\"$address\")) | .host"
	done
}

daemon_pid() {
	local file
	for file in "$RUN/$1"/{relay,sispopnetd,authority}.pid; do
		[ ! -s "$file" ] || cat "$file"
	done
}

# kill_daemon HOST: as by a crash; the supervisor starts it again.
kill_daemon() {
	kill -9 "$(daemon_pid "$1")"
}

# cut_off HOST · heal HOST: nothing arrives there any more, without a word to anybody.
cut_off() {
	on "$1" nft add table inet cut '{ chain in { type filter hook prerouting priority -400; policy drop; }; }'
}

heal() {
	on "$1" nft delete table inet cut
}

# lossy HOST PERCENT: so many datagrams of the onion network do not arrive at HOST. Senders must not burst, or
# one drop takes a whole burst.
lossy() {
	local host
	for host in $(info '[.clients[], .relays[], .exits[]] | .[].host'); do
		on "$host" ethtool -K eth0 tx-udp-segmentation off
	done
	on "$1" nft add table inet loss "{ chain in { type filter hook prerouting priority -400;
		udp dport 4400 numgen random mod 100 < $2 drop; udp sport 4400 numgen random mod 100 < $2 drop; }; }"
}
