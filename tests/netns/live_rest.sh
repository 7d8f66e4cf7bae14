#!/bin/bash
# The figures of daemons at rest, and how long --up takes once the directory is cached.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

UP_SECONDS=0.3   # from the command's start to verified, Argon2id included; the median of
UPS=5
# At rest, of the client (15,000,000 bytes) and of the others. The directory is fetched every 3 s here, not every hour.
CLIENT_CORE_PERCENT=0.1
CLIENT_RESIDENT_KB=14648
CORE_PERCENT=0.3
RESIDENT_KB=20480
REST_SECONDS=20

net_up --relays 3 --exits 1
name=$(exit_name exit1)
exit_token exit1 >"$TMP/token"
below() {
	awk -v a="$1" -v b="$2" -v s="$SLOWNESS" 'BEGIN { exit !(a < b * s) }' || fail "$3: $1 instead of less than $2"
}

for ((i = 0; i < UPS; i++)); do
	start=$EPOCHREALTIME
	vpn client1 --up --exit "$name" --token-file "$TMP/token"
	seconds_since "$start" >>"$TMP/ups"
	echo >>"$TMP/ups"
	[ $i = $((UPS - 1)) ] || vpn client1 --down
done
median=$(sort -n "$TMP/ups" | sed -n $(((UPS + 1) / 2))p)
step "--up: $(sort -n "$TMP/ups" | xargs) s"
below "$median" $UP_SECONDS "median of --up"

# cpu HOST: nanoseconds that its daemon's threads have run.
cpu() {
	cat "/proc/$(daemon_pid "$1")/task/"*/schedstat | awk '{ n += $1 } END { printf "%.0f", n }'
}
has_standby() {
	[ -n "$(hop_hosts client1 standby)" ]
}
wait_for 15 has_standby
hosts=(client1 relay1 exit1 auth1)
declare -A before=()
for host in "${hosts[@]}"; do
	before[$host]=$(cpu "$host")
done
start=$EPOCHREALTIME
sleep $REST_SECONDS # what is measured
took=$(seconds_since "$start")
for host in "${hosts[@]}"; do
	percent=$(awk -v n=$(($(cpu "$host") - before[$host])) -v s="$took" 'BEGIN { printf "%.3f", n / s / 1e7 }')
	resident=$(awk '/^VmRSS:/ { print $2 }' "/proc/$(daemon_pid "$host")/status")
	step "$host at rest: $percent % of a core, $resident KB resident"
	echo "$host $percent $resident" >>"$TMP/rest"
done
while read -r host percent resident; do
	case $host in
	client*) limits="$CLIENT_CORE_PERCENT $CLIENT_RESIDENT_KB" ;;
	*) limits="$CORE_PERCENT $RESIDENT_KB" ;;
	esac
	below "$percent" "${limits% *}" "% of a core that $host takes at rest"
	below "$resident" "${limits#* }" "KB resident of $host"
done <"$TMP/rest"
same "address" "$(seen4 client1)" "$(exit_address exit1 4)"
vpn client1 --down
step "done"
