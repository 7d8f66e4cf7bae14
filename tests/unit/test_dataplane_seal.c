/* tests/unit/test_dataplane_seal.c - onion/dataplane_seal.c: batches are sealed as one by one,
 * arrive, and share the counter and the key's last packets among threads.
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
#include "sim/sealed.h"
#include "unit/chain.h"

#define BATCH_MOST 150 /* more than DP_BATCH, and no multiple of a run */

static int setup(void **state)
{
	(void)state;
	sealed_pause(false);
	sealed_reset();
	return 0;
}

static int no_nonce_twice(void **state)
{
	(void)state;
	sealed_pause(false);
	return sealed_twice() == 0 ? 0 : -1;
}

enum way { FORWARD, BACKWARD };

static struct dp_thread *sealer(struct chain *c, enum way way)
{
	return &c->party[way == FORWARD ? 0 : c->hops].t;
}

static struct circuit *last(struct chain *c)
{
	return &c->circuit[c->hops - 1];
}

static void seal_batch(struct chain *c, enum way way, struct dp_seal *s, size_t n, uint16_t full,
		       enum padding how)
{
	if (way == FORWARD)
		path_seal_batch(sealer(c, way), &c->path, s, n, full, how);
	else
		circuit_seal_batch(sealer(c, way), last(c), s, n, full, how);
}

static size_t seal_one(struct chain *c, enum way way, uint8_t *room, size_t n, uint16_t full,
		       enum padding how)
{
	return way == FORWARD ? path_seal(sealer(c, way), &c->path, room, n, full, how)
			      : circuit_seal(sealer(c, way), last(c), room, n, full, how);
}

static size_t will_be(const struct chain *c, enum way way, size_t n, uint16_t full,
		      enum padding how)
{
	return way == FORWARD ? path_datagram_bytes(&c->path, n, full, how)
			      : circuit_datagram_bytes(&c->circuit[c->hops - 1], n, full, how);
}

static _Atomic uint64_t *counter(struct chain *c, enum way way)
{
	return way == FORWARD ? &c->path.sealed : &last(c)->sealed;
}

static uint64_t first_counter(struct chain *c, enum way way)
{
	return way == FORWARD ? c->path.sealed_first : last(c)->sealed_first;
}

/* Two equal chains: one seals one by one, the other in a batch. */
struct pair {
	struct chain *one, *many;
	enum way way;
	struct dp_seal s[BATCH_MOST];
	uint8_t plain[BATCH_MOST][DATAGRAM_MAX];
	uint8_t room[DATAGRAM_MAX];
	uint8_t *buffer; /* datagrams back to back */
};

static struct pair *pair_new(unsigned hops, enum way way)
{
	struct pair *p = calloc(1, sizeof(*p));
	p->one = chain_new(hops, hops);
	p->many = chain_new(hops, hops);
	p->way = way;
	p->buffer = malloc((size_t)BATCH_MOST * DATAGRAM_MAX);
	return p;
}

static void pair_free(struct pair *p)
{
	chain_free(p->one);
	chain_free(p->many);
	free(p->buffer);
	free(p);
}

/* Plains of random sizes, some too large; no byte between the datagrams. Stale bytes lie where
 * padding and filler will be. */
static size_t lay_out(struct pair *p, size_t n, uint16_t full, enum padding how)
{
	struct rng *rng = &p->many->rng;
	size_t at = 0;
	memset(p->buffer, 0xee, (size_t)BATCH_MOST * DATAGRAM_MAX);
	for (size_t i = 0; i < n; i++) {
		size_t bytes = 1 + rng_below(rng, rng_below(rng, 8) ? 300 : 1420);
		rng_bytes(rng, p->plain[i], bytes);
		p->plain[i][0] = (uint8_t)rng_below(rng, 4);
		p->s[i] = (struct dp_seal){.room = p->buffer + at, .plain = bytes, .datagram = 99};
		size_t datagram = will_be(p->many, p->way, bytes, full, how);
		if (datagram > 0)
			memcpy(p->buffer + at + HEADER_BYTES, p->plain[i], bytes);
		at += datagram;
	}
	return at;
}

static void same_state(const struct pair *p)
{
	const struct chain *a = p->one, *b = p->many;
	assert_int_equal(atomic_load(&a->path.sealed), atomic_load(&b->path.sealed));
	assert_int_equal(atomic_load(&a->path.last_tx), atomic_load(&b->path.last_tx));
	assert_int_equal(atomic_load(&a->path.unanswered), atomic_load(&b->path.unanswered));
	assert_int_equal(atomic_load(&a->near[0].last_tx), atomic_load(&b->near[0].last_tx));
	assert_int_equal(atomic_load(&a->circuit[a->hops - 1].sealed),
			 atomic_load(&b->circuit[a->hops - 1].sealed));
	assert_int_equal(atomic_load(&a->far[a->hops - 1].last_tx),
			 atomic_load(&b->far[a->hops - 1].last_tx));
	for (enum drop why = DROP_NONE; why < DROP_COUNT; why++)
		assert_int_equal(chain_dropped(a, p->way == FORWARD ? 0 : a->hops, why),
				 chain_dropped(b, p->way == FORWARD ? 0 : a->hops, why));
}

/* The chains' fillers begin alike and are drawn from in the same order: all bytes are equal. */
static size_t batch_equals_singles(struct pair *p, size_t n, uint16_t full, enum padding how)
{
	size_t end = lay_out(p, n, full, how), sealed = 0;
	sealed_pause(false);
	seal_batch(p->many, p->way, p->s, n, full, how);
	sealed_pause(true);
	for (size_t i = 0; i < n; i++) {
		memset(p->room, 0x11, sizeof(p->room));
		memcpy(p->room + HEADER_BYTES, p->plain[i],
		       p->s[i].plain < sizeof(p->room) - HEADER_BYTES ? p->s[i].plain : 0);
		size_t one = seal_one(p->one, p->way, p->room, p->s[i].plain, full, how);
		assert_int_equal(p->s[i].datagram, one);
		if (one == 0)
			continue;
		assert_int_equal(one, will_be(p->one, p->way, p->s[i].plain, full, how));
		assert_memory_equal(p->s[i].room, p->room, one);
		sealed++;
	}
	for (size_t i = end; i < end + 64 && i < (size_t)BATCH_MOST * DATAGRAM_MAX; i++)
		assert_int_equal(p->buffer[i], 0xee);
	same_state(p);
	return sealed;
}

/* Take the batch to the other end, through every hop. */
static void arrives(struct pair *p, size_t n, enum padding how)
{
	static struct datagram d;
	for (size_t i = 0; i < n; i++) {
		unsigned at = 99;
		if (p->s[i].datagram == 0)
			continue;
		d.n = p->s[i].datagram;
		memcpy(d.d, p->s[i].room, d.n);
		struct dp_result r =
			p->way == FORWARD
				? chain_run_forward(p->many, &d, 0, NULL, &at)
				: chain_run_backward(p->many, &d, p->many->hops, NULL, &at);
		assert_int_equal(r.action, DP_PLAIN);
		assert_memory_equal(r.plain, p->plain[i], p->s[i].plain);
		assert_true(how != PAD_NONE ||
			    r.plain_bytes == (p->s[i].plain < 16 ? 16 : p->s[i].plain));
		for (size_t j = p->s[i].plain; j < r.plain_bytes; j++)
			assert_int_equal(r.plain[j], 0);
	}
}

static void dataplane_seal_batch_equals_singles_and_arrives(void **state)
{
	(void)state;
	static const uint16_t fulls[] = {0, 1240, 1440, DATAGRAM_MAX, DATAGRAM_MAX + 1, 200};
	size_t sealed = 0, refused = 0;
	for (unsigned hops = 1; hops <= HOPS_MAX; hops++) {
		for (unsigned way = FORWARD; way <= BACKWARD; way++) {
			struct pair *p = pair_new(hops, way);
			for (unsigned i = 0; i < 2 * sizeof(fulls) / sizeof(fulls[0]); i++) {
				enum padding how = (enum padding)rng_below(&p->many->rng, 3);
				size_t n = rng_below(&p->many->rng, BATCH_MOST + 1);
				sealer(p->one, way)->now = sealer(p->many, way)->now = i / 2;
				size_t good = batch_equals_singles(p, n, fulls[i / 2], how);
				sealed += good;
				refused += n - good;
				if (p->many->near[0].max_dgram >= fulls[i / 2])
					arrives(p, n, how);
			}
			pair_free(p);
		}
	}
	assert_true(sealed > 5000 && refused > 1000);
	assert_true(sealed_count() >= sealed);
}

/* What does not fit takes no number, and the key's last packets go to the first that fit. */
static void dataplane_seal_batch_ends_with_the_key(void **state)
{
	(void)state;
	for (unsigned way = FORWARD; way <= BACKWARD; way++) {
		for (uint64_t left = 0; left < 45; left += 11) {
			struct pair *p = pair_new(3, way);
			const uint64_t spent = first_counter(p->many, way) + KEY_PACKETS_MOST;
			uint8_t *room = p->buffer;
			size_t sealed = 0, n = 40, fits = 0;
			for (size_t i = 0; i < n; i++) {
				bool large = i % 5 == 4;
				p->s[i] = (struct dp_seal){
					.room = room, .plain = large ? 1400 : 40, .datagram = 7};
				memset(room + HEADER_BYTES, 2, 40);
				room += large ? 0 : 1440;
				fits += !large;
			}
			atomic_store(counter(p->many, way), spent - left);
			seal_batch(p->many, way, p->s, n, 0, PAD_BUCKET);
			for (size_t i = 0; i < n; i++) {
				bool wanted = i % 5 != 4 && sealed < left;
				assert_int_equal(p->s[i].datagram > 0, wanted);
				sealed += wanted;
			}
			assert_int_equal(sealed, left < fits ? left : fits);
			assert_int_equal(sealed_count(), sealed * (way == FORWARD ? 3 : 1));
			const struct drops *drops = sealer(p->many, way)->drops;
			assert_int_equal(drops_get(drops, DROP_DATA_SIZE), n - fits);
			assert_int_equal(drops_get(drops, DROP_DATA_KEY_SPENT), fits - sealed);
			pair_free(p);
			sealed_reset();
		}
	}
}

/* IP packets alone start the wait for an answer, and only those that were sealed. */
static void dataplane_seal_batch_stamps(void **state)
{
	(void)state;
	static const struct {
		uint8_t type[2];
		uint64_t left; /* packets that the key serves */
		nsec_t before, want_tx, want_unanswered;
	} rows[] = {
		{{PLAIN_DUMMY, PLAIN_CONTROL}, 9, 0, 0, 0},
		{{PLAIN_DUMMY, PLAIN_PACKET}, 9, 0, 8, 8},
		{{PLAIN_PACKET_OPEN, PLAIN_CONTROL}, 9, 0, 8, 8},
		{{PLAIN_PACKET, PLAIN_PACKET}, 9, 5, 8, 5},
		{{PLAIN_CONTROL, PLAIN_PACKET}, 1, 0, 0, 0},
		{{PLAIN_PACKET, PLAIN_CONTROL}, 1, 0, 8, 8},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct chain *c = chain_new(2, 20 + i);
		struct dp_seal s[2];
		uint8_t room[2][DATAGRAM_MAX];
		for (unsigned j = 0; j < 2; j++) {
			memset(room[j] + HEADER_BYTES, rows[i].type[j], 30);
			s[j] = (struct dp_seal){.room = room[j], .plain = 30};
		}
		c->party[0].t.now = 8;
		atomic_store(&c->path.unanswered, rows[i].before);
		atomic_store(&c->path.sealed,
			     c->path.sealed_first + KEY_PACKETS_MOST - rows[i].left);
		path_seal_batch(&c->party[0].t, &c->path, s, 2, 0, PAD_BUCKET);
		assert_int_equal(atomic_load(&c->path.last_tx), rows[i].want_tx);
		assert_int_equal(atomic_load(&c->path.unanswered), rows[i].want_unanswered);
		assert_int_equal(atomic_load(&c->near[0].last_tx), 8);
		c->party[0].t.now = 0; /* says no time: stamps stay */
		path_seal_batch(&c->party[0].t, &c->path, s, 1, 0, PAD_BUCKET);
		assert_int_equal(atomic_load(&c->path.last_tx), rows[i].want_tx);
		assert_int_equal(atomic_load(&c->near[0].last_tx), 8);
		chain_free(c);
	}
}

/* --- threads --- */

#define THREADS 3
#define HAMMER	60000 /* batches each */
#define SHARED	4000  /* packets that the key still serves, fewer than the threads want */

struct thread {
	struct chain *c;
	struct dp_thread t;
	struct filler filler;
	struct drops drops;
	size_t sealed, batch;
	pthread_barrier_t *together;
};

static void seal_some(struct thread *me, uint8_t *rooms, size_t n)
{
	struct dp_seal s[DP_BATCH];
	for (size_t i = 0; i < n; i++) {
		s[i] = (struct dp_seal){.room = rooms + i * DATAGRAM_MAX, .plain = 20};
		memset(s[i].room + HEADER_BYTES, 2, 20);
	}
	path_seal_batch(&me->t, &me->c->path, s, n, 0, PAD_BUCKET);
	for (size_t i = 0; i < n; i++)
		me->sealed += s[i].datagram > 0;
}

static void *seal_until_spent(void *arg)
{
	struct thread *me = arg;
	uint8_t *rooms = malloc((size_t)DP_BATCH * DATAGRAM_MAX);
	pthread_barrier_wait(me->together);
	for (size_t wanted = 0, n; wanted < SHARED; wanted += n) {
		n = 1 + me->batch++ * 7 % DP_BATCH;
		seal_some(me, rooms, n);
	}
	free(rooms);
	return NULL;
}

static void *seal_as_often_as_possible(void *arg)
{
	struct thread *me = arg;
	uint8_t *rooms = malloc((size_t)DP_BATCH * DATAGRAM_MAX);
	pthread_barrier_wait(me->together);
	for (unsigned i = 0; i < HAMMER; i++)
		seal_some(me, rooms, 1 + i % 2);
	free(rooms);
	return NULL;
}

/* Returns how many they sealed; the packets that found the key spent go to *ret_spent. */
static size_t run_threads(struct chain *c, void *(*run)(void *arg), size_t *ret_spent)
{
	struct thread *t = calloc(THREADS, sizeof(*t));
	pthread_t id[THREADS];
	pthread_barrier_t together;
	size_t sealed = 0;
	*ret_spent = 0;
	pthread_barrier_init(&together, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		filler_init(&t[i].filler, &c->rng);
		t[i].c = c;
		t[i].batch = i * 5;
		t[i].together = &together;
		t[i].t = c->party[0].t;
		t[i].t.filler = &t[i].filler;
		t[i].t.drops = &t[i].drops;
		t[i].t.aead = aead_ctx_new();
		assert_non_null(t[i].t.aead);
		assert_int_equal(pthread_create(&id[i], NULL, run, &t[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(id[i], NULL);
		sealed += t[i].sealed;
		*ret_spent += drops_get(&t[i].drops, DROP_DATA_KEY_SPENT);
		aead_ctx_free(t[i].t.aead);
		filler_done(&t[i].filler);
	}
	pthread_barrier_destroy(&together);
	free(t);
	return sealed;
}

/* Together they seal exactly what the key serves, each number once. */
static void dataplane_seal_threads_share_the_last_numbers(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 30);
	size_t spent;
	atomic_store(&c->path.sealed, c->path.sealed_first + KEY_PACKETS_MOST - SHARED);
	assert_int_equal(run_threads(c, seal_until_spent, &spent), SHARED);
	assert_int_equal(sealed_count(), 3 * SHARED);
	assert_true(spent >= (THREADS - 1) * SHARED);
	chain_free(c);
}

/* One hop, and nobody who watches with a lock: the threads meet at the counter. No number is lost.
 */
static void dataplane_seal_threads_meet_at_the_counter(void **state)
{
	(void)state;
	struct chain *c = chain_new(1, 31);
	size_t spent;
	sealed_pause(true);
	assert_int_equal(run_threads(c, seal_as_often_as_possible, &spent),
			 THREADS * HAMMER * 3 / 2);
	assert_int_equal(atomic_load(&c->path.sealed) - c->path.sealed_first,
			 THREADS * HAMMER * 3 / 2);
	assert_int_equal(spent, 0);
	chain_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, no_nonce_twice)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dataplane_seal_batch_equals_singles_and_arrives),
		TEST(dataplane_seal_batch_ends_with_the_key),
		TEST(dataplane_seal_batch_stamps),
		TEST(dataplane_seal_threads_share_the_last_numbers),
		TEST(dataplane_seal_threads_meet_at_the_counter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
