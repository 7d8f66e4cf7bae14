/* onion/path_set.c - see path_set.h.
 *
 * Members move one way: building, joining (AUTH or BIND asked), bound, retiring. The primary is the bound member with
 * the highest prio; workers seal on it. Every second, and sooner when something waits, the timer looks at each bound
 * member: is it due for a successor, has it been silent, is it past its time.
 */
#include "onion/path_set.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "crypto/kdf.h"

#define POLL_NSEC        NSEC_PER_SEC
#define RETIRE_NSEC      (3 * NSEC_PER_SEC)  /* a path that was replaced still takes what is under way */
#define RETRY_LEAST      (200 * NSEC_PER_MSEC)
#define RETRY_MOST       (8 * NSEC_PER_SEC)
#define FIRST_PONG_LEAST (100 * NSEC_PER_MSEC) /* before data moves away from a path that is asked for life */
#define MEMBERS          (PATH_SET_PATHS_MOST + 2) /* with those that retire */

enum member_state { FREE, BUILDING, JOINING, BOUND, RETIRING };

struct member {
	enum member_state state;
	struct path *path;
	enum path_role role;
	uint32_t prio;       /* at the exit */
	bool replaced;       /* its successor is being built, or stands */
	nsec_t renew_at;
	nsec_t retire_at;
	nsec_t idle_ping_at; /* standby: proof of life */
	nsec_t rtt;          /* 0 unknown */
	unsigned pings;      /* unanswered ones of a probe; 0: no probe */
	nsec_t next_ping;
};

struct path_set {
	struct path_set_config config;
	struct session_client *session;
	bool closed;
	struct member *asking; /* has an AUTH under way; the others wait for the grant and then BIND */
	struct member member[MEMBERS];
	struct member *active; /* what workers seal on */
	uint32_t prio;         /* the highest given */
	unsigned failures;     /* builds that failed in a row */
	nsec_t retry_at;       /* no new build before */
	nsec_t next_poll;
};

static void fill_up(struct path_set *s, nsec_t now);
static void join_the_others(struct path_set *s, nsec_t now);

/* --- members --- */

static struct member *find(struct path_set *s, const struct path *p)
{
	for (unsigned i = 0; i < MEMBERS; i++)
		if (s->member[i].state != FREE && s->member[i].path == p)
			return &s->member[i];
	return NULL;
}

static struct member *find_free(struct path_set *s)
{
	for (unsigned i = 0; i < MEMBERS; i++)
		if (s->member[i].state == FREE)
			return &s->member[i];
	return NULL;
}

static unsigned count_state(const struct path_set *s, enum member_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MEMBERS; i++)
		n += s->member[i].state == state;
	return n;
}

/* A member that serves this role, or will; one that has a successor coming does not count. */
static bool has_role(const struct path_set *s, enum path_role role)
{
	for (unsigned i = 0; i < MEMBERS; i++) {
		const struct member *m = &s->member[i];
		if (m->state != FREE && m->state != RETIRING && m->role == role && !m->replaced)
			return true;
	}
	return false;
}

static void event(struct path_set *s, enum path_set_event e, struct path *p, int hop, enum build_status st, nsec_t now)
{
	s->config.ops.on_event(s->config.ops.arg, e, p, hop, st, now);
}

static void remove_member(struct path_set *s, struct member *m, nsec_t now)
{
	struct path *p = m->path;

	if (s->session)
		session_client_leave(s->session, p);
	if (s->asking == m)
		s->asking = NULL;
	memset(m, 0, sizeof(*m));
	path_free(p, now);
}

/* --- which one carries the data --- */

static void set_active(struct path_set *s, struct member *m, nsec_t now)
{
	if (s->active == m)
		return;
	s->active = m;
	s->config.ops.on_active(s->config.ops.arg, m ? path_data_of(m->path) : NULL, now);
	if (m)
		event(s, PATH_SET_SWITCHED, m->path, -1, BUILD_OK, now);
	else
		event(s, PATH_SET_LOST, NULL, -1, BUILD_OK, now);
}

static struct member *best_bound(struct path_set *s, const struct member *but)
{
	struct member *best = NULL;

	for (unsigned i = 0; i < MEMBERS; i++) {
		struct member *m = &s->member[i];
		if (m->state == BOUND && m != but && (!best || m->prio > best->prio))
			best = m;
	}
	return best;
}

/* m carries the data from now on: the exit is told by a BIND above all others, and data moves before it answers. */
static void promote(struct path_set *s, struct member *m, nsec_t now)
{
	struct member *old = s->active;

	if (old == m)
		return;
	m->prio = ++s->prio;
	m->role = PATH_PRIMARY;
	m->pings = 0;
	session_client_join(s->session, m->path, m->prio, now);
	if (old && old->state == BOUND)
		old->role = PATH_STANDBY;
	set_active(s, m, now);
}

static void lost(struct path_set *s, struct member *m, nsec_t now)
{
	bool was_active = m == s->active;
	struct member *next = was_active ? best_bound(s, m) : NULL;

	if (was_active) {
		m->state = RETIRING; /* not promote()'s standby */
		if (next)
			promote(s, next, now);
		else
			set_active(s, NULL, now);
	}
	remove_member(s, m, now);
	if (!s->asking && !s->closed)
		join_the_others(s, now);
	fill_up(s, now);
}

/* --- building --- */

static void plan_renewal(struct path_set *s, struct member *m)
{
	nsec_t life = path_expires_at(m->path) - path_ready_at(m->path);
	uint64_t pct = PATH_RENEW_LEAST_PCT +
		       rng_below(s->config.env->rng, PATH_RENEW_MOST_PCT - PATH_RENEW_LEAST_PCT + 1);

	m->renew_at = path_ready_at(m->path) + life / 100 * (nsec_t)pct;
}

static void plan_idle_ping(struct path_set *s, struct member *m, nsec_t now)
{
	uint64_t span = (STANDBY_PING_MOST_S - STANDBY_PING_LEAST_S) * (uint64_t)NSEC_PER_SEC;

	m->idle_ping_at = now + STANDBY_PING_LEAST_S * NSEC_PER_SEC + (nsec_t)rng_below(s->config.env->rng, span);
}

static void build_failed(struct path_set *s, struct path *p, int hop, enum build_status status, nsec_t now)
{
	nsec_t wait = RETRY_LEAST << (s->failures < 6 ? s->failures : 6);

	s->failures++;
	/* The first retry comes at once: one dead relay is the common case, and the next choice avoids it. */
	s->retry_at = s->failures == 1 ? now : now + nsec_min(wait, RETRY_MOST);
	event(s, PATH_SET_FAILED, p, hop, status, now);
}

static int build(struct path_set *s, enum path_role role, nsec_t now)
{
	struct path_query q = {.role = role, .attempt = s->failures};
	struct member *m = find_free(s);
	struct path_hop hops[HOPS_MAX];
	unsigned n = 0;
	int r;

	if (!m)
		return -ENOSPC;
	for (unsigned i = 0; i < MEMBERS && q.count < PATH_SET_PATHS_MOST; i++)
		if (s->member[i].state != FREE && s->member[i].state != RETIRING)
			q.live[q.count++] = s->member[i].path;
	r = s->config.ops.choose(s->config.ops.arg, &q, hops, &n);
	if (!r) {
		m->state = BUILDING;
		m->role = role;
		r = path_build(s->config.paths, hops, n, now, &m->path);
		if (!r)
			path_set_user(m->path, s);
	}
	if (r) {
		memset(m, 0, sizeof(*m));
		build_failed(s, NULL, -1, BUILD_NEXT_UNKNOWN, now);
	}
	return r;
}

/* Build what is missing: a primary; then, once the exit granted, a standby; one at a time for each role. */
static void fill_up(struct path_set *s, nsec_t now)
{
	if (s->closed || now < s->retry_at)
		return;
	if (!has_role(s, PATH_PRIMARY) && build(s, PATH_PRIMARY, now))
		return;
	if (s->config.standby && s->active && path_set_granted(s) && !has_role(s, PATH_STANDBY) &&
	    count_state(s, BUILDING) + count_state(s, JOINING) == 0)
		(void)build(s, PATH_STANDBY, now); /* counted and planned anew by build_failed() */
}

static void join(struct path_set *s, struct member *m, nsec_t now)
{
	if (!s->session)
		return; /* the token's seed is still on its way */
	if (!session_client_granted(s->session)) {
		if (s->asking && s->asking != m)
			return;
		s->asking = m;
	} else if (m->role == PATH_PRIMARY) {
		m->prio = ++s->prio;
	}
	session_client_join(s->session, m->path, m->prio, now);
}

void path_set_on_ready(struct path_set *s, struct path *p, nsec_t now)
{
	struct member *m = find(s, p);

	if (!m)
		return;
	m->state = JOINING;
	m->rtt = path_built_in(p);
	atomic_store_explicit(&path_data_of(p)->padding, s->config.padding, memory_order_relaxed);
	s->failures = 0;
	plan_renewal(s, m);
	event(s, PATH_SET_BUILT, p, -1, BUILD_OK, now);
	join(s, m, now);
}

void path_set_on_gone(struct path_set *s, struct path *p, int hop, enum build_status status, nsec_t now)
{
	struct member *m = find(s, p);

	if (!m)
		return;
	if (m->state == BUILDING)
		build_failed(s, p, hop, status, now);
	else if (m->state != RETIRING)
		event(s, PATH_SET_FAILED, p, hop, status, now);
	lost(s, m, now);
}

/* --- the session's word --- */

static void join_the_others(struct path_set *s, nsec_t now)
{
	for (unsigned i = 0; i < MEMBERS; i++) {
		struct member *m = &s->member[i];
		if (m->state == JOINING && s->session)
			join(s, m, now);
	}
}

/* The member that m was built to replace goes once m carries its role. */
static void retire_replaced(struct path_set *s, const struct member *m, nsec_t now)
{
	for (unsigned i = 0; i < MEMBERS; i++) {
		struct member *old = &s->member[i];
		if (old == m || old->state != BOUND || old->role != m->role || !old->replaced || old == s->active)
			continue;
		old->state = RETIRING;
		old->retire_at = now + RETIRE_NSEC;
	}
}

static void on_bound(void *arg, struct path *p, uint32_t prio, nsec_t now)
{
	struct path_set *s = arg;
	struct member *m = find(s, p);

	if (!m || m->state == RETIRING)
		return;
	m->prio = prio;
	if (prio > s->prio)
		s->prio = prio;
	m->state = BOUND;
	plan_idle_ping(s, m, now);
	if (m->role == PATH_PRIMARY)
		set_active(s, m, now);
	retire_replaced(s, m, now);
	join_the_others(s, now);
	fill_up(s, now);
}

static bool on_grant(void *arg, const struct msg_grant *g, nsec_t now)
{
	struct path_set *s = arg;

	s->asking = NULL;
	if (!s->prio)
		s->prio = 1; /* what AUTH counts as at the exit */
	return s->config.ops.on_grant(s->config.ops.arg, g, now);
}

static void on_deny(void *arg, const struct msg_deny *d, nsec_t now)
{
	struct path_set *s = arg;

	s->closed = true;
	s->config.ops.on_deny(s->config.ops.arg, d, now);
}

static void on_closed(void *arg, uint8_t reason, nsec_t now)
{
	struct path_set *s = arg;

	s->closed = true;
	set_active(s, NULL, now);
	s->config.ops.on_closed(s->config.ops.arg, reason, now);
}

/* The exit lost the session. AUTH went out on p; the others ask again once it is granted. */
static void on_unknown(void *arg, struct path *p, nsec_t now)
{
	struct path_set *s = arg;

	for (unsigned i = 0; i < MEMBERS; i++) {
		struct member *m = &s->member[i];
		if (m->state != BOUND)
			continue;
		m->state = JOINING;
		m->role = m->path == p ? PATH_PRIMARY : PATH_STANDBY;
		if (m->path == p)
			s->asking = m;
	}
	(void)now;
}

static void on_pong(void *arg, struct path *p, nsec_t rtt, size_t datagram, nsec_t now)
{
	struct path_set *s = arg;
	struct member *m = find(s, p);

	(void)datagram;
	if (!m)
		return;
	m->rtt = m->rtt ? (7 * m->rtt + rtt) / 8 : rtt;
	m->pings = 0;
	plan_idle_ping(s, m, now);
}

static void on_silent(void *arg, struct path *p, nsec_t now)
{
	struct path_set *s = arg;
	struct member *m = find(s, p);

	if (!m)
		return;
	event(s, PATH_SET_FAILED, p, -1, BUILD_NEXT_DOWN, now);
	lost(s, m, now);
}

static void on_refused(void *arg, const struct msg_refused *r, nsec_t now)
{
	struct path_set *s = arg;

	s->config.ops.on_refused(s->config.ops.arg, r, now);
}

void path_set_on_plain(struct path_set *s, struct path_data *p, const uint8_t *plain, size_t n, size_t datagram,
		       nsec_t now)
{
	if (s->session && p->control)
		session_client_on_plain(s->session, p->control, plain, n, datagram, now);
}

/* --- time --- */

static nsec_t ping_gap(const struct member *m)
{
	return 2 * m->rtt > PATH_PING_GAP_LEAST ? 2 * m->rtt : PATH_PING_GAP_LEAST;
}

static void ping(struct path_set *s, struct member *m, nsec_t gap, nsec_t now)
{
	m->pings++;
	m->next_ping = now + gap;
	session_client_ping(s->session, m->path, 0, now);
}

/* Is m alive? First PING after a second of silence; when 2 RTT later it is still silent, data moves to the standby; after
 * three the path is dead. (PROTOCOL.md moves data with the first PING; a one-way flow would then swing between two
 * healthy paths every second. docs/PROTOCOL.md says so.) False when m is gone. */
static bool check_alive(struct path_set *s, struct member *m, nsec_t now)
{
	nsec_t since = atomic_load_explicit(&path_data_of(m->path)->unanswered, memory_order_relaxed);
	nsec_t first = 2 * m->rtt > FIRST_PONG_LEAST ? 2 * m->rtt : FIRST_PONG_LEAST;
	struct member *next;

	if (!m->pings) {
		if (since && now - since >= PATH_SILENCE_NSEC)
			ping(s, m, first, now);
		else if (m != s->active && now >= m->idle_ping_at)
			ping(s, m, ping_gap(m), now);
		return true;
	}
	if (now < m->next_ping)
		return true;
	if (m->pings == 1 && m == s->active) {
		next = best_bound(s, m);
		if (next && !next->pings)
			promote(s, next, now);
	}
	if (m->pings < PATH_PINGS) {
		ping(s, m, ping_gap(m), now);
		return true;
	}
	event(s, PATH_SET_FAILED, m->path, -1, BUILD_NEXT_DOWN, now);
	lost(s, m, now);
	return false;
}

static void check_bound(struct path_set *s, struct member *m, nsec_t now)
{
	if (!check_alive(s, m, now))
		return;
	if (now >= path_expires_at(m->path)) {
		lost(s, m, now);
		return;
	}
	if (!m->replaced && now >= m->renew_at && now >= s->retry_at) {
		m->replaced = true;
		if (build(s, m->role, now))
			m->replaced = false;
	}
}

void path_set_on_timer(struct path_set *s, nsec_t now)
{
	if (s->session)
		session_client_on_timer(s->session, now);
	for (unsigned i = 0; i < MEMBERS && !s->closed; i++) {
		struct member *m = &s->member[i];

		if (m->state == BOUND)
			check_bound(s, m, now);
		else if (m->state == RETIRING && now >= m->retire_at)
			remove_member(s, m, now);
	}
	if (now >= s->next_poll)
		s->next_poll = now + POLL_NSEC;
	fill_up(s, now);
}

nsec_t path_set_next_deadline(const struct path_set *s)
{
	nsec_t next = s->session ? session_client_next_deadline(s->session) : NSEC_NEVER;

	if (s->closed)
		return next;
	if (!has_role(s, PATH_PRIMARY))
		next = nsec_min(next, s->retry_at);
	for (unsigned i = 0; i < MEMBERS; i++) {
		const struct member *m = &s->member[i];

		if (m->state == RETIRING)
			next = nsec_min(next, m->retire_at);
		if (m->state == BOUND)
			next = nsec_min(next, m->pings ? m->next_ping : s->next_poll);
	}
	return next;
}

/* --- life --- */

static bool make_session(struct path_set *s, bool has_token, const uint8_t *seed)
{
	struct session_client_config c = {
		.env = s->config.env,
		.ops = {s, on_grant, on_deny, on_closed, on_bound, on_unknown, on_pong, on_silent, on_refused},
		.has_token = has_token,
		.wants = s->config.wants,
		.padding = s->config.padding,
	};

	memcpy(c.exit_id, s->config.exit_id, 32);
	if (has_token)
		memcpy(c.token_seed, seed, 32);
	s->session = session_client_new(&c);
	wipe(&c, sizeof(c));
	return s->session != NULL;
}

struct path_set *path_set_new(const struct path_set_config *c, nsec_t now)
{
	struct path_set *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->config = *c;
	s->next_poll = now + POLL_NSEC;
	s->retry_at = now;
	return s;
}

void path_set_start(struct path_set *s, nsec_t now)
{
	fill_up(s, now);
}

int path_set_token(struct path_set *s, const uint8_t *seed, nsec_t now)
{
	if (s->session)
		return -EALREADY;
	if (!make_session(s, seed != NULL, seed))
		return -ENOMEM;
	join_the_others(s, now);
	return 0;
}

void path_set_goodbye(struct path_set *s, nsec_t now)
{
	if (s->session && s->active)
		session_client_close(s->session, s->active->path, now);
	s->closed = true;
}

void path_set_free(struct path_set *s, nsec_t now)
{
	if (!s)
		return;
	s->closed = true;
	if (s->active)
		s->config.ops.on_active(s->config.ops.arg, NULL, now);
	for (unsigned i = 0; i < MEMBERS; i++)
		if (s->member[i].state != FREE)
			remove_member(s, &s->member[i], now);
	session_client_free(s->session);
	free(s);
}

/* The links are suspect: a new primary over new links, at once; the old paths serve until it stands. */
void path_set_network_changed(struct path_set *s, nsec_t now)
{
	s->failures = 0;
	s->retry_at = now;
	for (unsigned i = 0; i < MEMBERS; i++) {
		struct member *m = &s->member[i];
		if (m->state == BOUND && !m->pings)
			ping(s, m, ping_gap(m), now);
	}
	fill_up(s, now);
}

/* --- to look at --- */

bool path_set_granted(const struct path_set *s)
{
	return s->session && session_client_granted(s->session);
}

const struct msg_grant *path_set_grant(const struct path_set *s)
{
	return s->session ? session_client_grant(s->session) : NULL;
}

struct path *path_set_path(const struct path_set *s, unsigned i)
{
	if (s->active && i-- == 0)
		return s->active->path;
	for (unsigned k = 0; k < MEMBERS; k++) {
		const struct member *m = &s->member[k];
		if (m->state == BOUND && m != s->active && i-- == 0)
			return m->path;
	}
	return NULL;
}

enum path_role path_set_role(const struct path_set *s, const struct path *p)
{
	return s->active && s->active->path == p ? PATH_PRIMARY : PATH_STANDBY;
}

nsec_t path_set_rtt(const struct path_set *s, const struct path *p)
{
	for (unsigned i = 0; i < MEMBERS; i++)
		if (s->member[i].state != FREE && s->member[i].path == p)
			return s->member[i].rtt;
	return 0;
}
