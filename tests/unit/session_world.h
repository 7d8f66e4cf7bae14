/* tests/unit/session_world.h - a client and an exit, joined by paths of three real hops through
 * memory.
 *
 * session_client, path_set and session_exit are the real ones, and so are the layers that they
 * seal. The path layer (path.h) and the relay's circuits (circuits.h) are played: session_world.c
 * defines what path_set.c, session_client.c and session_exit.c call of them, so path.c and
 * circuits.c are not linked in. Time jumps from deadline to deadline; a deadline that does not move
 * on aborts. Datagrams may be lost, doubled, late or too large.
 */
#pragma once
#include "onion/path_set.h"
#include "onion/session_exit.h"
#include "unit/chain.h"

#define WORLD_HOPS    3
#define WORLD_PATHS   64 /* ever */
#define WORLD_FLIGHTS 256
#define WORLD_START   (1000 * NSEC_PER_SEC)
#define WORLD_UNIX    UINT64_C(1800000000)
#define WORLD_LIFE    (100 * NSEC_PER_SEC)
#define WORLD_TOKENS  4

struct world;

/* Opaque in path.h. */
struct path {
	struct world *w;
	struct chain *chain;
	struct path_hop hop[WORLD_HOPS];
	uint8_t h[32], res[32];
	void *user;
	enum path_role role; /* that it was built for */
	bool ready, gone, freed;
	bool dead;    /* a relay of it is silent */
	bool at_exit; /* the exit has its circuit */
	bool granted; /* what the exit told circuits */
	bool key_used;
	unsigned granted_calls;
	uint16_t carries; /* the largest datagram that passes */
	nsec_t built_at, ready_at, expires_at;
	nsec_t event_at;	 /* ready or failed; later: the client hears that it is gone */
	nsec_t ungranted_at;	 /* the exit closes it */
	struct path_query query; /* that its hops were chosen by */
};

struct flight {
	nsec_t at;
	struct path *p; /* NULL: free */
	bool forward;
	struct datagram d;
};

enum traffic { TRAFFIC_NONE, TRAFFIC_BOTH, TRAFFIC_FORWARD };

struct world {
	struct seeded seeded;
	struct rng rng;
	nsec_t now;
	struct drops drops;
	struct filler filler;
	struct dp_thread dp;
	struct onion_env client_env, exit_env;
	struct path *path[WORLD_PATHS];
	unsigned paths;
	struct flight flight[WORLD_FLIGHTS];
	unsigned loss, dup; /* per cent */
	nsec_t delay;
	/* what was sent and not lost, newest last; for looking at */
	size_t sent_forward, sent_backward;
	size_t last_forward, last_backward; /* bytes */
	/* the path layer */
	struct path_query query; /* the last */
	int choose_error, build_error;
	bool builds_fail; /* after build_time, at hop 1 */
	nsec_t build_time;
	unsigned builds, frees;
	/* the exit */
	struct exit_sessions *exits;
	struct exit_sessions_config exit_config;
	uint8_t token_seed[WORLD_TOKENS][32], token_pk[WORLD_TOKENS][32];
	struct token_verdict verdict[WORLD_TOKENS], open_verdict;
	uint32_t leases, leases_most, lease_numbers;
	unsigned judged, closed_ends;
	/* the client: one of the two */
	struct session_client *client;
	struct path_set *set;
	struct path_data *active;
	bool refuse_grant;
	unsigned grants, denies, closes, bounds, unknowns, pongs, silents, refused;
	unsigned built, failed, switched, lost, actives, chooses;
	struct msg_grant grant;
	struct msg_deny deny;
	uint8_t close_reason;
	uint32_t bound_prio;
	struct path *last_path;
	nsec_t pong_rtt;
	size_t pong_datagram;
	enum traffic traffic;
	nsec_t next_traffic;
	size_t delivered, undelivered; /* of traffic */
	nsec_t longest_gap, last_delivered;
	unsigned wakes; /* of the client's timer */
	struct retired {
		void *object;
		void (*free_fn)(void *object);
	} retired[512];
	unsigned nretired;
};

/* An exit that knows token 0 and 1 as good, 2 as expired; token 3 is unknown. Abort when anything
 * fails. */
struct world *world_new(uint64_t seed);
void world_free(struct world *w);
/* The exit restarts: sessions and circuits are gone; clients hear of it when `told`. */
void world_restart_exit(struct world *w, bool told);
/* A path that is ready now, for tests without path_set. */
struct path *world_path(struct world *w);
struct circuit *world_circuit(const struct path *p);
void world_client(struct world *w, int token); /* -1: method open */
struct path_set_config world_set_config(struct world *w);
void world_set(struct world *w, bool standby, int token); /* -2: the token comes later */
/* Let time pass, doing all that is due. */
void world_run(struct world *w, nsec_t span);
/* Deliver what is under way, without timers. */
void world_deliver(struct world *w);
/* Take the oldest datagram that is under way; false when there is none. */
bool world_take(struct world *w, struct flight *ret);
/* Open it at its end: plain bytes, or 0. */
size_t world_open(struct world *w, struct flight *f, uint8_t plain[DATAGRAM_MAX]);
void world_path_gone(struct path *p);
uint64_t world_dropped(const struct world *w, enum drop why);
struct path *world_active(const struct world *w);
unsigned world_live_paths(const struct world *w);
