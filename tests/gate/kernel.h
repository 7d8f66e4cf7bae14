/* tests/gate/kernel.h - a kernel in memory: what a worker's system calls find and where they put
 * it.
 *
 * The linker gives us the worker's epoll_wait, recvmmsg, sendmmsg, read and writev
 * (tests/gate.cmake), its clock, and its thread, which runs here when it is told to. What it sent
 * is kept, so that another worker can receive it: a run that leaves in one message arrives as one
 * burst. Instructions spent in here are not counted.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

/* One message: datagrams back to back, or a frame of the TUN with its virtio-net header. */
struct parcel {
	unsigned round;	      /* in which it arrives, or was sent */
	uint32_t len;	      /* of bytes */
	uint32_t segment;     /* of each datagram but the last; len in a frame */
	struct addr from, to; /* of datagrams */
	uint8_t *bytes;
};

struct parcels {
	struct parcel *p;
	size_t n, room;
};

/* Add one, whose bytes (len of them) the caller writes. Rounds may not decrease. Exits when there
 * is no memory. */
struct parcel *parcels_add(struct parcels *s, unsigned round, size_t len);
void parcels_free(struct parcels *s);

/* What the thread that was started last runs. */
struct thread {
	void *(*run)(void *arg);
	void *arg;
};
struct thread kernel_thread(void);

struct job {
	const char *name; /* of what is counted; NULL: nothing is */
	struct thread thread;
	_Atomic _Bool *stop; /* set when the last round is over: the thread returns then */
	int fd;		     /* that becomes readable: a socket, or a queue of the TUN */
	struct addr self;    /* whom the socket belongs to */
	unsigned rounds;     /* to live through */
	unsigned warm;	     /* of these, the first ones that are not counted */
	const struct parcels *in;
	struct parcels *out; /* what was sent and written */
};

/* What the kernel was asked for while it was counted. */
struct asked {
	unsigned calls;	   /* system calls */
	unsigned messages; /* that came and went: frames, datagrams, runs of them */
};

/* Run it. Callgrind's profile of what was counted is dumped under its name. */
struct asked kernel_run(const struct job *j);

/* Exit with a sentence unless it is so: a gate that measured something else would be worse than
 * none. */
#define must(fact) must_hold(fact, #fact, __FILE__, __LINE__)
void must_hold(_Bool fact, const char *text, const char *file, int line);
