/* onion/index.c - see index.h. Multiply-shift hashing (Dietzfelbinger et al., 1997). */
#include "onion/index.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

int index_init(struct index *t, unsigned bits, const struct rng *rng)
{
	t->buckets = calloc((size_t)1 << bits, sizeof(struct index_node *));
	if (!t->buckets)
		return -ENOMEM;
	t->bits = bits;
	t->secret = rng_u64(rng) | 1;
	return 0;
}

void index_done(struct index *t)
{
	free(t->buckets);
	*t = (struct index){0};
}

static struct index_node **bucket_of(const struct index *t, uint64_t key)
{
	return &t->buckets[(key * t->secret) >> (64 - t->bits)];
}

void index_add(struct index *t, struct index_node *n, uint64_t key)
{
	struct index_node **b = bucket_of(t, key);
	*n = (struct index_node){.next = *b, .key = key, .in = true};
	*b = n;
}

void index_remove(struct index *t, struct index_node *n)
{
	if (!n->in)
		return;
	struct index_node **at = bucket_of(t, n->key);
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	*n = (struct index_node){0};
}

struct index_node *index_find(const struct index *t, uint64_t key, const struct index_node *after)
{
	struct index_node *n = after ? after->next : *bucket_of(t, key);
	while (n && n->key != key)
		n = n->next;
	return n;
}
