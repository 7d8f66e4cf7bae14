/* client/tunnel_carrier.c - a carrier: the path set to one exit, and what its paths tell. Control
 * thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "client/tunnel_state.h"
#include "crypto/kdf.h"

/* --- choice --- */

static int choose(void *arg, const struct path_query *q, struct path_hop hops[HOPS_MAX],
		  unsigned *ret_n)
{
	struct carrier *k = arg;
	struct client *c = k->client;
	char why[SENTENCE_BYTES];
	int r = hops_choose(c, k, q, hops, ret_n, why);

	if (r && k == c->next)
		tunnel_fail(c,
			    r == -ENOENT    ? FAULT_NO_EXIT
			    : r == -ENODATA ? FAULT_NO_DIRECTORY
					    : FAULT_NO_PATH,
			    "%s", why);
	return r;
}

/* --- what happened to a path --- */

static const char *status_text(enum build_status s)
{
	static const char *const text[] = {
		[BUILD_OK] = "did not serve",
		[BUILD_OVERLOAD] = "was overloaded",
		[BUILD_NEXT_UNKNOWN] = "did not know the next relay",
		[BUILD_NEXT_DOWN] = "or the one behind it did not answer",
		[BUILD_NO_EXIT] = "is no exit",
		[BUILD_TIME] = "disagreed about the time",
		[BUILD_PROTOCOL] = "did not understand the request",
	};

	return (unsigned)s < sizeof(text) / sizeof(text[0]) ? text[s] : "failed";
}

static void note_failure(struct carrier *k, const struct path *p, int hop, enum build_status status)
{
	char text[ADDR_TEXT_BYTES];

	if (p && hop >= 0 && (unsigned)hop < path_hops(p))
		snprintf(k->last_failure, sizeof(k->last_failure), "relay %s %s",
			 addr_ip_text(&path_hop(p, (unsigned)hop)->target.addr, text),
			 status_text(status));
	else
		snprintf(k->last_failure, sizeof(k->last_failure), "nobody answered");
}

static void describe_path(const struct path *p, char *out, size_t room)
{
	char text[ADDR_TEXT_BYTES];
	size_t used = 0;

	*out = 0;
	for (unsigned i = 0; i < path_hops(p) && used < room; i++)
		used += (size_t)snprintf(out + used, room - used, "%s%s", i ? " > " : "",
					 addr_ip_text(&path_hop(p, i)->target.addr, text));
}

static void on_built(struct carrier *k, struct path *p, nsec_t now)
{
	struct client *c = k->client;
	char text[HOPS_MAX * ADDR_TEXT_BYTES];

	k->failures = 0;
	if (!k->granted)
		k->first = p;
	hops_on_built(c, p);
	if (k != c->next)
		return;
	/* The link to the guard may have stood before this attempt. */
	methods_step(c, STEP_GUARD, addr_ip_text(&path_hop(p, 0)->target.addr, text), now);
	describe_path(p, text, sizeof(text));
	methods_step(c, STEP_PATH, text, now);
}

static void on_failed(struct carrier *k, struct path *p, int hop, enum build_status status,
		      nsec_t now)
{
	struct client *c = k->client;

	k->failures++;
	if (k->first == p)
		k->first = NULL;
	note_failure(k, p, hop, status);
	if (p)
		hops_on_failed(c, p, hop, now);
	if (k == c->next && k->failures >= BUILDS_MOST && now - c->attempt_started >= BUILDS_NSEC)
		tunnel_fail(
			c, FAULT_NO_PATH,
			"no path could be built, %u tries: %s; are the relays reachable from here?",
			k->failures, k->last_failure);
}

static void on_event(void *arg, enum path_set_event e, struct path *p, int hop,
		     enum build_status status, nsec_t now)
{
	struct carrier *k = arg;
	struct client *c = k->client;

	switch (e) {
	case PATH_SET_BUILT:
		on_built(k, p, now);
		break;
	case PATH_SET_FAILED:
		on_failed(k, p, hop, status, now);
		break;
	case PATH_SET_SWITCHED:
		if (k == c->carrier && k->verified && !k->shut && c->state == CLIENT_CONNECTING)
			tunnel_set_state(c, CLIENT_UP);
		break;
	case PATH_SET_LOST:
		if (k == c->carrier && c->state == CLIENT_UP) {
			tunnel_set_state(c, CLIENT_CONNECTING);
			tunnel_on_silence(c);
		}
		break;
	}
}

static void on_active(void *arg, struct path_data *p, nsec_t now)
{
	struct carrier *k = arg;

	(void)now;
	if (k == k->client->carrier && !k->shut)
		inner_set_active(k->client->inner, p);
}

static void on_refused(void *arg, const struct msg_refused *m, nsec_t now)
{
	(void)arg; /* the drop is counted at the exit, and the program got its ICMP */
	(void)m;
	(void)now;
}

/* --- life --- */

struct carrier *carrier_new(struct client *c, const uint8_t id[32], unsigned hops, nsec_t now)
{
	struct carrier *k = calloc(1, sizeof(*k));
	struct path_set_config pc = {
		.env = engine_env(c->engine),
		.paths = c->paths,
		.ops = {k, choose, on_event, on_active, tunnel_on_grant, tunnel_on_deny,
			tunnel_on_closed, on_refused},
		.wants = WANT_V4 | WANT_V6 | WANT_DNS,
		.padding = (uint8_t)c->config.padding,
		.standby = c->config.standby,
	};

	if (!k)
		return NULL;
	k->client = c;
	k->hops = hops;
	memcpy(k->id, id, 32);
	memcpy(pc.exit_id, id, 32);
	k->paths = path_set_new(&pc, now);
	if (!k->paths) {
		free(k);
		return NULL;
	}
	return k;
}

void carrier_free(struct carrier *k, nsec_t now)
{
	if (!k)
		return;
	path_set_free(k->paths, now);
	wipe(k, sizeof(*k));
	free(k);
}

static struct carrier *carrier_of(struct client *c, struct path *p)
{
	struct path_set *s = path_user(p);

	if (c->next && c->next->paths == s)
		return c->next;
	return c->carrier && c->carrier->paths == s ? c->carrier : NULL;
}

/* --- what the onion layer brings --- */

void tunnel_on_path_ready(struct client *c, struct path *p, nsec_t now)
{
	struct carrier *k = carrier_of(c, p);

	if (k)
		path_set_on_ready(k->paths, p, now);
}

void tunnel_on_path_gone(struct client *c, struct path *p, int hop, enum build_status status,
			 nsec_t now)
{
	struct carrier *k = carrier_of(c, p);

	if (k)
		path_set_on_gone(k->paths, p, hop, status, now);
}

void tunnel_on_plain(struct client *c, struct path_data *p, const uint8_t *plain, size_t n,
		     size_t datagram, nsec_t now)
{
	struct carrier *k = p->control ? carrier_of(c, p->control) : NULL;

	if (k)
		path_set_on_plain(k->paths, p, plain, n, datagram, now);
}
