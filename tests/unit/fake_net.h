/* tests/unit/fake_net.h - parties joined by fake links: links.h's contract without handshakes, sockets or loss.
 *
 * fake_net.c defines the functions of links.h that circuits.c and path.c call, so links.c is not linked in. Frames wait
 * in one queue until the test takes them, drops them or lets fake_run() deliver them. Aborts when the harness fails.
 */
#pragma once
#include <stdbool.h>
#include "onion/circuits.h"
#include "onion/path.h"
#include "unit/seeded.h"

#define FAKE_PARTIES_MOST 12
#define FAKE_FRAME_MOST   FRAME_BUILD_BYTES
#define FAKE_START        (1000 * NSEC_PER_SEC)
#define FAKE_UNIX         UINT64_C(1800000000)

struct fake_net;

/* Opaque in links.h. One end of a link. */
struct link {
	struct fake_net *net;
	struct fake_party *owner;
	struct link *peer; /* the other end */
	struct link_data *data;
	bool up, dead, relay;
	bool drained; /* ends when the last hold goes */
	uint8_t id[32];
	unsigned holds, probes;
	void *user;
	struct link *next;
};

struct links {
	struct fake_party *party;
	int refuse; /* links_open() returns this when not 0 */
	bool manual; /* opened links wait for fake_up() or fake_fail() */
	unsigned opened;
};

struct fake_party {
	struct fake_net *net;
	uint8_t id[32];
	struct addr addr;
	uint16_t keyid;
	struct onion_keypair key;
	struct slots *link_table, *circuit_table;
	struct drops drops;
	struct filler filler;
	struct dp_thread dp;
	struct onion_env env;
	struct links links;
	struct circuits *circuits; /* a relay */
	struct paths *paths;       /* a client */
	bool deaf;                 /* what comes in is lost */
	/* what its ops were told */
	bool refuse_end;
	unsigned ends, ends_gone, ready, gone;
	struct circuit *end;
	uint8_t end_h[32], end_res[32];
	struct path *last_path;
	int gone_hop;
	enum build_status gone_status;
	bool free_when_gone; /* on_gone frees the path */
};

struct fake_frame {
	struct link *to; /* the end that gets it */
	enum frame_type type;
	size_t n;
	uint8_t data[FAKE_FRAME_MOST];
};

struct fake_net {
	struct seeded seeded;
	struct rng rng;
	nsec_t now;
	uint64_t unix_s;
	struct periods periods;
	struct aead_ctx *aead;
	struct fake_party party[FAKE_PARTIES_MOST];
	unsigned parties;
	struct link *links;
	struct fake_frame *queue;
	size_t head, tail, room;
	size_t sent; /* frames, ever */
	struct retired {
		void *object;
		void (*free_fn)(void *object);
	} *retired;
	size_t nretired, retired_room;
};

struct fake_net *fake_net_new(unsigned parties, uint64_t seed);
/* Free all, the retired at last; aborts when somebody still holds a link or an id, or sent
 * where no link was up. */
void fake_net_free(struct fake_net *n);
/* A grace period is over. Returns how many objects it freed. */
size_t fake_grace(struct fake_net *n);

/* Make party i a relay or a client. cfg's limits may be changed before (fake_relay_config). */
struct circuits_config fake_relay_config(struct fake_net *n, unsigned i);
void fake_relay(struct fake_net *n, unsigned i, const struct circuits_config *c);
void fake_client(struct fake_net *n, unsigned i);
struct path_hop fake_hop(const struct fake_net *n, unsigned i);

/* A link that party `from` opened to party `to`, up at both ends; returns `to`'s end (or `from`'s: ->peer). */
struct link *fake_link(struct fake_net *n, unsigned from, unsigned to, bool from_is_relay);
/* One that links_open() made comes up, or fails; or one that was up dies, at both ends. l: the opener's end. */
void fake_up(struct link *l);
void fake_fail(struct link *l, int why);
void fake_dead(struct link *l);
/* The newest link that party i opened, or NULL. */
struct link *fake_opened(struct fake_net *n, unsigned i);

/* The oldest frame on its way, or NULL. Valid until the next frame is sent. */
const struct fake_frame *fake_take(struct fake_net *n);
void fake_give(const struct fake_frame *f);
/* Deliver until all is quiet. */
void fake_run(struct fake_net *n);
size_t fake_waiting(const struct fake_net *n);
/* Let time pass in steps of every deadline, delivering what is sent. */
void fake_sleep(struct fake_net *n, nsec_t span);
uint64_t fake_dropped(const struct fake_party *p, enum drop why);
