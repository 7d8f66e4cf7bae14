/* tests/unit/test_dataplane_rules.c - what onion/dataplane.c refuses and why, whom it asks instead,
 * what it stamps and counts. Every test ends with: no (key, nonce) sealed twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
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

static void dataplane_rules_checks_header_and_circuit(void **state)
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
	assert_false(replay_started(&c->circuit[1].forward.window));
	struct datagram d = forged(c, 1, &rows[0].h, 200);
	d.d[HEADER_BYTES - 1] ^= 1;
	expect_drop(c, 2, &d, DROP_HEADER);
	chain_free(c);
}

static void dataplane_rules_passes_control_frames_up(void **state)
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

static void dataplane_rules_bounds_sizes(void **state)
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
static void dataplane_rules_survives_any_length_and_fill(void **state)
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

static void dataplane_rules_hands_over_what_another_worker_owns(void **state)
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
	assert_false(replay_started(&c->circuit[0].forward.window));
	assert_int_equal(atomic_load(&c->far[0].last_rx), 0);
	c->party[1].t.worker = 3;
	chain_give(c, 1, &d, &r);
	assert_int_equal(r.action, DP_SEND);
	chain_free(c);
}

static void dataplane_rules_bounds_how_far_a_counter_jumps(void **state)
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

static void dataplane_rules_spends_a_key_once(void **state)
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
	c->circuit[0].forward.count = KEY_PACKETS_MOST;
	expect_drop(c, 1, &last, DROP_DATA_KEY_SPENT);
	c->circuit[0].forward.count--;
	chain_give(c, 1, &last, &r);
	assert_int_equal(r.action, DP_SEND);
	struct circuit *exit = &c->circuit[2];
	atomic_store(&exit->sealed, exit->sealed_first + KEY_PACKETS_MOST);
	assert_false(chain_seal_circuit(c, &d, "\2abc", 4, 0, PAD_BUCKET));
	assert_int_equal(chain_dropped(c, 3, DROP_DATA_KEY_SPENT), 1);
	chain_free(c);
}

static void dataplane_rules_tells_handshakes(void **state)
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

static void dataplane_rules_lets_only_clients_roam(void **state)
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
	assert_false(replay_started(&c->circuit[1].backward.window));
	chain_free(c);
}

static void ip_packet(uint8_t *plain, uint8_t type, uint16_t inner)
{
	memset(plain, 0, 100);
	plain[0] = type;
	plain[1] = 0x45;
	store_be16(plain + 3, inner);
}

static void dataplane_rules_stamps_and_counts(void **state)
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
	assert_int_equal(chain_run_forward(c, &d, 0, NULL, &at).action, DP_PLAIN);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(atomic_load(&c->far[i].last_rx), CHAIN_NOW);
		assert_int_equal(atomic_load(&c->circuit[i].forward.count), 1);
	}
	assert_int_equal(atomic_load(&c->near[1].last_tx), CHAIN_NOW);
	ip_packet(plain, PLAIN_PACKET_OPEN, 80);
	assert_true(chain_seal_circuit(c, &d, plain, 100, 0, PAD_BUCKET));
	assert_int_equal(atomic_load(&c->far[2].last_tx), CHAIN_NOW); /* a receive set the clock */
	assert_int_equal(chain_run_backward(c, &d, 3, NULL, &at).action, DP_PLAIN);
	assert_int_equal(atomic_load(&c->path.last_rx), CHAIN_NOW);
	assert_int_equal(atomic_load(&c->path.unanswered), 0);
	assert_int_equal(atomic_load(&c->near[0].last_rx), CHAIN_NOW);
	chain_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, no_nonce_twice)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dataplane_rules_checks_header_and_circuit),
		TEST(dataplane_rules_passes_control_frames_up),
		TEST(dataplane_rules_bounds_sizes),
		TEST(dataplane_rules_survives_any_length_and_fill),
		TEST(dataplane_rules_hands_over_what_another_worker_owns),
		TEST(dataplane_rules_bounds_how_far_a_counter_jumps),
		TEST(dataplane_rules_spends_a_key_once),
		TEST(dataplane_rules_tells_handshakes),
		TEST(dataplane_rules_lets_only_clients_roam),
		TEST(dataplane_rules_stamps_and_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
