/* tests/gate/cipher.c - an engine that ciphers nothing, and a filler that is zero.
 *
 * The real engines run what this CPU offers and valgrind does not (AVX-512, VAES), so their
 * instructions say nothing. This one takes the place of the slower one (crypto/aead_openssl.c is
 * not linked in): all that is around it is counted, nonces and header layouts of crypto/aead.c too.
 * Sealed bytes stay plain and every tag verifies.
 */
#include <stdlib.h>
#include "crypto/aead_engine.h"
#include "tests/gate/kernel.h"

static bool start(void)
{
	return true;
}

static struct aead_ctx *ctx_new(void)
{
	struct aead_ctx *c = malloc(sizeof(*c));

	must(c != NULL);
	c->engine = &aead_engine_openssl;
	return c;
}

static void ctx_free(struct aead_ctx *c)
{
	free(c);
}

static void key_init(struct aead_ctx *c, uint8_t *room, const uint8_t key[32])
{
	(void)c, (void)room, (void)key;
}

static void seal(struct aead_ctx *c, const struct aead_key *k, const struct aead_item *it, size_t n)
{
	(void)c, (void)k, (void)it, (void)n;
}

static void open_items(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it, size_t n)
{
	(void)c, (void)k;
	for (size_t i = 0; i < n; i++)
		it[i].ok = true;
}

static void header_key(struct aead_ctx *c, struct header_key *k, const uint8_t key[32])
{
	(void)c, (void)k, (void)key;
}

static void blocks(struct aead_ctx *c, const struct header_key *k, uint8_t b[][HEADER_BLOCK_BYTES],
		   size_t n)
{
	(void)c, (void)k, (void)b, (void)n;
}

const struct aead_engine aead_engine_openssl = {
	.name = "openssl",
	.start = start,
	.ctx_new = ctx_new,
	.ctx_free = ctx_free,
	.key_init = key_init,
	.seal = seal,
	.open = open_items,
	.header_key_init = header_key,
	.blocks_encrypt = blocks,
	.blocks_decrypt = blocks,
};

/* The filler's ChaCha20 alone calls these here; the engine above has no OpenSSL. */
int __wrap_EVP_EncryptInit_ex(void *ctx, const void *cipher, void *engine, const uint8_t *key,
			      const uint8_t *iv);
int __wrap_EVP_EncryptInit_ex(void *ctx, const void *cipher, void *engine, const uint8_t *key,
			      const uint8_t *iv)
{
	(void)ctx, (void)cipher, (void)engine, (void)key, (void)iv;
	return 1;
}

int __wrap_EVP_EncryptUpdate(void *ctx, uint8_t *out, int *ret_n, const uint8_t *in, int n);
int __wrap_EVP_EncryptUpdate(void *ctx, uint8_t *out, int *ret_n, const uint8_t *in, int n)
{
	(void)ctx, (void)out, (void)in;
	*ret_n = n;
	return 1;
}
