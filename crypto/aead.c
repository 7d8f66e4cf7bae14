/* crypto/aead.c - see aead.h: the choice of engine, nonces and the header's layout; engines do the
 * rest.
 *
 * A context remembers the engine that made it, so that a test may hold one of each. Source:
 * PROTOCOL.md sections 1 (nonce) and 4 (header).
 */
#include "crypto/aead.h"
#include "base/bytes.h"
#include "crypto/aead_engine.h"
#include "crypto/handshake.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <string.h>

#define CTR_MASK ((UINT64_C(1) << 56) - 1)

/* Fastest first. */
static const struct aead_engine *const engines[] = {
#ifdef HAVE_IPSEC_MB
	&aead_engine_ipsecmb,
#endif
	&aead_engine_openssl,
};
#define ENGINES (sizeof(engines) / sizeof(engines[0]))

static const struct aead_engine *chosen;

static int choose_fastest(void)
{
	for (size_t i = 0; i < ENGINES; i++) {
		if (engines[i]->start()) {
			chosen = engines[i];
			return 0;
		}
	}
	return -ENOTSUP;
}

int aead_engine_choose(const char *name)
{
	if (!name || strcmp(name, "auto") == 0)
		return choose_fastest();
	for (size_t i = 0; i < ENGINES; i++) {
		if (strcmp(engines[i]->name, name) != 0)
			continue;
		if (!engines[i]->start())
			return -ENOTSUP;
		chosen = engines[i];
		return 0;
	}
	/* A known name may be absent from this build. */
	return strcmp(name, "ipsec-mb") == 0 ? -ENOTSUP : -ENOENT;
}

const char *aead_engine_name(void)
{
	return chosen ? chosen->name : "none";
}

struct aead_ctx *aead_ctx_new(void)
{
	if (!chosen && choose_fastest() < 0)
		return NULL;
	return chosen->ctx_new();
}

void aead_ctx_free(struct aead_ctx *c)
{
	if (c)
		c->engine->ctx_free(c);
}

void aead_key_init(struct aead_key *k, struct aead_ctx *c, const uint8_t key[32],
		   const uint8_t iv[12])
{
	memcpy(k->iv, iv, sizeof(k->iv));
	c->engine->key_init(c, k->room, key);
}

void aead_key_done(struct aead_key *k)
{
	wipe(k, sizeof(*k));
}

void aead_seal(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p, size_t n,
	       uint8_t *tag)
{
	uint8_t nonce[12];
	nonce_from_counter(nonce, k->iv, ctr56);
	c->engine->seal(c, k->room, nonce, p, n, tag);
}

bool aead_open(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p, size_t n,
	       const uint8_t *tag)
{
	uint8_t nonce[12];
	nonce_from_counter(nonce, k->iv, ctr56);
	return c->engine->open(c, k->room, nonce, p, n, tag);
}

void header_key_init(struct header_key *k, struct aead_ctx *c, const uint8_t key[32])
{
	c->engine->header_key_init(c, k, key);
}

void header_key_done(struct header_key *k)
{
	wipe(k, sizeof(*k));
}

/* circuit_id u32 | type u8 | ctr u56 | 0 u32 */
void header_seal(struct aead_ctx *c, const struct header_key *k, const struct header *h,
		 uint8_t out[16])
{
	uint8_t block[HEADER_BLOCK_BYTES];
	store_be32(block, h->circuit_id);
	store_be64(block + 4, (uint64_t)h->type << 56 | (h->ctr & CTR_MASK));
	store_be32(block + 12, 0);
	c->engine->block_encrypt(c, k, block, out);
}

bool header_open(struct aead_ctx *c, const struct header_key *k, const uint8_t in[16],
		 struct header *ret)
{
	uint8_t block[HEADER_BLOCK_BYTES];
	c->engine->block_decrypt(c, k, in, block);
	if (load_be32(block + 12) != 0)
		return false;
	uint64_t type_ctr = load_be64(block + 4);
	ret->circuit_id = load_be32(block);
	ret->type = (uint8_t)(type_ctr >> 56);
	ret->ctr = type_ctr & CTR_MASK;
	return true;
}
