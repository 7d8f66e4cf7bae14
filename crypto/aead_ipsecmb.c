/* crypto/aead_ipsecmb.c - the engine on intel-ipsec-mb (x86-64 with AES-NI and AVX2).
 *
 * GCM goes by the library's direct API: no jobs, no queue, nothing shared but a manager that is
 * read only after start(). A header is one block, for which a job costs more than the block:
 * fourteen AES-NI rounds over the library's expanded key, eight blocks side by side, because a
 * round takes four cycles but one can begin each half cycle. A file without content where the
 * library is not built in.
 */
#ifdef HAVE_IPSEC_MB
#include "crypto/aead_engine.h"
#include "crypto/kdf.h"

#include <stddef.h>
#include <stdlib.h>
#include <immintrin.h>
#include <intel-ipsec-mb.h>

#define FEATURES_NEEDED (IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ | IMB_FEATURE_AVX2)
#define ROUNDS		14 /* of AES-256 */
#define LANES		8  /* header blocks side by side; the pragmas below say it again */

/* The powers of the hash key are the last that the library writes; what follows is alignment. They
 * begin at 240, so that no version can count on more than 16 bytes of alignment. */
_Static_assert(offsetof(struct gcm_key_data, ghash_keys) +
			       sizeof(((struct gcm_key_data *)0)->ghash_keys) <=
		       AEAD_KEY_ROOM,
	       "AEAD_KEY_ROOM is too small");
_Static_assert(offsetof(struct gcm_key_data, ghash_keys) % 32 == 16, "room is aligned to 16");

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

static void gcm_seal(struct aead_ctx *base, const struct aead_key *k, const struct aead_item *it,
		     size_t n)
{
	struct ctx *c = (struct ctx *)base;
	const struct gcm_key_data *key = (const struct gcm_key_data *)k->room;
	for (size_t i = 0; i < n; i++) {
		uint8_t nonce[12];
		item_nonce(nonce, k, it[i].ctr);
		IMB_AES256_GCM_ENC(manager, key, &c->gcm, it[i].p, it[i].p, it[i].n, nonce, NULL, 0,
				   it[i].tag, AEAD_TAG_BYTES);
	}
}

static void gcm_open(struct aead_ctx *base, const struct aead_key *k, struct aead_item *it,
		     size_t n)
{
	struct ctx *c = (struct ctx *)base;
	const struct gcm_key_data *key = (const struct gcm_key_data *)k->room;
	for (size_t i = 0; i < n; i++) {
		uint8_t nonce[12], computed[AEAD_TAG_BYTES];
		item_nonce(nonce, k, it[i].ctr);
		IMB_AES256_GCM_DEC(manager, key, &c->gcm, it[i].p, it[i].p, it[i].n, nonce, NULL, 0,
				   computed, AEAD_TAG_BYTES);
		it[i].ok = equal_words(computed, it[i].tag, AEAD_TAG_BYTES);
	}
}

static void expand_header_key(struct aead_ctx *base, struct header_key *k, const uint8_t key[32])
{
	(void)base;
	IMB_AES_KEYEXP_256(manager, key, k->enc, k->dec);
}

#define WITH_AES __attribute__((target("aes,sse2")))

WITH_AES static inline __m128i round_of(__m128i x, __m128i key, bool inverse)
{
	return inverse ? _mm_aesdec_si128(x, key) : _mm_aesenc_si128(x, key);
}

WITH_AES static inline __m128i last_round_of(__m128i x, __m128i key, bool inverse)
{
	return inverse ? _mm_aesdeclast_si128(x, key) : _mm_aesenclast_si128(x, key);
}

/* n blocks under the round keys rk; `inverse` is a constant of each caller, which gets a copy.
 *
 * The loops over lanes are unrolled, or the lanes would live in memory: 3 ns a block and not 7.
 * Four blocks to a register (VAES) save one more, of the 150 that a relay's packet takes: not worth
 * a third way. */
WITH_AES static inline __attribute__((always_inline)) void
blocks_crypt(const __m128i *rk, uint8_t b[][HEADER_BLOCK_BYTES], size_t n, bool inverse)
{
	__m128i *at = (__m128i *)b;
	for (; n >= LANES; n -= LANES, at += LANES) {
		__m128i x[LANES];
#pragma GCC unroll 8
		for (int j = 0; j < LANES; j++)
			x[j] = _mm_xor_si128(_mm_loadu_si128(at + j), _mm_load_si128(rk));
		for (int i = 1; i < ROUNDS; i++)
#pragma GCC unroll 8
			for (int j = 0; j < LANES; j++)
				x[j] = round_of(x[j], _mm_load_si128(rk + i), inverse);
#pragma GCC unroll 8
		for (int j = 0; j < LANES; j++)
			_mm_storeu_si128(at + j,
					 last_round_of(x[j], _mm_load_si128(rk + ROUNDS), inverse));
	}
	for (; n > 0; n--, at++) {
		__m128i x = _mm_xor_si128(_mm_loadu_si128(at), _mm_load_si128(rk));
		for (int i = 1; i < ROUNDS; i++)
			x = round_of(x, _mm_load_si128(rk + i), inverse);
		_mm_storeu_si128(at, last_round_of(x, _mm_load_si128(rk + ROUNDS), inverse));
	}
}

WITH_AES static void blocks_encrypt(struct aead_ctx *base, const struct header_key *k,
				    uint8_t b[][HEADER_BLOCK_BYTES], size_t n)
{
	(void)base;
	blocks_crypt((const __m128i *)k->enc, b, n, false);
}

/* k->dec has the round keys of the equivalent inverse cipher, last first. */
WITH_AES static void blocks_decrypt(struct aead_ctx *base, const struct header_key *k,
				    uint8_t b[][HEADER_BLOCK_BYTES], size_t n)
{
	(void)base;
	blocks_crypt((const __m128i *)k->dec, b, n, true);
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
	.blocks_encrypt = blocks_encrypt,
	.blocks_decrypt = blocks_decrypt,
};
#else
typedef int aead_ipsecmb_is_not_built_in; /* ISO C wants a declaration */
#endif
