/* crypto/replay.h - RFC 6479 window over 56-bit counters that start anywhere. A plain value of one thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define REPLAY_PACKETS    4096
#define REPLAY_MAX_AHEAD  65536 /* a counter further ahead is refused (PROTOCOL.md section 6) */
#define COUNTER_BITS      56
#define COUNTER_MASK      ((UINT64_C(1) << COUNTER_BITS) - 1)

struct replay {
	uint64_t newest; /* largest counter marked; goes on past 2^56, where the wire wraps. 0: none, any may be the first */
	uint64_t seen[REPLAY_PACKETS / 64 + 1];
};

enum replay_verdict { REPLAY_NEW, REPLAY_SEEN /* or too old */, REPLAY_AHEAD };

void replay_init(struct replay *w);
/* Was any counter marked? */
bool replay_started(const struct replay *w);
/* Judge without marking. Counters are compared mod 2^56. */
enum replay_verdict replay_check(const struct replay *w, uint64_t ctr);
/* Mark one that replay_check() called new. */
void replay_mark(struct replay *w, uint64_t ctr);
