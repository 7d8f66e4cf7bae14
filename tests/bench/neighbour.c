/* tests/bench/neighbour.c - see neighbour.h. */
#include "tests/bench/neighbour.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/bytes.h"

#define MESSAGES       16    /* read from one socket before another gets its turn */
#define MESSAGE_BYTES  65536 /* one, or many of equal size behind each other (UDP_GRO) */
#define SOCKET_BYTES   (64 << 20)
#define LINK_SLOT_BITS 8
#define LINKS_OF_ONE   64
#define TIMERS_NSEC    (50 * NSEC_PER_MSEC) /* how often timers of links are looked at */
#define INITS_PER_S    100000
#define NEVER_S	       86400

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

struct receiver {
	struct mmsghdr msg[MESSAGES];
	struct iovec iov[MESSAGES];
	struct {
		_Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(int))];
	} control[MESSAGES];
	uint8_t bytes[MESSAGES][MESSAGE_BYTES];
};

/* No link of ours goes idle or is renewed: a run is a load from its first to its last second. */
static const struct periods periods = {
	.path_lifetime_s = 1200,
	.path_lifetime_max_s = 1200,
	.path_grace_s = 30,
	.link_renew_s = NEVER_S,
	.link_drain_s = NEVER_S,
	.link_idle_s = NEVER_S,
	.circuit_ungranted_s = NEVER_S,
};

/* --- the onion layer's environment --- */

static void env_send(void *arg, const struct addr *to, const uint8_t *datagram, size_t n)
{
	struct neighbour *p = arg;
	(void)to; /* the socket knows but one */
	if (send(p->fd, datagram, n, MSG_NOSIGNAL) < 0)
		p->set->send_full++;
}

/* One thread: whoever could hold it is ourselves, and does not. */
static void env_retire(void *arg, void *object, void (*free_fn)(void *))
{
	(void)arg;
	free_fn(object);
}

/* --- what links ask --- */

static void on_up(void *arg, struct link *l, nsec_t now)
{
	struct neighbour *p = arg;
	(void)now;
	p->up = link_data_of(l);
}

static void on_failed(void *arg, struct link *l, int why, nsec_t now)
{
	(void)arg, (void)l, (void)why, (void)now; /* ->up stays NULL, and somebody waits for it */
}

static void on_dead(void *arg, struct link *l, nsec_t now)
{
	struct neighbour *p = arg;
	(void)now;
	if (p->up == link_data_of(l))
		p->up = NULL;
}

static void on_frame(void *arg, struct link *l, enum frame_type type, const uint8_t *data, size_t n,
		     nsec_t now)
{
	struct neighbour *p = arg;
	(void)n;
	p->up = link_data_of(l); /* of a next neighbour: the relay opened it */
	p->set->ops.on_frame(p->set->ops.arg, p, type, data, now);
}

static bool relay_at(void *arg, const struct addr *a, uint8_t ret_id[32])
{
	const struct neighbour *p = arg;
	if (!addr_equal(a, &p->set->net->relay.addr))
		return false;
	memcpy(ret_id, p->set->net->relay.id, 32);
	return true;
}

static const struct onion_keypair *onion_key(void *arg, uint16_t keyid)
{
	const struct neighbour *p = arg;
	return p->member && keyid == MEMBER_KEYID ? &p->member->onion : NULL;
}

static uint64_t consensus_serial(void *arg)
{
	(void)arg;
	return 1;
}

static uint64_t unix_seconds(void *arg)
{
	(void)arg;
	return clock_unix_seconds();
}

/* --- sockets --- */

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int open_socket(struct neighbour *p)
{
	struct sockaddr_storage ss;
	struct epoll_event want = {.events = EPOLLIN, .data.ptr = p};
	p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0)
		return -errno;
	int e = set_int(p->fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BYTES);
	if (!e)
		e = set_int(p->fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BYTES);
	if (!e)
		e = set_int(p->fd, IPPROTO_UDP, UDP_GRO, 1);
	if (e)
		return e;
	struct addr own = p->member ? p->member->addr
				    : addr_from_ip((uint8_t[]){127, 2, 0, (uint8_t)p->kind}, 4, 0);
	socklen_t n = addr_to_sockaddr(&own, &ss);
	if (bind(p->fd, (struct sockaddr *)&ss, n) < 0)
		return -errno;
	n = addr_to_sockaddr(&p->set->net->relay.addr, &ss);
	if (connect(p->fd, (struct sockaddr *)&ss, n) < 0)
		return -errno;
	return epoll_ctl(p->set->epoll_fd, EPOLL_CTL_ADD, p->fd, &want) < 0 ? -errno : 0;
}

/* --- making and ending --- */

static int open_links(struct neighbour *p)
{
	p->env = (struct onion_env){
		.arg = p,
		.send = env_send,
		.retire = env_retire,
		.rng = &rng_system,
		.aead = p->set->aead,
		.drops = &p->set->drops,
		.links = slots_new(LINK_SLOT_BITS, LINKS_OF_ONE),
		.periods = &periods,
	};
	struct links_config c = {
		.env = &p->env,
		.ops = {p, on_up, on_failed, on_dead, on_frame, relay_at, onion_key,
			consensus_serial, unix_seconds},
		.role = p->kind == NEIGHBOUR_CLIENT ? ROLE_CLIENT : ROLE_RELAY,
		.responds = p->kind == NEIGHBOUR_NEXT,
		.net_id = p->set->net->net_id,
		.max_dgram = DATAGRAM_FULL_MOST,
		.links_most = LINKS_OF_ONE,
		.half_open_most = LINKS_OF_ONE,
		.inits_per_s_busy = INITS_PER_S,
	};
	if (!p->env.links)
		return -ENOMEM;
	if (p->member)
		memcpy(c.id, p->member->id.public_key, 32);
	p->links = links_new(&c, clock_now());
	return p->links ? 0 : -ENOMEM;
}

static int open_neighbour(struct neighbours *s, enum neighbour_kind kind, unsigned number,
			  const struct member *m)
{
	struct neighbour *p = &s->all[s->n++];
	*p = (struct neighbour){.set = s, .kind = kind, .number = number, .member = m, .fd = -1};
	int e = open_socket(p);
	return e ? e : open_links(p);
}

static void prepare_receiver(struct receiver *r)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		r->iov[i] = (struct iovec){r->bytes[i], MESSAGE_BYTES};
		r->msg[i].msg_hdr.msg_iov = &r->iov[i];
		r->msg[i].msg_hdr.msg_iovlen = 1;
		r->msg[i].msg_hdr.msg_control = r->control[i].bytes;
	}
}

int neighbours_init(struct neighbours *s, const struct network *n, const struct neighbours_ops *ops,
		    bool gso)
{
	*s = (struct neighbours){.net = n, .ops = *ops, .gso = gso};
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0)
		return -errno;
	s->all = calloc(n->n + 2, sizeof(*s->all));
	s->receiver = calloc(1, sizeof(*s->receiver));
	s->aead = aead_ctx_new();
	if (!s->all || !s->receiver || !s->aead)
		return -ENOMEM;
	prepare_receiver(s->receiver);
	s->previous = s->next = n->n / 2;
	int e = 0;
	for (unsigned i = 0; i < n->n && !e; i++)
		e = i < s->previous
			    ? open_neighbour(s, NEIGHBOUR_PREVIOUS, i, &n->member[i])
			    : open_neighbour(s, NEIGHBOUR_NEXT, i - s->previous, &n->member[i]);
	if (!e)
		e = open_neighbour(s, NEIGHBOUR_CLIENT, 0, NULL);
	return e ? e : open_neighbour(s, NEIGHBOUR_LIAR, 0, NULL);
}

void neighbours_done(struct neighbours *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct neighbour *p = &s->all[i];
		links_free(p->links);
		slots_free(p->env.links);
		if (p->fd >= 0)
			close(p->fd);
	}
	aead_ctx_free(s->aead);
	free(s->receiver);
	free(s->all);
	if (s->epoll_fd > 0)
		close(s->epoll_fd);
	*s = (struct neighbours){.epoll_fd = -1};
}

struct neighbour *neighbour_find(struct neighbours *s, enum neighbour_kind kind, unsigned number)
{
	static const unsigned strangers = 2;
	switch (kind) {
	case NEIGHBOUR_PREVIOUS:
		return &s->all[number];
	case NEIGHBOUR_NEXT:
		return &s->all[s->previous + number];
	case NEIGHBOUR_CLIENT:
	case NEIGHBOUR_LIAR:
		break;
	}
	return &s->all[s->n - strangers + (kind == NEIGHBOUR_LIAR)];
}

/* --- sending --- */

int neighbour_link(struct neighbour *p)
{
	struct link *l;
	return links_open(p->links, &p->set->net->relay, clock_now(), &l);
}

bool neighbour_frame(struct neighbour *p, enum frame_type type, const void *data, size_t n,
		     nsec_t now)
{
	return p->up && link_send(p->up->control, type, data, n, now) == 0;
}

static bool send_burst(struct neighbour *p, const uint8_t *d, size_t size, unsigned count)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
	struct iovec iov = {(void *)d, size * count};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	uint16_t segment = (uint16_t)size;
	if (count > 1) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = IPPROTO_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(segment));
		memcpy(CMSG_DATA(c), &segment, sizeof(segment));
	}
	return sendmsg(p->fd, &m, MSG_NOSIGNAL) == (ssize_t)(size * count);
}

static unsigned send_singly(struct neighbour *p, const uint8_t *d, size_t size, unsigned count)
{
	struct mmsghdr m[GSO_DATAGRAMS_MOST];
	struct iovec iov[GSO_DATAGRAMS_MOST];
	memset(m, 0, count * sizeof(m[0]));
	for (unsigned i = 0; i < count; i++) {
		iov[i] = (struct iovec){(void *)(d + i * size), size};
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	int done = sendmmsg(p->fd, m, count, MSG_NOSIGNAL);
	return done > 0 ? (unsigned)done : 0;
}

unsigned neighbour_send(struct neighbour *p, const uint8_t *d, size_t size, unsigned count)
{
	unsigned sent;
	if (p->set->gso)
		sent = send_burst(p, d, size, count) ? count : 0;
	else
		sent = send_singly(p, d, size, count);
	p->set->send_full += count - sent;
	return sent;
}

/* --- receiving --- */

/* Its header opened on our link `link_id`. */
static void on_opened(struct neighbour *p, uint32_t link_id, const struct header *h, uint8_t *d,
		      size_t n, nsec_t now)
{
	if (h->type == HEADER_CTRL)
		links_on_ctrl(p->links, link_id, &p->set->net->relay.addr, 0, h->ctr,
			      d + HEADER_BYTES, n - HEADER_BYTES, now);
	else
		p->set->ops.on_data(p->set->ops.arg, p, h, d, n);
}

/* One that is no DATA or CTRL of a link of ours. */
static void on_other(struct neighbour *p, uint8_t *d, size_t n, nsec_t now)
{
	if (n < LINK_COOKIE_BYTES || n > DATAGRAM_MAX || slots_find(p->env.links, load_be32(d)))
		p->set->strange++;
	else
		links_on_handshake(p->links, &p->set->net->relay.addr, 0, d, n, now);
}

/* How many datagrams of `size` bytes, the last may be shorter, are long enough and have the link id
 * of the first. */
static unsigned run_length(const uint8_t *d, size_t size, size_t bytes)
{
	unsigned n = 0;
	while (n < GSO_DATAGRAMS_MOST && bytes >= DATAGRAM_MIN &&
	       load_be32(d + n * size) == load_be32(d)) {
		n++;
		if (bytes <= size)
			break;
		bytes -= size;
	}
	return n;
}

/* n datagrams of link l. It may go with any of them. */
static void on_run(struct neighbour *p, const struct link_data *l, uint8_t *d, size_t size,
		   unsigned n, size_t bytes, nsec_t now)
{
	const uint8_t *at[GSO_DATAGRAMS_MOST];
	struct header h[GSO_DATAGRAMS_MOST];
	bool ok[GSO_DATAGRAMS_MOST];
	uint32_t id = l->slot.id;
	for (unsigned i = 0; i < n; i++)
		at[i] = d + i * size + LINK_ID_BYTES;
	headers_open(p->set->aead, &l->rx, at, n, h, ok);
	for (unsigned i = 0; i < n; i++) {
		size_t left = bytes - i * size;
		if (ok[i])
			on_opened(p, id, &h[i], d + i * size, left < size ? left : size, now);
		else
			p->set->strange++;
	}
}

/* What one message brought: datagrams of `size` bytes behind each other, the last may be shorter.
 * As onion/dataplane.c judges, but for whose they are: DATA is the caller's business. */
static void on_message(struct neighbour *p, uint8_t *d, size_t size, size_t bytes, nsec_t now)
{
	while (bytes > 0) {
		size_t done = bytes < size ? bytes : size;
		const struct link_data *l = NULL;
		if (done >= DATAGRAM_MIN)
			l = (struct link_data *)slots_find(p->env.links, load_be32(d));
		if (l) {
			unsigned n = run_length(d, size, bytes);
			done = n * size < bytes ? n * size : bytes;
			on_run(p, l, d, size, n, done, now);
		} else {
			on_other(p, d, done, now);
		}
		d += done;
		bytes -= done;
	}
}

/* How long each of the datagrams in m is that lie behind each other; the last may be shorter. */
static size_t segment_of(struct msghdr *m, size_t n)
{
	int size = 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	if (c && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
		memcpy(&size, CMSG_DATA(c), sizeof(size));
	return size > 0 ? (size_t)size : n;
}

static void receive(struct neighbour *p, nsec_t now)
{
	struct receiver *r = p->set->receiver;
	for (unsigned i = 0; i < MESSAGES; i++)
		r->msg[i].msg_hdr.msg_controllen = sizeof(r->control[i].bytes);
	int got = recvmmsg(p->fd, r->msg, MESSAGES, MSG_DONTWAIT, NULL);
	for (int i = 0; i < got; i++) {
		size_t n = r->msg[i].msg_len;
		on_message(p, r->bytes[i], segment_of(&r->msg[i].msg_hdr, n), n, now);
	}
}

static void run_timers(struct neighbours *s, nsec_t now)
{
	if (now < s->next_timers)
		return;
	s->next_timers = now + TIMERS_NSEC;
	for (unsigned i = 0; i < s->n; i++)
		links_on_timer(s->all[i].links, now);
}

void neighbours_serve(struct neighbours *s, int timeout_ms)
{
	struct epoll_event ready[SERVE_EVENTS];
	int n = epoll_wait(s->epoll_fd, ready, SERVE_EVENTS, timeout_ms);
	nsec_t now = clock_now();
	if (s->served && now - s->served > s->longest_gap)
		s->longest_gap = now - s->served;
	s->served = now;
	for (int i = 0; i < n; i++)
		receive(ready[i].data.ptr, now);
	run_timers(s, now);
}
