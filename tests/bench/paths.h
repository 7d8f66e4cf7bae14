/* tests/bench/paths.h - paths through the relay under load: BUILDs made ahead, sent at a rate or
 * with so many unanswered, answered by the next neighbour; replies verified afterwards.
 *
 * PROTOCOL.md section 5 with two hops left, as a middle relay sees them. What costs the client
 * most, the onions' Diffie-Hellman, is done before they are sent and after all were answered, so
 * that the generator costs less than the relay meanwhile. The relay's own layer is true; what is
 * for the hop behind it is a pattern that nobody but the next neighbour and the client can judge,
 * and both compare it byte by byte: the relay cannot tell the difference, and each BUILD is
 * verified at both ends.
 */
#pragma once
#include "onion/build.h"
#include "onion/path.h"
#include "tests/bench/neighbour.h"

#define PATH_REPEATS	2 /* of a BUILD that is not answered, unless they come at a rate */
#define PATH_HOPS	2 /* the relay, and one behind it */
#define PATH_LIFETIME_S 1200
/* Of 3 tag slots: filler on the link into the relay, and on the one from behind. */
#define PATH_FILL_FORWARD 1
#define PATH_FILL_BACK	  2
/* BUILDs under way when no rate is given: the relay's rings never fill. */
#define PATHS_UNANSWERED 128

/* One direction of data: counters as the receiver sees them. */
struct flow {
	uint64_t first; /* counter of the first datagram */
	uint64_t sent;	/* so many were sent */
	uint64_t next;	/* the datagram that is due to arrive, counted from 0 */
};

/* One path. Its number (from 0) plus 1 is its circuit id at both neighbours. */
struct path_load {
	bool live;			  /* verified; the relay has a circuit */
	uint32_t forward_id, backward_id; /* what the relay chose for either link */
	struct path_keys keys;
	struct aead_key *kf; /* expanded when first used; kept, 1 KiB */
	struct flow forward, backward;
};

/* A BUILD from when it was made to when its reply was verified. */
struct attempt {
	struct hs hs;
	uint8_t onion[PATH_HOPS * ONION_HOP_BYTES];
	uint8_t reply[PATH_HOPS * REPLY_HOP_BYTES];
	bool answered;
	nsec_t sent;
};

struct load_paths {
	struct neighbours *around;
	struct path_load *path;
	unsigned room, made, sent; /* numbers below these exist, are sent */
	struct attempt *attempt;   /* of [first, made) */
	unsigned first;
	unsigned repeat[PATH_REPEATS]; /* numbers below were repeated, or needed it not */
	uint64_t secret;	       /* of the patterns */
	uint8_t filler[ONION_FIELD_BYTES];
	struct neighbour *only; /* NULL: previous neighbours take turns; else all go by this one */
	double per_s;		/* 0: as fast as PATHS_UNANSWERED lets */
	nsec_t started;
	/* of this batch */
	uint64_t arrived;		     /* at the next neighbours, as they should be */
	uint64_t answered;		     /* replies to the previous neighbours */
	uint64_t bad;			     /* broken at either end, or no link to send on */
	uint64_t status[BUILD_PROTOCOL + 1]; /* what the relay said, by load_paths_verify() */
	uint64_t closed;		     /* live ones that the relay closed; of all batches */
	unsigned live;			     /* of all batches */
};

/* Room for so many paths. 0 or -ENOMEM; load_paths_done() either way. */
int load_paths_init(struct load_paths *s, struct neighbours *around, unsigned room)
	__attribute__((warn_unused_result));
void load_paths_done(struct load_paths *s);
/* Make n BUILDs ahead (n scalar multiplications twice); serves neighbours meanwhile. The batch
 * before must be verified. 0, -ENOSPC, -ENOMEM. */
int load_paths_make(struct load_paths *s, unsigned n) __attribute__((warn_unused_result));
/* From neighbours_ops. */
void load_paths_on_frame(struct load_paths *s, struct neighbour *p, enum frame_type type,
			 const uint8_t *data, nsec_t now);
/* Send what is due at now. True when more is due at once. The first call starts the clock of the
 * rate. */
bool load_paths_pump(struct load_paths *s, nsec_t now);
/* All of the batch was sent, and answered. */
bool load_paths_are_sent(const struct load_paths *s);
bool load_paths_are_answered(const struct load_paths *s);
/* Open the replies of the batch; those that are well become live. Ends the batch. */
void load_paths_verify(struct load_paths *s);
/* Seconds of CPU that the Diffie-Hellman of one BUILD at one relay takes on the core that we run
 * on: two scalar multiplications and one with the base point (PROTOCOL.md section 3). The median of
 * many tries. */
double load_paths_dh_seconds(void);
