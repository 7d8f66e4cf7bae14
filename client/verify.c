/* client/verify.c - `--up` says 0 only when a packet came back: a DNS query at a granted server
 * that is not the exit, or an authority's signed consensus through the tunnel, whichever answers
 * first. Control thread.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/bytes.h"
#include "client/client.h"
#include "net/http.h"

#define ASK_EVERY_MS 300
#define QUERY_BYTES  17
#define DNS_PORT     53

struct verify {
	struct client *client;
	void (*done)(void *arg, bool ok);
	void *arg;
	int fd[2]; /* IPv4, IPv6; -1 none */
	struct event *event[2];
	struct event *tick;
	bool ok; /* proved; the tick says so, since a fetch's callback must not free its client */
	nsec_t until;
	unsigned nservers;
	struct addr server[3];
	uint16_t id[3];
	unsigned asked; /* times */
	struct http_client *http;
	struct http_fetch *fetch;
};

/* A question of 17 bytes that tells nobody anything: who serves the root (". NS"). RFC 1035
 * section 4. */
static void write_query(uint8_t q[QUERY_BYTES], uint16_t id)
{
	struct writer w;

	writer_init(&w, q, QUERY_BYTES);
	writer_u16(&w, id);
	writer_u16(&w, 0x0100); /* recursion desired */
	writer_u16(&w, 1);	/* one question */
	writer_zero(&w, 6);
	writer_u8(&w, 0);  /* the root */
	writer_u16(&w, 2); /* NS */
	writer_u16(&w, 1); /* IN */
}

static void finish(struct verify *v, bool ok)
{
	void (*done)(void *arg, bool ok) = v->done;
	void *arg = v->arg;

	verify_cancel(v);
	done(arg, ok);
}

/* Any answer to our question proves the way there and back, also "refused". */
static bool is_answer(const struct verify *v, const uint8_t *b, size_t n, const struct addr *from)
{
	for (unsigned i = 0; i < v->nservers; i++)
		if (n >= 12 && from->port == DNS_PORT && addr_equal_ip(from, &v->server[i]) &&
		    load_be16(b) == v->id[i] && (b[2] & 0x80))
			return true;
	return false;
}

static void on_datagram(evutil_socket_t fd, short what, void *arg)
{
	struct verify *v = arg;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	uint8_t buf[512];
	struct addr from;
	ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&ss, &len);

	(void)what;
	if (n < 0)
		return;
	from = addr_from_sockaddr((struct sockaddr *)&ss);
	if (is_answer(v, buf, (size_t)n, &from))
		finish(v, true);
}

static void ask(struct verify *v)
{
	struct sockaddr_storage ss;
	uint8_t q[QUERY_BYTES];

	for (unsigned i = 0; i < v->nservers; i++) {
		struct addr to = v->server[i];
		int fd = v->fd[to.family == 6];

		to.port = DNS_PORT;
		write_query(q, v->id[i]);
		/* A failure is an answer that does not come: the next tick tries again. */
		if (fd >= 0)
			(void)sendto(fd, q, sizeof(q), MSG_DONTWAIT, (struct sockaddr *)&ss,
				     addr_to_sockaddr(&to, &ss));
	}
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct verify *v = arg;

	(void)fd;
	(void)what;
	if (v->ok || clock_now() >= v->until) {
		finish(v, v->ok);
		return;
	}
	if (v->asked++ == VERIFY_SILENT_ASKS)
		tunnel_on_silence(v->client);
	ask(v);
}

static void on_consensus(void *arg, int status, const uint8_t *body, size_t n, const char *failure)
{
	struct verify *v = arg;
	const struct directory *d = dirsync_current(v->client->dirsync, clock_now());
	struct consensus *got = NULL;
	enum dir_result r;

	(void)failure;
	v->fetch = NULL;
	if (status != 200)
		return;
	/* An old one may be the exit's own copy: ours or a newer one. */
	r = consensus_accept(&v->client->net, d ? d->consensus : NULL, CONSENSUS_NO_CLOCK, body, n,
			     &got);
	consensus_free(got);
	if (r == DIR_OK || r == DIR_SAME) {
		v->ok = true;
		event_active(v->tick, EV_TIMEOUT, 0);
	}
}

static int open_socket(struct verify *v, unsigned i, const char *device)
{
	v->fd[i] = socket(i ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (v->fd[i] < 0)
		return -errno;
	if (setsockopt(v->fd[i], SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) <
	    0)
		return -errno;
	v->event[i] = event_new(v->client->base, v->fd[i], EV_READ | EV_PERSIST, on_datagram, v);
	return v->event[i] && !event_add(v->event[i], NULL) ? 0 : -ENOMEM;
}

/* The consensus, from an authority that the lease's families reach. */
static void start_fetch(struct verify *v, const struct msg_grant *g)
{
	const struct netconf *net = &v->client->net;
	char url[128], host[ADDR_TEXT_BYTES];
	unsigned first = (unsigned)rng_below(&rng_system, net->n);

	for (unsigned i = 0; i < net->n; i++) {
		const struct addr *a = &net->authority[(first + i) % net->n].addr;

		if (!(a->family == 4 ? g->lease4.family : g->lease6.family) ||
		    inner_is_local(v->client->inner, a))
			continue;
		snprintf(url, sizeof(url), "http://%s/sispop/1/consensus", addr_text(a, host));
		if (!http_fetch_start(
			    v->http,
			    &(struct http_fetch_options){.url = url,
							 .body_bytes_max = CONSENSUS_MAX_BYTES,
							 .timeout_ms = VERIFY_NSEC / NSEC_PER_MSEC,
							 .device = tun_name(v->client->tun)},
			    on_consensus, v, &v->fetch))
			return;
	}
}

/* Resolvers that can prove anything: one at an inner address is the exit itself, as far as we can
 * tell. */
static void choose_servers(struct verify *v, const struct carrier *k)
{
	for (unsigned i = 0; i < k->grant.ndns; i++) {
		const struct addr *a = &k->grant.dns[i];

		if (addr_equal_ip(a, &k->address4) || addr_equal_ip(a, &k->address6) ||
		    inner_is_private(a))
			continue;
		v->id[v->nservers] = (uint16_t)rng_u32(&rng_system);
		v->server[v->nservers++] = *a;
	}
}

struct verify *verify_start(struct client *c, const struct carrier *k,
			    void (*done)(void *arg, bool ok), void *arg)
{
	const struct timeval every = {0, ASK_EVERY_MS * 1000};
	struct verify *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->client = c;
	v->done = done;
	v->arg = arg;
	v->fd[0] = v->fd[1] = -1;
	v->until = clock_now() + VERIFY_NSEC;
	choose_servers(v, k);
	v->http = http_client_new(c->base);
	v->tick = event_new(c->base, -1, EV_PERSIST, on_tick, v);
	if (!v->http || !v->tick || event_add(v->tick, &every) ||
	    (k->grant.lease4.family && open_socket(v, 0, tun_name(c->tun))) ||
	    (k->grant.lease6.family && open_socket(v, 1, tun_name(c->tun)))) {
		verify_cancel(v);
		return NULL;
	}
	/* From the loop: the path serves only when the grant's callback has returned, and what is
	 * asked sooner is lost. */
	event_active(v->tick, EV_TIMEOUT, 0);
	start_fetch(v, &k->grant);
	return v;
}

void verify_cancel(struct verify *v)
{
	if (!v)
		return;
	if (v->fetch)
		http_fetch_cancel(v->fetch);
	if (v->http)
		http_client_free(v->http);
	for (unsigned i = 0; i < 2; i++) {
		if (v->event[i])
			event_free(v->event[i]);
		if (v->fd[i] >= 0)
			close(v->fd[i]);
	}
	if (v->tick)
		event_free(v->tick);
	free(v);
}
