/* tests/unit/test_session_exit.c - the exit's sessions, asked by hand-made messages over real
 * layers: PROTOCOL.md section 7, the exit's side of every rule. */
#include "unit/session_world.h"
#include "base/bytes.h"
#include "crypto/kdf.h"

#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define FULL DATAGRAM_FULL_MOST

/* What the exit answered. */
struct reply {
	struct session_head head;
	uint8_t plain[DATAGRAM_MAX];
	const uint8_t *body;
	size_t datagram;
};

static void say(struct path *p, uint8_t type, uint32_t seq, const void *body, size_t n,
		size_t datagram)
{
	uint8_t plain[DATAGRAM_MAX];
	size_t used = session_write(plain, sizeof(plain), type, seq, body, n);
	exit_sessions_on_plain(p->w->exits, world_circuit(p), plain, used, datagram, p->w->now);
}

/* The next message that came back on p; false: none. */
static bool hear(struct path *p, struct reply *ret)
{
	struct flight f;
	if (!world_take(p->w, &f))
		return false;
	assert_ptr_equal(f.p, p);
	assert_false(f.forward);
	ret->datagram = f.d.n;
	size_t n = world_open(p->w, &f, ret->plain);
	assert_true(n > 0);
	assert_true(session_head_parse(ret->plain, n, &ret->head, &ret->body));
	return true;
}

static void hear_nothing(struct world *w)
{
	struct flight f;
	assert_false(world_take(w, &f));
}

static struct msg_auth auth_of(struct path *p, int token)
{
	struct world *w = p->w;
	struct msg_auth a = {.method = token < 0 ? AUTH_OPEN : AUTH_TOKEN,
			     .wants = WANT_V4 | WANT_V6 | WANT_DNS,
			     .padding = PAD_NONE};
	struct sign_keypair k;
	if (token < 0)
		return a;
	sign_keypair_from_seed(&k, w->token_seed[token]);
	assert_int_equal(msg_auth_sign(&a, &k, w->exit_config.id, p->h), 0);
	return a;
}

static void say_auth(struct path *p, const struct msg_auth *a, uint32_t seq, size_t datagram)
{
	uint8_t body[128];
	size_t n = msg_auth_write(body, sizeof(body), a);
	say(p, SESSION_AUTH, seq, body, n, datagram);
}

static void expect_deny(struct path *p, uint32_t seq, uint8_t reason, size_t datagram)
{
	struct reply r;
	struct msg_deny d;
	assert_true(hear(p, &r));
	assert_int_equal(r.head.type, SESSION_DENY);
	assert_int_equal(r.head.seq, seq);
	assert_int_equal(r.datagram, datagram);
	assert_true(msg_deny_parse(r.body, r.head.len, &d));
	assert_int_equal(d.reason, reason);
}

static struct msg_grant expect_grant(struct path *p, uint32_t seq, size_t datagram)
{
	struct reply r;
	struct msg_grant g;
	assert_true(hear(p, &r));
	assert_int_equal(r.head.type, SESSION_GRANT);
	assert_int_equal(r.head.seq, seq);
	assert_int_equal(r.datagram, datagram);
	assert_true(msg_grant_parse(r.body, r.head.len, &g));
	return g;
}

/* A new path with a session of this token. */
static struct path *granted(struct world *w, int token, struct msg_grant *ret)
{
	struct path *p = world_path(w);
	struct msg_auth a = auth_of(p, token);
	say_auth(p, &a, 1, FULL);
	*ret = expect_grant(p, 1, FULL);
	return p;
}

static void say_bind(struct path *p, const struct path *first, const struct msg_grant *g,
		     uint32_t seq, uint32_t prio, unsigned flip)
{
	struct msg_bind b = {.prio = prio};
	uint8_t rs[32], body[128];
	memcpy(b.session_id, g->session_id, SESSION_ID_BYTES);
	session_secret(first->res, g->session_id, rs);
	msg_bind_mac(rs, p->w->exit_config.id, p->h, seq, prio, b.mac);
	size_t n = msg_bind_write(body, sizeof(body), &b);
	if (flip)
		body[flip - 1] ^= 1;
	say(p, SESSION_BIND, seq, body, n, FULL);
}

static void expect_bound(struct path *p, uint32_t seq, uint8_t status, uint32_t prio)
{
	struct reply r;
	struct msg_bound b;
	assert_true(hear(p, &r));
	assert_int_equal(r.head.type, SESSION_BOUND);
	assert_int_equal(r.head.seq, seq);
	assert_int_equal(r.datagram, FULL);
	assert_true(msg_bound_parse(r.body, r.head.len, &b));
	assert_int_equal(b.status, status);
	assert_int_equal(b.prio, prio);
}

static struct path *bound(struct world *w, const struct path *first, const struct msg_grant *g,
			  uint32_t prio)
{
	struct path *p = world_path(w);
	say_bind(p, first, g, 1, prio, 0);
	expect_bound(p, 1, 0, prio);
	return p;
}

static const struct circuit *active_of(const struct path *p)
{
	const struct session_data *d = atomic_load(&world_circuit(p)->session);
	return d ? atomic_load(&d->active) : NULL;
}

/* --- AUTH --- */

static void session_exit_grants(void **state)
{
	(void)state;
	struct world *w = world_new(1);
	struct msg_grant g;
	w->verdict[0].expires_unix = WORLD_UNIX + 77;
	w->verdict[0].up_kbps = 11;
	w->verdict[0].down_kbps = 22;
	w->verdict[0].quota_left = 33;
	struct path *p = granted(w, 0, &g);
	assert_int_equal(g.lease4.family, 4);
	assert_int_equal(g.lease6.family, 6);
	assert_int_equal(g.ndns, 1);
	assert_true(addr_equal(&g.dns[0], &w->exit_config.dns[0]));
	assert_int_equal(g.mtu, 1371); /* PROTOCOL.md section 6 */
	assert_int_equal(g.up_kbps, 11);
	assert_int_equal(g.down_kbps, 22);
	assert_int_equal(g.quota_left, 33);
	assert_int_equal(g.expires_s, 77);
	assert_int_equal(g.idle_s, SESSION_IDLE_SECONDS);
	assert_int_equal(g.max_paths, SESSION_PATHS_MOST);
	assert_true(p->granted);
	assert_int_equal(exit_sessions_count(w->exits), 1);
	assert_ptr_equal(active_of(p), world_circuit(p));
	assert_int_equal(atomic_load(&world_circuit(p)->padding), PAD_NONE);
	const struct session_data *d = atomic_load(&world_circuit(p)->session);
	assert_true(addr_equal(&d->lease4, &g.lease4) && addr_equal(&d->lease6, &g.lease6));
	world_free(w);
}

/* PROTOCOL.md section 6: below 1,280 bytes there is no IPv6. */
static void session_exit_offers_a_narrow_path_no_ipv6(void **state)
{
	static const struct {
		unsigned datagram, mtu, family6;
	} rows[] = {{1440, 1371, 6}, {1380, 1311, 6}, {1320, 1251, 0}, {1240, 1171, 0}};
	(void)state;
	struct world *w = world_new(1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct path *p = world_path(w);
		struct msg_auth a = auth_of(p, 0);
		say_auth(p, &a, 1, rows[i].datagram);
		struct msg_grant g = expect_grant(p, 1, rows[i].datagram);
		const struct session_data *d = atomic_load(&world_circuit(p)->session);
		assert_int_equal(g.mtu, rows[i].mtu);
		assert_int_equal(g.lease4.family, 4);
		assert_int_equal(g.lease6.family, rows[i].family6);
		assert_int_equal(d->lease6.family, rows[i].family6);
	}
	world_free(w);
}

static void session_exit_says_when_a_token_never_ends(void **state)
{
	(void)state;
	struct world *w = world_new(1);
	struct msg_grant g;
	granted(w, 0, &g);
	assert_int_equal(g.expires_s, UINT32_MAX);
	w->verdict[1].expires_unix = WORLD_UNIX + UINT64_C(0x100000007);
	granted(w, 1, &g);
	assert_int_equal(g.expires_s, UINT32_MAX - 1);
	world_free(w);
}

/* Every answer has the size of its question, and every size is asked at both ends. */
static void session_exit_answers_are_equal_in_size_and_work(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DATAGRAM_FULL_COUNT; i++) {
		struct world *w = world_new(2);
		size_t full = datagram_full_sizes[i];
		for (int token = -1; token < WORLD_TOKENS; token++) {
			struct path *p = world_path(w);
			struct msg_auth a = auth_of(p, token);
			unsigned judged = w->judged;
			say_auth(p, &a, 5, full + (i == 3 ? 12 : 7)); /* rounded down */
			struct reply r;
			assert_true(hear(p, &r));
			assert_int_equal(r.datagram, full);
			assert_int_equal(r.head.type,
					 token == 0 || token == 1 ? SESSION_GRANT : SESSION_DENY);
			assert_int_equal(w->judged, judged + 1);
			assert_int_equal(atomic_load(&world_circuit(p)->full_dgram), full);
		}
		world_free(w);
	}
}

static void session_exit_never_answers_longer_than_asked(void **state)
{
	(void)state;
	struct world *w = world_new(2);
	struct path *p = world_path(w);
	struct msg_auth a = auth_of(p, 0);
	say_auth(p, &a, 1, DATAGRAM_FULL_LEAST - 1);
	hear_nothing(w);
	assert_int_equal(w->judged, 0);
	assert_int_equal(world_dropped(w, DROP_SESSION_FORMAT), 1);
	say_auth(p, &a, 1, DATAGRAM_MAX + 1);
	hear_nothing(w);
	say_auth(p, &a, 1, FULL);
	expect_grant(p, 1, FULL);
	/* neither a small repeat nor a PING with the question's seq gets the large answer */
	say_auth(p, &a, 1, 300);
	hear_nothing(w);
	struct reply r;
	say(p, SESSION_PING, 1, "12345678", 8, 196);
	assert_true(hear(p, &r));
	assert_int_equal(r.head.type, SESSION_PONG);
	assert_int_equal(r.datagram, 196);
	hear_nothing(w);
	world_free(w);
}

static void session_exit_denies(void **state)
{
	(void)state;
	struct world *w = world_new(3);
	struct path *p = world_path(w), *q = world_path(w);
	struct msg_auth a = auth_of(p, 2);
	say_auth(p, &a, 1, FULL);
	expect_deny(p, 1, DENY_EXPIRED, FULL);
	a = auth_of(p, 3);
	say_auth(p, &a, 2, FULL);
	expect_deny(p, 2, DENY_BAD_TOKEN, FULL);
	/* a proof for another path, or changed in any part, is none */
	a = auth_of(p, 0);
	say_auth(q, &a, 1, FULL);
	expect_deny(q, 1, DENY_BAD_TOKEN, FULL);
	a = auth_of(q, 0);
	a.wants ^= WANT_V6;
	say_auth(q, &a, 2, FULL);
	expect_deny(q, 2, DENY_BAD_TOKEN, FULL);
	assert_int_equal(exit_sessions_count(w->exits), 0);
	assert_int_equal(world_dropped(w, DROP_SESSION_AUTH), 4);
	assert_false(p->granted);
	a = auth_of(p, 0);
	say_auth(p, &a, 3, FULL);
	expect_grant(p, 3, FULL);
	world_free(w);
}

static void session_exit_closes_after_three_auths(void **state)
{
	(void)state;
	struct world *w = world_new(4);
	struct path *p = world_path(w), *q;
	struct msg_grant g;
	struct msg_auth a = auth_of(p, 3);
	for (uint32_t seq = 1; seq <= SESSION_AUTHS_MOST; seq++) {
		assert_true(p->at_exit);
		say_auth(p, &a, seq, FULL);
		expect_deny(p, seq, DENY_BAD_TOKEN, FULL);
	}
	assert_false(p->at_exit);
	assert_int_equal(w->closed_ends, 1);
	say_auth(p, &a, 4, FULL); /* on its way when it was closed */
	hear_nothing(w);
	/* with a session the third is fine, the fourth too many */
	q = granted(w, 0, &g);
	for (uint32_t seq = 2; seq <= 4; seq++) {
		a = auth_of(q, 0);
		say_auth(q, &a, seq, FULL);
		if (seq <= SESSION_AUTHS_MOST)
			expect_grant(q, seq, FULL);
	}
	hear_nothing(w);
	assert_false(q->at_exit);
	assert_int_equal(w->closed_ends, 2);
	world_free(w);
}

static void session_exit_closes_what_never_asks(void **state)
{
	(void)state;
	struct world *w = world_new(4);
	struct path *p = world_path(w);
	world_run(w, 9 * NSEC_PER_SEC);
	assert_true(p->at_exit);
	world_run(w, 2 * NSEC_PER_SEC);
	assert_false(p->at_exit);
	world_free(w);
}

static void session_exit_repeats_the_same_answer(void **state)
{
	(void)state;
	struct world *w = world_new(5);
	struct path *p = world_path(w);
	struct msg_auth a = auth_of(p, 0);
	say_auth(p, &a, 7, FULL);
	struct msg_grant first = expect_grant(p, 7, FULL), again;
	static const uint16_t sizes[] = {1380, 1320, 1240, 1240};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		say_auth(p, &a, 7, sizes[i]);
		again = expect_grant(p, 7, sizes[i]);
		assert_memory_equal(first.session_id, again.session_id, SESSION_ID_BYTES);
		assert_int_equal(atomic_load(&world_circuit(p)->full_dgram), sizes[i]);
	}
	say_auth(p, &a, 7, FULL); /* the first, late: what smaller ones told stands */
	expect_grant(p, 7, FULL);
	assert_int_equal(atomic_load(&world_circuit(p)->full_dgram), 1240);
	assert_int_equal(w->judged, 1);
	assert_int_equal(w->leases, 1);
	say_auth(p, &a, 6, FULL);
	hear_nothing(w);
	say_bind(p, p, &first, 7, 3, 0); /* another type with the same seq is no repeat */
	hear_nothing(w);
	assert_int_equal(world_dropped(w, DROP_SESSION_SEQ), 2);
	/* a DENY is repeated too */
	struct path *q = world_path(w);
	a = auth_of(q, 3);
	for (unsigned i = 0; i < 9; i++) {
		say_auth(q, &a, 1, FULL);
		expect_deny(q, 1, DENY_BAD_TOKEN, FULL);
	}
	assert_true(q->at_exit);
	world_free(w);
}

static void session_exit_replaces_the_one_silent_longest(void **state)
{
	(void)state;
	struct world *w = world_new(6);
	struct msg_grant g[6], other;
	struct path *p[6];
	w->verdict[0].max_sessions = 3;
	struct path *q = granted(w, 1, &other);
	for (unsigned i = 0; i < 3; i++) {
		w->now += NSEC_PER_SEC;
		p[i] = granted(w, 0, &g[i]);
	}
	struct session_data *d = atomic_load(&world_circuit(p[0])->session);
	w->now += NSEC_PER_SEC;
	atomic_store(&d->last_rx, w->now); /* a packet came on the oldest */
	assert_int_equal(exit_sessions_count(w->exits), 4);
	struct path *fourth = world_path(w);
	struct msg_auth a = auth_of(fourth, 0);
	say_auth(fourth, &a, 1, FULL);
	struct reply r;
	assert_true(hear(p[1], &r)); /* the one that goes is told */
	assert_int_equal(r.head.type, SESSION_CLOSE);
	assert_int_equal(r.head.len, 1);
	assert_int_equal(r.body[0], DENY_IN_USE);
	expect_grant(fourth, 1, FULL);
	assert_int_equal(exit_sessions_count(w->exits), 4);
	assert_int_equal(w->leases, 4);
	assert_null(atomic_load(&world_circuit(p[1])->session));
	assert_false(p[1]->granted);
	assert_non_null(atomic_load(&world_circuit(p[0])->session));
	assert_non_null(atomic_load(&world_circuit(q)->session));
	/* fewer are allowed now: all that are too many go */
	w->verdict[0].max_sessions = 1;
	p[5] = world_path(w);
	a = auth_of(p[5], 0);
	say_auth(p[5], &a, 1, FULL);
	struct flight f;
	while (world_take(w, &f))
		;
	assert_int_equal(exit_sessions_count(w->exits), 2);
	world_free(w);
}

static void session_exit_ends_a_session_that_is_asked_for_anew(void **state)
{
	(void)state;
	struct world *w = world_new(6);
	struct msg_grant g, again;
	struct path *p = granted(w, 0, &g);
	struct msg_auth a = auth_of(p, 0);
	say_auth(p, &a, 2, FULL);
	again = expect_grant(p, 2, FULL);
	assert_memory_not_equal(g.session_id, again.session_id, SESSION_ID_BYTES);
	assert_int_equal(exit_sessions_count(w->exits), 1);
	assert_true(p->granted);
	struct path *q = bound(w, p, &again, 0); /* it has another path: it stays */
	say_auth(p, &a, 3, FULL);
	expect_grant(p, 3, FULL);
	assert_int_equal(exit_sessions_count(w->exits), 2);
	assert_ptr_equal(active_of(q), world_circuit(q));
	world_free(w);
}

static void session_exit_has_four_sessions_a_token(void **state)
{
	(void)state;
	struct world *w = world_new(6);
	struct msg_grant g;
	for (unsigned i = 0; i < SESSION_TOKEN_MOST; i++)
		granted(w, 0, &g);
	struct path *p = world_path(w);
	struct msg_auth a = auth_of(p, 0);
	say_auth(p, &a, 1, FULL);
	world_deliver(w);
	assert_int_equal(exit_sessions_count(w->exits), SESSION_TOKEN_MOST);
	world_free(w);
}

static void session_exit_is_full(void **state)
{
	(void)state;
	struct world *w = world_new(7);
	struct msg_grant g;
	w->open_verdict = (struct token_verdict){.quota_left = UINT64_MAX};
	struct path *first = NULL, *p;
	for (unsigned i = 0; i < w->exit_config.sessions_most; i++) {
		p = granted(w, -1, &g);
		first = first ? first : p;
	}
	p = world_path(w);
	struct msg_auth a = auth_of(p, -1);
	say_auth(p, &a, 1, FULL);
	expect_deny(p, 1, DENY_FULL, FULL);
	assert_int_equal(world_dropped(w, DROP_SESSION_FULL), 1);
	/* one that no path carries gives way */
	world_path_gone(first);
	say_auth(p, &a, 2, FULL);
	expect_grant(p, 2, FULL);
	assert_int_equal(exit_sessions_count(w->exits), w->exit_config.sessions_most);
	/* one circuit never holds two, full or not */
	a = auth_of(p, -1);
	say_auth(p, &a, 3, FULL);
	expect_grant(p, 3, FULL);
	assert_int_equal(exit_sessions_count(w->exits), w->exit_config.sessions_most);
	world_free(w);
	/* no lease is the same */
	w = world_new(7);
	w->leases_most = 0;
	p = world_path(w);
	a = auth_of(p, 0);
	say_auth(p, &a, 1, FULL);
	expect_deny(p, 1, DENY_FULL, FULL);
	assert_int_equal(exit_sessions_count(w->exits), 0);
	world_free(w);
}

/* --- BIND --- */

static void session_exit_binds(void **state)
{
	(void)state;
	struct world *w = world_new(8);
	struct msg_grant g;
	struct path *p = granted(w, 0, &g), *q = bound(w, p, &g, 0);
	assert_true(q->granted);
	assert_int_equal(atomic_load(&world_circuit(q)->padding), PAD_NONE); /* as AUTH asked */
	assert_ptr_equal(atomic_load(&world_circuit(p)->session),
			 atomic_load(&world_circuit(q)->session));
	assert_ptr_equal(active_of(p), world_circuit(p)); /* AUTH counts as 1 */
	say_bind(q, p, &g, 2, 2, 0);
	expect_bound(q, 2, 0, 2);
	assert_ptr_equal(active_of(p), world_circuit(q));
	say_bind(p, p, &g, 2, 2, 0); /* equal prio: the newest */
	expect_bound(p, 2, 0, 2);
	assert_ptr_equal(active_of(p), world_circuit(p));
	say_bind(q, p, &g, 2, 2, 0); /* a repeat is not newer */
	expect_bound(q, 2, 0, 2);
	assert_ptr_equal(active_of(p), world_circuit(p));
	say_bind(q, p, &g, 1, 9, 0); /* old */
	hear_nothing(w);
	assert_ptr_equal(active_of(p), world_circuit(p));
	world_path_gone(p);
	assert_ptr_equal(active_of(q), world_circuit(q));
	assert_int_equal(exit_sessions_count(w->exits), 1);
	world_free(w);
}

static void session_exit_refuses_forged_binds(void **state)
{
	(void)state;
	struct world *w = world_new(9);
	struct msg_grant g, other;
	struct path *p = granted(w, 0, &g), *thief = granted(w, 1, &other), *q = world_path(w);
	for (unsigned flip = SESSION_ID_BYTES + 1; flip <= SESSION_ID_BYTES + 4 + 32; flip++)
		say_bind(q, p, &g, 9, 5, flip);
	hear_nothing(w);
	say_bind(thief, thief, &g, 9, 5, 0); /* his own res and the other's session */
	hear_nothing(w);
	assert_int_equal(world_dropped(w, DROP_SESSION_BIND), 36 + 1);
	assert_null(atomic_load(&world_circuit(q)->session));
	assert_ptr_equal(active_of(thief), world_circuit(thief));
	/* what does not verify moves no seq */
	say_bind(q, p, &g, 1, 5, 0);
	expect_bound(q, 1, 0, 5);
	world_free(w);
}

static void session_exit_does_not_know_a_session(void **state)
{
	(void)state;
	struct world *w = world_new(10);
	struct msg_grant g;
	struct path *p = granted(w, 0, &g), *q = world_path(w);
	for (unsigned flip = 1; flip <= SESSION_ID_BYTES; flip++) {
		say_bind(q, p, &g, flip, 5, flip);
		expect_bound(q, flip, 1, 5);
	}
	assert_false(q->granted);
	struct msg_auth a = auth_of(q, 0);
	say_auth(q, &a, 17, FULL);
	expect_grant(q, 17, FULL);
	/* a bound path may go over to another session of the client's */
	say_bind(q, p, &g, 18, 4, 0);
	expect_bound(q, 18, 0, 4);
	assert_ptr_equal(active_of(p), world_circuit(q));
	assert_true(q->granted);
	world_free(w);
}

static void session_exit_takes_four_paths(void **state)
{
	(void)state;
	struct world *w = world_new(11);
	struct msg_grant g;
	struct path *p[7];
	p[0] = granted(w, 0, &g); /* 1 */
	p[1] = bound(w, p[0], &g, 0);
	p[2] = bound(w, p[0], &g, 0);
	p[3] = bound(w, p[0], &g, 7);
	for (unsigned i = 0; i < 4; i++)
		assert_true(p[i]->granted);
	p[4] = bound(w, p[0], &g, 0); /* the oldest of the lowest goes */
	assert_false(p[1]->granted);
	assert_null(atomic_load(&world_circuit(p[1])->session));
	p[5] = bound(w, p[0], &g, 2);
	assert_false(p[2]->granted);
	assert_true(p[0]->granted && p[3]->granted && p[4]->granted && p[5]->granted);
	say_bind(p[0], p[0], &g, 2, 8, 0); /* one of the four again */
	expect_bound(p[0], 2, 0, 8);
	assert_true(p[3]->granted && p[4]->granted && p[5]->granted);
	assert_ptr_equal(active_of(p[3]), world_circuit(p[0]));
	world_run(w, 11 * NSEC_PER_SEC);
	assert_false(p[1]->at_exit || p[2]->at_exit);
	world_free(w);
}

/* --- PING, CLOSE, REFUSED, ends --- */

static void session_exit_pongs_in_the_same_size(void **state)
{
	(void)state;
	struct world *w = world_new(12);
	struct path *p = world_path(w);
	struct reply r;
	for (size_t n = DATAGRAM_MIN; n <= FULL; n += n < 1400 ? 61 : 1) {
		say(p, SESSION_PING, (uint32_t)n, "abcdefgh", 8, n);
		assert_true(hear(p, &r));
		assert_int_equal(r.datagram, n);
		assert_int_equal(r.head.type, SESSION_PONG);
		assert_int_equal(r.head.seq, n);
		assert_int_equal(r.head.len, 8);
		assert_memory_equal(r.body, "abcdefgh", 8);
	}
	say(p, SESSION_PING, 1, "abcdefgh", 8, 200); /* seq does not matter */
	assert_true(hear(p, &r));
	for (size_t n = 0; n < 12; n++)
		if (n != 8)
			say(p, SESSION_PING, 5000, "abcdefghijkl", n, 200);
	hear_nothing(w);
	/* and moves none: a question that a PING overtook is still new */
	struct msg_auth a = auth_of(p, 0);
	say_auth(p, &a, 1, FULL);
	expect_grant(p, 1, FULL);
	world_free(w);
}

static void session_exit_ends_what_the_client_closes(void **state)
{
	(void)state;
	struct world *w = world_new(13);
	struct msg_grant g;
	struct path *p = granted(w, 0, &g), *q = bound(w, p, &g, 0), *r = world_path(w);
	const uint8_t why[2] = {CLOSE_DONE, 0};
	say(r, SESSION_CLOSE, 1, why, 1, 200);
	say(q, SESSION_CLOSE, 2, why, 2, 200);
	say(q, SESSION_CLOSE, 2, why, 0, 200);
	say(q, SESSION_CLOSE, 1, why, 1, 200); /* old */
	assert_int_equal(exit_sessions_count(w->exits), 1);
	say(q, SESSION_CLOSE, 2, why, 1, 200);
	assert_int_equal(exit_sessions_count(w->exits), 0);
	assert_int_equal(w->leases, 0);
	assert_false(p->granted || q->granted);
	say_bind(p, p, &g, 2, 3, 0);
	expect_bound(p, 2, 1, 3);
	world_run(w, 11 * NSEC_PER_SEC);
	assert_false(p->at_exit || q->at_exit);
	world_free(w);
}

static void session_exit_says_refused_ten_times_a_second(void **state)
{
	(void)state;
	struct world *w = world_new(14);
	struct msg_grant g;
	struct path *p = granted(w, 0, &g), *q = bound(w, p, &g, 0), *r = world_path(w);
	const struct msg_refused m = {.protocol = 6,
				      .addr = {.family = 4, .ip = {192, 0, 2, 9}, .port = 25}};
	unsigned heard = 0;
	for (unsigned i = 0; i < 40; i++, w->now += 100 * NSEC_PER_MSEC) {
		for (unsigned k = 0; k < 5; k++)
			exit_sessions_refuse(w->exits, world_circuit(q), &m, w->now);
		struct reply a;
		for (; hear(p, &a); heard++) { /* on the path that carries the session */
			struct msg_refused got;
			assert_int_equal(a.head.type, SESSION_REFUSED);
			assert_int_equal(a.head.seq, 0);
			assert_true(msg_refused_parse(a.body, a.head.len, &got));
			assert_true(addr_equal(&got.addr, &m.addr) && got.protocol == 6);
		}
	}
	assert_int_equal(heard, 4 * 10);
	exit_sessions_refuse(w->exits, world_circuit(r), &m, w->now);
	hear_nothing(w);
	world_free(w);
}

static void session_exit_revokes(void **state)
{
	(void)state;
	struct world *w = world_new(15);
	struct msg_grant g, other;
	struct path *p[3];
	for (unsigned i = 0; i < 3; i++)
		p[i] = granted(w, 0, &g);
	struct path *q = granted(w, 1, &other);
	exit_sessions_revoke(w->exits, w->token_pk[0], DENY_BAD_TOKEN, w->now);
	for (unsigned i = 0, closed = 0; i < 3; i++) {
		struct flight f;
		uint8_t plain[DATAGRAM_MAX];
		assert_true(world_take(w, &f));
		size_t n = world_open(w, &f, plain);
		assert_true(n > 9 && plain[1] == SESSION_CLOSE && plain[8] == DENY_BAD_TOKEN);
		closed |= 1u << (f.p == p[1] ? 1 : f.p == p[2] ? 2 : 0);
		assert_true(i < 2 || closed == 7);
	}
	hear_nothing(w);
	assert_int_equal(exit_sessions_count(w->exits), 1);
	assert_true(q->granted && !p[0]->granted && !p[1]->granted && !p[2]->granted);
	world_free(w);
}

static void session_exit_ends_what_expires(void **state)
{
	(void)state;
	struct world *w = world_new(16);
	struct msg_grant g;
	w->verdict[0].expires_unix = WORLD_UNIX + 20;
	struct path *p = granted(w, 0, &g);
	world_run(w, 18 * NSEC_PER_SEC);
	assert_int_equal(exit_sessions_count(w->exits), 1);
	world_run(w, 3 * NSEC_PER_SEC);
	assert_int_equal(exit_sessions_count(w->exits), 0);
	assert_false(p->granted);
	assert_int_equal(w->sent_backward, 2); /* GRANT, CLOSE */
	world_free(w);
}

static void session_exit_ends_what_is_idle(void **state)
{
	(void)state;
	struct world *w = world_new(17);
	struct msg_grant g;
	assert_true(exit_sessions_next_deadline(w->exits) == NSEC_NEVER);
	struct path *p = granted(w, 0, &g);
	world_run(w, 2 * SESSION_IDLE_SECONDS *
			     NSEC_PER_SEC); /* with a path it may be as idle as it likes */
	assert_int_equal(exit_sessions_count(w->exits), 1);
	world_path_gone(p);
	world_run(w, (SESSION_IDLE_SECONDS - 2) * NSEC_PER_SEC);
	struct path *q = bound(w, p, &g, 0);
	world_run(w, SESSION_IDLE_SECONDS * NSEC_PER_SEC);
	assert_int_equal(exit_sessions_count(w->exits), 1);
	world_path_gone(q);
	world_run(w, (SESSION_IDLE_SECONDS + 2) * NSEC_PER_SEC);
	assert_int_equal(exit_sessions_count(w->exits), 0);
	assert_int_equal(w->leases, 0);
	assert_true(exit_sessions_next_deadline(w->exits) == NSEC_NEVER);
	world_free(w);
}

/* A message that is right, then a few bytes of it changed, cut or made longer. */
static size_t hostile_plain(struct world *w, struct path *p, const struct path *first,
			    const struct msg_grant *g, uint8_t plain[256])
{
	uint8_t body[128] = {0};
	struct msg_auth a = auth_of(p, (int)rng_below(&w->rng, WORLD_TOKENS + 1) - 1);
	struct msg_bind b = {.prio = (uint32_t)rng_below(&w->rng, 5)};
	uint8_t rs[32];
	uint32_t seq = (uint32_t)rng_below(&w->rng, 40);
	uint8_t type = (uint8_t)(SESSION_AUTH + rng_below(&w->rng, 11));
	size_t n = rng_below(&w->rng, 20);
	memcpy(b.session_id, g->session_id, SESSION_ID_BYTES);
	session_secret(first->res, g->session_id, rs);
	msg_bind_mac(rs, w->exit_config.id, p->h, seq, b.prio, b.mac);
	if (type == SESSION_AUTH)
		n = msg_auth_write(body, sizeof(body), &a);
	if (type == SESSION_BIND)
		n = msg_bind_write(body, sizeof(body), &b);
	size_t used = session_write(plain, 256, type, seq, body, n);
	for (uint64_t k = rng_below(&w->rng, 3); k > 0; k--)
		plain[rng_below(&w->rng, used)] ^= (uint8_t)(1u << rng_below(&w->rng, 8));
	return rng_below(&w->rng, 4) ? used : rng_below(&w->rng, used + 1);
}

/* Anything at all, in every state, with mutated copies of what is right: nothing but drops, and the
 * books are right. */
static void session_exit_survives_hostile_bytes(void **state)
{
	(void)state;
	struct world *w = world_new(18);
	struct path *p[6];
	struct msg_grant g;
	for (unsigned round = 0; round < 4000; round++) {
		unsigned i = (unsigned)rng_below(&w->rng, 6);
		if (round < 6 || !p[i]->at_exit) {
			i = round < 6 ? round : i;
			if (w->paths == WORLD_PATHS)
				break;
			p[i] = i % 2 ? granted(w, 0, &g) : world_path(w);
		}
		uint8_t plain[256];
		size_t n = hostile_plain(w, p[i], round > 1 ? p[1] : p[i], &g, plain);
		size_t datagram = rng_below(&w->rng, 4) ? FULL : rng_below(&w->rng, 1600);
		exit_sessions_on_plain(w->exits, world_circuit(p[i]), plain, n, datagram, w->now);
		struct flight f;
		while (world_take(w, &f))
			assert_true(f.d.n <= datagram);
		w->now += (nsec_t)rng_below(&w->rng, 100 * NSEC_PER_MSEC);
		exit_sessions_on_timer(w->exits, w->now);
		assert_int_equal(exit_sessions_count(w->exits), w->leases);
	}
	assert_true(world_dropped(w, DROP_SESSION_FORMAT) > 50);
	assert_true(world_dropped(w, DROP_SESSION_SEQ) > 5);
	world_free(w);
}

static void session_exit_closes_all(void **state)
{
	(void)state;
	struct world *w = world_new(19);
	struct msg_grant g;
	struct path *p = granted(w, 0, &g);
	bound(w, p, &g, 0);
	granted(w, 1, &g);
	exit_sessions_close_all(w->exits, w->now);
	hear_nothing(w);
	assert_int_equal(exit_sessions_count(w->exits), 0);
	assert_int_equal(w->leases, 0);
	granted(w, 1, &g);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(session_exit_grants),
		cmocka_unit_test(session_exit_offers_a_narrow_path_no_ipv6),
		cmocka_unit_test(session_exit_says_when_a_token_never_ends),
		cmocka_unit_test(session_exit_answers_are_equal_in_size_and_work),
		cmocka_unit_test(session_exit_never_answers_longer_than_asked),
		cmocka_unit_test(session_exit_denies),
		cmocka_unit_test(session_exit_closes_after_three_auths),
		cmocka_unit_test(session_exit_closes_what_never_asks),
		cmocka_unit_test(session_exit_repeats_the_same_answer),
		cmocka_unit_test(session_exit_replaces_the_one_silent_longest),
		cmocka_unit_test(session_exit_ends_a_session_that_is_asked_for_anew),
		cmocka_unit_test(session_exit_has_four_sessions_a_token),
		cmocka_unit_test(session_exit_is_full),
		cmocka_unit_test(session_exit_binds),
		cmocka_unit_test(session_exit_refuses_forged_binds),
		cmocka_unit_test(session_exit_does_not_know_a_session),
		cmocka_unit_test(session_exit_takes_four_paths),
		cmocka_unit_test(session_exit_pongs_in_the_same_size),
		cmocka_unit_test(session_exit_ends_what_the_client_closes),
		cmocka_unit_test(session_exit_says_refused_ten_times_a_second),
		cmocka_unit_test(session_exit_revokes),
		cmocka_unit_test(session_exit_ends_what_expires),
		cmocka_unit_test(session_exit_ends_what_is_idle),
		cmocka_unit_test(session_exit_survives_hostile_bytes),
		cmocka_unit_test(session_exit_closes_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
