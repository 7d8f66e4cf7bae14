/* tests/unit/test_replay.c - crypto/replay.c against a slow second implementation that remembers
 * every counter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "crypto/replay.h"
#include "seeded.h"

/* The slow one: a list of all that was marked, in a line of numbers that does not wrap. */
#define LIST_MAX 6000
struct slow {
	int64_t marked[LIST_MAX];
	size_t count;
	int64_t newest;
};

static enum replay_verdict slow_check(const struct slow *s, int64_t v)
{
	if (s->count == 0)
		return REPLAY_NEW;
	if (v - s->newest > REPLAY_MAX_AHEAD)
		return REPLAY_AHEAD;
	if (s->newest - v >= REPLAY_PACKETS)
		return REPLAY_SEEN;
	for (size_t i = s->count; i-- > 0;)
		if (s->marked[i] == v)
			return REPLAY_SEEN;
	return REPLAY_NEW;
}

static void slow_mark(struct slow *s, int64_t v)
{
	if (s->count == 0 || v > s->newest)
		s->newest = v;
	s->marked[s->count++] = v;
}

/* Steps as a network makes them (next, late, twice), as an attacker does (far behind, far ahead),
 * at every edge. */
static int64_t next_value(const struct slow *s, const struct rng *rng)
{
	static const int64_t edges[] = {
		0,     1,     -1,    63,    64,	  65,	-63,  -64,   -65,   4095,  4096,   4097,
		-4094, -4095, -4096, -4097, 4159, 4160, 4161, 65535, 65536, 65537, -70000,
	};
	switch (rng_below(rng, 8)) {
	case 0:
		return s->newest + edges[rng_below(rng, sizeof(edges) / sizeof(edges[0]))];
	case 1:
		return s->newest - (int64_t)rng_below(rng, 4200);
	case 2:
		return s->newest + (int64_t)rng_below(rng, 5000);
	case 3:
		return s->count ? s->marked[rng_below(rng, s->count)] : 0;
	case 4:
		return s->newest - (int64_t)rng_below(rng, 200);
	default:
		return s->newest + 1 + (int64_t)rng_below(rng, 3);
	}
}

static void compare_from(uint64_t start, uint64_t seed)
{
	struct seeded seeded;
	struct rng rng = seeded_rng(&seeded, seed);
	static struct slow slow;
	struct replay w;
	replay_init(&w);
	slow.count = 0;
	slow.newest = 0; /* values count from `start`, which may lie just below 2^56 */
	for (int i = 0; i < LIST_MAX; i++) {
		int64_t v = next_value(&slow, &rng);
		uint64_t ctr = (start + (uint64_t)v) & COUNTER_MASK;
		enum replay_verdict expected = slow_check(&slow, v);
		assert_int_equal(replay_check(&w, ctr), expected);
		assert_int_equal(replay_check(&w, ctr), expected); /* a check marks nothing */
		if (expected == REPLAY_NEW) {
			replay_mark(&w, ctr);
			slow_mark(&slow, v);
			assert_int_equal(replay_check(&w, ctr), REPLAY_SEEN);
		}
	}
}

static void replay_agrees_with_a_set(void **state)
{
	(void)state;
	static const uint64_t starts[] = {
		0,
		1,
		4000,
		UINT64_C(1) << 47,
		(UINT64_C(1) << 55) - 3000,
		COUNTER_MASK,
		COUNTER_MASK - 1000,
		COUNTER_MASK - 1000000,
		COUNTER_MASK - 4096,
	};
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		compare_from(starts[i], i + 1);
}

static void replay_any_counter_may_be_first(void **state)
{
	(void)state;
	static const uint64_t firsts[] = {0, 1, 63, 64, 4095, UINT64_C(1) << 55, COUNTER_MASK};
	for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		struct replay w;
		replay_init(&w);
		assert_int_equal(replay_check(&w, firsts[i]), REPLAY_NEW);
		replay_mark(&w, firsts[i]);
		assert_int_equal(replay_check(&w, firsts[i]), REPLAY_SEEN);
		assert_int_equal(replay_check(&w, (firsts[i] - 4095) & COUNTER_MASK), REPLAY_NEW);
		assert_int_equal(replay_check(&w, (firsts[i] - 4096) & COUNTER_MASK), REPLAY_SEEN);
		assert_int_equal(replay_check(&w, (firsts[i] + 65536) & COUNTER_MASK), REPLAY_NEW);
		assert_int_equal(replay_check(&w, (firsts[i] + 65537) & COUNTER_MASK),
				 REPLAY_AHEAD);
	}
}

/* What was sent before the first that arrived is new as well, each once, down to the window's end.
 */
static void replay_fills_the_window_behind_the_first(void **state)
{
	(void)state;
	static const uint64_t firsts[] = {0, 1, 100, 4095, 4096, UINT64_C(1) << 47, COUNTER_MASK};
	for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
		struct replay w;
		replay_init(&w);
		for (uint64_t back = 0; back < REPLAY_PACKETS; back++) {
			uint64_t ctr = (firsts[i] - back) & COUNTER_MASK;
			assert_int_equal(replay_check(&w, ctr), REPLAY_NEW);
			replay_mark(&w, ctr);
		}
		for (uint64_t back = 0; back < REPLAY_PACKETS; back++)
			assert_int_equal(replay_check(&w, (firsts[i] - back) & COUNTER_MASK),
					 REPLAY_SEEN);
	}
}

/* In order through the wrap: every packet is new once. */
static void replay_counts_through_the_wrap(void **state)
{
	(void)state;
	struct replay w;
	replay_init(&w);
	for (int64_t i = -9000; i < 9000; i++) {
		uint64_t ctr = (uint64_t)i & COUNTER_MASK;
		assert_int_equal(replay_check(&w, ctr), REPLAY_NEW);
		replay_mark(&w, ctr);
		for (int64_t back = 0; back <= 4160 && i - back >= -9000; back += 64)
			assert_int_equal(replay_check(&w, (uint64_t)(i - back) & COUNTER_MASK),
					 REPLAY_SEEN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_agrees_with_a_set),
		cmocka_unit_test(replay_any_counter_may_be_first),
		cmocka_unit_test(replay_fills_the_window_behind_the_first),
		cmocka_unit_test(replay_counts_through_the_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
