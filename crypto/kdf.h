/* crypto/kdf.h - H and KDF of PROTOCOL.md section 1 (BLAKE2b), wiping and comparing. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 32
#define KEY_BYTES  32

struct hash_part {
	const void *p;
	size_t n;
};

/* Start libsodium; call once before anything else of crypto/. 0 or -EIO. */
int crypto_init(void) __attribute__((warn_unused_result));
/* H(all parts joined) = BLAKE2b-256. */
void hash_parts(uint8_t out[HASH_BYTES], const struct hash_part *parts, size_t count);
void hash(uint8_t out[HASH_BYTES], const void *p, size_t n);
/* KDF(k, label, m, n): BLAKE2b with digest length n (8..64) and key k over "sispop1" 0 label 0 m. */
void kdf(uint8_t *out, size_t n, const uint8_t k[KEY_BYTES], const char *label, const void *m, size_t m_bytes);
/* Keyed BLAKE2b with digest length n (16 or 32) over the parts: mac1, mac2, BIND, cookies. */
void mac_parts(uint8_t *out, size_t n, const uint8_t *key, size_t key_bytes, const struct hash_part *parts,
	       size_t count);
/* Overwrite with zeroes in a way that the compiler keeps. */
void wipe(void *p, size_t n);
/* Equal? in constant time for a given n. */
bool equal_ct(const void *a, const void *b, size_t n);
