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

/* A DATA or other datagram of n bytes as the neighbour across link i can make it; towards party i
 * + 1. */
static struct datagram forged(struct chain *c, unsigned i, const struct header *h, size_t n)
{
	struct datagram d = {.n = n};
	rng_bytes(&c->rng, d.d, sizeof(d.d));
	datagram_header(c->aead, &c->near[i], h, d.d);
	return d;
}

static void expect_drop(struct chain *c, unsigned to, struct datagram *d, enum drop why)
{
	uint64_t before = chain_dropped(c, to, why);
	struct dp_result r;
	chain_give(c, to, d, &r);
	assert_int_equal(r.action, DP_DROP);
	assert_int_equal(chain_dropped(c, to, why), before + 1);
}

static void dataplane_checks_header_and_circuit(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 5);
	uint32_t ours = c->circuit[1].forward.slot.id, other = c->circuit[1].backward.slot.id;
	const struct {
		struct header h;
		enum drop why;
	} rows[] = {
		{{ours, 0, 5}, DROP_HEADER_TYPE},
		{{ours, 3, 5}, DROP_HEADER_TYPE},
		{{ours, HEADER_CTRL, 5}, DROP_HEADER_TYPE},
		{{ours + 256, HEADER_DATA, 5}, DROP_CIRCUIT_UNKNOWN},
		{{0, HEADER_DATA, 5}, DROP_CIRCUIT_UNKNOWN},
		{{other, HEADER_DATA, 5}, DROP_CIRCUIT_LINK},
		{{ours, HEADER_DATA, 5}, DROP_DATA_OPEN},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct datagram d = forged(c, 1, &rows[i].h, 200);
		expect_drop(c, 2, &d, rows[i].why);
	}
	assert_false(c->circuit[1].forward.window.started);
	struct datagram d = forged(c, 1, &rows[0].h, 200);
	d.d[HEADER_BYTES - 1] ^= 1;
	expect_drop(c, 2, &d, DROP_HEADER);
	chain_free(c);
}

static void dataplane_passes_control_frames_up(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 6);
	const struct header h = {0, HEADER_CTRL, 77};
	struct datagram d = forged(c, 1, &h, 196), before = d;
	struct dp_result r;
	c->far[1].owner = 5; /* whoever read it: CTRL windows are the control thread's */
	chain_give(c, 2, &d, &r);
	assert_int_equal(r.action, DP_CTRL);
	assert_ptr_equal(r.link, &c->far[1]);
	assert_int_equal(r.header.ctr, 77);
	assert_memory_equal(d.d + HEADER_BYTES, before.d + HEADER_BYTES, d.n - HEADER_BYTES);
	assert_int_equal(atomic_load(&c->far[1].last_rx), 0);
	chain_free(c);
}

static void dataplane_bounds_sizes(void **state)
{
	(void)state;
	struct chain *c = chain_new(8, 7);
	const struct header h = {c->circuit[1].forward.slot.id, HEADER_DATA, 9};
	static const size_t bad[] = {0, 3, 4, 19, 20, 63, 83, 1453, 1500};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct datagram d = forged(c, 1, &h, bad[i]);
		expect_drop(c, 2, &d, DROP_SIZE);
	}
	/* Room for 16 B of plain, our tag and the filler; one byte less is refused. */
	size_t least = HEADER_BYTES + 16 + 16 * (1 + (size_t)c->circuit[1].forward.fill);
	assert_int_equal(c->circuit[1].forward.fill, 1);
	c->circuit[1].forward.fill = 7;
	least += 6 * 16;
	struct datagram d = forged(c, 1, &h, least - 1);
	expect_drop(c, 2, &d, DROP_DATA_SIZE);
	d = forged(c, 1, &h, least);
	expect_drop(c, 2, &d, DROP_DATA_OPEN);
	c->near[2].max_dgram = 300; /* more than the next link carries */
	d = forged(c, 1, &h, 301);
	expect_drop(c, 2, &d, DROP_DATA_SIZE);
	d = forged(c, 1, &h, 300);
	expect_drop(c, 2, &d, DROP_DATA_OPEN);
	chain_free(c);
}

/* Any length against any fill: nothing outside the datagram is touched (ASan), nothing sent that is
 * short. */
static void dataplane_survives_any_length_and_fill(void **state)
{
	(void)state;
	struct chain *c = chain_new(4, 8);
	struct hop_dir *dirs[] = {&c->circuit[1].forward, &c->circuit[1].backward,
				  &c->circuit[3].forward};
	for (unsigned k = 0; k < 3; k++) {
		for (unsigned i = 0; i < 3000; i++) {
			size_t n = rng_below(&c->rng, 4) ? 84 + rng_below(&c->rng, 400)
							 : 84 + rng_below(&c->rng, 1369);
			dirs[k]->fill =
				(uint8_t)rng_below(&c->rng, rng_below(&c->rng, 2) ? 10 : 256);
			const struct header h = {dirs[k]->slot.id, HEADER_DATA, i};
			uint8_t *exact = malloc(n);
			struct dp_result r;
			struct link_data *in = dirs[k]->in, *peer = in;
			for (unsigned l = 0; l < c->hops; l++) {
				peer = in == &c->far[l] ? &c->near[l] : peer;
				peer = in == &c->near[l] ? &c->far[l] : peer;
			}
			memset(exact, 0x5a, n);
			datagram_header(c->aead, peer, &h, exact);
			unsigned to = k == 2 ? 4 : 2;
			const struct addr *from = atomic_load(&in->remote);
			dataplane_receive(&c->party[to].t, exact, n, from, 1, &r);
			if (r.action == DP_SEND)
				assert_true(n >= HEADER_BYTES + 16 * (size_t)dirs[k]->fill + 16);
			free(exact);
		}
	}
	assert_true(chain_dropped(c, 2, DROP_DATA_OPEN) > 100);
	assert_true(chain_dropped(c, 2, DROP_DATA_SIZE) > 100);
	chain_free(c);
}

static void dataplane_hands_over_what_another_worker_owns(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 9);
	struct datagram d, before;
	struct dp_result r;
	assert_true(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	before = d;
	c->far[0].owner = 3;
	chain_give(c, 1, &d, &r);
	assert_int_equal(r.action, DP_HANDOVER);
	assert_int_equal(r.worker, 3);
	assert_memory_equal(d.d, before.d, d.n);
	assert_false(c->circuit[0].forward.window.started);
	assert_int_equal(atomic_load(&c->far[0].last_rx), 0);
	c->party[1].t.worker = 3;
	chain_give(c, 1, &d, &r);
	assert_int_equal(r.action, DP_SEND);
	chain_free(c);
}

static void dataplane_bounds_how_far_a_counter_jumps(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 10);
	struct datagram d;
	struct dp_result r;
	assert_true(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	chain_give(c, 1, &d, &r);
	assert_int_equal(r.action, DP_SEND);
	atomic_fetch_add(&c->path.sealed, REPLAY_MAX_AHEAD);
	assert_true(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	expect_drop(c, 1, &d, DROP_DATA_AHEAD);
	atomic_fetch_sub(&c->path.sealed, 2);
	assert_true(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	chain_give(c, 1, &d, &r);
	assert_int_equal(r.action, DP_SEND);
	/* The client judges the exit's own counter, whatever the offsets add. */
	assert_true(chain_seal_circuit(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	unsigned at;
	assert_int_equal(chain_run_backward(c, &d, 3, NULL, &at).action, DP_PLAIN);
	assert_true(replay_check(&c->path.backward.window, c->circuit[2].sealed_first) ==
		    REPLAY_SEEN);
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

static void dataplane_spends_a_key_once(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 12);
	struct datagram d;
	struct dp_result r;
	atomic_store(&c->path.sealed, c->path.sealed_first + KEY_PACKETS_MOST - 1);
	assert_true(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	struct datagram last = d;
	assert_false(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	assert_int_equal(chain_dropped(c, 0, DROP_DATA_KEY_SPENT), 1);
	c->circuit[0].forward.packets = KEY_PACKETS_MOST;
	expect_drop(c, 1, &last, DROP_DATA_KEY_SPENT);
	c->circuit[0].forward.packets--;
	chain_give(c, 1, &last, &r);
	assert_int_equal(r.action, DP_SEND);
	struct circuit *exit = &c->circuit[2];
	atomic_store(&exit->sealed, exit->sealed_first + KEY_PACKETS_MOST);
	assert_false(chain_seal_circuit(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	assert_int_equal(chain_dropped(c, 3, DROP_DATA_KEY_SPENT), 1);
	chain_free(c);
}

static void dataplane_tells_handshakes(void **state)
{
	(void)state;
	struct chain *c = chain_new(1, 13);
	uint32_t up = c->far[0].slot.id, unknown = up ^ 1;
	const struct {
		uint32_t id;
		uint8_t type;
		size_t n;
		enum drop why; /* NONE: a handshake */
	} rows[] = {
		{0, 1, 192, DROP_NONE},
		{0, 2, 192, DROP_LINK_UNKNOWN},
		{0, 3, 64, DROP_LINK_UNKNOWN},
		{0, 1, 64, DROP_LINK_UNKNOWN},
		{0, 1, 191, DROP_SIZE},
		{0, 1, 193, DROP_SIZE},
		{0, 1, 200, DROP_SIZE},
		{unknown, 2, 192, DROP_NONE},
		{unknown, 3, 64, DROP_NONE},
		{unknown, 1, 192, DROP_LINK_UNKNOWN},
		{unknown, 3, 192, DROP_LINK_UNKNOWN},
		{unknown, 2, 64, DROP_LINK_UNKNOWN},
		{unknown, 0, 192, DROP_LINK_UNKNOWN},
		{unknown, 4, 64, DROP_LINK_UNKNOWN},
		{unknown, 2, 200, DROP_LINK_UNKNOWN},
		{up, 2, 192, DROP_HEADER},
		{up, 3, 64, DROP_SIZE},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct datagram d = {.n = rows[i].n};
		struct dp_result r;
		store_be32(d.d, rows[i].id);
		d.d[LINK_ID_BYTES] = rows[i].type;
		struct datagram before = d;
		if (rows[i].why != DROP_NONE) {
			expect_drop(c, 1, &d, rows[i].why);
			continue;
		}
		chain_give(c, 1, &d, &r);
		assert_int_equal(r.action, DP_HANDSHAKE);
		assert_memory_equal(d.d, before.d, d.n);
	}
	chain_free(c);
}

static struct dp_result give_from(struct chain *c, unsigned to, struct datagram *d, uint16_t port)
{
	const struct addr from = {.family = 4, .port = port, .ip = {192, 0, 2, 1}};
	struct dp_result r;
	dataplane_receive(&c->party[to].t, d->d, d->n, &from, CHAIN_NOW, &r);
	return r;
}

static void dataplane_lets_only_clients_roam(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 14);
	struct datagram d;
	assert_true(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	struct dp_result r = give_from(c, 1, &d, 9);
	assert_int_equal(r.action, DP_SEND);
	assert_true(r.foreign);
	assert_int_equal(r.foreign_link, c->far[0].slot.id);
	assert_false(give_from(c, 1, &d, 9).foreign); /* again: a replay proves nothing */
	assert_true(chain_seal_path(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	chain_give(c, 1, &d, &r);
	assert_false(r.foreign);
	struct datagram between = d;
	r = give_from(c, 2, &d, 9); /* relay to relay: fixed */
	assert_int_equal(r.action, DP_DROP);
	assert_int_equal(chain_dropped(c, 2, DROP_LINK_SOURCE), 1);
	chain_give(c, 2, &between, &r);
	assert_int_equal(r.action, DP_SEND);
	assert_true(chain_seal_circuit(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	assert_int_equal(give_from(c, 2, &d, 9).action, DP_DROP); /* we opened that link */
	assert_int_equal(chain_dropped(c, 2, DROP_LINK_SOURCE), 2);
	assert_false(c->circuit[1].backward.window.started);
	chain_free(c);
}

static void ip_packet(uint8_t *plain, uint8_t type, uint16_t inner)
{
	memset(plain, 0, 100);
	plain[0] = type;
	plain[1] = 0x45;
	store_be16(plain + 3, inner);
}

static void dataplane_stamps_and_counts(void **state)
{
	(void)state;
	struct chain *c = chain_new(3, 15);
	uint8_t plain[100];
	struct datagram d;
	unsigned at;
	c->party[0].t.now = c->party[3].t.now = 7;
	ip_packet(plain, PLAIN_DUMMY, 90);
	assert_true(chain_seal_path(c, &d, plain, 100, 0, PAD_BUCKET));
	assert_int_equal(atomic_load(&c->path.last_tx), 0);
	assert_int_equal(atomic_load(&c->path.unanswered), 0);
	assert_int_equal(atomic_load(&c->path.bytes_up), 0);
	assert_int_equal(atomic_load(&c->near[0].last_tx), 7);
	ip_packet(plain, PLAIN_PACKET, 90);
	assert_true(chain_seal_path(c, &d, plain, 100, 0, PAD_BUCKET));
	assert_int_equal(atomic_load(&c->path.last_tx), 7);
	assert_int_equal(atomic_load(&c->path.unanswered), 7);
	c->party[0].t.now = 8; /* the first one counts */
	struct datagram second;
	assert_true(chain_seal_path(c, &second, plain, 100, 0, PAD_BUCKET));
	assert_int_equal(atomic_load(&c->path.last_tx), 8);
	assert_int_equal(atomic_load(&c->path.unanswered), 7);
	atomic_store(&c->path.bytes_up, 90);
	assert_int_equal(atomic_load(&c->path.bytes_up), 90);
	assert_int_equal(chain_run_forward(c, &d, 0, NULL, &at).action, DP_PLAIN);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(atomic_load(&c->far[i].last_rx), CHAIN_NOW);
		assert_int_equal(atomic_load(&c->circuit[i].last_rx), CHAIN_NOW);
		assert_int_equal(atomic_load(&c->circuit[i].forward.bytes), d.n - HEADER_BYTES);
		assert_int_equal(atomic_load(&c->circuit[i].forward.count), 1);
		assert_int_equal(c->circuit[i].forward.packets, 1);
	}
	assert_int_equal(atomic_load(&c->near[1].last_tx), CHAIN_NOW);
	ip_packet(plain, PLAIN_PACKET_OPEN, 80);
	assert_true(chain_seal_circuit(c, &d, plain, 100, 0, PAD_BUCKET));
	assert_int_equal(atomic_load(&c->far[2].last_tx), CHAIN_NOW); /* a receive set the clock */
	assert_int_equal(chain_run_backward(c, &d, 3, NULL, &at).action, DP_PLAIN);
	assert_int_equal(atomic_load(&c->path.last_rx), CHAIN_NOW);
	assert_int_equal(atomic_load(&c->path.unanswered), 0);
	assert_int_equal(atomic_load(&c->path.bytes_down), 80);
	assert_int_equal(atomic_load(&c->near[0].last_rx), CHAIN_NOW);
	ip_packet(plain, PLAIN_PACKET, 2000); /* its length lies: not counted */
	assert_true(chain_seal_path(c, &d, plain, 100, 0, PAD_BUCKET));
	assert_int_equal(atomic_load(&c->path.bytes_up), 90);
	chain_free(c);
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
		TEST(dataplane_checks_header_and_circuit),
		TEST(dataplane_passes_control_frames_up),
		TEST(dataplane_bounds_sizes),
		TEST(dataplane_survives_any_length_and_fill),
		TEST(dataplane_hands_over_what_another_worker_owns),
		TEST(dataplane_bounds_how_far_a_counter_jumps),
		TEST(dataplane_counts_across_2_to_the_56),
		TEST(dataplane_spends_a_key_once),
		TEST(dataplane_tells_handshakes),
		TEST(dataplane_lets_only_clients_roam),
		TEST(dataplane_stamps_and_counts),
		TEST(dataplane_gives_no_counter_to_two_threads),
		TEST(dataplane_seals_once_whichever_worker_reads),
		TEST(dataplane_test_helpers_notice),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
