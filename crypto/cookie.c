/* crypto/cookie.c - see cookie.h. PROTOCOL.md section 4. */
#include "crypto/cookie.h"
#include "base/bytes.h"
#include "crypto/kdf.h"

#include <string.h>
#include <sodium.h>

#define SECRET_NSEC (COOKIE_SECRET_SECONDS * NSEC_PER_SEC)

_Static_assert(COOKIE_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "XChaCha nonce");

/* mac1 = BLAKE2b-128(key = H("mac1" | ID of the responder), all before it) */
void mac1_make(uint8_t out[MAC_BYTES], const uint8_t id[32], const uint8_t *datagram, size_t n)
{
	const struct hash_part key_parts[] = {{"mac1", 4}, {id, 32}};
	uint8_t key[HASH_BYTES];
	hash_parts(key, key_parts, 2);
	mac_parts(out, MAC_BYTES, key, sizeof(key), &(struct hash_part){datagram, n}, 1);
}

bool mac1_verify(const uint8_t mac[MAC_BYTES], const uint8_t id[32], const uint8_t *datagram,
		 size_t n)
{
	uint8_t expected[MAC_BYTES];
	mac1_make(expected, id, datagram, n);
	return equal_ct(expected, mac, MAC_BYTES);
}

void mac2_make(uint8_t out[MAC_BYTES], const uint8_t cookie[COOKIE_BYTES], const uint8_t *datagram,
	       size_t n)
{
	mac_parts(out, MAC_BYTES, cookie, COOKIE_BYTES, &(struct hash_part){datagram, n}, 1);
}

static void start_anew(struct cookie_secret *s, nsec_t now, const struct rng *rng)
{
	rng_bytes(rng, s->now, sizeof(s->now));
	wipe(s->before, sizeof(s->before));
	s->has_before = false;
	s->changed = now != 0 ? now : 1; /* 0 means not started */
}

/* Changes fall on whole periods since the start, however late we are called: so a cookie of the
 * secret before is never older than two periods. */
static void keep_fresh(struct cookie_secret *s, nsec_t now, const struct rng *rng)
{
	if (s->changed == 0 || now - s->changed >= 2 * SECRET_NSEC) {
		start_anew(s, now, rng);
	} else if (now - s->changed >= SECRET_NSEC) {
		memcpy(s->before, s->now, sizeof(s->before));
		s->has_before = true;
		rng_bytes(rng, s->now, sizeof(s->now));
		s->changed += SECRET_NSEC;
	}
}

/* cookie = BLAKE2b-128(key = secret, source ip | port) */
static void cookie_under(const uint8_t secret[32], const struct addr *source,
			 uint8_t out[COOKIE_BYTES])
{
	uint8_t port[2];
	store_be16(port, source->port);
	const struct hash_part parts[] = {{source->ip, addr_ip_bytes(source)}, {port, 2}};
	mac_parts(out, COOKIE_BYTES, secret, 32, parts, 2);
}

void cookie_make(struct cookie_secret *s, const struct addr *source, nsec_t now,
		 const struct rng *rng, uint8_t out[COOKIE_BYTES])
{
	keep_fresh(s, now, rng);
	cookie_under(s->now, source, out);
}

static bool verify_under(const uint8_t secret[32], const struct addr *source,
			 const uint8_t mac2[MAC_BYTES], const uint8_t *datagram, size_t n)
{
	uint8_t cookie[COOKIE_BYTES], expected[MAC_BYTES];
	cookie_under(secret, source, cookie);
	mac2_make(expected, cookie, datagram, n);
	return equal_ct(expected, mac2, MAC_BYTES);
}

bool cookie_verify(struct cookie_secret *s, const struct addr *source, nsec_t now,
		   const struct rng *rng, const uint8_t mac2[MAC_BYTES], const uint8_t *datagram,
		   size_t n)
{
	keep_fresh(s, now, rng);
	if (verify_under(s->now, source, mac2, datagram, n))
		return true;
	return s->has_before && verify_under(s->before, source, mac2, datagram, n);
}

void cookie_seal(const uint8_t id[32], const uint8_t mac1[MAC_BYTES],
		 const uint8_t cookie[COOKIE_BYTES], const struct rng *rng,
		 uint8_t out_nonce[COOKIE_NONCE_BYTES], uint8_t out[COOKIE_SEALED_BYTES])
{
	uint8_t key[KEY_BYTES];
	kdf(key, sizeof(key), id, "cookie", NULL, 0);
	rng_bytes(rng, out_nonce, COOKIE_NONCE_BYTES);
	crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, cookie, COOKIE_BYTES, mac1, MAC_BYTES,
						   NULL, out_nonce, key);
}

bool cookie_open(const uint8_t id[32], const uint8_t mac1[MAC_BYTES],
		 const uint8_t nonce[COOKIE_NONCE_BYTES], const uint8_t sealed[COOKIE_SEALED_BYTES],
		 uint8_t ret_cookie[COOKIE_BYTES])
{
	uint8_t key[KEY_BYTES], cookie[COOKIE_BYTES];
	kdf(key, sizeof(key), id, "cookie", NULL, 0);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(cookie, NULL, NULL, sealed,
						       COOKIE_SEALED_BYTES, mac1, MAC_BYTES, nonce,
						       key) != 0)
		return false;
	memcpy(ret_cookie, cookie, COOKIE_BYTES);
	return true;
}
