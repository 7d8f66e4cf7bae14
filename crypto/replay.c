/* crypto/replay.c - see replay.h. RFC 6479: a ring of 64-bit words, of which advancing clears whole
 * words.
 *
 * 65 words do not divide 2^56, so the ring is indexed by a counter that goes on past 2^56: `newest`
 * carries what the wire leaves out. It grows by at most 65,536 a packet and cannot reach 2^64.
 */
#include "crypto/replay.h"

#include <string.h>

#define WORDS	  (REPLAY_PACKETS / 64 + 1)
#define HALF_RING (UINT64_C(1) << (COUNTER_BITS - 1))

void replay_init(struct replay *w)
{
	memset(w, 0, sizeof(*w));
}

bool replay_started(const struct replay *w)
{
	return w->newest != 0;
}

/* How far ctr lies ahead of newest, mod 2^56; HALF_RING and more mean behind. */
static uint64_t ahead_of(const struct replay *w, uint64_t ctr)
{
	return (ctr - w->newest) & COUNTER_MASK;
}

static uint64_t bit_of(uint64_t extended)
{
	return UINT64_C(1) << (extended % 64);
}

enum replay_verdict replay_check(const struct replay *w, uint64_t ctr)
{
	if (!replay_started(w))
		return REPLAY_NEW;
	uint64_t ahead = ahead_of(w, ctr);
	if (ahead > 0 && ahead < HALF_RING)
		return ahead > REPLAY_MAX_AHEAD ? REPLAY_AHEAD : REPLAY_NEW;
	uint64_t behind = (w->newest - ctr) & COUNTER_MASK;
	if (behind >= REPLAY_PACKETS)
		return REPLAY_SEEN;
	uint64_t extended = w->newest - behind;
	return w->seen[extended / 64 % WORDS] & bit_of(extended) ? REPLAY_SEEN : REPLAY_NEW;
}

/* Clear the words that come into the window. */
static void advance(struct replay *w, uint64_t extended)
{
	uint64_t from = w->newest / 64, words = extended / 64 - from;
	if (words > WORDS)
		words = WORDS;
	for (uint64_t i = 1; i <= words; i++)
		w->seen[(from + i) % WORDS] = 0;
	w->newest = extended;
}

void replay_mark(struct replay *w, uint64_t ctr)
{
	if (!replay_started(w))
		w->newest =
			(ctr & COUNTER_MASK) + COUNTER_MASK + 1; /* room to look back; never 0 */
	uint64_t ahead = ahead_of(w, ctr), extended = w->newest + ahead;
	if (ahead < HALF_RING)
		advance(w, extended);
	else
		extended = w->newest - ((w->newest - ctr) & COUNTER_MASK);
	w->seen[extended / 64 % WORDS] |= bit_of(extended);
}
