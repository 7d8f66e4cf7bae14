/* engine/worker_open.c - makes a packet worker: sockets, pool, ring; and takes it apart. Control
 * thread, while the worker's own does not run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/offload.h"
#include "engine/engine_internal.h"

int worker_watch(struct worker *w, int fd, uint64_t what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = what};
	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static unsigned udp_without(unsigned offloads_off)
{
	return (offloads_off & OFFLOAD_GSO ? UDP_OFFLOAD_GSO : 0) |
	       (offloads_off & OFFLOAD_GRO ? UDP_OFFLOAD_GRO : 0);
}

static int open_socket(struct worker *w, unsigned f, char *err)
{
	struct engine *e = w->engine;
	struct udp_config c = {.bind = f == FAMILY6 ? e->config.bind6 : e->config.bind4,
			       .mark = e->config.mark,
			       .without = udp_without(e->config.offloads_off)};
	char text[ADDR_TEXT_BYTES];
	int r;

	if (!(f == FAMILY6 ? e->config.underlay6 : e->config.underlay4))
		return 0;
	c.bind.family = f == FAMILY6 ? 6 : 4;
	if (e->port[f])
		c.bind.port = e->port[f]; /* the first worker's choice */
	r = udp_open(&c, &w->udp[f]);
	if (r) {
		snprintf(err, 256, "the UDP socket at %s could not be opened: %s",
			 addr_text(&c.bind, text), strerror(-r));
		return r;
	}
	e->port[f] = udp_local(w->udp[f]).port;
	w->reader[f] = udp_reader_new(w->udp[f]);
	w->writer[f] = udp_writer_new(w->udp[f]);
	if (w->reader[f] && w->writer[f])
		r = worker_watch(w, udp_fd(w->udp[f]), f == FAMILY6 ? WATCH_UDP6 : WATCH_UDP4);
	else
		r = -ENOMEM;
	if (r)
		snprintf(err, 256, "a packet worker could not be made: %s", strerror(-r));
	return r;
}

static int make_parts(struct worker *w)
{
	struct engine *e = w->engine;
	uint64_t seed;

	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->epoll_fd < 0 || w->wake_fd < 0)
		return -errno;
	w->pool = pkt_pool_new(e->config.pool_packets);
	w->ring = ring_new(WORKER_RING_CELLS, sizeof(struct handover));
	w->dp.aead = aead_ctx_new();
	rng_bytes(e->config.rng, &seed, sizeof(seed));
	w->fq = fq_new(QUEUE_FRAMES, FRAME_ROOM, QUEUE_BYTES, seed, &w->drops);
	w->coalesce = coalesce_new(0, worker_write_item, w);
	w->arena = aligned_alloc(64, ARENA_BYTES);
	if (!w->pool || !w->ring || !w->dp.aead || !w->fq || !w->coalesce || !w->arena)
		return -ENOMEM;
	filler_init(&w->filler, e->config.rng);
	w->dp.filler = &w->filler;
	w->dp.drops = &w->drops;
	w->dp.links = e->links;
	w->dp.circuits = e->circuits;
	w->dp.worker = w->number;
	return worker_watch(w, w->wake_fd, WATCH_WAKE);
}

int worker_new(struct engine *e, unsigned number, struct worker **ret, char *err)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r;

	if (!w) {
		snprintf(err, 256, "no memory for a packet worker: lower `workers`");
		return -ENOMEM;
	}
	w->engine = e;
	w->number = number;
	w->epoll_fd = w->wake_fd = -1;
	r = make_parts(w);
	if (r)
		snprintf(err, 256, "a packet worker could not be made: %s", strerror(-r));
	for (unsigned f = 0; !r && f < FAMILIES; f++)
		r = open_socket(w, f, err);
	if (r) {
		worker_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	for (unsigned f = 0; f < FAMILIES; f++) {
		udp_reader_free(w->reader[f]);
		udp_writer_free(w->writer[f]);
		udp_close(w->udp[f]);
	}
	fq_free(w->fq);
	coalesce_free(w->coalesce);
	free(w->arena);
	pkt_pool_free(w->pool);
	ring_free(w->ring);
	aead_ctx_free(w->dp.aead);
	filler_done(&w->filler);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	free(w);
}
