/* crypto/aead_openssl.c - the engine on OpenSSL's libcrypto: runs on every CPU.
 *
 * A key in room[] or struct header_key is the 32 raw bytes. OpenSSL keeps an expanded key only
 * inside a cipher context, and expanding costs about as much as sealing a packet. So a context
 * holds SLOTS of them, found by a byte of the key, and expands again only when a slot holds another
 * key: a client's layers or a relay's busiest circuits stay expanded. Within a batch only the nonce
 * changes, which leaves the fixed price of EVP: a lookup by name for each parameter. So tags go by
 * parameter lists that stand ready, and no GCM context is told about padding, which each new nonce
 * would tell it again. All is allocated in ctx_new(); the packet path allocates nothing.
 */
#include "crypto/aead_engine.h"
#include "crypto/kdf.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define RAW_KEY_BYTES 32
#define SLOTS	      32

enum use { GCM_SEAL, GCM_OPEN, BLOCK_ENCRYPT, BLOCK_DECRYPT, USES };

struct slot {
	EVP_CIPHER_CTX *evp;
	uint8_t key[RAW_KEY_BYTES];
	bool keyed;
};

struct ctx {
	struct aead_ctx base;
	struct slot slots[USES][SLOTS];
};

static bool start(void)
{
	return true;
}

/* What fails here is a bug or a broken library. A packet must not go out in the clear for it. */
static void must(int one)
{
	if (one != 1)
		abort();
}

static void ctx_free(struct aead_ctx *base)
{
	struct ctx *c = (struct ctx *)base;
	for (int use = 0; use < USES; use++)
		for (int i = 0; i < SLOTS; i++)
			EVP_CIPHER_CTX_free(c->slots[use][i].evp);
	wipe(c, sizeof(*c));
	free(c);
}

static bool slot_open(struct slot *s, enum use use, const EVP_CIPHER *cipher)
{
	s->evp = EVP_CIPHER_CTX_new();
	if (!s->evp)
		return false;
	int encrypt = use == GCM_SEAL || use == BLOCK_ENCRYPT;
	if (EVP_CipherInit_ex(s->evp, cipher, NULL, NULL, NULL, encrypt) != 1)
		return false;
	return use == GCM_SEAL || use == GCM_OPEN || EVP_CIPHER_CTX_set_padding(s->evp, 0) == 1;
}

static struct aead_ctx *ctx_new(void)
{
	struct ctx *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->base.engine = &aead_engine_openssl;
	for (int use = 0; use < USES; use++) {
		const EVP_CIPHER *cipher =
			use == GCM_SEAL || use == GCM_OPEN ? EVP_aes_256_gcm() : EVP_aes_256_ecb();
		for (int i = 0; i < SLOTS; i++) {
			if (!slot_open(&c->slots[use][i], use, cipher)) {
				ctx_free(&c->base);
				return NULL;
			}
		}
	}
	return &c->base;
}

/* The cipher context that holds this key, expanded now if it was not. */
static EVP_CIPHER_CTX *keyed(struct aead_ctx *base, enum use use, const uint8_t key[RAW_KEY_BYTES])
{
	struct slot *s = &((struct ctx *)base)->slots[use][key[0] % SLOTS];
	if (!s->keyed || !equal_words(s->key, key, RAW_KEY_BYTES)) {
		must(EVP_CipherInit_ex(s->evp, NULL, NULL, key, NULL, -1));
		memcpy(s->key, key, RAW_KEY_BYTES);
		s->keyed = true;
	}
	return s->evp;
}

static void key_init(struct aead_ctx *base, uint8_t *room, const uint8_t key[32])
{
	(void)base;
	memcpy(room, key, RAW_KEY_BYTES);
}

/* Encrypt or decrypt one item's bytes; `tag` (or NULL) is what they must bear. The end is the
 * caller's. */
static void run_item(EVP_CIPHER_CTX *evp, const struct aead_key *k, const struct aead_item *it,
		     const OSSL_PARAM *tag)
{
	uint8_t nonce[12];
	int done = 0;
	item_nonce(nonce, k, it->ctr);
	must(EVP_CipherInit_ex2(evp, NULL, NULL, nonce, -1, tag));
	if (it->n > 0)
		must(EVP_CipherUpdate(evp, it->p, &done, it->p, (int)it->n));
}

static void gcm_seal(struct aead_ctx *base, const struct aead_key *k, const struct aead_item *it,
		     size_t n)
{
	EVP_CIPHER_CTX *evp = keyed(base, GCM_SEAL, k->room);
	OSSL_PARAM tag[2] = {
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, AEAD_TAG_BYTES),
		OSSL_PARAM_END};
	for (size_t i = 0; i < n; i++) {
		int done = 0;
		run_item(evp, k, &it[i], NULL);
		must(EVP_CipherFinal_ex(evp, it[i].p + it[i].n, &done));
		tag[0].data = it[i].tag;
		must(EVP_CIPHER_CTX_get_params(evp, tag));
	}
}

static void gcm_open(struct aead_ctx *base, const struct aead_key *k, struct aead_item *it,
		     size_t n)
{
	EVP_CIPHER_CTX *evp = keyed(base, GCM_OPEN, k->room);
	OSSL_PARAM tag[2] = {
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, AEAD_TAG_BYTES),
		OSSL_PARAM_END};
	for (size_t i = 0; i < n; i++) {
		int done = 0;
		tag[0].data = it[i].tag;
		run_item(evp, k, &it[i], tag);
		it[i].ok = EVP_CipherFinal_ex(evp, it[i].p + it[i].n, &done) == 1;
	}
}

static void header_key_store(struct aead_ctx *base, struct header_key *k, const uint8_t key[32])
{
	(void)base;
	memcpy(k->enc, key, RAW_KEY_BYTES);
}

static void blocks(struct aead_ctx *base, enum use use, const struct header_key *k,
		   uint8_t b[][HEADER_BLOCK_BYTES], size_t n)
{
	int done = 0;
	must(EVP_CipherUpdate(keyed(base, use, k->enc), b[0], &done, b[0],
			      (int)(n * HEADER_BLOCK_BYTES)));
}

static void blocks_encrypt(struct aead_ctx *base, const struct header_key *k,
			   uint8_t b[][HEADER_BLOCK_BYTES], size_t n)
{
	blocks(base, BLOCK_ENCRYPT, k, b, n);
}

static void blocks_decrypt(struct aead_ctx *base, const struct header_key *k,
			   uint8_t b[][HEADER_BLOCK_BYTES], size_t n)
{
	blocks(base, BLOCK_DECRYPT, k, b, n);
}

const struct aead_engine aead_engine_openssl = {
	.name = "openssl",
	.start = start,
	.ctx_new = ctx_new,
	.ctx_free = ctx_free,
	.key_init = key_init,
	.seal = gcm_seal,
	.open = gcm_open,
	.header_key_init = header_key_store,
	.blocks_encrypt = blocks_encrypt,
	.blocks_decrypt = blocks_decrypt,
};
