/* relay/check.c - the commands that look: check, keygen, status. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/zbase32.h"
#include "daemon/process.h"
#include "directory/netconf.h"
#include "net/control.h"
#include "net/udp.h"
#include "relay/commands.h"
#include "relay/config.h"
#include "relay/keys.h"

#define STATUS_TIMEOUT (3 * NSEC_PER_SEC)

static int load(const char *path, struct relay_config *c)
{
	char err[CONFIG_ERROR_BYTES];

	if (!relay_config_load(path, c, err))
		return 0;
	fprintf(stderr, "%s\n", err);
	return -EINVAL;
}

static int finding(bool ok, const char *what, const char *mend)
{
	printf("%s  %s%s%s\n", ok ? "ok  " : "BAD ", what, ok ? "" : ": ", ok ? "" : mend);
	return ok ? 0 : 1;
}

static int check_address(const struct addr *a)
{
	struct udp_config c = {.bind = *a};
	char text[ADDR_TEXT_BYTES], line[160];
	struct udp *u = NULL;
	int e;

	if (!a->family)
		return 0;
	e = udp_open(&c, &u);
	udp_close(u);
	snprintf(line, sizeof(line), "address %s can be bound", addr_text(a, text));
	return finding(
		!e, line,
		e == -EADDRINUSE ? "another program has the port (is this relay running?)"
		: e == -EACCES
			? "a relay without capabilities may not have a port below 1024: take another, or lower "
			  "net.ipv4.ip_unprivileged_port_start"
			: "no interface of this machine has that address: mend address4 or address6");
}

static int check_keys(const struct relay_config *c)
{
	char path[200], err[KEYFILE_ERROR_BYTES] = "";
	uint8_t seed[32];
	int e;

	snprintf(path, sizeof(path), "%s/identity", c->state);
	e = keyfile_read(path, seed, sizeof(seed), err);
	wipe(seed, sizeof(seed));
	return finding(!e, "identity is there and closed to others",
		       e == -ENOENT ? "run `sispopnet-relay keygen`" : err);
}

static int check_exit(const struct relay_config *c)
{
	int bad = 0;

	if (!c->exit.present)
		return 0;
	bad |= finding(!access("/dev/net/tun", R_OK | W_OK), "/dev/net/tun can be opened",
		       "load the module (`modprobe tun`) or give the container the device");
	bad |= finding(
		process_has_net_admin(), "CAP_NET_ADMIN is there",
		"an exit needs it: start it as root, or with AmbientCapabilities=CAP_NET_ADMIN");
	return bad;
}

int relay_check(const char *config_path)
{
	struct relay_config c;
	struct netconf net;
	char err[CONFIG_ERROR_BYTES] = "";
	int bad = 0;

	if (load(config_path, &c))
		return 2;
	finding(true, "config can be read", "");
	bad |= finding(!netconf_load(c.network, &net, err), "network file can be read", err);
	bad |= check_exit(&c);
	/* What follows is looked at with the user and the capabilities that the relay has. */
	bad |= finding(!process_drop(c.user, c.exit.present, err),
		       "capabilities can be dropped, `user` taken on", err);
	bad |= check_keys(&c);
	bad |= check_address(&c.address4);
	bad |= check_address(&c.address6);
	return bad;
}

int relay_keygen(const char *config_path)
{
	struct relay_config c;
	char err[KEYFILE_ERROR_BYTES], path[200], name[NAME_BYTES];
	struct sign_keypair k;
	uint8_t seed[32];
	int e;

	if (load(config_path, &c))
		return 2;
	e = process_make_folder(c.state, 0700, c.user, err);
	if (!e)
		e = process_drop(c.user, false, err); /* the file shall be its who runs the relay */
	if (!e)
		e = relay_keys_create(c.state, &rng_system, err);
	if (e == -EEXIST) { /* asked again: the name is what is wanted */
		fprintf(stderr, "sispopnet-relay: %s\n", err);
		e = 0;
	}
	snprintf(path, sizeof(path), "%s/identity", c.state);
	if (!e)
		e = keyfile_read(path, seed, sizeof(seed), err);
	if (e) {
		fprintf(stderr, "sispopnet-relay: %s\n", err);
		return 1;
	}
	sign_keypair_from_seed(&k, seed);
	name_from_id(k.public_key, name);
	sign_keypair_done(&k);
	wipe(seed, sizeof(seed));
	puts(name);
	return 0;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "-";
}

static long long number(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

static void print_status(const json_t *s)
{
	const char *key;
	const json_t *v, *drops = json_object_get(s, "drops");

	printf("%s %s, %s\n", text(s, "role"), text(s, "name"), text(s, "state"));
	printf("  at         %s  %s\n", text(s, "address4"), text(s, "address6"));
	printf("  links      %lld (%lld half open)\n", number(s, "links"), number(s, "half_open"));
	printf("  circuits   %lld (%lld being built)\n", number(s, "circuits"),
	       number(s, "pending"));
	printf("  directory  %lld, %lld relays\n", number(s, "consensus"), number(s, "relays"));
	if (json_object_get(s, "exit"))
		printf("  sessions   %lld\n", number(json_object_get(s, "exit"), "sessions"));
	json_object_foreach((json_t *)drops, key, v)
		printf("  dropped    %-20s %lld\n", key, (long long)json_integer_value(v));
}

int relay_status(const char *config_path, bool json)
{
	struct relay_config c;
	struct control_client *client = NULL;
	struct control_error refused;
	json_t *result = NULL;
	char path[200];
	int e;

	if (load(config_path, &c))
		return 2;
	snprintf(path, sizeof(path), "%s/relay.sock", c.run);
	e = control_connect(path, &client);
	if (!e)
		e = control_call(client, "status", NULL, STATUS_TIMEOUT, NULL, NULL, &result,
				 &refused);
	if (e) {
		fprintf(stderr, "sispopnet-relay: no relay answers at %s: %s; is it running?\n",
			path, strerror(-e));
		control_disconnect(client);
		return 1;
	}
	if (json) {
		json_dumpf(result, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		print_status(result);
	}
	json_decref(result);
	control_disconnect(client);
	return 0;
}
