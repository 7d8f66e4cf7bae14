/* tests/gate/world.h - a client, two relays and an exit in a row, each an engine with one worker of
 * its own.
 *
 *   party  0 client ── link 0 ── 1 relay ── link 1 ── 2 relay ── link 2 ── 3 exit
 *
 * One path of three hops goes through; handshakes are skipped, what they would have agreed on is
 * written down. Beside it the second relay carries circuits of others, from link 1 on to MANY_NEXT
 * more neighbours.
 */
#pragma once
#include "engine/engine.h"
#include "onion/dataplane.h"
#include "tests/gate/kernel.h"
#include "tests/unit/seeded.h"

#define HOPS	 3
#define PARTIES	 (HOPS + 1)
#define CIRCUITS 1000 /* of others */
#define NEXT	 4    /* where they go on to */

enum { CLIENT, RELAY, SECOND_RELAY, EXIT };

struct party {
	struct engine *engine;
	struct thread thread;
	struct addr addr;
	struct tun *tun; /* NULL: a relay */
};

struct world {
	struct seeded seeded;
	struct rng rng;
	struct event_base *base;
	struct party party[PARTIES];
	struct link_data near[HOPS], far[HOPS]; /* link i at party i, at party i + 1 */
	struct circuit circuit[HOPS];		/* of party i + 1 */
	struct path_data path;
	struct addr next_addr[NEXT];
	struct link_data next[NEXT];
	struct circuit other[CIRCUITS];
};

/* Exits when anything fails. */
struct world *world_new(void);
void world_free(struct world *w);
/* The party's socket, its queue of the TUN, and what ends its thread. */
int world_socket(const struct party *p);
int world_tun(const struct party *p);
_Atomic _Bool *world_stop(const struct party *p);
/* No party dropped anything. */
void world_check_drops(const struct world *w);
