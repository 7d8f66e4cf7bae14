/* onion/path_set.c - see path_set.h: what paths and the session tell, and which path carries the
 * data.
 *
 * path_set_tend.c builds, asks for life and retires. Nothing is built inside a callback of the link
 * or path layer: what is missing is due at once, and the timer that runs next builds it.
 */
#include "onion/path_set_state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "crypto/kdf.h"

#define AUTH_PRIO 1 /* what a path that sent AUTH counts as at the exit */

/* --- members --- */

static struct set_member *find(struct path_set *s, const struct path *p)
{
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++)
		if (s->member[i].state != SET_FREE && s->member[i].path == p)
			return &s->member[i];
	return NULL;
}

void path_set_event(struct path_set *s, enum path_set_event e, struct path *p, int hop,
		    enum build_status st, nsec_t now)
{
	s->config.ops.on_event(s->config.ops.arg, e, p, hop, st, now);
}

void path_set_remove(struct path_set *s, struct set_member *m, nsec_t now)
{
	struct path *p = m->path;
	if (s->session)
		session_client_leave(s->session, p);
	if (s->asking == m)
		s->asking = NULL;
	*m = (struct set_member){.state = SET_FREE};
	path_free(p, now);
}

/* --- which one carries the data --- */

static void set_active(struct path_set *s, struct set_member *m, nsec_t now)
{
	if (s->active == m)
		return;
	if (s->active)
		s->active->role = PATH_STANDBY;
	s->active = m;
	if (m)
		m->role = PATH_PRIMARY;
	s->config.ops.on_active(s->config.ops.arg, m ? path_data_of(m->path) : NULL, now);
	if (m)
		path_set_event(s, PATH_SET_SWITCHED, m->path, -1, BUILD_OK, now);
	else
		path_set_event(s, PATH_SET_LOST, NULL, -1, BUILD_OK, now);
}

void path_set_promote(struct path_set *s, struct set_member *m, nsec_t now)
{
	m->prio = ++s->prio;
	session_client_join(s->session, m->path, m->prio, now);
	set_active(s, m, now);
}

/* AUTH, or BIND once there is a session. */
static void join(struct path_set *s, struct set_member *m, nsec_t now)
{
	bool granted = path_set_granted(s);
	if (!s->session || s->closed || (!granted && s->asking))
		return;
	if (!granted) {
		s->asking = m;
		m->role = PATH_PRIMARY;
		m->prio = s->prio = AUTH_PRIO;
	} else if (m->role == PATH_PRIMARY) {
		m->prio = ++s->prio;
	}
	m->state = SET_JOINING;
	session_client_join(s->session, m->path, m->prio, now);
}

static void join_waiting(struct path_set *s, nsec_t now)
{
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++)
		if (s->member[i].state == SET_WAITING)
			join(s, &s->member[i], now);
}

static void move_away(struct path_set *s, const struct set_member *m, nsec_t now)
{
	struct set_member *next = path_set_spare(s, m);
	if (m != s->active)
		return;
	if (next && !s->closed)
		path_set_promote(s, next, now);
	else
		set_active(s, NULL, now);
}

void path_set_lose(struct path_set *s, struct set_member *m, nsec_t now)
{
	if (m->state != SET_RETIRING && !path_set_is_steady(m, now))
		path_set_back_off(s, m->role, true, now);
	move_away(s, m, now);
	path_set_remove(s, m, now);
	join_waiting(s, now);
}

/* --- the path layer's word --- */

void path_set_on_ready(struct path_set *s, struct path *p, nsec_t now)
{
	struct set_member *m = find(s, p);
	if (!m || m->state != SET_BUILDING)
		return;
	m->state = SET_WAITING;
	m->rtt = path_built_in(p);
	atomic_store_explicit(&path_data_of(p)->padding, s->config.padding, memory_order_relaxed);
	path_set_plan(s, m);
	path_set_event(s, PATH_SET_BUILT, p, -1, BUILD_OK, now);
	join(s, m, now);
}

/* A path that ends in its time, or with its uplink, or because the exit waits no longer for a token
 * that is still being typed, tells nothing about its relays. */
static bool is_to_blame(const struct path_set *s, const struct set_member *m, nsec_t now)
{
	if (m->state == SET_BUILDING)
		return true;
	if (m->state == SET_RETIRING || m->suspect || !s->session)
		return false;
	nsec_t end = path_expires_at(m->path);
	return end == 0 || now < end;
}

void path_set_on_gone(struct path_set *s, struct path *p, int hop, enum build_status status,
		      nsec_t now)
{
	struct set_member *m = find(s, p);
	if (!m)
		return;
	if (is_to_blame(s, m, now))
		path_set_event(s, PATH_SET_FAILED, p, hop, status, now);
	path_set_lose(s, m, now);
}

void path_set_on_plain(struct path_set *s, struct path_data *p, const uint8_t *plain, size_t n,
		       size_t datagram, nsec_t now)
{
	if (s->session && p->control)
		session_client_on_plain(s->session, p->control, plain, n, datagram, now);
}

/* --- the session's word --- */

static void take_over(struct path_set *s, struct set_member *m, nsec_t now)
{
	if (m->prio < s->prio)
		path_set_promote(s, m, now); /* the exit may still prefer one that is gone */
	else
		set_active(s, m, now);
}

static void on_bound(void *arg, struct path *p, uint32_t prio, nsec_t now)
{
	struct path_set *s = arg;
	struct set_member *m = find(s, p);
	if (!m || s->closed || (m->state != SET_JOINING && m->state != SET_BOUND))
		return;
	m->prio = prio;
	if (m->state == SET_JOINING) {
		m->state = SET_BOUND;
		m->bound_at = now;
		path_set_plan_idle_ping(s, m, now);
	}
	if (s->asking == m)
		s->asking = NULL;
	if (!s->active || s->active->state != SET_BOUND)
		take_over(s, m, now);
	else if (m->prio > s->active->prio)
		set_active(s, m, now);
	join_waiting(s, now);
	path_set_retire_surplus(s, now);
}

static bool on_grant(void *arg, const struct msg_grant *g, nsec_t now)
{
	struct path_set *s = arg;
	bool fine = s->config.ops.on_grant(s->config.ops.arg, g, now);
	s->was_granted |= fine;
	return fine;
}

static void close_set(struct path_set *s, nsec_t now)
{
	s->closed = true;
	s->asking = NULL;
	set_active(s, NULL, now);
}

/* When the exit lost a session and denies the next one, the session that was up is over. */
static void on_deny(void *arg, const struct msg_deny *d, nsec_t now)
{
	struct path_set *s = arg;
	close_set(s, now);
	if (s->was_granted)
		s->config.ops.on_closed(s->config.ops.arg, d->reason, now);
	else
		s->config.ops.on_deny(s->config.ops.arg, d, now);
}

static void on_closed(void *arg, uint8_t reason, nsec_t now)
{
	struct path_set *s = arg;
	close_set(s, now);
	s->config.ops.on_closed(s->config.ops.arg, reason, now);
}

/* The exit lost the session. p, which is alive, asks for a new one; the others BIND once it is
 * granted. */
static void on_unknown(void *arg, struct path *p, nsec_t now)
{
	struct path_set *s = arg;
	struct set_member *asker = find(s, p);
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++) {
		struct set_member *m = &s->member[i];
		if (m == s->asking || (m->state != SET_BOUND && m->state != SET_JOINING))
			continue;
		m->state = SET_WAITING;
		m->role = PATH_STANDBY;
		m->prio = 0;
		m->pings = 0;
	}
	if (asker && asker->state == SET_WAITING)
		join(s, asker, now);
}

static void on_pong(void *arg, struct path *p, nsec_t rtt, size_t datagram, nsec_t now)
{
	struct path_set *s = arg;
	struct set_member *m = find(s, p);
	(void)datagram;
	if (!m)
		return;
	m->rtt = m->rtt ? (7 * m->rtt + rtt) / 8 : rtt;
	m->pings = 0;
	path_set_plan_idle_ping(s, m, now);
}

static void on_silent(void *arg, struct path *p, nsec_t now)
{
	struct path_set *s = arg;
	struct set_member *m = find(s, p);
	if (!m)
		return;
	if (m->state != SET_RETIRING && !m->suspect)
		path_set_event(s, PATH_SET_FAILED, p, -1, BUILD_NEXT_DOWN, now);
	path_set_lose(s, m, now);
}

static void on_refused(void *arg, const struct msg_refused *r, nsec_t now)
{
	struct path_set *s = arg;
	s->config.ops.on_refused(s->config.ops.arg, r, now);
}

/* --- life --- */

static bool make_session(struct path_set *s, const uint8_t *seed)
{
	struct session_client_config c = {
		.env = s->config.env,
		.ops = {.arg = s,
			.on_grant = on_grant,
			.on_deny = on_deny,
			.on_closed = on_closed,
			.on_bound = on_bound,
			.on_unknown = on_unknown,
			.on_pong = on_pong,
			.on_silent = on_silent,
			.on_refused = on_refused},
		.has_token = seed != NULL,
		.wants = s->config.wants,
		.padding = s->config.padding,
	};
	memcpy(c.exit_id, s->config.exit_id, 32);
	if (seed)
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
	s->next_poll = now;
	s->backoff[PATH_PRIMARY].retry_at = s->backoff[PATH_STANDBY].retry_at = now;
	return s;
}

void path_set_start(struct path_set *s, nsec_t now)
{
	path_set_fill_up(s, now);
}

int path_set_token(struct path_set *s, const uint8_t *seed, nsec_t now)
{
	if (s->session)
		return -EALREADY;
	if (!make_session(s, seed))
		return -ENOMEM;
	join_waiting(s, now);
	return 0;
}

void path_set_goodbye(struct path_set *s, nsec_t now)
{
	if (s->session && s->active && !s->closed)
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
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++)
		if (s->member[i].state != SET_FREE)
			path_set_remove(s, &s->member[i], now);
	session_client_free(s->session);
	free(s);
}

/* What is not bound yet begins again; what is bound serves on until its successor stands, and is
 * asked for life. */
void path_set_network_changed(struct path_set *s, nsec_t now)
{
	if (s->closed)
		return;
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++) {
		struct set_member *m = &s->member[i];
		if (m->state == SET_BOUND) {
			m->suspect = true;
			m->renew_at = now;
			path_set_probe(s, m, now);
		} else if (m->state != SET_FREE && m->state != SET_RETIRING) {
			path_set_lose(s, m, now);
		}
	}
	for (unsigned role = PATH_PRIMARY; role <= PATH_STANDBY; role++)
		s->backoff[role] = (struct set_backoff){.retry_at = now};
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
	for (unsigned k = 0; k < PATH_SET_MEMBERS; k++) {
		const struct set_member *m = &s->member[k];
		if (m->state == SET_BOUND && m != s->active && i-- == 0)
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
	for (unsigned i = 0; i < PATH_SET_MEMBERS; i++)
		if (s->member[i].state != SET_FREE && s->member[i].path == p)
			return s->member[i].rtt;
	return 0;
}
