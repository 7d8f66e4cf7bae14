/* tests/unit/test_dataplane_batch.c - onion/dataplane_receive.c: batches, cut anywhere, end as a
 * slow receiver ends that takes one datagram at a time (slow_receive.h).
 *
 *   client 0 --- relay 1 --- relay 2 --- exit 3      two circuits and two paths lie on every link
 *
 * Two equal worlds get the same bytes of a hostile neighbour, who has all keys: one world judges
 * one by one, the other in batches. Results, bytes, windows, counts, stamps and drops must be equal
 * after each batch, and no (key, nonce) may seal twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "sim/sealed.h"
#include "unit/chain.h"
#include "unit/slow_receive.h"

#define HOPS	   3
#define BATCH_MOST 80 /* more than DP_BATCH */
#define RAW_MOST   1600
#define PAST	   64

/* --- a world --- */

struct world {
	struct chain *c;
	struct circuit second[HOPS];
	struct path_data path2;
};

static void random_keys(struct world *w, unsigned i)
{
	struct chain *c = w->c;
	struct circuit *r = &w->second[i];
	struct path_keys k;
	rng_bytes(&c->rng, &k, sizeof(k));
	k.df >>= 17;
	k.db >>= 17;
	aead_key_init(&r->kf, c->aead, k.kf, k.ivf);
	aead_key_init(&r->kb, c->aead, k.kb, k.ivb);
	aead_key_init(&w->path2.layer[i].kb, c->aead, k.kb, k.ivb);
	r->forward.offset = k.df;
	w->path2.layer[i].db = k.db;
	if (!r->last)
		r->backward.offset = k.db;
}

static void publish(struct slots *t, struct hop_dir *dir, struct chain *c)
{
	assert_int_equal(slots_add(t, &dir->slot, &c->rng), 0);
}

/* Another circuit beside the chain's own, over the same links. */
static void add_second(struct world *w, unsigned i)
{
	struct chain *c = w->c;
	struct circuit *r = &w->second[i];
	const struct circuit *first = &c->circuit[i];
	r->last = first->last;
	random_keys(w, i);
	r->forward.kind = first->forward.kind;
	r->forward.in = first->forward.in;
	r->forward.out = first->forward.out;
	r->forward.out_id = 0x10000 + i;
	r->forward.fill = first->forward.fill;
	r->forward.key = &r->kf;
	r->forward.owner = r;
	publish(c->party[i + 1].circuits, &r->forward, c);
	if (first->last)
		return;
	r->backward.kind = HOP_BACKWARD;
	r->backward.in = first->backward.in;
	r->backward.out = first->backward.out;
	r->backward.out_id = 0x20000 + i;
	r->backward.fill = first->backward.fill;
	r->backward.key = &r->kb;
	r->backward.owner = r;
	publish(c->party[i + 1].circuits, &r->backward, c);
}

static struct world *world_new(uint64_t seed)
{
	struct world *w = NULL;
	assert_int_equal(posix_memalign((void **)&w, 64, sizeof(*w)), 0);
	memset(w, 0, sizeof(*w));
	struct chain *c = w->c = chain_new(HOPS, seed);
	for (unsigned i = 0; i < HOPS; i++)
		add_second(w, i);
	w->path2.hops = c->path.hops;
	w->path2.slots = c->path.slots;
	w->path2.backward =
		(struct hop_dir){.kind = HOP_END_BACKWARD, .in = &c->near[0], .owner = &w->path2};
	publish(c->party[0].circuits, &w->path2.backward, c);
	return w;
}

static void world_free(struct world *w)
{
	chain_free(w->c);
	free(w);
}

/* Where a pointer into a world points, the same number in both. */
static ptrdiff_t place(const struct world *w, const void *p)
{
	const char *at = p, *chain = (const char *)w->c, *own = (const char *)w;
	if (!p)
		return -1;
	if (at >= chain && at < chain + sizeof(*w->c))
		return at - chain;
	assert_true(at >= own && at < own + sizeof(*w));
	return (ptrdiff_t)sizeof(*w->c) + (at - own);
}

/* --- from where to whom --- */

struct route {
	unsigned party;
	bool behind; /* comes from the next hop, towards the client */
};

static const struct route routes[] = {{1, false}, {2, false}, {3, false},
				      {0, true},  {1, true},  {2, true}};
#define ROUTES (sizeof(routes) / sizeof(routes[0]))

static struct link_data *link_in(struct world *w, struct route r)
{
	return r.behind ? &w->c->near[r.party] : &w->c->far[r.party - 1];
}

/* The neighbour's side of it. */
static struct link_data *link_peer(struct world *w, struct route r)
{
	return r.behind ? &w->c->far[r.party] : &w->c->near[r.party - 1];
}

static struct hop_dir *dir_at(struct world *w, struct route r, unsigned which)
{
	if (r.party == 0)
		return which ? &w->path2.backward : &w->c->path.backward;
	struct circuit *c = which ? &w->second[r.party - 1] : &w->c->circuit[r.party - 1];
	return r.behind ? &c->backward : &c->forward;
}

/* --- what a hostile neighbour makes --- */

struct raw {
	size_t n;
	uint8_t d[RAW_MOST];
};

struct maker {
	struct world
		*w; /* a third one: sealing there changes nothing in the two that are compared */
	struct route r;
	struct rng *rng;
	unsigned wild;	  /* of 100: how many are anything but the next good one */
	unsigned circuit; /* in use */
	uint64_t next[2];
	size_t burst;	/* size of a good one */
	unsigned spoil; /* towards the client: this layer and those around it verify, the one inside
			   does not; 0: all */
	struct raw past[PAST];
	size_t npast;
};

static void seal_for_client(struct maker *m, const struct path_data *p, uint64_t ctr, uint8_t *body,
			    size_t n)
{
	uint64_t at[HOPS];
	for (unsigned i = 0; i < HOPS; i++)
		ctr = at[i] = (ctr - p->layer[i].db) & COUNTER_MASK;
	size_t plain = n - 16 * (size_t)p->slots;
	for (unsigned i = HOPS; i-- > 0; plain += 16) {
		if (i + 1 == m->spoil && i + 1 < HOPS)
			body[rng_below(m->rng, plain)] ^= 2;
		aead_seal(m->w->c->aead, &p->layer[i].kb, at[i], body, plain, body + plain);
	}
}

/* n bytes of circuit `which` under this counter that verify, when they are long enough. */
static void genuine(struct maker *m, unsigned which, uint64_t ctr, size_t n, struct raw *d)
{
	const struct hop_dir *dir = dir_at(m->w, m->r, which);
	const struct header h = {dir->slot.id, HEADER_DATA, ctr & COUNTER_MASK};
	uint8_t *body = d->d + HEADER_BYTES;
	size_t tail = 16 * ((size_t)dir->fill + 1),
	       length = n > HEADER_BYTES ? n - HEADER_BYTES : 0;
	rng_bytes(m->rng, d->d, n);
	d->n = n;
	if (dir->kind == HOP_END_BACKWARD && length >= 16 * TAG_SLOTS_LEAST)
		seal_for_client(m, dir->owner, h.ctr, body, length);
	else if (dir->kind != HOP_BACKWARD && dir->kind != HOP_END_BACKWARD && length >= tail)
		aead_seal(m->w->c->aead, dir->key, h.ctr, body, length - tail,
			  body + length - tail);
	if (n >= HEADER_BYTES)
		datagram_header(m->w->c->aead, link_peer(m->w, m->r), &h, d->d);
}

static void with_header(struct maker *m, uint32_t circuit, uint8_t type, struct raw *d)
{
	const struct header h = {circuit, type, rng_u64(m->rng)};
	d->n = 84 + rng_below(m->rng, 900);
	rng_bytes(m->rng, d->d, d->n);
	datagram_header(m->w->c->aead, link_peer(m->w, m->r), &h, d->d);
}

static void handshake(struct maker *m, struct raw *d)
{
	static const struct {
		uint8_t type;
		size_t n;
	} rows[] = {{LINK_TYPE_INIT, LINK_INIT_BYTES},
		    {LINK_TYPE_RESP, LINK_RESP_BYTES},
		    {LINK_TYPE_COOKIE, LINK_COOKIE_BYTES},
		    {7, LINK_INIT_BYTES}};
	size_t i = rng_below(m->rng, 4);
	d->n = rows[i].n;
	rng_bytes(m->rng, d->d, d->n);
	store_be32(d->d, rng_below(m->rng, 2) ? 0 : rng_u32(m->rng));
	d->d[LINK_ID_BYTES] = rows[i].type;
}

static size_t some_size(struct maker *m)
{
	static const size_t edges[] = {0,   3,	 20,  63,  64,	 83,   84,   85,   116, 131,
				       132, 133, 148, 164, 1440, 1441, 1452, 1453, 1600};
	return rng_below(m->rng, 2) ? edges[rng_below(m->rng, sizeof(edges) / sizeof(edges[0]))]
				    : rng_below(m->rng, RAW_MOST + 1);
}

static void odd_one(struct maker *m, struct raw *d)
{
	unsigned which = m->circuit;
	uint64_t *next = &m->next[which];
	m->spoil = rng_below(m->rng, 4) == 0 ? 1 + (unsigned)rng_below(m->rng, HOPS) : 0;
	switch (rng_below(m->rng, 15)) {
	case 0: /* the same again */
	case 1:
		if (m->npast > 0)
			*d = m->past[rng_below(m->rng, m->npast)];
		else
			genuine(m, which, (*next)++, m->burst, d);
		break;
	case 2: /* a forgery under a number to come */
		genuine(m, which, *next + rng_below(m->rng, 3), m->burst, d);
		d->d[HEADER_BYTES + rng_below(m->rng, d->n - HEADER_BYTES)] ^= 1;
		break;
	case 3: /* another body under a number that was */
		genuine(m, which, *next - 1 - rng_below(m->rng, 4), m->burst, d);
		break;
	case 4: /* ahead, also too far: nearer when the one before verified */
		*next += rng_below(m->rng, REPLAY_MAX_AHEAD + 5000);
		genuine(m, which, (*next)++, m->burst, d);
		break;
	case 5: /* ahead and forged: must not bring the ones behind it nearer */
		genuine(m, which, *next + rng_below(m->rng, 2 * REPLAY_MAX_AHEAD), m->burst, d);
		d->d[d->n - 1 - 16 * rng_below(m->rng, 3)] ^= 0x80;
		break;
	case 6: /* behind, also too old */
		genuine(m, which, *next - rng_below(m->rng, REPLAY_PACKETS + 500), m->burst, d);
		break;
	case 7: /* where ahead turns into behind */
		genuine(m, which, *next + (UINT64_C(1) << 55) + rng_below(m->rng, 4) - 3, m->burst,
			d);
		break;
	case 8:
		genuine(m, which, (*next)++, some_size(m), d);
		break;
	case 9: /* one bit of the header */
		genuine(m, which, *next, m->burst, d);
		d->d[LINK_ID_BYTES + rng_below(m->rng, 16)] ^= 4;
		break;
	case 10:
		with_header(m, dir_at(m->w, m->r, which)->slot.id, (uint8_t)rng_below(m->rng, 4),
			    d);
		break;
	case 11:
		with_header(m, 0, HEADER_CTRL, d);
		break;
	case 12: { /* a circuit that is none, or of another link */
		struct route other = {m->r.party, !m->r.behind};
		bool has = m->r.party > 0 && m->r.party < HOPS;
		with_header(m,
			    has && rng_below(m->rng, 2) ? dir_at(m->w, other, 0)->slot.id
							: rng_u32(m->rng),
			    HEADER_DATA, d);
		break;
	}
	case 13:
		handshake(m, d);
		break;
	default: { /* from the wrong side: another link's id, or garbage */
		bool has = m->r.party > 0 && m->r.party < HOPS;
		d->n = 84 + rng_below(m->rng, 300);
		rng_bytes(m->rng, d->d, d->n);
		if (has)
			store_be32(
				d->d,
				link_in(m->w, (struct route){m->r.party, !m->r.behind})->slot.id);
		break;
	}
	}
}

static void make_one(struct maker *m, struct raw *d)
{
	if (rng_below(m->rng, 20) == 0)
		m->circuit ^= 1;
	if (rng_below(m->rng, 100) < m->wild) {
		odd_one(m, d);
		m->spoil = 0;
	} else {
		genuine(m, m->circuit, m->next[m->circuit]++, m->burst, d);
	}
	if (rng_below(m->rng, 2))
		m->past[m->npast < PAST ? m->npast++ : rng_below(m->rng, PAST)] = *d;
}

/* --- both worlds judge --- */

struct seen {
	uint64_t actions[DP_PLAIN + 1];
	uint64_t drops[DROP_COUNT];
	uint64_t sealed;
};

static void same_result(const struct world *a, const struct world *b, const struct raw *ra,
			const struct dp_result *x, const struct raw *before,
			const struct dp_item *item)
{
	const struct dp_result *y = &item->r;
	assert_int_equal(x->action, y->action);
	assert_int_equal(place(a, x->link), place(b, y->link));
	assert_int_equal(x->header.circuit_id, y->header.circuit_id);
	assert_int_equal(x->header.type, y->header.type);
	assert_true(x->header.ctr == y->header.ctr);
	assert_int_equal(x->worker, y->worker);
	assert_int_equal(place(a, x->end), place(b, y->end));
	assert_int_equal(x->foreign, y->foreign);
	assert_int_equal(x->foreign_link, y->foreign_link);
	assert_int_equal(x->plain_bytes, y->plain_bytes);
	if (x->action != DP_DROP)
		assert_memory_equal(ra->d, item->d, ra->n);
	if (x->action == DP_HANDSHAKE || x->action == DP_HANDOVER || x->action == DP_CTRL)
		assert_memory_equal(item->d, before->d, before->n);
	if (x->action == DP_PLAIN)
		assert_ptr_equal(y->plain, item->d + HEADER_BYTES);
	else
		assert_null(y->plain);
}

static void same_dir(const struct hop_dir *x, const struct hop_dir *y)
{
	assert_memory_equal(&x->window, &y->window, sizeof(x->window));
	assert_int_equal(atomic_load(&x->count), atomic_load(&y->count));
}

static void same_link(const struct link_data *x, const struct link_data *y)
{
	assert_int_equal(atomic_load(&x->last_rx), atomic_load(&y->last_rx));
	assert_int_equal(atomic_load(&x->last_tx), atomic_load(&y->last_tx));
}

static void same_circuit(const struct circuit *x, const struct circuit *y)
{
	same_dir(&x->forward, &y->forward);
	if (!x->last)
		same_dir(&x->backward, &y->backward);
}

static void same_path(const struct path_data *x, const struct path_data *y)
{
	same_dir(&x->backward, &y->backward);
	assert_int_equal(atomic_load(&x->last_rx), atomic_load(&y->last_rx));
	assert_int_equal(atomic_load(&x->unanswered), atomic_load(&y->unanswered));
}

static void same_state(const struct world *a, const struct world *b)
{
	for (unsigned i = 0; i < HOPS; i++) {
		same_link(&a->c->near[i], &b->c->near[i]);
		same_link(&a->c->far[i], &b->c->far[i]);
		same_circuit(&a->c->circuit[i], &b->c->circuit[i]);
		same_circuit(&a->second[i], &b->second[i]);
	}
	same_path(&a->c->path, &b->c->path);
	same_path(&a->path2, &b->path2);
	for (unsigned party = 0; party <= HOPS; party++)
		for (enum drop why = DROP_NONE; why < DROP_COUNT; why++)
			assert_int_equal(chain_dropped(a->c, party, why),
					 chain_dropped(b->c, party, why));
}

/* Cut what arrived into batches of any size, back to back in one buffer as a burst lies. */
static void in_batches(struct world *w, unsigned party, const struct raw *in, size_t n,
		       const struct addr *from, nsec_t now, struct rng *rng, uint8_t *buffer,
		       struct dp_item *items)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		items[i] = (struct dp_item){.d = buffer + at, .n = in[i].n};
		memset(&items[i].r, 0xee, sizeof(items[i].r)); /* as memory may be */
		memcpy(buffer + at, in[i].d, in[i].n);
		at += in[i].n;
	}
	memset(buffer + at, 0x77, 64);
	bool whole = rng_below(rng, 3) == 0;
	for (size_t i = 0, m; i < n; i += m) {
		m = whole ? n : 1 + rng_below(rng, n - i);
		dataplane_receive_batch(&w->c->party[party].t, items + i, m, from, now);
	}
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(buffer[at + i], 0x77);
}

struct pair {
	struct world *one, *many;
	struct raw *in, *judged;
	struct dp_result *r;
	struct dp_item *items;
	uint8_t *buffer;
	struct seen seen;
};

static void pair_init(struct pair *p, uint64_t seed)
{
	memset(p, 0, sizeof(*p));
	p->one = world_new(seed);
	p->many = world_new(seed);
	p->in = calloc(BATCH_MOST, sizeof(*p->in));
	p->judged = calloc(BATCH_MOST, sizeof(*p->judged));
	p->r = calloc(BATCH_MOST, sizeof(*p->r));
	p->items = calloc(BATCH_MOST, sizeof(*p->items));
	p->buffer = malloc(BATCH_MOST * RAW_MOST + 64);
}

static void pair_done(struct pair *p)
{
	world_free(p->one);
	world_free(p->many);
	free(p->in);
	free(p->judged);
	free(p->r);
	free(p->items);
	free(p->buffer);
}

/* p->in[0..n) arrive at the party. */
static void judge(struct pair *p, struct route r, size_t n, const struct addr *from, nsec_t now,
		  struct rng *rng)
{
	sealed_pause(true);
	for (size_t i = 0; i < n; i++) {
		p->judged[i] = p->in[i];
		slow_receive(&p->one->c->party[r.party].t, p->judged[i].d, p->in[i].n, from, now,
			     &p->r[i]);
	}
	sealed_pause(false);
	in_batches(p->many, r.party, p->in, n, from, now, rng, p->buffer, p->items);
	sealed_pause(true);
	for (size_t i = 0; i < n; i++) {
		same_result(p->one, p->many, &p->judged[i], &p->r[i], &p->in[i], &p->items[i]);
		p->seen.actions[p->r[i].action]++;
		p->seen.sealed += p->r[i].action == DP_SEND && r.behind;
	}
	same_state(p->one, p->many);
}

/* --- tests --- */

static int setup(void **state)
{
	(void)state;
	sealed_pause(false);
	sealed_reset();
	return 0;
}

static int no_nonce_twice(void **state)
{
	(void)state;
	sealed_pause(false);
	return sealed_twice() == 0 ? 0 : -1;
}

/* What may differ from one batch to the next, the same in both worlds. */
static void vary(struct pair *p, struct route r, struct rng *rng)
{
	struct world *both[] = {p->one, p->many};
	bool foreign_worker = rng_below(rng, 20) == 0, short_link = rng_below(rng, 10) == 0;
	uint64_t left = rng_below(rng, 8) == 0 ? rng_below(rng, 40) : KEY_PACKETS_MOST;
	unsigned which = (unsigned)rng_below(rng, 2);
	for (unsigned i = 0; i < 2; i++) {
		struct hop_dir *dir = dir_at(both[i], r, which);
		link_in(both[i], r)->owner = foreign_worker ? 5 : 0;
		if (dir->out)
			dir->out->max_dgram = short_link ? 700 : DATAGRAM_FULL_MOST;
		dir->count = KEY_PACKETS_MOST - left;
		atomic_store(&both[i]->c->path.unanswered, 3);
	}
}

static void compare(struct pair *p, struct maker *m, unsigned batches, struct rng *rng)
{
	const struct addr elsewhere = {.family = 4, .port = 9, .ip = {192, 0, 2, 1}};
	nsec_t now = CHAIN_NOW;
	for (unsigned round = 0; round < batches; round++) {
		size_t n = 1 + rng_below(rng, BATCH_MOST);
		m->burst = 200 + rng_below(rng, DATAGRAM_FULL_MOST - 199);
		sealed_pause(true);
		for (size_t i = 0; i < n; i++)
			make_one(m, &p->in[i]);
		vary(p, m->r, rng);
		const struct addr *from =
			&p->one->c->party[m->r.behind ? m->r.party + 1 : m->r.party - 1].addr;
		judge(p, m->r, n, rng_below(rng, 8) ? from : &elsewhere, now, rng);
		now += (nsec_t)rng_below(rng, 3);
	}
}

static void one_route(struct route r, unsigned wild, uint64_t seed, struct seen *sum)
{
	struct seeded s;
	struct rng rng = seeded_rng(&s, seed);
	struct pair p;
	struct maker *m = calloc(1, sizeof(*m));
	sealed_pause(true);
	pair_init(&p, seed);
	*m = (struct maker){.w = world_new(seed), .r = r, .rng = &rng, .wild = wild};
	for (unsigned i = 0; i < 2; i++)
		m->next[i] = rng_below(&rng, 3) ? rng_u64(&rng) & COUNTER_MASK
						: COUNTER_MASK - rng_below(&rng, 500);
	size_t before = sealed_count();
	compare(&p, m, 20, &rng);
	assert_int_equal(sealed_count() - before, p.seen.sealed);
	for (unsigned i = 0; i <= DP_PLAIN; i++)
		sum->actions[i] += p.seen.actions[i];
	for (enum drop why = DROP_NONE; why < DROP_COUNT; why++)
		for (unsigned i = 0; i <= HOPS; i++)
			sum->drops[why] += chain_dropped(p.many->c, i, why);
	world_free(m->w);
	free(m);
	pair_done(&p);
}

static void dataplane_batch_ends_as_one_by_one(void **state)
{
	(void)state;
	static const unsigned wild[] = {2, 15, 60};
	static const enum drop all[] = {DROP_SIZE,	   DROP_LINK_UNKNOWN, DROP_LINK_SOURCE,
					DROP_HEADER,	   DROP_HEADER_TYPE,  DROP_CIRCUIT_UNKNOWN,
					DROP_CIRCUIT_LINK, DROP_DATA_SIZE,    DROP_DATA_AHEAD,
					DROP_DATA_REPLAY,  DROP_DATA_OPEN,    DROP_DATA_KEY_SPENT};
	struct seen sum = {0};
	for (uint64_t seed = 1; seed <= 3; seed++)
		for (size_t i = 0; i < ROUTES; i++)
			for (unsigned k = 0; k < 3; k++)
				one_route(routes[i], wild[k], 100 * seed + 10 * i + k, &sum);
	for (unsigned i = 0; i <= DP_PLAIN; i++)
		assert_true(sum.actions[i] > 100);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_true(sum.drops[all[i]] > 50);
}

/* --- the traps by name --- */

struct step {
	int64_t at;	/* counter, from where the row starts */
	bool forged;	/* its tag is wrong */
	enum drop want; /* NONE: it passes */
};

#define STEPS 24

/* Give all steps to a fresh world in one batch. first 0: nothing has come before. left: packets
 * that the key still serves. */
static void one_batch(struct route r, const struct step *steps, size_t n, bool first, uint64_t left)
{
	struct seeded s;
	struct rng rng = seeded_rng(&s, 7);
	const uint64_t start = UINT64_C(1) << 40;
	static struct raw raw[STEPS];
	struct dp_item items[STEPS];
	sealed_pause(true);
	struct world *w = world_new(7);
	struct maker m = {.w = world_new(7), .r = r, .rng = &rng};
	struct hop_dir *dir = dir_at(w, r, 0);
	const struct addr *from = &w->c->party[r.behind ? r.party + 1 : r.party - 1].addr;
	uint64_t offset = 0, expected[DROP_COUNT] = {0}, passed = 0;
	for (unsigned i = 0; r.party == 0 && i < HOPS; i++)
		offset += w->c->path.layer[i].db;
	if (!first)
		replay_mark(&dir->window, start - 1);
	dir->count = KEY_PACKETS_MOST - left;
	for (size_t i = 0; i < n; i++) {
		/* Forged in the outermost layer that is opened here, or in one further in. */
		m.spoil = steps[i].forged && r.party == 0 ? (unsigned)i % HOPS : 0;
		genuine(&m, 0, start + (uint64_t)steps[i].at + offset, 300, &raw[i]);
		if (steps[i].forged && m.spoil == 0)
			raw[i].d[HEADER_BYTES + 3] ^= 1;
		items[i] = (struct dp_item){.d = raw[i].d, .n = raw[i].n};
		expected[steps[i].want]++;
	}
	sealed_pause(false);
	sealed_reset();
	dataplane_receive_batch(&w->c->party[r.party].t, items, n, from, CHAIN_NOW);
	for (size_t i = 0; i < n; i++) {
		enum dp_action passes = r.party % HOPS == 0 ? DP_PLAIN : DP_SEND;
		assert_int_equal(items[i].r.action, steps[i].want == DROP_NONE ? passes : DP_DROP);
		passed += steps[i].want == DROP_NONE;
	}
	for (enum drop why = DROP_SIZE; why < DROP_COUNT; why++)
		assert_int_equal(chain_dropped(w->c, r.party, why), expected[why]);
	assert_int_equal(dir->count, KEY_PACKETS_MOST - left + passed);
	assert_int_equal(sealed_count(), dir->kind == HOP_BACKWARD ? passed : 0);
	assert_int_equal(sealed_twice(), 0);
	world_free(w);
	world_free(m.w);
}

#define ROW(...)                                                                                   \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

/* A verdict depends on those before it only by what they proved. */
static void dataplane_batch_judges_by_what_verified_before(void **state)
{
	(void)state;
	static const enum drop ok = DROP_NONE, again = DROP_DATA_REPLAY, ahead = DROP_DATA_AHEAD,
			       bad = DROP_DATA_OPEN;
	static const struct {
		bool first;
		size_t n;
		struct step steps[STEPS];
	} rows[] = {
		/* twice, and behind others */
		{false, 5,
		 ROW({0, 0, ok}, {0, 0, again}, {1, 0, ok}, {0, 0, again}, {1, 0, again})},
		/* a forgery uses no number up, and a replay is one whether or not it verifies */
		{false, 5, ROW({0, 1, bad}, {0, 0, ok}, {0, 1, again}, {1, 1, bad}, {1, 1, bad})},
		/* each brings the next one near enough */
		{false, 4, ROW({0, 0, ok}, {65536, 0, ok}, {131072, 0, ok}, {196609, 0, ahead})},
		/* a forgery does not */
		{false, 4, ROW({0, 0, ok}, {65536, 1, bad}, {131072, 0, ahead}, {65535, 0, ok})},
		{false, 4, ROW({65536, 0, ahead}, {65535, 1, bad}, {65536, 0, ahead}, {0, 0, ok})},
		/* one that moves the window leaves the others behind */
		{false, 5,
		 ROW({0, 0, ok}, {5000, 0, ok}, {1, 0, again}, {904, 0, again}, {905, 0, ok})},
		/* the first that verifies starts the window, whatever its number */
		{true, 4, ROW({1 << 20, 1, bad}, {0, 0, ok}, {1 << 20, 0, ahead}, {0, 0, again})},
		{true, 4,
		 ROW({1 << 20, 0, ok}, {0, 0, again}, {(1 << 20) + 65537, 0, ahead},
		     {(1 << 20) - 4095, 0, ok})},
	};
	static const struct route opened[] = {{1, false}, {2, false}, {3, false}, {0, true}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t k = 0; k < sizeof(opened) / sizeof(opened[0]); k++)
			one_batch(opened[k], rows[i].steps, rows[i].n, rows[i].first,
				  KEY_PACKETS_MOST);
}

/* A relay cannot tell a forgery backward: the number is used up by whoever comes first. */
static void dataplane_batch_seals_backward_once_for_a_counter(void **state)
{
	(void)state;
	static const enum drop ok = DROP_NONE, again = DROP_DATA_REPLAY, ahead = DROP_DATA_AHEAD;
	static const struct step steps[] = {{0, 1, ok},	       {0, 0, again},	   {1, 0, ok},
					    {0, 0, again},     {1, 1, again},	   {65537, 1, ok},
					    {65537, 0, again}, {131074, 0, ahead}, {131073, 1, ok},
					    {2, 0, again}};
	one_batch((struct route){1, true}, steps, sizeof(steps) / sizeof(steps[0]), false,
		  KEY_PACKETS_MOST);
	one_batch((struct route){2, true}, steps, sizeof(steps) / sizeof(steps[0]), false,
		  KEY_PACKETS_MOST);
}

/* The key's last packets in the middle of a batch: what does not verify takes none of them. */
static void dataplane_batch_ends_with_the_key(void **state)
{
	(void)state;
	for (uint64_t left = 0; left <= STEPS; left++) {
		for (size_t k = 0; k < ROUTES; k++) {
			struct step steps[STEPS];
			uint64_t served = 0;
			bool backward = routes[k].behind && routes[k].party > 0;
			for (size_t i = 0; i < STEPS; i++) {
				bool forged = i % 3 == 1 && !backward;
				enum drop want = forged ? DROP_DATA_OPEN : DROP_NONE;
				steps[i] =
					(struct step){(int64_t)i, forged,
						      served == left ? DROP_DATA_KEY_SPENT : want};
				served += served < left && !forged;
			}
			one_batch(routes[k], steps, STEPS, false, left);
		}
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, no_nonce_twice)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dataplane_batch_ends_as_one_by_one),
		TEST(dataplane_batch_judges_by_what_verified_before),
		TEST(dataplane_batch_seals_backward_once_for_a_counter),
		TEST(dataplane_batch_ends_with_the_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
