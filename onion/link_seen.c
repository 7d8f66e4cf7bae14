/* onion/link_seen.c - see link_seen.h. */
#include "onion/link_seen.h"
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"

#define DIGEST_BYTES  16
#define ENTRIES_FIRST 256u /* memory at the start; doubled when full */
#define END	      UINT32_MAX

struct entry {
	uint8_t digest[DIGEST_BYTES];
	uint32_t next; /* in its chain, or END */
	nsec_t until;
};

struct link_seen {
	uint8_t key[32];
	uint32_t most;	/* a power of two, as size is */
	uint32_t size;	/* entries that there is memory for, and chains */
	uint32_t first; /* the oldest entry's place in the ring */
	uint32_t count;
	nsec_t lifetime;
	struct entry *entries;
	uint32_t *chains;
};

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = ENTRIES_FIRST;
	while (p < n && p < UINT32_C(1) << 31)
		p *= 2;
	return p;
}

/* Memory for `size` entries, in place of what there is; the oldest comes to the front. */
static bool resize(struct link_seen *s, uint32_t size)
{
	struct entry *entries = calloc(size, sizeof(*entries));
	uint32_t *chains = malloc(size * sizeof(*chains));
	if (!entries || !chains) {
		free(entries);
		free(chains);
		return false;
	}
	memset(chains, 0xff, size * sizeof(*chains));
	for (uint32_t i = 0; i < s->count; i++) {
		entries[i] = s->entries[(s->first + i) & (s->size - 1)];
		uint32_t *chain = &chains[load_be32(entries[i].digest) & (size - 1)];
		entries[i].next = *chain;
		*chain = i;
	}
	free(s->entries);
	free(s->chains);
	s->entries = entries;
	s->chains = chains;
	s->size = size;
	s->first = 0;
	return true;
}

struct link_seen *link_seen_new(uint32_t most, uint32_t seconds, const struct rng *rng)
{
	struct link_seen *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	rng_bytes(rng, s->key, sizeof(s->key));
	s->most = power_of_two(most);
	s->lifetime = seconds * NSEC_PER_SEC;
	if (!resize(s, ENTRIES_FIRST)) {
		link_seen_free(s);
		return NULL;
	}
	return s;
}

void link_seen_free(struct link_seen *s)
{
	if (!s)
		return;
	free(s->entries);
	free(s->chains);
	free(s);
}

static void digest_of(const struct link_seen *s, const uint8_t x[32], uint8_t out[DIGEST_BYTES])
{
	const struct hash_part part = {x, 32};
	mac_parts(out, DIGEST_BYTES, s->key, sizeof(s->key), &part, 1);
}

static void forget_oldest(struct link_seen *s)
{
	struct entry *e = &s->entries[s->first];
	uint32_t *at = &s->chains[load_be32(e->digest) & (s->size - 1)];
	while (*at != s->first)
		at = &s->entries[*at].next;
	*at = e->next;
	s->first = (s->first + 1) & (s->size - 1);
	s->count--;
}

static void forget_old(struct link_seen *s, nsec_t now)
{
	while (s->count > 0 && s->entries[s->first].until <= now)
		forget_oldest(s);
}

bool link_seen_has(struct link_seen *s, const uint8_t x[32], nsec_t now)
{
	uint8_t digest[DIGEST_BYTES];
	digest_of(s, x, digest);
	forget_old(s, now);
	uint32_t i = s->chains[load_be32(digest) & (s->size - 1)];
	while (i != END && memcmp(s->entries[i].digest, digest, DIGEST_BYTES) != 0)
		i = s->entries[i].next;
	return i != END;
}

bool link_seen_add(struct link_seen *s, const uint8_t x[32], nsec_t now)
{
	forget_old(s, now);
	if (s->count == s->size && (s->size == s->most || !resize(s, s->size * 2)))
		return false;
	uint32_t place = (s->first + s->count++) & (s->size - 1);
	struct entry *e = &s->entries[place];
	digest_of(s, x, e->digest);
	e->until = now + s->lifetime;
	uint32_t *chain = &s->chains[load_be32(e->digest) & (s->size - 1)];
	e->next = *chain;
	*chain = place;
	return true;
}

uint32_t link_seen_count(const struct link_seen *s)
{
	return s->count;
}
