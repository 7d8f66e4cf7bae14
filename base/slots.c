/* base/slots.c - objects by 32-bit id: the low bits are the slot, the rest is chance. See slots.h.
 *
 * Readers see only `objects`. `ids` is the writer's own: which id stands in or is reserved for a
 * slot. Both come from calloc and so cost memory only where they are used.
 */
#include "base/slots.h"
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define BITS_MIN     8
#define BITS_MAX     20
#define RANDOM_TRIES 32 /* then walk: the table is nearly full */

struct slots {
	_Atomic(struct slot *) *objects;
	uint32_t *ids; /* 0: the slot is free */
	uint32_t mask;
	uint32_t limit;
	uint32_t count; /* reserved ones too */
};

struct slots *slots_new(unsigned bits, uint32_t limit)
{
	if (bits < BITS_MIN || bits > BITS_MAX)
		return NULL;
	size_t size = (size_t)1 << bits;
	struct slots *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->objects = calloc(size, sizeof(*t->objects));
	t->ids = calloc(size, sizeof(*t->ids));
	t->mask = (uint32_t)size - 1;
	t->limit = limit < size ? limit : (uint32_t)size;
	if (!t->objects || !t->ids) {
		slots_free(t);
		return NULL;
	}
	return t;
}

void slots_free(struct slots *t)
{
	if (!t)
		return;
	free((void *)t->objects);
	free(t->ids);
	free(t);
}

int slots_reserve(struct slots *t, const struct rng *rng, uint32_t *ret_id)
{
	if (t->count >= t->limit)
		return -ENOSPC;
	uint32_t id = rng_u32(rng);
	for (unsigned i = 0; i < RANDOM_TRIES && t->ids[id & t->mask] != 0; i++)
		id = rng_u32(rng);
	while (t->ids[id & t->mask] != 0) /* ends: fewer stand than there are slots */
		id = (id & ~t->mask) | ((id + 1) & t->mask);
	if (id == 0)
		id = t->mask + 1; /* slot 0, another rest */
	t->ids[id & t->mask] = id;
	t->count++;
	*ret_id = id;
	return 0;
}

/* True when the id stands in the table or is reserved. Writer only. */
static bool is_known(const struct slots *t, uint32_t id)
{
	return id != 0 && t->ids[id & t->mask] == id;
}

void slots_publish(struct slots *t, uint32_t id, struct slot *s)
{
	assert(is_known(t, id));
	s->id = id;
	atomic_store_explicit(&t->objects[id & t->mask], s, memory_order_release);
}

int slots_add(struct slots *t, struct slot *s, const struct rng *rng)
{
	uint32_t id;
	int err = slots_reserve(t, rng, &id);
	if (err < 0)
		return err;
	slots_publish(t, id, s);
	return 0;
}

void slots_remove(struct slots *t, uint32_t id)
{
	if (!is_known(t, id))
		return;
	atomic_store_explicit(&t->objects[id & t->mask], NULL, memory_order_release);
	t->ids[id & t->mask] = 0;
	t->count--;
}

struct slot *slots_find(const struct slots *t, uint32_t id)
{
	struct slot *s = atomic_load_explicit(&t->objects[id & t->mask], memory_order_acquire);
	return s && s->id == id ? s : NULL;
}

uint32_t slots_count(const struct slots *t)
{
	return t->count;
}

struct slot *slots_next(const struct slots *t, uint32_t *cursor)
{
	for (uint32_t at = *cursor; at <= t->mask; at++) {
		struct slot *s = atomic_load_explicit(&t->objects[at], memory_order_relaxed);
		if (s) {
			*cursor = at + 1;
			return s;
		}
	}
	*cursor = t->mask + 1;
	return NULL;
}
