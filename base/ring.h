/* base/ring.h - a bounded queue of copied messages between threads: many writers, one reader, no lock.
 *
 * Each cell carries a sequence number (D. Vyukov's bounded queue). A full ring refuses; nobody waits.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring;

/* Make a ring of `cells` (a power of two) messages of at most `cell_bytes` each. NULL without memory. */
struct ring *ring_new(size_t cells, size_t cell_bytes);
void ring_free(struct ring *r);
/* Copy in one message made of two parts (either may be empty). False when the ring is full or it does not fit.
 * Any thread. */
bool ring_push(struct ring *r, const void *head, size_t head_bytes, const void *body, size_t body_bytes);
/* Copy the oldest message to `to` (at least cell_bytes) and return its length; 0 when empty. Reader only. */
size_t ring_pop(struct ring *r, void *to);
/* True when nothing is waiting. Any thread; a hint. */
bool ring_is_empty(const struct ring *r);
/* Messages that wait. Any thread; a hint, and never more than there are cells. */
size_t ring_used(const struct ring *r);
