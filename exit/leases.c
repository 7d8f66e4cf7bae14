/* exit/leases.c - see leases.h.
 *
 * The free indexes are the first `free` of a permutation, a random one of which is drawn (Fisher
 * and Yates). It and its inverse are kept XORed with the index, so that the zero pages that mmap
 * gives are the identity.
 */
#include "exit/leases.h"
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/bytes.h"

#define FIRST_LEASE 2 /* behind the network's address and our own */
#define LEFT_OUT    3 /* those two and the last */
#define TOKEN_BYTES 32

struct leases {
	struct prefix range[2]; /* IPv4, IPv6 */
	const struct rng *rng;
	uint32_t capacity, free;
	_Atomic(struct session_data *) *session; /* by index */
	uint32_t *order, *place;	    /* the permutation and its inverse, both XOR index */
	uint8_t (*token)[TOKEN_BYTES];	    /* who had it last; zero: nobody with a token */
	uint32_t recent[LEASES_REMEMBERED]; /* indexes as they came back, a ring */
	uint64_t came_back;
};

/* --- arithmetic --- */

static const struct prefix *range_of(const struct leases *l, uint8_t family)
{
	return &l->range[family == 6];
}

/* The last 32 bits of an address. All that we lend of a range differs in these alone. */
static uint8_t *tail_of(struct addr *a)
{
	return a->ip + (a->family == 6 ? 12 : 0);
}

static struct addr address_at(const struct prefix *range, uint32_t number)
{
	struct addr a = range->addr;

	if (a.family)
		store_be32(tail_of(&a), load_be32(tail_of(&a)) + number);
	return a;
}

/* a's number in the range, or UINT32_MAX when it is not in it (or too far up). */
static uint32_t number_of(const struct prefix *range, const struct addr *a)
{
	size_t head = a->family == 6 ? 12 : 0;

	if (!range->addr.family || range->addr.family != a->family ||
	    memcmp(range->addr.ip, a->ip, head))
		return UINT32_MAX;
	return load_be32(a->ip + head) - load_be32(range->addr.ip + head);
}

static uint32_t room_of(const struct prefix *range)
{
	unsigned host_bits = (range->addr.family == 6 ? 128 : 32) - range->len;

	if (!range->addr.family)
		return LEASES_MOST;
	if (host_bits > 20)
		return LEASES_MOST;
	assert(host_bits >= 2); /* exit_settings_check() */
	return (1u << host_bits) - LEFT_OUT;
}

/* --- the permutation --- */

static uint32_t order_at(const struct leases *l, uint32_t place)
{
	return l->order[place] ^ place;
}

static uint32_t place_of(const struct leases *l, uint32_t index)
{
	return l->place[index] ^ index;
}

static void swap_places(struct leases *l, uint32_t a, uint32_t b)
{
	uint32_t at_a = order_at(l, a), at_b = order_at(l, b);

	l->order[a] = at_b ^ a;
	l->order[b] = at_a ^ b;
	l->place[at_a] = b ^ at_a;
	l->place[at_b] = a ^ at_b;
}

static bool is_free(const struct leases *l, uint32_t index)
{
	return place_of(l, index) < l->free;
}

static void mark_used(struct leases *l, uint32_t index)
{
	swap_places(l, place_of(l, index), --l->free);
}

static void mark_free(struct leases *l, uint32_t index)
{
	swap_places(l, place_of(l, index), l->free++);
}

/* --- life --- */

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void release(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

struct leases *leases_new(const struct prefix *range4, const struct prefix *range6,
			  const struct rng *rng)
{
	struct leases *l = calloc(1, sizeof(*l));
	uint32_t n4 = room_of(range4), n6 = room_of(range6);

	if (!l)
		return NULL;
	l->range[0] = *range4;
	l->range[1] = *range6;
	l->rng = rng;
	l->capacity = l->free = n4 < n6 ? n4 : n6;
	l->session = reserve(l->capacity * sizeof(*l->session));
	l->order = reserve(l->capacity * sizeof(*l->order));
	l->place = reserve(l->capacity * sizeof(*l->place));
	l->token = reserve(l->capacity * sizeof(*l->token));
	if (l->session && l->order && l->place && l->token)
		return l;
	leases_free(l);
	return NULL;
}

void leases_free(struct leases *l)
{
	if (!l)
		return;
	release(l->session, l->capacity * sizeof(*l->session));
	release(l->order, l->capacity * sizeof(*l->order));
	release(l->place, l->capacity * sizeof(*l->place));
	release(l->token, l->capacity * sizeof(*l->token));
	free(l);
}

struct addr leases_own(const struct leases *l, uint8_t family)
{
	return address_at(range_of(l, family), FIRST_LEASE - 1);
}

uint32_t leases_capacity(const struct leases *l)
{
	return l->capacity;
}

uint32_t leases_used(const struct leases *l)
{
	return l->capacity - l->free;
}

/* --- lending --- */

/* The newest of what came back from this token and is free still; UINT32_MAX: none. */
static uint32_t last_lease(const struct leases *l, const uint8_t *token)
{
	uint64_t n = l->came_back < LEASES_REMEMBERED ? l->came_back : LEASES_REMEMBERED;

	for (uint64_t i = 1; i <= n; i++) {
		uint32_t index = l->recent[(l->came_back - i) % LEASES_REMEMBERED];
		if (is_free(l, index) && !memcmp(l->token[index], token, TOKEN_BYTES))
			return index;
	}
	return UINT32_MAX;
}

static uint32_t choose(const struct leases *l, const uint8_t *token)
{
	uint32_t index = token ? last_lease(l, token) : UINT32_MAX;
	return index != UINT32_MAX ? index : order_at(l, (uint32_t)rng_below(l->rng, l->free));
}

int leases_take(struct leases *l, struct session_data *s, uint8_t wants, const uint8_t *token)
{
	bool v4 = wants & WANT_V4 && l->range[0].addr.family,
	     v6 = wants & WANT_V6 && l->range[1].addr.family;
	uint32_t index;

	if (!v4 && !v6)
		return -EAFNOSUPPORT;
	if (!l->free)
		return -ENOSPC;
	index = choose(l, token);
	mark_used(l, index);
	if (token)
		memcpy(l->token[index], token, TOKEN_BYTES);
	else
		memset(l->token[index], 0, TOKEN_BYTES);
	s->lease_index = index;
	s->lease4 = v4 ? address_at(&l->range[0], FIRST_LEASE + index) : (struct addr){0};
	s->lease6 = v6 ? address_at(&l->range[1], FIRST_LEASE + index) : (struct addr){0};
	atomic_store_explicit(&l->session[index], s, memory_order_release);
	return 0;
}

void leases_put(struct leases *l, struct session_data *s)
{
	uint32_t index = s->lease_index;

	assert(index < l->capacity && atomic_load(&l->session[index]) == s);
	atomic_store_explicit(&l->session[index], NULL, memory_order_release);
	mark_free(l, index);
	l->recent[l->came_back++ % LEASES_REMEMBERED] = index;
}

/* --- finding --- */

struct session_data *leases_find(const struct leases *l, const struct addr *a)
{
	uint32_t index = number_of(range_of(l, a->family), a) - FIRST_LEASE;
	struct session_data *s;

	if (index >= l->capacity)
		return NULL;
	s = atomic_load_explicit(&l->session[index], memory_order_acquire);
	/* It may have wanted the other family only. */
	return s && (a->family == 6 ? s->lease6 : s->lease4).family ? s : NULL;
}

/* The used ones are the end of the permutation. */
struct session_data *leases_next(const struct leases *l, uint32_t *cursor)
{
	uint32_t index;

	if (*cursor >= leases_used(l))
		return NULL;
	index = order_at(l, l->capacity - 1 - (*cursor)++);
	return atomic_load_explicit(&l->session[index], memory_order_relaxed);
}
