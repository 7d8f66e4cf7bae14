/* crypto/handshake.h - the hop handshake of PROTOCOL.md section 3, one implementation for links and hops.
 *
 * initiator: hs_start() makes X and ct; hs_finish() takes Y and rt.
 * responder: hs_accept() opens ct; the caller decides; hs_reply() makes Y and rt.
 * Both then read their keys with hs_path_keys() or hs_link_keys(). Modelled in docs/proof (hs_, path_, link_).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/random.h"
#include "crypto/kdf.h"

#define HS_TAG_BYTES 16
#define HS_KEY_BYTES 32

enum hs_use { HS_LINK, HS_PATH };

struct onion_keypair {
	uint8_t public_key[32];
	uint8_t secret_key[32];
};

/* One handshake in flight. Wiped by hs_done(); embed it. */
struct hs {
	enum hs_use use;
	uint8_t secret[32]; /* x, y: ephemeral; wiped when no longer needed */
	uint8_t es[32];
	uint8_t ts0[32];
	uint8_t ts1[32];
	uint8_t seed[32];
	uint8_t h[32]; /* binds a session to this hop; valid after hs_reply / hs_finish */
	uint8_t x_public[32];
	uint8_t ts1_state[384]; /* BLAKE2b over TS0 | ct so far (a copy of libsodium's state; no alignment, so that
				 * a struct with an hs in it may come from malloc) */
};

struct path_keys {
	uint8_t kf[32], kb[32];   /* data keys, forward and backward */
	uint8_t ivf[12], ivb[12];
	uint64_t df, db;          /* counter offsets, 47 bits */
	uint8_t resume[32];       /* `res`; kept by the client and the last hop only */
};

struct link_keys {
	uint8_t hkf[32], hkb[32]; /* header blocks */
	uint8_t cf[32], cb[32];   /* CTRL */
	uint8_t civf[12], civb[12];
};

void onion_keypair_new(struct onion_keypair *ret, const struct rng *rng);

/* Initiator: draw x, write X to out_x[32]. -EPROTO when X25519(x,B) is zero (B is no key). */
int hs_start(struct hs *hs, enum hs_use use, const uint8_t id[32], const uint8_t b_public[32],
	     const struct rng *rng, uint8_t out_x[32]) __attribute__((warn_unused_result));
/* Initiator: seal `n` bytes of request (req | inner) to ct[n + 16] and absorb ct into TS1. ct may overlap plain
 * exactly. Once for each hs. */
void hs_seal_request(struct hs *hs, const uint8_t *plain, size_t n, uint8_t *ct);

/* Responder: from X and ct[n + 16] open the request into plain[n] (may be ct itself) and absorb ct into TS1. False
 * when it does not verify or the DH is zero; hs is then wiped. */
bool hs_accept(struct hs *hs, enum hs_use use, const uint8_t id[32], const struct onion_keypair *b,
	       const uint8_t x[32], const uint8_t *ct, size_t n, uint8_t *plain) __attribute__((warn_unused_result));
/* Responder, in two steps, because h and the keys exist only once the reply is sealed, which a relay can do only
 * when the hops behind it have answered: hs_reply_start() draws y and fixes Y, TS1, the seed (data keys may be
 * read from here on); hs_reply_seal() seals n bytes (rep | inner_reply) to rt[n + 16] and fixes h.
 * -EPROTO when ee is zero. */
int hs_reply_start(struct hs *hs, const struct rng *rng, uint8_t out_y[32])
	__attribute__((warn_unused_result));
void hs_reply_seal(struct hs *hs, const uint8_t *plain, size_t n, uint8_t *rt);

/* Initiator: from Y and rt[n + 16] open the reply into plain[n]; false when it does not verify: hs is unchanged and
 * another reply may be tried. plain may be rt itself, whose bytes are then lost when it does not verify. */
bool hs_finish(struct hs *hs, const uint8_t y[32], const uint8_t *rt, size_t n, uint8_t *plain)
	__attribute__((warn_unused_result));

/* Keys from the seed; valid after hs_reply_start() / hs_finish(). */
void hs_path_keys(const struct hs *hs, struct path_keys *ret);
void hs_link_keys(const struct hs *hs, struct link_keys *ret);
void hs_done(struct hs *hs);

/* ChaCha20-Poly1305-IETF, XChaCha20-Poly1305 and the CTRL frames' AEAD, for the few who need them directly. */
void chapoly_seal(const uint8_t key[32], const uint8_t nonce[12], const void *ad, size_t ad_bytes,
		  const uint8_t *plain, size_t n, uint8_t *out /* n + 16 */);
bool chapoly_open(const uint8_t key[32], const uint8_t nonce[12], const void *ad, size_t ad_bytes,
		  const uint8_t *sealed, size_t n /* with tag */, uint8_t *plain) __attribute__((warn_unused_result));
/* nonce = iv XOR (0^5 | ctr56), for CTRL and data alike. */
void nonce_from_counter(uint8_t out[12], const uint8_t iv[12], uint64_t ctr56);
