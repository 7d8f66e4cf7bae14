/* engine/engine.c - makes and ends the workers, keeps the tables, is the onion layer's environment.
 */
#include "engine/engine.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <urcu-qsbr.h>
#include "base/offload.h"
#include "engine/engine_internal.h"
#include "engine/tsan.h"
#include "tun/device.h"

#ifdef TSAN_RCU
char tsan_rcu_tag;
#endif

/* --- the onion layer's environment --- */

/* Control datagrams leave by the first worker's socket: sendto() from another thread is the
 * kernel's to order. */
static void env_send(void *arg, const struct addr *to, const uint8_t *datagram, size_t n)
{
	struct engine *e = arg;
	struct udp *s = e->worker[0]->udp[to->family == 6 ? FAMILY6 : FAMILY4];

	if (!s || udp_send_now(s, datagram, n, to))
		drops_add(&e->control_drops, DROP_SEND_FAILED);
}

struct retired {
	struct rcu_head head;
	void *object;
	void (*free_fn)(void *object);
};

static void reclaim(struct rcu_head *head)
{
	struct retired *r = (struct retired *)((char *)head - offsetof(struct retired, head));

	tsan_acquire_rcu();
	r->free_fn(r->object);
	free(r);
}

static void env_retire(void *arg, void *object, void (*free_fn)(void *))
{
	struct retired *r = malloc(sizeof(*r));

	if (!r) { /* slower, but the same */
		engine_synchronize(arg);
		free_fn(object);
		return;
	}
	r->object = object;
	r->free_fn = free_fn;
	tsan_release_rcu();
	urcu_qsbr_call_rcu(&r->head, reclaim);
}

void engine_synchronize(struct engine *e)
{
	(void)e;
	urcu_qsbr_synchronize_rcu();
	tsan_acquire_rcu();
}

static int make_env(struct engine *e)
{
	const struct engine_config *c = &e->config;

	e->links = slots_new(c->link_bits, c->links_most);
	e->circuits = slots_new(c->circuit_bits, c->circuits_most);
	e->control_dp.aead = aead_ctx_new();
	if (!e->links || !e->circuits || !e->control_dp.aead)
		return -ENOMEM;
	filler_init(&e->control_filler, c->rng);
	e->control_dp.filler = &e->control_filler;
	e->control_dp.drops = &e->control_drops;
	e->control_dp.links = e->links;
	e->control_dp.circuits = e->circuits;
	e->control_dp.worker = ENGINE_WORKERS_MOST;
	e->env = (struct onion_env){
		.arg = e,
		.send = env_send,
		.retire = env_retire,
		.rng = c->rng,
		.aead = e->control_dp.aead,
		.dp = &e->control_dp,
		.drops = &e->control_drops,
		.links = e->links,
		.circuits = e->circuits,
	};
	return 0;
}

void engine_set_now(struct engine *e, nsec_t now)
{
	e->control_dp.now = now;
}

struct onion_env *engine_env(struct engine *e)
{
	return &e->env;
}

/* --- life --- */

static unsigned cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > ENGINE_WORKERS_MOST ? ENGINE_WORKERS_MOST : (unsigned)n;
}

static int start_workers(struct engine *e, char *err)
{
	for (unsigned i = 0; i < e->workers; i++) {
		int r = worker_new(e, i, &e->worker[i], err);
		if (r)
			return r;
	}
	for (unsigned i = 0; i < e->workers; i++) {
		int r = worker_start(e->worker[i]);
		if (r) {
			snprintf(err, 256, "a packet worker's thread could not be started: %s",
				 strerror(-r));
			return r;
		}
	}
	return 0;
}

int engine_new(const struct engine_config *c, struct engine **ret, char *err)
{
	struct engine *e = calloc(1, sizeof(*e));
	int r;

	if (!e) {
		snprintf(err, 256, "no memory for the packet path");
		return -ENOMEM;
	}
	e->config = *c;
	e->control_fd = -1;
	e->workers = c->workers ? c->workers : cores();
	if (e->workers > ENGINE_WORKERS_MOST)
		e->workers = ENGINE_WORKERS_MOST;
	r = make_env(e);
	if (!r)
		r = inbox_open(e);
	if (r)
		snprintf(err, 256, "the packet path's tables could not be made: %s", strerror(-r));
	else
		r = start_workers(e, err);
	if (r) {
		engine_free(e);
		return r;
	}
	*ret = e;
	return 0;
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	atomic_store(&e->stop, true);
	for (unsigned i = 0; i < e->workers; i++)
		worker_join(e->worker[i]);
	urcu_qsbr_barrier();
	for (unsigned i = 0; i < e->workers; i++)
		worker_free(e->worker[i]);
	inbox_close(e);
	slots_free(e->links);
	slots_free(e->circuits);
	aead_ctx_free(e->control_dp.aead);
	filler_done(&e->control_filler);
	free(e);
}

int engine_attach_tun(struct engine *e, struct tun *t)
{
	if (e->tun || tun_queues(t) != e->workers)
		return -EINVAL;
	e->tun = t;
	for (unsigned i = 0; i < e->workers; i++) {
		int r;

		atomic_store_explicit(&e->worker[i]->tun, t, memory_order_release);
		r = worker_watch(e->worker[i], tun_fd(t, i), WATCH_TUN);
		if (r) {
			engine_detach_tun(e);
			return r;
		}
	}
	return 0;
}

void engine_detach_tun(struct engine *e)
{
	if (!e->tun)
		return;
	for (unsigned i = 0; i < e->workers; i++) {
		epoll_ctl(e->worker[i]->epoll_fd, EPOLL_CTL_DEL, tun_fd(e->tun, i), NULL);
		atomic_store_explicit(&e->worker[i]->tun, NULL, memory_order_release);
	}
	engine_synchronize(e);
	e->tun = NULL;
}

unsigned engine_workers(const struct engine *e)
{
	return e->workers;
}

/* What all workers' sockets still do. */
static unsigned udp_bits(const struct engine *e)
{
	unsigned all = UDP_OFFLOAD_GSO | UDP_OFFLOAD_GRO;

	for (unsigned i = 0; i < e->workers; i++)
		for (unsigned f = 0; f < FAMILIES; f++)
			if (e->worker[i]->udp[f])
				all &= udp_offloads(e->worker[i]->udp[f]);
	return (all & UDP_OFFLOAD_GSO ? OFFLOAD_GSO : 0) |
	       (all & UDP_OFFLOAD_GRO ? OFFLOAD_GRO : 0);
}

unsigned engine_offloads(const struct engine *e)
{
	return udp_bits(e) | (e->tun ? tun_offloads(e->tun) : 0);
}

uint16_t engine_port(const struct engine *e, uint8_t family)
{
	return e->port[family == 6 ? FAMILY6 : FAMILY4];
}

void engine_drops(const struct engine *e, uint64_t ret[DROP_COUNT])
{
	for (unsigned d = 0; d < DROP_COUNT; d++) {
		ret[d] = drops_get(&e->control_drops, (enum drop)d);
		for (unsigned i = 0; i < e->workers; i++)
			ret[d] += drops_get(&e->worker[i]->drops, (enum drop)d);
	}
}
