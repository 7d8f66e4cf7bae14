/* base/slots.h - a table of pointers found by a 32-bit id: a random slot number and a random rest.
 *
 * Written by one thread, read by any without a lock: a slot is one atomic pointer, published with
 * release. What is taken out may still be in a reader's hands: the owner frees it after a grace period
 * (call_rcu in the daemons). An object that stands in a table starts with a struct slot.
 */
#pragma once
#include <stdint.h>
#include "base/random.h"

struct slot {
	uint32_t id; /* as handed out, never 0; constant while the object stands in the table */
};

struct slots;

/* Make a table of 2^bits slots (8 <= bits <= 20), reserved but untouched. `limit` objects at most. NULL
 * without memory. */
struct slots *slots_new(unsigned bits, uint32_t limit);
void slots_free(struct slots *t);
/* Choose an id for s, write it to s->id, publish s. 0, or -ENOSPC when limit objects stand. Writer only. */
int slots_add(struct slots *t, struct slot *s, const struct rng *rng) __attribute__((warn_unused_result));
/* As slots_add in two steps: reserve an id now (not found by anybody), publish later, or release it. */
int slots_reserve(struct slots *t, const struct rng *rng, uint32_t *ret_id) __attribute__((warn_unused_result));
void slots_publish(struct slots *t, uint32_t id, struct slot *s);
/* Take out. Does nothing when id is not there. Writer only. */
void slots_remove(struct slots *t, uint32_t id);
/* The object with this id, or NULL. Any thread, inside its read-side section. */
struct slot *slots_find(const struct slots *t, uint32_t id);
uint32_t slots_count(const struct slots *t);
/* Walk: the first object at or after *cursor (start at 0), or NULL at the end. Writer only. */
struct slot *slots_next(const struct slots *t, uint32_t *cursor);
