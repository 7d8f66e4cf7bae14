/* crypto/aead_engine.h - what an engine of aead.h provides. For crypto/aead*.c alone. */
#pragma once
#include <endian.h>
#include <string.h>
#include "crypto/aead.h"

/* An engine's context begins with this; aead_ctx_new() of each engine sets it. */
struct aead_ctx {
	const struct aead_engine *engine;
};

#define BLOCKS_MOST 16 /* header blocks that an engine is given at once */

struct aead_engine {
	const char *name;
	/* Does this CPU run it? Called before anything else, on one thread; may allocate what all contexts share. */
	bool (*start)(void);
	struct aead_ctx *(*ctx_new)(void);
	void (*ctx_free)(struct aead_ctx *c);
	/* Expand key into room[AEAD_KEY_ROOM], which begins with the raw key. */
	void (*key_init)(struct aead_ctx *c, uint8_t *room, const uint8_t key[32]);
	/* n >= 1 items under one key. */
	void (*seal)(struct aead_ctx *c, const struct aead_key *k, const struct aead_item *it, size_t n);
	void (*open)(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it, size_t n);
	void (*header_key_init)(struct aead_ctx *c, struct header_key *k, const uint8_t key[32]);
	/* AES-256 on each of 1 <= n <= BLOCKS_MOST blocks, in place. */
	void (*blocks_encrypt)(struct aead_ctx *c, const struct header_key *k, uint8_t b[][HEADER_BLOCK_BYTES],
			       size_t n);
	void (*blocks_decrypt)(struct aead_ctx *c, const struct header_key *k, uint8_t b[][HEADER_BLOCK_BYTES],
			       size_t n);
};

/* nonce = iv XOR (0^5 | ctr56): nonce_from_counter() without a call for each packet and layer. */
static inline void item_nonce(uint8_t out[12], const struct aead_key *k, uint64_t ctr)
{
	uint64_t low;
	memcpy(out, k->iv, 4);
	memcpy(&low, k->iv + 4, 8);
	low ^= htobe64(ctr & ((UINT64_C(1) << 56) - 1));
	memcpy(out + 4, &low, 8);
}

/* Equal? In constant time; n is a constant multiple of 8. */
static inline bool equal_words(const uint8_t *a, const uint8_t *b, size_t n)
{
	uint64_t differs = 0;
	for (size_t i = 0; i < n; i += 8) {
		uint64_t x, y;
		memcpy(&x, a + i, 8);
		memcpy(&y, b + i, 8);
		differs |= x ^ y;
	}
	return differs == 0;
}

#ifdef HAVE_IPSEC_MB
extern const struct aead_engine aead_engine_ipsecmb;
#endif
extern const struct aead_engine aead_engine_openssl;
