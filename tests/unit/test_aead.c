/* tests/unit/test_aead.c - crypto/aead.c: each engine alone, and both against each other on random
 * input. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/crypto.h>
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "seeded.h"

#define MAX_BYTES 1452 /* longest datagram */
#define CTR_MASK  ((UINT64_C(1) << 56) - 1)

static const char *const names[] = {"openssl", "ipsec-mb"};
static size_t engines; /* how many of them this build and CPU run */
static struct aead_ctx *ctx[2];

static size_t allocations; /* by OpenSSL, whose memory functions are replaced below */

static void *count_malloc(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	allocations++;
	return malloc(n);
}

static void *count_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	allocations++;
	return realloc(p, n);
}

static void count_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	free(p);
}

/* A key as engine `e` expands it. */
static void key_at(struct aead_key *k, size_t e, const uint8_t key[32], const uint8_t iv[12])
{
	aead_key_init(k, ctx[e], key, iv);
}

static void aead_round_trip_and_every_flip_is_seen(void **state)
{
	(void)state;
	for (size_t e = 0; e < engines; e++) {
		struct seeded s;
		struct rng rng = seeded_rng(&s, 1);
		uint8_t key[32], iv[12], plain[70], buf[70], tag[16];
		rng_bytes(&rng, key, 32);
		rng_bytes(&rng, iv, 12);
		rng_bytes(&rng, plain, sizeof(plain));
		struct aead_key k;
		key_at(&k, e, key, iv);
		memcpy(buf, plain, sizeof(buf));
		aead_seal(ctx[e], &k, 9, buf, sizeof(buf), tag);
		uint8_t sealed[70];
		memcpy(sealed, buf, sizeof(buf));
		assert_memory_not_equal(sealed, plain, sizeof(plain));
		for (size_t bit = 0; bit < 8 * (sizeof(buf) + 16); bit++) {
			uint8_t t[16];
			memcpy(buf, sealed, sizeof(buf));
			memcpy(t, tag, 16);
			*(bit < 8 * sizeof(buf) ? &buf[bit / 8] : &t[bit / 8 - sizeof(buf)]) ^=
				1u << (bit % 8);
			assert_false(aead_open(ctx[e], &k, 9, buf, sizeof(buf), t));
		}
		memcpy(buf, sealed, sizeof(buf));
		assert_false(aead_open(ctx[e], &k, 10, buf, sizeof(buf), tag));
		memcpy(buf, sealed, sizeof(buf));
		assert_false(aead_open(ctx[e], &k, 9, buf, sizeof(buf) - 1, tag));
		memcpy(buf, sealed, sizeof(buf));
		assert_true(aead_open(ctx[e], &k, 9, buf, sizeof(buf), tag));
		assert_memory_equal(buf, plain, sizeof(plain));
		aead_key_done(&k);
		uint8_t zero[sizeof(k)] = {0};
		assert_memory_equal(&k, zero, sizeof(k));
	}
}

/* The same key, counter and bytes give the same result in both engines, at every offset and length.
 */
static void aead_engines_agree(void **state)
{
	(void)state;
	if (engines < 2) {
		print_message("one engine only\n");
		skip();
	}
	struct seeded s;
	struct rng rng = seeded_rng(&s, 2);
	static uint8_t a[MAX_BYTES + 64 + 16], b[MAX_BYTES + 64 + 16];
	for (int round = 0; round < 3000; round++) {
		uint8_t key[32], iv[12], plain[MAX_BYTES];
		rng_bytes(&rng, key, 32);
		rng_bytes(&rng, iv, 12);
		size_t n = round <= MAX_BYTES ? (size_t)round : rng_below(&rng, MAX_BYTES + 1);
		size_t offset = rng_below(&rng, 64);
		uint64_t ctr = rng_u64(&rng) & CTR_MASK;
		rng_bytes(&rng, plain, n);
		struct aead_key ka, kb;
		key_at(&ka, 0, key, iv);
		key_at(&kb, 1, key, iv);
		memcpy(a + offset, plain, n);
		memcpy(b + offset, plain, n);
		aead_seal(ctx[0], &ka, ctr, a + offset, n, a + offset + n);
		aead_seal(ctx[1], &kb, ctr, b + offset, n, b + offset + n);
		assert_memory_equal(a + offset, b + offset, n + 16);
		assert_true(aead_open(ctx[0], &ka, ctr, b + offset, n, b + offset + n));
		assert_true(aead_open(ctx[1], &kb, ctr, a + offset, n, a + offset + n));
		assert_memory_equal(a + offset, plain, n);
		assert_memory_equal(b + offset, plain, n);
		a[offset + n + round % 16] ^= 1;
		memcpy(b, a, sizeof(a));
		assert_false(aead_open(ctx[0], &ka, ctr, a + offset, n, a + offset + n));
		assert_false(aead_open(ctx[1], &kb, ctr, b + offset, n, b + offset + n));
	}
}

/* More keys than an engine keeps expanded, used in turn. */
static void aead_many_keys_in_turn(void **state)
{
	(void)state;
	enum { KEYS = 200 };
	static struct aead_key k[KEYS];
	for (size_t e = 0; e < engines; e++) {
		uint8_t buf[KEYS][40], tag[KEYS][16], key[32] = {0}, iv[12] = {0}, plain[40] = {0};
		for (int i = 0; i < KEYS; i++) {
			key[31] = (uint8_t)i;
			key_at(&k[i], e, key, iv);
			memset(buf[i], 0, 40);
		}
		for (int i = 0; i < KEYS; i++)
			aead_seal(ctx[e], &k[i], 1, buf[i], 40, tag[i]);
		for (int i = 0; i < KEYS; i++) {
			uint8_t wrong[40];
			memcpy(wrong, buf[i], 40);
			assert_false(aead_open(ctx[e], &k[(i + 1) % KEYS], 1, wrong, 40, tag[i]));
			assert_true(aead_open(ctx[e], &k[i], 1, buf[i], 40, tag[i]));
			assert_memory_equal(buf[i], plain, 40);
		}
	}
}

static void aead_header_round_trip(void **state)
{
	(void)state;
	for (size_t e = 0; e < engines; e++) {
		struct seeded s;
		struct rng rng = seeded_rng(&s, 3);
		for (int round = 0; round < 500; round++) {
			uint8_t key[32], out[16], other[16];
			rng_bytes(&rng, key, 32);
			struct header_key k;
			header_key_init(&k, ctx[e], key);
			struct header h = {(uint32_t)rng_u64(&rng), (uint8_t)rng_u64(&rng),
					   rng_u64(&rng) & CTR_MASK};
			header_seal(ctx[e], &k, &h, out);
			struct header back;
			assert_true(header_open(ctx[e], &k, out, &back));
			assert_int_equal(back.circuit_id, h.circuit_id);
			assert_int_equal(back.type, h.type);
			assert_true(back.ctr == h.ctr);
			if (engines == 2) {
				struct header_key k2;
				header_key_init(&k2, ctx[1 - e], key);
				header_seal(ctx[1 - e], &k2, &h, other);
				assert_memory_equal(out, other, 16);
			}
		}
	}
}

/* A wrong key or one changed bit scatters over the block: the 32 zero bits are gone. */
static void aead_header_change_is_seen(void **state)
{
	(void)state;
	for (size_t e = 0; e < engines; e++) {
		const uint8_t key[32] = {1}, wrong[32] = {2};
		struct header_key k, kw;
		header_key_init(&k, ctx[e], key);
		header_key_init(&kw, ctx[e], wrong);
		const struct header h = {0xdeadbeef, 1, 77};
		struct header back = {1, 2, 3};
		uint8_t out[16];
		header_seal(ctx[e], &k, &h, out);
		assert_false(header_open(ctx[e], &kw, out, &back));
		for (int bit = 0; bit < 128; bit++) {
			out[bit / 8] ^= 1u << (bit % 8);
			assert_false(header_open(ctx[e], &k, out, &back));
			out[bit / 8] ^= 1u << (bit % 8);
		}
		assert_int_equal(back.circuit_id, 1); /* untouched on failure */
		assert_true(header_open(ctx[e], &k, out, &back));
		header_key_done(&k);
		uint8_t zero[sizeof(k)] = {0};
		assert_memory_equal(&k, zero, sizeof(k));
	}
}

/* Bits above 56 of a counter do not run into the type. */
static void aead_header_counter_is_56_bits(void **state)
{
	(void)state;
	for (size_t e = 0; e < engines; e++) {
		const uint8_t key[32] = {1};
		struct header_key k;
		header_key_init(&k, ctx[e], key);
		const struct header h = {5, 2, UINT64_MAX};
		struct header back;
		uint8_t out[16];
		header_seal(ctx[e], &k, &h, out);
		assert_true(header_open(ctx[e], &k, out, &back));
		assert_int_equal(back.type, 2);
		assert_true(back.ctr == CTR_MASK);
	}
}

/* Sealing and opening allocate nothing, also when keys change. */
static void aead_packet_path_does_not_allocate(void **state)
{
	(void)state;
	static struct aead_key k[40];
	struct header_key hk[40];
	uint8_t key[32] = {0}, iv[12] = {0}, buf[1400] = {0}, tag[16], out[16];
	const struct header h = {5, 2, 1};
	struct header back;
	for (int i = 0; i < 40; i++) {
		key[0] = (uint8_t)i;
		key_at(&k[i], 0, key, iv);
		header_key_init(&hk[i], ctx[0], key);
	}
	size_t before = allocations;
	assert_true(before > 0); /* the counter does count */
	for (int i = 0; i < 80; i++) {
		aead_seal(ctx[0], &k[i % 40], 1, buf, sizeof(buf), tag);
		assert_true(aead_open(ctx[0], &k[i % 40], 1, buf, sizeof(buf), tag));
		assert_false(aead_open(ctx[0], &k[i % 40], 2, buf, sizeof(buf), tag));
		header_seal(ctx[0], &hk[i % 40], &h, out);
		assert_true(header_open(ctx[0], &hk[i % 40], out, &back));
	}
	assert_int_equal(allocations, before);
}

static void aead_engine_is_chosen_by_name(void **state)
{
	(void)state;
	assert_int_equal(aead_engine_choose("rot13"), -ENOENT);
	assert_int_equal(aead_engine_choose(""), -ENOENT);
	for (size_t e = 0; e < engines; e++) {
		assert_int_equal(aead_engine_choose(names[e]), 0);
		assert_string_equal(aead_engine_name(), names[e]);
		assert_int_equal(aead_engine_choose("rot13"), -ENOENT); /* changes nothing */
		assert_string_equal(aead_engine_name(), names[e]);
	}
	if (engines < 2)
		assert_int_equal(aead_engine_choose("ipsec-mb"), -ENOTSUP);
	assert_int_equal(aead_engine_choose(NULL), 0);
	assert_string_equal(aead_engine_name(), names[engines - 1]); /* the fastest */
	assert_int_equal(aead_engine_choose("auto"), 0);
	assert_string_equal(aead_engine_name(), names[engines - 1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aead_round_trip_and_every_flip_is_seen),
		cmocka_unit_test(aead_engines_agree),
		cmocka_unit_test(aead_many_keys_in_turn),
		cmocka_unit_test(aead_header_round_trip),
		cmocka_unit_test(aead_header_change_is_seen),
		cmocka_unit_test(aead_header_counter_is_56_bits),
		cmocka_unit_test(aead_packet_path_does_not_allocate),
		cmocka_unit_test(aead_engine_is_chosen_by_name),
	};
	if (!CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free) || crypto_init() < 0)
		return 1;
	for (; engines < 2 && aead_engine_choose(names[engines]) == 0; engines++) {
		ctx[engines] = aead_ctx_new();
		if (!ctx[engines])
			return 1;
	}
	if (engines == 0)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	aead_ctx_free(ctx[0]);
	aead_ctx_free(ctx[1]);
	return failed;
}
