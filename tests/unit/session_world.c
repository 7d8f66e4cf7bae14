/* tests/unit/session_world.c - see session_world.h. */
#include "unit/session_world.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"

#define TRAFFIC_GAP    (50 * NSEC_PER_MSEC)
#define UNGRANTED_NSEC (10 * NSEC_PER_SEC)
#define SAME_TIME_MOST 200

static void must(bool fact, const char *what)
{
	if (fact)
		return;
	fprintf(stderr, "session_world: %s\n", what);
	abort();
}

static bool chance(struct world *w, unsigned per_cent)
{
	return rng_below(&w->rng, 100) < per_cent;
}

/* --- path.h, as path_set and session_client see it --- */

static struct path *alive(const struct path *p)
{
	must(p && !p->freed, "a path is used after path_free()");
	return (struct path *)p;
}

static struct path *path_new(struct world *w)
{
	must(w->paths < WORLD_PATHS, "too many paths");
	struct path *p = calloc(1, sizeof(*p));
	must(p, "memory");
	p->w = w;
	p->chain = chain_new(WORLD_HOPS, rng_u64(&w->rng));
	rng_bytes(&w->rng, p->h, 32);
	rng_bytes(&w->rng, p->res, 32);
	p->carries = DATAGRAM_MAX;
	p->event_at = p->ungranted_at = NSEC_NEVER;
	p->built_at = w->now;
	w->path[w->paths++] = p;
	return p;
}

static void become_ready(struct path *p)
{
	struct world *w = p->w;
	p->ready = true;
	p->ready_at = w->now;
	p->expires_at = p->built_at + WORLD_LIFE;
	p->ungranted_at = w->now + UNGRANTED_NSEC;
	p->chain->path.control = p;
	atomic_store(&p->chain->path.last_rx, w->now);
	must(exit_sessions_on_end(w->exits, world_circuit(p), p->h, p->res, w->now), "on_end");
	p->at_exit = true;
}

int path_build(struct paths *s, const struct path_hop *hops, unsigned n, nsec_t now,
	       struct path **ret)
{
	struct world *w = (struct world *)(void *)s;
	must(n == WORLD_HOPS && now == w->now, "path_build");
	if (w->build_error)
		return w->build_error;
	struct path *p = path_new(w);
	memcpy(p->hop, hops, sizeof(p->hop));
	p->event_at = now + w->build_time;
	w->builds++;
	p->query = w->query;
	p->role = w->query.role;
	*ret = p;
	return 0;
}

static void leave_exit(struct path *p)
{
	if (!p->at_exit)
		return;
	p->at_exit = false;
	p->ungranted_at = NSEC_NEVER;
	exit_sessions_on_end_gone(p->w->exits, world_circuit(p), p->w->now);
	must(!atomic_load(&world_circuit(p)->session), "a circuit that is gone has a session");
}

void path_free(struct path *p, nsec_t now)
{
	alive(p);
	must(now == p->w->now, "path_free at another time");
	must(p->w->active != &p->chain->path, "the path that workers seal on is freed");
	p->freed = true;
	p->chain->path.control = NULL;
	p->event_at = NSEC_NEVER;
	p->w->frees++;
	if (!p->dead)
		leave_exit(p);
}

unsigned path_hops(const struct path *p)
{
	(void)alive(p);
	return WORLD_HOPS;
}

const struct path_hop *path_hop(const struct path *p, unsigned i)
{
	return &alive(p)->hop[i];
}

struct path_data *path_data_of(const struct path *p)
{
	return alive(p)->ready ? &p->chain->path : NULL;
}

const uint8_t *path_h(const struct path *p)
{
	return alive(p)->h;
}

const uint8_t *path_resume(const struct path *p)
{
	return alive(p)->res;
}

nsec_t path_ready_at(const struct path *p)
{
	return alive(p)->ready_at;
}

nsec_t path_built_in(const struct path *p)
{
	return alive(p)->ready_at - p->built_at;
}

nsec_t path_expires_at(const struct path *p)
{
	if (!alive(p)->ready)
		return NSEC_NEVER;
	return p->key_used ? 0 : p->expires_at;
}

uint16_t path_max_dgram(const struct path *p)
{
	(void)alive(p);
	return DATAGRAM_FULL_MOST;
}

void *path_user(const struct path *p)
{
	return alive(p)->user;
}

void path_set_user(struct path *p, void *user)
{
	alive(p)->user = user;
}

/* --- circuits.h, as session_exit sees it --- */

static struct path *path_of_circuit(struct world *w, const struct circuit *c)
{
	for (unsigned i = 0; i < w->paths; i++)
		if (world_circuit(w->path[i]) == c)
			return w->path[i];
	return NULL;
}

void circuits_end_granted(struct circuits *s, struct circuit *c, bool granted)
{
	struct world *w = (struct world *)(void *)s;
	struct path *p = path_of_circuit(w, c);
	must(p, "granted: no such circuit");
	p->granted = granted;
	p->granted_calls++;
	p->ungranted_at = granted || !p->at_exit ? NSEC_NEVER : w->now + UNGRANTED_NSEC;
}

void circuits_close_end(struct circuits *s, struct circuit *c, enum close_reason why, nsec_t now)
{
	struct world *w = (struct world *)(void *)s;
	struct path *p = path_of_circuit(w, c);
	must(p && p->at_exit && why >= CLOSE_DONE && now == w->now, "circuits_close_end");
	w->closed_ends++;
	leave_exit(p);
	if (!p->freed && !p->dead)
		p->event_at = now + w->delay;
}

/* --- the wire --- */

static void launch(struct world *w, struct path *p, bool forward, const uint8_t *d, size_t n)
{
	if (p->dead || n > p->carries || chance(w, w->loss))
		return;
	for (unsigned i = 0; i < WORLD_FLIGHTS; i++) {
		struct flight *f = &w->flight[i];
		if (f->p)
			continue;
		f->at = w->now + w->delay;
		f->p = p;
		f->forward = forward;
		f->d.n = n;
		memcpy(f->d.d, d, n);
		return;
	}
	must(false, "too many datagrams under way");
}

static void send_forward(void *arg, const struct addr *to, const uint8_t *d, size_t n)
{
	struct world *w = arg;
	w->sent_forward++;
	w->last_forward = n;
	for (unsigned i = 0; i < w->paths; i++) {
		struct path *p = w->path[i];
		if (p->chain->near[0].remote_id != load_be32(d))
			continue;
		must(addr_equal(to, &p->chain->party[1].addr) && !p->freed, "sent elsewhere");
		launch(w, p, true, d, n);
		if (chance(w, w->dup))
			launch(w, p, true, d, n);
		return;
	}
	must(false, "sent on no path");
}

static void send_backward(void *arg, const struct addr *to, const uint8_t *d, size_t n)
{
	struct world *w = arg;
	w->sent_backward++;
	w->last_backward = n;
	for (unsigned i = 0; i < w->paths; i++) {
		struct path *p = w->path[i];
		if (p->chain->far[WORLD_HOPS - 1].remote_id != load_be32(d))
			continue;
		must(addr_equal(to, &p->chain->party[WORLD_HOPS - 1].addr), "sent elsewhere");
		launch(w, p, false, d, n);
		if (chance(w, w->dup))
			launch(w, p, false, d, n);
		return;
	}
	must(false, "answered on no circuit");
}

static void retire(void *arg, void *object, void (*free_fn)(void *object))
{
	struct world *w = arg;
	must(w->nretired < 512, "too much is retired");
	w->retired[w->nretired++] = (struct retired){object, free_fn};
}

static struct flight *oldest(struct world *w)
{
	struct flight *best = NULL;
	for (unsigned i = 0; i < WORLD_FLIGHTS; i++)
		if (w->flight[i].p && (!best || w->flight[i].at < best->at))
			best = &w->flight[i];
	return best;
}

bool world_take(struct world *w, struct flight *ret)
{
	struct flight *f = oldest(w);
	if (!f)
		return false;
	*ret = *f;
	f->p = NULL;
	return true;
}

size_t world_open(struct world *w, struct flight *f, uint8_t plain[DATAGRAM_MAX])
{
	unsigned party;
	struct dp_result r =
		f->forward ? chain_run_forward(f->p->chain, &f->d, 0, NULL, &party)
			   : chain_run_backward(f->p->chain, &f->d, WORLD_HOPS, NULL, &party);
	if (r.action != DP_PLAIN)
		return 0;
	if (!f->forward)
		atomic_store(&f->p->chain->path.last_rx, w->now);
	memcpy(plain, r.plain, r.plain_bytes);
	return r.plain_bytes;
}

static void arrive(struct world *w, struct flight *f)
{
	uint8_t plain[DATAGRAM_MAX];
	struct path *p = f->p;
	if (p->dead || (f->forward && !p->at_exit) || (!f->forward && p->freed))
		return;
	size_t n = world_open(w, f, plain);
	if (n == 0)
		return;
	if (f->forward)
		exit_sessions_on_plain(w->exits, world_circuit(p), plain, n, f->d.n, w->now);
	else if (w->set)
		path_set_on_plain(w->set, &p->chain->path, plain, n, f->d.n, w->now);
	else if (w->client)
		session_client_on_plain(w->client, p, plain, n, f->d.n, w->now);
}

void world_deliver(struct world *w)
{
	struct flight f;
	while (world_take(w, &f))
		arrive(w, &f);
}

/* --- the exit --- */

static void judge(void *arg, const uint8_t *token_pk, struct token_verdict *ret)
{
	struct world *w = arg;
	w->judged++;
	*ret = w->open_verdict;
	if (!token_pk)
		return;
	*ret = (struct token_verdict){.deny = DENY_BAD_TOKEN};
	for (unsigned i = 0; i < WORLD_TOKENS; i++)
		if (!memcmp(token_pk, w->token_pk[i], 32))
			*ret = w->verdict[i];
}

static int lease(void *arg, struct session_data *d, uint8_t wants)
{
	struct world *w = arg;
	must(!d->lease4.family && !d->lease6.family, "a lease twice");
	if (w->leases >= w->leases_most)
		return -ENOSPC;
	w->leases++;
	d->lease_index = w->lease_numbers++;
	const uint8_t ip4[4] = {10, 9, (uint8_t)(d->lease_index >> 8), (uint8_t)d->lease_index};
	const uint8_t ip6[16] = {0xfd, 9, [14] = ip4[2], ip4[3]};
	if (wants & WANT_V4)
		d->lease4 = addr_from_ip(ip4, 4, 0);
	if (wants & WANT_V6)
		d->lease6 = addr_from_ip(ip6, 16, 0);
	return 0;
}

static void lease_drop(void *arg, struct session_data *d)
{
	struct world *w = arg;
	must(w->leases > 0 && !atomic_load(&d->active), "a lease is dropped that carries");
	w->leases--;
}

static uint64_t unix_seconds(void *arg)
{
	struct world *w = arg;
	return WORLD_UNIX + (uint64_t)((w->now - WORLD_START) / NSEC_PER_SEC);
}

void world_restart_exit(struct world *w, bool told)
{
	exit_sessions_close_all(w->exits, w->now);
	for (unsigned i = 0; i < w->paths; i++) {
		struct path *p = w->path[i];
		bool was = p->at_exit;
		leave_exit(p);
		if (was && !told)
			p->dead = true;
		else if (was && !p->freed)
			p->event_at = w->now + w->delay;
	}
	exit_sessions_free(w->exits);
	must(w->leases == 0, "leases are left");
	w->exits = exit_sessions_new(&w->exit_config, w->now);
	must(w->exits, "memory");
}

/* --- the client --- */

static bool on_grant(void *arg, const struct msg_grant *g, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now, "on_grant");
	w->grants++;
	w->grant = *g;
	return !w->refuse_grant;
}

static void on_deny(void *arg, const struct msg_deny *d, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now, "on_deny");
	w->denies++;
	w->deny = *d;
}

static void on_closed(void *arg, uint8_t reason, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now, "on_closed");
	w->closes++;
	w->close_reason = reason;
}

static void on_refused(void *arg, const struct msg_refused *m, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now && m->addr.family, "on_refused");
	w->refused++;
}

static void on_bound(void *arg, struct path *p, uint32_t prio, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now, "on_bound");
	w->bounds++;
	w->last_path = p;
	w->bound_prio = prio;
}

static void on_unknown(void *arg, struct path *p, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now, "on_unknown");
	w->unknowns++;
	w->last_path = p;
}

static void on_pong(void *arg, struct path *p, nsec_t rtt, size_t datagram, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now, "on_pong");
	w->pongs++;
	w->last_path = p;
	w->pong_rtt = rtt;
	w->pong_datagram = datagram;
}

static void on_silent(void *arg, struct path *p, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now, "on_silent");
	w->silents++;
	w->last_path = p;
}

void world_client(struct world *w, int token)
{
	struct session_client_config c = {
		.env = &w->client_env,
		.ops = {w, on_grant, on_deny, on_closed, on_bound, on_unknown, on_pong, on_silent,
			on_refused},
		.has_token = token >= 0,
		.wants = WANT_V4 | WANT_V6 | WANT_DNS,
		.padding = PAD_FULL,
	};
	memcpy(c.exit_id, w->exit_config.id, 32);
	if (token >= 0)
		memcpy(c.token_seed, w->token_seed[token], 32);
	w->client = session_client_new(&c);
	must(w->client, "memory");
}

/* The last hop is the exit, the others are new each time. */
static int choose(void *arg, const struct path_query *q, struct path_hop hops[HOPS_MAX],
		  unsigned *ret_n)
{
	struct world *w = arg;
	w->chooses++;
	w->query = *q;
	must(q->count <= PATH_SET_PATHS_MOST, "query");
	for (unsigned i = 0; i < q->count; i++)
		must(!q->live[i]->freed, "a path that is gone is live");
	if (w->choose_error)
		return w->choose_error;
	memset(hops, 0, WORLD_HOPS * sizeof(*hops));
	for (unsigned i = 0; i + 1 < WORLD_HOPS; i++)
		rng_bytes(&w->rng, hops[i].target.id, 32);
	memcpy(hops[WORLD_HOPS - 1].target.id, w->exit_config.id, 32);
	*ret_n = WORLD_HOPS;
	return 0;
}

static void on_event(void *arg, enum path_set_event e, struct path *p, int hop,
		     enum build_status status, nsec_t now)
{
	struct world *w = arg;
	(void)hop;
	(void)status;
	must(now == w->now && (!p || !p->freed), "on_event");
	w->built += e == PATH_SET_BUILT;
	w->failed += e == PATH_SET_FAILED;
	w->switched += e == PATH_SET_SWITCHED;
	w->lost += e == PATH_SET_LOST;
}

static void on_active(void *arg, struct path_data *p, nsec_t now)
{
	struct world *w = arg;
	must(now == w->now && p != w->active, "on_active");
	w->active = p;
	w->actives++;
}

struct path_set_config world_set_config(struct world *w)
{
	struct path_set_config c = {
		.env = &w->client_env,
		.paths = (struct paths *)(void *)w,
		.ops = {w, choose, on_event, on_active, on_grant, on_deny, on_closed, on_refused},
		.wants = WANT_V4,
		.padding = PAD_BUCKET,
	};
	memcpy(c.exit_id, w->exit_config.id, 32);
	return c;
}

void world_set(struct world *w, bool standby, int token)
{
	struct path_set_config c = world_set_config(w);
	c.standby = standby;
	w->set = path_set_new(&c, w->now);
	must(w->set, "memory");
	if (token >= -1)
		must(path_set_token(w->set, token >= 0 ? w->token_seed[token] : NULL, w->now) == 0,
		     "token");
	path_set_start(w->set, w->now);
}

struct path *world_active(const struct world *w)
{
	return w->active ? w->active->control : NULL;
}

unsigned world_live_paths(const struct world *w)
{
	unsigned n = 0;
	for (unsigned i = 0; i < w->paths; i++)
		n += !w->path[i]->freed;
	return n;
}

/* --- time --- */

static void on_path_event(struct path *p)
{
	struct world *w = p->w;
	p->event_at = NSEC_NEVER;
	if (!p->ready && !w->builds_fail) {
		become_ready(p);
		path_set_on_ready(p->user, p, w->now);
		return;
	}
	p->gone = true;
	if (p->user)
		path_set_on_gone(p->user, p, p->ready ? -1 : 1, BUILD_NEXT_DOWN, w->now);
}

void world_path_gone(struct path *p)
{
	leave_exit(p);
	on_path_event(p);
}

static void traffic(struct world *w)
{
	struct path *p = world_active(w);
	w->next_traffic = w->now + TRAFFIC_GAP;
	if (!p || w->traffic == TRAFFIC_NONE)
		return;
	struct path_data *d = w->active;
	if (!atomic_load(&d->unanswered))
		atomic_store(&d->unanswered, w->now);
	atomic_store(&d->last_tx, w->now);
	const struct session_data *x =
		p->at_exit && !p->dead ? atomic_load(&world_circuit(p)->session) : NULL;
	const struct circuit *back = x ? atomic_load(&x->active) : NULL;
	if (!back) {
		w->undelivered++;
		return;
	}
	w->delivered++;
	if (w->last_delivered && w->now - w->last_delivered > w->longest_gap)
		w->longest_gap = w->now - w->last_delivered;
	w->last_delivered = w->now;
	struct path *home = path_of_circuit(w, back);
	if (w->traffic != TRAFFIC_BOTH || home->dead || home->freed)
		return;
	atomic_store(&home->chain->path.last_rx, w->now);
	atomic_store(&home->chain->path.unanswered, 0);
}

static nsec_t client_deadline(const struct world *w)
{
	if (w->set)
		return path_set_next_deadline(w->set);
	return w->client ? session_client_next_deadline(w->client) : NSEC_NEVER;
}

static nsec_t next_event(struct world *w)
{
	struct flight *f = oldest(w);
	nsec_t at = nsec_min(client_deadline(w), exit_sessions_next_deadline(w->exits));
	if (f)
		at = nsec_min(at, f->at);
	if (w->traffic != TRAFFIC_NONE)
		at = nsec_min(at, w->next_traffic);
	for (unsigned i = 0; i < w->paths; i++)
		at = nsec_min(at, nsec_min(w->path[i]->event_at, w->path[i]->ungranted_at));
	return at;
}

static void do_paths(struct world *w)
{
	for (unsigned i = 0; i < w->paths; i++) {
		struct path *p = w->path[i];
		if (p->event_at <= w->now)
			on_path_event(p);
		if (p->ungranted_at > w->now)
			continue;
		p->ungranted_at = NSEC_NEVER;
		leave_exit(p);
		if (!p->freed && !p->dead)
			p->event_at = w->now + w->delay;
	}
}

static void do_all(struct world *w)
{
	struct flight *f = oldest(w), copy;
	if (f && f->at <= w->now && world_take(w, &copy))
		arrive(w, &copy);
	if (w->traffic != TRAFFIC_NONE && w->next_traffic <= w->now)
		traffic(w);
	do_paths(w);
	if (exit_sessions_next_deadline(w->exits) <= w->now)
		exit_sessions_on_timer(w->exits, w->now);
	if (client_deadline(w) > w->now)
		return;
	w->wakes++;
	if (w->set)
		path_set_on_timer(w->set, w->now);
	else
		session_client_on_timer(w->client, w->now);
}

void world_run(struct world *w, nsec_t span)
{
	nsec_t until = w->now + span, at;
	unsigned same = 0;
	if (w->next_traffic < w->now)
		w->next_traffic = w->now;
	while ((at = next_event(w)) <= until) {
		same = at > w->now ? 0 : same + 1;
		must(same < SAME_TIME_MOST, "time does not go on");
		if (at > w->now)
			w->now = at;
		do_all(w);
	}
	w->now = until;
}

/* --- life --- */

static void make_env(struct world *w)
{
	w->dp = (struct dp_thread){
		.aead = aead_ctx_new(), .filler = &w->filler, .drops = &w->drops};
	must(w->dp.aead, "aead");
	filler_init(&w->filler, &w->rng);
	w->client_env = (struct onion_env){
		.arg = w,
		.send = send_forward,
		.retire = retire,
		.rng = &w->rng,
		.aead = w->dp.aead,
		.dp = &w->dp,
		.drops = &w->drops,
	};
	w->exit_env = w->client_env;
	w->exit_env.send = send_backward;
}

static void make_exit(struct world *w)
{
	for (unsigned i = 0; i < WORLD_TOKENS; i++) {
		struct sign_keypair k;
		rng_bytes(&w->rng, w->token_seed[i], 32);
		sign_keypair_from_seed(&k, w->token_seed[i]);
		memcpy(w->token_pk[i], k.public_key, 32);
		w->verdict[i] = (struct token_verdict){.quota_left = UINT64_MAX};
	}
	w->verdict[2].deny = DENY_EXPIRED;
	w->verdict[3].deny = DENY_BAD_TOKEN;
	w->open_verdict.deny = DENY_POLICY;
	w->leases_most = 100;
	w->exit_config = (struct exit_sessions_config){
		.env = &w->exit_env,
		.circuits = (struct circuits *)(void *)w,
		.ops = {w, judge, lease, lease_drop, unix_seconds},
		.dns = {{.family = 4, .ip = {203, 0, 113, 10}}},
		.ndns = 1,
		.sessions_most = 50,
		.idle_s = SESSION_IDLE_SECONDS,
	};
	rng_bytes(&w->rng, w->exit_config.id, 32);
	w->exits = exit_sessions_new(&w->exit_config, w->now);
	must(w->exits, "exit");
}

struct world *world_new(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));
	must(w && crypto_init() == 0 && aead_engine_choose("openssl") == 0, "start");
	w->rng = seeded_rng(&w->seeded, seed);
	w->now = WORLD_START;
	w->delay = 20 * NSEC_PER_MSEC;
	w->build_time = 60 * NSEC_PER_MSEC;
	make_env(w);
	make_exit(w);
	return w;
}

struct path *world_path(struct world *w)
{
	struct path *p = path_new(w);
	become_ready(p);
	return p;
}

struct circuit *world_circuit(const struct path *p)
{
	return &p->chain->circuit[WORLD_HOPS - 1];
}

uint64_t world_dropped(const struct world *w, enum drop why)
{
	return drops_get(&w->drops, why);
}

void world_free(struct world *w)
{
	path_set_free(w->set, w->now);
	must(!w->active && (!w->set || world_live_paths(w) == 0), "paths are left");
	session_client_free(w->client);
	exit_sessions_free(w->exits);
	must(w->leases == 0, "leases are left");
	for (unsigned i = 0; i < w->nretired; i++)
		w->retired[i].free_fn(w->retired[i].object);
	for (unsigned i = 0; i < w->paths; i++) {
		must(!atomic_load(&world_circuit(w->path[i])->session), "a circuit has a session");
		chain_free(w->path[i]->chain);
		free(w->path[i]);
	}
	aead_ctx_free(w->dp.aead);
	filler_done(&w->filler);
	free(w);
}
