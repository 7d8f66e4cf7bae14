/* onion/path_set_tend.c - what time does to a path set: builds, rotation, liveness, retirement. See
 * path_set.h.
 *
 * Wanted are one path that carries the data (the active one, role primary) and, once the exit
 * granted, one spare that is bound beside it (role standby). What is due gets a successor of its
 * role; of the bound ones that are not active the one that lives longest stays.
 */
#include "onion/path_set_state.h"
#include <errno.h>
#include <string.h>

#define POLL_NSEC	 NSEC_PER_SEC
#define RETIRE_NSEC	 (3 * NSEC_PER_SEC)
#define STEADY_NSEC	 (5 * NSEC_PER_SEC)
#define RETRY_LEAST_NSEC (200 * NSEC_PER_MSEC)
#define RETRY_MOST_NSEC	 (8 * NSEC_PER_SEC)
#define RETRY_DOUBLINGS	 6
#define FIRST_PONG_NSEC                                                                            \
	(100 * NSEC_PER_MSEC) /* least wait before data moves away from a path that is asked */

/* --- what is wanted --- */

/* Its lifetime nears the end, or its key is much used. */
static nsec_t due_at(const struct set_member *m)
{
	return path_expires_at(m->path) == 0 ? 0 : m->renew_at;
}

static bool is_better_spare(const struct set_member *a, const struct set_member *b)
{
	if (!a->pings != !b->pings)
		return !a->pings;
	return due_at(a) > due_at(b);
}

struct set_member *path_set_spare(const struct path_set *s, const struct set_member *but)
{
	const struct set_member *best = NULL;
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++) {
		const struct set_member *m = &s->member[i];
		if (m->state == SET_BOUND && m != s->active && m != but &&
		    (!best || is_better_spare(m, best)))
			best = m;
	}
	return (struct set_member *)best;
}

static void retire(struct set_member *m, nsec_t now)
{
	m->state = SET_RETIRING;
	m->retire_at = now + RETIRE_NSEC;
}

void path_set_retire_surplus(struct path_set *s, nsec_t now)
{
	if (!s->active || s->active->state != SET_BOUND || s->active->pings)
		return;
	struct set_member *keep = s->config.standby ? path_set_spare(s, NULL) : NULL;
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++) {
		struct set_member *m = &s->member[i];
		if (m->state == SET_BOUND && m != s->active && m != keep)
			retire(m, now);
	}
}

static bool is_on_its_way(const struct path_set *s, enum path_role role)
{
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++) {
		const struct set_member *m = &s->member[i];
		if (m->role == role && (m->state == SET_BUILDING || m->state == SET_WAITING ||
					m->state == SET_JOINING))
			return true;
	}
	return false;
}

/* From when on a path of this role is to be built; NSEC_NEVER: not as things stand. */
static nsec_t build_at(const struct path_set *s, enum path_role role)
{
	if (s->closed || is_on_its_way(s, role))
		return NSEC_NEVER;
	const struct set_member *m = s->active;
	if (role == PATH_STANDBY) {
		if (!s->config.standby || !path_set_granted(s) || !m || m->state != SET_BOUND)
			return NSEC_NEVER;
		m = path_set_spare(s, NULL);
	}
	nsec_t due = m ? due_at(m) : 0, retry_at = s->backoff[role].retry_at;
	return due > retry_at ? due : retry_at;
}

/* --- building --- */

bool path_set_is_steady(const struct set_member *m, nsec_t now)
{
	return m->state == SET_BOUND && now - m->bound_at >= STEADY_NSEC;
}

/* The first retry comes at once when a relay failed: one dead relay is the common case, and the
 * next choice avoids it. The others come later and later, not all clients at the same time. */
void path_set_back_off(struct path_set *s, enum path_role role, bool at_once, nsec_t now)
{
	struct set_backoff *b = &s->backoff[role];
	unsigned doublings = b->failures < RETRY_DOUBLINGS ? b->failures : RETRY_DOUBLINGS;
	nsec_t wait = nsec_min(RETRY_LEAST_NSEC << doublings, RETRY_MOST_NSEC);
	wait -= (nsec_t)rng_below(s->config.env->rng, (uint64_t)wait / 4);
	b->retry_at = at_once && b->failures == 0 ? now : now + wait;
	b->failures++;
}

static void add_live(struct path_query *q, const struct set_member *m)
{
	if (m->state != SET_FREE && q->count < PATH_SET_PATHS_MOST)
		q->live[q->count++] = m->path;
}

/* The active one first: a standby is to differ from it most. */
static struct path_query query(const struct path_set *s, enum path_role role)
{
	struct path_query q = {.role = role, .attempt = s->backoff[role].failures};
	if (s->active)
		add_live(&q, s->active);
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++)
		if (&s->member[i] != s->active && s->member[i].state != SET_RETIRING)
			add_live(&q, &s->member[i]);
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++)
		if (s->member[i].state == SET_RETIRING)
			add_live(&q, &s->member[i]);
	return q;
}

static struct set_member *find_free(struct path_set *s)
{
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++)
		if (s->member[i].state == SET_FREE)
			return &s->member[i];
	return NULL;
}

static int try_build(struct path_set *s, enum path_role role, nsec_t now)
{
	struct set_member *m = find_free(s);
	if (!m)
		return -ENOSPC;
	struct path_query q = query(s, role);
	struct path_hop hops[HOPS_MAX];
	unsigned n = 0;
	int err = s->config.ops.choose(s->config.ops.arg, &q, hops, &n);
	struct path *p = NULL;
	if (err == 0)
		err = path_build(s->config.paths, hops, n, now, &p);
	if (err < 0)
		return err;
	path_set_user(p, s);
	*m = (struct set_member){.state = SET_BUILDING, .path = p, .role = role};
	return 0;
}

static void build(struct path_set *s, enum path_role role, nsec_t now)
{
	if (try_build(s, role, now) == 0)
		return;
	path_set_back_off(s, role, false, now);
	path_set_event(s, PATH_SET_FAILED, NULL, -1, BUILD_NEXT_UNKNOWN, now);
}

void path_set_fill_up(struct path_set *s, nsec_t now)
{
	if (now >= build_at(s, PATH_PRIMARY))
		build(s, PATH_PRIMARY, now);
	if (now >= build_at(s, PATH_STANDBY))
		build(s, PATH_STANDBY, now);
}

void path_set_plan(struct path_set *s, struct set_member *m)
{
	nsec_t ready = path_ready_at(m->path), life = path_expires_at(m->path) - ready;
	uint64_t pct =
		PATH_RENEW_LEAST_PCT +
		rng_below(s->config.env->rng, PATH_RENEW_MOST_PCT - PATH_RENEW_LEAST_PCT + 1);
	m->renew_at = ready + life / 100 * (nsec_t)pct;
}

/* --- liveness --- */

void path_set_plan_idle_ping(struct path_set *s, struct set_member *m, nsec_t now)
{
	uint64_t span = (STANDBY_PING_MOST_S - STANDBY_PING_LEAST_S) * (uint64_t)NSEC_PER_SEC;
	m->idle_ping_at = now + STANDBY_PING_LEAST_S * NSEC_PER_SEC +
			  (nsec_t)rng_below(s->config.env->rng, span);
}

static nsec_t longer(nsec_t a, nsec_t b)
{
	return a > b ? a : b;
}

static void ping(struct path_set *s, struct set_member *m, nsec_t gap, nsec_t now)
{
	m->pings++;
	m->next_ping = now + gap;
	session_client_ping(s->session, m->path, 0, now);
}

void path_set_probe(struct path_set *s, struct set_member *m, nsec_t now)
{
	if (m->pings)
		return;
	m->probed_at = now;
	ping(s, m, longer(2 * m->rtt, FIRST_PONG_NSEC), now);
}

static nsec_t last_rx(const struct set_member *m)
{
	return atomic_load_explicit(&path_data_of(m->path)->last_rx, memory_order_relaxed);
}

static nsec_t unanswered_since(const struct set_member *m)
{
	return atomic_load_explicit(&path_data_of(m->path)->unanswered, memory_order_relaxed);
}

static void begin_probe_when_silent(struct path_set *s, struct set_member *m, nsec_t now)
{
	nsec_t since = unanswered_since(m);
	if (since && now - since >= PATH_SILENCE_NSEC)
		path_set_probe(s, m, now);
	else if (now >= m->idle_ping_at) {
		if (now - last_rx(m) >= STANDBY_PING_LEAST_S * NSEC_PER_SEC)
			path_set_probe(s, m, now);
		else
			path_set_plan_idle_ping(s, m, last_rx(m));
	}
}

/* First PING after a second of silence; when 2 RTT later it is still silent, data moves to the
 * spare; after three the path is dead. (Were silence enough to move, a one-way flow would swing
 * between two healthy paths every second.) */
static void check_alive(struct path_set *s, struct set_member *m, nsec_t now)
{
	if (m->pings && last_rx(m) > m->probed_at)
		m->pings = 0; /* not the PONG maybe, but a sign of life */
	if (!m->pings) {
		begin_probe_when_silent(s, m, now);
		return;
	}
	if (now < m->next_ping)
		return;
	if (m->pings == 1 && m == s->active) {
		struct set_member *next = path_set_spare(s, m);
		if (next && !next->pings)
			path_set_promote(s, next, now);
	}
	if (m->pings < PATH_PINGS) {
		ping(s, m, longer(2 * m->rtt, PATH_PING_GAP_LEAST), now);
		return;
	}
	if (!m->suspect)
		path_set_event(s, PATH_SET_FAILED, m->path, -1, BUILD_NEXT_DOWN, now);
	path_set_lose(s, m, now);
}

/* Past its lifetime a path serves through its grace, unless there is a better one; path.c says when
 * that is over. */
static void check_end(struct path_set *s, struct set_member *m, nsec_t now)
{
	nsec_t end = path_expires_at(m->path);
	if (end == 0 || now < end)
		return;
	struct set_member *next = path_set_spare(s, m);
	if (m == s->active && next && path_expires_at(next->path) > now)
		path_set_promote(s, next, now);
	if (m != s->active)
		retire(m, now);
}

static void tend(struct path_set *s, struct set_member *m, nsec_t now)
{
	if (m->state == SET_RETIRING && now >= m->retire_at)
		path_set_remove(s, m, now);
	if (m->state == SET_BOUND)
		check_end(s, m, now);
	/* Once for each path: a successor that fails again and again is still waited for. */
	if (path_set_is_steady(m, now) && !m->steady) {
		m->steady = true;
		s->backoff[m->role].failures = 0;
	}
	if (m->state == SET_BOUND)
		check_alive(s, m, now);
}

void path_set_on_timer(struct path_set *s, nsec_t now)
{
	if (s->session)
		session_client_on_timer(s->session, now);
	for (unsigned i = 0; i < PATH_SET_MEMBERS && !s->closed; i++)
		tend(s, &s->member[i], now);
	if (!s->closed)
		path_set_retire_surplus(s, now);
	if (now >= s->next_poll)
		s->next_poll = now + POLL_NSEC;
	path_set_fill_up(s, now);
}

static nsec_t next_look(const struct path_set *s, const struct set_member *m)
{
	if (m->state == SET_RETIRING)
		return m->retire_at;
	if (m->state != SET_BOUND)
		return NSEC_NEVER;
	if (m->pings)
		return m->next_ping;
	nsec_t since = unanswered_since(m);
	return since ? nsec_min(s->next_poll, since + PATH_SILENCE_NSEC) : s->next_poll;
}

nsec_t path_set_next_deadline(const struct path_set *s)
{
	nsec_t next = s->session ? session_client_next_deadline(s->session) : NSEC_NEVER;
	if (s->closed)
		return next;
	next = nsec_min(next, build_at(s, PATH_PRIMARY));
	next = nsec_min(next, build_at(s, PATH_STANDBY));
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++)
		next = nsec_min(next, next_look(s, &s->member[i]));
	return next;
}
