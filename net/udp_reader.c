/* net/udp_reader.c - receives bursts: recvmmsg with UDP_GRO. See udp.h.
 *
 * The kernel joins datagrams of one flow and equal length on their way in and says in a control
 * message how long each was (udp(7)). All buffers are one anonymous mapping; each begins on a page
 * of its own, so that memory is spent only on those that were ever filled.
 */
#include "net/udp_internal.h"
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#define GRO_BUFFERS    8
#define GRO_ROOM       65536 /* UDP_BURST_BYTES_MAX, rounded up */
#define GRO_STRIDE     (17 * 4096)
#define SINGLE_BUFFERS UDP_BATCH
#define SINGLE_ROOM    2048
#define SINGLE_STRIDE  (UDP_BURST_HEADROOM + SINGLE_ROOM)
#define BLOCK_BYTES    ((size_t)GRO_BUFFERS * GRO_STRIDE)

_Static_assert(UDP_BURST_HEADROOM + GRO_ROOM <= GRO_STRIDE, "a burst fits its buffer");
_Static_assert(SINGLE_BUFFERS *SINGLE_STRIDE <= BLOCK_BYTES, "the block serves both");

struct slot {
	struct iovec iov;
	union udp_name from;
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct timespec))];
	} control;
};

struct udp_reader {
	struct udp *u;
	struct udp_reader_counters counters;
	size_t n; /* slots in use */
	uint8_t *block;
	struct mmsghdr msgs[UDP_BATCH];
	struct slot slots[UDP_BATCH];
	struct udp_burst bursts[UDP_BATCH];
};

/* Make message i ready for the kernel; it writes lengths and flags over what stood there. */
static void arm(struct udp_reader *r, size_t i)
{
	struct msghdr *h = &r->msgs[i].msg_hdr;
	h->msg_namelen = sizeof(r->slots[i].from);
	h->msg_controllen = sizeof(r->slots[i].control);
	h->msg_flags = 0;
}

/* Point each message at its buffer. */
static void lay_out(struct udp_reader *r, bool gro)
{
	size_t stride = gro ? GRO_STRIDE : SINGLE_STRIDE;
	r->n = gro ? GRO_BUFFERS : SINGLE_BUFFERS;
	for (size_t i = 0; i < r->n; i++) {
		struct msghdr *h = &r->msgs[i].msg_hdr;
		struct slot *s = &r->slots[i];
		s->iov.iov_base = r->block + i * stride + UDP_BURST_HEADROOM;
		s->iov.iov_len = gro ? GRO_ROOM : SINGLE_ROOM;
		h->msg_iov = &s->iov;
		h->msg_iovlen = 1;
		h->msg_name = &s->from;
		h->msg_control = s->control.bytes;
		arm(r, i);
	}
}

/* Switch GRO for this socket: who reads it without a reader must not get bursts. */
static bool set_gro(struct udp *u, int value)
{
	return setsockopt(u->fd, SOL_UDP, UDP_GRO, &value, sizeof(value)) == 0;
}

struct udp_reader *udp_reader_new(struct udp *u)
{
	struct udp_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->u = u;
	r->block =
		mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->block == MAP_FAILED) {
		free(r);
		return NULL;
	}
	bool gro = udp_offloads(u) & UDP_OFFLOAD_GRO;
	if (gro && !set_gro(u, 1)) {
		atomic_fetch_and(&u->offloads, ~(unsigned)UDP_OFFLOAD_GRO);
		gro = false;
	}
	/* a kernel that cannot say when a datagram arrived leaves `waited` 0 */
	(void)setsockopt(u->fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){1}, sizeof(int));
	lay_out(r, gro);
	return r;
}

void udp_reader_free(struct udp_reader *r)
{
	if (!r)
		return;
	if (udp_offloads(r->u) & UDP_OFFLOAD_GRO)
		set_gro(r->u, 0);
	munmap(r->block, BLOCK_BYTES);
	free(r);
}

const struct udp_reader_counters *udp_reader_counters(const struct udp_reader *r)
{
	return &r->counters;
}

/* The n bytes of a control message of this kind; false when it is not c. */
static bool is_control(struct cmsghdr *c, int level, int type, void *ret, size_t n)
{
	if (c->cmsg_level != level || c->cmsg_type != type || c->cmsg_len != CMSG_LEN(n))
		return false;
	memcpy(ret, CMSG_DATA(c), n);
	return true;
}

/* From `then` to `now`; 0 when the clock was set back in between. */
static uint64_t between(const struct timespec *then, const struct timespec *now)
{
	int64_t ns =
		(int64_t)(now->tv_sec - then->tv_sec) * 1000000000 + now->tv_nsec - then->tv_nsec;
	return ns > 0 ? (uint64_t)ns : 0;
}

/* What the kernel says of a burst: length of each of its datagrams (what it does not say, or what
 * cannot be, makes it one datagram), and when it arrived. */
static void read_controls(struct msghdr *h, const struct timespec *now, struct udp_burst *b)
{
	b->segment = (uint16_t)b->len;
	b->waited = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		struct timespec then;
		int segment;
		if (is_control(c, SOL_UDP, UDP_GRO, &segment, sizeof(segment))) {
			if (segment > 0 && (uint32_t)segment <= b->len)
				b->segment = (uint16_t)segment;
		} else if (is_control(c, SOL_SOCKET, SCM_TIMESTAMPNS, &then, sizeof(then))) {
			b->waited = between(&then, now);
		}
	}
}

/* Make a burst of message i. False when it is dropped. */
static bool take(struct udp_reader *r, size_t i, const struct timespec *now, struct udp_burst *ret)
{
	struct msghdr *h = &r->msgs[i].msg_hdr;
	uint32_t len = r->msgs[i].msg_len;
	/* with its control message cut off, nobody knows where its datagrams begin */
	if (h->msg_flags & (MSG_TRUNC | MSG_CTRUNC) || len > UDP_BURST_BYTES_MAX) {
		udp_count(&r->counters.too_long, 1);
		return false;
	}
	if (len == 0) {
		udp_count(&r->counters.empty, 1);
		return false;
	}
	ret->data = r->slots[i].iov.iov_base;
	ret->len = len;
	read_controls(h, now, ret);
	ret->from = addr_from_sockaddr(&r->slots[i].from.any);
	return true;
}

int udp_reader_receive(struct udp_reader *r, size_t most, const struct udp_burst **ret)
{
	int got;
	do
		got = recvmmsg(r->u->fd, r->msgs, (unsigned)(most < r->n ? most : r->n),
			       MSG_DONTWAIT, NULL);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	struct timespec now;
	int n = 0;
	uint64_t datagrams = 0;
	clock_gettime(CLOCK_REALTIME, &now); /* the clock of SO_TIMESTAMPNS */
	for (int i = 0; i < got; i++) {
		struct udp_burst *b = &r->bursts[n];
		if (take(r, (size_t)i, &now, b)) {
			datagrams += (b->len + b->segment - 1) / b->segment;
			n++;
		}
		arm(r, (size_t)i);
	}
	udp_count(&r->counters.calls, 1);
	udp_count(&r->counters.bursts, (uint64_t)n);
	udp_count(&r->counters.received, datagrams);
	*ret = r->bursts;
	return n;
}
