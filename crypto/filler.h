/* crypto/filler.h - random bytes by the kilobyte for fillers and padding: ChaCha20 under a key of its own, one
 * generator a thread, rekeyed from its own output (fast key erasure, D. J. Bernstein). */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/random.h"

#define FILLER_BUFFER_BYTES 8192

struct filler {
	uint8_t key[32];
	size_t used; /* bytes of buf given out; they are zero */
	void *cipher; /* OpenSSL's, holds no other key than `key`; NULL: libsodium's slower ChaCha20 serves */
	uint8_t buf[FILLER_BUFFER_BYTES];
};

/* Allocates; filler_bytes() does not. What does not get memory gives the same bytes, at a third of the speed. */
void filler_init(struct filler *f, const struct rng *rng);
void filler_done(struct filler *f);
/* Write n random bytes to p. Given-out bytes are wiped from the buffer. */
void filler_bytes(struct filler *f, uint8_t *p, size_t n);
