/* net/udp.c - UDP sockets: their options, offloads and single sends. See udp.h. */
#include "net/udp_internal.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOP_LIMIT 64 /* of every datagram, as most systems set it */
#ifndef IPV6_FLOWINFO_SEND
#define IPV6_FLOWINFO_SEND 33 /* linux/in6.h; the libc has no name for it */
#endif

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
	int err = 0;
	if (c->bind.family == 6)
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

/* A port is shared with who asks for it by number. One that the kernel chooses is free only if
 * sharing is not yet allowed: else it may be that of another of this user's sockets, who would lose
 * datagrams to us. */
static int bind_to(struct udp *u, const struct addr *to)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(to, &ss);
	int err = to->port != 0 ? set_int(u->fd, SOL_SOCKET, SO_REUSEPORT, 1) : 0;
	if (err == 0 && bind(u->fd, (struct sockaddr *)&ss, n) < 0)
		err = -errno;
	if (err == 0 && to->port == 0)
		err = set_int(u->fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (err < 0)
		return err;
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
