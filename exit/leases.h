/* exit/leases.h - the inner addresses that an exit lends: one index, an IPv4 and an IPv6 address, a session.
 *
 * Index i stands for the (i + 2)th address of each range: the first is the network's, the second (…1) the exit's own,
 * and the last of a range is left out (broadcast). With both ranges a session has the same index in both. Tables are
 * reserved for the whole range and touched when used, so that a /16 costs little.
 * Control thread, but for leases_find(): any thread, inside its read-side section.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/random.h"
#include "onion/session_exit.h"

#define LEASES_MOST       (1u << 20) /* of larger ranges the rest is not used */
#define LEASES_REMEMBERED 1024       /* given back last; their tokens get them again while they are free */

struct leases;

/* Ranges as exit_settings_check() lets them pass; at least one of them with a family. NULL without memory. */
struct leases *leases_new(const struct prefix *range4, const struct prefix *range6, const struct rng *rng);
void leases_free(struct leases *l);
/* The exit's own inner address, family 0 without that range. */
struct addr leases_own(const struct leases *l, uint8_t family);
/* Addresses there are, and lent ones. */
uint32_t leases_capacity(const struct leases *l);
uint32_t leases_used(const struct leases *l);

/* Lend: what `token` (32 bytes, NULL: none) had last if that is free, else one of the free, each as likely. Fills
 * lease_index, and of lease4 and lease6 those that are wanted (WANT_V4 | WANT_V6) and there; then publishes s. 0;
 * -ENOSPC none is free; -EAFNOSUPPORT no range of what is wanted. */
int leases_take(struct leases *l, struct session_data *s, uint8_t wants, const uint8_t *token)
	__attribute__((warn_unused_result));
/* Take it back and retract s. s itself stays the caller's, and readers may hold it for a grace period. */
void leases_put(struct leases *l, struct session_data *s);
/* Whose is this address? NULL: nobody's now. O(1), lock-free. */
struct session_data *leases_find(const struct leases *l, const struct addr *a);
/* Walk: the session at *cursor (start at 0), which counts up; NULL at the end. Nothing may be lent or taken back
 * meanwhile. */
struct session_data *leases_next(const struct leases *l, uint32_t *cursor);
