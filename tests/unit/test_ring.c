/* tests/unit/test_ring.c - the ring against a plain array, and with writers on threads of their
 * own. */
#include "base/ring.h"
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include "base/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define CELLS	   8
#define CELL_BYTES 24

static void ring_keeps_order_and_bytes(void **state)
{
	(void)state;
	struct ring *r = ring_new(CELLS, CELL_BYTES);
	assert_non_null(r);
	uint8_t model[CELLS][CELL_BYTES];
	size_t model_len[CELLS];
	uint64_t pushed = 0;
	uint64_t popped = 0;
	for (unsigned i = 0; i < 20000; i++) {
		if (rng_below(&rng_system, 2)) {
			uint8_t m[CELL_BYTES];
			size_t len = 1 + rng_below(&rng_system, CELL_BYTES);
			size_t head = rng_below(&rng_system, len + 1);
			rng_bytes(&rng_system, m, len);
			bool done = ring_push(r, m, head, m + head, len - head);
			assert_int_equal(done, pushed - popped < CELLS);
			if (done) {
				memcpy(model[pushed % CELLS], m, len);
				model_len[pushed++ % CELLS] = len;
			}
		} else {
			uint8_t m[CELL_BYTES];
			size_t len = ring_pop(r, m);
			assert_int_equal(len, pushed == popped ? 0 : model_len[popped % CELLS]);
			if (len > 0)
				assert_memory_equal(m, model[popped++ % CELLS], len);
		}
		assert_int_equal(ring_is_empty(r), pushed == popped);
		assert_int_equal(ring_used(r), pushed - popped);
	}
	assert_true(popped > 4 * CELLS);
	ring_free(r);
}

static void ring_refuses_what_does_not_fit(void **state)
{
	(void)state;
	struct ring *r = ring_new(2, 4);
	assert_non_null(r);
	assert_false(ring_push(r, "12345", 5, NULL, 0));
	assert_false(ring_push(r, "123", 3, "45", 2));
	assert_false(ring_push(r, "1", 1, "2", SIZE_MAX));
	assert_false(ring_push(r, NULL, 0, NULL, 0));
	assert_true(ring_is_empty(r));
	assert_true(ring_push(r, NULL, 0, "abcd", 4));
	assert_true(ring_push(r, "xyz", 3, NULL, 0));
	assert_false(ring_push(r, "q", 1, NULL, 0));
	char m[4];
	assert_int_equal(ring_pop(r, m), 4);
	assert_memory_equal(m, "abcd", 4);
	assert_int_equal(ring_pop(r, m), 3);
	assert_int_equal(ring_pop(r, m), 0);
	ring_free(r);
}

static void ring_refuses_impossible_sizes(void **state)
{
	(void)state;
	assert_null(ring_new(0, 8));
	assert_null(ring_new(3, 8));
	assert_null(ring_new(4, 0));
	assert_null(ring_new(4, SIZE_MAX));
	ring_free(NULL);
}

enum { WRITERS = 3, MESSAGES = 20000 };

struct message {
	uint32_t writer;
	uint32_t number;
	uint32_t check; /* a torn copy would not agree with it */
};

struct writing {
	struct ring *ring;
	uint32_t writer;
};

static void *write_messages(void *arg)
{
	const struct writing *w = arg;
	for (uint32_t i = 0; i < MESSAGES; i++) {
		struct message m = {w->writer, i, ~(i * 7 + w->writer)};
		while (!ring_push(w->ring, &m.writer, 4, &m.number, 8))
			sched_yield();
	}
	return NULL;
}

static void ring_carries_all_from_many_writers(void **state)
{
	(void)state;
	struct ring *r = ring_new(64, sizeof(struct message));
	assert_non_null(r);
	pthread_t threads[WRITERS];
	struct writing w[WRITERS];
	for (uint32_t i = 0; i < WRITERS; i++) {
		w[i] = (struct writing){r, i};
		assert_int_equal(pthread_create(&threads[i], NULL, write_messages, &w[i]), 0);
	}
	uint32_t next[WRITERS] = {0};
	unsigned wrong = 0;
	for (unsigned got = 0; got < WRITERS * MESSAGES;) {
		struct message m;
		size_t len = ring_pop(r, &m);
		if (len == 0) {
			sched_yield();
			continue;
		}
		got++;
		if (len != sizeof(m) || m.writer >= WRITERS || m.number != next[m.writer]++ ||
		    m.check != ~(m.number * 7 + m.writer))
			wrong++; /* told below: the writers must be joined first */
	}
	for (uint32_t i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(wrong, 0);
	assert_true(ring_is_empty(r));
	ring_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_keeps_order_and_bytes),
		cmocka_unit_test(ring_refuses_what_does_not_fit),
		cmocka_unit_test(ring_refuses_impossible_sizes),
		cmocka_unit_test(ring_carries_all_from_many_writers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
