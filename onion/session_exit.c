/* onion/session_exit.c - see session_exit.h.
 *
 * A circuit that ends here has a record (struct end) from on_end to on_end_gone. A session has a lease and up to
 * SESSION_PATHS_MOST bound ends; packets for the lease go to the one with the highest prio, then the newest BIND.
 */
#include "onion/session_exit.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "crypto/kdf.h"

#define REFUSED_PER_S 10
#define TICK_NSEC     NSEC_PER_SEC
#define BUCKETS       4096 /* of sessions by id, of ends by circuit */

struct exit_session;

/* One circuit that ends here. */
struct end {
	struct circuit *circuit;
	uint8_t h[32], res[32];
	uint32_t seq;      /* newest of the client's that was acted upon */
	unsigned auths;
	struct exit_session *session; /* NULL until GRANT or BOUND */
	uint32_t prio;
	uint64_t bound;    /* order of BINDs; the larger the newer */
	uint8_t answer[256]; /* the last GRANT, DENY or BOUND as plain, for a repeat of its question */
	size_t answer_bytes;
	uint32_t answer_seq; /* 0: none */
	LIST_ENTRY(end) all;
	TAILQ_ENTRY(end) of_session;
};

struct exit_session {
	struct session_data *data;
	uint8_t id[SESSION_ID_BYTES];
	uint8_t rs[32];
	bool has_token;
	uint8_t token_pk[32];
	struct msg_grant grant;
	uint64_t expires_unix; /* 0: never */
	nsec_t silent_since;   /* without a path; NSEC_NEVER: it has one */
	nsec_t last_auth;
	nsec_t refused_window;
	unsigned refused, paths;
	TAILQ_HEAD(, end) ends;
	LIST_ENTRY(exit_session) bucket;
	TAILQ_ENTRY(exit_session) all;
};

LIST_HEAD(end_list, end);

struct exit_sessions {
	struct exit_sessions_config config;
	struct end_list ends[BUCKETS];
	TAILQ_HEAD(, exit_session) sessions;
	LIST_HEAD(, exit_session) bucket[BUCKETS];
	uint32_t count;
	uint64_t binds;
	nsec_t next_tick;
};

struct exit_sessions *exit_sessions_new(const struct exit_sessions_config *c, nsec_t now)
{
	struct exit_sessions *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->config = *c;
	TAILQ_INIT(&s->sessions);
	s->next_tick = now + TICK_NSEC;
	return s;
}

static void count(struct exit_sessions *s, enum drop why)
{
	drops_add(s->config.env->drops, why);
}

/* --- which circuit carries a session's packets --- */

static void choose_active(struct exit_session *x)
{
	struct end *best = NULL, *e;

	TAILQ_FOREACH(e, &x->ends, of_session)
		if (!best || e->prio > best->prio || (e->prio == best->prio && e->bound > best->bound))
			best = e;
	atomic_store_explicit(&x->data->active, best ? best->circuit : NULL, memory_order_release);
}

static void unbind(struct exit_sessions *s, struct end *e, nsec_t now)
{
	struct exit_session *x = e->session;

	if (!x)
		return;
	TAILQ_REMOVE(&x->ends, e, of_session);
	x->paths--;
	e->session = NULL;
	atomic_store_explicit(&e->circuit->session, NULL, memory_order_release);
	choose_active(x);
	if (!x->paths)
		x->silent_since = now;
	circuits_end_granted(s->config.circuits, e->circuit, false);
}

static void bind_end(struct exit_sessions *s, struct end *e, struct exit_session *x, uint32_t prio)
{
	e->prio = prio;
	e->bound = ++s->binds;
	if (e->session != x) {
		TAILQ_INSERT_TAIL(&x->ends, e, of_session);
		x->paths++;
		e->session = x;
		circuits_end_granted(s->config.circuits, e->circuit, true);
		atomic_store_explicit(&e->circuit->session, x->data, memory_order_release);
	}
	x->silent_since = NSEC_NEVER;
	choose_active(x);
}

/* A fifth path takes the place of the one with the lowest prio, the oldest BIND first. */
static void make_room(struct exit_sessions *s, struct exit_session *x, nsec_t now)
{
	struct end *worst = NULL, *e;

	if (x->paths < SESSION_PATHS_MOST)
		return;
	TAILQ_FOREACH(e, &x->ends, of_session)
		if (!worst || e->prio < worst->prio || (e->prio == worst->prio && e->bound < worst->bound))
			worst = e;
	unbind(s, worst, now);
}

/* --- sessions --- */

static unsigned bucket_of(const uint8_t id[SESSION_ID_BYTES])
{
	return (id[0] | (unsigned)id[1] << 8) % BUCKETS;
}

static struct exit_session *find_session(struct exit_sessions *s, const uint8_t id[SESSION_ID_BYTES])
{
	struct exit_session *x;

	LIST_FOREACH(x, &s->bucket[bucket_of(id)], bucket)
		if (equal_ct(x->id, id, SESSION_ID_BYTES))
			return x;
	return NULL;
}

static void free_data(void *p)
{
	free(p);
}

static void end_session(struct exit_sessions *s, struct exit_session *x, nsec_t now)
{
	struct end *e;

	while ((e = TAILQ_FIRST(&x->ends)))
		unbind(s, e, now);
	s->config.ops.lease_drop(s->config.ops.arg, x->data);
	s->config.env->retire(s->config.env->arg, x->data, free_data);
	TAILQ_REMOVE(&s->sessions, x, all);
	LIST_REMOVE(x, bucket);
	s->count--;
	wipe(x, sizeof(*x));
	free(x);
}

/* The token's sessions, and the one among them that was silent longest. */
static unsigned sessions_of(struct exit_sessions *s, const struct msg_auth *a, struct exit_session **ret_oldest)
{
	struct exit_session *x;
	unsigned n = 0;
	nsec_t oldest = NSEC_NEVER;

	TAILQ_FOREACH(x, &s->sessions, all) {
		nsec_t heard = atomic_load_explicit(&x->data->last_rx, memory_order_relaxed);

		if (!x->has_token || memcmp(x->token_pk, a->token_pk, 32))
			continue;
		n++;
		if (heard < oldest) {
			oldest = heard;
			*ret_oldest = x;
		}
	}
	return n;
}

static void fill_grant(struct exit_sessions *s, struct exit_session *x, const struct msg_auth *a,
		       const struct token_verdict *v, unsigned slots, uint16_t full)
{
	struct msg_grant *g = &x->grant;
	uint64_t now = s->config.ops.unix_seconds(s->config.ops.arg);

	memcpy(g->session_id, x->id, SESSION_ID_BYTES);
	g->lease4 = x->data->lease4;
	g->lease6 = x->data->lease6;
	g->ndns = a->wants & WANT_DNS ? s->config.ndns : 0;
	memcpy(g->dns, s->config.dns, sizeof(g->dns));
	g->mtu = (uint16_t)inner_mtu(full, slots);
	g->up_kbps = v->up_kbps;
	g->down_kbps = v->down_kbps;
	g->quota_left = v->quota_left;
	g->idle_s = s->config.idle_s;
	g->expires_s = UINT32_MAX;
	if (v->expires_unix)
		g->expires_s = v->expires_unix > now ? (uint32_t)(v->expires_unix - now) : 0;
	g->max_paths = SESSION_PATHS_MOST;
	memcpy(g->policy_hash, s->config.policy_hash, 32);
	x->expires_unix = v->expires_unix;
}

static struct exit_session *new_session(struct exit_sessions *s, struct end *e, const struct msg_auth *a, nsec_t now)
{
	struct exit_session *x = calloc(1, sizeof(*x));
	struct session_data *d = calloc(1, sizeof(*d));

	if (!x || !d || s->config.ops.lease(s->config.ops.arg, d, a->wants)) {
		free(x);
		free(d);
		return NULL;
	}
	x->data = d;
	d->control = x;
	atomic_store_explicit(&d->last_rx, now, memory_order_relaxed);
	do
		rng_bytes(s->config.env->rng, x->id, sizeof(x->id));
	while (find_session(s, x->id));
	session_secret(e->res, x->id, x->rs);
	x->has_token = a->method == AUTH_TOKEN;
	memcpy(x->token_pk, a->token_pk, 32);
	TAILQ_INIT(&x->ends);
	TAILQ_INSERT_TAIL(&s->sessions, x, all);
	LIST_INSERT_HEAD(&s->bucket[bucket_of(x->id)], x, bucket);
	s->count++;
	return x;
}

/* --- answers --- */

static unsigned slots_of(const struct end *e)
{
	return e->circuit->forward.fill + 1u;
}

static void send_plain(struct exit_sessions *s, struct end *e, const uint8_t *plain, size_t n, uint16_t full,
		       enum padding how)
{
	const struct onion_env *env = s->config.env;
	uint8_t room[DATAGRAM_MAX];
	const struct addr *to;

	if (n > sizeof(room) - HEADER_BYTES)
		return;
	memcpy(room + HEADER_BYTES, plain, n);
	n = circuit_seal(env->dp, e->circuit, room, n, full, how);
	if (!n)
		return;
	to = atomic_load_explicit(&e->circuit->back_link->remote, memory_order_acquire);
	env->send(env->arg, to, room, n);
}

/* Keep the answer for a repeat of the question, and send it in a datagram of the question's size. */
static void answer(struct exit_sessions *s, struct end *e, uint8_t type, uint32_t seq, const uint8_t *body, size_t n,
		   uint16_t full)
{
	e->answer_bytes = session_write(e->answer, sizeof(e->answer), type, seq, body, n);
	e->answer_seq = seq;
	send_plain(s, e, e->answer, e->answer_bytes, full, PAD_FULL);
}

static void deny(struct exit_sessions *s, struct end *e, uint32_t seq, uint8_t reason, uint32_t retry_s, uint16_t full)
{
	struct msg_deny d = {.reason = reason, .retry_s = retry_s};
	uint8_t body[16];

	count(s, reason == DENY_FULL ? DROP_SESSION_FULL : DROP_SESSION_AUTH);
	answer(s, e, SESSION_DENY, seq, body, msg_deny_write(body, sizeof(body), &d), full);
}

static void send_grant(struct exit_sessions *s, struct end *e, const struct exit_session *x, uint8_t type, uint32_t seq,
		       uint16_t full)
{
	uint8_t body[256];
	size_t n = msg_grant_write(body, sizeof(body), &x->grant);

	answer(s, e, type, seq, body, n, full);
}

/* --- what the client says --- */

static void grant(struct exit_sessions *s, struct end *e, const struct msg_auth *a, const struct token_verdict *v,
		  uint32_t seq, uint16_t full, nsec_t now)
{
	uint32_t most = v->max_sessions ? v->max_sessions : SESSION_TOKEN_MOST;
	struct exit_session *oldest = NULL, *x;

	if (a->method == AUTH_TOKEN && sessions_of(s, a, &oldest) >= most && oldest)
		end_session(s, oldest, now);
	x = s->count < s->config.sessions_most ? new_session(s, e, a, now) : NULL;
	if (!x) {
		deny(s, e, seq, DENY_FULL, 60, full);
		return;
	}
	fill_grant(s, x, a, v, slots_of(e), full);
	if (e->session)
		unbind(s, e, now);
	atomic_store_explicit(&e->circuit->padding, a->padding, memory_order_relaxed);
	bind_end(s, e, x, 1);
	send_grant(s, e, x, SESSION_GRANT, seq, full);
}

static void on_auth(struct exit_sessions *s, struct end *e, const struct session_head *head, const uint8_t *body,
		    uint16_t full, nsec_t now)
{
	struct token_verdict v = {0};
	struct msg_auth a;
	bool signed_well;

	if (!msg_auth_parse(body, head->len, &a)) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	if (e->auths++ >= SESSION_AUTHS_MOST) {
		count(s, DROP_SESSION_AUTH);
		circuits_close_end(s->config.circuits, e->circuit, CLOSE_PROTOCOL, now);
		return;
	}
	/* The same work for every answer: the signature is checked and the account looked up in any case. */
	signed_well = a.method == AUTH_OPEN || msg_auth_verify(&a, s->config.id, e->h);
	s->config.ops.judge(s->config.ops.arg, a.method == AUTH_TOKEN ? a.token_pk : NULL, &v);
	if (!signed_well)
		v = (struct token_verdict){.deny = DENY_BAD_TOKEN};
	atomic_store_explicit(&e->circuit->full_dgram, full, memory_order_relaxed);
	if (v.deny)
		deny(s, e, head->seq, v.deny, v.retry_s, full);
	else
		grant(s, e, &a, &v, head->seq, full, now);
}

static void on_bind(struct exit_sessions *s, struct end *e, const struct session_head *head, const uint8_t *body,
		    uint16_t full, nsec_t now)
{
	struct msg_bound answer_msg = {0};
	uint8_t mac[32], out[16];
	struct exit_session *x;
	struct msg_bind b;

	if (!msg_bind_parse(body, head->len, &b)) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	x = find_session(s, b.session_id);
	if (x) {
		msg_bind_mac(x->rs, s->config.id, e->h, head->seq, b.prio, mac);
		if (!equal_ct(mac, b.mac, sizeof(mac))) {
			count(s, DROP_SESSION_BIND);
			return;
		}
		if (e->session && e->session != x)
			unbind(s, e, now);
		if (!e->session)
			make_room(s, x, now);
		bind_end(s, e, x, b.prio);
		atomic_store_explicit(&e->circuit->full_dgram, full, memory_order_relaxed);
	} else {
		answer_msg.status = 1;
		count(s, DROP_SESSION_BIND);
	}
	answer_msg.prio = b.prio;
	answer(s, e, SESSION_BOUND, head->seq, out, msg_bound_write(out, sizeof(out), &answer_msg), full);
}

static void on_ping(struct exit_sessions *s, struct end *e, const struct session_head *head, const uint8_t *body,
		    uint16_t datagram)
{
	uint8_t plain[SESSION_HEAD_BYTES + 8];
	size_t n;

	if (head->len != 8) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	n = session_write(plain, sizeof(plain), SESSION_PONG, head->seq, body, 8);
	send_plain(s, e, plain, n, datagram, PAD_FULL);
}

static void on_close(struct exit_sessions *s, struct end *e, nsec_t now)
{
	if (!e->session) {
		count(s, DROP_SESSION_STATE);
		return;
	}
	end_session(s, e->session, now);
}

/* seq counts up on each path. A repeat of the last question gets the last answer; what is older is dropped. */
static bool is_new(struct exit_sessions *s, struct end *e, const struct session_head *head, uint16_t full)
{
	if (head->seq > e->seq) {
		e->seq = head->seq;
		return true;
	}
	if (head->seq == e->answer_seq && head->seq)
		send_plain(s, e, e->answer, e->answer_bytes, full, PAD_FULL);
	else
		count(s, DROP_SESSION_SEQ);
	return false;
}

/* One table: what a client may say, and whether it needs a session. */
static void dispatch(struct exit_sessions *s, struct end *e, const struct session_head *head, const uint8_t *body,
		     uint16_t datagram, nsec_t now)
{
	uint16_t full = datagram_full_floor(datagram);

	switch (head->type) {
	case SESSION_AUTH:
		on_auth(s, e, head, body, full, now);
		break;
	case SESSION_BIND:
		on_bind(s, e, head, body, full, now);
		break;
	case SESSION_PING:
		on_ping(s, e, head, body, datagram);
		break;
	case SESSION_CLOSE:
		on_close(s, e, now);
		break;
	default:
		count(s, DROP_SESSION_FORMAT);
	}
}

static struct end_list *ends_of(struct exit_sessions *s, const struct circuit *c)
{
	return &s->ends[((uintptr_t)c >> 6) % BUCKETS];
}

static struct end *find_end(struct exit_sessions *s, const struct circuit *c)
{
	struct end *e;

	LIST_FOREACH(e, ends_of(s, c), all)
		if (e->circuit == c)
			return e;
	return NULL;
}

void exit_sessions_on_plain(struct exit_sessions *s, struct circuit *c, const uint8_t *plain, size_t n, size_t datagram,
			    nsec_t now)
{
	struct end *e = find_end(s, c);
	struct session_head head;
	const uint8_t *body;

	if (!e || datagram > DATAGRAM_MAX) {
		count(s, DROP_SESSION_STATE);
		return;
	}
	if (!session_head_parse(plain, n, &head, &body)) {
		count(s, DROP_SESSION_FORMAT);
		return;
	}
	if (is_new(s, e, &head, datagram_full_floor((uint16_t)datagram)))
		dispatch(s, e, &head, body, (uint16_t)datagram, now);
}

/* --- from circuits --- */

bool exit_sessions_on_end(struct exit_sessions *s, struct circuit *c, const uint8_t h[32], const uint8_t res[32],
			  nsec_t now)
{
	struct end *e = calloc(1, sizeof(*e));

	(void)now;
	if (!e) {
		count(s, DROP_NO_MEMORY);
		return false;
	}
	e->circuit = c;
	memcpy(e->h, h, 32);
	memcpy(e->res, res, 32);
	LIST_INSERT_HEAD(ends_of(s, c), e, all);
	return true;
}

void exit_sessions_on_end_gone(struct exit_sessions *s, struct circuit *c, nsec_t now)
{
	struct end *e = find_end(s, c);

	if (!e)
		return;
	unbind(s, e, now);
	LIST_REMOVE(e, all);
	wipe(e, sizeof(*e));
	free(e);
}

/* --- what the exit says by itself --- */

static void tell(struct exit_sessions *s, struct exit_session *x, uint8_t type, const uint8_t *body, size_t n)
{
	uint8_t plain[SESSION_HEAD_BYTES + 64];
	struct circuit *c = atomic_load_explicit(&x->data->active, memory_order_relaxed);
	struct end *e = c ? find_end(s, c) : NULL;

	if (!e)
		return;
	n = session_write(plain, sizeof(plain), type, 0, body, n);
	send_plain(s, e, plain, n, 0, PAD_BUCKET);
}

void exit_sessions_refuse(struct exit_sessions *s, struct circuit *c, const struct msg_refused *m, nsec_t now)
{
	struct end *e = find_end(s, c);
	uint8_t body[32];

	if (!e || !e->session)
		return;
	if (now - e->session->refused_window >= NSEC_PER_SEC) {
		e->session->refused_window = now;
		e->session->refused = 0;
	}
	if (e->session->refused++ < REFUSED_PER_S)
		tell(s, e->session, SESSION_REFUSED, body, msg_refused_write(body, sizeof(body), m));
}

static void close_session(struct exit_sessions *s, struct exit_session *x, uint8_t why, nsec_t now)
{
	tell(s, x, SESSION_CLOSE, &why, 1);
	end_session(s, x, now);
}

void exit_sessions_revoke(struct exit_sessions *s, const uint8_t token_pk[32], enum deny_reason why, nsec_t now)
{
	struct exit_session *x, *next;

	for (x = TAILQ_FIRST(&s->sessions); x; x = next) {
		next = TAILQ_NEXT(x, all);
		if (x->has_token && !memcmp(x->token_pk, token_pk, 32))
			close_session(s, x, (uint8_t)why, now);
	}
}

void exit_sessions_close_all(struct exit_sessions *s, nsec_t now)
{
	struct exit_session *x;

	/* No CLOSE: an exit that restarts is asked anew (BOUND says unknown), and the client keeps its wish. */
	while ((x = TAILQ_FIRST(&s->sessions)))
		end_session(s, x, now);
}

/* --- time --- */

static void sweep(struct exit_sessions *s, nsec_t now)
{
	uint64_t unix_s = s->config.ops.unix_seconds(s->config.ops.arg);
	struct exit_session *x, *next;

	for (x = TAILQ_FIRST(&s->sessions); x; x = next) {
		next = TAILQ_NEXT(x, all);
		if (x->expires_unix && x->expires_unix <= unix_s)
			close_session(s, x, DENY_EXPIRED, now);
		else if (x->silent_since != NSEC_NEVER &&
			 now - x->silent_since >= (nsec_t)s->config.idle_s * NSEC_PER_SEC)
			end_session(s, x, now);
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

void exit_sessions_free(struct exit_sessions *s)
{
	struct exit_session *x;
	struct end *e;

	if (!s)
		return;
	while ((x = TAILQ_FIRST(&s->sessions)))
		end_session(s, x, 0);
	for (unsigned i = 0; i < BUCKETS; i++) {
		while ((e = LIST_FIRST(&s->ends[i]))) {
			LIST_REMOVE(e, all);
			wipe(e, sizeof(*e));
			free(e);
		}
	}
	free(s);
}
