/* authority/relays.h - the relays that told this authority of themselves: their last descriptors
 * and whether they answer. Bounded: DESCRIPTORS_KEPT each, `most` relays; one that never answered
 * makes room for another. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "directory/consensus.h"
#include "directory/descriptor.h"
#include "directory/directory.h"
#include "directory/vote.h"

#define DESCRIPTORS_KEPT      3 /* a vote takes one that all authorities have had time to get */
#define RELAY_WEIGHT_MAX      100000 /* Mbit/s that a relay may claim */
#define RELAY_RUNNING_LEAST_S 15     /* an answer counts at least so long */
#define RELAY_FORGOTTEN_S     86400  /* not heard of or not answering so long: out */

enum reach {
	REACH_UNKNOWN,
	REACH_NONE /* no way from here: not judged */,
	REACH_DEAD,
	REACH_ALIVE
};

struct known_descriptor {
	uint8_t hash[32];
	uint64_t published;
	uint16_t n;
	uint8_t *bytes; /* owned */
};

struct known_relay {
	uint8_t id[32];
	struct descriptor d; /* the newest */
	unsigned n;
	struct known_descriptor kept[DESCRIPTORS_KEPT]; /* newest first */
	enum reach reach4, reach6;			/* of the newest's addresses */
	uint64_t answered; /* seconds since 1970, when all that could be reached answered last; 0:
			      never */
	uint64_t heard;	   /* when the newest came */
	uint64_t probe_at; /* when to test it next */
	bool probing;
	bool crowded; /* one too many of its address: see relays_mark_crowded() */
};

struct relays {
	struct known_relay **relay; /* by ID */
	size_t n, most;
	unsigned per_address; /* listed of one IPv4 /32 or IPv6 /56; 0: any number */
};

#define RELAYS_PER_ADDRESS 4

int relays_init(struct relays *t, size_t most) __attribute__((warn_unused_result));
void relays_done(struct relays *t);
struct known_relay *relays_find(const struct relays *t, const uint8_t id[32]);

/* What became of a descriptor that was posted. */
enum take {
	TAKE_NEW,
	TAKE_SAME,
	TAKE_OLDER,
	TAKE_BAD,
	TAKE_FORGED,
	TAKE_EXPIRED,
	TAKE_FULL,
	TAKE_NO_MEMORY
};
/* Judge n bytes and keep them if they are newer than what is known. *ret_relay (may be NULL): whose
 * they are. */
enum take relays_take(struct relays *t, const uint8_t *p, size_t n, uint64_t now_s,
		      struct known_relay **ret_relay);
/* Out with those that expired or were silent too long. */
void relays_tick(struct relays *t, uint64_t now_s);
/* Mark those that run beyond per_address at one address, the lowest IDs aside: they are not listed,
 * and make room like those that never answered. So nobody fills the directory from one machine. 0
 * or -ENOMEM (the marks stay). */
int relays_mark_crowded(struct relays *t, uint64_t now_s, uint64_t within_s)
	__attribute__((warn_unused_result));
/* A test of one address ended. When nothing is left unknown the relay's `answered` is set if it is
 * alive. */
void relay_on_probe(struct known_relay *r, unsigned family, enum reach result, uint64_t now_s);
/* Did it answer in the last `within_s`, and is its newest descriptor valid? */
bool relay_is_running(const struct known_relay *r, uint64_t now_s, uint64_t within_s);
/* The descriptor to vote for at `serial`: the newest that was published at most at serial - margin,
 * so that it has reached all authorities; `listed` (a hash, may be NULL) goes first if it is here
 * and still valid. */
const struct known_descriptor *relay_descriptor_for(const struct known_relay *r, uint64_t serial,
						    uint64_t margin_s, const uint8_t *listed);
/* Fill v's relays: those that run and are neither revoked nor crowded. With `early`, those that `current` lists
 * keep the descriptor that it names. 0 or -ENOMEM. */
int relays_vote(const struct relays *t, struct vote *v, uint64_t now_s, uint64_t within_s,
		uint64_t margin_s, const struct consensus *current, bool early)
	__attribute__((warn_unused_result));
/* Does one run that is not crowded, that `current` (may be NULL) does not list and `revoked`
 * (sorted) does not name? */
bool relays_have_new(const struct relays *t, uint64_t now_s, uint64_t within_s,
		     const struct consensus *current, const uint8_t (*revoked)[32],
		     size_t nrevoked);
/* All descriptors that are kept, as {u16 len, descriptor}…, oldest first for each relay, so that
 * they can be taken again. *ret is the caller's. 0 or -ENOMEM. */
int relays_write(const struct relays *t, uint8_t **ret, size_t *ret_n)
	__attribute__((warn_unused_result));
