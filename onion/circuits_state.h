/* onion/circuits_state.h - what circuits.c, circuits_build.c, circuits_reply.c and circuits_time.c share; nobody else includes it.
 *
 * A record is one BUILD from its arrival to the end of its circuit. While the BUILD may still be repeated, the record
 * has a struct build; once keys stand, it has a struct circuit.
 *
 *              limits, status        reply from behind
 *   NEW ----> ANSWERED <----- SENT -------> LIVE      LIVE: data flows
 *    |            ^            ^              ^       ANSWERED: only the reply is kept, for repeats
 *    +-> LINKING -+------------+              |
 *    +----------------------------------------+ (last hop)
 */
#pragma once
#include <sys/queue.h>
#include "onion/build_replay.h"
#include "onion/circuits.h"
#include "onion/heap.h"
#include "onion/index.h"

#define BUILD_INDEX_BITS        13
#define CIRCUIT_IDLE_SECONDS    60 /* no data for that long: goes first when circuits run short */
#define IDLE_LOOKS_PER_BUILD    64 /* circuits looked at for idle ones, each time one is wanted */

enum record_state { RECORD_NEW, RECORD_LINKING, RECORD_SENT, RECORD_LIVE, RECORD_ANSWERED };

struct record;

/* What a BUILD needs until its reply is forgotten. */
struct build {
	struct record *record;
	struct index_node by_x;    /* 8 bytes of H(X) */
	struct index_node by_back; /* back_id */
	struct index_node by_ours; /* our backward id, while SENT or LINKING */
	TAILQ_ENTRY(build) kept;   /* in circuits.kept once answered */
	nsec_t forget_at;
	uint8_t h_onion[32];
	uint8_t x[32];
	unsigned hops_left; /* this hop counts */
	unsigned resends;
	uint8_t fill;
	uint32_t lifetime_s; /* as we granted it */
	struct hs hs;
	uint8_t frame[FRAME_BUILD_BYTES]; /* what went forward; once answered, the reply that went back */
};

struct record {
	TAILQ_ENTRY(record) all;
	TAILQ_ENTRY(record) by_back_link, by_next_link;
	struct heap_node timer;
	struct link_use *back; /* towards the client */
	struct link_use *next; /* NULL: none, or not yet */
	enum record_state state;
	uint32_t back_id;        /* circuit id towards the client, chosen there */
	uint32_t forward_id;     /* ours, for the link `back`; 0: none */
	uint32_t backward_id;    /* ours, for the link `next`; 0: none */
	nsec_t expires, ungranted_at;
	struct build *build;     /* NULL once forgotten */
	struct circuit *c;       /* LIVE */
	bool end_taken;          /* ops.on_end took it */
	bool start_waiting;      /* let go by its session: ungranted_at is to be set as soon as we know the time */
	uint64_t idle_count;     /* datagrams, the last time that somebody looked */
	nsec_t idle_since;
};

_Static_assert(sizeof(struct circuit) + sizeof(struct record) <= 3400, "100,000 circuits in 350 MB, tables included");

TAILQ_HEAD(record_list, record);
TAILQ_HEAD(build_list, build);

/* What we know of a link that BUILDs came in on or went out to. Hangs on link_user(). */
struct link_use {
	TAILQ_ENTRY(link_use) all;
	struct link *link;
	struct record_list back, next; /* records for which this is the one or the other */
	unsigned circuits;             /* of `back`, without those ANSWERED */
	nsec_t rate_at;                /* when the BUILDs so far would be over at the permitted rate */
};
TAILQ_HEAD(link_list, link_use);

struct circuits {
	struct circuits_config cfg;
	nsec_t now; /* of the call that runs */
	bool draining;
	uint32_t pending, live;
	struct record_list all; /* rotates: the first was not looked at for longest */
	struct link_list links;
	struct heap timers;     /* of records */
	struct build_list kept; /* answered BUILDs, oldest first */
	uint32_t nkept;
	struct index by_x, by_back, by_ours;
	struct build_replay *replay;
};

/* circuits.c */
void circuits_drop(struct circuits *s, enum drop why);
struct link_use *circuits_link_use(struct circuits *s, struct link *l); /* NULL without memory */
struct record *circuits_record_new(struct circuits *s, struct link_use *back, struct build *b, uint32_t back_id);
void circuits_set_state(struct circuits *s, struct record *r, enum record_state to);
void circuits_set_next(struct circuits *s, struct record *r, struct link_use *next);
/* Give back ids, the next link and the timer: what an ANSWERED record has no use for. */
void circuits_let_go(struct circuits *s, struct record *r);
/* Say CIRCUIT_CLOSE to either side (0: nothing), then end the record. r is gone. */
void circuits_close(struct circuits *s, struct record *r, uint8_t to_back, uint8_t to_next);
void circuits_record_end(struct circuits *s, struct record *r);
void circuits_say_close(struct circuits *s, struct record *r, struct link_use *to, uint8_t why);
void circuits_forget_build(struct circuits *s, struct build *b); /* and an ANSWERED record with it */
bool circuits_send(struct circuits *s, struct link_use *to, enum frame_type type, const void *data, size_t n);

/* circuits_time.c */
bool circuits_make_room(struct circuits *s); /* at 90 %: idle ones first out. False: no room */
void circuits_set_live_timer(struct circuits *s, struct record *r);

/* circuits_build.c */
void circuits_on_build(struct circuits *s, struct link *l, const uint8_t *data);
void circuits_forward(struct circuits *s, struct record *r);

/* circuits_reply.c */
void circuits_on_reply(struct circuits *s, struct link *l, const uint8_t *data);
/* Answer with a failure, whatever state it is in. The record becomes ANSWERED. */
void circuits_refuse(struct circuits *s, struct record *r, enum build_status status);
/* The last hop's circuit stands: publish it and answer. */
void circuits_answer_last(struct circuits *s, struct record *r);
void circuits_keep_reply(struct circuits *s, struct build *b);
