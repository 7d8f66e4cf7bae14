/* directory/guards.h - the few relays that a client lets see its address, kept for months
 * (PROTOCOL.md section 5).
 *
 * 2 are in use; each stays 60 to 120 days; at most 6 are sampled in any 60 days, whatever an
 * attacker does to the others; one is demoted (others go first) when below 70 % of its last 20
 * builds worked. Times are seconds since 1970. A plain value of one thread; the daemon stores it by
 * guards_write() after each change.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/random.h"
#include "directory/directory.h"

#define GUARDS_IN_USE	       2
#define GUARDS_SAMPLED_MAX     6 /* in GUARDS_SAMPLE_SECONDS */
#define GUARDS_SAMPLE_SECONDS  (60 * 86400)
#define GUARD_LIFE_MIN_SECONDS (60 * 86400)
#define GUARD_LIFE_MAX_SECONDS (120 * 86400)
#define GUARD_BUILDS	       20
#define GUARD_BUILDS_LEAST_OK  14 /* 70 % */
#define GUARDS_OUTAGE_FAILURES                                                                     \
	5 /* failures in a row, over all guards, after which none counts: we are offline */
#define GUARDS_MAX	      18
#define GUARDS_TEXT_MAX_BYTES 4096

struct guard {
	uint8_t id[32];
	uint64_t sampled, until;
	uint32_t builds; /* last results, newest in bit 0, 1 = worked */
	uint8_t nbuilds; /* how many of them are known, up to GUARD_BUILDS */
	bool demoted;
};

struct guards {
	unsigned n;
	unsigned failures_in_a_row;
	bool changed;			/* since the last guards_write(): store it */
	struct guard guard[GUARDS_MAX]; /* by time of sampling */
};

void guards_init(struct guards *g);
/* Drop what expired. Call before guards_order(). */
void guards_tick(struct guards *g, uint64_t now_s);
/* The IDs to try as first hop, best first: those in use, then other sampled ones, then demoted ones
 * by their rate; not those that the directory does not list as guards. Returns how many (at most
 * GUARDS_MAX). *ret_in_use says how many of them count as in use. */
size_t guards_order(const struct guards *g, const struct directory *d, uint8_t ret[GUARDS_MAX][32],
		    size_t *ret_in_use);
/* Was this relay sampled before (and not expired)? */
bool guards_has(const struct guards *g, const uint8_t id[32]);
/* May one more be sampled now? */
bool guards_may_sample(const struct guards *g, uint64_t now_s);
/* Add a sampled guard (directory/choice.c chooses it, by weight). -ENOSPC when the limit is met,
 * -EEXIST. */
int guards_add(struct guards *g, const uint8_t id[32], uint64_t now_s, const struct rng *rng)
	__attribute__((warn_unused_result));
/* A path through this guard was built, or its building failed in a way that may be the guard's
 * doing. Unknown IDs are ignored. */
void guards_on_build(struct guards *g, const uint8_t id[32], bool worked);
/* Text of at most GUARDS_TEXT_MAX_BYTES for a file (one line a guard); returns its length, clears
 * `changed`. */
size_t guards_write(struct guards *g, char *out, size_t room);
/* Read such text (not NUL-terminated). 0; -EINVAL when it is not such text: *ret is untouched, and
 * the caller says so and starts anew. */
int guards_read(const char *text, size_t n, struct guards *ret) __attribute__((warn_unused_result));
