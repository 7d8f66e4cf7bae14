/* crypto/token.c - see token.h. PROTOCOL.md section 2. */
#include "crypto/token.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <string.h>
#include <sodium.h>

static const char alphabet[] = "ybndrfg8ejkmcpqxot1uwisza345h769"; /* z-base-32 */

void token_new(char out[TOKEN_CHARS + 1], const struct rng *rng)
{
	uint8_t random[TOKEN_CHARS];
	rng_bytes(rng, random, sizeof(random));
	for (int i = 0; i < TOKEN_CHARS; i++)
		out[i] = alphabet[random[i] % 32];
	out[TOKEN_CHARS] = '\0';
	wipe(random, sizeof(random));
}

int token_seed(const char *token, const uint8_t exit_id[32], uint8_t ret_seed[32])
{
	size_t n = strnlen(token, TOKEN_MAX_BYTES + 1);
	if (n == 0 || n > TOKEN_MAX_BYTES)
		return -EINVAL;
	const struct hash_part parts[] = {{"token", 5}, {exit_id, 32}};
	uint8_t salt[HASH_BYTES], seed[32];
	hash_parts(salt, parts,
		   2); /* Argon2id takes its first crypto_pwhash_SALTBYTES = 16 bytes */
	if (crypto_pwhash(seed, sizeof(seed), token, n, salt, crypto_pwhash_OPSLIMIT_INTERACTIVE,
			  crypto_pwhash_MEMLIMIT_INTERACTIVE, crypto_pwhash_ALG_ARGON2ID13) != 0)
		return -ENOMEM;
	memcpy(ret_seed, seed, sizeof(seed));
	wipe(seed, sizeof(seed));
	return 0;
}
