/* onion/index.h - find an object by a 64-bit key: a chained table of embedded nodes. One thread's alone.
 *
 * The bucket is the product with a secret odd number, so that strangers who choose keys cannot make chains long.
 * Keys may repeat. A zeroed node stands in no table.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/random.h"

struct index_node {
	struct index_node *next;
	uint64_t key;
	bool in;
};

struct index {
	struct index_node **buckets;
	unsigned bits;
	uint64_t secret;
};

/* A table of 2^bits buckets (1..20), which does not grow. -ENOMEM. */
int index_init(struct index *t, unsigned bits, const struct rng *rng) __attribute__((warn_unused_result));
void index_done(struct index *t);
void index_add(struct index *t, struct index_node *n, uint64_t key);
/* Does nothing when the node is in no table. */
void index_remove(struct index *t, struct index_node *n);
/* The first node with this key, or the next one behind `after`; NULL at the end. */
struct index_node *index_find(const struct index *t, uint64_t key, const struct index_node *after);
