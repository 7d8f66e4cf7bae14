/* tests/unit/test_circuit_limits.c - what a relay's circuits may cost: rates, counts, time, memory.
 */
#include "unit/fake_build.h"
#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define NEXT_ID 0x0c0c0002u

static void free_around(struct around *a)
{
	fake_net_free(a->n);
}

static size_t take_all(struct around *a)
{
	size_t n = 0;
	while (fake_take(a->n))
		n++;
	return n;
}

/* How many BUILDs of `tries` get past the rate: they die at the key id, which is behind it and
 * cheap. */
static unsigned count_passing(struct around *a, struct link *l, unsigned tries)
{
	struct fake_build b;
	uint64_t before = fake_dropped(a->relay, DROP_BUILD_KEYID);
	uint64_t refused = fake_dropped(a->relay, DROP_BUILD_RATE);
	fake_onion_through(a, &b, 1, BACK_ID);
	store_be16(b.frame + 6, 9999);
	for (unsigned i = 0; i < tries; i++)
		fake_give_build(l, &b);
	unsigned passed = (unsigned)(fake_dropped(a->relay, DROP_BUILD_KEYID) - before);
	assert_int_equal(fake_dropped(a->relay, DROP_BUILD_RATE) - refused, tries - passed);
	return passed;
}

static void circuit_limits_rates_of_links(void **state)
{
	(void)state;
	struct around a = around_new(2, NULL);
	struct link *relay = fake_link(a.n, 0, 1, true);
	assert_int_equal(count_passing(&a, a.in, 30), BUILDS_PER_S_CLIENT_LINK);
	assert_int_equal(count_passing(&a, relay, 3000), BUILDS_PER_S_RELAY_LINK);
	assert_int_equal(count_passing(&a, a.in, 30), 0);
	fake_sleep(a.n, NSEC_PER_SEC / 2);
	assert_int_equal(count_passing(&a, a.in, 30), BUILDS_PER_S_CLIENT_LINK / 2);
	assert_int_equal(count_passing(&a, relay, 3000), BUILDS_PER_S_RELAY_LINK / 2);
	fake_sleep(a.n, 100 * NSEC_PER_SEC); /* nothing is saved up */
	assert_int_equal(count_passing(&a, a.in, 30), BUILDS_PER_S_CLIENT_LINK);
	free_around(&a);
}

/* Ends of paths on link l until one is refused, at most `tries`, slowly enough for any rate. */
static unsigned count_ends(struct around *a, struct link *l, unsigned tries, uint32_t first_id)
{
	struct fake_build b;
	unsigned before = a->relay->ends;
	for (unsigned i = 0; i < tries; i++) {
		fake_onion_through(a, &b, 1, first_id + i);
		fake_give_build(l, &b);
		if (a->relay->ends == before + i)
			return i;
		circuits_end_granted(a->relay->circuits, a->relay->end, true);
		a->n->now += NSEC_PER_SEC / BUILDS_PER_S_CLIENT_LINK;
		take_all(a);
	}
	return tries;
}

static void circuit_limits_circuits_of_a_client(void **state)
{
	(void)state;
	struct around a = around_new(2, NULL);
	struct link *relay = fake_link(a.n, 0, 1, true);
	struct link *other = fake_link(a.n, 0, 1, false);
	assert_int_equal(count_ends(&a, a.in, 100, BACK_ID), CIRCUITS_PER_CLIENT_LINK);
	assert_int_equal(fake_dropped(a.relay, DROP_CIRCUITS_PER_LINK), 1);
	take_all(&a);
	struct fake_build b;
	fake_onion_through(&a, &b, 1, 1);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_OVERLOAD);
	assert_int_equal(count_ends(&a, other, 2, BACK_ID), 2);
	assert_int_equal(count_ends(&a, relay, CIRCUITS_PER_CLIENT_LINK + 6, BACK_ID),
			 CIRCUITS_PER_CLIENT_LINK + 6);
	circuits_close_end(a.relay->circuits, a.relay->end, CLOSE_DONE,
			   a.n->now); /* not of a.in: no help */
	take_all(&a);
	assert_int_equal(count_ends(&a, a.in, 1, 2), 0);
	fake_give_close(a.in, BACK_ID + CIRCUITS_PER_CLIENT_LINK - 1, CLOSE_DONE);
	take_all(&a);
	assert_int_equal(count_ends(&a, a.in, 2, 3), 1);
	free_around(&a);
}

static void ten_circuits(struct circuits_config *c)
{
	c->circuits_most = 10;
}

/* A circuit that goes on to party 2. */
static struct circuit *transit(struct around *a, uint32_t back_id)
{
	struct fake_build b;
	struct fake_frame f;
	struct build_answer answer;
	fake_onion_through(a, &b, 2, back_id);
	fake_give_build(a->in, &b);
	fake_expect(a, 2, FRAME_BUILD, &f);
	fake_play_hop(a, 2, &f, BUILD_OK, NEXT_ID);
	uint32_t id = fake_expect_reply(a, &b, &answer);
	struct hop_dir *d = (struct hop_dir *)(void *)slots_find(a->relay->circuit_table, id);
	assert_non_null(d);
	a->n->now += NSEC_PER_SEC / BUILDS_PER_S_CLIENT_LINK;
	return d->owner;
}

static void circuit_limits_circuits_idle_first_out(void **state)
{
	(void)state;
	struct around a = around_new_with(3, ten_circuits);
	struct fake_build b;
	struct circuit *busy[3];
	busy[0] = transit(&a, 100);
	assert_int_equal(count_ends(&a, a.in, 1, 101), 1);
	busy[1] = a.relay->end;
	busy[2] = transit(&a, 102);
	assert_int_equal(count_ends(&a, a.in, 10, 200), 6); /* 90 % of ten */
	assert_int_equal(fake_dropped(a.relay, DROP_CIRCUITS_FULL), 1);
	take_all(&a);
	for (uint32_t i = 0; i < 11; i++) { /* 11 times 10 s: three of nine are in use */
		fake_sleep(a.n, 10 * NSEC_PER_SEC);
		atomic_fetch_add(&busy[0]->forward.count, 1);
		atomic_fetch_add(&busy[1]->sealed, 1);
		atomic_fetch_add(&busy[2]->backward.count, 1);
		fake_onion_through(&a, &b, 1, 300 + i);
		fake_give_build(a.in, &b);
		if (i < 5) {
			fake_expect_refusal(&a, &b, BUILD_OVERLOAD);
			continue;
		}
		/* One idle circuit makes room for one new one. */
		struct fake_frame f;
		struct build_answer answer;
		fake_expect(&a, 0, FRAME_CIRCUIT_CLOSE, &f);
		assert_int_equal(f.data[4], CLOSE_OVERLOAD);
		assert_in_range(load_be32(f.data), 200, 205);
		assert_int_not_equal(fake_expect_reply(&a, &b, &answer), 0);
		circuits_end_granted(a.relay->circuits, a.relay->end, true);
	}
	assert_int_equal(a.relay->ends_gone, 6);
	assert_int_equal(circuits_count(a.relay->circuits), 9);
	free_around(&a);
}

/* What never carried anything is idle from its beginning, not from when somebody first looks. */
static void circuit_limits_unused_circuits_are_idle(void **state)
{
	(void)state;
	struct around a = around_new_with(3, ten_circuits);
	transit(&a, BACK_ID);
	assert_int_equal(count_ends(&a, a.in, 8, BACK_ID + 1), 8);
	fake_sleep(a.n, 60 * NSEC_PER_SEC);
	take_all(&a);
	assert_int_equal(count_ends(&a, a.in, 2, 1), 2);
	assert_int_equal(a.relay->ends_gone, 1); /* and the one that goes on, which is the oldest */
	free_around(&a);
}

static void twenty_pending(struct circuits_config *c)
{
	c->pending_most = 20;
}

/* BUILDs through 1 and 2 that nobody answers. Returns how many were forwarded. */
static unsigned flood(struct around *a, struct link *l, unsigned tries, uint32_t first_id)
{
	struct fake_build b;
	unsigned forwarded = 0;
	for (unsigned i = 0; i < tries; i++) {
		fake_onion_through(a, &b, 2, first_id + i);
		fake_give_build(l, &b);
		const struct fake_frame *f = fake_take(a->n);
		forwarded += f && f->type == FRAME_BUILD;
	}
	return forwarded;
}

static void circuit_limits_pending(void **state)
{
	(void)state;
	struct around a = around_new_with(4, twenty_pending);
	struct link *relay = fake_link(a.n, 3, 1, true);
	assert_int_equal(flood(&a, relay, 40, BACK_ID), 18);
	assert_int_equal(circuits_pending(a.relay->circuits), 18);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_PENDING_FULL), 22);
	struct fake_build b;
	fake_onion_through(&a, &b, 2, 1);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_OVERLOAD);
	fake_onion_through(&a, &b, 1, 2); /* an end is never pending */
	fake_give_build(a.in, &b);
	assert_int_equal(a.relay->ends, 1);
	take_all(&a);
	fake_sleep(a.n, 4 * NSEC_PER_SEC);
	take_all(&a);
	assert_int_equal(circuits_pending(a.relay->circuits), 0);
	assert_int_equal(flood(&a, relay, 1, 3), 1);
	free_around(&a);
}

static void twenty_replays(struct circuits_config *c)
{
	c->replay_entries = 20;
}

static void circuit_limits_replay_cache_clients_first(void **state)
{
	(void)state;
	struct around a = around_new_with(4, twenty_replays);
	struct link *relay = fake_link(a.n, 3, 1, true);
	struct fake_build b;
	assert_int_equal(flood(&a, a.in, 19, BACK_ID), 18);
	assert_int_equal(flood(&a, relay, 4, BACK_ID), 2);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLAY_FULL), 3);
	fake_sleep(a.n, 10 * NSEC_PER_SEC);
	take_all(&a);
	fake_onion_through(&a, &b, 2, 1);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_OVERLOAD);
	/* 20 minutes later there is room. */
	fake_sleep(a.n, BUILD_REPLAY_SECONDS * NSEC_PER_SEC - 11 * NSEC_PER_SEC);
	assert_int_equal(flood(&a, relay, 1, 2), 0);
	fake_sleep(a.n, 2 * NSEC_PER_SEC);
	assert_int_equal(flood(&a, a.in, 1, 3), 1);
	free_around(&a);
}

static void ten_replies(struct circuits_config *c)
{
	c->is_exit = false;
	c->replies_most = 10;
}

/* All that a flood of failures leaves is ten replies, of which the oldest go. */
static void circuit_limits_kept_replies(void **state)
{
	(void)state;
	struct around a = around_new_with(2, ten_replies);
	struct fake_build b[15];
	for (unsigned i = 0; i < 15; i++) {
		fake_onion_through(&a, &b[i], 1, BACK_ID + i);
		fake_give_build(a.in, &b[i]);
		fake_expect_refusal(&a, &b[i], BUILD_NO_EXIT);
	}
	assert_int_equal(a.in->holds, 10);
	fake_sleep(a.n, NSEC_PER_SEC);
	for (unsigned i = 0; i < 15; i++)
		fake_give_build(a.in, &b[i]);
	assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLAY), 5);
	assert_int_equal(take_all(&a), 10);
	fake_sleep(a.n, 9 * NSEC_PER_SEC);
	assert_int_equal(a.in->holds, 0);
	for (unsigned i = 0; i < 10; i++) { /* the same room as before */
		fake_onion_through(&a, &b[i], 1, BACK_ID + i);
		fake_give_build(a.in, &b[i]);
	}
	assert_int_equal(a.in->holds, 10);
	free_around(&a);
}

/* With k hops left: 3.25 + 0.25 k s, then the answer for the rest. */
static void circuit_limits_wait_for_hops(void **state)
{
	(void)state;
	for (unsigned k = 2; k <= HOPS_MAX; k++) {
		struct around a = around_new(10, NULL);
		struct fake_build b;
		struct fake_frame f;
		fake_onion_through(&a, &b, k, BACK_ID);
		fake_give_build(a.in, &b);
		fake_expect(&a, 2, FRAME_BUILD, &f);
		nsec_t wait = (3250 + 250 * (nsec_t)k) * NSEC_PER_MSEC;
		assert_true(circuits_next_deadline(a.relay->circuits) == a.n->now + wait);
		fake_sleep(a.n, wait - 1);
		fake_expect_nothing(&a);
		a.n->now++;
		circuits_on_timer(a.relay->circuits, a.n->now);
		fake_expect_close(&a, 2, load_be32(f.data), CLOSE_DONE);
		fake_expect_refusal(&a, &b, BUILD_NEXT_DOWN);
		fake_play_hop(&a, 2, &f, BUILD_OK, NEXT_ID);
		assert_int_equal(fake_dropped(a.relay, DROP_BUILD_REPLY_UNKNOWN), 1);
		fake_expect_nothing(&a);
		assert_int_equal(slots_count(a.relay->circuit_table), 0);
		free_around(&a);
	}
	/* A link that is still on its way: nobody to tell. */
	struct around a = around_new(4, NULL);
	struct fake_build b;
	a.relay->links.manual = true;
	fake_onion_through(&a, &b, 2, BACK_ID);
	fake_give_build(a.in, &b);
	a.n->now += 3750 * NSEC_PER_MSEC;
	circuits_on_timer(a.relay->circuits, a.n->now);
	fake_expect_refusal(&a, &b, BUILD_NEXT_DOWN);
	fake_expect_nothing(&a);
	free_around(&a);
}

static void circuit_limits_lifetimes(void **state)
{
	(void)state;
	static const struct {
		uint16_t asked;
		uint32_t granted;
	} table[] = {{0, 600}, {1, 1}, {600, 600}, {1200, 1200}, {1201, 1200}, {65535, 1200}};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct around a = around_new(4, NULL);
		struct fake_build b;
		struct fake_frame f;
		struct build_answer answer;
		fake_onion(&a, &b, (const unsigned[]){1, 2}, 2, BACK_ID, table[i].asked, 0);
		fake_give_build(a.in, &b);
		fake_expect(&a, 2, FRAME_BUILD, &f);
		a.n->now += NSEC_PER_SEC;
		fake_play_hop(&a, 2, &f, BUILD_OK, NEXT_ID);
		uint32_t id = fake_expect_reply(&a, &b, &answer);
		assert_int_equal(answer.lifetime_s[0], table[i].granted);
		nsec_t end = a.n->now + (table[i].granted + 30) * NSEC_PER_SEC;
		while (circuits_next_deadline(a.relay->circuits) < end) {
			a.n->now = circuits_next_deadline(a.relay->circuits);
			circuits_on_timer(a.relay->circuits, a.n->now);
		}
		fake_expect_nothing(&a);
		assert_non_null(slots_find(a.relay->circuit_table, id));
		a.n->now = end;
		circuits_on_timer(a.relay->circuits, a.n->now);
		fake_expect_close(&a, 0, BACK_ID, CLOSE_EXPIRED);
		fake_expect_close(&a, 2, NEXT_ID, CLOSE_EXPIRED);
		assert_int_equal(slots_count(a.relay->circuit_table), 0);
		assert_int_equal(circuits_count(a.relay->circuits), 0);
		free_around(&a);
	}
}

static void circuit_limits_ends_without_session(void **state)
{
	(void)state;
	struct around a = around_new(2, NULL);
	struct fake_build b;
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	take_all(&a);
	fake_sleep(a.n, 10 * NSEC_PER_SEC - 1);
	assert_int_equal(a.relay->ends_gone, 0);
	a.n->now++;
	circuits_on_timer(a.relay->circuits, a.n->now);
	fake_expect_close(&a, 0, BACK_ID, CLOSE_EXPIRED);
	assert_int_equal(a.relay->ends_gone, 1);
	/* Granted: it stays. Let go later, when nothing has called us for long: ten seconds from
	 * then. */
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	take_all(&a);
	circuits_end_granted(a.relay->circuits, a.relay->end, true);
	fake_sleep(a.n, 100 * NSEC_PER_SEC);
	a.n->now += 200 * NSEC_PER_SEC;
	assert_int_equal(a.relay->ends_gone, 1);
	circuits_end_granted(a.relay->circuits, a.relay->end, false);
	circuits_on_timer(a.relay->circuits, a.n->now);
	fake_sleep(a.n, 10 * NSEC_PER_SEC - 1);
	assert_int_equal(a.relay->ends_gone, 1);
	fake_sleep(a.n, 1);
	assert_int_equal(a.relay->ends_gone, 2);
	/* Let go and taken again within it. */
	fake_onion_through(&a, &b, 1, BACK_ID);
	fake_give_build(a.in, &b);
	circuits_end_granted(a.relay->circuits, a.relay->end, false);
	circuits_end_granted(a.relay->circuits, a.relay->end, true);
	fake_sleep(a.n, 629 * NSEC_PER_SEC);
	assert_int_equal(a.relay->ends_gone, 2);
	fake_sleep(a.n, NSEC_PER_SEC);
	assert_int_equal(a.relay->ends_gone, 3);
	free_around(&a);
}

static void circuit_limits_drain(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	struct fake_frame f;
	fake_live(&a, &b, BACK_ID, NEXT_ID);
	fake_onion_through(&a, &b, 2, BACK_ID + 1);
	fake_give_build(a.in, &b);
	fake_expect(&a, 2, FRAME_BUILD, &f);
	circuits_drain(a.relay->circuits, a.n->now);
	fake_expect_close(&a, 0, BACK_ID, CLOSE_DONE);
	fake_expect_close(&a, 2, NEXT_ID, CLOSE_DONE);
	fake_expect_close(&a, 0, BACK_ID + 1, CLOSE_DONE);
	fake_expect_close(&a, 2, load_be32(f.data), CLOSE_DONE);
	fake_expect_nothing(&a);
	assert_int_equal(circuits_count(a.relay->circuits), 0);
	fake_onion_through(&a, &b, 2, BACK_ID + 2);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_OVERLOAD);
	circuits_close_all(a.relay->circuits, CLOSE_DONE, a.n->now);
	fake_expect_nothing(&a);
	assert_int_equal(a.in->holds, 0);
	free_around(&a);
}

/* Ids run out: the table of hop_dirs is shared and has a limit of its own. */
static void circuit_limits_ids(void **state)
{
	(void)state;
	struct around a = around_new(4, NULL);
	struct fake_build b;
	slots_free(a.relay->circuit_table);
	a.relay->circuit_table = slots_new(8, 3);
	a.relay->env.circuits = a.relay->circuit_table;
	assert_int_equal(flood(&a, a.in, 1, BACK_ID), 1);
	fake_onion_through(&a, &b, 2, BACK_ID + 1);
	fake_give_build(a.in, &b);
	fake_expect_refusal(&a, &b, BUILD_OVERLOAD);
	assert_int_equal(fake_dropped(a.relay, DROP_CIRCUITS_FULL), 1);
	assert_int_equal(slots_count(a.relay->circuit_table), 2);
	free_around(&a);
}

/* Random frames of all kinds on random links for a while: at the end nothing is left (ASan, and
 * fake_net_free). */
static void circuit_limits_survive_noise(void **state)
{
	(void)state;
	struct around a = around_new_with(6, ten_circuits);
	struct link *in[3] = {a.in, fake_link(a.n, 3, 1, true), fake_link(a.n, 0, 1, false)};
	struct fake_build b;
	uint32_t ids[16] = {1};
	for (unsigned i = 0; i < 1500; i++) {
		struct link *out = fake_opened(a.n, 1);
		uint32_t id = ids[rng_below(&a.n->rng, 16)];
		struct fake_frame f = {
			out ? out : a.in, FRAME_BUILD_REPLY, FRAME_BUILD_REPLY_BYTES, {0}};
		switch (rng_below(&a.n->rng, 6)) {
		case 0:
			fake_onion_through(&a, &b, 1 + (unsigned)rng_below(&a.n->rng, 3),
					   rng_u32(&a.n->rng) | 1);
			fake_give_build(in[rng_below(&a.n->rng, 3)], &b);
			break;
		case 1:
			fake_give_close(in[rng_below(&a.n->rng, 3)], id,
					1 + (uint8_t)rng_below(&a.n->rng, 5));
			break;
		case 2:
			store_be32(f.data, id);
			store_be32(f.data + 4, (uint32_t)rng_below(&a.n->rng, 3));
			fake_give(&f);
			break;
		case 3:
			if (out && out->up)
				fake_give_close(out, id, 1);
			break;
		case 4:
			a.n->now += (nsec_t)rng_below(&a.n->rng, 2 * NSEC_PER_SEC);
			circuits_on_timer(a.relay->circuits, a.n->now);
			break;
		default:
			if (out && rng_below(&a.n->rng, 8) == 0 && !out->dead)
				fake_dead(out);
		}
		const struct fake_frame *sent;
		while ((sent = fake_take(a.n))) /* ids that are true somewhere */
			ids[rng_below(&a.n->rng, 16)] =
				load_be32(sent->data + (sent->type == FRAME_BUILD_REPLY ? 4 : 0));
		assert_true(circuits_count(a.relay->circuits) <= 9);
	}
	circuits_close_all(a.relay->circuits, CLOSE_DONE, a.n->now);
	assert_int_equal(slots_count(a.relay->circuit_table), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(in[i]->holds, 0);
	free_around(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(circuit_limits_rates_of_links),
		cmocka_unit_test(circuit_limits_circuits_of_a_client),
		cmocka_unit_test(circuit_limits_circuits_idle_first_out),
		cmocka_unit_test(circuit_limits_unused_circuits_are_idle),
		cmocka_unit_test(circuit_limits_pending),
		cmocka_unit_test(circuit_limits_replay_cache_clients_first),
		cmocka_unit_test(circuit_limits_kept_replies),
		cmocka_unit_test(circuit_limits_wait_for_hops),
		cmocka_unit_test(circuit_limits_lifetimes),
		cmocka_unit_test(circuit_limits_ends_without_session),
		cmocka_unit_test(circuit_limits_drain),
		cmocka_unit_test(circuit_limits_ids),
		cmocka_unit_test(circuit_limits_survive_noise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
