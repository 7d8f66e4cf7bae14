/* tests/unit/test_dataplane.c - onion/dataplane.c over whole chains of real parties (chain.h): the
 * properties 4, 5 and 6 of PROTOCOL.md section 10, for all hop counts. Every test ends with: no
 * (key, nonce) sealed twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "sim/runs.h"
#include "sim/sealed.h"
#include "unit/chain.h"

static int setup(void **state)
{
	(void)state;
	sealed_reset();
	return 0;
}

static int no_nonce_twice(void **state)
{
	(void)state;
	return sealed_twice() == 0 ? 0 : -1;
}

enum way { FORWARD, BACKWARD };

/* One packet from one end to the other. */
struct trip {
	struct chain *c;
	enum way way;
	uint8_t plain[DATAGRAM_MAX];
	size_t n;
	struct datagram d;
	struct datagram on[HOPS_MAX];
};

static bool seal(struct trip *t, uint16_t full, enum padding how)
{
	return t->way == FORWARD ? chain_seal_path(t->c, &t->d, t->plain, t->n, full, how)
				 : chain_seal_circuit(t->c, &t->d, t->plain, t->n, full, how);
}

static unsigned sender(const struct trip *t)
{
	return t->way == FORWARD ? 0 : t->c->hops;
}

static struct dp_result run(struct trip *t, unsigned from, unsigned *ret_party)
{
	return t->way == FORWARD ? chain_run_forward(t->c, &t->d, from, t->on, ret_party)
				 : chain_run_backward(t->c, &t->d, from, t->on, ret_party);
}

static void random_plain(struct trip *t, size_t n)
{
	rng_bytes(&t->c->rng, t->plain, sizeof(t->plain));
	t->n = n;
}

/* Seal n random bytes, carry them to the end, compare. */
static void trip_arrives(struct trip *t, size_t n, uint16_t full, enum padding how)
{
	unsigned at = 99;
	random_plain(t, n);
	assert_true(seal(t, full, how));
	size_t plain = padded_bytes(n, plain_bytes(full, tag_slots(t->c->hops)), how);
	assert_int_equal(t->d.n, HEADER_BYTES + plain + 16 * tag_slots(t->c->hops));
	struct dp_result r = run(t, sender(t), &at);
	assert_int_equal(r.action, DP_PLAIN);
	assert_int_equal(at, t->way == FORWARD ? t->c->hops : 0);
	assert_ptr_equal(r.end, t->way == FORWARD ? &t->c->circuit[t->c->hops - 1].forward
						  : &t->c->path.backward);
	assert_int_equal(r.plain_bytes, plain);
	assert_memory_equal(r.plain, t->plain, n);
	for (size_t i = n; i < plain; i++)
		assert_int_equal(r.plain[i], 0);
	assert_false(r.foreign);
}

/* Filler slots at the end of what travels on link i (0-based): PROTOCOL.md section 6. */
static size_t filler_on(const struct trip *t, unsigned i)
{
	unsigned s = tag_slots(t->c->hops);
	return 16 * (size_t)(s - (t->c->hops - i));
}

static void links_tell_nothing(const struct trip *t)
{
	for (unsigned i = 0; i < t->c->hops; i++) {
		const struct datagram *a = &t->on[i];
		assert_false(share_run16(a->d, a->n, t->plain, t->n));
		for (unsigned j = i + 1; j < t->c->hops; j++) {
			const struct datagram *b = &t->on[j];
			assert_int_equal(a->n, b->n);
			assert_false(share_run16(a->d, a->n, b->d, b->n));
			size_t common = filler_on(t, i) < filler_on(t, j) ? filler_on(t, i)
									  : filler_on(t, j);
			if (common > 0)
				assert_memory_not_equal(a->d + a->n - common, b->d + b->n - common,
							common);
		}
	}
}

static void all_sizes(unsigned hops, enum way way)
{
	static const size_t sizes[] = {1, 2, 15, 16, 17, 127, 128, 129, 500, 1024, 1025, 1092};
	struct trip *t = calloc(1, sizeof(*t));
	t->c = chain_new(hops, hops * 10 + way);
	t->way = way;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (enum padding how = PAD_BUCKET; how <= PAD_FULL; how++) {
			trip_arrives(t, sizes[i], datagram_full_sizes[i % 4], how);
			if (t->n >= 16)
				links_tell_nothing(t);
		}
	}
	size_t most = plain_bytes(DATAGRAM_FULL_MOST, tag_slots(hops));
	trip_arrives(t, most, DATAGRAM_FULL_MOST, PAD_BUCKET);
	random_plain(t, most + 1);
	assert_false(seal(t, DATAGRAM_FULL_MOST, PAD_BUCKET));
	assert_int_equal(chain_dropped(t->c, sender(t), DROP_DATA_SIZE), 1);
	chain_free(t->c);
	free(t);
}

static void dataplane_carries_all_sizes_over_all_hops(void **state)
{
	(void)state;
	for (unsigned hops = 1; hops <= HOPS_MAX; hops++) {
		all_sizes(hops, FORWARD);
		all_sizes(hops, BACKWARD);
	}
	assert_true(sealed_count() > 1000);
}

/* full 0 means the path's own. */
static void dataplane_seals_at_the_paths_own_size(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 1);
	struct datagram d;
	atomic_store(&c->path.full_dgram, 1320);
	atomic_store(&c->circuit[2].full_dgram, 1240);
	assert_true(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_FULL));
	assert_int_equal(d.n, 1320);
	assert_true(chain_seal_circuit(c, &d, "\2abc", 4, 0, PAD_FULL));
	assert_int_equal(d.n, 1240);
	assert_true(chain_seal_path(c, &d, "\2abc", 4, DATAGRAM_MAX, PAD_FULL));
	assert_false(chain_seal_path(c, &d, "\2abc", 4, DATAGRAM_MAX + 1, PAD_FULL));
	assert_false(chain_seal_path(c, &d, "\2abc", 4, 60, PAD_NONE)); /* no room for plain */
	assert_int_equal(inner_mtu(1440, 3), 1371);
	assert_int_equal(inner_mtu(20, 3), 0);
	chain_free(c);
}

/* Nothing that lay in the buffer leaves in the filler, and no two fillers are alike. */
static void dataplane_fills_up_with_random_bytes(void **state)
{
	(void)state;
	struct chain *c = chain_new(1, 18);
	struct datagram d[2], stale;
	size_t filler = 2 * 16; /* S = 3, one hop */
	memset(&stale, 0xee, sizeof(stale));
	for (unsigned way = FORWARD; way <= BACKWARD; way++) {
		for (unsigned i = 0; i < 2; i++) {
			d[i] = stale;
			assert_true(
				way == FORWARD
					? chain_seal_path(c, &d[i], "\2a", 2, 0, PAD_BUCKET)
					: chain_seal_circuit(c, &d[i], "\2a", 2, 0, PAD_BUCKET));
			assert_false(share_run16(d[i].d, d[i].n, stale.d, 16));
		}
		assert_memory_not_equal(d[0].d + d[0].n - filler, d[1].d + d[1].n - filler, filler);
	}
	chain_free(c);
}

/* Flip one bit of what travels on link `link`, run on, and say where it ended. */
static struct dp_result flipped(struct trip *t, unsigned link, size_t bit, unsigned *ret_party)
{
	random_plain(t, 100);
	assert_true(seal(t, DATAGRAM_FULL_MOST, PAD_NONE));
	unsigned at, hops = t->c->hops;
	run(t, sender(t), &at);
	/* The far side has seen this one: take a new packet only up to that link. */
	random_plain(t, 100);
	assert_true(seal(t, DATAGRAM_FULL_MOST, PAD_NONE));
	unsigned from = sender(t);
	struct dp_result r;
	while (from != (t->way == FORWARD ? link : link + 1)) {
		from = t->way == FORWARD ? from + 1 : from - 1;
		chain_give(t->c, from, &t->d, &r);
		assert_int_equal(r.action, DP_SEND);
	}
	t->d.d[bit / 8] ^= (uint8_t)(1 << bit % 8);
	assert_true(from <= hops);
	return run(t, from, ret_party);
}

static void flip_on_link(struct trip *t, unsigned link, size_t bit, size_t n)
{
	unsigned at = 99;
	unsigned next = t->way == FORWARD ? link + 1 : link;
	struct dp_result r = flipped(t, link, bit, &at);
	if (bit / 8 >= n - filler_on(t, link)) { /* filler: gone at the next hop */
		assert_int_equal(r.action, DP_PLAIN);
		assert_memory_equal(r.plain, t->plain, t->n);
		return;
	}
	assert_int_equal(r.action, DP_DROP);
	if (bit / 8 < HEADER_BYTES || t->way == FORWARD)
		assert_int_equal(at, next);
	else
		assert_int_equal(at, 0);
	if (bit / 8 >= HEADER_BYTES)
		assert_true(chain_dropped(t->c, at, DROP_DATA_OPEN) > 0);
	else if (bit / 8 >= LINK_ID_BYTES)
		assert_true(chain_dropped(t->c, at, DROP_HEADER) > 0);
	else
		assert_true(chain_dropped(t->c, at, DROP_LINK_UNKNOWN) > 0);
}

static void dataplane_refuses_every_flipped_bit(void **state)
{
	(void)state;
	struct trip *t = calloc(1, sizeof(*t));
	for (unsigned hops = 1; hops <= HOPS_MAX; hops++) {
		t->c = chain_new(hops, hops);
		size_t n = HEADER_BYTES + 100 + 16 * tag_slots(hops);
		for (t->way = FORWARD; t->way <= BACKWARD; t->way++)
			for (unsigned link = 0; link < hops; link++)
				for (size_t bit = rng_below(&t->c->rng, 40); bit < 8 * n; bit += 41)
					flip_on_link(t, link, bit, n);
		chain_free(t->c);
	}
	free(t);
}

static void dataplane_drops_what_came_before_at_each_hop(void **state)
{
	(void)state;
	struct trip *t = calloc(1, sizeof(*t));
	for (unsigned hops = 1; hops <= HOPS_MAX; hops++) {
		t->c = chain_new(hops, hops);
		for (t->way = FORWARD; t->way <= BACKWARD; t->way++) {
			trip_arrives(t, 200, DATAGRAM_FULL_MOST, PAD_BUCKET);
			for (unsigned i = 0; i < hops; i++) {
				unsigned to = t->way == FORWARD ? i + 1 : i;
				uint64_t before = chain_dropped(t->c, to, DROP_DATA_REPLAY);
				struct dp_result r;
				t->d = t->on[i];
				chain_give(t->c, to, &t->d, &r);
				assert_int_equal(r.action, DP_DROP);
				assert_int_equal(chain_dropped(t->c, to, DROP_DATA_REPLAY),
						 before + 1);
			}
		}
		chain_free(t->c);
	}
	free(t);
}

/* A neighbour may vary what it likes around one counter: a relay seals backward once for it. */
static void dataplane_seals_backward_once_for_a_counter(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 4);
	struct datagram d, e;
	struct dp_result r;
	assert_true(chain_seal_circuit(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	for (unsigned i = 0; i < 64; i++) {
		e = d;
		rng_bytes(&c->rng, e.d + HEADER_BYTES, e.n - HEADER_BYTES);
		e.n -= 16 * (i % 3);
		chain_give(c, 2, &e, &r);
		assert_int_equal(r.action, i == 0 ? DP_SEND : DP_DROP);
	}
	assert_int_equal(chain_dropped(c, 2, DROP_DATA_REPLAY), 63);
	chain_free(c);
}

static void dataplane_counts_across_2_to_the_56(void **state)
{
	(void)state;
	struct trip *t = calloc(1, sizeof(*t));
	t->c = chain_new(3, 11);
	uint64_t start = COUNTER_MASK - 3;
	t->c->path.sealed_first = t->c->circuit[2].sealed_first = start;
	atomic_store(&t->c->path.sealed, start);
	atomic_store(&t->c->circuit[2].sealed, start);
	for (unsigned i = 0; i < 10; i++) {
		t->way = FORWARD;
		trip_arrives(t, 50, DATAGRAM_FULL_MOST, PAD_BUCKET);
		t->way = BACKWARD;
		trip_arrives(t, 50, DATAGRAM_FULL_MOST, PAD_BUCKET);
	}
	chain_free(t->c);
	free(t);
}

#define SEALS_EACH 2000
#define SEALERS	   3

struct sealer {
	struct chain *c;
	struct dp_thread t;
	struct filler filler;
	struct drops drops;
	uint64_t seed;
};

static void *seal_many(void *arg)
{
	struct sealer *s = arg;
	uint8_t *room = malloc(DATAGRAM_MAX);
	for (unsigned i = 0; i < SEALS_EACH; i++) {
		memset(room + HEADER_BYTES, PLAIN_PACKET, 40);
		if (path_seal(&s->t, &s->c->path, room, 40, 0, PAD_BUCKET) == 0 ||
		    circuit_seal(&s->t, &s->c->circuit[2], room, 40, 0, PAD_BUCKET) == 0)
			abort();
	}
	free(room);
	return NULL;
}

static void dataplane_gives_no_counter_to_two_threads(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 16);
	struct sealer *s = calloc(SEALERS, sizeof(*s));
	pthread_t threads[SEALERS];
	for (unsigned i = 0; i < SEALERS; i++) {
		s[i].c = c;
		filler_init(&s[i].filler, &c->rng);
		s[i].t = c->party[0].t;
		s[i].t.filler = &s[i].filler;
		s[i].t.drops = &s[i].drops;
		s[i].t.aead = aead_ctx_new();
		s[i].t.now = 1 + i;
		assert_int_equal(pthread_create(&threads[i], NULL, seal_many, &s[i]), 0);
	}
	for (unsigned i = 0; i < SEALERS; i++) {
		pthread_join(threads[i], NULL);
		aead_ctx_free(s[i].t.aead);
		filler_done(&s[i].filler);
	}
	assert_int_equal(sealed_count(), SEALERS * SEALS_EACH * (3 + 1));
	assert_int_equal(sealed_twice(), 0);
	assert_int_equal(atomic_load(&c->path.sealed) - c->path.sealed_first, SEALERS * SEALS_EACH);
	free(s);
	chain_free(c);
}

#define COPIES 500

/* A worker that gets the same datagrams as the other one, as from a neighbour with many ports. */
struct reader_thread {
	struct sealer base;
	const struct datagram *in;
	unsigned sent, handed_over;
};

static void *judge_all(void *arg)
{
	struct reader_thread *w = arg;
	struct datagram *d = malloc(sizeof(*d));
	for (unsigned i = 0; i < 2 * COPIES; i++) {
		struct dp_result r;
		*d = w->in[i % COPIES];
		dataplane_receive(&w->base.t, d->d, d->n, &w->base.c->party[3].addr, CHAIN_NOW, &r);
		w->sent += r.action == DP_SEND;
		w->handed_over += r.action == DP_HANDOVER;
	}
	free(d);
	return NULL;
}

/* Relay 2 seals backward what the exit sent, on two workers at once: only the link's owner does,
 * and once. */
static void dataplane_seals_once_whichever_worker_reads(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 19);
	struct datagram *in = calloc(COPIES, sizeof(*in));
	struct reader_thread w[2] = {{.in = in}, {.in = in}};
	pthread_t threads[2];
	for (unsigned i = 0; i < COPIES; i++)
		assert_true(chain_seal_circuit(c, &in[i], "\2abc", 4, 0, PAD_BUCKET));
	for (unsigned i = 0; i < 2; i++) {
		struct sealer *s = &w[i].base;
		s->c = c;
		filler_init(&s->filler, &c->rng);
		s->t = c->party[2].t;
		s->t.filler = &s->filler;
		s->t.drops = &s->drops;
		s->t.worker = i;
		s->t.aead = aead_ctx_new();
	}
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, judge_all, &w[i]), 0);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		aead_ctx_free(w[i].base.t.aead);
		filler_done(&w[i].base.filler);
	}
	assert_int_equal(w[0].sent, COPIES);
	assert_int_equal(drops_get(&w[0].base.drops, DROP_DATA_REPLAY), COPIES);
	assert_int_equal(w[1].sent, 0);
	assert_int_equal(w[1].handed_over, 2 * COPIES);
	assert_int_equal(sealed_count(), 2 * COPIES); /* the exit's and ours */
	free(in);
	chain_free(c);
}

/* The checkers themselves notice. */
static void dataplane_test_helpers_notice(void **state)
{
	(void)state;
	struct chain *c = chain_new(1, 17);
	uint8_t p[64] = {0}, q[64];
	sealed_reset();
	aead_seal(c->aead, &c->path.layer[0].kf, 1, p, 10, p + 20);
	aead_seal(c->aead, &c->path.layer[0].kb, 1, p, 10, p + 20);
	aead_seal(c->aead, &c->path.layer[0].kf, 2, p, 10, p + 20);
	assert_int_equal(sealed_twice(), 0);
	aead_seal(c->aead, &c->path.layer[0].kf, 1, p, 10, p + 20);
	assert_int_equal(sealed_twice(), 1);
	sealed_reset();
	for (unsigned at = 0; at <= 48; at++) {
		for (unsigned to = 0; to <= 48; to++) {
			rng_bytes(&c->rng, p, sizeof(p));
			rng_bytes(&c->rng, q, sizeof(q));
			memcpy(q + to, p + at, 15);
			assert_false(share_run16(p, 64, q, 64) && p[at + 15] != q[to + 15] &&
				     (at == 0 || to == 0 || p[at - 1] != q[to - 1]));
			memcpy(q + to, p + at, 16);
			assert_true(share_run16(p, 64, q, 64));
		}
	}
	chain_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, no_nonce_twice)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dataplane_carries_all_sizes_over_all_hops),
		TEST(dataplane_seals_at_the_paths_own_size),
		TEST(dataplane_fills_up_with_random_bytes),
		TEST(dataplane_refuses_every_flipped_bit),
		TEST(dataplane_drops_what_came_before_at_each_hop),
		TEST(dataplane_seals_backward_once_for_a_counter),
		TEST(dataplane_counts_across_2_to_the_56),
		TEST(dataplane_gives_no_counter_to_two_threads),
		TEST(dataplane_seals_once_whichever_worker_reads),
		TEST(dataplane_test_helpers_notice),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
