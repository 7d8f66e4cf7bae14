/* tests/unit/test_slots.c - the id table against a plain array of ids, to its limit. */
#include "base/slots.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define BITS 8
#define SIZE (1u << BITS)

/* Slow and obvious: walk the array. */
static struct slot *slow_find(struct slot *objects, const bool *stands, uint32_t id)
{
	for (unsigned i = 0; i < SIZE; i++)
		if (stands[i] && objects[i].id == id)
			return &objects[i];
	return NULL;
}

static void slots_agree_with_the_slow_way(void **state)
{
	(void)state;
	struct slots *t = slots_new(BITS, SIZE);
	assert_non_null(t);
	struct slot objects[SIZE];
	bool stands[SIZE] = {false};
	uint32_t count = 0;
	memset(objects, 0, sizeof(objects));
	for (unsigned i = 0; i < 20000; i++) {
		unsigned which = (unsigned)rng_below(&rng_system, SIZE);
		/* More adding than removing, so that the table is full for a good part of the time.
		 */
		if (!stands[which]) {
			assert_int_equal(slots_add(t, &objects[which], &rng_system), 0);
			assert_int_not_equal(objects[which].id, 0);
			stands[which] = true;
			count++;
		} else if (rng_below(&rng_system, 8) == 0) {
			slots_remove(t, objects[which].id);
			stands[which] = false;
			count--;
		}
		assert_int_equal(slots_count(t), count);
		uint32_t asked = objects[rng_below(&rng_system, SIZE)].id;
		assert_ptr_equal(slots_find(t, asked), slow_find(objects, stands, asked));
		asked ^= 1u << (BITS +
				rng_below(&rng_system, 32 - BITS)); /* the slot, another rest */
		assert_ptr_equal(slots_find(t, asked), slow_find(objects, stands, asked));
	}
	slots_free(t);
}

static void slots_refuse_beyond_the_limit(void **state)
{
	(void)state;
	struct slots *t = slots_new(BITS, 3);
	assert_non_null(t);
	struct slot s[4];
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(slots_add(t, &s[i], &rng_system), 0);
	assert_int_equal(slots_add(t, &s[3], &rng_system), -ENOSPC);
	uint32_t id = 77;
	assert_int_equal(slots_reserve(t, &rng_system, &id), -ENOSPC);
	assert_int_equal(id, 77);
	slots_remove(t, s[1].id);
	assert_int_equal(slots_add(t, &s[3], &rng_system), 0);
	slots_free(t);
}

static void slots_reserved_id_is_found_by_nobody(void **state)
{
	(void)state;
	struct slots *t = slots_new(BITS, 2);
	assert_non_null(t);
	uint32_t a;
	uint32_t b;
	uint32_t c;
	assert_int_equal(slots_reserve(t, &rng_system, &a), 0);
	assert_null(slots_find(t, a));
	assert_null(slots_find(t, 0));
	assert_int_equal(slots_count(t), 1);
	assert_int_equal(slots_reserve(t, &rng_system, &b), 0);
	assert_int_not_equal(a % SIZE, b % SIZE);
	assert_int_equal(slots_reserve(t, &rng_system, &c), -ENOSPC); /* reserved ones count */
	struct slot s = {0};
	slots_publish(t, a, &s);
	assert_int_equal(s.id, a);
	assert_ptr_equal(slots_find(t, a), &s);
	slots_remove(t, b);
	slots_remove(t, b ^ 1u << 31);
	slots_remove(t, 0);
	assert_int_equal(slots_count(t), 1);
	slots_remove(t, a ^ 1u << 31); /* the slot of a, not its id */
	assert_ptr_equal(slots_find(t, a), &s);
	slots_remove(t, a);
	assert_null(slots_find(t, a));
	slots_free(t);
}

static void fill_zero(void *arg, void *to, size_t n)
{
	(void)arg;
	memset(to, 0, n);
}

static void slots_fill_with_the_worst_generator(void **state)
{
	(void)state;
	const struct rng zeros = {fill_zero, NULL};
	struct slots *t = slots_new(BITS, UINT32_MAX);
	assert_non_null(t);
	struct slot *objects = calloc(SIZE + 1, sizeof(*objects));
	assert_non_null(objects);
	for (unsigned i = 0; i < SIZE; i++) {
		assert_int_equal(slots_add(t, &objects[i], &zeros), 0);
		assert_int_not_equal(objects[i].id, 0);
	}
	assert_int_equal(slots_add(t, &objects[SIZE], &zeros), -ENOSPC);
	for (unsigned i = 0; i < SIZE; i++)
		assert_ptr_equal(slots_find(t, objects[i].id), &objects[i]);
	free(objects);
	slots_free(t);
}

static void slots_walk_meets_each_once(void **state)
{
	(void)state;
	struct slots *t = slots_new(BITS, SIZE);
	assert_non_null(t);
	struct slot objects[40];
	bool met[40] = {false};
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(slots_add(t, &objects[i], &rng_system), 0);
	uint32_t reserved;
	assert_int_equal(slots_reserve(t, &rng_system, &reserved), 0);
	unsigned n = 0;
	uint32_t cursor = 0;
	for (struct slot *s; (s = slots_next(t, &cursor)); n++) {
		assert_true(s >= objects && s < objects + 40);
		assert_false(met[s - objects]);
		met[s - objects] = true;
		slots_remove(t, s->id); /* allowed while walking */
	}
	assert_int_equal(n, 40);
	assert_null(slots_next(t, &cursor));
	assert_int_equal(slots_count(t), 1);
	slots_free(t);
}

static void slots_refuse_impossible_sizes(void **state)
{
	(void)state;
	assert_null(slots_new(7, 1));
	assert_null(slots_new(21, 1));
	slots_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_agree_with_the_slow_way),
		cmocka_unit_test(slots_refuse_beyond_the_limit),
		cmocka_unit_test(slots_reserved_id_is_found_by_nobody),
		cmocka_unit_test(slots_fill_with_the_worst_generator),
		cmocka_unit_test(slots_walk_meets_each_once),
		cmocka_unit_test(slots_refuse_impossible_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
