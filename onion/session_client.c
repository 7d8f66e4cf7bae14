/* onion/session_client.c - see session_client.h.
 *
 * A question (AUTH, BIND) on a path is repeated after 1, 2, 4 s with the same seq, each time in a
 * smaller datagram than before: the answer has the size of the question, so the one that comes back
 * proves both directions for it.
 */
#include "onion/session_client.h"
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"

#define MEMBERS_MOST	   8
#define REPEATS		   3 /* after 1, 2, 4 s */
#define OPAQUE_BYTES	   8
#define QUESTION_BODY_MOST 128		/* AUTH has 99, BIND 52 */
#define PINGS_KEPT	   4		/* in flight on one path */
#define UPDATE_GAP_NSEC	   NSEC_PER_SEC /* each changes the host, which is dear */

/* The question goes out at 0, 1, 2 and 4 s; at 8 s the path is called silent. */
static const nsec_t repeat_gap_s[REPEATS + 1] = {1, 1, 2, 4};

enum member_state { MEMBER_IDLE, MEMBER_ASKED_AUTH, MEMBER_ASKED_BIND, MEMBER_JOINED };

struct ping {
	uint64_t opaque; /* 0: free */
	nsec_t sent;
};

/* One path that has joined, or asks to. */
struct member {
	struct path *path; /* NULL: free */
	enum member_state state;
	uint32_t seq;	/* last used on this path */
	uint32_t asked; /* seq of the open question */
	uint32_t prio;
	unsigned repeats;
	nsec_t next;   /* repeat; NSEC_NEVER */
	uint16_t full; /* datagram size of the open question */
	bool proven;   /* datagrams of the path's full size passed both ways */
	uint8_t question[SESSION_HEAD_BYTES + QUESTION_BODY_MOST];
	size_t question_bytes;
	struct ping ping[PINGS_KEPT];
	unsigned next_ping;
};

struct session_client {
	struct session_client_config config;
	struct sign_keypair token;
	bool has_token, granted;
	struct msg_grant grant;
	nsec_t next_update; /* those before it are dropped */
	uint8_t rs[32];
	struct member member[MEMBERS_MOST];
};

struct session_client *session_client_new(const struct session_client_config *c)
{
	struct session_client *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->config = *c;
	wipe(s->config.token_seed, sizeof(s->config.token_seed));
	s->has_token = c->has_token;
	if (c->has_token)
		sign_keypair_from_seed(&s->token, c->token_seed);
	return s;
}

void session_client_free(struct session_client *s)
{
	if (!s)
		return;
	sign_keypair_done(&s->token);
	wipe(s, sizeof(*s));
	free(s);
}

/* --- sending --- */

/* Seal plain into one datagram of at most `full` bytes (0: the path's own size) and send it. What
 * does not fit or has no key left is counted by path_seal(); the repeat, or the path's end,
 * follows. */
static void send_plain(struct session_client *s, struct path *p, const uint8_t *plain, size_t n,
		       uint16_t full, enum padding how, nsec_t now)
{
	const struct onion_env *env = s->config.env;
	struct path_data *d = path_data_of(p);
	if (!d)
		return;
	const struct addr *to = atomic_load_explicit(&d->link->remote, memory_order_acquire);
	uint8_t room[DATAGRAM_MAX];
	if (!to || n == 0 || n > sizeof(room) - HEADER_BYTES)
		return;
	memcpy(room + HEADER_BYTES, plain, n);
	env->dp->now = now;
	n = path_seal(env->dp, d, room, n, full, how);
	if (n > 0)
		env->send(env->arg, to, room, n);
}

static void ask(struct session_client *s, struct member *m, nsec_t now)
{
	send_plain(s, m->path, m->question, m->question_bytes, m->full, PAD_FULL, now);
}

static uint16_t smaller_full(uint16_t full)
{
	return full > DATAGRAM_FULL_LEAST ? datagram_full_floor((uint16_t)(full - 1)) : full;
}

static uint16_t path_full(const struct path *p)
{
	struct path_data *d = path_data_of(p);
	return d ? atomic_load_explicit(&d->full_dgram, memory_order_relaxed) : DATAGRAM_FULL_LEAST;
}

static void begin_question(struct session_client *s, struct member *m, enum member_state state,
			   nsec_t now)
{
	m->state = state;
	m->asked = m->seq;
	m->repeats = 0;
	m->full = path_full(m->path);
	m->next = now + repeat_gap_s[0] * NSEC_PER_SEC;
	ask(s, m, now);
}

/* The question could not be made: as if nobody had answered. */
static void give_up(struct member *m, nsec_t now)
{
	m->repeats = REPEATS;
	m->next = now;
}

static void auth(struct session_client *s, struct member *m, nsec_t now)
{
	struct msg_auth a = {.method = s->has_token ? AUTH_TOKEN : AUTH_OPEN,
			     .wants = s->config.wants,
			     .padding = s->config.padding};
	if (s->has_token && msg_auth_sign(&a, &s->token, s->config.exit_id, path_h(m->path))) {
		drops_add(s->config.env->drops, DROP_NO_MEMORY);
		give_up(m, now);
		return;
	}
	uint8_t body[QUESTION_BODY_MOST];
	size_t n = msg_auth_write(body, sizeof(body), &a);
	m->question_bytes =
		session_write(m->question, sizeof(m->question), SESSION_AUTH, ++m->seq, body, n);
	begin_question(s, m, MEMBER_ASKED_AUTH, now);
}

static void bind_path(struct session_client *s, struct member *m, nsec_t now)
{
	struct msg_bind b = {.prio = m->prio};
	memcpy(b.session_id, s->grant.session_id, SESSION_ID_BYTES);
	msg_bind_mac(s->rs, s->config.exit_id, path_h(m->path), ++m->seq, b.prio, b.mac);
	uint8_t body[QUESTION_BODY_MOST];
	size_t n = msg_bind_write(body, sizeof(body), &b);
	m->question_bytes =
		session_write(m->question, sizeof(m->question), SESSION_BIND, m->seq, body, n);
	begin_question(s, m, MEMBER_ASKED_BIND, now);
}

/* --- members --- */

static struct member *find(struct session_client *s, const struct path *p)
{
	for (unsigned i = 0; i < MEMBERS_MOST; i++)
		if (s->member[i].path == p)
			return &s->member[i];
	return NULL;
}

static struct member *find_or_add(struct session_client *s, struct path *p)
{
	struct member *m = find(s, p);

	if (m)
		return m;
	m = find(s, NULL);
	if (!m)
		return NULL;
	memset(m, 0, sizeof(*m));
	m->path = p;
	m->next = NSEC_NEVER;
	return m;
}

void session_client_join(struct session_client *s, struct path *p, uint32_t prio, nsec_t now)
{
	struct member *m = find_or_add(s, p);

	if (!m) /* path_set keeps fewer paths than we have places */
		return;
	m->prio = prio;
	if (s->granted)
		bind_path(s, m, now);
	else
		auth(s, m, now);
}

void session_client_leave(struct session_client *s, struct path *p)
{
	struct member *m = find(s, p);

	if (m)
		wipe(m, sizeof(*m));
}

void session_client_ping(struct session_client *s, struct path *p, uint16_t full_dgram, nsec_t now)
{
	struct member *m = find(s, p);
	if (!m)
		return;
	struct ping *ping = &m->ping[m->next_ping++ % PINGS_KEPT];
	ping->opaque = rng_u64(s->config.env->rng) | 1; /* never 0, which means free */
	ping->sent = now;
	uint8_t plain[SESSION_HEAD_BYTES + OPAQUE_BYTES], opaque[OPAQUE_BYTES];
	store_be64(opaque, ping->opaque);
	size_t n =
		session_write(plain, sizeof(plain), SESSION_PING, ++m->seq, opaque, sizeof(opaque));
	send_plain(s, p, plain, n, full_dgram, full_dgram ? PAD_FULL : PAD_BUCKET, now);
}

void session_client_close(struct session_client *s, struct path *p, nsec_t now)
{
	struct member *m = find(s, p);
	if (!m || !s->granted)
		return;
	uint8_t plain[SESSION_HEAD_BYTES + 1];
	const uint8_t reason = CLOSE_DONE;
	size_t n = session_write(plain, sizeof(plain), SESSION_CLOSE, ++m->seq, &reason, 1);
	send_plain(s, p, plain, n, 0, PAD_BUCKET, now);
}

/* --- what the exit says --- */

/* A session message on its way to its handler. */
struct message {
	struct session_head head;
	const uint8_t *body;
	size_t datagram;
	nsec_t now;
};

static void drop(struct session_client *s, enum drop why)
{
	drops_add(s->config.env->drops, why);
}

static bool is_answer(const struct member *m, enum member_state asked, const struct message *k)
{
	return m->state == asked && k->head.seq == m->asked;
}

static void stop_asking(struct member *m, enum member_state state)
{
	m->state = state;
	m->next = NSEC_NEVER;
	m->question_bytes = 0;
	wipe(m->question, sizeof(m->question));
}

/* The answer came in a datagram of the question's size, which so passes both ways. The exit uses
 * the smallest size that we asked in: so do we. */
static void answered(struct member *m, const struct message *k)
{
	struct path_data *d = path_data_of(m->path);
	uint16_t came =
		datagram_full_floor(k->datagram < UINT16_MAX ? (uint16_t)k->datagram : UINT16_MAX);
	stop_asking(m, MEMBER_JOINED);
	m->proven = true;
	if (d)
		atomic_store_explicit(&d->full_dgram, came < m->full ? came : m->full,
				      memory_order_relaxed);
}

static void forget_session(struct session_client *s)
{
	s->granted = false;
	wipe(s->rs, sizeof(s->rs));
}

/* No more questions; what is asked already has no answer that counts. */
static void end_session(struct session_client *s)
{
	forget_session(s);
	for (unsigned i = 0; i < MEMBERS_MOST; i++)
		if (s->member[i].path)
			stop_asking(&s->member[i], MEMBER_IDLE);
}

static bool take_grant(struct session_client *s, const struct msg_grant *g, nsec_t now)
{
	s->grant = *g;
	s->granted = true;
	if (s->config.ops.on_grant(s->config.ops.arg, g, now))
		return true;
	end_session(s);
	s->config.ops.on_closed(s->config.ops.arg, CLOSE_PROTOCOL, now);
	return false;
}

static void on_grant(struct session_client *s, struct member *m, const struct message *k)
{
	struct msg_grant g;
	if (!is_answer(m, MEMBER_ASKED_AUTH, k) || s->granted) {
		drop(s, DROP_SESSION_STATE);
		return;
	}
	if (!msg_grant_parse(k->body, k->head.len, &g)) {
		drop(s, DROP_SESSION_FORMAT);
		return;
	}
	struct path *p = m->path;
	answered(m, k);
	session_secret(path_resume(p), g.session_id, s->rs);
	if (take_grant(s, &g, k->now))
		s->config.ops.on_bound(s->config.ops.arg, p, m->prio, k->now);
}

static void on_deny(struct session_client *s, struct member *m, const struct message *k)
{
	struct msg_deny d;
	if (!is_answer(m, MEMBER_ASKED_AUTH, k)) {
		drop(s, DROP_SESSION_STATE);
		return;
	}
	if (!msg_deny_parse(k->body, k->head.len, &d)) {
		drop(s, DROP_SESSION_FORMAT);
		return;
	}
	stop_asking(m, MEMBER_IDLE);
	s->config.ops.on_deny(s->config.ops.arg, &d, k->now);
}

static void on_bound(struct session_client *s, struct member *m, const struct message *k)
{
	struct msg_bound b;
	if (!is_answer(m, MEMBER_ASKED_BIND, k)) {
		drop(s, DROP_SESSION_STATE);
		return;
	}
	if (!msg_bound_parse(k->body, k->head.len, &b)) {
		drop(s, DROP_SESSION_FORMAT);
		return;
	}
	if (b.status == 0) {
		answered(m, k);
		s->config.ops.on_bound(s->config.ops.arg, m->path, m->prio, k->now);
		return;
	}
	/* It restarted, or we were away too long. What other paths still ask is about the old
	 * session. */
	stop_asking(m, MEMBER_IDLE);
	forget_session(s);
	for (unsigned i = 0; i < MEMBERS_MOST; i++)
		if (s->member[i].state == MEMBER_ASKED_BIND)
			stop_asking(&s->member[i], MEMBER_IDLE);
	s->config.ops.on_unknown(s->config.ops.arg, m->path, k->now);
}

static void on_pong(struct session_client *s, struct member *m, const struct message *k)
{
	uint64_t opaque = k->head.len == OPAQUE_BYTES ? load_be64(k->body) : 0;
	for (unsigned i = 0; opaque && i < PINGS_KEPT; i++) {
		struct ping *p = &m->ping[i];
		if (p->opaque != opaque)
			continue;
		p->opaque = 0;
		s->config.ops.on_pong(s->config.ops.arg, m->path, k->now - p->sent, k->datagram,
				      k->now);
		return;
	}
	drop(s, DROP_SESSION_SEQ);
}

static void on_update(struct session_client *s, struct member *m, const struct message *k)
{
	struct msg_grant g;
	(void)m;
	if (!msg_grant_parse(k->body, k->head.len, &g)) {
		drop(s, DROP_SESSION_FORMAT);
		return;
	}
	if (!equal_ct(g.session_id, s->grant.session_id, SESSION_ID_BYTES)) {
		drop(s, DROP_SESSION_STATE);
		return;
	}
	if (k->now < s->next_update) {
		drop(s, DROP_SESSION_STATE);
		return;
	}
	s->next_update = k->now + UPDATE_GAP_NSEC;
	(void)take_grant(s, &g, k->now); /* when refused, on_closed was told */
}

static void on_close(struct session_client *s, struct member *m, const struct message *k)
{
	(void)m;
	if (k->head.len != 1) {
		drop(s, DROP_SESSION_FORMAT);
		return;
	}
	end_session(s);
	s->config.ops.on_closed(s->config.ops.arg, k->body[0], k->now);
}

static void on_refused(struct session_client *s, struct member *m, const struct message *k)
{
	struct msg_refused r;
	(void)m;
	if (!msg_refused_parse(k->body, k->head.len, &r)) {
		drop(s, DROP_SESSION_FORMAT);
		return;
	}
	s->config.ops.on_refused(s->config.ops.arg, &r, k->now);
}

/* What an exit may say, and what only while there is a session. An answer says itself what it
 * answers. */
static const struct {
	void (*handle)(struct session_client *s, struct member *m, const struct message *k);
	bool granted;
} rows[] = {
	[SESSION_GRANT] = {on_grant, false},	[SESSION_DENY] = {on_deny, false},
	[SESSION_BOUND] = {on_bound, false},	[SESSION_PONG] = {on_pong, false},
	[SESSION_REFUSED] = {on_refused, true}, [SESSION_UPDATE] = {on_update, true},
	[SESSION_CLOSE] = {on_close, true},
};

void session_client_on_plain(struct session_client *s, struct path *p, const uint8_t *plain,
			     size_t n, size_t datagram, nsec_t now)
{
	struct message k = {.datagram = datagram, .now = now};
	struct member *m = p ? find(s, p) : NULL;
	if (!m) {
		drop(s, DROP_SESSION_STATE);
		return;
	}
	if (!session_head_parse(plain, n, &k.head, &k.body) ||
	    k.head.type >= sizeof(rows) / sizeof(rows[0]) || !rows[k.head.type].handle) {
		drop(s, DROP_SESSION_FORMAT);
		return;
	}
	if (rows[k.head.type].granted && !s->granted) {
		drop(s, DROP_SESSION_STATE);
		return;
	}
	rows[k.head.type].handle(s, m, &k);
}

/* --- time --- */

nsec_t session_client_next_deadline(const struct session_client *s)
{
	nsec_t next = NSEC_NEVER;

	for (unsigned i = 0; i < MEMBERS_MOST; i++)
		if (s->member[i].path)
			next = nsec_min(next, s->member[i].next);
	return next;
}

void session_client_on_timer(struct session_client *s, nsec_t now)
{
	for (unsigned i = 0; i < MEMBERS_MOST; i++) {
		struct member *m = &s->member[i];
		struct path *p = m->path;

		if (!p || now < m->next)
			continue;
		if (m->repeats == REPEATS) {
			stop_asking(m, MEMBER_IDLE);
			s->config.ops.on_silent(s->config.ops.arg, p, now);
			continue;
		}
		m->repeats++;
		if (!m->proven)
			m->full = smaller_full(m->full);
		m->next = now + repeat_gap_s[m->repeats] * NSEC_PER_SEC;
		ask(s, m, now);
	}
}

bool session_client_granted(const struct session_client *s)
{
	return s->granted;
}

const struct msg_grant *session_client_grant(const struct session_client *s)
{
	return s->granted ? &s->grant : NULL;
}
