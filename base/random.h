/* base/random.h - randomness as an argument, so that the same code runs in a daemon and, seeded, in a simulator. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct rng {
	void (*fill)(void *arg, void *to, size_t n); /* never fails, never blocks for long */
	void *arg;
};

/* The system's generator (getrandom). Safe on any thread. Aborts when the kernel gives no randomness. */
extern const struct rng rng_system;

void rng_bytes(const struct rng *r, void *to, size_t n);
uint32_t rng_u32(const struct rng *r);
uint64_t rng_u64(const struct rng *r);
/* A number in 0..bound-1 without bias; bound > 0. */
uint64_t rng_below(const struct rng *r, uint64_t bound);
