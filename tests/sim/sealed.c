/* tests/sim/sealed.c - see sealed.h. A hash set of BLAKE2b(key | nonce)[0..16). */
#include "sim/sealed.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "crypto/aead.h"
#include "crypto/handshake.h"
#include "crypto/kdf.h"

struct entry {
	uint64_t a, b; /* 0, 0: free */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *entries;
static size_t size, count, seen, twice;
static bool paused;

static bool insert(struct entry *to, size_t mask, struct entry e)
{
	size_t at = e.a & mask;
	for (; to[at].a | to[at].b; at = (at + 1) & mask)
		if (to[at].a == e.a && to[at].b == e.b)
			return false;
	to[at] = e;
	return true;
}

static void grow(void)
{
	size_t bigger = size ? 2 * size : 1 << 14;
	struct entry *to = calloc(bigger, sizeof(*to));
	if (!to)
		abort();
	for (size_t i = 0; i < size; i++)
		if (entries[i].a | entries[i].b)
			insert(to, bigger - 1, entries[i]);
	free(entries);
	entries = to;
	size = bigger;
}

static void remember(const uint8_t key[32], const uint8_t nonce[12])
{
	if (paused)
		return;
	uint8_t both[32 + 12], h[HASH_BYTES];
	memcpy(both, key, 32);
	memcpy(both + 32, nonce, 12);
	hash(h, both, sizeof(both));
	struct entry e;
	memcpy(&e, h, sizeof(e));
	pthread_mutex_lock(&lock);
	if (2 * count >= size)
		grow();
	seen++;
	if (insert(entries, size - 1, e))
		count++;
	else
		twice++;
	pthread_mutex_unlock(&lock);
}

void sealed_reset(void)
{
	pthread_mutex_lock(&lock);
	free(entries);
	entries = NULL;
	size = count = seen = twice = 0;
	pthread_mutex_unlock(&lock);
}

void sealed_pause(bool pause)
{
	paused = pause;
}

static size_t read_locked(const size_t *n)
{
	pthread_mutex_lock(&lock);
	size_t v = *n;
	pthread_mutex_unlock(&lock);
	return v;
}

size_t sealed_count(void)
{
	return read_locked(&seen);
}

size_t sealed_twice(void)
{
	return read_locked(&twice);
}

/* The linker sends the code's calls to __wrap_NAME and ours from here to the real NAME. */
void __real_aead_seal(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p,
		      size_t n, uint8_t *tag);
void __wrap_aead_seal(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p,
		      size_t n, uint8_t *tag);
void __real_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n);
void __wrap_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n);
void __real_chapoly_seal(const uint8_t key[32], const uint8_t nonce[12], const void *ad,
			 size_t ad_bytes, const uint8_t *plain, size_t n, uint8_t *out);
void __wrap_chapoly_seal(const uint8_t key[32], const uint8_t nonce[12], const void *ad,
			 size_t ad_bytes, const uint8_t *plain, size_t n, uint8_t *out);

static void remember_data(const struct aead_key *k, uint64_t ctr56)
{
	uint8_t nonce[12];
	nonce_from_counter(nonce, k->iv, ctr56);
	remember(k->room, nonce); /* both engines' rooms begin with the raw key */
}

void __wrap_aead_seal(struct aead_ctx *c, const struct aead_key *k, uint64_t ctr56, uint8_t *p,
		      size_t n, uint8_t *tag)
{
	remember_data(k, ctr56);
	__real_aead_seal(c, k, ctr56, p, n, tag);
}

void __wrap_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n)
{
	for (size_t i = 0; i < n; i++)
		remember_data(k, it[i].ctr);
	__real_aead_seal_batch(c, k, it, n);
}

void __wrap_chapoly_seal(const uint8_t key[32], const uint8_t nonce[12], const void *ad,
			 size_t ad_bytes, const uint8_t *plain, size_t n, uint8_t *out)
{
	remember(key, nonce);
	__real_chapoly_seal(key, nonce, ad, ad_bytes, plain, n, out);
}
