/* tests/unit/test_filler.c - crypto/filler.c against a slow one that makes the whole stream and
 * forgets nothing; and that it forgets, also in what OpenSSL allocated for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sodium.h>
#include "crypto/filler.h"
#include "crypto/kdf.h"
#include "seeded.h"

#define RUN (FILLER_BUFFER_BYTES - 32) /* bytes between two changes of the key */

/* --- all blocks that OpenSSL holds --- */

#define BLOCKS_MOST 65536

static struct {
	uint8_t *p;
	size_t n;
} blocks[BLOCKS_MOST];
static size_t nblocks, allocations;

static void keep(void *p, size_t n)
{
	if (nblocks == BLOCKS_MOST)
		abort();
	blocks[nblocks].p = p;
	blocks[nblocks++].n = n;
}

static void forget(const void *p)
{
	for (size_t i = nblocks; i-- > 0;)
		if (blocks[i].p == p) {
			blocks[i] = blocks[--nblocks];
			return;
		}
}

static void *watched_malloc(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	void *p = malloc(n);
	allocations++;
	if (p)
		keep(p, n);
	return p;
}

static void *watched_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	forget(p);
	allocations++;
	p = realloc(p, n);
	if (p)
		keep(p, n);
	return p;
}

static void watched_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	forget(p);
	free(p);
}

static bool openssl_holds(const uint8_t *what, size_t n)
{
	for (size_t i = 0; i < nblocks; i++)
		if (memmem(blocks[i].p, blocks[i].n, what, n))
			return true;
	return false;
}

/* --- the stream --- */

/* The slow one: byte i of the stream that starts from `key`. */
static void slow_stream(const uint8_t key[32], uint8_t *out, size_t runs)
{
	const uint8_t nonce[12] = {0};
	uint8_t k[32], buf[FILLER_BUFFER_BYTES];
	memcpy(k, key, 32);
	for (size_t i = 0; i < runs; i++) {
		crypto_stream_chacha20_ietf(buf, sizeof(buf), nonce, k);
		memcpy(k, buf, 32);
		memcpy(out + i * RUN, buf + 32, RUN);
	}
}

enum { RUNS = 20 };
static uint8_t expected[RUNS * RUN], got[RUNS * RUN];

static void takes_equal_the_slow_stream(struct filler *f, const struct rng *rng)
{
	for (size_t at = 0; at < sizeof(got);) {
		size_t n = rng_below(rng, 4) ? rng_below(rng, 150) : rng_below(rng, 3 * RUN);
		if (rng_below(rng, 2))
			n &= ~(size_t)15;
		if (n > sizeof(got) - at)
			n = sizeof(got) - at;
		filler_bytes(f, got + at, n);
		at += n;
	}
	assert_memory_equal(got, expected, sizeof(got));
}

/* Also with libsodium's cipher, from the start or from the middle on. */
static void filler_equals_the_slow_stream(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		struct seeded s;
		struct rng rng = seeded_rng(&s, 1 + round);
		uint8_t key[32];
		rng_bytes(&rng, key, 32);
		slow_stream(key, expected, RUNS);
		rng = seeded_rng(&s, 1 + round);
		struct filler f;
		memset(&f, 0xee, sizeof(f)); /* as memory may be */
		filler_init(&f, &rng);
		assert_non_null(f.cipher);
		if (round == 1) {
			EVP_CIPHER_CTX_free(f.cipher);
			f.cipher = NULL;
		}
		if (round == 2) {
			/* One that fails from now on. */
			EVP_CIPHER_CTX_reset(f.cipher);
		}
		takes_equal_the_slow_stream(&f, &rng);
		if (round == 2)
			assert_null(f.cipher);
		filler_done(&f);
	}
}

static bool remembers(const struct filler *f, const uint8_t *what, size_t n)
{
	return memmem(f, sizeof(*f), what, n) || openssl_holds(what, n);
}

/* What was given out, and the keys that made it, are not in memory any more. */
static void filler_forgets(void **state)
{
	(void)state;
	struct seeded s;
	struct rng rng = seeded_rng(&s, 2);
	uint8_t key[32], out[512];
	struct filler f;
	filler_init(&f, &rng);
	for (unsigned run = 0; run < 3; run++) {
		memcpy(key, f.key, sizeof(key));
		assert_true(openssl_holds(key, 16));	       /* there it would be */
		while (memcmp(f.key, key, sizeof(key)) == 0) { /* it has not served yet */
			filler_bytes(&f, out, sizeof(out));
			assert_false(remembers(&f, out, 16));
			assert_false(remembers(&f, out + sizeof(out) - 16, 16));
		}
		assert_false(remembers(&f, key, 16));
		assert_false(remembers(&f, key + 16, 16));
	}
	assert_non_null(memmem(&f, sizeof(f), f.key, 32)); /* and only once */
	assert_null(memmem(f.buf, sizeof(f.buf), f.key, 16));
	memcpy(key, f.key, sizeof(key));
	filler_done(&f);
	static const uint8_t zeroes[sizeof(f)];
	assert_memory_equal(&f, zeroes, sizeof(f));
	assert_false(openssl_holds(key, 16));
}

static void filler_does_not_allocate(void **state)
{
	(void)state;
	struct seeded s;
	struct rng rng = seeded_rng(&s, 3);
	struct filler f;
	size_t before = allocations;
	filler_init(&f, &rng);
	assert_true(allocations > before); /* the counter does count */
	before = allocations;
	for (unsigned i = 0; i < 1000; i++)
		filler_bytes(&f, got, 48);
	assert_int_equal(allocations, before);
	filler_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filler_equals_the_slow_stream),
		cmocka_unit_test(filler_forgets),
		cmocka_unit_test(filler_does_not_allocate),
	};
	if (!CRYPTO_set_mem_functions(watched_malloc, watched_realloc, watched_free) ||
	    crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
