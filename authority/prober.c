/* authority/prober.c - sockets, tries and timeouts of authority/probe.h. */
#include "authority/prober.h"
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"

#define TIMER_MS 100

struct slot_of {
	bool used, is_new;
	struct probe probe;
	struct addr addr;
	struct onion_key key;
	unsigned tries;
	nsec_t until; /* the try ends */
};

struct prober {
	int fd4, fd6; /* -1: none on this host */
	struct event *read4, *read6, *timer;
	uint32_t net_id;
	const struct rng *rng;
	probe_done_fn *done;
	void *arg;
	struct slot_of slot[PROBES_MAX];
};

static void finish(struct prober *p, struct slot_of *s, enum reach result)
{
	uint8_t id[32], status = s->probe.status;
	struct addr at = s->addr;
	memcpy(id, s->probe.id, 32);
	probe_done(&s->probe);
	s->used = false;
	p->done(p->arg, id, &at, result, status);
}

/* No way from here is not the relay's fault. */
static bool is_no_way(int e)
{
	return e == ENETUNREACH || e == EAFNOSUPPORT || e == EADDRNOTAVAIL || e == EBADF;
}

/* 0, or errno of what the kernel says. */
static int send_it(const struct prober *p, const struct slot_of *s)
{
	struct sockaddr_storage to;
	socklen_t n = addr_to_sockaddr(&s->addr, &to);
	int fd = s->addr.family == 4 ? p->fd4 : p->fd6;
	return sendto(fd, s->probe.datagram, sizeof(s->probe.datagram), 0, (struct sockaddr *)&to,
		      n) < 0
		       ? errno
		       : 0;
}

static void try_once(struct prober *p, struct slot_of *s)
{
	uint8_t id[32];
	memcpy(id, s->probe.id, 32);
	probe_done(&s->probe);
	if (probe_start(&s->probe, id, &s->key, p->net_id, clock_unix_seconds(), p->rng)) {
		finish(p, s, REACH_DEAD);
		return;
	}
	s->until = clock_now() + (PROBE_WAIT_MS << s->tries) * NSEC_PER_MSEC;
	s->tries++;
	int e = send_it(p, s);
	if (is_no_way(e))
		finish(p, s, REACH_NONE);
}

static void arm(struct prober *p)
{
	const struct timeval tv = {0, TIMER_MS * 1000};
	bool any = false;
	for (unsigned i = 0; i < PROBES_MAX; i++)
		any |= p->slot[i].used;
	if (any && !evtimer_pending(p->timer, NULL))
		evtimer_add(p->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct prober *p = arg;
	nsec_t now = clock_now();
	(void)fd;
	(void)what;
	for (unsigned i = 0; i < PROBES_MAX; i++) {
		struct slot_of *s = &p->slot[i];
		if (!s->used || now < s->until)
			continue;
		if (s->tries < PROBE_TRIES)
			try_once(p, s);
		else
			finish(p, s, REACH_DEAD);
	}
	arm(p);
}

static void judge(struct prober *p, const struct addr *from, const uint8_t *d, size_t n)
{
	for (unsigned i = 0; i < PROBES_MAX; i++) {
		struct slot_of *s = &p->slot[i];
		if (!s->used || !addr_equal(&s->addr, from))
			continue;
		switch (probe_on_datagram(&s->probe, d, n)) {
		case PROBE_NOTHING:
			continue; /* another relay may stand there as well */
		case PROBE_RESEND:
			(void)send_it(p, s); /* what is lost is tried again */
			return;
		case PROBE_ALIVE:
			finish(p, s, REACH_ALIVE);
			return;
		case PROBE_REFUSED:
			finish(p, s, REACH_DEAD);
			return;
		}
	}
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	uint8_t d[LINK_RESP_BYTES + 1]; /* one more, so that what is too long shows */
	struct sockaddr_storage from;
	(void)what;
	for (int i = 0; i < 64; i++) {
		socklen_t len = sizeof(from);
		ssize_t n =
			recvfrom(fd, d, sizeof(d), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
		if (n < 0)
			return; /* empty, or an ICMP error of some relay: its try ends by itself */
		struct addr a = addr_from_sockaddr((struct sockaddr *)&from);
		judge(arg, &a, d, (size_t)n);
	}
}

static int open_socket(struct prober *p, int family, struct event_base *base, struct event **ret)
{
	int yes = 1, fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes)) < 0) {
		close(fd);
		return -1;
	}
	*ret = event_new(base, fd, EV_READ | EV_PERSIST, on_read, p);
	if (!*ret || event_add(*ret, NULL) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int prober_open(struct event_base *base, uint32_t net_id, const struct rng *rng,
		probe_done_fn *done, void *arg, struct prober **ret)
{
	struct prober *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->net_id = net_id;
	p->rng = rng;
	p->done = done;
	p->arg = arg;
	p->timer = evtimer_new(base, on_timer, p);
	p->fd4 = open_socket(p, AF_INET, base, &p->read4);
	p->fd6 = open_socket(p, AF_INET6, base, &p->read6);
	if (!p->timer || (p->fd4 < 0 && p->fd6 < 0)) {
		prober_close(p);
		return -ENETUNREACH;
	}
	*ret = p;
	return 0;
}

void prober_close(struct prober *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < PROBES_MAX; i++)
		if (p->slot[i].used)
			probe_done(&p->slot[i].probe);
	struct event *const events[] = {p->read4, p->read6, p->timer};
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i])
			event_free(events[i]);
	if (p->fd4 >= 0)
		close(p->fd4);
	if (p->fd6 >= 0)
		close(p->fd6);
	free(p);
}

int prober_start(struct prober *p, const uint8_t id[32], const struct onion_key *key,
		 const struct addr *a, bool is_new)
{
	struct slot_of *s = NULL;
	unsigned new = 0;
	for (unsigned i = 0; i < PROBES_MAX; i++) {
		if (!p->slot[i].used)
			s = &p->slot[i];
		new += p->slot[i].used && p->slot[i].is_new;
	}
	if (!s || (is_new && new >= PROBES_NEW))
		return -EBUSY;
	*s = (struct slot_of){.used = true, .is_new = is_new, .addr = *a, .key = *key};
	memcpy(s->probe.id, id, 32);
	try_once(p, s);
	arm(p);
	return 0;
}
