/* tests/unit/test_aead.c - crypto/aead.c: each engine alone, batches against singles, and both
 * engines against each other on random input. */
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

static size_t allocations; /* by OpenSSL, whose memory functions are replaced below; by anybody */

/* A sanitizer has its own malloc. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MALLOC_IS_TAKEN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MALLOC_IS_TAKEN
#endif
#ifndef MALLOC_IS_TAKEN
/* Ours comes first for every library of the process. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
	allocations++;
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t each)
{
	allocations++;
	return __libc_calloc(n, each);
}

void *realloc(void *p, size_t n)
{
	allocations++;
	return __libc_realloc(p, n);
}
#endif

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

static void from_hex(uint8_t *out, const char *hex)
{
	for (; *hex; hex += 2, out++)
		assert_int_equal(sscanf(hex, "%2hhx", out), 1);
}

/* Test cases 13 to 15 of the GCM specification (McGrew, Viega), AES-256 without additional data; in
 * one batch where they share a key. A counter's bits stand in the nonce's low bytes. */
static void aead_equals_the_published_vectors(void **state)
{
	(void)state;
	static const char *const plain15 =
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
	static const char *const sealed15 =
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
	uint8_t key[32] = {0}, iv[12] = {0}, a[16], b[64], c[64], tag[3][16], want[64];
	for (size_t e = 0; e < engines; e++) {
		struct aead_key k;
		memset(key, 0, sizeof(key));
		memset(iv, 0, sizeof(iv));
		iv[11] = 0x42; /* XOR the counter: zero again */
		key_at(&k, e, key, iv);
		memset(a, 0, sizeof(a));
		struct aead_item two[] = {{.p = b, .n = 0, .tag = tag[0], .ctr = 0x42},
					  {.p = a, .n = 16, .tag = tag[1], .ctr = 0x42}};
		aead_seal_batch(ctx[e], &k, two, 2);
		from_hex(want, "530f8afbc74536b9a963b4f1c4cb738b");
		assert_memory_equal(tag[0], want, 16);
		from_hex(want, "cea7403d4d606b6e074ec5d3baf39d18");
		assert_memory_equal(a, want, 16);
		from_hex(want, "d0d1c8a799996bf0265b98b5d48ab919");
		assert_memory_equal(tag[1], want, 16);
		from_hex(key, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
		from_hex(iv, "cafebabefacedbaddecaf888");
		const uint64_t ctr = UINT64_C(0x89abcdef012345); /* all seven bytes */
		for (unsigned i = 0; i < 7; i++)
			iv[11 - i] ^= (uint8_t)(ctr >> 8 * i);
		key_at(&k, e, key, iv);
		from_hex(b, plain15);
		from_hex(c, plain15);
		/* Bits above 56 do not reach the nonce. */
		struct aead_item both[] = {
			{.p = b, .n = 64, .tag = tag[0], .ctr = ctr},
			{.p = c, .n = 64, .tag = tag[1], .ctr = ctr | UINT64_C(0xff) << 56}};
		aead_seal_batch(ctx[e], &k, both, 2);
		from_hex(want, sealed15);
		assert_memory_equal(b, want, 64);
		assert_memory_equal(c, want, 64);
		from_hex(want, "b094dac5d93471bdec1a502270e3cc6c");
		assert_memory_equal(tag[0], want, 16);
		assert_memory_equal(tag[1], want, 16);
		aead_open_batch(ctx[e], &k, both, 2);
		assert_true(both[0].ok && both[1].ok);
		from_hex(want, plain15);
		assert_memory_equal(b, want, 64);
		assert_memory_equal(c, want, 64);
	}
}

#define BATCH_MOST 70 /* more than any caller's */

struct batch {
	size_t n;
	struct aead_item it[BATCH_MOST];
	uint8_t bytes[BATCH_MOST * (MAX_BYTES + 16 + 64)];
};

/* Items of random sizes at random places, back to back as datagrams lie; the tag behind its data or
 * far away. */
static void random_batch(struct batch *b, const struct rng *rng)
{
	b->n = rng_below(rng, BATCH_MOST + 1);
	rng_bytes(rng, b->bytes, sizeof(b->bytes));
	size_t at = rng_below(rng, 64), equal = rng_below(rng, MAX_BYTES + 1);
	bool burst = rng_below(rng, 2) == 0;
	for (size_t i = 0; i < b->n; i++) {
		size_t n = burst ? equal : rng_below(rng, MAX_BYTES + 1);
		b->it[i] = (struct aead_item){.p = b->bytes + at,
					      .n = n,
					      .tag = b->bytes + at + n +
						     (burst ? 0 : rng_below(rng, 48)),
					      .ctr = rng_u64(rng),
					      .ok = rng_below(rng, 2) == 0};
		at += n + 64;
	}
}

/* The same batch in memory of its own. */
static void copy_batch(struct batch *to, const struct batch *from)
{
	memcpy(to, from, sizeof(*to));
	for (size_t i = 0; i < to->n; i++) {
		to->it[i].p = to->bytes + (from->it[i].p - from->bytes);
		to->it[i].tag = to->bytes + (from->it[i].tag - from->bytes);
	}
}

/* Change a bit of some items' data or tag. */
static void tamper(struct batch *b, const struct rng *rng, bool broken[BATCH_MOST])
{
	for (size_t i = 0; i < b->n; i++) {
		broken[i] = rng_below(rng, 4) == 0;
		if (!broken[i])
			continue;
		size_t at = rng_below(rng, b->it[i].n + 16);
		*(at < b->it[i].n ? &b->it[i].p[at] : &b->it[i].tag[at - b->it[i].n]) ^=
			(uint8_t)(1 << rng_below(rng, 8));
	}
}

/* Two keys that the OpenSSL engine keeps in one slot, in turn. */
static void aead_batches_equal_singles_and_the_other_engine(void **state)
{
	(void)state;
	struct seeded s;
	struct rng rng = seeded_rng(&s, 5);
	struct batch *b = calloc(3, sizeof(*b)), *plain = calloc(1, sizeof(*plain));
	size_t opened = 0, refused = 0;
	for (int round = 0; round < 150; round++) {
		uint8_t key[2][32], iv[12];
		rng_bytes(&rng, key, sizeof(key));
		rng_bytes(&rng, iv, 12);
		key[1][0] = key[0][0];
		random_batch(plain, &rng);
		for (size_t e = 0; e < engines; e++) {
			struct aead_key k[2];
			key_at(&k[0], e, key[0], iv);
			key_at(&k[1], e, key[1], iv);
			copy_batch(&b[e], plain);
			copy_batch(&b[2], plain);
			aead_seal_batch(ctx[e], &k[1], b[e].it, b[e].n);
			copy_batch(&b[e], plain);
			aead_seal_batch(ctx[e], &k[0], b[e].it, b[e].n);
			for (size_t i = 0; i < plain->n; i++)
				aead_seal(ctx[e], &k[0], b[2].it[i].ctr, b[2].it[i].p, b[2].it[i].n,
					  b[2].it[i].tag);
			assert_memory_equal(b[e].bytes, b[2].bytes, sizeof(b[e].bytes));
		}
		if (engines == 2)
			assert_memory_equal(b[0].bytes, b[1].bytes, sizeof(b[0].bytes));
		bool broken[BATCH_MOST];
		tamper(&b[0], &rng, broken);
		for (size_t e = engines; e-- > 0;) {
			struct aead_key k;
			key_at(&k, e, key[0], iv);
			if (e > 0)
				copy_batch(&b[e], &b[0]);
			copy_batch(&b[2], &b[e]);
			aead_open_batch(ctx[e], &k, b[e].it, b[e].n);
			for (size_t i = 0; i < plain->n; i++) {
				const struct aead_item *one = &b[2].it[i];
				bool ok = aead_open(ctx[e], &k, one->ctr, one->p, one->n, one->tag);
				assert_int_equal(b[e].it[i].ok, ok);
				assert_int_equal(ok, !broken[i]);
				if (ok)
					assert_memory_equal(b[e].it[i].p, plain->it[i].p, one->n);
				*(ok ? &opened : &refused) += 1;
			}
		}
	}
	assert_true(opened > 1000 && refused > 300);
	free(b);
	free(plain);
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

/* Blocks at odd places, some of which do not open: as one by one, and as the other engine. */
static void aead_headers_in_batches(void **state)
{
	(void)state;
	enum { MOST = 40, APART = 21 };
	struct seeded s;
	struct rng rng = seeded_rng(&s, 6);
	size_t refused = 0;
	for (int round = 0; round < 400; round++) {
		uint8_t key[32], lie[2][MOST * APART] = {{0}}, one[16];
		uint8_t *at[2][MOST];
		struct header h[MOST], back[MOST], alone;
		bool ok[MOST];
		size_t n = rng_below(&rng, MOST + 1);
		rng_bytes(&rng, key, 32);
		for (size_t i = 0; i < n; i++) {
			h[i] = (struct header){rng_u32(&rng), (uint8_t)rng_u32(&rng),
					       rng_u64(&rng)};
			at[0][i] = lie[0] + i * APART;
			at[1][i] = lie[1] + i * APART;
		}
		for (size_t e = 0; e < engines; e++) {
			struct header_key k;
			header_key_init(&k, ctx[e], key);
			headers_seal(ctx[e], &k, h, n, at[e]);
			for (size_t i = 0; i < n; i++) {
				header_seal(ctx[e], &k, &h[i], one);
				assert_memory_equal(at[e][i], one, 16);
			}
		}
		if (engines == 2)
			assert_memory_equal(lie[0], lie[1], sizeof(lie[0]));
		for (size_t i = 0; i < n; i++)
			if (rng_below(&rng, 4) == 0)
				at[0][i][rng_below(&rng, 16)] ^= (uint8_t)(1 << rng_below(&rng, 8));
		for (size_t e = 0; e < engines; e++) {
			struct header_key k;
			header_key_init(&k, ctx[e], key);
			for (size_t i = 0; i < n; i++) {
				back[i] = (struct header){1, 2, 3};
				ok[i] = rng_below(&rng, 2) == 0;
			}
			memcpy(lie[1], lie[0], sizeof(lie[0]));
			headers_open(ctx[e], &k, (const uint8_t *const *)at[1], n, back, ok);
			assert_memory_equal(lie[1], lie[0], sizeof(lie[0]));
			for (size_t i = 0; i < n; i++) {
				alone = (struct header){1, 2, 3};
				assert_int_equal(header_open(ctx[e], &k, at[0][i], &alone), ok[i]);
				assert_int_equal(back[i].circuit_id, alone.circuit_id);
				assert_int_equal(back[i].type, alone.type);
				assert_true(back[i].ctr == alone.ctr);
				if (ok[i])
					assert_int_equal(back[i].circuit_id, h[i].circuit_id);
				else
					assert_true(back[i].circuit_id == 1 && back[i].ctr == 3);
				refused += !ok[i];
			}
		}
	}
	assert_true(refused > 500);
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

/* Sealing and opening allocate nothing, alone or in batches, also when keys change. */
static void aead_packet_path_does_not_allocate(void **state)
{
	(void)state;
	static struct aead_key k[40];
	struct header_key hk[40];
	uint8_t key[32] = {0}, iv[12] = {0}, buf[4][1400] = {{0}}, tag[4][16], out[4][16];
	const struct header h[4] = {{5, 2, 1}, {6, 2, 1}, {7, 1, 1}, {8, 1, 1}};
	uint8_t *const at[4] = {out[0], out[1], out[2], out[3]};
	struct header back[4];
	bool ok[4];
	for (size_t e = 0; e < engines; e++) {
		for (int i = 0; i < 40; i++) {
			key[0] = (uint8_t)i;
			key_at(&k[i], e, key, iv);
			header_key_init(&hk[i], ctx[e], key);
		}
		size_t before = allocations;
		free(OPENSSL_malloc(1));
		assert_true(allocations > before); /* the counter does count */
		before = allocations;
		bool good = true;
		for (int i = 0; i < 80; i++) {
			struct aead_item it[4];
			for (unsigned j = 0; j < 4; j++)
				it[j] = (struct aead_item){
					.p = buf[j], .n = 1400, .tag = tag[j], .ctr = j};
			aead_seal_batch(ctx[e], &k[i % 40], it, 4);
			tag[3][0] ^= 1;
			aead_open_batch(ctx[e], &k[i % 40], it, 4);
			good &= it[0].ok && it[1].ok && it[2].ok && !it[3].ok;
			headers_seal(ctx[e], &hk[i % 40], h, 4, at);
			headers_open(ctx[e], &hk[i % 40], (const uint8_t *const *)at, 4, back, ok);
			good &= ok[0] && ok[3];
			aead_seal(ctx[e], &k[i % 40], 1, buf[0], sizeof(buf[0]), tag[0]);
			good &= aead_open(ctx[e], &k[i % 40], 1, buf[0], sizeof(buf[0]), tag[0]);
			header_seal(ctx[e], &hk[i % 40], &h[0], out[0]);
			good &= header_open(ctx[e], &hk[i % 40], out[0], &back[0]);
		}
		assert_int_equal(allocations, before);
		assert_true(good);
	}
}

/* What lies behind a key's room is not the engine's. */
static void aead_key_stays_in_its_room(void **state)
{
	(void)state;
	for (size_t e = 0; e < engines; e++) {
		struct {
			struct aead_key k;
			uint8_t behind[64];
		} at;
		const uint8_t key[32] = {1}, iv[12] = {0};
		memset(&at, 0xa5, sizeof(at));
		key_at(&at.k, e, key, iv);
		for (size_t i = 0; i < sizeof(at.behind); i++)
			assert_int_equal(at.behind[i], 0xa5);
		assert_memory_equal(at.k.room, key, 32);
	}
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
		cmocka_unit_test(aead_equals_the_published_vectors),
		cmocka_unit_test(aead_batches_equal_singles_and_the_other_engine),
		cmocka_unit_test(aead_header_round_trip),
		cmocka_unit_test(aead_headers_in_batches),
		cmocka_unit_test(aead_header_change_is_seen),
		cmocka_unit_test(aead_header_counter_is_56_bits),
		cmocka_unit_test(aead_packet_path_does_not_allocate),
		cmocka_unit_test(aead_key_stays_in_its_room),
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
