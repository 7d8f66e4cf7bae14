/* tests/bench/neighbour.h - those around the relay under load: a socket and the product's own links
 * for each, all on one thread.
 *
 * What the onion layer's environment is to a daemon (engine/), this is to the generator: one
 * onion_env for each neighbour, datagrams by send() and by UDP_SEGMENT, received by UDP_GRO. DATA
 * goes to ops.on_data; handshakes and CTRL go to onion/links.h.
 */
#pragma once
#include "onion/links.h"
#include "tests/bench/network.h"

enum neighbour_kind {
	NEIGHBOUR_PREVIOUS, /* listed; opens a link in a relay's role */
	NEIGHBOUR_NEXT,	    /* listed; the relay opens a link to it */
	NEIGHBOUR_CLIENT,   /* not listed; opens a link in a client's role */
	NEIGHBOUR_LIAR,	    /* not listed; opens a link in a relay's role all the same */
};

struct neighbours;

struct neighbour {
	struct neighbours *set;
	enum neighbour_kind kind;
	unsigned number;	     /* among those of its kind */
	const struct member *member; /* NULL: not listed */
	int fd;			     /* connected to the relay */
	struct onion_env env;
	struct links *links;
	struct link_data *up; /* its link to the relay, while that is up */
};

struct neighbours_ops {
	void *arg;
	/* d[0..n) is a DATA datagram whose header h opened on a link of p. */
	void (*on_data)(void *arg, struct neighbour *p, const struct header *h, uint8_t *d,
			size_t n);
	/* BUILD, BUILD_REPLY, CIRCUIT_CLOSE; its length is right. */
	void (*on_frame)(void *arg, struct neighbour *p, enum frame_type type, const uint8_t *data,
			 nsec_t now);
};

#define GSO_DATAGRAMS_MOST 64
#define GSO_BYTES_MOST	   65000
#define SERVE_EVENTS	   64 /* sockets that one epoll_wait tells of */

struct neighbours {
	const struct network *net;
	struct neighbours_ops ops;
	struct neighbour *all; /* previous, next, client, liar */
	unsigned n, previous, next;
	int epoll_fd;
	bool gso; /* send bursts by UDP_SEGMENT; else one by one, by sendmmsg */
	struct aead_ctx *aead;
	struct drops drops; /* what the links of all dropped: nothing, unless somebody errs */
	struct receiver *receiver;
	nsec_t next_timers;
	nsec_t served,
		longest_gap; /* when we last looked at the sockets; how long we once did not */
	uint64_t strange;    /* datagrams that opened on no link of ours */
	uint64_t send_full;  /* datagrams that the kernel did not take */
};

/* One previous and one next neighbour for each two members of n (members is even), one client, one
 * liar. Members are bound to their addresses. No link is opened. The AEAD engine must have been
 * chosen. 0 or -errno; neighbours_done() either way. */
int neighbours_init(struct neighbours *s, const struct network *n, const struct neighbours_ops *ops,
		    bool gso) __attribute__((warn_unused_result));
void neighbours_done(struct neighbours *s);
struct neighbour *neighbour_find(struct neighbours *s, enum neighbour_kind kind, unsigned number);
/* Open a link to the relay; ->up is set when it stands. 0 or -errno. */
int neighbour_link(struct neighbour *p) __attribute__((warn_unused_result));
/* Send a frame on its link. False when it has none. */
bool neighbour_frame(struct neighbour *p, enum frame_type type, const void *data, size_t n,
		     nsec_t now) __attribute__((warn_unused_result));
/* Send `count` (at most GSO_DATAGRAMS_MOST) datagrams of `size` bytes that lie behind each other,
 * GSO_BYTES_MOST in all. Returns how many the kernel took. */
unsigned neighbour_send(struct neighbour *p, const uint8_t *d, size_t size, unsigned count);
/* Wait at most timeout_ms for datagrams, work on what came, run timers. */
void neighbours_serve(struct neighbours *s, int timeout_ms);
