/* exit/inner.h - the inner packets' way through an exit, on the workers: session, source, rules, TUN; and back.
 *
 * Nothing here allocates, logs or waits. What the control thread must hear crosses as a struct inner_note.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include "base/addr.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "exit/leases.h"
#include "exit/rules.h"

#define INNER_ANSWERS_PER_S 50 /* ICMP answers of each kind for one session, */
#define INNER_ANSWERS_BURST 10 /* of which so many may come at once */

/* When the next answer is due to one lease; it goes with the lease, not the session. */
struct inner_meter {
	_Atomic nsec_t refusals, too_big;
};

struct inner {
	struct leases *leases;
	_Atomic(struct rules *) rules; /* replaced as a whole, the old one retired; NULL: nothing passes */
	struct addr own[2];            /* the exit's own inner addresses, IPv4 and IPv6 */
	struct inner_meter *meter;     /* by lease index */
};

/* A packet was refused: for exit_sessions_refuse(). */
struct inner_note {
	uint32_t circuit_id; /* of the circuit it came on */
	uint8_t protocol;
	struct addr addr; /* with port */
};
_Static_assert(sizeof(struct inner_note) <= ENGINE_NOTE_BYTES, "a note of ours fits");

/* For l, which outlives it, as do the tables of meters. 0 or -ENOMEM. */
int inner_init(struct inner *x, struct leases *l) __attribute__((warn_unused_result));
/* The workers have ended, and the rules were retired. */
void inner_done(struct inner *x);
/* For struct engine_inner_ops; arg is the struct inner. */
void inner_from_onion(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k);
void inner_from_tun(void *arg, struct worker *w, const struct tun_frame *f);
