/* tests/unit/links_world.h - parties with links, a wire in memory and a clock of its own, for the
 * tests of links.
 *
 * Datagrams go through the real dataplane_receive(). What a party retires is freed at once: whoever
 * still uses it is found by the address sanitizer.
 */
#pragma once
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "crypto/handshake.h"
#include "onion/ctrl.h"
#include "onion/link_init.h"
#include "onion/links.h"
#include "unit/seeded.h"

#define WIRE_MOST   4096
#define WIRE_DELAY  (10 * NSEC_PER_MSEC)
#define UNIX_START  UINT64_C(1700000000)
#define NET_ID	    77
#define KEYID	    5
#define PARTIES	    3
#define FRAMES_KEPT 64
#define MS(n)	    ((n)*NSEC_PER_MSEC)
#define SEC(n)	    ((n)*NSEC_PER_SEC)

struct parcel {
	struct addr from, to;
	nsec_t at;
	size_t n;
	uint8_t d[DATAGRAM_MAX];
};

struct world;

struct party {
	struct world *world;
	struct links *links;
	struct links_config config;
	struct onion_env env;
	struct periods periods;
	struct addr addr;
	struct onion_keypair key;
	uint8_t id[32];
	struct rng rng;
	struct drops drops;
	struct slots *slots, *circuits;
	struct aead_ctx *aead;
	struct filler filler;
	struct dp_thread dp;
	int64_t clock_off_s; /* how wrong its wall clock is */
	bool in_consensus;   /* others take it for a relay */
	uint64_t serial;
	/* what it was told */
	unsigned ups, deads, failures, frames;
	int why;
	struct link *up, *dead;
	struct ctrl_frame frame[FRAMES_KEPT];
	unsigned sent;
	size_t sent_bytes, sent_last;
	bool keeps; /* keeps: lets go of no dead link */
	void (*on_up)(struct party *p, struct link *l);
	void (*on_dead)(struct party *p, struct link *l);
};

struct world {
	nsec_t now;
	struct seeded seed;
	struct party p[PARTIES];
	struct parcel *wire; /* any order */
	size_t on_wire;
	/* the wire's faults, in percent */
	unsigned loss, twice, late;
	/* false: the datagram is lost */
	bool (*filter)(struct world *w, struct parcel *k);
	uint8_t last_init[LINK_INIT_BYTES];
};

static inline struct rng world_rng(struct world *w)
{
	return (struct rng){seeded_fill, &w->seed};
}

static inline bool chance(struct world *w, unsigned percent)
{
	return percent > 0 && seeded_u64(&w->seed) % 100 < percent;
}

static inline void wire_put(struct world *w, const struct addr *from, const struct addr *to,
			    const uint8_t *d, size_t n)
{
	struct parcel k = {*from, *to, w->now + WIRE_DELAY, n, {0}};
	assert_true(n <= sizeof(k.d));
	memcpy(k.d, d, n);
	if ((w->filter && !w->filter(w, &k)) || chance(w, w->loss))
		return;
	if (chance(w, w->late))
		k.at += (nsec_t)(seeded_u64(&w->seed) % (uint64_t)MS(80));
	for (unsigned copies = chance(w, w->twice) ? 2 : 1; copies > 0; copies--) {
		assert_true(w->on_wire < WIRE_MOST);
		w->wire[w->on_wire++] = k;
	}
}

static inline void party_send(void *arg, const struct addr *to, const uint8_t *d, size_t n)
{
	struct party *p = arg;
	p->sent++;
	p->sent_bytes += n;
	p->sent_last = n;
	if (n == LINK_INIT_BYTES && d[4] == LINK_TYPE_INIT && load_be32(d) == 0)
		memcpy(p->world->last_init, d, n);
	wire_put(p->world, &p->addr, to, d, n);
}

static inline void party_retire(void *arg, void *object, void (*free_fn)(void *object))
{
	(void)arg;
	free_fn(object);
}

static inline void party_on_up(void *arg, struct link *l, nsec_t now)
{
	struct party *p = arg;
	assert_true(link_is_up(l));
	p->ups++;
	p->up = l;
	if (p->on_up)
		p->on_up(p, l);
	(void)now;
}

static inline void party_on_failed(void *arg, struct link *l, int why, nsec_t now)
{
	(void)now;
	struct party *p = arg;
	assert_false(link_is_up(l));
	p->failures++;
	p->why = why;
}

static inline void party_on_dead(void *arg, struct link *l, nsec_t now)
{
	struct party *p = arg;
	p->deads++;
	p->dead = l;
	assert_non_null(link_data_of(l));
	if (p->on_dead)
		p->on_dead(p, l);
	while (!p->keeps && link_circuits(l) > 0)
		link_release(l, now);
}

static inline void party_on_frame(void *arg, struct link *l, enum frame_type type,
				  const uint8_t *data, size_t n, nsec_t now)
{
	(void)now;
	struct party *p = arg;
	assert_true(link_is_up(l));
	assert_int_equal(n, ctrl_frame_bytes(type));
	assert_non_null(data);
	p->frame[p->frames++ % FRAMES_KEPT] = (struct ctrl_frame){type, NULL, n};
}

static inline bool party_relay_at(void *arg, const struct addr *a, uint8_t ret_id[32])
{
	struct party *p = arg;
	for (unsigned i = 0; i < PARTIES; i++) {
		struct party *q = &p->world->p[i];
		if (q->in_consensus && addr_equal(&q->addr, a)) {
			memcpy(ret_id, q->id, 32);
			return true;
		}
	}
	return false;
}

static inline const struct onion_keypair *party_onion_key(void *arg, uint16_t keyid)
{
	struct party *p = arg;
	return keyid == KEYID ? &p->key : NULL;
}

static inline uint64_t party_serial(void *arg)
{
	return ((struct party *)arg)->serial;
}

static inline uint64_t party_unix(void *arg)
{
	struct party *p = arg;
	uint64_t elapsed = (uint64_t)(p->world->now / NSEC_PER_SEC);
	return UNIX_START + elapsed + (uint64_t)p->clock_off_s;
}

/* Make party i; its links come with party_start(), so that a test can change the config before. */
static inline struct party *party_init(struct world *w, unsigned i, enum link_role role)
{
	struct party *p = &w->p[i];
	p->world = w;
	p->rng = world_rng(w);
	char text[32];
	snprintf(text, sizeof(text), "192.0.2.%u:%u", 10 + i, 4000 + i);
	assert_int_equal(addr_parse(text, &p->addr), 0);
	onion_keypair_new(&p->key, &p->rng);
	rng_bytes(&p->rng, p->id, sizeof(p->id));
	p->slots = slots_new(16, 65536);
	p->circuits = slots_new(8, 256);
	p->aead = aead_ctx_new();
	filler_init(&p->filler, &p->rng);
	p->periods = (struct periods)PERIODS_DEFAULT;
	p->serial = 4711 + i;
	p->dp = (struct dp_thread){.aead = p->aead,
				   .filler = &p->filler,
				   .drops = &p->drops,
				   .links = p->slots,
				   .circuits = p->circuits};
	p->env = (struct onion_env){p,	    party_send, party_retire, &p->rng,	   p->aead,
				    &p->dp, &p->drops,	p->slots,     p->circuits, &p->periods};
	p->config = (struct links_config){
		.env = &p->env,
		.ops = {p, party_on_up, party_on_failed, party_on_dead, party_on_frame,
			party_relay_at, party_onion_key, party_serial, party_unix},
		.role = role,
		.responds = role == ROLE_RELAY,
		.net_id = NET_ID,
		.max_dgram = DATAGRAM_FULL_MOST,
		.links_most = LINKS_MOST,
		.half_open_most = HALF_OPEN_MOST,
		.inits_per_s_busy = 1000,
		.init_replay_most = 4096,
	};
	memcpy(p->config.id, p->id, sizeof(p->id));
	return p;
}

static inline void party_start(struct party *p)
{
	p->links = links_new(&p->config, p->world->now);
	assert_non_null(p->links);
}

static inline void party_stop(struct party *p)
{
	if (!p->world)
		return;
	links_free(p->links);
	assert_int_equal(slots_count(p->slots), 0); /* nothing is left behind */
	slots_free(p->slots);
	slots_free(p->circuits);
	aead_ctx_free(p->aead);
	filler_done(&p->filler);
}

/* A client (0) and a relay (1), not started. */
static inline struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->seed.state = 42;
	w->now = SEC(1000);
	w->wire = calloc(WIRE_MOST, sizeof(*w->wire));
	assert_non_null(w->wire);
	party_init(w, 0, ROLE_CLIENT);
	party_init(w, 1, ROLE_RELAY);
	return w;
}

static inline struct world *world_started(void)
{
	struct world *w = world_new();
	party_start(&w->p[0]);
	party_start(&w->p[1]);
	return w;
}

static inline void world_free(struct world *w)
{
	for (unsigned i = 0; i < PARTIES; i++)
		party_stop(&w->p[i]);
	free(w->wire);
	free(w);
}

static inline uint64_t drops_of(const struct party *p, enum drop why)
{
	return drops_get(&p->drops, why);
}

/* One datagram as its receiver's worker and control thread see it. */
static inline void party_receive(struct party *p, struct parcel *k)
{
	struct dp_result r;
	dataplane_receive(&p->dp, k->d, k->n, &k->from, p->world->now, &r);
	if (r.action == DP_HANDSHAKE)
		links_on_handshake(p->links, &k->from, 0, k->d, k->n, p->world->now);
	else if (r.action == DP_CTRL)
		links_on_ctrl(p->links, load_be32(k->d), &k->from, 0, r.header.ctr,
			      k->d + HEADER_BYTES, k->n - HEADER_BYTES, p->world->now);
	else
		assert_int_equal(r.action, DP_DROP);
}

static inline void deliver(struct world *w, size_t i)
{
	struct parcel k = w->wire[i];
	w->wire[i] = w->wire[--w->on_wire];
	for (unsigned j = 0; j < PARTIES; j++) {
		if (w->p[j].links && addr_equal(&w->p[j].addr, &k.to))
			party_receive(&w->p[j], &k);
	}
}

static inline nsec_t first_parcel(const struct world *w, size_t *ret)
{
	nsec_t at = NSEC_NEVER;
	for (size_t i = 0; i < w->on_wire; i++) {
		if (w->wire[i].at < at) {
			at = w->wire[i].at;
			*ret = i;
		}
	}
	return at;
}

/* Let everything happen until `end`, in its order. */
static inline void run_until(struct world *w, nsec_t end)
{
	for (;;) {
		size_t parcel = 0;
		nsec_t at = first_parcel(w, &parcel);
		struct party *timer = NULL;
		for (unsigned i = 0; i < PARTIES; i++) {
			nsec_t due =
				w->p[i].links ? links_next_deadline(w->p[i].links) : NSEC_NEVER;
			if (due < at) {
				at = due;
				timer = &w->p[i];
			}
		}
		if (at > end)
			break;
		if (at > w->now)
			w->now = at;
		if (timer)
			links_on_timer(timer->links, w->now);
		else
			deliver(w, parcel);
	}
	w->now = end;
}

static inline void run_for(struct world *w, nsec_t span)
{
	run_until(w, w->now + span);
}

static inline struct link_target target_of(const struct party *p)
{
	struct link_target t = {.keyid = KEYID, .addr = p->addr};
	memcpy(t.id, p->id, 32);
	memcpy(t.onion_key, p->key.public_key, 32);
	return t;
}

static inline struct link *open_link(struct party *from, const struct party *to)
{
	struct link_target t = target_of(to);
	struct link *l = NULL;
	assert_int_equal(links_open(from->links, &t, from->world->now, &l), 0);
	return l;
}

/* A link of party 0 to party 1 that is up on both sides. */
static inline struct link *link_up(struct world *w)
{
	unsigned before = w->p[0].ups;
	struct link *l = open_link(&w->p[0], &w->p[1]);
	run_for(w, MS(50));
	assert_int_equal(w->p[0].ups, before + 1);
	assert_ptr_equal(w->p[0].up, l);
	return l;
}

/* The other side's view of a link of party 0. */
static inline struct link *other_side(struct world *w, struct link *l)
{
	struct slot *s = slots_find(w->p[1].slots, link_data_of(l)->remote_id);
	return s ? ((struct link_data *)s)->control : NULL;
}

/* What a worker does when it sends or takes a DATA packet on l. */
static inline void data_sent(struct world *w, struct link *l)
{
	atomic_store(&link_data_of(l)->last_tx, w->now);
}

static inline void data_came(struct world *w, struct link *l)
{
	atomic_store(&link_data_of(l)->last_rx, w->now);
}

static inline int world_begin(void **state)
{
	(void)state;
	return crypto_init() || aead_engine_choose("openssl");
}
