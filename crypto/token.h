/* crypto/token.h - tokens: strings of 130 random bits, and the key pair that Argon2id makes of one at one exit. */
#pragma once
#include <stdint.h>
#include "base/random.h"
#include "crypto/sign.h"

#define TOKEN_CHARS     26  /* z-base-32, 5 bits each = 130 random bits */
#define TOKEN_MAX_BYTES 256 /* longest string accepted */

/* Make a new token. */
void token_new(char out[TOKEN_CHARS + 1], const struct rng *rng);
/* The 32-byte seed of token's key pair at the exit `exit_id`: Argon2id, about 100 ms and 64 MiB.
 * -EINVAL when the token is empty or longer than TOKEN_MAX_BYTES, -ENOMEM. Source: PROTOCOL.md section 2. */
int token_seed(const char *token, const uint8_t exit_id[32], uint8_t ret_seed[32]) __attribute__((warn_unused_result));
