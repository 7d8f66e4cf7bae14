/* base/ring.c - a bounded queue between threads after D. Vyukov's bounded MPMC queue. See ring.h.
 *
 * Each cell says by `turn` whose it is: the writer of position pos may fill it when turn is pos
 * without its low bits (the lap), the reader may empty it when turn is that plus one, and hands it
 * on to the writer of the next lap. Vyukov stores the position itself; without its low bits all
 * cells start as zero, so a new ring touches no memory.
 */
#include "base/ring.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_LINE_BYTES 64

struct cell {
	_Atomic size_t turn;
	size_t len;
	uint8_t bytes[];
};

struct ring {
	uint8_t *cells;
	size_t mask;	   /* number of cells - 1 */
	size_t cell_bytes; /* of message */
	size_t stride;	   /* from cell to cell, whole cache lines */
	_Atomic size_t write_pos __attribute__((aligned(CACHE_LINE_BYTES)));
	_Atomic size_t read_pos
		__attribute__((aligned(CACHE_LINE_BYTES))); /* stored by the reader alone */
};

static struct cell *cell_at(const struct ring *r, size_t pos)
{
	return (struct cell *)(void *)(r->cells + (pos & r->mask) * r->stride);
}

struct ring *ring_new(size_t cells, size_t cell_bytes)
{
	if (cells == 0 || (cells & (cells - 1)) || cell_bytes == 0 || cell_bytes > SIZE_MAX / 2)
		return NULL;
	struct ring *r = aligned_alloc(CACHE_LINE_BYTES, sizeof(*r));
	if (!r)
		return NULL;
	memset(r, 0, sizeof(*r));
	r->mask = cells - 1;
	r->cell_bytes = cell_bytes;
	r->stride = (sizeof(struct cell) + cell_bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES *
		    CACHE_LINE_BYTES;
	r->cells = calloc(cells, r->stride);
	if (!r->cells) {
		free(r);
		return NULL;
	}
	return r;
}

void ring_free(struct ring *r)
{
	if (!r)
		return;
	free(r->cells);
	free(r);
}

/* Claim the next cell for writing; NULL when the reader has not emptied it yet. */
static struct cell *claim(struct ring *r, size_t *ret_lap)
{
	size_t pos = atomic_load_explicit(&r->write_pos, memory_order_relaxed);
	for (;;) {
		struct cell *c = cell_at(r, pos);
		size_t lap = pos & ~r->mask;
		size_t turn = atomic_load_explicit(&c->turn, memory_order_acquire);
		if (turn == lap) {
			if (atomic_compare_exchange_weak_explicit(&r->write_pos, &pos, pos + 1,
								  memory_order_relaxed,
								  memory_order_relaxed)) {
				*ret_lap = lap;
				return c;
			}
		} else if ((ptrdiff_t)(turn - lap) < 0) {
			return NULL;
		} else {
			pos = atomic_load_explicit(&r->write_pos, memory_order_relaxed);
		}
	}
}

bool ring_push(struct ring *r, const void *head, size_t head_bytes, const void *body,
	       size_t body_bytes)
{
	if (head_bytes > r->cell_bytes || body_bytes > r->cell_bytes - head_bytes)
		return false;
	if (head_bytes + body_bytes == 0)
		return false; /* ring_pop could not tell it from an empty ring */
	size_t lap;
	struct cell *c = claim(r, &lap);
	if (!c)
		return false;
	if (head_bytes > 0)
		memcpy(c->bytes, head, head_bytes);
	if (body_bytes > 0)
		memcpy(c->bytes + head_bytes, body, body_bytes);
	c->len = head_bytes + body_bytes;
	atomic_store_explicit(&c->turn, lap + 1, memory_order_release);
	return true;
}

size_t ring_pop(struct ring *r, void *to)
{
	size_t pos = atomic_load_explicit(&r->read_pos, memory_order_relaxed);
	struct cell *c = cell_at(r, pos);
	size_t lap = pos & ~r->mask;
	if (atomic_load_explicit(&c->turn, memory_order_acquire) != lap + 1)
		return 0;
	size_t len = c->len;
	memcpy(to, c->bytes, len);
	atomic_store_explicit(&c->turn, lap + r->mask + 1, memory_order_release);
	atomic_store_explicit(&r->read_pos, pos + 1, memory_order_relaxed);
	return len;
}

bool ring_is_empty(const struct ring *r)
{
	size_t pos = atomic_load_explicit(&r->read_pos, memory_order_relaxed);
	const struct cell *c = cell_at(r, pos);
	return atomic_load_explicit(&c->turn, memory_order_acquire) != (pos & ~r->mask) + 1;
}

size_t ring_used(const struct ring *r)
{
	size_t read = atomic_load_explicit(&r->read_pos, memory_order_acquire);
	size_t n = atomic_load_explicit(&r->write_pos, memory_order_relaxed) - read;
	return n <= r->mask + 1 ? n : r->mask + 1; /* the reader went on in between */
}
