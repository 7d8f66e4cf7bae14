/* client/tunnel.c - the client's state machine: off, connecting, up; one attempt at a time.
 *
 * An attempt goes: directory, paths to the exit, session, grant, host, verified. The host is untouched until the exit
 * granted; whatever fails takes back what was done. What fails inside a callback of path_set is ended from the event
 * loop (c->deferred), because the path set must not be freed under its own feet.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "client/client.h"
#include "crypto/kdf.h"
#include "routing/dns.h"
#include "routing/netinfo.h"

static void begin_exit(struct client *c, nsec_t now);

static void set_state(struct client *c, enum client_state s)
{
	if (c->state == s)
		return;
	c->state = s;
	methods_state_changed(c);
}

/* --- how an attempt ends --- */

static void __attribute__((format(printf, 3, 4))) fail(struct client *c, enum fault f, const char *fmt, ...)
{
	va_list ap;

	if (c->must_end_attempt || c->attempt_over)
		return; /* the first reason counts */
	va_start(ap, fmt);
	vsnprintf(c->sentence, sizeof(c->sentence), fmt, ap);
	va_end(ap);
	c->fault = f;
	c->must_end_attempt = true;
	client_defer(c);
}

static void free_carrier(struct carrier *k, nsec_t now)
{
	if (!k)
		return;
	path_set_free(k->paths, now);
	wipe(k, sizeof(*k));
	free(k);
}

static void attempt_over(struct client *c, enum fault f)
{
	c->fault = f;
	c->attempt_over = true;
	c->must_end_attempt = false;
	wipe(c->wish.exit, sizeof(c->wish.exit));
	methods_attempt_over(c);
}

static void say_left_alone(void *arg, const char *sentence)
{
	(void)arg;
	log_warn("%s", sentence);
}

/* Give the host back: routes, rules, DNS; then the TUN. */
static int host_down(struct client *c, char *err)
{
	int r = 0;

	if (c->host_is_up)
		r = host_undo(c->host, say_left_alone, NULL, err);
	c->host_is_up = false;
	if (c->tun) {
		engine_detach_tun(c->engine);
		tun_close(c->tun);
		c->tun = NULL;
	}
	return r;
}

static int carrier_down(struct client *c, nsec_t now, char *err)
{
	int r;

	verify_cancel(c->verify);
	c->verify = NULL;
	if (c->carrier)
		path_set_goodbye(c->carrier->paths, now);
	r = host_down(c, err);
	inner_set_active(c->inner, NULL);
	free_carrier(c->carrier, now);
	c->carrier = NULL;
	return r;
}

static bool has_next_exit(const struct client *c)
{
	return c->wish_exit + 1 < c->wish.exits && clock_now() < c->attempt_deadline && c->fault != FAULT_HOST;
}

/* The attempt failed: try the wish's next exit, else everything back to what was before it. */
static void end_failed_attempt(struct client *c, nsec_t now)
{
	char err[ROUTING_ERROR_BYTES];
	bool was_up = c->up_since != 0;

	c->must_end_attempt = false;
	free_carrier(c->next, now);
	c->next = NULL;
	if (!was_up && carrier_down(c, now, err))
		log_error("the host was not taken back whole: %s", err);
	if (has_next_exit(c)) {
		log_info("%s; trying the next exit", c->sentence);
		c->wish_exit++;
		begin_exit(c, now);
		return;
	}
	log_warn("not up: %s", c->sentence);
	attempt_over(c, c->fault);
	if (!was_up) {
		links_close_all(c->links, CLOSE_DONE, now);
		set_state(c, CLIENT_OFF);
	}
}

void tunnel_deferred(struct client *c, nsec_t now)
{
	if (c->must_end_attempt)
		end_failed_attempt(c, now);
	client_rearm(c, now);
}

/* --- verified --- */

static void on_verified(void *arg, bool ok)
{
	struct client *c = arg;
	nsec_t now = clock_now();

	c->verify = NULL;
	if (!ok) {
		fail(c, FAULT_NO_FORWARD,
		     "the exit granted a session, but no packet came back through it in 3 s: it does not forward; tell its "
		     "operator or use another exit");
		return;
	}
	c->up_since = c->up_since ? c->up_since : now;
	methods_step(c, STEP_VERIFIED, "a packet came back", now);
	set_state(c, CLIENT_UP);
	log_info("up");
	attempt_over(c, FAULT_NONE);
}

/* --- the grant and the host --- */

static unsigned path_mtu(const struct carrier *k, const struct msg_grant *g)
{
	const struct path_data *d = k->first ? path_data_of(k->first) : NULL;
	unsigned mtu = d ? inner_mtu(atomic_load(&d->full_dgram), d->slots) : g->mtu;

	return mtu < g->mtu ? mtu : g->mtu;
}

static struct host_client host_settings(struct client *c, const struct ranges *r, const struct msg_grant *g,
					unsigned mtu)
{
	return (struct host_client){
		.ifname = c->config.interface,
		.mtu = (uint16_t)mtu,
		.v4 = g->lease4,
		.v6 = g->lease6,
		.table = c->config.table,
		.mark = c->config.mark,
		.ranges = r->range,
		.nranges = r->n,
	};
}

/* With ranges the system's resolver stays: whoever sends a part through the tunnel asks for the rest beside it. */
static int set_dns(struct client *c, const struct ranges *ranges, const struct msg_grant *g, char *err)
{
	if (ranges->n)
		return dns_unset(c->host, c->config.resolv_conf, err);
	return g->ndns ? dns_set(c->host, c->config.resolv_conf, g->dns, g->ndns, err) : 0;
}

static int host_first_up(struct client *c, const struct carrier *k, unsigned mtu, char *err)
{
	struct host_client h = host_settings(c, &k->ranges, &k->grant, mtu);
	int r = tun_open(c->config.interface, engine_workers(c->engine), true, &c->tun, err);

	if (r)
		return r;
	c->host_is_up = true; /* from here on there may be something to take back */
	r = host_client_up(c->host, &h, err);
	if (!r)
		r = set_dns(c, &k->ranges, &k->grant, err);
	if (!r) {
		r = engine_attach_tun(c->engine, c->tun);
		if (r)
			snprintf(err, ROUTING_ERROR_BYTES, "the TUN's queues could not be served: %s", strerror(-r));
	}
	return r;
}

static int host_change(struct client *c, const struct carrier *k, unsigned mtu, char *err)
{
	struct host_client h = host_settings(c, &k->ranges, &k->grant, mtu);
	int r = host_client_change(c->host, &h, err);

	return r ? r : set_dns(c, &k->ranges, &k->grant, err);
}

static int local_networks(struct client *c, struct prefix **ret, size_t *ret_n, char *err)
{
	struct prefix *p = calloc(NETINFO_PREFIXES_MAX, sizeof(*p));
	int r;

	if (!p) {
		snprintf(err, ROUTING_ERROR_BYTES, "no memory for the list of local networks");
		return -ENOMEM;
	}
	r = netinfo_local_prefixes(c->config.interface, p, NETINFO_PREFIXES_MAX, ret_n, err);
	if (r)
		free(p);
	else
		*ret = p;
	return r;
}

/* The old exit's paths go once the new one's carry the traffic: there is no moment without. */
static void adopt(struct client *c, struct carrier *k, nsec_t now)
{
	struct carrier *old = c->carrier;

	if (k != c->next)
		return;
	c->next = NULL;
	c->carrier = k;
	if (!old)
		return;
	path_set_goodbye(old->paths, now);
	free_carrier(old, now);
}

static void take_grant(struct client *c, struct carrier *k, const struct msg_grant *g, const struct prefix *local,
		       size_t nlocal, nsec_t now)
{
	char err[ROUTING_ERROR_BYTES];
	bool is_first = k == c->next;
	unsigned mtu = path_mtu(k, g);
	char text[ADDR_TEXT_BYTES];
	int r;

	k->grant = *g;
	if (mtu < 1280) /* RFC 8200: no IPv6 below it; PROTOCOL.md section 6 */
		k->grant.lease6.family = 0;
	if (is_first)
		methods_step(c, STEP_SESSION, addr_ip_text(&g->lease4, text), now);
	r = inner_set_lease(c->inner, engine_env(c->engine), &k->grant, (uint16_t)mtu, local, nlocal);
	if (r)
		snprintf(err, sizeof(err), "no memory for the lease");
	else
		r = c->tun ? host_change(c, k, mtu, err) : host_first_up(c, k, mtu, err);
	if (r) {
		fail(c, FAULT_HOST, "%s", err);
		return;
	}
	k->granted = true;
	if (!is_first)
		return;
	methods_step(c, STEP_TUN, c->config.interface, now);
	adopt(c, k, now);
	verify_cancel(c->verify);
	c->verify = verify_start(c, k, on_verified, c);
	if (!c->verify)
		fail(c, FAULT_HOST, "the check of the tunnel could not be started: no socket or no memory");
}

static bool on_grant(void *arg, const struct msg_grant *g, nsec_t now)
{
	struct carrier *k = arg;
	struct client *c = k->client;
	char err[ROUTING_ERROR_BYTES];
	struct prefix *local = NULL;
	const char *why;
	size_t n = 0;

	if (local_networks(c, &local, &n, err)) {
		fail(c, FAULT_HOST, "%s", err);
		return true;
	}
	why = grant_judge(g, local, n);
	if (why)
		fail(c, FAULT_BAD_GRANT, "%s: it is broken or hostile, use another", why);
	else
		take_grant(c, k, g, local, n, now);
	free(local);
	return !why;
}

static void on_deny(void *arg, const struct msg_deny *d, nsec_t now)
{
	static const struct {
		enum fault fault;
		const char *text;
	} why[] = {
		[DENY_BAD_TOKEN] = {FAULT_AUTH_BAD, "the exit does not know this token, or it was revoked: check it, or ask "
						    "the exit's operator for a new one"},
		[DENY_EXPIRED] = {FAULT_AUTH_EXPIRED, "the token has expired: ask the exit's operator for a new one"},
		[DENY_QUOTA] = {FAULT_AUTH_QUOTA, "the token's quota is used up: wait, or ask the exit's operator"},
		[DENY_IN_USE] = {FAULT_AUTH_IN_USE, "the token is in use elsewhere: end the other session first"},
		[DENY_FULL] = {FAULT_AUTH_FULL, "the exit is full: try again later or use another"},
		[DENY_POLICY] = {FAULT_AUTH_POLICY, "the exit wants a token: give one with --token-file"},
		[DENY_VERSION] = {FAULT_AUTH_VERSION, "the exit speaks another version: update the older of the two"},
	};
	struct carrier *k = arg;

	(void)now;
	if (d->reason < sizeof(why) / sizeof(why[0]) && why[d->reason].text)
		fail(k->client, why[d->reason].fault, "%s", why[d->reason].text);
	else
		fail(k->client, FAULT_AUTH_BAD, "the exit refused the token for a reason that this version does not know");
}

static void on_closed(void *arg, uint8_t reason, nsec_t now)
{
	struct carrier *k = arg;
	struct client *c = k->client;

	(void)now;
	if (k == c->next || !c->attempt_over) {
		fail(c, FAULT_BAD_GRANT, "the exit closed the session");
		return;
	}
	/* The routes stay, so that nothing leaves beside the tunnel until the user says so. */
	snprintf(c->blocked_why, sizeof(c->blocked_why), "the exit closed the session (%s)",
		 reason == DENY_EXPIRED     ? "the token has expired"
		 : reason == DENY_BAD_TOKEN ? "the token was revoked"
					    : "by its operator");
	log_warn("blocked: %s", c->blocked_why);
	set_state(c, CLIENT_BLOCKED);
}

static void on_refused(void *arg, const struct msg_refused *m, nsec_t now)
{
	(void)arg; /* the drop is counted at the exit, and the program got its ICMP */
	(void)m;
	(void)now;
}

/* --- paths --- */

static int choose(void *arg, const struct path_query *q, struct path_hop hops[HOPS_MAX], unsigned *ret_n)
{
	struct carrier *k = arg;
	struct client *c = k->client;
	char why[SENTENCE_BYTES];
	int r = hops_choose(c, k, q, hops, ret_n, why);

	if (r && k == c->next)
		fail(c, r == -ENOENT ? FAULT_NO_EXIT : r == -ENODATA ? FAULT_NO_DIRECTORY : FAULT_NO_PATH, "%s", why);
	return r;
}

static const char *status_text(enum build_status s)
{
	static const char *const text[] = {
		"ok",	      "was overloaded",	    "did not know the next relay", "could not reach the next relay",
		"is no exit", "disagreed about the time", "did not understand the request"};

	return (unsigned)s < sizeof(text) / sizeof(text[0]) ? text[s] : "failed";
}

static void note_failure(struct carrier *k, const struct path *p, int hop, enum build_status status)
{
	char text[ADDR_TEXT_BYTES];

	if (p && hop >= 0 && (unsigned)hop < path_hops(p))
		snprintf(k->last_failure, sizeof(k->last_failure), "relay %s %s",
			 addr_ip_text(&path_hop(p, (unsigned)hop)->target.addr, text), status_text(status));
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

static void on_event(void *arg, enum path_set_event e, struct path *p, int hop, enum build_status status, nsec_t now)
{
	struct carrier *k = arg;
	struct client *c = k->client;
	char text[8 * ADDR_TEXT_BYTES];

	switch (e) {
	case PATH_SET_BUILT:
		k->failures = 0;
		if (!k->granted)
			k->first = p;
		hops_on_built(c, p);
		describe_path(p, text, sizeof(text));
		if (k == c->next)
			methods_step(c, STEP_PATH, text, now);
		break;
	case PATH_SET_FAILED:
		k->failures++;
		if (k->first == p)
			k->first = NULL;
		note_failure(k, p, hop, status);
		if (p)
			hops_on_failed(c, p, hop, now);
		if (k == c->next && k->failures >= BUILDS_MOST && now - c->attempt_started >= BUILDS_NSEC)
			fail(c, FAULT_NO_PATH, "no path could be built, %u tries: %s; are the relays reachable from here?",
			     k->failures, k->last_failure);
		break;
	case PATH_SET_SWITCHED:
		if (k == c->carrier && c->attempt_over)
			set_state(c, CLIENT_UP);
		break;
	case PATH_SET_LOST:
		if (k == c->carrier && c->state == CLIENT_UP)
			set_state(c, CLIENT_CONNECTING);
		break;
	}
}

static void on_active(void *arg, struct path_data *p, nsec_t now)
{
	struct carrier *k = arg;

	(void)now;
	if (k == k->client->carrier)
		inner_set_active(k->client->inner, p);
}

static struct carrier *new_carrier(struct client *c, const uint8_t id[32], nsec_t now)
{
	struct carrier *k = calloc(1, sizeof(*k));
	struct path_set_config pc = {
		.env = engine_env(c->engine),
		.paths = c->paths,
		.ops = {k, choose, on_event, on_active, on_grant, on_deny, on_closed, on_refused},
		.wants = WANT_V4 | WANT_V6 | WANT_DNS,
		.padding = (uint8_t)c->config.padding,
		.standby = c->config.standby,
	};

	if (!k)
		return NULL;
	k->client = c;
	memcpy(k->id, id, 32);
	memcpy(pc.exit_id, id, 32);
	k->paths = path_set_new(&pc, now);
	if (!k->paths) {
		free(k);
		return NULL;
	}
	return k;
}

/* --- the attempt --- */

static void give_seed(struct client *c, nsec_t now)
{
	unsigned i = c->wish_exit;

	if (!c->next || !(c->wish.open || c->wish.exit[i].has_seed))
		return;
	if (path_set_token(c->next->paths, c->wish.open ? NULL : c->wish.exit[i].seed, now) == -ENOMEM)
		fail(c, FAULT_HOST, "no memory for the session");
}

/* The directory is valid: begin with the wish's current exit. */
static void begin_exit(struct client *c, nsec_t now)
{
	const struct directory *d = dirsync_current(c->dirsync, now);
	const uint8_t *id = c->wish.exit[c->wish_exit].id;
	const struct relay *exit;

	if (!d) {
		dirsync_refresh(c->dirsync, now);
		return; /* tunnel_on_directory() goes on */
	}
	if (!c->step_done[STEP_DIRECTORY])
		methods_step(c, STEP_DIRECTORY, "valid", now);
	exit = directory_find(d, id);
	if (!exit || !(exit->flags & RELAY_FLAG_EXIT)) {
		fail(c, FAULT_NO_EXIT, "%s",
		     choice_result_text(exit ? CHOICE_NOT_AN_EXIT : CHOICE_NO_EXIT));
		return;
	}
	c->next = new_carrier(c, id, now);
	if (!c->next) {
		fail(c, FAULT_HOST, "no memory for the paths");
		return;
	}
	c->next->ranges = c->wish.ranges;
	c->next->address4 = exit->v4;
	c->next->address6 = exit->v6;
	give_seed(c, now);
	path_set_start(c->next->paths, now);
}

enum fault tunnel_up(struct client *c, const struct wish *w, nsec_t now)
{
	const struct msg_grant none = {.lease4 = {.family = 0}};
	struct host_client h = host_settings(c, &w->ranges, &none, 1280);

	if (!c->tun && host_client_check(c->host, &h, c->sentence))
		return FAULT_HOST;
	if (!c->attempt_over && c->attempt) {
		snprintf(c->sentence, sizeof(c->sentence), "another --up took over");
		c->fault = FAULT_CANCELLED;
		free_carrier(c->next, now);
		c->next = NULL;
		attempt_over(c, FAULT_CANCELLED);
	}
	c->wish = *w;
	c->wish_exit = 0;
	c->attempt++;
	c->attempt_over = false;
	c->must_end_attempt = false;
	c->attempt_started = now;
	c->attempt_deadline = now + w->timeout;
	c->directory_failures = 0;
	memset(c->step_done, 0, sizeof(c->step_done));
	if (!c->tun) {
		c->up_since = 0;
		inner_reset_bytes(c->inner);
		set_state(c, CLIENT_CONNECTING);
	}
	begin_exit(c, now);
	client_rearm(c, now);
	return FAULT_NONE;
}

int tunnel_seed(struct client *c, const uint8_t exit_id[32], const uint8_t seed[32], nsec_t now)
{
	bool found = false;

	for (unsigned i = 0; i < c->wish.exits && !c->attempt_over; i++) {
		if (memcmp(c->wish.exit[i].id, exit_id, 32))
			continue;
		memcpy(c->wish.exit[i].seed, seed, 32);
		c->wish.exit[i].has_seed = found = true;
		if (i == c->wish_exit)
			give_seed(c, now);
	}
	client_rearm(c, now);
	return found ? 0 : -ENOENT;
}

int tunnel_down(struct client *c, nsec_t now, char *err)
{
	int r;

	free_carrier(c->next, now);
	c->next = NULL;
	r = carrier_down(c, now, err);
	c->up_since = 0;
	if (!c->attempt_over && c->attempt) {
		snprintf(c->sentence, sizeof(c->sentence), "it was taken down");
		attempt_over(c, FAULT_CANCELLED);
	}
	c->must_end_attempt = false;
	links_close_all(c->links, CLOSE_DONE, now);
	set_state(c, CLIENT_OFF);
	client_rearm(c, now);
	return r;
}

/* --- what comes from outside --- */

void tunnel_on_directory(struct client *c, nsec_t now)
{
	if (c->attempt && !c->attempt_over && !c->next && !c->carrier && !c->must_end_attempt &&
	    dirsync_current(c->dirsync, now))
		begin_exit(c, now);
	client_rearm(c, now);
}

/* A document that was refused is said at once; a source that is silent gets a second chance. */
void tunnel_on_directory_failure(struct client *c, nsec_t now)
{
	if (!c->attempt || c->attempt_over || c->next || c->carrier || dirsync_current(c->dirsync, now))
		return;
	if (++c->directory_failures >= 2 || dirsync_result(c->dirsync) != DIR_CUT)
		fail(c, FAULT_NO_DIRECTORY, "there is no valid directory: %s", dirsync_error(c->dirsync));
}

static void on_attempt_timeout(struct client *c)
{
	const struct carrier *k = c->next;

	if (!k && !c->carrier)
		fail(c, FAULT_NO_DIRECTORY, "there is no valid directory: %s", dirsync_error(c->dirsync));
	else if (k && k->failures)
		fail(c, FAULT_NO_PATH, "no path could be built in time: %s", k->last_failure);
	else if (k && !c->step_done[STEP_PATH])
		fail(c, FAULT_TIMEOUT, "timed out while the path was being built: is the guard reachable from here?");
	else
		fail(c, FAULT_TIMEOUT, "timed out: the exit did not answer");
}

void tunnel_on_timer(struct client *c, nsec_t now)
{
	if (c->carrier)
		path_set_on_timer(c->carrier->paths, now);
	if (c->next)
		path_set_on_timer(c->next->paths, now);
	if (c->attempt && !c->attempt_over && now >= c->attempt_deadline)
		on_attempt_timeout(c);
}

nsec_t tunnel_next_deadline(const struct client *c)
{
	nsec_t next = NSEC_NEVER;

	if (c->carrier)
		next = path_set_next_deadline(c->carrier->paths);
	if (c->next)
		next = nsec_min(next, path_set_next_deadline(c->next->paths));
	if (c->attempt && !c->attempt_over && !c->must_end_attempt)
		next = nsec_min(next, c->attempt_deadline);
	return next;
}

static struct carrier *carrier_of(struct client *c, struct path *p)
{
	struct path_set *s = path_user(p);

	if (c->next && c->next->paths == s)
		return c->next;
	return c->carrier && c->carrier->paths == s ? c->carrier : NULL;
}

void tunnel_on_path_ready(struct client *c, struct path *p, nsec_t now)
{
	struct carrier *k = carrier_of(c, p);

	if (k)
		path_set_on_ready(k->paths, p, now);
}

void tunnel_on_path_gone(struct client *c, struct path *p, int hop, enum build_status status, nsec_t now)
{
	struct carrier *k = carrier_of(c, p);

	if (k)
		path_set_on_gone(k->paths, p, hop, status, now);
}

void tunnel_on_plain(struct client *c, struct path_data *p, const uint8_t *plain, size_t n, size_t datagram, nsec_t now)
{
	struct carrier *k = p->control ? carrier_of(c, p->control) : NULL;

	if (k)
		path_set_on_plain(k->paths, p, plain, n, datagram, now);
}
