/* tests/unit/seeded.h - a repeatable struct rng for tests (splitmix64, S. Vigna): fast, and no
 * secret ever. */
#pragma once
#include <stdint.h>
#include <string.h>
#include "base/random.h"

struct seeded {
	uint64_t state;
};

static inline uint64_t seeded_u64(struct seeded *s)
{
	uint64_t z = (s->state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline void seeded_fill(void *arg, void *to, size_t n)
{
	for (uint8_t *p = to; n > 0;) {
		uint64_t v = seeded_u64(arg);
		size_t take = n < sizeof(v) ? n : sizeof(v);
		memcpy(p, &v, take);
		p += take;
		n -= take;
	}
}

/* s must outlive the rng. */
static inline struct rng seeded_rng(struct seeded *s, uint64_t seed)
{
	s->state = seed;
	return (struct rng){seeded_fill, s};
}
