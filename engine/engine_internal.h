/* engine/engine_internal.h - what engine.c, worker.c, worker_open.c and inbox.c share; nobody else
 * includes it. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "base/ring.h"
#include "crypto/aead.h"
#include "crypto/filler.h"
#include "engine/engine.h"
#include "engine/fq.h"
#include "net/udp.h"
#include "tun/coalesce.h"

#define BATCH_FRAMES	   64 /* read from the TUN before another descriptor gets its turn */
#define BATCH_BYTES	   (128 * 1024) /* of frames sealed before others have their turn */
#define YIELD_TURNS	   6 /* of these before other programs on the core have theirs */
#define BATCH_HANDOVERS	   64		/* taken from the ring likewise */
#define LARGE_BURST_BYTES  16384	/* bursts of this size on average are read few at a time, */
#define READ_LARGE	   2  /* so that their bytes are still in the cache when they leave; */
#define READ_MOST	   64 /* of smaller ones as many as there are */
#define AVERAGE_BURSTS	   16 /* over about so many is the wait averaged */
#define KEEP_LEAST	   32 /* datagrams taken for one that is lost for having waited */
#define READ_ROUNDS	   4  /* before another descriptor has its turn */
#define SEAL_BATCH	   16 /* datagrams sealed in one go: they fit into the first cache */
#define ARENA_BYTES	   (256 * 1024) /* sealed datagrams that wait for the end of the batch */
#define FRAME_ROOM	   (65536 + 64) /* a frame of the TUN with its virtio-net header */
#define QUEUE_FRAMES	   512		/* of the TUN that wait for a worker */
#define QUEUE_BYTES	   (4 * 1024 * 1024)
#define CONTROL_RING_CELLS 512 /* what waits for the control thread */
#define WORKER_RING_CELLS  256 /* datagrams that wait for their link's owner */
#define CONTROL_BATCH	   256 /* messages the control thread takes before its other events */

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

#define CTRL_CELLS     64 /* links share them by id */
#define CTRL_WHEN_BUSY 4  /* CTRL datagrams that a cell's links may bring in a millisecond then */

/* How much CTRL came since then, while the control thread was busy. */
struct ctrl_cell {
	nsec_t since;
	unsigned n;
};

#define FOREIGN_CELLS 64

/* The last time that the control thread was told of a foreign source of this link. */
struct foreign {
	uint32_t link;
	nsec_t told;
};

/* What a worker knows of the queue in a socket. */
struct arriving {
	unsigned bursts; /* that the last look brought */
	bool large;	 /* they were */
	nsec_t average;	 /* how long bursts wait there */
	struct codel codel;
	bool owed;	 /* one datagram shall be lost */
	size_t kept;	 /* datagrams since the last one lost; not counted beyond KEEP_LEAST */
	uint64_t unread; /* datagrams that the reader dropped, as far as they are counted */
};

struct worker {
	struct engine *engine;
	unsigned number;
	pthread_t thread;
	bool started;
	int epoll_fd;
	int wake_fd;		   /* eventfd: the ring has something, or stop */
	struct udp *udp[FAMILIES]; /* NULL: no socket of that family */
	struct udp_reader *reader[FAMILIES];
	struct arriving arriving[FAMILIES];
	struct udp_writer *writer[FAMILIES]; /* what is sent when the batch ends */
	struct coalesce *coalesce;	     /* what is written to the TUN then */
	struct pkt_pool *pool;		     /* for packets that we make: ICMP answers */
	struct pkt *leaving;		     /* of the pool, put back when the batch ends */
	uint8_t *arena;			     /* datagrams that we seal, until the batch ends */
	size_t arena_used;
	size_t in_run;	 /* datagrams of frames since the last flush */
	struct fq *fq;	 /* what was read from the TUN */
	unsigned turns;	 /* of sealing since the queue was empty */
	unsigned frames; /* that the last look at the TUN found */
	struct dp_item item[DP_BATCH];
	struct ring *ring; /* struct addr + datagram, from other workers */
	struct filler filler;
	struct drops drops;
	struct dp_thread dp;
	struct foreign foreign[FOREIGN_CELLS];
	struct ctrl_cell ctrl[CTRL_CELLS];
	nsec_t now;		   /* of the batch that is worked on */
	bool tell_control;	   /* something was pushed for the control thread in this batch */
	uint64_t tell_workers;	   /* bit n: something was pushed for worker n */
	_Atomic(struct tun *) tun; /* read inside the read-side section */
	struct tun *tun_now;	   /* of the batch that is worked on */
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

bool worker_to_control(struct worker *w, struct message *m, const void *body, size_t n);
void worker_hand_over(struct worker *w, unsigned number, const uint8_t *d, size_t n,
		      const struct addr *from);

/* worker_packets.c */
/* Work on datagrams of one source that lie back to back: `segment` bytes each, the last may be
 * shorter. Their bytes must hold still until worker_flush(). */
void worker_burst(struct worker *w, uint8_t *d, size_t len, size_t segment,
		  const struct addr *from);
/* coalesce_emit_fn: write what belongs together to the TUN. */
void worker_write_item(void *arg, const struct virtio_net_hdr *h, struct iovec *iov, unsigned n);
/* Send and write all that is queued. */
void worker_flush(struct worker *w);

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
