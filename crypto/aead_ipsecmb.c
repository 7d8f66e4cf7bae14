/* crypto/aead_ipsecmb.c - the engine on intel-ipsec-mb (x86-64 with AES-NI and AVX2).
 *
 * GCM goes by the library's direct API: no jobs, no queue, nothing shared but a manager that is
 * read only after start(). A header is one block, for which a job costs more than the block:
 * fourteen AES-NI rounds over the library's expanded key. A file without content where the library
 * is not built in.
 */
#ifdef HAVE_IPSEC_MB
#include "crypto/aead_engine.h"
#include "crypto/kdf.h"

#include <stdlib.h>
#include <immintrin.h>
#include <intel-ipsec-mb.h>

#define FEATURES_NEEDED (IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ | IMB_FEATURE_AVX2)
#define ROUNDS		14 /* of AES-256 */

_Static_assert(sizeof(struct gcm_key_data) <= AEAD_KEY_ROOM, "AEAD_KEY_ROOM is too small");
_Static_assert(_Alignof(struct gcm_key_data) <= 64, "aead_key.room is aligned to 64");

struct ctx {
	struct aead_ctx base;
	struct gcm_context_data gcm;
};

static IMB_MGR *manager; /* one a process, never freed; only its function pointers are used */

static bool start(void)
{
	if (manager)
		return true;
	IMB_MGR *m = alloc_mb_mgr(0);
	if (!m)
		return false;
	IMB_ARCH arch = IMB_ARCH_NONE;
	init_mb_mgr_auto(m, &arch);
	if (arch == IMB_ARCH_NONE || imb_get_errno(m) != 0 ||
	    (m->features & FEATURES_NEEDED) != FEATURES_NEEDED) {
		free_mb_mgr(m);
		return false;
	}
	manager = m;
	return true;
}

static struct aead_ctx *ctx_new(void)
{
	/* The library's structures may ask for more than malloc's 16 bytes of alignment. */
	size_t bytes = (sizeof(struct ctx) + 63) & ~(size_t)63;
	struct ctx *c = aligned_alloc(64, bytes);
	if (!c)
		return NULL;
	c->base.engine = &aead_engine_ipsecmb;
	return &c->base;
}

static void ctx_free(struct aead_ctx *base)
{
	wipe(base, sizeof(struct ctx));
	free(base);
}

static void key_init(struct aead_ctx *base, uint8_t *room, const uint8_t key[32])
{
	(void)base;
	IMB_AES256_GCM_PRE(manager, key, (struct gcm_key_data *)room);
}

static void gcm_seal(struct aead_ctx *base, const uint8_t *room, const uint8_t nonce[12],
		     uint8_t *p, size_t n, uint8_t *tag)
{
	struct ctx *c = (struct ctx *)base;
	IMB_AES256_GCM_ENC(manager, (const struct gcm_key_data *)room, &c->gcm, p, p, n, nonce,
			   NULL, 0, tag, AEAD_TAG_BYTES);
}

static bool gcm_open(struct aead_ctx *base, const uint8_t *room, const uint8_t nonce[12],
		     uint8_t *p, size_t n, const uint8_t *tag)
{
	struct ctx *c = (struct ctx *)base;
	uint8_t computed[AEAD_TAG_BYTES];
	IMB_AES256_GCM_DEC(manager, (const struct gcm_key_data *)room, &c->gcm, p, p, n, nonce,
			   NULL, 0, computed, AEAD_TAG_BYTES);
	return equal_ct(computed, tag, AEAD_TAG_BYTES);
}

static void expand_header_key(struct aead_ctx *base, struct header_key *k, const uint8_t key[32])
{
	(void)base;
	IMB_AES_KEYEXP_256(manager, key, k->enc, k->dec);
}

__attribute__((target("aes,sse2"))) static void block_encrypt(struct aead_ctx *base,
							      const struct header_key *k,
							      const uint8_t in[16], uint8_t out[16])
{
	(void)base;
	const __m128i *rk = (const __m128i *)k->enc;
	__m128i b = _mm_xor_si128(_mm_loadu_si128((const __m128i *)in), _mm_load_si128(rk));
	for (int i = 1; i < ROUNDS; i++)
		b = _mm_aesenc_si128(b, _mm_load_si128(rk + i));
	b = _mm_aesenclast_si128(b, _mm_load_si128(rk + ROUNDS));
	_mm_storeu_si128((__m128i *)out, b);
}

/* k->dec has the round keys of the equivalent inverse cipher, last first. */
__attribute__((target("aes,sse2"))) static void block_decrypt(struct aead_ctx *base,
							      const struct header_key *k,
							      const uint8_t in[16], uint8_t out[16])
{
	(void)base;
	const __m128i *rk = (const __m128i *)k->dec;
	__m128i b = _mm_xor_si128(_mm_loadu_si128((const __m128i *)in), _mm_load_si128(rk));
	for (int i = 1; i < ROUNDS; i++)
		b = _mm_aesdec_si128(b, _mm_load_si128(rk + i));
	b = _mm_aesdeclast_si128(b, _mm_load_si128(rk + ROUNDS));
	_mm_storeu_si128((__m128i *)out, b);
}

const struct aead_engine aead_engine_ipsecmb = {
	.name = "ipsec-mb",
	.start = start,
	.ctx_new = ctx_new,
	.ctx_free = ctx_free,
	.key_init = key_init,
	.seal = gcm_seal,
	.open = gcm_open,
	.header_key_init = expand_header_key,
	.block_encrypt = block_encrypt,
	.block_decrypt = block_decrypt,
};
#else
typedef int aead_ipsecmb_is_not_built_in; /* ISO C wants a declaration */
#endif
