/* tests/gate/world.c - see world.h. */
#include "tests/gate/world.h"
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/offload.h"
#include "crypto/kdf.h"
#include "engine/engine_internal.h"
#include "tests/gate/ends.h"
#include "tun/device.h"

#define FULL_DGRAM DATAGRAM_FULL_MOST

/* --- what nobody has for the control thread --- */

static void no_handshake(void *arg, const struct addr *from, unsigned worker, const uint8_t *d,
			 size_t n, nsec_t now)
{
	(void)arg, (void)from, (void)worker, (void)d, (void)n, (void)now;
}

static void no_ctrl(void *arg, uint32_t link_id, const struct addr *from, unsigned worker,
		    uint64_t ctr, uint8_t *body, size_t n, nsec_t now)
{
	(void)arg, (void)link_id, (void)from, (void)worker, (void)ctr, (void)body, (void)n,
		(void)now;
}

static void no_foreign(void *arg, uint32_t link_id, const struct addr *from, nsec_t now)
{
	(void)arg, (void)link_id, (void)from, (void)now;
}

static void no_plain(void *arg, uint32_t circuit_id, const uint8_t *plain, size_t n,
		     size_t datagram, nsec_t now)
{
	(void)arg, (void)circuit_id, (void)plain, (void)n, (void)datagram, (void)now;
}

/* --- parties --- */

static struct engine_inner_ops ops_of(unsigned i)
{
	if (i == CLIENT)
		return client_end_ops();
	if (i == EXIT)
		return exit_end_ops();
	return (struct engine_inner_ops){0};
}

static void open_tun(struct party *p)
{
	char err[TUN_ERROR_BYTES];

	must(!tun_open("gate0", 1, OFFLOAD_ALL, &p->tun, err));
	must(!engine_attach_tun(p->engine, p->tun));
}

static void make_party(struct world *w, unsigned i)
{
	struct party *p = &w->party[i];
	const uint8_t ip[4] = {10, 0, 0, (uint8_t)i};
	char err[256];
	const struct engine_config c = {
		.base = w->base,
		.workers = 1,
		.bind4 = addr_from_ip((uint8_t[]){127, 0, 0, 1}, 4, 0),
		.underlay4 = true,
		.rng = &w->rng,
		.inner = ops_of(i),
		.control = {NULL, no_handshake, no_ctrl, no_foreign, no_plain, NULL},
		.link_bits = 8,
		.circuit_bits = 12,
		.links_most = 64,
		.circuits_most = 2048,
		.pool_packets = 64,
	};

	p->addr = addr_from_ip(ip, 4, (uint16_t)(1000 + i));
	if (engine_new(&c, &p->engine, err)) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	p->thread = kernel_thread();
	if (i == CLIENT || i == EXIT)
		open_tun(p);
}

int world_socket(const struct party *p)
{
	return udp_fd(p->engine->worker[0]->udp[FAMILY4]);
}

int world_tun(const struct party *p)
{
	return tun_fd(p->tun, 0);
}

_Atomic _Bool *world_stop(const struct party *p)
{
	return &p->engine->stop;
}

static struct onion_env *env_of(const struct world *w, unsigned party)
{
	return engine_env(w->party[party].engine);
}

/* --- links and circuits --- */

static void make_end(struct world *w, unsigned party, struct link_data *l,
		     const struct addr *remote, bool initiator)
{
	l->initiator = initiator;
	l->fixed = party > RELAY || (party == RELAY && initiator);
	l->max_dgram = FULL_DGRAM;
	atomic_store(&l->remote, remote);
	must(!slots_add(env_of(w, party)->links, &l->slot, &w->rng));
}

static void make_link(struct world *w, unsigned i)
{
	struct link_data *near = &w->near[i], *far = &w->far[i];

	make_end(w, i, near, &w->party[i + 1].addr, true);
	make_end(w, i + 1, far, &w->party[i].addr, false);
	near->remote_id = far->slot.id;
	far->remote_id = near->slot.id;
}

static void make_direction(struct world *w, unsigned party, struct hop_dir *d)
{
	must(!slots_add(env_of(w, party)->circuits, &d->slot, &w->rng));
}

/* fill_i = S - (n - i + 1) with i from 1; S = n = 3 here, so it is i - 1. */
static void make_circuit(struct world *w, unsigned i)
{
	struct circuit *c = &w->circuit[i];

	c->last = i + 1 == HOPS;
	w->path.layer[i].db = rng_u64(&w->rng) >> 17;
	c->forward = (struct hop_dir){
		.kind = c->last ? HOP_END_FORWARD : HOP_FORWARD,
		.in = &w->far[i],
		.out = c->last ? NULL : &w->near[i + 1],
		.fill = (uint8_t)i,
		.key = &c->kf,
		.offset = rng_u64(&w->rng) >> 17,
		.owner = c,
	};
	make_direction(w, i + 1, &c->forward);
	w->path.layer[i].df = c->forward.offset;
	if (c->last) {
		c->db = w->path.layer[i].db;
		c->back_link = &w->far[i];
		atomic_store(&c->full_dgram, FULL_DGRAM);
		return;
	}
	c->backward = (struct hop_dir){
		.kind = HOP_BACKWARD,
		.in = &w->near[i + 1],
		.out = &w->far[i],
		.fill = (uint8_t)(i + 1),
		.key = &c->kb,
		.offset = w->path.layer[i].db,
		.owner = c,
	};
	make_direction(w, i + 1, &c->backward);
}

static void make_path(struct world *w)
{
	struct path_data *p = &w->path;

	p->hops = p->slots = HOPS;
	p->link = &w->near[0];
	p->backward = (struct hop_dir){.kind = HOP_END_BACKWARD, .in = &w->near[0], .owner = p};
	make_direction(w, CLIENT, &p->backward);
	atomic_store(&p->full_dgram, FULL_DGRAM);
	p->forward_id = w->circuit[0].forward.slot.id;
	for (unsigned i = 0; i < HOPS; i++) {
		struct circuit *c = &w->circuit[i];

		*(c->last ? &c->back_id : &c->backward.out_id) =
			i ? w->circuit[i - 1].backward.slot.id : p->backward.slot.id;
		if (!c->last)
			c->forward.out_id = w->circuit[i + 1].forward.slot.id;
	}
}

/* Forward alone, which is all that they are asked for. */
static void make_others(struct world *w)
{
	for (unsigned i = 0; i < NEXT; i++) {
		const uint8_t ip[4] = {10, 0, 1, (uint8_t)i};

		w->next_addr[i] = addr_from_ip(ip, 4, 2000);
		make_end(w, SECOND_RELAY, &w->next[i], &w->next_addr[i], true);
		w->next[i].remote_id = rng_u32(&w->rng);
	}
	for (unsigned i = 0; i < CIRCUITS; i++) {
		struct circuit *c = &w->other[i];

		c->forward = (struct hop_dir){.kind = HOP_FORWARD,
					      .in = &w->far[1],
					      .out = &w->next[i % NEXT],
					      .out_id = rng_u32(&w->rng),
					      .fill = 1,
					      .key = &c->kf,
					      .owner = c};
		make_direction(w, SECOND_RELAY, &c->forward);
	}
}

/* --- life --- */

struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	must(w && !crypto_init() && !aead_engine_choose("openssl"));
	w->rng = seeded_rng(&w->seeded, 1);
	w->base = event_base_new();
	must(w->base != NULL);
	exit_end_init(&w->rng);
	client_end_init();
	for (unsigned i = 0; i < PARTIES; i++)
		make_party(w, i);
	for (unsigned i = 0; i < HOPS; i++)
		make_link(w, i);
	for (unsigned i = 0; i < HOPS; i++)
		make_circuit(w, i);
	make_path(w);
	make_others(w);
	atomic_store(&w->circuit[HOPS - 1].session, exit_end_session());
	atomic_store(&exit_end_session()->active, &w->circuit[HOPS - 1]);
	client_end_join(env_of(w, CLIENT), &w->path, exit_end_session());
	return w;
}

void world_free(struct world *w)
{
	for (unsigned i = 0; i < PARTIES; i++) {
		if (w->party[i].tun)
			engine_detach_tun(w->party[i].engine);
		engine_free(w->party[i].engine);
		tun_close(w->party[i].tun);
	}
	client_end_done();
	exit_end_done();
	event_base_free(w->base);
	free(w);
}

void world_check_drops(const struct world *w)
{
	for (unsigned i = 0; i < PARTIES; i++) {
		uint64_t n[DROP_COUNT];

		engine_drops(w->party[i].engine, n);
		for (unsigned d = 0; d < DROP_COUNT; d++) {
			if (!n[d])
				continue;
			fprintf(stderr, "party %u dropped %llu: %s\n", i, (unsigned long long)n[d],
				drop_name((enum drop)d));
			exit(1);
		}
	}
}
