/* crypto/sign.h - Ed25519 under a label: identities, authorities, tokens. Signs label | message as plain bytes. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/random.h"

#define SIGN_BYTES 64

struct sign_keypair {
	uint8_t public_key[32];
	uint8_t seed[32];
	uint8_t secret_key[64]; /* libsodium's form: seed | public key */
};

void sign_keypair_from_seed(struct sign_keypair *ret, const uint8_t seed[32]);
void sign_keypair_new(struct sign_keypair *ret, const struct rng *rng);
void sign_keypair_done(struct sign_keypair *k);
/* out = Ed25519(k, label | m). label + m at most 128 KiB; -EMSGSIZE else, -ENOMEM. */
int sign_message(uint8_t out[SIGN_BYTES], const struct sign_keypair *k, const char *label, const void *m, size_t n)
	__attribute__((warn_unused_result));
bool sign_verify(const uint8_t sig[SIGN_BYTES], const uint8_t public_key[32], const char *label, const void *m,
		 size_t n) __attribute__((warn_unused_result));
