/* crypto/kdf.c - see kdf.h. PROTOCOL.md section 1. Any thread. */
#include "crypto/kdf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#define KDF_PREFIX "sispop1"

int crypto_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

/* libsodium refuses only lengths that are our own bug. Going on would leave a key unwritten. */
static void must(int rc)
{
	if (rc != 0)
		abort();
}

static void blake2b_parts(uint8_t *out, size_t n, const uint8_t *key, size_t key_bytes,
			  const struct hash_part *parts, size_t count)
{
	crypto_generichash_state state;
	must(crypto_generichash_init(&state, key, key_bytes, n));
	for (size_t i = 0; i < count; i++)
		must(crypto_generichash_update(&state, parts[i].p, parts[i].n));
	must(crypto_generichash_final(&state, out, n));
	sodium_memzero(&state, sizeof(state));
}

void hash_parts(uint8_t out[HASH_BYTES], const struct hash_part *parts, size_t count)
{
	blake2b_parts(out, HASH_BYTES, NULL, 0, parts, count);
}

void hash(uint8_t out[HASH_BYTES], const void *p, size_t n)
{
	hash_parts(out, &(struct hash_part){p, n}, 1);
}

void kdf(uint8_t *out, size_t n, const uint8_t k[KEY_BYTES], const char *label, const void *m,
	 size_t m_bytes)
{
	/* The NUL that ends each string in memory is the 0 of the formula. */
	const struct hash_part parts[] = {
		{KDF_PREFIX, sizeof(KDF_PREFIX)},
		{label, strlen(label) + 1},
		{m, m_bytes},
	};
	blake2b_parts(out, n, k, KEY_BYTES, parts, 3);
}

void mac_parts(uint8_t *out, size_t n, const uint8_t *key, size_t key_bytes,
	       const struct hash_part *parts, size_t count)
{
	blake2b_parts(out, n, key, key_bytes, parts, count);
}

void wipe(void *p, size_t n)
{
	sodium_memzero(p, n);
}

bool equal_ct(const void *a, const void *b, size_t n)
{
	return sodium_memcmp(a, b, n) == 0;
}
