/* tests/unit/test_build_replay.c - the replay cache of BUILD against a plain list, at its limits
 * and over time. */
#include "onion/build_replay.h"
#include "onion/circuits.h"
#include "unit/seeded.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define START (77 * NSEC_PER_SEC + 5)

static struct seeded seeded;
static struct rng rng;

static struct build_replay *replay_of(uint32_t entries)
{
	rng = seeded_rng(&seeded, 9);
	struct build_replay *r = build_replay_new(entries, &rng, START);
	assert_non_null(r);
	return r;
}

static void make_key(uint8_t key[BUILD_REPLAY_KEY_BYTES], uint64_t number)
{
	struct seeded s = {number};
	seeded_fill(&s, key, BUILD_REPLAY_KEY_BYTES);
}

static bool has(const struct build_replay *r, uint64_t number)
{
	uint8_t key[BUILD_REPLAY_KEY_BYTES];
	make_key(key, number);
	return build_replay_has(r, key);
}

static int add(struct build_replay *r, uint64_t number, nsec_t now)
{
	uint8_t key[BUILD_REPLAY_KEY_BYTES];
	make_key(key, number);
	return build_replay_add(r, key, now);
}

static void build_replay_keeps_for_twenty_minutes(void **state)
{
	(void)state;
	const nsec_t keep = BUILD_REPLAY_SECONDS * NSEC_PER_SEC;
	for (nsec_t late = 0; late < NSEC_PER_SEC; late += NSEC_PER_SEC / 7) {
		struct build_replay *r = replay_of(10);
		nsec_t at = START + late;
		assert_int_equal(add(r, 1, at), 0);
		build_replay_expire(r, at + keep);
		assert_true(has(r, 1));
		assert_true(build_replay_next_deadline(r) > at + keep);
		assert_true(build_replay_next_deadline(r) <= at + keep + NSEC_PER_SEC);
		build_replay_expire(r, at + keep + NSEC_PER_SEC);
		assert_false(has(r, 1));
		assert_true(build_replay_next_deadline(r) == NSEC_NEVER);
		build_replay_free(r);
	}
}

static void build_replay_refuses_when_full(void **state)
{
	(void)state;
	static const uint32_t sizes[] = {1, 1023, 1024, 1025, 3000};
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		struct build_replay *r = replay_of(sizes[k]);
		for (uint32_t round = 0; round < 3; round++) {
			nsec_t now = START + round * 2000 * NSEC_PER_SEC;
			build_replay_expire(r, now);
			for (uint32_t i = 0; i < sizes[k]; i++)
				assert_int_equal(add(r, round * 100000 + i, now), 0);
			assert_int_equal(add(r, 99999, now), -ENOSPC);
			for (uint32_t i = 0; i < sizes[k]; i++) /* nothing went early */
				assert_true(has(r, round * 100000 + i));
			assert_false(has(r, 99999));
		}
		build_replay_free(r);
	}
}

/* A sliding window over numbers: number i was added in second i / rate. Against arithmetic. */
static void build_replay_slides(void **state)
{
	(void)state;
	struct build_replay *r =
		replay_of(2000); /* two chunks and a bit: positions wrap many times */
	const unsigned gap_s = 1;
	for (uint64_t i = 0; i < 12000; i++) {
		nsec_t now = START + (nsec_t)i * gap_s * NSEC_PER_SEC;
		build_replay_expire(r, now);
		assert_false(has(r, i));
		assert_int_equal(add(r, i, now), 0);
		uint64_t back = rng_below(&rng, 1400);
		if (back <= i)
			assert_int_equal(has(r, i - back), back <= BUILD_REPLAY_SECONDS);
		assert_true(build_replay_count(r) <= BUILD_REPLAY_SECONDS + 1);
	}
	build_replay_free(r);
}

/* Memory follows the entries, up and down again, and a whole cache of them is not searched in
 * lines. */
static void build_replay_memory_is_lazy(void **state)
{
	(void)state;
	struct build_replay *r = replay_of(BUILD_REPLAY_ENTRIES);
	size_t empty = build_replay_bytes(r);
	assert_true(empty < 64 * 1024);
	for (uint64_t i = 0; i < 100000; i++)
		assert_int_equal(add(r, i, START), 0);
	for (uint64_t i = 0; i < 200000; i += 97)
		assert_int_equal(has(r, i), i < 100000);
	assert_true(build_replay_bytes(r) < 100000 * 32 + empty);
	nsec_t later = START + 1300 * NSEC_PER_SEC;
	for (unsigned i = 0; i < 100; i++)
		build_replay_expire(r, later);
	assert_int_equal(build_replay_count(r), 0);
	assert_true(build_replay_bytes(r) == empty);
	build_replay_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(build_replay_keeps_for_twenty_minutes),
		cmocka_unit_test(build_replay_refuses_when_full),
		cmocka_unit_test(build_replay_slides),
		cmocka_unit_test(build_replay_memory_is_lazy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
