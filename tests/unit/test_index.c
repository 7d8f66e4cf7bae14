/* tests/unit/test_index.c - the table by key against a plain array that is searched; keys repeat.
 */
#include "onion/index.h"
#include "unit/seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define NODES 200
#define KEYS  40

static unsigned count_by_index(const struct index *t, uint64_t key)
{
	unsigned n = 0;
	for (const struct index_node *at = NULL; (at = index_find(t, key, at)); n++)
		assert_true(at->in && at->key == key);
	return n;
}

/* Slow and obvious. */
static unsigned count_slowly(const struct index_node *nodes, uint64_t key)
{
	unsigned n = 0;
	for (unsigned i = 0; i < NODES; i++)
		n += nodes[i].in && nodes[i].key == key;
	return n;
}

static void index_agrees_with_the_slow_way(void **state)
{
	(void)state;
	for (unsigned bits = 1; bits <= 7; bits += 3) {
		struct seeded seeded;
		struct rng rng = seeded_rng(&seeded, bits);
		struct index t = {0};
		struct index_node nodes[NODES] = {{0}};
		assert_int_equal(index_init(&t, bits, &rng), 0);
		for (unsigned i = 0; i < 5000; i++) {
			struct index_node *n = &nodes[rng_below(&rng, NODES)];
			if (n->in)
				index_remove(&t, n);
			else
				index_add(&t, n, rng_below(&rng, KEYS) << 40);
			uint64_t key = rng_below(&rng, KEYS) << 40;
			assert_int_equal(count_by_index(&t, key), count_slowly(nodes, key));
		}
		struct index_node out = {0};
		index_remove(&t, &out);
		index_done(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index_agrees_with_the_slow_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
