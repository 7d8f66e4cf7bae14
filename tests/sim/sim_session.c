/* tests/sim/sim_session.c - with --sessions: every client keeps a path set and a session at one
 * exit, whose exit_sessions ask accounts and leases kept here. One client in eight shows a token
 * that the exit does not know.
 */
#include "sim/sim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/plain_type.h"
#include "crypto/sign.h"

#define START_SPREAD_NSEC (2 * NSEC_PER_SEC)
#define GAP_LEAST_NSEC	  (5 * NSEC_PER_MSEC)
#define GAP_SPREAD_NSEC	  (150 * NSEC_PER_MSEC)
#define LINGER_NSEC	  (1 * NSEC_PER_SEC)
#define SILENT_MOST_NSEC                                                                           \
	(4 * NSEC_PER_SEC) /* after that much without an answer a session is lost */
#define STRANGER_ONE_IN 8
#define CHOOSE_TRIES	1000

/* --- the exit --- */

static void judge(void *arg, const uint8_t *token_pk, struct token_verdict *ret)
{
	struct host *h = arg;
	struct sim *s = h->sim;
	*ret = (struct token_verdict){.deny = DENY_BAD_TOKEN, .quota_left = UINT64_MAX};
	for (unsigned i = s->o.relays; token_pk && i < s->nhosts; i++) {
		const struct host *client = &s->hosts[i];
		if (client->exit == h && !client->bad_token &&
		    memcmp(client->token_pk, token_pk, 32) == 0)
			ret->deny = 0;
	}
}

static int lease(void *arg, struct session_data *d, uint8_t wants)
{
	struct host *h = arg;
	(void)wants;
	for (unsigned i = 0; i < SIM_LEASES_MOST; i++) {
		if (h->lease[i])
			continue;
		const uint8_t ip[4] = {10, 200, (uint8_t)h->index, (uint8_t)i};
		d->lease_index = i;
		d->lease4 = addr_from_ip(ip, 4, 0);
		h->lease[i] = d;
		return 0;
	}
	return -ENOSPC;
}

static void lease_drop(void *arg, struct session_data *d)
{
	struct host *h = arg;
	if (h->lease[d->lease_index] != d)
		violated(h->sim, "exit %u takes back a lease that was not given", h->index);
	h->lease[d->lease_index] = NULL;
}

static uint64_t unix_seconds(void *arg)
{
	struct host *h = arg;
	return (uint64_t)((int64_t)SIM_UNIX_START + h->skew_s + h->sim->now / NSEC_PER_SEC);
}

void session_make_exit(struct host *h)
{
	struct exit_sessions_config c = {
		.env = &h->env,
		.circuits = h->circuits,
		.ops = {.arg = h,
			.judge = judge,
			.lease = lease,
			.lease_drop = lease_drop,
			.unix_seconds = unix_seconds},
		.sessions_most = SIM_LEASES_MOST,
		.idle_s = SESSION_IDLE_SECONDS,
	};
	memcpy(c.id, h->target.id, 32);
	h->exits = exit_sessions_new(&c, h->sim->now);
	if (!h->exits)
		violated(h->sim, "no memory for exit %u", h->index);
}

static void exit_got(struct host *h, struct circuit *c)
{
	struct sim *s = h->sim;
	const struct session_data *d = atomic_load(&c->session);
	if (!d)
		return; /* data before BOUND, or after the session went */
	s->count.got_forward++;
	struct circuit *back = atomic_load(&d->active);
	unsigned hops = back ? check_hops(back) : 0;
	if (hops > 0)
		app_send_backward(h, back, hops);
}

/* --- the client --- */

static void on_ready(void *arg, struct path *p, nsec_t now)
{
	struct host *h = arg;
	h->sim->count.built++;
	path_set_on_ready(h->set, p, now);
}

static void on_gone(void *arg, struct path *p, int hop, enum build_status status, nsec_t now)
{
	struct host *h = arg;
	*(path_data_of(p) ? &h->sim->count.gone : &h->sim->count.failed) += 1;
	path_set_on_gone(h->set, p, hop, status, now);
}

struct path_ops session_path_ops(struct host *client)
{
	return (struct path_ops){.arg = client, .on_ready = on_ready, .on_gone = on_gone};
}

static bool on_path(const struct path *p, const struct host *h)
{
	for (unsigned i = 0; i + 1 < path_hops(p); i++)
		if (memcmp(path_hop(p, i)->target.id, h->target.id, 32) == 0)
			return true;
	return false;
}

static bool is_taken(const struct path_query *q, const struct path_hop *hops, unsigned n,
		     const struct host *h)
{
	for (unsigned i = 0; i < n; i++)
		if (memcmp(hops[i].target.id, h->target.id, 32) == 0)
			return true;
	for (unsigned i = 0; i < q->count; i++)
		if (on_path(q->live[i], h))
			return true;
	return false;
}

static bool is_avoided(const struct host *h, const struct host *r)
{
	for (unsigned i = 0; i < sizeof(h->avoid) / sizeof(h->avoid[0]); i++)
		if (h->avoid[i] == r)
			return true;
	return false;
}

/* One of the two guards first, any relay when both failed; no relay of a live path again, none that
 * failed. */
static int choose(void *arg, const struct path_query *q, struct path_hop hops[HOPS_MAX],
		  unsigned *ret_n)
{
	struct host *h = arg;
	struct sim *s = h->sim;
	unsigned n = h->hops;
	for (unsigned i = 0, tries = 0; i + 1 < n; tries++) {
		if (tries == CHOOSE_TRIES)
			return -EHOSTUNREACH;
		const struct host *r = &s->hosts[rng_below(&s->rng, s->o.relays)];
		if (i == 0 && tries < 4 && q->attempt < 3)
			r = &s->hosts[h->guards[rng_below(&s->rng, 2)]];
		if (r != h->exit && !is_avoided(h, r) && !is_taken(q, hops, i, r))
			hops[i++].target = r->target;
	}
	hops[n - 1].target = h->exit->target;
	*ret_n = n;
	return 0;
}

static void on_event(void *arg, enum path_set_event e, struct path *p, int hop,
		     enum build_status status, nsec_t now)
{
	static const char *const what[] = {"built", "failed", "switched", "lost"};
	struct host *h = arg;
	if (e == PATH_SET_FAILED && p && hop >= 0) {
		memmove(h->avoid + 1, h->avoid, sizeof(h->avoid) - sizeof(h->avoid[0]));
		h->avoid[0] = wire_host_at(h->sim, &path_hop(p, (unsigned)hop)->target.addr);
	}
	if (h->index != h->sim->o.trace)
		return;
	printf("client %u %.3f s: %s, hop %d, status %d, relays", h->index,
	       (double)now / (double)NSEC_PER_SEC, what[e], hop, status);
	for (unsigned i = 0; p && i < path_hops(p); i++) {
		const struct host *r = wire_host_at(h->sim, &path_hop(p, i)->target.addr);
		printf(" %u%s", r->index, r->dead ? " (dead)" : "");
	}
	printf("\n");
}

static void on_active(void *arg, struct path_data *p, nsec_t now)
{
	struct host *h = arg;
	(void)now;
	h->active = p;
}

static bool on_grant(void *arg, const struct msg_grant *g, nsec_t now)
{
	struct host *h = arg;
	(void)now;
	const struct prefix lan = {.addr = {.family = 4, .ip = {10, 200}}, .len = 16};
	if (h->bad_token)
		violated(h->sim, "client %u is granted without an account", h->index);
	if (!prefix_has(&lan, &g->lease4))
		violated(h->sim, "client %u is granted no lease", h->index);
	h->granted = true;
	return true;
}

static void on_deny(void *arg, const struct msg_deny *d, nsec_t now)
{
	struct host *h = arg;
	(void)now;
	h->denied = true;
	if (!h->bad_token)
		violated(h->sim, "client %u is denied (%u)", h->index, d->reason);
}

static void on_closed(void *arg, uint8_t reason, nsec_t now)
{
	struct host *h = arg;
	(void)now;
	violated(h->sim, "the session of client %u is closed (%u)", h->index, reason);
}

static void on_refused(void *arg, const struct msg_refused *m, nsec_t now)
{
	struct host *h = arg;
	(void)m, (void)now;
	violated(h->sim, "a packet of client %u is refused", h->index);
}

static void open_session(struct host *h)
{
	struct sim *s = h->sim;
	struct path_set_config c = {
		.env = &h->env,
		.paths = h->paths,
		.ops = {.arg = h,
			.choose = choose,
			.on_event = on_event,
			.on_active = on_active,
			.on_grant = on_grant,
			.on_deny = on_deny,
			.on_closed = on_closed,
			.on_refused = on_refused},
		.wants = WANT_V4,
		.padding = PAD_BUCKET,
		.standby = true,
	};
	struct sign_keypair token;
	uint8_t seed[32];
	memcpy(c.exit_id, h->exit->target.id, 32);
	rng_bytes(&s->rng, seed, sizeof(seed));
	sign_keypair_from_seed(&token, seed);
	memcpy(h->token_pk, token.public_key, 32);
	h->set = path_set_new(&c, s->now);
	if (!h->set || path_set_token(h->set, seed, s->now) < 0) {
		violated(s, "no memory for client %u", h->index);
		return;
	}
	path_set_start(h->set, s->now);
}

/* Before the paths go: did it work to the end? */
static void close_session(struct host *h)
{
	struct sim *s = h->sim;
	if (h->bad_token && !h->denied)
		violated(s, "client %u was not denied", h->index);
	if (!h->bad_token && (!h->granted || s->now - h->last_got > SILENT_MOST_NSEC))
		violated(s, "client %u: %s, last answer %.1f s ago", h->index,
			 h->granted ? "granted" : "never granted",
			 (double)(s->now - h->last_got) / (double)NSEC_PER_SEC);
	path_set_goodbye(h->set, s->now);
	path_set_free(h->set, s->now);
	h->set = NULL;
}

void session_on_client(struct sim *s, struct host *h)
{
	h->control.now = s->now;
	if (s->now >= s->traffic_ends) {
		if (h->set)
			close_session(h);
		host_rearm(h);
		return;
	}
	if (!h->set)
		open_session(h);
	else if (h->active && s->now < s->traffic_ends - LINGER_NSEC)
		app_send_forward(s, h, h->active);
	sim_push(s, s->now + GAP_LEAST_NSEC + (nsec_t)rng_below(&s->rng, GAP_SPREAD_NSEC),
		 EVENT_CLIENT, h, NULL);
	host_rearm(h);
}

void session_on_plain(struct host *h, struct flight *f, const struct dp_result *r)
{
	struct sim *s = h->sim;
	bool control = r->plain[0] == PLAIN_CONTROL;
	if (r->end->kind == HOP_END_FORWARD && control)
		exit_sessions_on_plain(h->exits, r->end->owner, r->plain, r->plain_bytes, f->n,
				       s->now);
	else if (r->end->kind == HOP_END_FORWARD)
		exit_got(h, r->end->owner);
	else if (control && h->set)
		path_set_on_plain(h->set, r->end->owner, r->plain, r->plain_bytes, f->n, s->now);
	else if (!control) {
		s->count.got_backward++;
		h->last_got = s->now;
	}
}

/* --- all of them --- */

static struct host *some_exit(struct sim *s)
{
	for (;;) {
		struct host *h = &s->hosts[rng_below(&s->rng, s->o.relays)];
		if (h->is_exit)
			return h;
	}
}

void session_start(struct sim *s)
{
	for (unsigned i = s->o.relays; i < s->nhosts; i++) {
		struct host *h = &s->hosts[i];
		h->exit = some_exit(s);
		h->hops = s->o.hops ? s->o.hops : 1 + (unsigned)rng_below(&s->rng, HOPS_MAX);
		h->bad_token = i % STRANGER_ONE_IN == 0;
		sim_push(s, s->now + (nsec_t)rng_below(&s->rng, START_SPREAD_NSEC), EVENT_CLIENT, h,
			 NULL);
	}
}

void session_end(struct sim *s)
{
	unsigned granted = 0;
	for (unsigned i = s->o.relays; i < s->nhosts; i++)
		granted += s->hosts[i].granted;
	if (granted == 0 || s->count.got_backward == 0)
		violated(s, "no session carried anything");
	for (unsigned i = 0; i < s->o.relays; i++)
		for (unsigned k = 0; k < SIM_LEASES_MOST; k++)
			if (s->hosts[i].lease[k])
				violated(s, "exit %u still lends lease %u", i, k);
}
