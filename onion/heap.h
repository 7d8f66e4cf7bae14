/* onion/heap.h - deadlines of many objects: a binary heap of embedded nodes. One thread's alone.
 *
 * A node knows its place, so that moving or removing one is O(log n). A zeroed node stands in no heap.
 */
#pragma once
#include <stdint.h>
#include "base/clock.h"

struct heap_node {
	nsec_t at;    /* when it is due */
	uint32_t pos; /* 1-based place; 0: in no heap */
};

struct heap {
	struct heap_node **nodes;
	uint32_t count, room;
};

/* Put a node in, or move one that is in, to `at`. -ENOMEM when it is new and there is no room; a move never fails. */
int heap_set(struct heap *h, struct heap_node *n, nsec_t at) __attribute__((warn_unused_result));
/* Does nothing when the node is in no heap. */
void heap_remove(struct heap *h, struct heap_node *n);
/* The node that is due first, or NULL. */
struct heap_node *heap_first(const struct heap *h);
/* Free the heap's own memory; the nodes are the caller's. */
void heap_done(struct heap *h);
