/* tests/unit/fake_net.c - see fake_net.h. */
#include "unit/fake_net.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool fact, const char *what)
{
	if (fact)
		return;
	fprintf(stderr, "fake_net: %s\n", what);
	abort();
}

/* links.h, as circuits and paths see it */

static struct fake_party *party_of(struct fake_net *n, const uint8_t id[32])
{
	for (unsigned i = 0; i < n->parties; i++)
		if (memcmp(n->party[i].id, id, 32) == 0)
			return &n->party[i];
	return NULL;
}

static struct link *end_new(struct fake_party *p, bool initiator)
{
	struct link *l = calloc(1, sizeof(*l));
	must(l && posix_memalign((void **)&l->data, 64, sizeof(*l->data)) == 0, "memory");
	memset(l->data, 0, sizeof(*l->data));
	l->net = p->net;
	l->owner = p;
	l->data->initiator = initiator;
	l->data->max_dgram = DATAGRAM_FULL_MOST;
	must(slots_add(p->link_table, &l->data->slot, &p->net->rng) == 0, "link table");
	l->next = p->net->links;
	p->net->links = l;
	return l;
}

static struct link *pair_new(struct fake_party *from, struct fake_party *to)
{
	struct link *a = end_new(from, true), *b = end_new(to, false);
	uint8_t f[32], r[32];
	rng_bytes(&from->net->rng, f, sizeof(f));
	rng_bytes(&from->net->rng, r, sizeof(r));
	header_key_init(&a->data->tx, from->net->aead, f);
	header_key_init(&b->data->rx, from->net->aead, f);
	header_key_init(&a->data->rx, from->net->aead, r);
	header_key_init(&b->data->tx, from->net->aead, r);
	a->peer = b;
	b->peer = a;
	a->data->remote_id = b->data->slot.id;
	b->data->remote_id = a->data->slot.id;
	atomic_store(&a->data->remote, &to->addr);
	atomic_store(&b->data->remote, &from->addr);
	memcpy(a->id, to->id, 32);
	memcpy(b->id, from->id, 32);
	a->relay = true;
	return a;
}

struct link *links_find(struct links *s, const uint8_t id[32])
{
	for (struct link *l = s->party->net->links; l; l = l->next)
		if (l->owner == s->party && l->data->initiator && !l->dead && !l->drained &&
		    memcmp(l->id, id, 32) == 0)
			return l;
	return NULL;
}

int links_open(struct links *s, const struct link_target *t, nsec_t now, struct link **ret)
{
	(void)now;
	if (s->refuse)
		return s->refuse;
	struct fake_party *to = party_of(s->party->net, t->id);
	must(to, "a link to nobody");
	*ret = pair_new(s->party, to);
	s->opened++;
	(*ret)->peer->relay = s->party->circuits != NULL;
	if (!s->manual)
		(*ret)->up = (*ret)->peer->up = true;
	return 0;
}

int link_send(struct link *l, enum frame_type type, const void *data, size_t n, nsec_t now)
{
	struct fake_net *net = l->net;
	must(now == net->now, "a frame at another time");
	must(n <= FAKE_FRAME_MOST, "a frame too long");
	if (!l->up)
		return -ENOTCONN;
	if (net->tail == net->room) {
		net->room = net->room ? 2 * net->room : 64;
		net->queue = reallocarray(net->queue, net->room, sizeof(*net->queue));
		must(net->queue, "memory");
	}
	net->sent++;
	struct fake_frame *f = &net->queue[net->tail++];
	f->to = l->peer;
	f->type = type;
	f->n = n;
	memcpy(f->data, data, n);
	return 0;
}

static void tell_dead(struct link *l)
{
	l->up = false;
	l->dead = true;
	if (l->owner->circuits)
		circuits_on_link_dead(l->owner->circuits, l, l->net->now);
	if (l->owner->paths)
		paths_on_link_dead(l->owner->paths, l, l->net->now);
}

void link_hold(struct link *l, nsec_t now)
{
	(void)now;
	l->holds++;
}

void link_release(struct link *l, nsec_t now)
{
	(void)now;
	must(l->holds > 0, "released once too often");
	if (--l->holds == 0 && l->drained && !l->dead)
		tell_dead(l);
}

void link_probe(struct link *l, nsec_t now)
{
	(void)now;
	l->probes++;
}

bool link_is_up(const struct link *l)
{
	return l->up;
}

bool link_is_relay(const struct link *l)
{
	return l->relay;
}

const uint8_t *link_id_of(const struct link *l)
{
	return l->relay ? l->id : NULL;
}

struct link_data *link_data_of(const struct link *l)
{
	return l->data;
}

void *link_user(const struct link *l)
{
	return l->user;
}

void link_set_user(struct link *l, void *user)
{
	l->user = user;
}

/* ops */

static bool find_relay(void *arg, const uint8_t id[32], struct link_target *ret)
{
	struct fake_party *self = arg, *p = party_of(self->net, id);
	if (!p || p->keyid == 0)
		return false;
	*ret = fake_hop(self->net, (unsigned)(p - self->net->party)).target;
	return true;
}

static bool on_end(void *arg, struct circuit *c, const uint8_t h[32], const uint8_t res[32],
		   nsec_t now)
{
	struct fake_party *p = arg;
	must(now == p->net->now && c->last, "on_end");
	if (p->refuse_end)
		return false;
	p->ends++;
	p->end = c;
	memcpy(p->end_h, h, 32);
	memcpy(p->end_res, res, 32);
	return true;
}

static void on_end_gone(void *arg, struct circuit *c, nsec_t now)
{
	struct fake_party *p = arg;
	must(now == p->net->now && c->last, "on_end_gone");
	p->ends_gone++;
	circuits_end_granted(p->circuits, c, false); /* too late, and harmless */
	circuits_close_end(p->circuits, c, CLOSE_DONE, now);
	if (p->end == c)
		p->end = NULL;
}

static uint64_t unix_seconds(void *arg)
{
	return ((struct fake_party *)arg)->net->unix_s;
}

static const struct onion_keypair *onion_key(void *arg, uint16_t keyid)
{
	struct fake_party *p = arg;
	return keyid == p->keyid ? &p->key : NULL;
}

static void on_ready(void *arg, struct path *path, nsec_t now)
{
	struct fake_party *p = arg;
	must(now == p->net->now, "on_ready");
	p->ready++;
	p->last_path = path;
}

static void on_gone(void *arg, struct path *path, int hop, enum build_status status, nsec_t now)
{
	struct fake_party *p = arg;
	p->gone++;
	p->last_path = path;
	p->gone_hop = hop;
	p->gone_status = status;
	if (p->free_when_gone)
		path_free(path, now);
}

static void retire(void *arg, void *object, void (*free_fn)(void *object))
{
	struct fake_net *n = ((struct fake_party *)arg)->net;
	if (n->nretired == n->retired_room) {
		n->retired_room = n->retired_room ? 2 * n->retired_room : 64;
		n->retired = reallocarray(n->retired, n->retired_room, sizeof(*n->retired));
		must(n->retired, "memory");
	}
	n->retired[n->nretired++] = (struct retired){object, free_fn};
}

/* the net */

static void party_init(struct fake_net *n, unsigned i)
{
	struct fake_party *p = &n->party[i];
	p->net = n;
	rng_bytes(&n->rng, p->id, sizeof(p->id));
	onion_keypair_new(&p->key, &n->rng);
	p->keyid = (uint16_t)(i + 7);
	p->addr = (struct addr){
		.family = 4, .port = (uint16_t)(1000 + i), .ip = {192, 0, 2, (uint8_t)i}};
	p->link_table = slots_new(10, 1024);
	p->circuit_table = slots_new(16, 65536);
	must(p->link_table && p->circuit_table, "tables");
	filler_init(&p->filler, &n->rng);
	p->dp = (struct dp_thread){
		.aead = n->aead,
		.filler = &p->filler,
		.drops = &p->drops,
		.links = p->link_table,
		.circuits = p->circuit_table,
	};
	p->links.party = p;
	p->env = (struct onion_env){
		.arg = p,
		.retire = retire,
		.rng = &n->rng,
		.aead = n->aead,
		.dp = &p->dp,
		.drops = &p->drops,
		.links = p->link_table,
		.circuits = p->circuit_table,
		.periods = &n->periods,
	};
}

struct fake_net *fake_net_new(unsigned parties, uint64_t seed)
{
	struct fake_net *n = calloc(1, sizeof(*n));
	must(n && parties <= FAKE_PARTIES_MOST && crypto_init() == 0, "start");
	must(aead_engine_choose("openssl") == 0 && (n->aead = aead_ctx_new()), "aead");
	n->rng = seeded_rng(&n->seeded, seed);
	n->now = FAKE_START;
	n->unix_s = FAKE_UNIX;
	n->periods = (struct periods)PERIODS_DEFAULT;
	n->parties = parties;
	for (unsigned i = 0; i < parties; i++)
		party_init(n, i);
	return n;
}

static void party_done(struct fake_party *p)
{
	paths_free(p->paths);
	circuits_free(p->circuits);
	must(slots_count(p->circuit_table) == 0, "circuit ids are left");
	must(fake_dropped(p, DROP_SEND_FAILED) == 0, "sent on a link that is not up");
}

size_t fake_grace(struct fake_net *n)
{
	size_t count = n->nretired;
	for (size_t i = 0; i < count; i++)
		n->retired[i].free_fn(n->retired[i].object);
	n->nretired = 0;
	return count;
}

void fake_net_free(struct fake_net *n)
{
	for (unsigned i = 0; i < n->parties; i++)
		party_done(&n->party[i]);
	fake_grace(n);
	for (struct link *l = n->links, *next; l; l = next) {
		next = l->next;
		must(l->holds == 0 && !l->user, "a link is still held");
		free(l->data);
		free(l);
	}
	for (unsigned i = 0; i < n->parties; i++) {
		slots_free(n->party[i].link_table);
		slots_free(n->party[i].circuit_table);
		filler_done(&n->party[i].filler);
	}
	aead_ctx_free(n->aead);
	free(n->retired);
	free(n->queue);
	free(n);
}

struct circuits_config fake_relay_config(struct fake_net *n, unsigned i)
{
	struct fake_party *p = &n->party[i];
	struct circuits_config c = {
		.env = &p->env,
		.links = &p->links,
		.ops = {p, find_relay, on_end, on_end_gone, unix_seconds},
		.onion_key = onion_key,
		.is_exit = true,
		.circuits_most = 1000,
		.replay_entries = 2000,
	};
	memcpy(c.id, p->id, 32);
	return c;
}

void fake_relay(struct fake_net *n, unsigned i, const struct circuits_config *c)
{
	struct circuits_config usual = fake_relay_config(n, i);
	n->party[i].circuits = circuits_new(c ? c : &usual, n->now);
	must(n->party[i].circuits, "circuits");
}

void fake_client(struct fake_net *n, unsigned i)
{
	struct fake_party *p = &n->party[i];
	struct paths_config c = {&p->env, &p->links, {p, on_ready, on_gone}, unix_seconds};
	p->paths = paths_new(&c);
	must(p->paths, "paths");
}

struct path_hop fake_hop(const struct fake_net *n, unsigned i)
{
	const struct fake_party *p = &n->party[i];
	struct path_hop h = {.target = {.keyid = p->keyid, .addr = p->addr}};
	memcpy(h.target.id, p->id, 32);
	memcpy(h.target.onion_key, p->key.public_key, 32);
	return h;
}

struct link *fake_link(struct fake_net *n, unsigned from, unsigned to, bool from_is_relay)
{
	struct link *a = pair_new(&n->party[from], &n->party[to]);
	a->up = a->peer->up = true;
	a->peer->relay = from_is_relay;
	return a->peer;
}

void fake_up(struct link *l)
{
	l->up = l->peer->up = true;
	if (l->owner->circuits)
		circuits_on_link_up(l->owner->circuits, l, l->net->now);
	if (l->owner->paths)
		paths_on_link_up(l->owner->paths, l, l->net->now);
}

void fake_fail(struct link *l, int why)
{
	l->dead = true;
	if (l->owner->circuits)
		circuits_on_link_failed(l->owner->circuits, l, l->net->now);
	if (l->owner->paths)
		paths_on_link_failed(l->owner->paths, l, why, l->net->now);
}

void fake_dead(struct link *l)
{
	struct link *peer = l->peer;
	if (!l->dead)
		tell_dead(l);
	if (!peer->dead)
		tell_dead(peer);
}

struct link *fake_opened(struct fake_net *n, unsigned i)
{
	for (struct link *l = n->links; l; l = l->next)
		if (l->owner == &n->party[i] && l->data->initiator)
			return l;
	return NULL;
}

const struct fake_frame *fake_take(struct fake_net *n)
{
	if (n->head == n->tail) {
		n->head = n->tail = 0;
		return NULL;
	}
	return &n->queue[n->head++];
}

size_t fake_waiting(const struct fake_net *n)
{
	return n->tail - n->head;
}

void fake_give(const struct fake_frame *given)
{
	struct fake_frame f = *given; /* the queue may move */
	struct link *l = f.to;
	if (!l->up || l->owner->deaf)
		return;
	if (l->owner->circuits)
		circuits_on_frame(l->owner->circuits, l, f.type, f.data, f.n, l->net->now);
	else if (l->owner->paths)
		paths_on_frame(l->owner->paths, l, f.type, f.data, f.n, l->net->now);
}

void fake_run(struct fake_net *n)
{
	const struct fake_frame *f;
	while ((f = fake_take(n)))
		fake_give(f);
}

static nsec_t next_deadline(const struct fake_net *n)
{
	nsec_t at = NSEC_NEVER;
	for (unsigned i = 0; i < n->parties; i++) {
		if (n->party[i].circuits)
			at = nsec_min(at, circuits_next_deadline(n->party[i].circuits));
		if (n->party[i].paths)
			at = nsec_min(at, paths_next_deadline(n->party[i].paths));
	}
	return at;
}

static void run_timers(struct fake_net *n)
{
	for (unsigned i = 0; i < n->parties; i++) {
		if (n->party[i].circuits)
			circuits_on_timer(n->party[i].circuits, n->now);
		if (n->party[i].paths)
			paths_on_timer(n->party[i].paths, n->now);
	}
}

void fake_sleep(struct fake_net *n, nsec_t span)
{
	nsec_t end = n->now + span;
	fake_run(n);
	for (nsec_t at; (at = next_deadline(n)) <= end;) {
		if (at > n->now)
			n->now = at;
		run_timers(n);
		fake_run(n);
	}
	n->now = end;
}

uint64_t fake_dropped(const struct fake_party *p, enum drop why)
{
	return drops_get(&p->drops, why);
}
