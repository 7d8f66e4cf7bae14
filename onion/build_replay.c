/* onion/build_replay.c - see build_replay.h.
 *
 * Entries stand in a ring of positions, in order of time; a chunk of the ring has memory only while
 * entries stand in it. The index is buckets of chains through `next`, which hold positions + 1.
 */
#include "onion/build_replay.h"
#include "base/bytes.h"
#include "onion/circuits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ENTRIES  1024u
#define BUCKETS_LEAST  1024u
#define EXPIRE_AT_ONCE 4096u

struct entry {
	uint8_t key[BUILD_REPLAY_KEY_BYTES];
	uint32_t added_s; /* since `start`, rounded down */
	uint32_t next;	  /* position + 1 of the next one in the chain; 0: none */
};

struct build_replay {
	nsec_t start;
	uint64_t secret; /* odd */
	uint32_t most;	 /* entries */
	uint32_t count;
	uint32_t head; /* position to write next */
	uint32_t tail; /* position of the oldest */
	uint32_t nchunks;
	struct entry **chunks;
	uint32_t *buckets; /* 2^bits */
	unsigned bits;
};

static struct entry *entry_at(const struct build_replay *r, uint32_t pos)
{
	return &r->chunks[pos / CHUNK_ENTRIES][pos % CHUNK_ENTRIES];
}

static uint32_t next_pos(const struct build_replay *r, uint32_t pos)
{
	return pos + 1 == r->nchunks * CHUNK_ENTRIES ? 0 : pos + 1;
}

static uint32_t *bucket_of(const struct build_replay *r, const uint8_t *key)
{
	return &r->buckets[(load_be64(key) * r->secret) >> (64 - r->bits)];
}

static void chain(struct build_replay *r, uint32_t pos)
{
	struct entry *e = entry_at(r, pos);
	uint32_t *b = bucket_of(r, e->key);
	e->next = *b;
	*b = pos + 1;
}

/* Without memory the old index stays: slower, never wrong. */
static void set_buckets(struct build_replay *r, unsigned bits)
{
	uint32_t *buckets = calloc((size_t)1 << bits, sizeof(*buckets));
	if (!buckets)
		return;
	free(r->buckets);
	r->buckets = buckets;
	r->bits = bits;
	uint32_t pos = r->tail;
	for (uint32_t i = 0; i < r->count; i++, pos = next_pos(r, pos))
		chain(r, pos);
}

struct build_replay *build_replay_new(uint32_t entries, const struct rng *rng, nsec_t now)
{
	struct build_replay *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->start = now;
	r->secret = rng_u64(rng) | 1;
	r->most = entries;
	/* One more than needed: head and tail may share a chunk from both of its ends. */
	r->nchunks = (entries + CHUNK_ENTRIES - 1) / CHUNK_ENTRIES + 1;
	r->chunks = calloc(r->nchunks, sizeof(struct entry *));
	set_buckets(r, (unsigned)__builtin_ctz(BUCKETS_LEAST));
	if (!r->chunks || !r->buckets) {
		build_replay_free(r);
		return NULL;
	}
	return r;
}

void build_replay_free(struct build_replay *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; r->chunks && i < r->nchunks; i++)
		free(r->chunks[i]);
	free(r->chunks);
	free(r->buckets);
	free(r);
}

bool build_replay_has(const struct build_replay *r, const uint8_t key[BUILD_REPLAY_KEY_BYTES])
{
	for (uint32_t at = *bucket_of(r, key); at; at = entry_at(r, at - 1)->next)
		if (memcmp(entry_at(r, at - 1)->key, key, BUILD_REPLAY_KEY_BYTES) == 0)
			return true;
	return false;
}

static uint32_t seconds(const struct build_replay *r, nsec_t now)
{
	return (uint32_t)((now - r->start) / NSEC_PER_SEC);
}

int build_replay_add(struct build_replay *r, const uint8_t key[BUILD_REPLAY_KEY_BYTES], nsec_t now)
{
	if (r->count >= r->most)
		return -ENOSPC;
	struct entry **chunk = &r->chunks[r->head / CHUNK_ENTRIES];
	if (!*chunk && !(*chunk = malloc(CHUNK_ENTRIES * sizeof(struct entry))))
		return -ENOMEM;
	struct entry *e = entry_at(r, r->head);
	memcpy(e->key, key, sizeof(e->key));
	e->added_s = seconds(r, now);
	chain(r, r->head);
	r->head = next_pos(r, r->head);
	r->count++;
	if (r->count >> r->bits)
		set_buckets(r, r->bits + 1);
	return 0;
}

static void unchain(struct build_replay *r, uint32_t pos)
{
	const struct entry *e = entry_at(r, pos);
	uint32_t *at = bucket_of(r, e->key);
	while (*at != pos + 1)
		at = &entry_at(r, *at - 1)->next;
	*at = e->next;
}

/* Take the oldest out; free its chunk when that was its last. */
static void drop_oldest(struct build_replay *r)
{
	uint32_t pos = r->tail;
	unchain(r, pos);
	r->tail = next_pos(r, pos);
	r->count--;
	bool chunk_left = r->tail / CHUNK_ENTRIES != pos / CHUNK_ENTRIES;
	if (chunk_left || r->count == 0) {
		free(r->chunks[pos / CHUNK_ENTRIES]);
		r->chunks[pos / CHUNK_ENTRIES] = NULL;
	}
}

void build_replay_expire(struct build_replay *r, nsec_t now)
{
	for (uint32_t i = 0; i < EXPIRE_AT_ONCE && build_replay_next_deadline(r) <= now; i++)
		drop_oldest(r);
	if (r->bits > (unsigned)__builtin_ctz(BUCKETS_LEAST) && r->count < (1u << r->bits) / 8)
		set_buckets(r, r->bits - 1);
}

nsec_t build_replay_next_deadline(const struct build_replay *r)
{
	if (!r->count)
		return NSEC_NEVER;
	/* One second more, because added_s is rounded down. */
	nsec_t s = (nsec_t)entry_at(r, r->tail)->added_s + BUILD_REPLAY_SECONDS + 1;
	return r->start + s * NSEC_PER_SEC;
}

uint32_t build_replay_count(const struct build_replay *r)
{
	return r->count;
}

size_t build_replay_bytes(const struct build_replay *r)
{
	size_t n = sizeof(*r) + r->nchunks * sizeof(struct entry *) +
		   ((size_t)1 << r->bits) * sizeof(*r->buckets);
	for (uint32_t i = 0; i < r->nchunks; i++)
		if (r->chunks[i])
			n += CHUNK_ENTRIES * sizeof(struct entry);
	return n;
}
