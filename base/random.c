/* base/random.c - the system's generator and numbers drawn from any generator. See random.h. */
#include "base/random.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static void fill_from_system(void *arg, void *to, size_t n)
{
	(void)arg;
	uint8_t *at = to;
	while (n > 0) {
		ssize_t got = getrandom(at, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort(); /* going on with guessable keys would be worse */
		at += got;
		n -= (size_t)got;
	}
}

const struct rng rng_system = {.fill = fill_from_system, .arg = NULL};

void rng_bytes(const struct rng *r, void *to, size_t n)
{
	r->fill(r->arg, to, n);
}

uint32_t rng_u32(const struct rng *r)
{
	uint32_t v;
	r->fill(r->arg, &v, sizeof(v));
	return v;
}

uint64_t rng_u64(const struct rng *r)
{
	uint64_t v;
	r->fill(r->arg, &v, sizeof(v));
	return v;
}

uint64_t rng_below(const struct rng *r, uint64_t bound)
{
	assert(bound > 0);
	/* 2^64 mod bound: the values below it would make the small remainders more likely. */
	uint64_t unfair = (0 - bound) % bound;
	uint64_t v;
	do
		v = rng_u64(r);
	while (v < unfair);
	return v % bound;
}
