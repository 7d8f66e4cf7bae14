/* crypto/aead_engine.h - what an engine of aead.h provides. For crypto/aead*.c alone. */
#pragma once
#include "crypto/aead.h"

/* An engine's context begins with this; aead_ctx_new() of each engine sets it. */
struct aead_ctx {
	const struct aead_engine *engine;
};

struct aead_engine {
	const char *name;
	/* Does this CPU run it? Called before anything else, on one thread; may allocate what all contexts share. */
	bool (*start)(void);
	struct aead_ctx *(*ctx_new)(void);
	void (*ctx_free)(struct aead_ctx *c);
	/* Expand key into room[AEAD_KEY_ROOM]. */
	void (*key_init)(struct aead_ctx *c, uint8_t *room, const uint8_t key[32]);
	void (*seal)(struct aead_ctx *c, const uint8_t *room, const uint8_t nonce[12], uint8_t *p, size_t n,
		     uint8_t *tag);
	bool (*open)(struct aead_ctx *c, const uint8_t *room, const uint8_t nonce[12], uint8_t *p, size_t n,
		     const uint8_t *tag);
	void (*header_key_init)(struct aead_ctx *c, struct header_key *k, const uint8_t key[32]);
	/* One block of AES-256; in may be out. */
	void (*block_encrypt)(struct aead_ctx *c, const struct header_key *k, const uint8_t in[16],
			      uint8_t out[16]);
	void (*block_decrypt)(struct aead_ctx *c, const struct header_key *k, const uint8_t in[16],
			      uint8_t out[16]);
};

#ifdef HAVE_IPSEC_MB
extern const struct aead_engine aead_engine_ipsecmb;
#endif
extern const struct aead_engine aead_engine_openssl;
