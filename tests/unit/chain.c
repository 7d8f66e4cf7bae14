/* tests/unit/chain.c - see chain.h. */
#include "unit/chain.h"

#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"

static void must(bool fact)
{
	if (!fact)
		abort();
}

static void party_init(struct chain *c, unsigned i)
{
	struct party *p = &c->party[i];
	const uint8_t ip[4] = {10, 0, 0, (uint8_t)i};
	p->addr = addr_from_ip(ip, 4, (uint16_t)(1000 + i));
	p->links = slots_new(8, 64);
	p->circuits = slots_new(8, 64);
	must(p->links && p->circuits);
	filler_init(&p->filler, &c->rng);
	p->t = (struct dp_thread){.aead = c->aead,
				  .filler = &p->filler,
				  .drops = &p->drops,
				  .links = p->links,
				  .circuits = p->circuits};
}

static void link_init(struct chain *c, unsigned i)
{
	struct link_data *near = &c->near[i], *far = &c->far[i];
	uint8_t f[32], b[32];
	rng_bytes(&c->rng, f, sizeof(f));
	rng_bytes(&c->rng, b, sizeof(b));
	header_key_init(&near->tx, c->aead, f);
	header_key_init(&far->rx, c->aead, f);
	header_key_init(&near->rx, c->aead, b);
	header_key_init(&far->tx, c->aead, b);
	near->initiator = true;
	far->fixed = i > 0;
	near->max_dgram = far->max_dgram = DATAGRAM_FULL_MOST;
	atomic_store(&near->remote, &c->party[i + 1].addr);
	atomic_store(&far->remote, &c->party[i].addr);
	must(slots_add(c->party[i].links, &near->slot, &c->rng) == 0);
	must(slots_add(c->party[i + 1].links, &far->slot, &c->rng) == 0);
	near->remote_id = far->slot.id;
	far->remote_id = near->slot.id;
}

void chain_set_keys(struct chain *c, unsigned i, const struct path_keys *k)
{
	struct circuit *r = &c->circuit[i];
	aead_key_init(&r->kf, c->aead, k->kf, k->ivf);
	aead_key_init(&r->kb, c->aead, k->kb, k->ivb);
	aead_key_init(&c->path.layer[i].kf, c->aead, k->kf, k->ivf);
	aead_key_init(&c->path.layer[i].kb, c->aead, k->kb, k->ivb);
	c->path.layer[i].df = r->forward.offset = k->df;
	c->path.layer[i].db = *(r->last ? &r->db : &r->backward.offset) = k->db;
}

static void keys_init(struct chain *c, unsigned i)
{
	struct path_keys k;
	rng_bytes(&c->rng, &k, sizeof(k));
	k.df >>= 17;
	k.db >>= 17;
	c->circuit[i].last = i + 1 == c->hops;
	chain_set_keys(c, i, &k);
}

/* fill_i = S - (n - i + 1) with i from 1. */
static uint8_t fill_of(const struct chain *c, unsigned i)
{
	return (uint8_t)(tag_slots(c->hops) - (c->hops - i + 1));
}

static void circuit_init(struct chain *c, unsigned i)
{
	struct circuit *r = &c->circuit[i];
	struct party *p = &c->party[i + 1];
	r->forward = (struct hop_dir){
		.kind = r->last ? HOP_END_FORWARD : HOP_FORWARD,
		.in = &c->far[i],
		.out = r->last ? NULL : &c->near[i + 1],
		.fill = fill_of(c, i + 1),
		.key = &r->kf,
		.offset = c->path.layer[i].df,
		.owner = r,
	};
	must(slots_add(p->circuits, &r->forward.slot, &c->rng) == 0);
	if (r->last) {
		r->back_link = &c->far[i];
		r->sealed_first = rng_u64(&c->rng) >> 17;
		atomic_store(&r->sealed, r->sealed_first);
		atomic_store(&r->full_dgram, DATAGRAM_FULL_MOST);
		return;
	}
	r->backward = (struct hop_dir){
		.kind = HOP_BACKWARD,
		.in = &c->near[i + 1],
		.out = &c->far[i],
		.fill = fill_of(c, i + 2),
		.key = &r->kb,
		.offset = c->path.layer[i].db,
		.owner = r,
	};
	must(slots_add(p->circuits, &r->backward.slot, &c->rng) == 0);
}

static void path_init(struct chain *c)
{
	struct path_data *p = &c->path;
	p->hops = (uint8_t)c->hops;
	p->slots = (uint8_t)tag_slots(c->hops);
	p->link = &c->near[0];
	p->backward = (struct hop_dir){.kind = HOP_END_BACKWARD, .in = &c->near[0], .owner = p};
	must(slots_add(c->party[0].circuits, &p->backward.slot, &c->rng) == 0);
	p->sealed_first = rng_u64(&c->rng) >> 17;
	atomic_store(&p->sealed, p->sealed_first);
	atomic_store(&p->full_dgram, DATAGRAM_FULL_MOST);
}

/* Tell each side the circuit ids that its neighbour chose. */
static void join_ids(struct chain *c)
{
	c->path.forward_id = c->circuit[0].forward.slot.id;
	for (unsigned i = 0; i < c->hops; i++) {
		struct circuit *r = &c->circuit[i];
		uint32_t back =
			i == 0 ? c->path.backward.slot.id : c->circuit[i - 1].backward.slot.id;
		*(r->last ? &r->back_id : &r->backward.out_id) = back;
		if (!r->last)
			r->forward.out_id = c->circuit[i + 1].forward.slot.id;
	}
}

struct chain *chain_new(unsigned hops, uint64_t seed)
{
	struct chain *c = NULL;
	must(crypto_init() == 0 && posix_memalign((void **)&c, 64, sizeof(*c)) == 0);
	memset(c, 0, sizeof(*c));
	c->hops = hops;
	c->rng = seeded_rng(&c->seeded, seed);
	c->aead = aead_ctx_new();
	must(c->aead);
	for (unsigned i = 0; i <= hops; i++)
		party_init(c, i);
	for (unsigned i = 0; i < hops; i++) {
		link_init(c, i);
		keys_init(c, i);
	}
	for (unsigned i = 0; i < hops; i++)
		circuit_init(c, i);
	path_init(c);
	join_ids(c);
	return c;
}

void chain_free(struct chain *c)
{
	for (unsigned i = 0; i <= c->hops; i++) {
		slots_free(c->party[i].links);
		slots_free(c->party[i].circuits);
		filler_done(&c->party[i].filler);
	}
	aead_ctx_free(c->aead);
	free(c);
}

/* Who sent it is told by the link id that it carries. */
void chain_give(struct chain *c, unsigned to, struct datagram *d, struct dp_result *ret)
{
	uint32_t id = load_be32(d->d);
	bool from_next = to == 0 || (to < c->hops && c->near[to].slot.id == id);
	unsigned from = from_next ? to + 1 : to - 1;
	dataplane_receive(&c->party[to].t, d->d, d->n, &c->party[from].addr, CHAIN_NOW, ret);
}

bool chain_seal_path(struct chain *c, struct datagram *d, const void *plain, size_t n,
		     uint16_t full, enum padding how)
{
	memcpy(d->d + HEADER_BYTES, plain, n);
	d->n = path_seal(&c->party[0].t, &c->path, d->d, n, full, how);
	return d->n > 0;
}

bool chain_seal_circuit(struct chain *c, struct datagram *d, const void *plain, size_t n,
			uint16_t full, enum padding how)
{
	memcpy(d->d + HEADER_BYTES, plain, n);
	d->n = circuit_seal(&c->party[c->hops].t, &c->circuit[c->hops - 1], d->d, n, full, how);
	return d->n > 0;
}

struct dp_result chain_run_forward(struct chain *c, struct datagram *d, unsigned from,
				   struct datagram *on, unsigned *ret_party)
{
	struct dp_result r = {.action = DP_DROP};
	for (unsigned to = from + 1; to <= c->hops; to++) {
		if (on)
			on[to - 1] = *d;
		*ret_party = to;
		chain_give(c, to, d, &r);
		if (r.action != DP_SEND)
			break;
		must(r.link == &c->near[to]);
	}
	return r;
}

struct dp_result chain_run_backward(struct chain *c, struct datagram *d, unsigned from,
				    struct datagram *on, unsigned *ret_party)
{
	struct dp_result r = {.action = DP_DROP};
	for (unsigned to = from; to-- > 0;) {
		if (on)
			on[to] = *d;
		*ret_party = to;
		chain_give(c, to, d, &r);
		if (r.action != DP_SEND)
			break;
		must(r.link == &c->far[to - 1]);
	}
	return r;
}

uint64_t chain_dropped(const struct chain *c, unsigned party, enum drop why)
{
	return drops_get(&c->party[party].drops, why);
}
