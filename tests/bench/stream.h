/* tests/bench/stream.h - data through the relay in one direction, over one path or many: sealed,
 * counted, verified.
 *
 * PROTOCOL.md section 6. Forward the generator is the client and seals the relay's layer of each
 * datagram; backward it is the hop behind, whose body the relay seals without a look, so that only
 * a header block is made for each. Every datagram that arrives is judged by its header (circuit,
 * counter in order); one of `verify_each` is opened and compared with what was sent, byte by byte.
 */
#pragma once
#include "tests/bench/paths.h"

enum stream_direction { STREAM_FORWARD, STREAM_BACKWARD };

struct stream_config {
	enum stream_direction direction;
	unsigned first, n;    /* numbers of the paths that it spreads over, all of them live */
	uint16_t bytes;	      /* of a datagram, DATAGRAM_MIN .. DATAGRAM_FULL_MOST */
	unsigned run;	      /* datagrams of one path in a row */
	unsigned burst;	      /* datagrams handed to the kernel at once, all on one link */
	double per_s;	      /* 0: as fast as `window` lets */
	unsigned window;      /* datagrams under way at most, when no rate is given */
	unsigned verify_each; /* 1: all */
};

struct stream_count {
	uint64_t sent, received, bytes;
	uint64_t lost; /* did not come, and nothing else did for STREAM_PATIENCE_NSEC; or a later
			  one of its path came */
	uint64_t late; /* of its path a later one had come, or itself: reordered or repeated */
	uint64_t bad;  /* another circuit, another length, another body, old filler */
	uint64_t verified; /* opened and compared */
};

/* A relay without a core for so long is no more busy. */
#define STREAM_PATIENCE_NSEC (4 * NSEC_PER_SEC)

/* The paths that one neighbour sends for, in turn. */
struct stream_turn {
	unsigned *path; /* their numbers */
	unsigned n, at; /* how many; which is next */
	unsigned row;	/* datagrams that it sent in a row */
};

struct stream {
	struct stream_config c;
	struct load_paths *paths;
	struct stream_count count;
	struct stream_turn *turn; /* for each sending neighbour */
	unsigned senders, sender; /* whose turn it is */
	uint64_t under_way;
	nsec_t started;	       /* of the rate */
	nsec_t looked, silent; /* when we last looked for datagrams; how long none came */
	uint8_t *burst;	       /* GSO_DATAGRAMS_MOST datagrams */
	uint8_t pattern[DATAGRAM_MAX];
	struct filler filler;
};

/* 0, -EINVAL (a path is not live, sizes), -ENOMEM; stream_done() either way. Expands the keys that
 * it needs. */
int stream_init(struct stream *s, struct load_paths *paths, const struct stream_config *c)
	__attribute__((warn_unused_result));
void stream_done(struct stream *s);
/* Send what is due at now. True when more is due at once. */
bool stream_pump(struct stream *s, nsec_t now);
/* From neighbours_ops, for the direction that this neighbour receives. */
void stream_on_data(struct stream *s, const struct header *h, uint8_t *d, size_t n);
/* The neighbours that receive it are of this kind. */
enum neighbour_kind stream_receiver(const struct stream *s);
/* Nothing is under way: all came, or was given up. */
bool stream_is_drained(struct stream *s, nsec_t now);
