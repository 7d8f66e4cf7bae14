/* crypto/sign.c - see sign.h. libsodium signs one run of bytes, so label and message are joined on
 * the heap. */
#include "crypto/sign.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#define SIGN_MAX_BYTES (128 * 1024) /* of label and message together */

void sign_keypair_from_seed(struct sign_keypair *ret, const uint8_t seed[32])
{
	memcpy(ret->seed, seed, sizeof(ret->seed));
	crypto_sign_seed_keypair(ret->public_key, ret->secret_key, seed);
}

void sign_keypair_new(struct sign_keypair *ret, const struct rng *rng)
{
	uint8_t seed[32];
	rng_bytes(rng, seed, sizeof(seed));
	sign_keypair_from_seed(ret, seed);
	wipe(seed, sizeof(seed));
}

void sign_keypair_done(struct sign_keypair *k)
{
	wipe(k, sizeof(*k));
}

/* label | m on the heap, freed by the caller. 0, -EMSGSIZE or -ENOMEM. */
static int join(const char *label, const void *m, size_t n, uint8_t **ret, size_t *ret_n)
{
	size_t label_bytes = strlen(label);
	if (label_bytes > SIGN_MAX_BYTES || n > SIGN_MAX_BYTES - label_bytes)
		return -EMSGSIZE;
	uint8_t *joined = malloc(label_bytes + n + 1); /* + 1: never malloc(0) */
	if (!joined)
		return -ENOMEM;
	memcpy(joined, label, label_bytes);
	if (n > 0)
		memcpy(joined + label_bytes, m, n);
	*ret = joined;
	*ret_n = label_bytes + n;
	return 0;
}

int sign_message(uint8_t out[SIGN_BYTES], const struct sign_keypair *k, const char *label,
		 const void *m, size_t n)
{
	uint8_t *joined;
	size_t joined_bytes;
	int rc = join(label, m, n, &joined, &joined_bytes);
	if (rc < 0)
		return rc;
	crypto_sign_detached(out, NULL, joined, joined_bytes, k->secret_key);
	free(joined);
	return 0;
}

bool sign_verify(const uint8_t sig[SIGN_BYTES], const uint8_t public_key[32], const char *label,
		 const void *m, size_t n)
{
	uint8_t *joined;
	size_t joined_bytes;
	if (join(label, m, n, &joined, &joined_bytes) < 0)
		return false;
	bool ok = crypto_sign_verify_detached(sig, joined, joined_bytes, public_key) == 0;
	free(joined);
	return ok;
}
