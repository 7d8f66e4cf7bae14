/* tests/unit/test_heap.c - the heap of deadlines against a plain array that is searched. */
#include "onion/heap.h"
#include "unit/seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define NODES 300

/* Slow and obvious. */
static nsec_t slow_first(const struct heap_node *nodes)
{
	nsec_t at = NSEC_NEVER;
	for (unsigned i = 0; i < NODES; i++)
		if (nodes[i].pos && nodes[i].at < at)
			at = nodes[i].at;
	return at;
}

static void heap_agrees_with_the_slow_way(void **state)
{
	(void)state;
	struct seeded seeded;
	struct rng rng = seeded_rng(&seeded, 5);
	struct heap h = {0};
	struct heap_node nodes[NODES] = {{0}};
	uint32_t count = 0;
	for (unsigned i = 0; i < 20000; i++) {
		struct heap_node *n = &nodes[rng_below(&rng, NODES)];
		/* Long stretches of growing and of shrinking. */
		if (rng_below(&rng, 100) < (i / 2000 % 2 ? 80 : 20)) {
			count -= n->pos != 0;
			heap_remove(&h, n);
			assert_int_equal(n->pos, 0);
		} else {
			count += n->pos == 0;
			assert_int_equal(heap_set(&h, n, (nsec_t)rng_below(&rng, 1000)), 0);
		}
		assert_int_equal(h.count, count);
		assert_true((heap_first(&h) ? heap_first(&h)->at : NSEC_NEVER) ==
			    slow_first(nodes));
	}
	heap_done(&h);
}

static void heap_gives_all_in_order(void **state)
{
	(void)state;
	struct seeded seeded;
	struct rng rng = seeded_rng(&seeded, 6);
	struct heap h = {0};
	struct heap_node nodes[NODES] = {{0}};
	assert_null(heap_first(&h));
	heap_remove(&h, &nodes[0]);
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(heap_set(&h, &nodes[i], (nsec_t)rng_below(&rng, 50)), 0);
	nsec_t last = 0;
	for (unsigned i = 0; i < NODES; i++) {
		struct heap_node *n = heap_first(&h);
		assert_true(n->at >= last);
		last = n->at;
		heap_remove(&h, n);
	}
	assert_null(heap_first(&h));
	heap_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heap_agrees_with_the_slow_way),
		cmocka_unit_test(heap_gives_all_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
