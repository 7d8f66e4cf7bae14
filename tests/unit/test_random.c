/* tests/unit/test_random.c - numbers from a generator: which bytes are used, and no bias. */
#include "base/random.h"
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Hands out the numbers of a list, in order. */
struct list {
	const uint64_t *values;
	size_t used;
};

static void fill_from_list(void *arg, void *to, size_t n)
{
	struct list *l = arg;
	memcpy(to, &l->values[l->used++], n);
}

static void random_below_throws_unfair_values_away(void **state)
{
	(void)state;
	/* 2^64 mod 10 is 6: the values 0..5 are one too many of the small digits. */
	static const uint64_t values[] = {0, 5, 6, 17};
	struct list l = {values, 0};
	const struct rng r = {fill_from_list, &l};
	assert_int_equal(rng_below(&r, 10), 6);
	assert_int_equal(l.used, 3);
	assert_int_equal(rng_below(&r, 10), 7);
	l.used = 0;
	assert_int_equal(rng_below(&r, 1), 0);
	assert_int_equal(rng_below(&r, 4), 1); /* a power of two has nothing unfair */
	assert_int_equal(l.used, 2);
}

static void random_below_reaches_all_evenly(void **state)
{
	(void)state;
	unsigned hits[6] = {0};
	for (unsigned i = 0; i < 60000; i++)
		hits[rng_below(&rng_system, 6)]++;
	for (unsigned i = 0; i < 6; i++)
		assert_in_range(hits[i], 9200, 10800); /* 10,000 and more than 8 deviations */
}

static void random_passes_numbers_through(void **state)
{
	(void)state;
	static const uint64_t values[] = {0x1122334455667788, 0x99aabbccddeeff00, 5};
	struct list l = {values, 0};
	const struct rng r = {fill_from_list, &l};
	assert_true(rng_u64(&r) == values[0]);
	uint32_t first;
	memcpy(&first, &values[1], 4);
	assert_int_equal(rng_u32(&r), first);
	uint64_t copy = 0;
	rng_bytes(&r, &copy, 8);
	assert_int_equal(copy, 5);
}

static void random_system_fills_every_byte(void **state)
{
	(void)state;
	uint8_t seen[1000] = {0};
	for (unsigned i = 0; i < 20; i++) {
		uint8_t buf[sizeof(seen)];
		memset(buf, 0, sizeof(buf));
		rng_bytes(&rng_system, buf, sizeof(buf) - 1);
		assert_int_equal(buf[sizeof(buf) - 1], 0);
		for (size_t b = 0; b < sizeof(buf) - 1; b++)
			seen[b] |= buf[b];
	}
	for (size_t b = 0; b < sizeof(seen) - 1; b++)
		assert_int_not_equal(seen[b], 0); /* by chance once in 2^150 */
	rng_bytes(&rng_system, seen, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_below_throws_unfair_values_away),
		cmocka_unit_test(random_below_reaches_all_evenly),
		cmocka_unit_test(random_passes_numbers_through),
		cmocka_unit_test(random_system_fills_every_byte),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
