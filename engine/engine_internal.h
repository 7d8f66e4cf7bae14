/* engine/engine_internal.h - what engine.c, worker.c, worker_open.c and inbox.c share; nobody else
 * includes it. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "base/ring.h"
#include "crypto/aead.h"
#include "crypto/filler.h"
#include "engine/engine.h"
#include "net/udp.h"

#define BATCH_PACKETS	   64	/* read from one descriptor before another gets its turn */
#define CONTROL_RING_CELLS 512 /* what waits for the control thread */
#define WORKER_RING_CELLS  256	/* datagrams that wait for their link's owner */
#define CONTROL_BATCH	   256	/* messages the control thread takes before its other events */

enum family_index { FAMILY4, FAMILY6, FAMILIES };

enum message_kind {
	MESSAGE_HANDSHAKE,
	MESSAGE_CTRL,
	MESSAGE_FOREIGN,
	MESSAGE_PLAIN,
	MESSAGE_NOTE,
};

/* Head of a message to the control thread; bytes follow. */
struct message {
	enum message_kind kind;
	uint16_t worker;
	uint16_t datagram; /* MESSAGE_PLAIN: size that it came in */
	uint32_t id;	   /* link id or circuit id */
	uint64_t ctr;
	struct addr from;
};

#define MESSAGE_BODY_BYTES DATAGRAM_MAX
#define MESSAGE_BYTES	   (sizeof(struct message) + MESSAGE_BODY_BYTES)

/* A datagram of another worker's link, on its way there. */
struct handover {
	struct addr from;
	uint8_t bytes[DATAGRAM_MAX];
};

#define FOREIGN_CELLS 64

/* The last time that the control thread was told of a foreign source of this link. */
struct foreign {
	uint32_t link;
	nsec_t told;
};

struct worker {
	struct engine *engine;
	unsigned number;
	pthread_t thread;
	bool started;
	int epoll_fd;
	int wake_fd;		   /* eventfd: the ring has something, or stop */
	struct udp *udp[FAMILIES]; /* NULL: no socket of that family */
	struct udp_in *in[FAMILIES];
	struct udp_out *out[FAMILIES]; /* packets to be sent when the batch ends */
	struct pkt_pool *pool;
	struct ring *ring; /* struct addr + datagram, from other workers */
	struct filler filler;
	struct drops drops;
	struct dp_thread dp;
	struct foreign foreign[FOREIGN_CELLS];
	nsec_t now;		   /* of the batch that is worked on */
	bool tell_control;	   /* something was pushed for the control thread in this batch */
	uint64_t tell_workers;	   /* bit n: something was pushed for worker n */
	_Atomic(struct tun *) tun; /* read inside the read-side section */
};

struct engine {
	struct engine_config config;
	unsigned workers;
	struct worker *worker[ENGINE_WORKERS_MOST];
	_Atomic bool stop;
	struct ring *control_ring; /* struct message + bytes */
	int control_fd;		   /* eventfd */
	struct event *control_event;
	struct slots *links, *circuits;
	struct drops control_drops;
	struct filler control_filler;
	struct dp_thread control_dp;
	struct onion_env env;
	struct tun *tun;
	uint16_t port[FAMILIES];
};

/* worker.c */
int worker_start(struct worker *w) __attribute__((warn_unused_result));
void worker_join(struct worker *w);
void eventfd_wake(int fd);

/* worker_open.c */
int worker_new(struct engine *e, unsigned number, struct worker **ret, char *err)
	__attribute__((warn_unused_result));
void worker_free(struct worker *w);
int worker_watch(struct worker *w, int fd, uint64_t what) __attribute__((warn_unused_result));

/* inbox.c */
int inbox_open(struct engine *e) __attribute__((warn_unused_result));
void inbox_close(struct engine *e);

/* What an epoll event is about. */
enum { WATCH_UDP4, WATCH_UDP6, WATCH_WAKE, WATCH_TUN };
