/* onion/link_wheel.h - one timer a link: a hashed wheel, so that setting one costs the same with 64
 * K links.
 *
 * Ticks of 10 ms; 1,024 of them. What lies further away comes up early and is set again by its
 * owner, who therefore looks at the time himself. (G. Varghese, T. Lauck: Hashed and Hierarchical
 * Timing Wheels, 1987.)
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"

#define LINK_WHEEL_TICK_NSEC (10 * NSEC_PER_MSEC)
#define LINK_WHEEL_SLOTS     1024

struct link_timer {
	struct link_timer *next;
	struct link_timer **at; /* what points here; NULL: not set */
	unsigned slot;
};

struct link_wheel {
	int64_t tick; /* all before it is done */
	size_t count;
	struct link_timer *slot[LINK_WHEEL_SLOTS];
	uint64_t busy[LINK_WHEEL_SLOTS / 64]; /* one bit a slot */
};

void link_wheel_init(struct link_wheel *w, nsec_t now);
/* Set or set anew; NSEC_NEVER clears. It comes up at most one tick after due, never before it
 * unless due is more than 10 s away. A due in the past comes up with the next tick. */
void link_wheel_set(struct link_wheel *w, struct link_timer *t, nsec_t due, nsec_t now);
void link_wheel_clear(struct link_wheel *w, struct link_timer *t);
/* The next timer that is due at now, cleared; NULL when there is none. */
struct link_timer *link_wheel_pop(struct link_wheel *w, nsec_t now);
/* When the next one comes up; NSEC_NEVER. */
nsec_t link_wheel_next(const struct link_wheel *w);
