/* tests/sim/sim.h - a whole network in one process: its own clock, its own seeded randomness, bad wires.
 *
 * Relays, exits and clients are the real struct links, circuits, paths and the real dataplane, under a struct onion_env
 * of the simulator's; with --sessions the real path sets and sessions too (sim_session.c). Events are done in the order of their time; the same options give the same digest. While it
 * runs, the properties 4 to 8 of PROTOCOL.md section 10 are checked (sim_check.c).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "onion/circuits.h"
#include "onion/links.h"
#include "onion/path.h"
#include "onion/path_set.h"
#include "onion/session_exit.h"
#include "unit/seeded.h"

#define SIM_WORKERS    2
#define SIM_UNIX_START UINT64_C(1800000000)
#define SIM_NET_ID     UINT32_C(0x51e70001)
#define PER_MILLION    1000000u
/* Limits that every host is given; check_memory() looks that they hold. */
#define SIM_LINKS_MOST     512
#define SIM_HALF_OPEN_MOST 256
#define SIM_CIRCUITS_MOST  4096
#define SIM_PENDING_MOST   1024
#define SIM_LEASES_MOST    256

struct sim_options {
	uint64_t seed;
	unsigned relays, paths, clients;
	unsigned hops;    /* 0: each path its own, 1..8 */
	unsigned seconds; /* of traffic */
	unsigned deaths;  /* relays that fall silent in the middle */
	unsigned hostile; /* datagrams a second of an attacker: garbage, copies from other sources, INITs */
	bool short_periods; /* many generations of paths and links in one run */
	bool sessions;      /* path sets and exit sessions in place of bare paths */
	bool verbose;
	unsigned trace;     /* this client's path-set events are printed; 0: none (host 0 is a relay) */
	uint32_t loss, dup, reorder, flip; /* chances per million, on each link */
	uint32_t bursts; /* chance per million that many plains are sealed at once; wires then keep bursts together */
};

/* One plain on its way, and what was seen of it on each link. */
struct packet {
	uint64_t id;
	unsigned refs;
	bool backward;
	unsigned hops;
	size_t datagram; /* bytes, everywhere */
	size_t plain_bytes;
	uint8_t *plain;
	unsigned delivered;
	uint8_t *on_link[HOPS_MAX]; /* in the order of travel; NULL: not seen */
};

/* A datagram on a wire. */
struct flight {
	struct addr from, to;
	struct packet *packet; /* NULL: handshake, CTRL, attacker's */
	unsigned link;         /* number of the link in the order of travel */
	bool doomed;           /* changed outside the filler: must not be taken for true */
	bool header_hit;       /* changed in its header */
	size_t n;
	uint8_t d[];
};

enum event_kind { EVENT_ARRIVE, EVENT_TIMER, EVENT_RETIRE, EVENT_APP, EVENT_HOSTILE, EVENT_DEATH, EVENT_CLIENT };

struct event {
	nsec_t at;
	uint64_t order; /* of two at the same time the older first */
	enum event_kind kind;
	void *object;
	void (*free_fn)(void *object); /* EVENT_RETIRE */
};

struct host {
	struct sim *sim;
	unsigned index;
	bool is_relay, is_exit, dead;
	struct addr addr;
	struct link_target target; /* as the directory knows it */
	struct onion_keypair key;
	int64_t skew_s; /* of its wall clock */
	struct slots *links_table, *circuits_table;
	struct filler filler;
	struct drops drops;
	struct dp_thread control, worker[SIM_WORKERS];
	struct onion_env env;
	struct links *links;
	struct circuits *circuits;
	struct paths *paths;
	nsec_t timer; /* when a timer event stands; NSEC_NEVER */
	unsigned guards[2];
	/* with --sessions: */
	struct exit_sessions *exits;
	struct session_data *lease[SIM_LEASES_MOST];
	struct path_set *set;
	struct path_data *active;
	struct host *exit;
	unsigned hops;
	const struct host *avoid[4]; /* relays that failed as a hop, the newest first */
	bool bad_token, granted, denied;
	uint8_t token_pk[32];
	nsec_t last_got;
	size_t answering; /* bytes of the INIT that is being answered; 0: none */
	size_t answered;
};

/* A client's wish for a path. */
struct wish {
	struct host *client;
	unsigned hops;
	struct path *path; /* NULL: none now */
	uint64_t built;
};

struct sim_counts {
	uint64_t datagrams, lost, doubled, flipped, hostile;
	uint64_t sent_forward, sent_backward, got_forward, got_backward;
	uint64_t built, failed, gone;
	uint64_t violations, packets_live, largest_burst;
};

struct sim {
	struct sim_options o;
	struct seeded seeded;
	struct rng rng;
	struct periods periods;
	struct aead_ctx *aead;
	nsec_t now, traffic_ends;
	uint64_t order, packets, digest;
	struct event *heap;
	size_t heap_used, heap_size;
	struct host *hosts; /* relays first, then clients */
	unsigned nhosts;
	struct wish *wishes;
	struct {
		struct packet *packet;
		const uint8_t *at;
	} sealed[DP_BATCH]; /* the last plains that were sealed, until their datagrams are sent */
	size_t nsealed;
	struct {
		struct addr from, to;
		nsec_t at, delay;
	} last; /* sent: with bursts, what follows at the same time takes as long */
	struct flight *caught; /* what the attacker kept; NULL: nothing yet */
	struct sim_counts count;
};

/* sim_wire.c */
void sim_push(struct sim *s, nsec_t at, enum event_kind kind, void *object, void (*free_fn)(void *));
bool sim_pop(struct sim *s, struct event *ret);
/* With bursts: take what arrives at this very time behind f, from and to the same. NULL: nothing. */
struct flight *sim_pop_burst(struct sim *s, const struct flight *f);
/* Copy a datagram onto the wire, through loss, doubles, delays and flips. packet NULL: nothing to follow. */
void wire_send(struct sim *s, const struct addr *from, const struct addr *to, const uint8_t *d, size_t n,
	       struct packet *packet, unsigned link, bool doomed);
struct host *wire_host_at(struct sim *s, const struct addr *a);
void wire_drop(struct sim *s, struct flight *f);
/* One more datagram of the attacker's. */
void wire_hostile(struct sim *s);
bool sim_chance(struct sim *s, uint32_t per_million);
void sim_digest(struct sim *s, const void *p, size_t n);

/* sim_host.c */
void host_init(struct sim *s, unsigned index);
void host_done(struct host *h);
/* Datagrams that came together, from one source; n <= DP_BATCH. */
void host_receive(struct host *h, struct flight *const f[], size_t n);
void host_on_timer(struct host *h);
/* Look at the deadlines again, after anything was done at h. */
void host_rearm(struct host *h);
struct dp_thread *host_some_worker(struct host *h);

/* sim_app.c */
struct path_ops app_path_ops(struct host *client);
void app_start(struct sim *s);
void app_on_wish(struct sim *s, struct wish *w);
void app_on_plain(struct host *h, struct flight *f, const struct dp_result *r);
void app_end(struct sim *s);
/* Random bytes that call themselves an IP packet, 1..most; their number. */
size_t app_some_plain(struct sim *s, uint8_t *plain, size_t most);
/* Seal one of those, or a burst, at the client, at the exit, and send it. */
void app_send_forward(struct sim *s, struct host *client, struct path_data *p);
void app_send_backward(struct host *h, struct circuit *c, unsigned hops);

/* sim_session.c */
struct path_ops session_path_ops(struct host *client);
void session_make_exit(struct host *h);
void session_start(struct sim *s);
void session_on_client(struct sim *s, struct host *client);
void session_on_plain(struct host *h, struct flight *f, const struct dp_result *r);
void session_end(struct sim *s);

/* sim_check.c */
void violated(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* From here on all that is sealed is followed (the functions are wrapped). NULL: no more. */
void check_start(struct sim *s);
/* The hops of the path that ends in c: a packet came on it. The exit does not know; 0: unknown. */
void check_learn(const struct circuit *c, unsigned hops);
unsigned check_hops(const struct circuit *c);
/* The packet that was sealed at d, now the caller's to release; NULL when nothing was. */
struct packet *check_take_sealed(struct sim *s, const uint8_t *d);
struct packet *packet_new(struct sim *s, bool backward, unsigned hops, const uint8_t *plain, size_t n);
void packet_hold(struct packet *p);
void packet_release(struct sim *s, struct packet *p);
/* Those that were sealed and not sent. */
void check_forget_sealed(struct sim *s);
/* A party puts it on link number `link` of its way. */
void check_on_link(struct sim *s, struct packet *p, unsigned link, const uint8_t *d, size_t n);
/* Where the filler begins in that datagram; n when there is none. */
size_t check_filler_at(const struct packet *p, unsigned link, size_t n);
/* A party judged f: is that what it may do? */
void check_verdict(struct host *h, const struct flight *f, const struct dp_result *r);
void check_plain(struct host *h, const struct flight *f, const struct dp_result *r);
void check_memory(struct sim *s);
void check_end(struct sim *s);
