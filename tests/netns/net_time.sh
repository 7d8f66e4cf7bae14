#!/bin/bash
# Time lived through: with short periods, one download crosses several successors of path, link, onion key and
# consensus, and its hash is right.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

net_up --relays 6 --exits 1 --param path-lifetime=10s --param path-grace=3s --param link-renew=8s \
	--param link-idle=4s --param onion-key-period=8s --param onion-key-valid=20s \
	--param consensus-interval=4s --param consensus-fresh=4s --param consensus-valid=20s \
	--param descriptor-period=2s --param descriptor-valid=30s
web4=$(info .web.address4)
host_state client1 >"$TMP/before"
go_up client1 exit1

# What lives now, as words that change when a successor takes over.
serial() {
	on auth1 curl -sS -m 2 "http://$(info '.authorities[0].address4'):8400/sispop/1/consensus" |
		od -An -j 8 -N 8 -t u8 --endian=big | tr -d ' '
}
path_age() {
	vpn client1 --status --json | jq -r '.paths[] | select(.role == "primary") | .age_s | floor'
}

step "a download of 36 s"
size=180000000
want=$(on web curl -sS "http://$web4/sha256/$size?time")
on client1 curl -sS -m 90 --limit-rate 5M "http://$web4/bytes/$size?time" | sha256sum | cut -d ' ' -f 1 >"$TMP/hash" &
download=$!
paths=0
last_age=0
declare -A serials=()
while kill -0 $download 2>/dev/null; do
	age=$(path_age)
	[ "$age" -ge $((last_age - 1)) ] || paths=$((paths + 1))
	last_age=$age
	serials[$(serial)]=1
	sleep 0.25
done
wait $download
same "hash" "$(cat "$TMP/hash")" "$want"
step "path successors: $paths, consensuses: ${#serials[@]}"
[ $paths -ge 3 ] || fail "only $paths paths took over"
[ ${#serials[@]} -ge 4 ] || fail "only ${#serials[@]} consensuses were seen"
same "address" "$(seen6 client1)" "$(exit_address exit1 6)"
vpn client1 --down
same_state client1 "$TMP/before"
step "done"
