/* tests/unit/test_session_client.c - the client's half of a session: against the real exit over bad
 * wires, and against an exit that says whatever it likes. */
#include "unit/session_world.h"
#include "base/bytes.h"
#include "crypto/kdf.h"

#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define FULL DATAGRAM_FULL_MOST

/* What the exit would say, said at once. */
static void exit_says(struct world *w, struct path *p, uint8_t type, uint32_t seq, const void *body,
		      size_t n, size_t datagram)
{
	uint8_t plain[DATAGRAM_MAX];
	size_t used = session_write(plain, sizeof(plain), type, seq, body, n);
	session_client_on_plain(w->client, p, plain, used, datagram, w->now);
}

static struct msg_grant some_grant(void)
{
	return (struct msg_grant){.session_id = {7},
				  .lease4 = {.family = 4, .ip = {10, 1, 2, 3}},
				  .mtu = 1371,
				  .max_paths = 4};
}

static void exit_grants(struct world *w, struct path *p, uint32_t seq, uint8_t type,
			const struct msg_grant *g)
{
	uint8_t body[256];
	exit_says(w, p, type, seq, body, msg_grant_write(body, sizeof(body), g), FULL);
}

static uint16_t full_of(const struct path *p)
{
	return atomic_load(&p->chain->path.full_dgram);
}

/* The next datagram that the client sent, opened. */
static struct session_head sent(struct world *w, uint8_t body[DATAGRAM_MAX], size_t *ret_datagram)
{
	struct flight f;
	uint8_t plain[DATAGRAM_MAX];
	struct session_head h;
	const uint8_t *at;
	assert_true(world_take(w, &f));
	assert_true(f.forward);
	*ret_datagram = f.d.n;
	size_t n = world_open(w, &f, plain);
	assert_true(session_head_parse(plain, n, &h, &at));
	memcpy(body, at, h.len);
	return h;
}

/* --- with the real exit --- */

static void session_client_is_granted(void **state)
{
	(void)state;
	struct world *w = world_new(1);
	world_client(w, 0);
	struct path *p = world_path(w), *q;
	assert_false(session_client_granted(w->client));
	assert_null(session_client_grant(w->client));
	session_client_join(w->client, p, 1, w->now);
	world_run(w, 2 * w->delay);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->bounds, 1);
	assert_ptr_equal(w->last_path, p);
	assert_true(session_client_granted(w->client));
	assert_memory_equal(session_client_grant(w->client)->session_id, w->grant.session_id,
			    SESSION_ID_BYTES);
	assert_int_equal(w->grant.lease4.family, 4);
	assert_int_equal(atomic_load(&world_circuit(p)->padding), PAD_FULL);
	assert_true(session_client_next_deadline(w->client) == NSEC_NEVER);
	q = world_path(w);
	session_client_join(w->client, q, 4, w->now);
	world_run(w, 2 * w->delay);
	assert_int_equal(w->bounds, 2);
	assert_ptr_equal(w->last_path, q);
	assert_int_equal(w->bound_prio, 4);
	assert_int_equal(w->grants, 1);
	const struct session_data *d = atomic_load(&world_circuit(p)->session);
	assert_ptr_equal(atomic_load(&d->active), world_circuit(q));
	session_client_close(w->client, q, w->now);
	world_run(w, w->delay);
	assert_int_equal(exit_sessions_count(w->exits), 0);
	world_free(w);
}

static void session_client_hears_why_not(void **state)
{
	(void)state;
	static const uint8_t why[] = {[2] = DENY_EXPIRED, [3] = DENY_BAD_TOKEN};
	for (int token = 2; token <= 3; token++) {
		struct world *w = world_new(2);
		world_client(w, token);
		session_client_join(w->client, world_path(w), 1, w->now);
		world_run(w, 20 * NSEC_PER_SEC);
		assert_int_equal(w->denies, 1);
		assert_int_equal(w->deny.reason, why[token]);
		assert_int_equal(w->grants + w->silents + w->closes, 0);
		world_free(w);
	}
	struct world *w = world_new(2);
	world_client(w, -1);
	session_client_join(w->client, world_path(w), 1, w->now);
	world_run(w, w->delay * 2);
	assert_int_equal(w->deny.reason, DENY_POLICY);
	w->open_verdict = (struct token_verdict){.quota_left = UINT64_MAX};
	session_client_join(w->client, world_path(w), 1, w->now);
	world_run(w, w->delay * 2);
	assert_int_equal(w->grants, 1);
	world_free(w);
}

/* The size that passes both ways is found, and both ends use it. */
static void session_client_finds_the_size(void **state)
{
	(void)state;
	static const struct {
		uint16_t carries;
		uint16_t want;
		nsec_t after;
	} table[] = {{1452, 1440, 0}, {1440, 1440, 0}, {1439, 1380, 1}, {1380, 1380, 1},
		     {1379, 1320, 2}, {1319, 1240, 4}, {1240, 1240, 4}};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct world *w = world_new(3);
		world_client(w, 0);
		struct path *p = world_path(w);
		p->carries = table[i].carries;
		session_client_join(w->client, p, 1, w->now);
		if (table[i].after > 0)
			world_run(w, table[i].after * NSEC_PER_SEC - 1);
		assert_int_equal(w->grants, 0);
		world_run(w, 2 * w->delay + 1);
		assert_int_equal(w->grants, 1);
		assert_int_equal(full_of(p), table[i].want);
		assert_int_equal(atomic_load(&world_circuit(p)->full_dgram), table[i].want);
		assert_int_equal(w->grant.mtu, table[i].want - 20 - 48 - 1);
		world_free(w);
	}
}

/* A path that lets nothing large back: the question arrives, the answer does not. */
static void session_client_finds_the_size_when_answers_are_lost(void **state)
{
	(void)state;
	struct world *w = world_new(3);
	world_client(w, 0);
	struct path *p = world_path(w);
	session_client_join(w->client, p, 1, w->now);
	nsec_t end = w->now + 3 * NSEC_PER_SEC;
	while (w->now < end) {
		for (unsigned i = 0; i < WORLD_FLIGHTS; i++)
			if (w->flight[i].p && !w->flight[i].forward && w->flight[i].d.n > 1320)
				w->flight[i].p = NULL;
		world_run(w, 10 * NSEC_PER_MSEC);
	}
	assert_int_equal(w->grants, 1);
	assert_int_equal(full_of(p), 1320);
	assert_int_equal(atomic_load(&world_circuit(p)->full_dgram), 1320);
	assert_int_equal(w->judged, 1); /* the repeats were not judged again */
	world_free(w);
}

static void session_client_keeps_a_proven_size(void **state)
{
	(void)state;
	struct world *w = world_new(4);
	world_client(w, 0);
	struct path *p = world_path(w);
	p->carries = 1380;
	session_client_join(w->client, p, 1, w->now);
	world_run(w, 2 * NSEC_PER_SEC);
	assert_int_equal(full_of(p), 1380);
	w->loss = 100;
	session_client_join(w->client, p, 2, w->now);
	assert_int_equal(w->last_forward, 1380); /* not from the top again */
	world_run(w, NSEC_PER_SEC);
	assert_int_equal(w->last_forward, 1380);
	w->loss = 0;
	world_run(w, 2 * NSEC_PER_SEC);
	assert_int_equal(w->bounds, 2);
	assert_int_equal(full_of(p), 1380);
	assert_int_equal(atomic_load(&world_circuit(p)->full_dgram), 1380);
	world_free(w);
}

/* Whatever is lost and doubled: one session, and in the end granted or silent. */
static void session_client_lives_with_loss(void **state)
{
	(void)state;
	unsigned granted = 0;
	for (unsigned seed = 0; seed < 25; seed++) {
		struct world *w = world_new(seed);
		world_client(w, 0);
		w->loss = 30;
		w->dup = 30;
		struct path *p = world_path(w), *q = world_path(w);
		session_client_join(w->client, p, 1, w->now);
		world_run(w, 9 * NSEC_PER_SEC);
		assert_int_equal(w->grants + w->silents, 1);
		assert_int_equal(w->bounds, w->grants);
		granted += w->grants;
		if (w->grants) {
			session_client_join(w->client, q, 1, w->now);
			session_client_ping(w->client, q, 0, w->now); /* may overtake the BIND */
			world_run(w, 9 * NSEC_PER_SEC);
			assert_int_equal(w->bounds + w->silents, 2);
		}
		assert_true(exit_sessions_count(w->exits) <= 1);
		world_free(w);
	}
	assert_true(granted > 15);
}

static void session_client_pings(void **state)
{
	(void)state;
	struct world *w = world_new(5);
	world_client(w, 0);
	struct path *p = world_path(w);
	session_client_ping(w->client, p, 0, w->now); /* not joined: nothing */
	assert_int_equal(w->sent_forward, 0);
	session_client_join(w->client, p, 1, w->now);
	world_run(w, 3 * w->delay);
	session_client_ping(w->client, p, 0, w->now);
	size_t small = w->last_forward;
	assert_true(small < 250);
	world_run(w, 2 * w->delay);
	assert_int_equal(w->pongs, 1);
	assert_true(w->pong_rtt == 2 * w->delay);
	assert_int_equal(w->pong_datagram, small);
	assert_int_equal(w->last_backward, small);
	for (unsigned i = 0; i < DATAGRAM_FULL_COUNT; i++) {
		session_client_ping(w->client, p, datagram_full_sizes[i], w->now);
		world_run(w, 2 * w->delay);
		assert_int_equal(w->pongs, 2 + i);
		assert_int_equal(w->pong_datagram, datagram_full_sizes[i]);
	}
	w->dup = 100;
	for (unsigned i = 0; i < 4; i++)
		session_client_ping(w->client, p, 0, w->now);
	world_run(w, 4 * w->delay);
	assert_int_equal(w->pongs, 5 + 4);
	world_free(w);
}

static void session_client_hears_that_it_is_unknown(void **state)
{
	(void)state;
	struct world *w = world_new(6);
	world_client(w, 0);
	session_client_join(w->client, world_path(w), 1, w->now);
	world_run(w, 3 * w->delay);
	world_restart_exit(w, true);
	struct path *p = world_path(w), *q = world_path(w);
	session_client_join(w->client, p, 2, w->now);
	session_client_join(w->client, q, 0, w->now);
	world_run(w, 3 * w->delay);
	assert_int_equal(w->unknowns,
			 1); /* the other question is about a session that nobody has any more */
	assert_false(session_client_granted(w->client));
	assert_true(session_client_next_deadline(w->client) == NSEC_NEVER);
	struct path *asker = w->last_path;
	session_client_join(w->client, asker, 1, w->now);
	world_run(w, 3 * w->delay);
	assert_int_equal(w->grants, 2);
	session_client_join(w->client, asker == p ? q : p, 0, w->now);
	world_run(w, 3 * w->delay);
	assert_int_equal(w->bounds, 3);
	assert_int_equal(w->unknowns, 1);
	world_free(w);
}

static void session_client_hears_close_and_refused(void **state)
{
	(void)state;
	struct world *w = world_new(7);
	world_client(w, 0);
	struct path *p = world_path(w);
	session_client_join(w->client, p, 1, w->now);
	world_run(w, 3 * w->delay);
	const struct msg_refused m = {.protocol = 17,
				      .addr = {.family = 4, .ip = {192, 0, 2, 1}, .port = 25}};
	exit_sessions_refuse(w->exits, world_circuit(p), &m, w->now);
	world_run(w, w->delay);
	assert_int_equal(w->refused, 1);
	exit_sessions_revoke(w->exits, w->token_pk[0], DENY_BAD_TOKEN, w->now);
	world_run(w, w->delay);
	assert_int_equal(w->closes, 1);
	assert_int_equal(w->close_reason, DENY_BAD_TOKEN);
	assert_false(session_client_granted(w->client));
	assert_null(session_client_grant(w->client));
	world_free(w);
}

/* --- repeats --- */

static void session_client_repeats_after_1_2_4_s(void **state)
{
	(void)state;
	struct world *w = world_new(8);
	world_client(w, 0);
	struct path *p = world_path(w);
	p->at_exit = false; /* nobody answers */
	exit_sessions_on_end_gone(w->exits, world_circuit(p), w->now);
	static const struct {
		nsec_t at;
		uint16_t size;
	} want[] = {{0, 1440}, {1, 1380}, {2, 1320}, {4, 1240}};
	nsec_t start = w->now;
	uint8_t first[DATAGRAM_MAX], body[DATAGRAM_MAX];
	session_client_join(w->client, p, 1, w->now);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(w->now == start + want[i].at * NSEC_PER_SEC);
		size_t datagram;
		struct session_head h = sent(w, body, &datagram);
		assert_int_equal(h.type, SESSION_AUTH);
		assert_int_equal(h.seq, 1);
		assert_int_equal(datagram, want[i].size);
		if (i == 0)
			memcpy(first, body, h.len);
		assert_memory_equal(first, body, h.len);
		assert_int_equal(w->silents, 0);
		w->now = session_client_next_deadline(w->client);
		session_client_on_timer(w->client, w->now);
	}
	assert_true(w->now == start + 8 * NSEC_PER_SEC);
	assert_int_equal(w->silents, 1);
	assert_ptr_equal(w->last_path, p);
	assert_int_equal(w->sent_forward, 4);
	assert_true(session_client_next_deadline(w->client) == NSEC_NEVER);
	const struct msg_grant g = some_grant();
	exit_grants(w, p, 1, SESSION_GRANT, &g); /* too late */
	assert_int_equal(w->grants, 0);
	p->gone = true;
	world_free(w);
}

/* --- an exit that lies --- */

static struct world *alone(struct path **ret)
{
	struct world *w = world_new(9);
	world_client(w, 0);
	w->loss = 100; /* what is said is said by hand */
	*ret = world_path(w);
	session_client_join(w->client, *ret, 1, w->now);
	return w;
}

static void session_client_takes_only_answers(void **state)
{
	(void)state;
	struct path *p;
	struct world *w = alone(&p);
	struct msg_grant g = some_grant();
	uint8_t bound[5] = {0}, deny[5] = {DENY_FULL};
	struct path *stranger = world_path(w);
	exit_grants(w, p, 2, SESSION_GRANT, &g);
	exit_grants(w, p, 0, SESSION_GRANT, &g);
	exit_grants(w, p, 1, SESSION_UPDATE, &g);
	exit_grants(w, stranger, 1, SESSION_GRANT, &g);
	exit_says(w, p, SESSION_BOUND, 1, bound, 5, FULL);
	exit_says(w, p, SESSION_DENY, 2, deny, 5, FULL);
	exit_says(w, p, SESSION_CLOSE, 0, deny, 1, FULL);
	assert_int_equal(world_dropped(w, DROP_SESSION_STATE), 7);
	exit_says(w, p, SESSION_GRANT, 1, deny, 5, FULL);
	exit_says(w, p, SESSION_DENY, 1, deny, 4, FULL);
	exit_says(w, p, SESSION_AUTH, 1, deny, 5, FULL);
	exit_says(w, p, SESSION_PING, 1, deny, 5, FULL);
	exit_says(w, p, 99, 1, deny, 5, FULL);
	assert_int_equal(world_dropped(w, DROP_SESSION_FORMAT), 5);
	assert_int_equal(w->grants + w->denies + w->closes + w->bounds + w->unknowns, 0);
	exit_grants(w, p, 1, SESSION_GRANT, &g);
	assert_int_equal(w->grants, 1);
	exit_grants(w, p, 1, SESSION_GRANT, &g); /* twice */
	exit_says(w, p, SESSION_DENY, 1, deny, 5, FULL);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->denies, 0);
	world_free(w);
}

static void session_client_never_grows_by_an_answer(void **state)
{
	(void)state;
	struct path *p;
	struct world *w = alone(&p);
	struct msg_grant g = some_grant();
	uint8_t body[256];
	w->now += NSEC_PER_SEC;
	session_client_on_timer(w->client, w->now); /* asked in 1,380 now */
	size_t n = msg_grant_write(body, sizeof(body), &g);
	exit_says(w, p, SESSION_GRANT, 1, body, n, 1440);
	assert_int_equal(full_of(p), 1380);
	world_free(w);
	w = alone(&p);
	exit_says(w, p, SESSION_GRANT, 1, body, n, 300);
	assert_int_equal(full_of(p), DATAGRAM_FULL_LEAST);
	world_free(w);
}

static void session_client_refuses_a_grant(void **state)
{
	(void)state;
	struct path *p;
	struct world *w = alone(&p);
	struct msg_grant g = some_grant();
	w->refuse_grant = true;
	exit_grants(w, p, 1, SESSION_GRANT, &g);
	assert_int_equal(w->grants, 1);
	assert_int_equal(w->closes, 1);
	assert_int_equal(w->close_reason, CLOSE_PROTOCOL);
	assert_int_equal(w->bounds, 0);
	assert_false(session_client_granted(w->client));
	world_free(w);
}

static void session_client_takes_updates(void **state)
{
	(void)state;
	struct path *p;
	struct world *w = alone(&p);
	struct msg_grant g = some_grant();
	exit_grants(w, p, 1, SESSION_GRANT, &g);
	g.mtu = 1300;
	exit_grants(w, p, 0, SESSION_UPDATE, &g);
	assert_int_equal(w->grants, 2);
	assert_int_equal(w->bounds, 1);
	assert_int_equal(session_client_grant(w->client)->mtu, 1300);
	struct msg_grant other = g;
	other.session_id[15] ^= 1;
	exit_grants(w, p, 0, SESSION_UPDATE, &other);
	exit_says(w, p, SESSION_UPDATE, 0, "abc", 3, FULL);
	assert_int_equal(w->grants, 2);
	g.mtu = 1290;
	for (unsigned i = 0; i < 50; i++) /* a hostile exit's: each would change the host */
		exit_grants(w, p, 0, SESSION_UPDATE, &g);
	assert_int_equal(w->grants, 2);
	w->now += NSEC_PER_SEC;
	exit_grants(w, p, 0, SESSION_UPDATE, &g);
	assert_int_equal(w->grants, 3);
	w->now += NSEC_PER_SEC;
	struct path *q = world_path(w);
	session_client_join(w->client, q, 5, w->now);
	w->refuse_grant = true;
	g.mtu = 500;
	exit_grants(w, p, 0, SESSION_UPDATE, &g);
	assert_int_equal(w->closes, 1);
	assert_false(session_client_granted(w->client));
	assert_true(session_client_next_deadline(w->client) ==
		    NSEC_NEVER); /* the BIND is not repeated */
	world_free(w);
}

static void session_client_takes_only_pongs_of_its_own(void **state)
{
	(void)state;
	struct path *p;
	struct world *w = alone(&p);
	session_client_ping(w->client, p, 0, w->now);
	uint8_t opaque[9] = {0};
	for (size_t n = 0; n <= 9; n++)
		exit_says(w, p, SESSION_PONG, 2, opaque, n, 200);
	memset(opaque, 0xff, sizeof(opaque));
	exit_says(w, p, SESSION_PONG, 2, opaque, 8, 200);
	assert_int_equal(w->pongs, 0);
	assert_int_equal(world_dropped(w, DROP_SESSION_SEQ), 11);
	world_free(w);
}

static void session_client_takes_a_pong_once(void **state)
{
	(void)state;
	struct path *p;
	struct world *w = alone(&p);
	uint8_t body[DATAGRAM_MAX];
	size_t datagram;
	w->loss = 0;
	session_client_ping(w->client, p, 0, w->now);
	struct session_head h = sent(w, body, &datagram);
	assert_int_equal(h.type, SESSION_PING);
	exit_says(w, p, SESSION_PONG, h.seq, body, h.len, datagram);
	exit_says(w, p, SESSION_PONG, h.seq, body, h.len, datagram);
	assert_int_equal(w->pongs, 1);
	world_free(w);
}

static void session_client_has_one_session(void **state)
{
	(void)state;
	struct world *w = world_new(12);
	world_client(w, 0);
	session_client_join(w->client, world_path(w), 1, w->now);
	session_client_join(w->client, world_path(w), 1, w->now); /* which path_set never does */
	world_run(w, 3 * w->delay);
	assert_int_equal(w->grants, 1);
	assert_int_equal(world_dropped(w, DROP_SESSION_STATE), 1);
	world_free(w);
}

static void session_client_forgets_a_path(void **state)
{
	(void)state;
	struct world *w = world_new(10);
	world_client(w, 0);
	struct path *p = world_path(w);
	session_client_join(w->client, p, 1, w->now);
	session_client_leave(w->client, p);
	session_client_leave(w->client, p);
	assert_true(session_client_next_deadline(w->client) == NSEC_NEVER);
	world_run(w, 3 * w->delay);
	assert_int_equal(w->grants, 0);
	for (unsigned i = 0; i < 20; i++) { /* places are used again; one too many is nothing */
		struct path *q = world_path(w);
		session_client_join(w->client, q, 1, w->now);
		if (i % 2)
			session_client_leave(w->client, q);
	}
	world_free(w);
}

/* Random messages, in every state, near what is right. */
static void session_client_survives_hostile_bytes(void **state)
{
	(void)state;
	struct world *w = world_new(11);
	world_client(w, 0);
	w->loss = 100;
	struct path *p[3];
	for (unsigned i = 0; i < 3; i++)
		p[i] = world_path(w);
	struct msg_grant g = some_grant();
	for (unsigned round = 0; round < 20000; round++) {
		struct path *at = p[rng_below(&w->rng, 3)];
		uint8_t body[256], plain[300];
		uint8_t type = (uint8_t)(SESSION_AUTH + rng_below(&w->rng, 11));
		size_t n = rng_below(&w->rng, 12);
		rng_bytes(&w->rng, body, n);
		if (rng_below(&w->rng, 2)) { /* a whole BOUND, DENY or CLOSE */
			n = type == SESSION_CLOSE ? 1 : 5;
			body[0] = (uint8_t)rng_below(&w->rng, 3);
		}
		if (type == SESSION_GRANT || type == SESSION_UPDATE)
			n = msg_grant_write(body, sizeof(body), &g);
		size_t used = session_write(plain, sizeof(plain), type,
					    (uint32_t)rng_below(&w->rng, 5), body, n);
		if (rng_below(&w->rng, 3) == 0)
			plain[rng_below(&w->rng, used)] ^= (uint8_t)rng_below(&w->rng, 256);
		if (rng_below(&w->rng, 4) == 0)
			used = rng_below(&w->rng, used + 1);
		session_client_on_plain(w->client, at, plain, used, rng_below(&w->rng, 70000),
					w->now);
		switch (rng_below(&w->rng, 12)) {
		case 0:
			session_client_join(w->client, at, (uint32_t)round, w->now);
			break;
		case 1:
			session_client_ping(w->client, at, 0, w->now);
			break;
		case 2:
		case 5:
			session_client_leave(w->client, at);
			break;
		case 3:
			session_client_close(w->client, at, w->now);
			break;
		case 4:
			w->now += (nsec_t)rng_below(&w->rng, NSEC_PER_SEC);
			session_client_on_timer(w->client, w->now);
			break;
		}
		w->refuse_grant = rng_below(&w->rng, 20) == 0;
		assert_int_equal(session_client_granted(w->client),
				 session_client_grant(w->client) != NULL);
		assert_true(session_client_next_deadline(w->client) > w->now - NSEC_PER_SEC);
	}
	assert_true(w->grants > 5 && w->denies > 5 && w->closes > 5 && w->unknowns > 1 &&
		    w->bounds > 5);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(session_client_is_granted),
		cmocka_unit_test(session_client_hears_why_not),
		cmocka_unit_test(session_client_finds_the_size),
		cmocka_unit_test(session_client_finds_the_size_when_answers_are_lost),
		cmocka_unit_test(session_client_keeps_a_proven_size),
		cmocka_unit_test(session_client_lives_with_loss),
		cmocka_unit_test(session_client_pings),
		cmocka_unit_test(session_client_hears_that_it_is_unknown),
		cmocka_unit_test(session_client_hears_close_and_refused),
		cmocka_unit_test(session_client_repeats_after_1_2_4_s),
		cmocka_unit_test(session_client_takes_only_answers),
		cmocka_unit_test(session_client_never_grows_by_an_answer),
		cmocka_unit_test(session_client_refuses_a_grant),
		cmocka_unit_test(session_client_takes_updates),
		cmocka_unit_test(session_client_takes_only_pongs_of_its_own),
		cmocka_unit_test(session_client_takes_a_pong_once),
		cmocka_unit_test(session_client_has_one_session),
		cmocka_unit_test(session_client_forgets_a_path),
		cmocka_unit_test(session_client_survives_hostile_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
