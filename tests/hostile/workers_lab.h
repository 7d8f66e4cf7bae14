/* tests/hostile/workers_lab.h - a real engine on loopback, circuits published, and both of the
 * circuits' neighbours, who can send from 64 more source ports. For test_workers.c and
 * test_bursts.c, whose assertions (cmocka) it shares.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "engine/engine.h"

#define SOURCES	      64
#define ROUNDS	      8
#define PER_ROUND     8 /* counters of each direction */
#define REPEATED      (ROUNDS * PER_ROUND)
#define COUNTERS      (REPEATED + SOURCES) /* and one for each source at the end */
#define NUMBERS	      16384		   /* counters that are watched, from FIRST on */
#define CONTENT	      200
#define FIRST	      UINT64_C(0x00123456789abc)
#define OFFSET_F      UINT64_C(0x111111111111)
#define OFFSET_B      UINT64_C(0x222222222222)
#define CLIENT_CID    0x0c11e117u /* of the first circuit; the second has one more */
#define NEXT_CID      0x00000e17u
#define PATIENCE_MS   10000
#define AGAIN_MS      20
#define KEY_ALIGN     64

#define CIRCUITS_MOST 2

/* What is made. A relay has links from and to its neighbours; with `inner` it is an exit. */
struct lab_kind {
	unsigned workers;
	unsigned owner_a, owner_b; /* the workers that own the links */
	const struct engine_inner_ops *inner;
	unsigned offloads_off;
};

struct lab {
	struct event_base *base;
	struct engine *engine;
	struct onion_env *env;
	struct link_data *a, *b; /* towards the client, towards the next relay */
	struct circuit *c;	 /* the first of: */
	struct circuit *circuits[CIRCUITS_MOST];
	unsigned ncircuits;
	const struct engine_inner_ops *inner;
	struct aead_ctx *aead;
	struct addr engine_addr;
	int source[SOURCES];
	int client[2],
		next; /* where the relay sends; the client's link moves between two addresses */
	unsigned forward[NUMBERS], backward[NUMBERS]; /* how often each counter arrived */
	unsigned foreign, handshakes, ctrls, plains;  /* that the control thread was told of */
};

/* With one circuit, on which the client's counters start at FIRST. */
void lab_init(struct lab *l, const struct lab_kind *kind);
/* Publish one more, of the same neighbours. */
struct circuit *lab_add_circuit(struct lab *l);
/* Takes circuits and links out while the workers run, then ends all. */
void lab_done(struct lab *l);
/* The client's datagram, or the next relay's, with counter FIRST + i, from this source port.
 * Forward copies are equal, since another body would not verify; backward each source has other
 * bytes. */
void send_forward(const struct lab *l, unsigned source, unsigned i);
void send_backward(const struct lab *l, unsigned source, unsigned i);
/* Let the control thread work and take what came, for at most ms. False: nothing came. */
bool turn(struct lab *l, int ms);
/* Until counters [from, to) arrived in both directions. What a full socket buffer lost is sent
 * again. */
void settle(struct lab *l, unsigned from, unsigned to);
/* The client's link moves to its other address while workers send there. */
void move_client(struct lab *l, unsigned round);
