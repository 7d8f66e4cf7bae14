/* onion/session_client.c - see session_client.h.
 *
 * A question (AUTH, BIND) on a path is repeated after 1, 2, 4 s with the same seq, each time in a smaller datagram than
 * before: the answer has the size of the question, so the one that comes back proves both directions for it.
 */
#include "onion/session_client.h"
#include <stdlib.h>
#include <string.h>
#include "crypto/kdf.h"

#define MEMBERS_MOST   8
#define REPEATS        3 /* after 1, 2, 4 s */
#define PINGS_KEPT     4 /* in flight on one path */

/* The question goes out at 0, 1, 2 and 4 s; at 8 s the path is called silent. */
static const nsec_t repeat_gap_s[REPEATS + 1] = {1, 1, 2, 4};

enum member_state { MEMBER_ASKED_AUTH, MEMBER_ASKED_BIND, MEMBER_JOINED };

struct ping {
	uint64_t opaque; /* 0: free */
	nsec_t sent;
	uint16_t datagram;
};

/* One path that has joined, or asks to. */
struct member {
	struct path *path; /* NULL: free */
	enum member_state state;
	uint32_t seq;      /* last used on this path */
	uint32_t asked;    /* seq of the open question */
	uint32_t prio;
	unsigned repeats;
	nsec_t next;       /* repeat; NSEC_NEVER */
	uint16_t full;     /* datagram size of the open question */
	uint8_t question[SESSION_HEAD_BYTES + 128];
	size_t question_bytes;
	struct ping ping[PINGS_KEPT];
	unsigned next_ping;
};

struct session_client {
	struct session_client_config config;
	struct sign_keypair token;
	bool has_token, granted;
	struct msg_grant grant;
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

/* Seal plain into one datagram of `full` bytes or fewer and send it. False when it does not fit. */
static bool send_plain(struct session_client *s, struct path *p, const uint8_t *plain, size_t n, uint16_t full,
		       enum padding how)
{
	const struct onion_env *env = s->config.env;
	uint8_t room[DATAGRAM_MAX];
	struct path_data *d = path_data_of(p);
	const struct addr *to;

	if (!d || n > sizeof(room) - HEADER_BYTES)
		return false;
	memcpy(room + HEADER_BYTES, plain, n);
	n = path_seal(env->dp, d, room, n, full, how);
	if (!n)
		return false;
	to = atomic_load_explicit(&d->link->remote, memory_order_acquire);
	env->send(env->arg, to, room, n);
	return true;
}

static void ask(struct session_client *s, struct member *m)
{
	send_plain(s, m->path, m->question, m->question_bytes, m->full, PAD_FULL);
}

static uint16_t smaller_full(uint16_t full)
{
	return full > DATAGRAM_FULL_LEAST ? datagram_full_floor((uint16_t)(full - 1)) : full;
}

static void begin_question(struct session_client *s, struct member *m, enum member_state state, nsec_t now)
{
	m->state = state;
	m->asked = m->seq;
	m->repeats = 0;
	m->full = path_max_dgram(m->path);
	m->next = now + repeat_gap_s[0] * NSEC_PER_SEC;
	ask(s, m);
}

static void auth(struct session_client *s, struct member *m, nsec_t now)
{
	struct msg_auth a = {.method = s->has_token ? AUTH_TOKEN : AUTH_OPEN,
			     .wants = s->config.wants,
			     .padding = s->config.padding};
	uint8_t body[128];
	size_t n;

	if (s->has_token) {
		memcpy(a.token_pk, s->token.public_key, 32);
		if (msg_auth_sign(&a, &s->token, s->config.exit_id, path_h(m->path)))
			return;
	}
	n = msg_auth_write(body, sizeof(body), &a);
	m->question_bytes =
		session_write(m->question, sizeof(m->question), SESSION_AUTH, ++m->seq, body, n);
	begin_question(s, m, MEMBER_ASKED_AUTH, now);
}

static void bind_path(struct session_client *s, struct member *m, uint32_t prio, nsec_t now)
{
	struct msg_bind b = {.prio = prio};
	uint8_t body[64];
	size_t n;

	m->seq++;
	m->prio = prio;
	memcpy(b.session_id, s->grant.session_id, SESSION_ID_BYTES);
	msg_bind_mac(s->rs, s->config.exit_id, path_h(m->path), m->seq, prio, b.mac);
	n = msg_bind_write(body, sizeof(body), &b);
	m->question_bytes = session_write(m->question, sizeof(m->question), SESSION_BIND, m->seq, body, n);
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
		bind_path(s, m, prio, now);
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
	uint8_t plain[SESSION_HEAD_BYTES + 8], opaque[8];
	struct ping *ping;
	size_t n;

	if (!m)
		return;
	ping = &m->ping[m->next_ping++ % PINGS_KEPT];
	ping->opaque = rng_u64(s->config.env->rng) | 1; /* never 0, which means free */
	ping->sent = now;
	ping->datagram = full_dgram;
	for (unsigned i = 0; i < 8; i++)
		opaque[i] = (uint8_t)(ping->opaque >> (56 - 8 * i));
	n = session_write(plain, sizeof(plain), SESSION_PING, ++m->seq, opaque, sizeof(opaque));
	send_plain(s, p, plain, n, full_dgram, full_dgram ? PAD_FULL : PAD_BUCKET);
}

void session_client_close(struct session_client *s, struct path *p, nsec_t now)
{
	struct member *m = find(s, p);
	uint8_t plain[SESSION_HEAD_BYTES + 1];
	const uint8_t reason = CLOSE_DONE;
	size_t n;

	(void)now;
	if (!m || !s->granted)
		return;
	n = session_write(plain, sizeof(plain), SESSION_CLOSE, ++m->seq, &reason, 1);
	send_plain(s, p, plain, n, 0, PAD_BUCKET);
}

/* --- what the exit says --- */

static void answered(struct member *m)
{
	struct path_data *d = path_data_of(m->path);

	m->state = MEMBER_JOINED;
	m->next = NSEC_NEVER;
	wipe(m->question, sizeof(m->question));
	/* The answer came in a datagram of the question's size: that size passes both ways. */
	if (d)
		atomic_store_explicit(&d->full_dgram, m->full, memory_order_relaxed);
}

static void on_grant(struct session_client *s, struct member *m, const struct session_head *h, const uint8_t *body,
		     nsec_t now)
{
	struct msg_grant g;

	if (m->state != MEMBER_ASKED_AUTH || h->seq != m->asked || !msg_grant_parse(body, h->len, &g)) {
		drops_add(s->config.env->drops, DROP_SESSION_STATE);
		return;
	}
	answered(m);
	s->grant = g;
	s->granted = true;
	session_secret(path_resume(m->path), g.session_id, s->rs);
	if (!s->config.ops.on_grant(s->config.ops.arg, &g, now)) {
		s->granted = false;
		s->config.ops.on_closed(s->config.ops.arg, CLOSE_PROTOCOL, now);
		return;
	}
	s->config.ops.on_bound(s->config.ops.arg, m->path, m->prio, now);
}

static void on_deny(struct session_client *s, struct member *m, const struct session_head *h, const uint8_t *body,
		    nsec_t now)
{
	struct msg_deny d;

	if (m->state != MEMBER_ASKED_AUTH || h->seq != m->asked || !msg_deny_parse(body, h->len, &d)) {
		drops_add(s->config.env->drops, DROP_SESSION_STATE);
		return;
	}
	m->next = NSEC_NEVER;
	s->config.ops.on_deny(s->config.ops.arg, &d, now);
}

static void on_bound(struct session_client *s, struct member *m, const struct session_head *h, const uint8_t *body,
		     nsec_t now)
{
	struct msg_bound b;

	if (m->state != MEMBER_ASKED_BIND || h->seq != m->asked || !msg_bound_parse(body, h->len, &b)) {
		drops_add(s->config.env->drops, DROP_SESSION_STATE);
		return;
	}
	if (b.status == 0) {
		answered(m);
		s->config.ops.on_bound(s->config.ops.arg, m->path, m->prio, now);
		return;
	}
	/* The exit does not know the session (it restarted, or we were silent too long): a new one. */
	s->granted = false;
	wipe(s->rs, sizeof(s->rs));
	auth(s, m, now);
	s->config.ops.on_unknown(s->config.ops.arg, m->path, now);
}

static void on_pong(struct session_client *s, struct member *m, const struct session_head *h, const uint8_t *body,
		    size_t datagram, nsec_t now)
{
	uint64_t opaque = 0;

	for (unsigned i = 0; i < 8 && h->len >= 8; i++)
		opaque = opaque << 8 | body[i];
	for (unsigned i = 0; i < PINGS_KEPT; i++) {
		struct ping *p = &m->ping[i];
		if (!opaque || p->opaque != opaque)
			continue;
		p->opaque = 0;
		s->config.ops.on_pong(s->config.ops.arg, m->path, now - p->sent, datagram, now);
		return;
	}
	drops_add(s->config.env->drops, DROP_SESSION_SEQ);
}

static void on_update(struct session_client *s, const struct session_head *h, const uint8_t *body, nsec_t now)
{
	struct msg_grant g;

	if (!s->granted || !msg_grant_parse(body, h->len, &g) ||
	    memcmp(g.session_id, s->grant.session_id, SESSION_ID_BYTES)) {
		drops_add(s->config.env->drops, DROP_SESSION_STATE);
		return;
	}
	s->grant = g;
	if (!s->config.ops.on_grant(s->config.ops.arg, &g, now)) {
		s->granted = false;
		s->config.ops.on_closed(s->config.ops.arg, CLOSE_PROTOCOL, now);
	}
}

static void on_close(struct session_client *s, struct member *m, const struct session_head *h, const uint8_t *body,
		     nsec_t now)
{
	(void)m;
	if (!s->granted || h->len != 1) {
		drops_add(s->config.env->drops, DROP_SESSION_STATE);
		return;
	}
	s->granted = false;
	s->config.ops.on_closed(s->config.ops.arg, body[0], now);
}

static void on_refused(struct session_client *s, const struct session_head *h, const uint8_t *body, nsec_t now)
{
	struct msg_refused r;

	if (!s->granted || !msg_refused_parse(body, h->len, &r)) {
		drops_add(s->config.env->drops, DROP_SESSION_STATE);
		return;
	}
	(void)now;
	s->config.ops.on_refused(s->config.ops.arg, &r, now);
}

void session_client_on_plain(struct session_client *s, struct path *p, const uint8_t *plain, size_t n, size_t datagram,
			     nsec_t now)
{
	struct member *m = find(s, p);
	struct session_head h;
	const uint8_t *body;

	if (!m) {
		drops_add(s->config.env->drops, DROP_SESSION_STATE);
		return;
	}
	if (!session_head_parse(plain, n, &h, &body)) {
		drops_add(s->config.env->drops, DROP_SESSION_FORMAT);
		return;
	}
	switch (h.type) {
	case SESSION_GRANT:
		on_grant(s, m, &h, body, now);
		break;
	case SESSION_DENY:
		on_deny(s, m, &h, body, now);
		break;
	case SESSION_BOUND:
		on_bound(s, m, &h, body, now);
		break;
	case SESSION_PONG:
		on_pong(s, m, &h, body, datagram, now);
		break;
	case SESSION_UPDATE:
		on_update(s, &h, body, now);
		break;
	case SESSION_CLOSE:
		on_close(s, m, &h, body, now);
		break;
	case SESSION_REFUSED:
		on_refused(s, &h, body, now);
		break;
	default:
		drops_add(s->config.env->drops, DROP_SESSION_FORMAT);
	}
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
			m->next = NSEC_NEVER;
			s->config.ops.on_silent(s->config.ops.arg, p, now);
			continue;
		}
		m->repeats++;
		m->full = smaller_full(m->full);
		m->next = now + repeat_gap_s[m->repeats] * NSEC_PER_SEC;
		ask(s, m);
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
