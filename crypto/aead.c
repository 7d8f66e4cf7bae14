/* crypto/aead.c - see aead.h: the choice of engine, nonces and the header's layout; engines do the
 * rest.
 *
 * A context remembers the engine that made it, so that a test may hold one of each. Source:
 * PROTOCOL.md sections 1 (nonce) and 4 (header).
 */
#include "crypto/aead.h"
#include "crypto/aead_engine.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <openssl/crypto.h>
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

/* The host's openssl.cnf is about others' TLS: what it loads would cost half a megabyte, and what
 * it switches off would stop us. */
static int start_openssl(void)
{
	return OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1 ? 0 : -ENOTSUP;
}

int aead_engine_choose(const char *name)
{
	int r = start_openssl();

	if (r)
		return r;
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

void aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it, size_t n)
{
	if (n > 0)
		c->engine->seal(c, k, it, n);
}

void aead_open_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it, size_t n)
{
	if (n > 0)
		c->engine->open(c, k, it, n);
}

void aead_seal(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p, size_t n,
	       uint8_t *tag)
{
	struct aead_item one = {.p = p, .n = n, .tag = tag, .ctr = ctr56};
	c->engine->seal(c, k, &one, 1);
}

bool aead_open(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p, size_t n,
	       const uint8_t *tag)
{
	/* An item's tag is written by seal alone. */
	struct aead_item one = {.p = p, .n = n, .tag = (uint8_t *)(uintptr_t)tag, .ctr = ctr56};
	c->engine->open(c, k, &one, 1);
	return one.ok;
}

void header_key_init(struct header_key *k, struct aead_ctx *c, const uint8_t key[32])
{
	c->engine->header_key_init(c, k, key);
}

void header_key_done(struct header_key *k)
{
	wipe(k, sizeof(*k));
}

/* A block as it is loaded and stored: whole, or the load would wait for the stores of its parts. */
typedef uint64_t whole_block __attribute__((vector_size(HEADER_BLOCK_BYTES)));

/* circuit_id u32 | type u8 | ctr u56 | 0 u32 */
static void write_block(uint8_t block[HEADER_BLOCK_BYTES], const struct header *h)
{
	uint64_t type_ctr = (uint64_t)h->type << 56 | (h->ctr & CTR_MASK);
	const whole_block v = {htobe64((uint64_t)h->circuit_id << 32 | type_ctr >> 32),
			       htobe64(type_ctr << 32)};
	memcpy(block, &v, sizeof(v));
}

static bool read_block(const uint8_t block[HEADER_BLOCK_BYTES], struct header *ret)
{
	uint32_t id, zero;
	uint64_t type_ctr;
	memcpy(&zero, block + 12, 4);
	if (zero != 0)
		return false;
	memcpy(&id, block, 4);
	memcpy(&type_ctr, block + 4, 8);
	type_ctr = be64toh(type_ctr);
	ret->circuit_id = be32toh(id);
	ret->type = (uint8_t)(type_ctr >> 56);
	ret->ctr = type_ctr & CTR_MASK;
	return true;
}

/* As many of `left` blocks as an engine takes at once. */
static size_t at_once(size_t left)
{
	return left < BLOCKS_MOST ? left : BLOCKS_MOST;
}

void headers_seal(struct aead_ctx *c, const struct header_key *k, const struct header h[], size_t n,
		  uint8_t *const at[])
{
	uint8_t b[BLOCKS_MOST][HEADER_BLOCK_BYTES];
	for (size_t done = 0, m; done < n; done += m) {
		m = at_once(n - done);
		for (size_t i = 0; i < m; i++)
			write_block(b[i], &h[done + i]);
		c->engine->blocks_encrypt(c, k, b, m);
		for (size_t i = 0; i < m; i++)
			memcpy(at[done + i], b[i], HEADER_BLOCK_BYTES);
	}
}

void headers_open(struct aead_ctx *c, const struct header_key *k, const uint8_t *const at[],
		  size_t n, struct header ret[], bool ok[])
{
	uint8_t b[BLOCKS_MOST][HEADER_BLOCK_BYTES];
	for (size_t done = 0, m; done < n; done += m) {
		m = at_once(n - done);
		for (size_t i = 0; i < m; i++)
			memcpy(b[i], at[done + i], HEADER_BLOCK_BYTES);
		c->engine->blocks_decrypt(c, k, b, m);
		for (size_t i = 0; i < m; i++)
			ok[done + i] = read_block(b[i], &ret[done + i]);
	}
}

void header_seal(struct aead_ctx *c, const struct header_key *k, const struct header *h,
		 uint8_t out[16])
{
	headers_seal(c, k, h, 1, &out);
}

bool header_open(struct aead_ctx *c, const struct header_key *k, const uint8_t in[16],
		 struct header *ret)
{
	bool ok;
	headers_open(c, k, &in, 1, ret, &ok);
	return ok;
}
