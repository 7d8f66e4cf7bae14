/* onion/dataplane.h - datagrams' way through a party: header block, link, circuit, one layer, onward.
 *
 * PROTOCOL.md sections 4 (header) and 6. Pure: no I/O, nothing allocated. Runs on worker threads, inside an
 * RCU read-side section; the objects are made and published by the control thread (links.c, circuits.c, path.c).
 *
 * A link has one owner worker. dataplane_receive() refuses to judge a datagram on another worker and says
 * whose it is, so a window is only ever touched by one thread. Where a path ends, any thread seals: numbers
 * come from an atomic counter.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/clock.h"
#include "base/drop.h"
#include "base/slots.h"
#include "crypto/aead.h"
#include "crypto/filler.h"
#include "crypto/replay.h"
#include "onion/wire.h"

#define KEY_PACKETS_MOST  (UINT64_C(1) << 28) /* packets that one key serves */
#define KEY_PACKETS_RENEW (KEY_PACKETS_MOST / 10 * 6)

/* One link as workers see it. Constant while published, the atomics aside. */
struct link_data {
	struct slot slot;   /* slot.id: our link id, which datagrams to us carry */
	uint32_t remote_id; /* what datagrams from us carry */
	uint16_t owner;     /* the worker that judges what comes in here */
	uint16_t max_dgram; /* the smaller of both sides' */
	bool initiator;     /* we sent INIT: another source than `remote` is dropped at once */
	bool fixed;         /* between relays: does not roam, another source is dropped at once */
	struct header_key rx, tx;
	_Atomic(const struct addr *) remote; /* replaced as a whole; the old one is retired */
	_Atomic nsec_t last_rx; /* last time that something verified (header and layer or CTRL) */
	_Atomic nsec_t last_tx; /* last time that something other than a CTRL frame was sent */
	void *control;          /* struct link; the control thread's alone */
};

enum hop_kind {
	HOP_FORWARD,      /* relay, away from the client: open one layer, pass on */
	HOP_BACKWARD,     /* relay, towards the client: seal one layer, pass on */
	HOP_END_FORWARD,  /* last hop: open its layer, the plain is ours */
	HOP_END_BACKWARD, /* client: open all layers, the plain is ours */
};

/* One direction of a circuit, found by the circuit id that we chose for the link it comes in on. */
struct hop_dir {
	struct slot slot;
	enum hop_kind kind;
	struct link_data *in;  /* only datagrams of this link are judged */
	struct link_data *out; /* HOP_FORWARD, HOP_BACKWARD: where it goes on; else NULL */
	uint32_t out_id;       /* circuit id there */
	uint8_t fill;          /* HOP_FORWARD: fill_i. HOP_BACKWARD: fill_{i+1}, what comes in. END_FORWARD: fill_n */
	const struct aead_key *key; /* kf or kb of this hop; NULL for HOP_END_BACKWARD */
	uint64_t offset;            /* df_i or db_i */
	void *owner;                /* struct circuit or struct path_data */
	/* Below: written by the in-link's owner worker alone. */
	struct replay window;
	_Atomic uint64_t count; /* packets that the key served */
};

/* A relay's share of a path. Allocated by circuits.c. A relay holds up to 256 K of them: 3,248 B each. */
struct circuit {
	struct aead_key kf, kb;
	struct hop_dir forward; /* id chosen by us for the link from the client's side */
	union {
		struct hop_dir backward; /* not at the last hop: id chosen by us for the link to the next hop */
		struct {                 /* last hop only: */
			struct link_data *back_link; /* towards the client */
			uint32_t back_id;            /* circuit id there */
			_Atomic uint16_t full_dgram; /* one of datagram_full_sizes: what the client proved
						      * (docs/PROTOCOL.md) */
			_Atomic uint8_t padding;     /* enum padding, as the client asked */
			uint64_t db;
			uint64_t sealed_first;   /* the counter's random start */
			_Atomic uint64_t sealed; /* next counter to seal with */
			_Atomic(void *) session; /* the exit's struct session once granted or bound; else NULL */
		};
	};
	bool last;
	void *control; /* circuits.c's record; the control thread's alone */
};

/* A path as the client's workers see it. Allocated by path.c. */
struct path_data {
	struct hop_dir backward; /* id chosen by us for the link to the guard */
	uint8_t hops;
	uint8_t slots;
	struct {
		struct aead_key kf, kb;
		uint64_t df, db;
	} layer[HOPS_MAX];
	struct link_data *link;    /* to the guard */
	uint32_t forward_id;       /* circuit id there */
	uint64_t sealed_first;
	_Atomic uint64_t sealed;   /* next counter on the first link */
	_Atomic uint16_t full_dgram;
	_Atomic uint8_t padding;
	_Atomic nsec_t last_rx;    /* last plain that verified */
	_Atomic nsec_t last_tx;    /* last IP packet sealed; session messages and dummies do not count */
	_Atomic nsec_t unanswered; /* when the first IP packet was sealed after the last plain that verified; 0: none */
	void *control;             /* struct path; the control thread's alone */
};

/* What one thread needs to work on packets. */
struct dp_thread {
	struct aead_ctx *aead;
	struct filler *filler;
	struct drops *drops;
	const struct slots *links;
	const struct slots *circuits;
	unsigned worker; /* this thread's number */
	nsec_t now;      /* receiving sets it; set it before a batch is sealed: it stamps last_tx. 0: no stamps */
};

enum dp_action {
	DP_DROP,      /* counted in drops */
	DP_HANDSHAKE, /* INIT, or RESP/COOKIE for a link id that is not up: to the control thread */
	DP_CTRL,      /* header opened: link, header.ctr and body to the control thread */
	DP_HANDOVER,  /* another worker's link: pass the datagram unchanged to `worker` */
	DP_SEND,      /* datagram is rewritten in place: send it to link's remote */
	DP_PLAIN,     /* plain[0..plain_bytes) arrived at `end` */
};

struct dp_result {
	enum dp_action action;
	struct link_data *link; /* DP_CTRL: where it came in. DP_SEND: where it goes */
	struct header header;   /* DP_CTRL */
	unsigned worker;        /* DP_HANDOVER */
	struct hop_dir *end;    /* DP_PLAIN: kind END_FORWARD or END_BACKWARD */
	bool foreign;           /* DATA that verified, but came from another address than the link's (roaming) */
	uint32_t foreign_link;  /* our id of that link */
	uint8_t *plain;
	size_t plain_bytes;
};

#define DP_BATCH 64 /* what callers gather at most before they hand it over; any number is right */

/* One datagram of a batch. */
struct dp_item {
	uint8_t *d; /* n bytes, worked on in place */
	size_t n;
	struct dp_result r;
};

/* Judge n datagrams that came from one source, `from`, at `now`, in the order of arrival (a GRO burst: mostly one link,
 * one circuit, equal sizes). Every verdict, drop and window ends up as if they had been judged one by one. Datagrams
 * must not overlap, but may lie back to back. DP_SEND leaves n unchanged. DP_HANDOVER and DP_HANDSHAKE leave the bytes
 * unchanged too; after DP_DROP they are worthless. A datagram longer than the next link's max_dgram is dropped
 * (DATA_SIZE). */
void dataplane_receive_batch(struct dp_thread *t, struct dp_item *items, size_t n, const struct addr *from, nsec_t now);
/* A batch of one. */
void dataplane_receive(struct dp_thread *t, uint8_t *d, size_t n, const struct addr *from, nsec_t now,
		       struct dp_result *ret);

/* One plain of a batch. */
struct dp_seal {
	uint8_t *room;   /* where the datagram will start: HEADER_BYTES, then `plain` bytes of plain, then room up to
			  * path_datagram_bytes() */
	size_t plain;
	size_t datagram; /* set: the datagram's length, or 0 when it was refused */
};

/* The end of a path seals n plains, in order: padding is filled in (zero), filler drawn, header written. full 0 means
 * the path's own full size. What does not fit (counted DATA_SIZE) or finds the key spent (DATA_KEY_SPENT) gets
 * `datagram` 0 and takes no number; the others are sealed all the same. Any thread. */
void path_seal_batch(struct dp_thread *t, struct path_data *p, struct dp_seal *s, size_t n, uint16_t full_dgram,
		     enum padding how);
void circuit_seal_batch(struct dp_thread *t, struct circuit *c, struct dp_seal *s, size_t n, uint16_t full_dgram,
			enum padding how);
/* A batch of one. Returns the datagram's length, or 0. */
size_t path_seal(struct dp_thread *t, struct path_data *p, uint8_t *room, size_t plain_used, uint16_t full_dgram,
		 enum padding how);
size_t circuit_seal(struct dp_thread *t, struct circuit *c, uint8_t *room, size_t plain_used, uint16_t full_dgram,
		    enum padding how);
/* How long the datagram around `plain` bytes will be; 0: it does not fit. Who lays datagrams out by this reads
 * full_dgram once and says the same number here and when sealing: the path's own (0) may change in between. */
size_t path_datagram_bytes(const struct path_data *p, size_t plain, uint16_t full_dgram, enum padding how);
size_t circuit_datagram_bytes(const struct circuit *c, size_t plain, uint16_t full_dgram, enum padding how);
/* The inner MTU at a datagram size: plain less its type byte. */
unsigned inner_mtu(uint16_t full_dgram, unsigned slots);

/* Write a whole CTRL or DATA header: link id and block. */
void datagram_header(struct aead_ctx *c, const struct link_data *l, const struct header *h, uint8_t out[HEADER_BYTES]);
