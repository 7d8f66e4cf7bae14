/* onion/link_seen.h - what was seen in the last while: a bounded set of 32-byte strings that
 * forgets by age alone.
 *
 * Entries stand in a ring in the order in which they came, and in chains by a keyed hash that
 * strangers cannot aim at. A full set refuses; nothing is forgotten early. Memory grows with what
 * is in it, up to the limit.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/random.h"

struct link_seen;

/* At most `most` entries (rounded up to a power of two) for `seconds` each. NULL without memory. */
struct link_seen *link_seen_new(uint32_t most, uint32_t seconds, const struct rng *rng);
void link_seen_free(struct link_seen *s);
/* Was x added in the last `seconds`? */
bool link_seen_has(struct link_seen *s, const uint8_t x[32], nsec_t now);
/* Add one that link_seen_has() denied. False when full, or without memory: refuse what it stands
 * for. */
bool link_seen_add(struct link_seen *s, const uint8_t x[32], nsec_t now)
	__attribute__((warn_unused_result));
uint32_t link_seen_count(const struct link_seen *s);
