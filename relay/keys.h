/* relay/keys.h - a relay's identity and its onion keys on disk; rotation. PROTOCOL.md section 2.
 *
 * STATE/identity: 32-byte Ed25519 seed. STATE/onion-keys: the key pairs that may still be asked
 * for, newest last. A new one each period; one past its time is erased from memory and file, and
 * the file before it is overwritten. Control thread only.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "crypto/handshake.h"
#include "crypto/keyfile.h"
#include "crypto/sign.h"
#include "directory/descriptor.h"

struct relay_keys {
	struct sign_keypair identity;
	unsigned n; /* 1..DESCRIPTOR_KEYS_MAX */
	struct {
		struct onion_key about; /* keyid, public key, times */
		struct onion_keypair pair;
	} onion[DESCRIPTOR_KEYS_MAX];
	char state[160];
	uint32_t period_s, valid_s;
};

/* Make a new identity; -EEXIST with a sentence when there is one. */
int relay_keys_create(const char *state, const struct rng *rng, char *err)
	__attribute__((warn_unused_result));
/* Read the identity and the onion keys (made when there are none; erased when past their time). */
int relay_keys_load(struct relay_keys *k, const char *state, uint32_t period_s, uint32_t valid_s,
		    uint64_t now_unix, const struct rng *rng, char *err)
	__attribute__((warn_unused_result));
/* Make a successor when the newest is older than a period, erase what is past its time. 1 when the
 * set changed (publish a new descriptor), 0, or -errno with a sentence: nothing changed. */
int relay_keys_rotate(struct relay_keys *k, uint64_t now_unix, const struct rng *rng, char *err)
	__attribute__((warn_unused_result));
/* Seconds since 1970 when relay_keys_rotate() next has something to do. */
uint64_t relay_keys_next(const struct relay_keys *k);
const struct onion_keypair *relay_keys_find(const struct relay_keys *k, uint16_t keyid);
void relay_keys_done(struct relay_keys *k);
