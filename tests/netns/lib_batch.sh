# shellcheck shell=bash
# tests/netns/lib_batch.sh - what tests of the batched packet path share; sourced after lib.sh.
#   serve                      the web answers batch_traffic.py from now on; traffic HOST ARG... is its other end
#   serve_stop
#   daemon HOST JQ             a value of the daemon's status there
#   drops HOST NAME            how many
#   config HOST                its daemon's config file
#   set_keys HOST KEY VALUE... changes lines of it, or adds them; the daemon must be started anew
# shellcheck source-path=SCRIPTDIR

SERVER=

serve() {
	# exec, so that the process to end is the server itself
	(exec "$TESTNET" exec --prefix "$NET" web "$TOP/tests/netns/batch_traffic.py" serve) >"$TMP/serve" 2>&1 &
	SERVER=$!
	wait_for 5 grep -q serving "$TMP/serve"
}

serve_stop() {
	kill "$SERVER"
	wait "$SERVER" || true
	same "what the server at the web said" "$(cat "$TMP/serve")" serving
}

traffic() {
	local host=$1
	shift
	on "$host" "$TOP/tests/netns/batch_traffic.py" "$@"
}

daemon() {
	case $1 in
	client*) vpn "$1" --status --json ;;
	*) on "$1" sispopnet-relay status --json --config "$(config "$1")" ;;
	esac | jq -r "$2"
}

drops() {
	daemon "$1" ".drops.\"$2\" // 0"
}

config() {
	case $1 in
	client*) echo "$RUN/$1/client.ini" ;;
	*) echo "$RUN/$1/relay.ini" ;;
	esac
}

# set_keys HOST KEY VALUE [KEY VALUE]...: in the first section, which is [client] or [relay].
set_keys() {
	local file
	file=$(config "$1")
	shift
	while [ $# -gt 0 ]; do
		sed -i -e "/^$1 *=/d" -e "1a $1 = $2" "$file"
		shift 2
	done
}
