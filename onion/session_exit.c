/* onion/session_exit.c - what clients say to the exit and what it says to them. See session_exit.h;
 * the tables behind it are in session_exit_table.c.
 *
 * A question (AUTH, BIND) comes in a full-size datagram and its answer goes out in one of that
 * size, so no answer is ever longer than what asked for it, and GRANT, DENY and BOUND look the
 * same.
 */
#include "onion/session_exit_state.h"
#include <stdlib.h>
#include <string.h>
#include "crypto/kdf.h"

#define IPV6_MTU_LEAST 1280 /* RFC 8200: a path that carries less is offered no IPv6 (section 6)   \
			     */
#define AUTH_PRIO     1	    /* what a path that sent AUTH counts as */
#define REFUSED_PER_S 10
#define FULL_RETRY_S  60
#define TICK_NSEC     NSEC_PER_SEC
#define PING_BYTES    8
#define CLOSE_BYTES   1

/* A message of a client's on its way to its handler. */
struct message {
	struct session_head head;
	const uint8_t *body;
	uint16_t datagram; /* bytes that it came in */
	uint16_t full;	   /* the full size that this is, rounded down */
	nsec_t now;
};

struct exit_sessions *exit_sessions_new(const struct exit_sessions_config *c, nsec_t now)
{
	struct exit_sessions *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->config = *c;
	s->next_tick = now + TICK_NSEC;
	if (exit_tables_init(s) < 0) {
		exit_tables_done(s);
		free(s);
		return NULL;
	}
	return s;
}

void exit_sessions_free(struct exit_sessions *s)
{
	if (!s)
		return;
	struct exit_session *x;
	while ((x = TAILQ_FIRST(&s->sessions)))
		exit_session_end(s, x, 0);
	struct end *e;
	while ((e = LIST_FIRST(&s->all_ends)))
		exit_end_free(s, e, 0);
	exit_tables_done(s);
	free(s);
}

static void count(struct exit_sessions *s, enum drop why)
{
	drops_add(s->config.env->drops, why);
}

/* --- answers --- */

/* Seal plain into one datagram of at most `full` bytes (0: the circuit's own size) and send it.
 * What does not fit or has no key left is counted by circuit_seal(). */
static void send_plain(struct exit_sessions *s, struct end *e, const uint8_t *plain, size_t n,
		       uint16_t full, enum padding how, nsec_t now)
{
	const struct onion_env *env = s->config.env;
	const struct addr *to =
		atomic_load_explicit(&e->circuit->back_link->remote, memory_order_acquire);
	uint8_t room[DATAGRAM_MAX];
	if (!to || n == 0 || n > sizeof(room) - HEADER_BYTES)
		return;
	memcpy(room + HEADER_BYTES, plain, n);
	env->dp->now = now;
	n = circuit_seal(env->dp, e->circuit, room, n, full, how);
	if (n > 0)
		env->send(env->arg, to, room, n);
}

/* Keep the answer for a repeat of the question, and send it in a datagram of the question's size.
 */
static void answer(struct exit_sessions *s, struct end *e, const struct message *m, uint8_t type,
		   const uint8_t *body, size_t n)
{
	e->answer_bytes = session_write(e->answer, sizeof(e->answer), type, m->head.seq, body, n);
	e->question = m->head.type;
	send_plain(s, e, e->answer, e->answer_bytes, m->full, PAD_FULL, m->now);
}

static void deny(struct exit_sessions *s, struct end *e, const struct message *m, uint8_t reason,
		 uint32_t retry_s)
{
	const struct msg_deny d = {.reason = reason, .retry_s = retry_s};
	uint8_t body[ANSWER_MOST];
	count(s, reason == DENY_FULL ? DROP_SESSION_FULL : DROP_SESSION_AUTH);
	answer(s, e, m, SESSION_DENY, body, msg_deny_write(body, sizeof(body), &d));
}

/* What the exit says by itself, on the path that carries the session's packets. */
static void tell(struct exit_sessions *s, struct exit_session *x, uint8_t type, const uint8_t *body,
		 size_t n, nsec_t now)
{
	uint8_t plain[SESSION_HEAD_BYTES + 64];
	struct circuit *c = atomic_load_explicit(&x->data->active, memory_order_relaxed);
	struct end *e = c ? exit_end_find(s, c) : NULL;
	if (!e)
		return;
	n = session_write(plain, sizeof(plain), type, 0, body, n);
	send_plain(s, e, plain, n, 0, PAD_BUCKET, now);
}

static void close_session(struct exit_sessions *s, struct exit_session *x, uint8_t why, nsec_t now)
{
	tell(s, x, SESSION_CLOSE, &why, CLOSE_BYTES, now);
	exit_session_end(s, x, now);
}

/* --- AUTH --- */

static nsec_t heard_at(const struct exit_session *x)
{
	return atomic_load_explicit(&x->data->last_rx, memory_order_relaxed);
}

/* How many sessions the token has, and which of them was silent longest. */
static uint32_t sessions_of(const struct exit_sessions *s, const uint8_t token_pk[32],
			    struct exit_session **ret_oldest)
{
	struct exit_session *x = NULL, *oldest = NULL;
	uint32_t n = 0;
	for (; (x = exit_session_of_token(s, token_pk, x)); n++)
		if (!oldest || heard_at(x) < heard_at(oldest))
			oldest = x;
	*ret_oldest = oldest;
	return n;
}

/* A session that is asked for anew on its only path is over. The token's others give way when there
 * are too many, the one silent longest first; and when the exit is full, those that no path
 * carries. */
static void make_place(struct exit_sessions *s, struct end *e, const struct msg_auth *a,
		       uint32_t most, nsec_t now)
{
	struct exit_session *x = e->session;
	exit_unbind(s, e, now);
	if (x && x->paths == 0)
		exit_session_end(s, x, now);
	while (a->method == AUTH_TOKEN && sessions_of(s, a->token_pk, &x) >= most)
		close_session(s, x, DENY_IN_USE, now);
	if (s->count >= s->config.sessions_most && (x = exit_session_idlest(s)))
		exit_session_end(s, x, now);
}

static void fill_grant(struct exit_sessions *s, struct exit_session *x, const struct msg_auth *a,
		       const struct token_verdict *v, unsigned mtu)
{
	uint64_t now = s->config.ops.unix_seconds(s->config.ops.arg);
	uint64_t left = v->expires_unix > now ? v->expires_unix - now : 0;
	x->expires_unix = v->expires_unix;
	x->grant = (struct msg_grant){
		.lease4 = x->data->lease4,
		.lease6 = x->data->lease6,
		.ndns = a->wants & WANT_DNS ? s->config.ndns : 0,
		.mtu = (uint16_t)mtu,
		.up_kbps = v->up_kbps,
		.down_kbps = v->down_kbps,
		.quota_left = v->quota_left,
		.idle_s = s->config.idle_s,
		.expires_s = left < UINT32_MAX ? (uint32_t)left : UINT32_MAX - 1,
		.max_paths = SESSION_PATHS_MOST,
	};
	if (!v->expires_unix)
		x->grant.expires_s = UINT32_MAX;
	memcpy(x->grant.session_id, x->id, SESSION_ID_BYTES);
	memcpy(x->grant.dns, s->config.dns, sizeof(x->grant.dns));
	memcpy(x->grant.policy_hash, s->config.policy_hash, 32);
}

static void grant(struct exit_sessions *s, struct end *e, const struct message *m,
		  const struct msg_auth *a, const struct token_verdict *v)
{
	uint32_t most = v->max_sessions ? v->max_sessions : SESSION_TOKEN_MOST;
	/* fill_n is S - 1 at the last hop (PROTOCOL.md section 6). */
	unsigned mtu = inner_mtu(m->full, e->circuit->forward.fill + 1u);
	struct msg_auth offered = *a;
	if (mtu < IPV6_MTU_LEAST)
		offered.wants &= (uint8_t)~WANT_V6;
	make_place(s, e, a, most, m->now);
	struct exit_session *x = NULL;
	if (s->count < s->config.sessions_most)
		x = exit_session_new(s, e, &offered, m->now);
	if (!x) {
		deny(s, e, m, DENY_FULL, FULL_RETRY_S);
		return;
	}
	fill_grant(s, x, a, v, mtu);
	exit_bind(s, e, x, AUTH_PRIO, m->now);
	uint8_t body[ANSWER_MOST];
	answer(s, e, m, SESSION_GRANT, body, msg_grant_write(body, sizeof(body), &x->grant));
}

static void on_auth(struct exit_sessions *s, struct end *e, const struct message *m)
{
	struct msg_auth a;
	if (!msg_auth_parse(m->body, m->head.len, &a)) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	if (++e->auths > SESSION_AUTHS_MOST) {
		count(s, DROP_SESSION_AUTH);
		circuits_close_end(s->config.circuits, e->circuit, CLOSE_PROTOCOL, m->now);
		return;
	}
	/* The same work for every answer: the signature is checked and the account looked up in any
	 * case. */
	bool signed_well = a.method == AUTH_OPEN || msg_auth_verify(&a, s->config.id, e->h);
	struct token_verdict v = {0};
	s->config.ops.judge(s->config.ops.arg, a.method == AUTH_TOKEN ? a.token_pk : NULL, &v);
	if (!signed_well)
		v = (struct token_verdict){.deny = DENY_BAD_TOKEN};
	e->seq = m->head.seq;
	atomic_store_explicit(&e->circuit->full_dgram, m->full, memory_order_relaxed);
	if (v.deny)
		deny(s, e, m, v.deny, v.retry_s);
	else
		grant(s, e, m, &a, &v);
	if (!e->session && e->auths == SESSION_AUTHS_MOST)
		circuits_close_end(s->config.circuits, e->circuit, CLOSE_PROTOCOL, m->now);
}

/* --- the other words --- */

static void bound(struct exit_sessions *s, struct end *e, const struct message *m, uint8_t status,
		  uint32_t prio)
{
	const struct msg_bound b = {.status = status, .prio = prio};
	uint8_t body[ANSWER_MOST];
	e->seq = m->head.seq;
	atomic_store_explicit(&e->circuit->full_dgram, m->full, memory_order_relaxed);
	answer(s, e, m, SESSION_BOUND, body, msg_bound_write(body, sizeof(body), &b));
}

static void on_bind(struct exit_sessions *s, struct end *e, const struct message *m)
{
	struct msg_bind b;
	if (!msg_bind_parse(m->body, m->head.len, &b)) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	struct exit_session *x = exit_session_find(s, b.session_id);
	if (!x) {
		count(s, DROP_SESSION_BIND);
		bound(s, e, m, 1, b.prio);
		return;
	}
	uint8_t mac[32];
	msg_bind_mac(x->rs, s->config.id, e->h, m->head.seq, b.prio, mac);
	if (!equal_ct(mac, b.mac, sizeof(mac))) {
		count(s, DROP_SESSION_BIND);
		return;
	}
	if (e->session != x)
		exit_unbind(s, e, m->now);
	exit_bind(s, e, x, b.prio, m->now);
	bound(s, e, m, 0, b.prio);
}

/* Answered whatever its seq: it changes nothing, and may overtake a question or be overtaken. */
static void on_ping(struct exit_sessions *s, struct end *e, const struct message *m)
{
	if (m->head.len != PING_BYTES) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	uint8_t plain[SESSION_HEAD_BYTES + PING_BYTES];
	size_t n =
		session_write(plain, sizeof(plain), SESSION_PONG, m->head.seq, m->body, PING_BYTES);
	send_plain(s, e, plain, n, m->datagram, PAD_FULL, m->now);
}

static void on_close(struct exit_sessions *s, struct end *e, const struct message *m)
{
	if (m->head.len != CLOSE_BYTES) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	if (!e->session) {
		count(s, DROP_SESSION_STATE);
		return;
	}
	e->seq = m->head.seq;
	e->question = 0;
	exit_session_end(s, e->session, m->now);
}

/* What a client may say. `question`: in a full-size datagram, with an answer that is kept.
 * `ordered`: seq counts. A handler may end the circuit: touch e no more behind it. */
static const struct {
	void (*handle)(struct exit_sessions *s, struct end *e, const struct message *m);
	bool question, ordered;
} rows[] = {
	[SESSION_AUTH] = {on_auth, true, true},
	[SESSION_BIND] = {on_bind, true, true},
	[SESSION_PING] = {on_ping, false, false},
	[SESSION_CLOSE] = {on_close, false, true},
};

/* seq counts up on each path. A repeat of the last question gets the last answer, and tells the
 * largest size that may pass both ways; what is older is dropped. */
static bool is_new(struct exit_sessions *s, struct end *e, const struct message *m)
{
	if (m->head.seq > e->seq)
		return true;
	if (m->head.seq != e->seq || m->head.type != e->question) {
		count(s, DROP_SESSION_SEQ);
		return false;
	}
	if (m->full < atomic_load_explicit(&e->circuit->full_dgram, memory_order_relaxed))
		atomic_store_explicit(&e->circuit->full_dgram, m->full, memory_order_relaxed);
	send_plain(s, e, e->answer, e->answer_bytes, m->full, PAD_FULL, m->now);
	return false;
}

static void note_life(struct end *e, nsec_t now)
{
	if (e->session)
		atomic_store_explicit(&e->session->data->last_rx, now, memory_order_relaxed);
}

void exit_sessions_on_plain(struct exit_sessions *s, struct circuit *c, const uint8_t *plain,
			    size_t n, size_t datagram, nsec_t now)
{
	struct end *e = exit_end_find(s, c);
	struct message m = {.now = now};
	if (!e || datagram > DATAGRAM_MAX) {
		count(s, DROP_SESSION_STATE);
		return;
	}
	m.datagram = (uint16_t)datagram;
	m.full = datagram_full_floor(m.datagram);
	if (!session_head_parse(plain, n, &m.head, &m.body) ||
	    m.head.type >= sizeof(rows) / sizeof(rows[0]) || !rows[m.head.type].handle ||
	    (rows[m.head.type].question && datagram < DATAGRAM_FULL_LEAST)) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	note_life(e, now);
	if (!rows[m.head.type].ordered || is_new(s, e, &m))
		rows[m.head.type].handle(s, e, &m);
}

/* --- from circuits --- */

bool exit_sessions_on_end(struct exit_sessions *s, struct circuit *c, const uint8_t h[32],
			  const uint8_t res[32], nsec_t now)
{
	(void)now;
	if (exit_end_new(s, c, h, res))
		return true;
	count(s, DROP_NO_MEMORY);
	return false;
}

void exit_sessions_on_end_gone(struct exit_sessions *s, struct circuit *c, nsec_t now)
{
	struct end *e = exit_end_find(s, c);
	if (e)
		exit_end_free(s, e, now);
}

/* --- what the exit says by itself --- */

void exit_sessions_refuse(struct exit_sessions *s, struct circuit *c, const struct msg_refused *m,
			  nsec_t now)
{
	struct end *e = exit_end_find(s, c);
	struct exit_session *x = e ? e->session : NULL;
	if (!x)
		return;
	if (now - x->refused_window >= NSEC_PER_SEC) {
		x->refused_window = now;
		x->refused = 0;
	}
	uint8_t body[32];
	if (x->refused++ < REFUSED_PER_S)
		tell(s, x, SESSION_REFUSED, body, msg_refused_write(body, sizeof(body), m), now);
}

void exit_sessions_revoke(struct exit_sessions *s, const uint8_t token_pk[32], enum deny_reason why,
			  nsec_t now)
{
	struct exit_session *x;
	while ((x = exit_session_of_token(s, token_pk, NULL)))
		close_session(s, x, (uint8_t)why, now);
}

void exit_sessions_close_all(struct exit_sessions *s, nsec_t now)
{
	/* No CLOSE: an exit that restarts is asked anew (BOUND says unknown), and the client keeps
	 * its wish. */
	struct exit_session *x;
	while ((x = TAILQ_FIRST(&s->sessions)))
		exit_session_end(s, x, now);
}

/* --- time --- */

static bool is_idle(const struct exit_sessions *s, const struct exit_session *x, nsec_t now)
{
	return x->silent_since != NSEC_NEVER &&
	       now - x->silent_since >= s->config.idle_s * NSEC_PER_SEC;
}

static void sweep(struct exit_sessions *s, nsec_t now)
{
	uint64_t unix_s = s->config.ops.unix_seconds(s->config.ops.arg);
	struct exit_session *next;
	for (struct exit_session *x = TAILQ_FIRST(&s->sessions); x; x = next) {
		next = TAILQ_NEXT(x, all);
		if (x->expires_unix && x->expires_unix <= unix_s)
			close_session(s, x, DENY_EXPIRED, now);
		else if (is_idle(s, x, now))
			exit_session_end(s, x, now);
	}
}

nsec_t exit_sessions_next_deadline(const struct exit_sessions *s)
{
	return TAILQ_EMPTY(&s->sessions) ? NSEC_NEVER : s->next_tick;
}

void exit_sessions_on_timer(struct exit_sessions *s, nsec_t now)
{
	if (now < s->next_tick)
		return;
	s->next_tick = now + TICK_NSEC;
	sweep(s, now);
}

uint32_t exit_sessions_count(const struct exit_sessions *s)
{
	return s->count;
}
