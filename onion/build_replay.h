/* onion/build_replay.h - which X a relay has opened in the last 20 minutes (PROTOCOL.md section 5).
 *
 * An entry is H(X)[0..15]. Nothing leaves before BUILD_REPLAY_SECONDS are over: a full cache refuses. Memory follows
 * the number of entries: chunks of entries in order of time, and an index that doubles and halves. The index is
 * hashed under a secret, because strangers choose X. Control thread only.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/random.h"

#define BUILD_REPLAY_KEY_BYTES 16

struct build_replay;

/* Room for `entries` (at least 1). NULL without memory. */
struct build_replay *build_replay_new(uint32_t entries, const struct rng *rng, nsec_t now);
void build_replay_free(struct build_replay *r);
/* Was this X added in the last 20 minutes? */
bool build_replay_has(const struct build_replay *r, const uint8_t key[BUILD_REPLAY_KEY_BYTES])
	__attribute__((warn_unused_result));
/* Add one that is not there. 0; -ENOSPC when the cache is full; -ENOMEM. */
int build_replay_add(struct build_replay *r, const uint8_t key[BUILD_REPLAY_KEY_BYTES], nsec_t now)
	__attribute__((warn_unused_result));
/* Forget what is older than 20 minutes: a bounded number a call, so that no call is long. */
void build_replay_expire(struct build_replay *r, nsec_t now);
nsec_t build_replay_next_deadline(const struct build_replay *r);
uint32_t build_replay_count(const struct build_replay *r);
/* Bytes of memory held; for tests and status. */
size_t build_replay_bytes(const struct build_replay *r);
