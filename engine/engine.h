/* engine/engine.h - the packet path's threads: sockets and TUN queues on one side, the onion layer
 * in the middle.
 *
 * One control thread (libevent, the caller's) and N workers. A worker owns a UDP socket of each
 * family (SO_REUSEPORT), a TUN queue, a filler generator and an AEAD context, and runs a plain loop:
 * wait, read bursts, pass them through onion/dataplane.h, write bursts. Between arrival and departure
 * nothing is allocated, logged or waited for.
 *
 * Tables of links and circuits are read under RCU (liburcu, QSBR: a worker is quiescent between
 * batches), written by the control thread; what leaves a table is freed by call_rcu. What workers
 * have for the control thread (handshakes, CTRL, session messages) and for each other (datagrams of
 * another worker's link) crosses bounded rings. docs/ARCHITECTURE.md draws it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/drop.h"
#include "base/pkt.h"
#include "onion/dataplane.h"
#include "onion/env.h"

struct event_base;
struct ip_view;
struct tun;
struct tun_frame;
struct engine;
struct worker;

#define ENGINE_WORKERS_MOST 16
#define ENGINE_NOTE_BYTES   64 /* longest note of inner code to the control thread */

/* What an exit or a client does with inner packets, on worker threads, in an RCU read-side section.
 * Who owns a packet ends it with exactly one of worker_put, worker_drop, worker_to_tun,
 * worker_to_circuit. */
struct engine_inner_ops {
	void *arg;
	/* k holds plain of type PLAIN_PACKET or PLAIN_PACKET_OPEN that arrived at `end`, padding
	 * included. */
	void (*from_onion)(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k);
	/* What the kernel sent into the TUN: a packet, or a segment that stands for many
	 * (tun/frame.h). It stays the engine's; what nobody sends on is dropped:
	 * worker_drop_frame() counts it. */
	void (*from_tun)(void *arg, struct worker *w, const struct tun_frame *f);
};

/* What the workers bring to the control thread; called on it, in order of arrival. */
struct engine_control_ops {
	void *arg;
	void (*on_handshake)(void *arg, const struct addr *from, unsigned worker, const uint8_t *d,
			     size_t n, nsec_t now);
	void (*on_ctrl)(void *arg, uint32_t link_id, const struct addr *from, unsigned worker,
			uint64_t ctr, uint8_t *body, size_t n, nsec_t now);
	void (*on_foreign_source)(void *arg, uint32_t link_id, const struct addr *from, nsec_t now);
	/* A session message (plain, first byte PLAIN_CONTROL) that arrived at the end with this
	 * circuit id. */
	void (*on_plain)(void *arg, uint32_t circuit_id, const uint8_t *plain, size_t n,
			 size_t datagram, nsec_t now);
	/* A note of the inner code (worker_note). May be NULL. */
	void (*on_note)(void *arg, const uint8_t *note, size_t n, nsec_t now);
};

struct engine_config {
	struct event_base *base; /* the control thread's loop; outlives the engine */
	unsigned workers;	 /* 1..ENGINE_WORKERS_MOST; 0: one per core, at most 16 */
	struct addr bind4,
		bind6; /* where to answer; family 0: not that family; port 0: the kernel chooses */
	bool underlay4, underlay6; /* open a socket of this family (with bind of family 0: the
				      wildcard address) */
	uint32_t mark;		   /* SO_MARK; 0 none */
	const struct rng *rng;
	struct engine_inner_ops
		inner; /* from_onion NULL: pure relay; packets that end here are dropped */
	struct engine_control_ops control;
	unsigned link_bits, circuit_bits; /* sizes of the tables, 2^bits slots */
	uint32_t links_most, circuits_most;
	size_t pool_packets; /* for each worker: those that it makes itself */
	unsigned offloads_off; /* bits of enum offload (base/offload.h) */
};

/* Open sockets, make tables, start the workers. -errno with a sentence in err[256]. The AEAD engine
 * must have been chosen (crypto/aead.h). */
int engine_new(const struct engine_config *c, struct engine **ret, char *err)
	__attribute__((warn_unused_result));
/* Stop the workers, wait for a grace period, close everything. Links and circuits must have been
 * freed. */
void engine_free(struct engine *e);
/* The onion layer's environment: valid as long as the engine. */
struct onion_env *engine_env(struct engine *e);
/* Let the workers serve the queues of t (as many queues as workers; non-blocking descriptors). 0 or
 * -errno. */
int engine_attach_tun(struct engine *e, struct tun *t) __attribute__((warn_unused_result));
/* Stop serving them; when it returns no worker touches the device. */
void engine_detach_tun(struct engine *e);
unsigned engine_workers(const struct engine *e);
/* Offloads in use now, bits of enum offload (base/offload.h): a kernel or a NIC may know fewer than were allowed. */
unsigned engine_offloads(const struct engine *e);
/* The port that the sockets are bound to. */
uint16_t engine_port(const struct engine *e, uint8_t family);
/* The time of what the control thread does from here on: what it seals (session messages) stamps
 * links with it. Call it first in every callback that may seal; the callbacks of engine_control_ops
 * have it done. */
void engine_set_now(struct engine *e, nsec_t now);
/* Wait for a grace period: afterwards no worker holds what was unpublished before. Control thread.
 */
void engine_synchronize(struct engine *e);
/* All threads' drops, added up. */
void engine_drops(const struct engine *e, uint64_t ret[DROP_COUNT]);
/* Inner code's working state of one thread, for functions of the data plane. */
struct dp_thread *worker_dp(struct worker *w);
unsigned worker_number(const struct worker *w);
nsec_t worker_now(const struct worker *w);

/* For inner code, on its worker. What is sent or written waits for the end of the batch. */
struct pkt *worker_get(struct worker *w); /* NULL: pool empty (counted) */
void worker_put(struct worker *w, struct pkt *k);
void worker_drop(struct worker *w, struct pkt *k, enum drop why); /* count and put */
/* Write an inner IP packet, of which v is the view, to this worker's TUN queue, together with those
 * around it that continue it (tun/coalesce.h). */
void worker_to_tun(struct worker *w, struct pkt *k, const struct ip_view *v);
/* k of the pool holds plain (type byte first) with at least HEADER_BYTES of headroom: seal and send
 * it. */
void worker_to_circuit(struct worker *w, struct circuit *c, struct pkt *k);
/* Split f into inner packets, seal and send them. */
void worker_frame_to_path(struct worker *w, struct path_data *p, const struct tun_frame *f);
void worker_frame_to_circuit(struct worker *w, struct circuit *c, const struct tun_frame *f);
void worker_drop_frame(struct worker *w, const struct tun_frame *f, enum drop why); /* count */
/* Tell the control thread something (at most ENGINE_NOTE_BYTES); false when its ring is full
 * (counted). */
bool worker_note(struct worker *w, const void *note, size_t n);
