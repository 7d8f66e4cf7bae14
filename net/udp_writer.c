/* net/udp_writer.c - sends runs of datagrams: sendmmsg with UDP_SEGMENT. See udp.h.
 *
 * A message is a datagram, or a run of them for one destination that the kernel cuts apart again
 * (udp(7)). Whether it can is not known before it is tried: the segments may be larger than the MTU
 * of the interface that the route leads to, or the interface may not compute the checksums that a
 * cut needs.
 */
#include "net/udp_internal.h"
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RUN_SEGMENTS   64    /* the kernel's limit before Linux 6.9 */
#define IP_TOTAL_MAX   65535 /* a run with its headers, as if it were one datagram */
#define HEADERS4_BYTES (20 + 8)
#define HEADERS6_BYTES (40 + 8)
#define LOOK_BACK      8 /* latest messages that a datagram may join */

struct message {
	struct addr to;
	size_t segment; /* of each datagram, only the last may be shorter */
	size_t room;	/* bytes that may follow; 0 when the last is shorter */
	unsigned count; /* of datagrams, 1 .. RUN_SEGMENTS */
	struct iovec *last;
	union udp_name name;
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))];
	struct iovec iov[RUN_SEGMENTS]; /* a datagram lies in one; one holds those that lie back to
					   back */
};

struct udp_writer {
	struct udp *u;
	struct udp_writer_counters counters;
	size_t headers; /* bytes of IP and UDP header */
	size_t n;	/* messages that are queued */
	size_t refused; /* datagrams, since the caller's last flush */
	struct mmsghdr msgs[UDP_BATCH];
	struct message messages[UDP_BATCH];
	struct mmsghdr single[RUN_SEGMENTS]; /* the datagrams of a run that the kernel refused */
	struct iovec single_iov[RUN_SEGMENTS];
};

struct udp_writer *udp_writer_new(struct udp *u)
{
	struct udp_writer *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->u = u;
	w->headers = u->local.family == 4 ? HEADERS4_BYTES : HEADERS6_BYTES;
	for (size_t i = 0; i < UDP_BATCH; i++) {
		struct message *m = &w->messages[i];
		w->msgs[i].msg_hdr.msg_iov = m->iov;
		w->msgs[i].msg_hdr.msg_name = &m->name;
		w->msgs[i].msg_hdr.msg_control = m->control;
		const struct cmsghdr header = {.cmsg_level = SOL_UDP,
					       .cmsg_type = UDP_SEGMENT,
					       .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
		memcpy(m->control, &header, sizeof(header));
	}
	for (size_t i = 0; i < RUN_SEGMENTS; i++) {
		w->single[i].msg_hdr.msg_iov = &w->single_iov[i];
		w->single[i].msg_hdr.msg_iovlen = 1;
	}
	return w;
}

void udp_writer_free(struct udp_writer *w)
{
	free(w);
}

const struct udp_writer_counters *udp_writer_counters(const struct udp_writer *w)
{
	return &w->counters;
}

static bool has_gso(const struct udp_writer *w)
{
	return udp_offloads(w->u) & UDP_OFFLOAD_GSO;
}

/* addr_equal() of one family, in line: what follows an IPv4 address is zero. */
static bool is_same(const struct addr *a, const struct addr *b)
{
	return a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* The latest message for `to`, also when it takes no more: what follows may not overtake it. Its
 * index, or w->n when none of those looked at is for `to`. */
static size_t find_latest(const struct udp_writer *w, const struct addr *to)
{
	size_t end = w->n > LOOK_BACK ? w->n - LOOK_BACK : 0;
	for (size_t i = w->n; i > end; i--)
		if (is_same(&w->messages[i - 1].to, to))
			return i - 1;
	return w->n;
}

/* Bytes that may follow a first datagram of n bytes. Kernels before 5.17 count the headers too
 * where they limit the segments to 64, so that a full run has 63, and perhaps a shorter one. */
static size_t room_behind(const struct udp_writer *w, size_t n)
{
	size_t most = RUN_SEGMENTS * n < IP_TOTAL_MAX ? RUN_SEGMENTS * n : IP_TOTAL_MAX;
	size_t used = w->headers + n;
	return used < most ? most - used : 0;
}

static bool fits(const struct message *m, size_t n)
{
	return n > 0 && n <= m->segment && n <= m->room;
}

size_t udp_writer_run(const struct udp_writer *w, size_t n)
{
	size_t most = (IP_TOTAL_MAX - w->headers) / n, segments = RUN_SEGMENTS - 1;

	if (!has_gso(w))
		return 1;
	return most < segments ? most : segments;
}

static void append(struct udp_writer *w, size_t at, const uint8_t *bytes, size_t n)
{
	struct message *m = &w->messages[at];
	struct msghdr *h = &w->msgs[at].msg_hdr;
	if ((const uint8_t *)m->last->iov_base + m->last->iov_len == bytes) {
		m->last->iov_len += n;
	} else {
		*++m->last = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
		h->msg_iovlen++;
	}
	h->msg_controllen = sizeof(m->control);
	m->count++;
	m->room = n < m->segment ? 0 : m->room - n;
}

/* addr_to_sockaddr() of one family, without a sockaddr_storage to clear and copy. */
static socklen_t write_name(const struct addr *a, union udp_name *ret)
{
	if (a->family == 4) {
		ret->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(a->port)};
		memcpy(&ret->v4.sin_addr, a->ip, sizeof(ret->v4.sin_addr));
		return sizeof(ret->v4);
	}
	ret->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
	memcpy(&ret->v6.sin6_addr, a->ip, sizeof(ret->v6.sin6_addr));
	return sizeof(ret->v6);
}

static void open_message(struct udp_writer *w, const uint8_t *bytes, size_t n,
			 const struct addr *to)
{
	struct message *m = &w->messages[w->n];
	struct msghdr *h = &w->msgs[w->n++].msg_hdr;
	uint16_t segment = (uint16_t)n;
	memcpy(CMSG_DATA((struct cmsghdr *)m->control), &segment, sizeof(segment));
	h->msg_namelen = write_name(to, &m->name);
	h->msg_iovlen = 1;
	h->msg_controllen = 0;
	m->iov[0] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	m->to = *to;
	m->segment = n;
	m->room = room_behind(w, n);
	m->count = 1;
	m->last = m->iov;
}

static void refuse(struct udp_writer *w, size_t datagrams, int err)
{
	if (err == -EMSGSIZE)
		udp_count(&w->counters.too_large, datagrams);
	if (err == -EAGAIN)
		udp_count(&w->counters.full, datagrams);
	udp_count(&w->counters.failed, datagrams);
	w->refused += datagrams;
}

/* How many of n messages the kernel took, at least 1; else -errno, which is about the first. */
static int send_messages(struct udp_writer *w, struct mmsghdr *msgs, size_t n)
{
	int done;
	do {
		done = sendmmsg(w->u->fd, msgs, (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
		udp_count(&w->counters.calls, 1);
	} while (done < 0 && errno == EINTR);
	if (done < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	udp_count(&w->counters.bursts, (uint64_t)done);
	return done;
}

/* Point w->single at each datagram of a run. */
static void split(struct udp_writer *w, size_t at)
{
	const struct message *m = &w->messages[at];
	const struct iovec *from = m->iov;
	size_t used = 0;
	for (unsigned i = 0; i < m->count; i++) {
		size_t left = from->iov_len - used;
		size_t n = left < m->segment ? left : m->segment;
		w->single_iov[i].iov_base = (uint8_t *)from->iov_base + used;
		w->single_iov[i].iov_len = n;
		w->single[i].msg_hdr.msg_name = w->msgs[at].msg_hdr.msg_name;
		w->single[i].msg_hdr.msg_namelen = w->msgs[at].msg_hdr.msg_namelen;
		used += n;
		if (used == from->iov_len) {
			from++;
			used = 0;
		}
	}
}

/* Send the datagrams of a run one by one. True when the first, which is as long as any, passed. */
static bool send_singly(struct udp_writer *w, size_t at)
{
	size_t n = w->messages[at].count;
	bool first_passed = false;
	split(w, at);
	for (size_t i = 0; i < n;) {
		int done = send_messages(w, w->single + i, n - i);
		if (done > 0) {
			udp_count(&w->counters.sent, (uint64_t)done);
			first_passed |= i == 0;
			i += (size_t)done;
			continue;
		}
		size_t lost = done == -EAGAIN ? n - i : 1;
		refuse(w, lost, done);
		i += lost;
	}
	return first_passed;
}

/* True when err, for a run whose datagrams pass alone, says that GSO does not work here. EMSGSIZE
 * (EINVAL before Linux 6.14) is about segments beyond the MTU, which alone may pass as fragments;
 * lack of memory or a firewall's limit may pass. */
static bool is_without_gso(const struct udp *u, int err)
{
	if (err == -EINVAL)
		return !atomic_load_explicit(&u->may_fragment, memory_order_relaxed);
	return err == -EIO || err == -EOPNOTSUPP;
}

/* The kernel refused the run at `at` with err. */
static void fall_back(struct udp_writer *w, size_t at, int err)
{
	if (err == -ENETUNREACH || err == -EHOSTUNREACH ||
	    err == -ENETDOWN) { /* so it is for each */
		refuse(w, w->messages[at].count, err);
		return;
	}
	udp_count(&w->counters.fell_back, 1);
	if (send_singly(w, at) && is_without_gso(w->u, err))
		atomic_fetch_and(&w->u->offloads, ~(unsigned)UDP_OFFLOAD_GSO);
}

/* Messages from `at` on that go to the kernel as they are: all, or those before the first run when
 * GSO has just been switched off. */
static size_t sendable(const struct udp_writer *w, size_t at)
{
	size_t end = at;
	if (has_gso(w))
		return w->n - at;
	while (end < w->n && w->messages[end].count == 1)
		end++;
	return end - at;
}

/* Datagrams of the messages [at, end). */
static size_t datagrams(const struct udp_writer *w, size_t at, size_t end)
{
	size_t n = 0;
	for (; at < end; at++)
		n += w->messages[at].count;
	return n;
}

static void send_all(struct udp_writer *w)
{
	size_t at = 0;
	while (at < w->n) {
		size_t n = sendable(w, at);
		if (n == 0) {
			send_singly(w, at++);
			continue;
		}
		int done = send_messages(w, w->msgs + at, n);
		if (done > 0) {
			udp_count(&w->counters.sent, datagrams(w, at, at + (size_t)done));
			at += (size_t)done;
		} else if (done == -EAGAIN) { /* the next ones would find it as full */
			refuse(w, datagrams(w, at, w->n), done);
			at = w->n;
		} else if (w->messages[at].count > 1) {
			fall_back(w, at++, done);
		} else {
			refuse(w, 1, done);
			at++;
		}
	}
	w->n = 0;
}

void udp_writer_put(struct udp_writer *w, const uint8_t *bytes, size_t n, const struct addr *to)
{
	if (to->family != w->u->local.family) { /* the kernel would read another address there */
		refuse(w, 1, -EAFNOSUPPORT);
		return;
	}
	size_t at = has_gso(w) ? find_latest(w, to) : w->n;
	if (at < w->n && fits(&w->messages[at], n)) {
		append(w, at, bytes, n);
		return;
	}
	if (w->n == UDP_BATCH)
		send_all(w);
	open_message(w, bytes, n, to);
}

size_t udp_writer_flush(struct udp_writer *w)
{
	send_all(w);
	size_t refused = w->refused;
	w->refused = 0;
	return refused;
}
