/* engine/codel.h - controlled delay (RFC 8289): when does a queue that stays long drop one? Pure.
 *
 * A queue may grow for a moment; what may not be is that even the shortest wait of a whole interval
 * is above the target. From then on one is dropped after interval / sqrt(n), n counting up, until
 * the wait falls below the target.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"

struct codel_limits {
	nsec_t target, interval;
};

struct codel {
	nsec_t above_until; /* when the wait will have been above target for an interval; 0: it is not */
	nsec_t next;	    /* dropping: when the next one goes */
	uint32_t count;	    /* dropped since dropping began */
	uint32_t last_count;
	bool dropping;
};

/* What was taken from the queue at `now` had waited `waited`; `last`: it was the only one left. True:
 * drop it (or mark it). */
bool codel_drops(struct codel *c, const struct codel_limits *l, nsec_t now, nsec_t waited, bool last);
