/* crypto/handshake.c - see handshake.h. The steps carry the tokens of PROTOCOL.md section 3. */
#include "crypto/handshake.h"
#include "base/bytes.h"

#include <errno.h>
#include <string.h>
#include <sodium.h>

#define OFFSET_MASK ((UINT64_C(1) << 47) - 1) /* df, db: the low 47 bits */
#define NONCE_BYTES 12

static const uint8_t nonce_zero[NONCE_BYTES];
static const uint8_t psk_none[32]; /* psk of version 1 */

_Static_assert(sizeof(crypto_generichash_state) <= sizeof(((struct hs *)0)->ts1_state),
	       "struct hs must hold libsodium's BLAKE2b state");

void chapoly_seal(const uint8_t key[32], const uint8_t nonce[12], const void *ad, size_t ad_bytes,
		  const uint8_t *plain, size_t n, uint8_t *out)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, n, ad, ad_bytes, NULL, nonce,
						  key);
}

bool chapoly_open(const uint8_t key[32], const uint8_t nonce[12], const void *ad, size_t ad_bytes,
		  const uint8_t *sealed, size_t n, uint8_t *plain)
{
	return crypto_aead_chacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed, n, ad, ad_bytes,
							 nonce, key) == 0;
}

void nonce_from_counter(uint8_t out[12], const uint8_t iv[12], uint64_t ctr56)
{
	memcpy(out, iv, NONCE_BYTES);
	for (int i = 0; i < 7; i++)
		out[NONCE_BYTES - 1 - i] ^= (uint8_t)(ctr56 >> (8 * i));
}

/* False when the output is all zero: the other side's key has small order. */
static bool x25519(uint8_t out[32], const uint8_t secret[32], const uint8_t public_key[32])
{
	return crypto_scalarmult(out, secret, public_key) == 0;
}

void onion_keypair_new(struct onion_keypair *ret, const struct rng *rng)
{
	rng_bytes(rng, ret->secret_key, 32);
	crypto_scalarmult_base(ret->public_key, ret->secret_key);
}

/* TS0 = H("hs" | use | ID | B | X) */
static void make_ts0(struct hs *hs, const uint8_t id[32], const uint8_t b_public[32],
		     const uint8_t x[32])
{
	const char *use = hs->use == HS_LINK ? "link" : "path";
	const struct hash_part parts[] = {
		{"hs", 2}, {use, strlen(use)}, {id, 32}, {b_public, 32}, {x, 32},
	};
	hash_parts(hs->ts0, parts, 5);
}

/* The first part of TS1 = H(TS0 | ct | Y): kept as a state, because Y comes later and ct may be
 * gone by then. */
static void absorb_ct(struct hs *hs, const uint8_t *ct, size_t n)
{
	crypto_generichash_state state;
	crypto_generichash_init(&state, NULL, 0, HASH_BYTES);
	crypto_generichash_update(&state, hs->ts0, sizeof(hs->ts0));
	crypto_generichash_update(&state, ct, n);
	memcpy(hs->ts1_state, &state, sizeof(state));
}

static void make_ts1(const struct hs *hs, const uint8_t y[32], uint8_t ts1[32])
{
	crypto_generichash_state state;
	memcpy(&state, hs->ts1_state, sizeof(state));
	crypto_generichash_update(&state, y, 32);
	crypto_generichash_final(&state, ts1, HASH_BYTES);
}

/* seed = KDF(H(ee | es | psk),"seed",TS1,32) */
static void make_seed(const uint8_t ee[32], const uint8_t es[32], const uint8_t ts1[32],
		      uint8_t seed[32])
{
	const struct hash_part parts[] = {{ee, 32}, {es, 32}, {psk_none, 32}};
	uint8_t k[32];
	hash_parts(k, parts, 3);
	kdf(seed, 32, k, "seed", ts1, 32);
	wipe(k, sizeof(k));
}

/* h = H(TS1 | rt) */
static void make_h(const uint8_t ts1[32], const uint8_t *rt, size_t n, uint8_t h[32])
{
	const struct hash_part parts[] = {{ts1, 32}, {rt, n}};
	hash_parts(h, parts, 2);
}

int hs_start(struct hs *hs, enum hs_use use, const uint8_t id[32], const uint8_t b_public[32],
	     const struct rng *rng, uint8_t out_x[32])
{
	memset(hs, 0, sizeof(*hs));
	hs->use = use;
	rng_bytes(rng, hs->secret, 32);
	crypto_scalarmult_base(hs->x_public, hs->secret);
	if (!x25519(hs->es, hs->secret, b_public)) {
		hs_done(hs);
		return -EPROTO;
	}
	make_ts0(hs, id, b_public, hs->x_public);
	memcpy(out_x, hs->x_public, 32);
	return 0;
}

void hs_seal_request(struct hs *hs, const uint8_t *plain, size_t n, uint8_t *ct)
{
	uint8_t kreq[32];
	kdf(kreq, 32, hs->es, "req", hs->ts0, 32);
	chapoly_seal(kreq, nonce_zero, hs->ts0, 32, plain, n, ct);
	wipe(kreq, sizeof(kreq));
	absorb_ct(hs, ct, n + HS_TAG_BYTES);
}

bool hs_accept(struct hs *hs, enum hs_use use, const uint8_t id[32], const struct onion_keypair *b,
	       const uint8_t x[32], const uint8_t *ct, size_t n, uint8_t *plain)
{
	memset(hs, 0, sizeof(*hs));
	hs->use = use;
	memcpy(hs->x_public, x, 32);
	if (!x25519(hs->es, b->secret_key, x)) {
		hs_done(hs);
		return false;
	}
	make_ts0(hs, id, b->public_key, x);
	absorb_ct(hs, ct, n + HS_TAG_BYTES); /* before opening, which may write over ct */
	uint8_t kreq[32];
	kdf(kreq, 32, hs->es, "req", hs->ts0, 32);
	bool ok = chapoly_open(kreq, nonce_zero, hs->ts0, 32, ct, n + HS_TAG_BYTES, plain);
	wipe(kreq, sizeof(kreq));
	if (!ok)
		hs_done(hs);
	return ok;
}

int hs_reply_start(struct hs *hs, const struct rng *rng, uint8_t out_y[32])
{
	uint8_t y_public[32], ee[32];
	rng_bytes(rng, hs->secret, 32);
	crypto_scalarmult_base(y_public, hs->secret);
	bool ok = x25519(ee, hs->secret, hs->x_public);
	wipe(hs->secret, sizeof(hs->secret));
	if (ok) {
		make_ts1(hs, y_public, hs->ts1);
		make_seed(ee, hs->es, hs->ts1, hs->seed);
		wipe(hs->ts1_state, sizeof(hs->ts1_state));
		memcpy(out_y, y_public, 32);
	}
	wipe(hs->es, sizeof(hs->es));
	wipe(ee, sizeof(ee));
	return ok ? 0 : -EPROTO;
}

void hs_reply_seal(struct hs *hs, const uint8_t *plain, size_t n, uint8_t *rt)
{
	uint8_t krep[32];
	kdf(krep, 32, hs->seed, "rep", NULL, 0);
	chapoly_seal(krep, nonce_zero, hs->ts1, 32, plain, n, rt);
	wipe(krep, sizeof(krep));
	make_h(hs->ts1, rt, n + HS_TAG_BYTES, hs->h);
}

/* State is written only after rt verified, so that a forged reply cannot spoil the true one. */
bool hs_finish(struct hs *hs, const uint8_t y[32], const uint8_t *rt, size_t n, uint8_t *plain)
{
	uint8_t ee[32], ts1[32], seed[32], krep[32], h[32];
	if (!x25519(ee, hs->secret, y))
		return false;
	make_ts1(hs, y, ts1);
	make_seed(ee, hs->es, ts1, seed);
	kdf(krep, 32, seed, "rep", NULL, 0);
	make_h(ts1, rt, n + HS_TAG_BYTES, h); /* before opening, which may write over rt */
	bool ok = chapoly_open(krep, nonce_zero, ts1, 32, rt, n + HS_TAG_BYTES, plain);
	if (ok) {
		memcpy(hs->ts1, ts1, 32);
		memcpy(hs->seed, seed, 32);
		memcpy(hs->h, h, 32);
		wipe(hs->secret, sizeof(hs->secret));
		wipe(hs->es, sizeof(hs->es));
		wipe(hs->ts1_state, sizeof(hs->ts1_state));
	}
	wipe(ee, sizeof(ee));
	wipe(seed, sizeof(seed));
	wipe(krep, sizeof(krep));
	return ok;
}

static void from_seed(const struct hs *hs, const char *label, uint8_t *out, size_t n)
{
	kdf(out, n, hs->seed, label, NULL, 0);
}

static uint64_t offset_from_seed(const struct hs *hs, const char *label)
{
	uint8_t b[8];
	from_seed(hs, label, b, sizeof(b));
	uint64_t v = load_be64(b) & OFFSET_MASK;
	wipe(b, sizeof(b));
	return v;
}

void hs_path_keys(const struct hs *hs, struct path_keys *ret)
{
	from_seed(hs, "kf", ret->kf, 32);
	from_seed(hs, "kb", ret->kb, 32);
	from_seed(hs, "ivf", ret->ivf, NONCE_BYTES);
	from_seed(hs, "ivb", ret->ivb, NONCE_BYTES);
	ret->df = offset_from_seed(hs, "df");
	ret->db = offset_from_seed(hs, "db");
	from_seed(hs, "resume", ret->resume, 32);
}

void hs_link_keys(const struct hs *hs, struct link_keys *ret)
{
	from_seed(hs, "hkf", ret->hkf, 32);
	from_seed(hs, "hkb", ret->hkb, 32);
	from_seed(hs, "cf", ret->cf, 32);
	from_seed(hs, "cb", ret->cb, 32);
	from_seed(hs, "civf", ret->civf, NONCE_BYTES);
	from_seed(hs, "civb", ret->civb, NONCE_BYTES);
}

void hs_done(struct hs *hs)
{
	wipe(hs, sizeof(*hs));
}
