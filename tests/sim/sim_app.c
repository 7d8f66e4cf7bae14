/* tests/sim/sim_app.c - what travels: clients that want paths and send plains on them, exits that
 * answer. */
#include "sim/sim.h"

#include <string.h>
#include "base/plain_type.h"

#define START_SPREAD_NSEC (2 * NSEC_PER_SEC)
#define RETRY_NSEC	  (500 * NSEC_PER_MSEC)
#define GAP_LEAST_NSEC	  (5 * NSEC_PER_MSEC)
#define GAP_SPREAD_NSEC	  (300 * NSEC_PER_MSEC)
#define LINGER_NSEC	  (1 * NSEC_PER_SEC) /* the last packets arrive before paths close */
#define CHOOSE_TRIES	  1000

static void again(struct sim *s, struct wish *w, nsec_t in)
{
	sim_push(s, s->now + in, EVENT_APP, w, NULL);
}

/* --- paths --- */

static bool is_used(const struct path_hop *hops, unsigned n, const struct host *h)
{
	for (unsigned i = 0; i < n; i++)
		if (memcmp(hops[i].target.id, h->target.id, 32) == 0)
			return true;
	return false;
}

/* A guard of the client's first, an exit last, no relay twice. */
static bool choose(struct sim *s, const struct wish *w, struct path_hop hops[HOPS_MAX])
{
	for (unsigned i = 0, tries = 0; i < w->hops; tries++) {
		if (tries == CHOOSE_TRIES)
			return false;
		const struct host *h = &s->hosts[rng_below(&s->rng, s->o.relays)];
		if (i == 0 && w->hops > 1)
			h = &s->hosts[w->client->guards[rng_below(&s->rng, 2)]];
		if (is_used(hops, i, h) || (i + 1 == w->hops && !h->is_exit))
			continue;
		hops[i++].target = h->target;
	}
	return true;
}

static void on_ready(void *arg, struct path *p, nsec_t now)
{
	struct host *h = arg;
	struct wish *w = path_user(p);
	(void)now;
	w->built++;
	h->sim->count.built++;
}

static void on_gone(void *arg, struct path *p, int hop, enum build_status status, nsec_t now)
{
	struct host *h = arg;
	struct wish *w = path_user(p);
	(void)hop, (void)status;
	if (path_data_of(p))
		h->sim->count.gone++;
	else
		h->sim->count.failed++;
	w->path = NULL;
	path_free(p, now);
}

struct path_ops app_path_ops(struct host *client)
{
	return (struct path_ops){.arg = client, .on_ready = on_ready, .on_gone = on_gone};
}

static void build(struct sim *s, struct wish *w)
{
	struct path_hop hops[HOPS_MAX];
	struct path *p = NULL;
	if (!choose(s, w, hops) || path_build(w->client->paths, hops, w->hops, s->now, &p) < 0) {
		s->count.failed++;
		return;
	}
	path_set_user(p, w);
	w->path = p;
}

/* --- plains --- */

static enum padding some_padding(struct sim *s)
{
	return (enum padding)rng_below(&s->rng, PAD_FULL + 1);
}

size_t app_some_plain(struct sim *s, uint8_t *plain, size_t most)
{
	size_t n = 1 + rng_below(&s->rng, rng_below(&s->rng, 2) ? most : 100);
	rng_bytes(&s->rng, plain, n);
	plain[0] = PLAIN_PACKET;
	return n;
}

/* n bytes of plain became this datagram: put it on its first link. */
static bool send_sealed(struct host *h, const struct link_data *l, uint8_t *d, size_t n,
			size_t datagram)
{
	struct packet *k = check_take_sealed(h->sim, d);
	if (datagram == 0 || !k) {
		violated(h->sim, "host %u cannot seal %zu bytes", h->index, n);
		return false;
	}
	check_on_link(h->sim, k, 0, d, datagram);
	wire_send(h->sim, &h->addr, atomic_load(&l->remote), d, datagram, k, 0, false);
	packet_release(h->sim, k);
	return true;
}

/* Many plains at once, back to back as a worker lays them out. */
struct burst {
	size_t n;
	struct dp_seal s[DP_BATCH];
	uint8_t buffer[DP_BATCH * DATAGRAM_MAX];
};

static void make_burst(struct sim *s, struct burst *b, const struct path_data *p,
		       const struct circuit *c, size_t most, uint16_t full, enum padding how)
{
	uint8_t *room = b->buffer;
	b->n = 2 + rng_below(&s->rng, DP_BATCH - 1);
	for (size_t i = 0; i < b->n; i++) {
		size_t n = app_some_plain(s, room + HEADER_BYTES, most);
		b->s[i] = (struct dp_seal){.room = room, .plain = n};
		room += p ? path_datagram_bytes(p, n, full, how)
			  : circuit_datagram_bytes(c, n, full, how);
	}
}

static uint64_t send_burst(struct host *h, const struct link_data *l, struct burst *b)
{
	uint64_t sent = 0;
	for (size_t i = 0; i < b->n; i++)
		sent += send_sealed(h, l, b->s[i].room, b->s[i].plain, b->s[i].datagram);
	return sent;
}

void app_send_forward(struct sim *s, struct host *client, struct path_data *p)
{
	static struct burst b;
	uint8_t d[DATAGRAM_MAX];
	enum padding how = some_padding(s);
	uint16_t full = atomic_load(&p->full_dgram);
	size_t most = plain_bytes(full, p->slots);
	if (sim_chance(s, s->o.bursts)) {
		make_burst(s, &b, p, NULL, most, full, how);
		path_seal_batch(host_some_worker(client), p, b.s, b.n, full, how);
		s->count.sent_forward += send_burst(client, p->link, &b);
		return;
	}
	size_t n = app_some_plain(s, d + HEADER_BYTES, most);
	size_t datagram = path_seal(host_some_worker(client), p, d, n, 0, how);
	s->count.sent_forward += send_sealed(client, p->link, d, n, datagram);
}

void app_send_backward(struct host *h, struct circuit *c, unsigned hops)
{
	static struct burst b;
	struct sim *s = h->sim;
	uint8_t d[DATAGRAM_MAX];
	enum padding how = some_padding(s);
	uint16_t full = atomic_load(&c->full_dgram);
	size_t most = plain_bytes(full, tag_slots(hops));
	if (sim_chance(s, s->o.bursts)) {
		make_burst(s, &b, NULL, c, most, full, how);
		circuit_seal_batch(host_some_worker(h), c, b.s, b.n, full, how);
		s->count.sent_backward += send_burst(h, c->back_link, &b);
		return;
	}
	size_t n = app_some_plain(s, d + HEADER_BYTES, most);
	size_t datagram = circuit_seal(host_some_worker(h), c, d, n, 0, how);
	s->count.sent_backward += send_sealed(h, c->back_link, d, n, datagram);
}

void app_on_plain(struct host *h, struct flight *f, const struct dp_result *r)
{
	struct sim *s = h->sim;
	if (!f->packet) /* check_verdict() cried */
		return;
	if (r->end->kind == HOP_END_FORWARD)
		check_learn(r->end->owner, f->packet->hops);
	if (s->o.sessions) {
		session_on_plain(h, f, r);
		return;
	}
	if (r->end->kind == HOP_END_BACKWARD) {
		s->count.got_backward++;
		return;
	}
	s->count.got_forward++;
	struct circuit *c = r->end->owner;
	circuits_end_granted(h->circuits, c, true);
	unsigned answers = rng_below(&s->rng, 8) ? 1 : 3;
	for (unsigned i = 0; i < answers; i++)
		app_send_backward(h, c, f->packet->hops);
}

/* --- wishes --- */

void app_start(struct sim *s)
{
	for (unsigned i = 0; i < s->o.paths; i++) {
		struct wish *w = &s->wishes[i];
		w->client = &s->hosts[s->o.relays + i % s->o.clients];
		w->hops = s->o.hops ? s->o.hops : 1 + (unsigned)rng_below(&s->rng, HOPS_MAX);
		again(s, w, (nsec_t)rng_below(&s->rng, START_SPREAD_NSEC));
	}
}

void app_on_wish(struct sim *s, struct wish *w)
{
	if (s->now >= s->traffic_ends) {
		path_free(w->path, s->now);
		w->path = NULL;
		host_rearm(w->client);
		return;
	}
	/* The successor takes over at 70 % of the life. */
	if (w->path && path_state(w->path) == PATH_READY &&
	    s->now - path_ready_at(w->path) > s->periods.path_lifetime_s * NSEC_PER_SEC / 10 * 7) {
		path_free(w->path, s->now);
		w->path = NULL;
	}
	if (!w->path) {
		build(s, w);
		again(s, w, RETRY_NSEC);
	} else {
		if (path_state(w->path) == PATH_READY && s->now < s->traffic_ends - LINGER_NSEC)
			app_send_forward(s, w->client, path_data_of(w->path));
		again(s, w, GAP_LEAST_NSEC + (nsec_t)rng_below(&s->rng, GAP_SPREAD_NSEC));
	}
	host_rearm(w->client);
}

static double survival(const struct sim *s, unsigned hops)
{
	double one = 1.0 - (double)(s->o.loss + s->o.flip) / PER_MILLION, all = 1.0;
	for (unsigned i = 0; i < hops; i++)
		all *= one;
	return all;
}

/* Most wishes came true, and about as much arrived as such wires let through. */
void app_end(struct sim *s)
{
	unsigned without = 0;
	for (unsigned i = 0; !s->o.sessions && i < s->o.paths; i++)
		without += s->wishes[i].built == 0;
	if (without * 20 > s->o.paths)
		violated(s, "%u of %u paths were never built", without, s->o.paths);
	if (s->o.deaths > 0)
		return;
	double expected = survival(s, s->o.hops ? s->o.hops : HOPS_MAX);
	bool clean = !s->o.sessions && s->o.loss + s->o.flip + s->o.dup + s->o.reorder == 0 &&
		     !s->o.short_periods;
	double least = clean ? 1.0 : expected * (s->o.sessions ? 0.9 : 0.95);
	const struct sim_counts *n = &s->count;
	if ((double)n->got_forward < least * (double)n->sent_forward ||
	    (double)n->got_backward < least * (double)n->sent_backward)
		violated(s, "of %ju packets forward %ju came, of %ju backward %ju",
			 (uintmax_t)n->sent_forward, (uintmax_t)n->got_forward,
			 (uintmax_t)n->sent_backward, (uintmax_t)n->got_backward);
}
