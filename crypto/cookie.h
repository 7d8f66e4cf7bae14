/* crypto/cookie.h - mac1, mac2 and cookies of PROTOCOL.md section 4: proof of a source address under load. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/clock.h"
#include "base/random.h"

#define MAC_BYTES               16
#define COOKIE_BYTES            16
#define COOKIE_NONCE_BYTES      24
#define COOKIE_SEALED_BYTES     (COOKIE_BYTES + 16)
#define COOKIE_SECRET_SECONDS   120

/* The responder's secret, and the one before it (a cookie lives through one change). */
struct cookie_secret {
	uint8_t now[32], before[32];
	nsec_t changed; /* 0: not started */
	bool has_before;
};

/* mac1 over the first n bytes of a handshake datagram. */
void mac1_make(uint8_t out[MAC_BYTES], const uint8_t id[32], const uint8_t *datagram, size_t n);
bool mac1_verify(const uint8_t mac[MAC_BYTES], const uint8_t id[32], const uint8_t *datagram, size_t n)
	__attribute__((warn_unused_result));
/* mac2 under a cookie over the first n bytes (mac1 included). */
void mac2_make(uint8_t out[MAC_BYTES], const uint8_t cookie[COOKIE_BYTES], const uint8_t *datagram, size_t n);

/* The cookie for this source now; changes the secret when it is older than 120 s. */
void cookie_make(struct cookie_secret *s, const struct addr *source, nsec_t now, const struct rng *rng,
		 uint8_t out[COOKIE_BYTES]);
/* Does mac2 prove that `source` received a cookie of ours in the last 120..240 s? */
bool cookie_verify(struct cookie_secret *s, const struct addr *source, nsec_t now, const struct rng *rng,
		   const uint8_t mac2[MAC_BYTES], const uint8_t *datagram, size_t n) __attribute__((warn_unused_result));
/* Seal a cookie for the sender of the INIT with this mac1: nonce[24] is drawn, out[32] written; and back. */
void cookie_seal(const uint8_t id[32], const uint8_t mac1[MAC_BYTES], const uint8_t cookie[COOKIE_BYTES],
		 const struct rng *rng, uint8_t out_nonce[COOKIE_NONCE_BYTES], uint8_t out[COOKIE_SEALED_BYTES]);
bool cookie_open(const uint8_t id[32], const uint8_t mac1[MAC_BYTES], const uint8_t nonce[COOKIE_NONCE_BYTES],
		 const uint8_t sealed[COOKIE_SEALED_BYTES], uint8_t ret_cookie[COOKIE_BYTES])
	__attribute__((warn_unused_result));
