/* net/udp.c - UDP sockets, and batches of single packets: recvmmsg and sendmmsg. See udp.h.
 *
 * The arrays that the kernel wants are made once and pointed anew for each batch; nothing is
 * allocated while packets move.
 */
#include "net/udp_internal.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOP_LIMIT 64 /* of every datagram, as most systems set it */
#ifndef IPV6_FLOWINFO_SEND
#define IPV6_FLOWINFO_SEND 33 /* linux/in6.h; the libc has no name for it */
#endif

struct udp_in {
	struct udp *u;
	struct pkt_pool *pool;
	struct udp_in_counters counters;
	struct mmsghdr msgs[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct sockaddr_storage from[UDP_BATCH];
	struct pkt *pkts[UDP_BATCH];
};

struct udp_out {
	struct udp *u;
	struct pkt_pool *pool;
	struct udp_out_counters counters;
	size_t n;
	struct mmsghdr msgs[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct sockaddr_storage to[UDP_BATCH];
	struct pkt *pkts[UDP_BATCH];
};

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* As large as asked for with the capability, else as large as the system allows. */
static int set_buffer(int fd, int force_option, int option, size_t bytes)
{
	/* the kernel doubles the number for its own overhead */
	int value = bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)bytes;
	if (set_int(fd, SOL_SOCKET, force_option, value) == 0)
		return 0;
	return set_int(fd, SOL_SOCKET, option, value);
}

int udp_set_df(struct udp *u, enum udp_df df)
{
	static const int v4[] = {IP_PMTUDISC_PROBE, IP_PMTUDISC_DO, IP_PMTUDISC_DONT};
	static const int v6[] = {IPV6_PMTUDISC_PROBE, IPV6_PMTUDISC_DO, IPV6_PMTUDISC_DONT};
	if ((unsigned)df > UDP_DF_OFF)
		return -EINVAL;
	int err = u->local.family == 4 ? set_int(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, v4[df])
				       : set_int(u->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, v6[df]);
	if (err == 0)
		atomic_store_explicit(&u->may_fragment, df == UDP_DF_OFF, memory_order_relaxed);
	return err;
}

/* The fields of the outer header that the system's settings could make differ between hosts. */
static int set_header_fields(struct udp *u)
{
	static const struct {
		uint8_t family;
		int level, option, value;
	} fields[] = {
		{4, IPPROTO_IP, IP_TOS, 0},
		{4, IPPROTO_IP, IP_TTL, HOP_LIMIT},
		{6, IPPROTO_IPV6, IPV6_TCLASS, 0},
		{6, IPPROTO_IPV6, IPV6_UNICAST_HOPS, HOP_LIMIT},
		{6, IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0},
		{6, IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 0},
	};
	int err = 0;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]) && err == 0; i++)
		if (fields[i].family == u->local.family)
			err = set_int(u->fd, fields[i].level, fields[i].option, fields[i].value);
	return err;
}

/* Ask the kernel which offloads it has; the socket is left as if not asked. */
static unsigned probe_offloads(int fd)
{
	unsigned offloads = 0;
	if (set_int(fd, SOL_UDP, UDP_SEGMENT, 0) == 0)
		offloads |= UDP_OFFLOAD_GSO;
	if (set_int(fd, SOL_UDP, UDP_GRO, 1) == 0 && set_int(fd, SOL_UDP, UDP_GRO, 0) == 0)
		offloads |= UDP_OFFLOAD_GRO;
	return offloads;
}

static int set_options(struct udp *u, const struct udp_config *c)
{
	size_t buffer = c->buffer_bytes ? c->buffer_bytes : UDP_BUFFER_BYTES_DEFAULT;
	int err = set_int(u->fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (err == 0 && c->bind.family == 6)
		err = set_int(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (err == 0 && c->mark != 0)
		err = set_int(u->fd, SOL_SOCKET, SO_MARK, (int)c->mark);
	if (err == 0)
		err = set_buffer(u->fd, SO_RCVBUFFORCE, SO_RCVBUF, buffer);
	if (err == 0)
		err = set_buffer(u->fd, SO_SNDBUFFORCE, SO_SNDBUF, buffer);
	if (err == 0)
		err = set_header_fields(u);
	if (err == 0)
		err = udp_set_df(u, c->df);
	if (err == 0)
		atomic_store(&u->offloads, probe_offloads(u->fd) & ~c->without);
	return err;
}

static int bind_to(struct udp *u, const struct addr *to)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(to, &ss);
	if (bind(u->fd, (struct sockaddr *)&ss, n) < 0)
		return -errno;
	n = sizeof(ss);
	if (getsockname(u->fd, (struct sockaddr *)&ss, &n) < 0)
		return -errno;
	u->local.port = addr_from_sockaddr((struct sockaddr *)&ss).port;
	return 0;
}

int udp_open(const struct udp_config *c, struct udp **ret)
{
	if (addr_ip_bytes(&c->bind) == 0)
		return -EINVAL;
	struct udp *u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->local = c->bind;
	u->fd = socket(c->bind.family == 4 ? AF_INET : AF_INET6,
		       SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err = u->fd < 0 ? -errno : set_options(u, c);
	if (err == 0)
		err = bind_to(u, &c->bind);
	if (err < 0) {
		udp_close(u);
		return err;
	}
	*ret = u;
	return 0;
}

void udp_close(struct udp *u)
{
	if (!u)
		return;
	if (u->fd >= 0)
		close(u->fd);
	free(u);
}

unsigned udp_offloads(const struct udp *u)
{
	return atomic_load_explicit(&u->offloads, memory_order_relaxed);
}

int udp_fd(const struct udp *u)
{
	return u->fd;
}

struct addr udp_local(const struct udp *u)
{
	return u->local;
}

size_t udp_receive_buffer(const struct udp *u)
{
	int bytes = 0;
	socklen_t n = sizeof(bytes);
	if (getsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &bytes, &n) < 0)
		return 0;
	return (size_t)bytes;
}

int udp_send_now(const struct udp *u, const void *bytes, size_t n, const struct addr *to)
{
	if (to->family != u->local.family)
		return -EAFNOSUPPORT;
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(to, &ss);
	ssize_t done;
	do
		done = sendto(u->fd, bytes, n, MSG_NOSIGNAL, (struct sockaddr *)&ss, len);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : 0;
}

struct udp_in *udp_in_new(struct udp *u, struct pkt_pool *pool)
{
	struct udp_in *in = calloc(1, sizeof(*in));
	if (!in)
		return NULL;
	in->u = u;
	in->pool = pool;
	for (size_t i = 0; i < UDP_BATCH; i++) {
		in->msgs[i].msg_hdr.msg_iov = &in->iov[i];
		in->msgs[i].msg_hdr.msg_iovlen = 1;
		in->msgs[i].msg_hdr.msg_name = &in->from[i];
	}
	return in;
}

void udp_in_free(struct udp_in *in)
{
	free(in);
}

const struct udp_in_counters *udp_in_counters(const struct udp_in *in)
{
	return &in->counters;
}

/* Point the kernel's arrays at up to max fresh packets; returns how many there were. */
static size_t prepare(struct udp_in *in, size_t max)
{
	size_t n = 0;
	for (; n < max; n++) {
		struct pkt *k = pkt_get(in->pool);
		if (!k)
			break;
		in->pkts[n] = k;
		in->iov[n].iov_base = k->data;
		in->iov[n].iov_len = pkt_tailroom(k);
		in->msgs[n].msg_hdr.msg_namelen = sizeof(in->from[n]);
		in->msgs[n].msg_hdr.msg_flags = 0;
	}
	return n;
}

/* Hand out the got datagrams that are whole; everything else goes back to the pool. */
static int hand_out(struct udp_in *in, size_t prepared, size_t got, struct pkt **ret)
{
	int n = 0;
	for (size_t i = 0; i < got; i++) {
		struct pkt *k = in->pkts[i];
		if (in->msgs[i].msg_hdr.msg_flags & MSG_TRUNC) {
			udp_count(&in->counters.too_long, 1);
			pkt_put(in->pool, k);
			continue;
		}
		k->len = in->msgs[i].msg_len;
		k->from = addr_from_sockaddr((struct sockaddr *)&in->from[i]);
		ret[n++] = k;
	}
	for (size_t i = got; i < prepared; i++)
		pkt_put(in->pool, in->pkts[i]);
	udp_count(&in->counters.received, (uint64_t)n);
	return n;
}

int udp_in_receive(struct udp_in *in, struct pkt **ret, size_t max)
{
	if (max == 0)
		return 0;
	size_t prepared = prepare(in, max < UDP_BATCH ? max : UDP_BATCH);
	if (prepared == 0) {
		udp_count(&in->counters.pool_empty, 1);
		return -ENOBUFS;
	}
	int got;
	do
		got = recvmmsg(in->u->fd, in->msgs, (unsigned)prepared, MSG_DONTWAIT, NULL);
	while (got < 0 && errno == EINTR);
	int err = got < 0 && errno != EAGAIN && errno != EWOULDBLOCK ? -errno : 0;
	int n = hand_out(in, prepared, got < 0 ? 0 : (size_t)got, ret);
	return err < 0 ? err : n;
}

struct udp_out *udp_out_new(struct udp *u, struct pkt_pool *pool)
{
	struct udp_out *out = calloc(1, sizeof(*out));
	if (!out)
		return NULL;
	out->u = u;
	out->pool = pool;
	for (size_t i = 0; i < UDP_BATCH; i++) {
		out->msgs[i].msg_hdr.msg_iov = &out->iov[i];
		out->msgs[i].msg_hdr.msg_iovlen = 1;
		out->msgs[i].msg_hdr.msg_name = &out->to[i];
	}
	return out;
}

/* Give all queued packets back. */
static void empty(struct udp_out *out)
{
	for (size_t i = 0; i < out->n; i++)
		pkt_put(out->pool, out->pkts[i]);
	out->n = 0;
}

void udp_out_free(struct udp_out *out)
{
	if (!out)
		return;
	empty(out);
	free(out);
}

const struct udp_out_counters *udp_out_counters(const struct udp_out *out)
{
	return &out->counters;
}

size_t udp_out_queued(const struct udp_out *out)
{
	return out->n;
}

void udp_out_put(struct udp_out *out, struct pkt *k, const struct addr *to)
{
	if (to->family != out->u->local.family) { /* the kernel would read another address there */
		udp_count(&out->counters.failed, 1);
		pkt_put(out->pool, k);
		return;
	}
	size_t i = out->n++;
	out->pkts[i] = k;
	out->iov[i].iov_base = k->data;
	out->iov[i].iov_len = k->len;
	out->msgs[i].msg_hdr.msg_namelen = addr_to_sockaddr(to, &out->to[i]);
	if (out->n == UDP_BATCH)
		udp_out_flush(out);
}

/* Count the refusal of the datagram at `at`; returns how many of the batch that loses. */
static size_t refuse(struct udp_out *out, size_t at, int err)
{
	size_t lost = 1;
	if (err == EMSGSIZE)
		udp_count(&out->counters.too_large, 1);
	if (err == EAGAIN || err == EWOULDBLOCK) { /* the next ones would find it as full */
		lost = out->n - at;
		udp_count(&out->counters.full, lost);
	}
	udp_count(&out->counters.failed, lost);
	return lost;
}

size_t udp_out_flush(struct udp_out *out)
{
	size_t refused = 0;
	size_t at = 0;
	while (at < out->n) {
		int done = sendmmsg(out->u->fd, out->msgs + at, (unsigned)(out->n - at),
				    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (done > 0) {
			at += (size_t)done;
			udp_count(&out->counters.sent, (uint64_t)done);
		} else if (errno != EINTR) { /* about the first of those we gave */
			size_t lost = refuse(out, at, errno);
			refused += lost;
			at += lost;
		}
	}
	empty(out);
	return refused;
}
