/* tests/sim/sim_wire.c - events in the order of time, and wires that lose, double, delay and
 * change. */
#include "sim/sim.h"

#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"

#define DELAY_LEAST_NSEC  (3 * NSEC_PER_MSEC)
#define DELAY_SPREAD_NSEC (20 * NSEC_PER_MSEC) /* by the pair of addresses */
#define JITTER_NSEC	  (500 * NSEC_PER_USEC)
#define REORDER_NSEC	  (60 * NSEC_PER_MSEC)
#define HOSTILE_PORTS	  64

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_push(struct sim *s, nsec_t at, enum event_kind kind, void *object, void (*free_fn)(void *))
{
	if (s->heap_used == s->heap_size) {
		s->heap_size = s->heap_size ? 2 * s->heap_size : 1024;
		s->heap = realloc(s->heap, s->heap_size * sizeof(*s->heap));
		if (!s->heap)
			abort();
	}
	const struct event e = {at, s->order++, kind, object, free_fn};
	size_t i = s->heap_used++;
	for (; i > 0 && before(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = e;
}

bool sim_pop(struct sim *s, struct event *ret)
{
	if (s->heap_used == 0)
		return false;
	*ret = s->heap[0];
	const struct event last = s->heap[--s->heap_used];
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < s->heap_used; i = child) {
		if (child + 1 < s->heap_used && before(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!before(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
	}
	s->heap[i] = last;
	return true;
}

struct flight *sim_pop_burst(struct sim *s, const struct flight *f)
{
	struct event e;
	if (s->o.bursts == 0 || s->heap_used == 0 || s->heap[0].kind != EVENT_ARRIVE ||
	    s->heap[0].at != s->now)
		return NULL;
	const struct flight *next = s->heap[0].object;
	if (!addr_equal(&next->from, &f->from) || !addr_equal(&next->to, &f->to))
		return NULL;
	sim_pop(s, &e);
	return e.object;
}

bool sim_chance(struct sim *s, uint32_t per_million)
{
	return per_million > 0 && rng_below(&s->rng, PER_MILLION) < per_million;
}

/* FNV-1a over words: enough to tell two runs apart. */
void sim_digest(struct sim *s, const void *p, size_t n)
{
	const uint8_t *at = p;
	for (; n >= 8; at += 8, n -= 8)
		s->digest = (s->digest ^ load_be64(at)) * UINT64_C(0x100000001b3);
	for (; n > 0; at++, n--)
		s->digest = (s->digest ^ *at) * UINT64_C(0x100000001b3);
}

/* Addresses are 10.A.B.C with the host's index in A, B, C. */
struct host *wire_host_at(struct sim *s, const struct addr *a)
{
	unsigned index = load_be32(a->ip) & 0xffffff;
	if (a->family != 4 || a->ip[0] != 10 || index >= s->nhosts)
		return NULL;
	struct host *h = &s->hosts[index];
	return addr_equal(&h->addr, a) ? h : NULL;
}

static nsec_t any_delay(struct sim *s, const struct addr *from, const struct addr *to)
{
	uint64_t pair = (load_be32(from->ip) + load_be32(to->ip)) * UINT64_C(0x9e3779b97f4a7c15);
	nsec_t d = DELAY_LEAST_NSEC + (nsec_t)((pair >> 32) % DELAY_SPREAD_NSEC);
	d += (nsec_t)rng_below(&s->rng, JITTER_NSEC);
	if (sim_chance(s, s->o.reorder))
		d += (nsec_t)rng_below(&s->rng, REORDER_NSEC);
	return d;
}

static void flip(struct sim *s, struct flight *f)
{
	size_t bit = rng_below(&s->rng, 8 * f->n);
	f->d[bit / 8] ^= (uint8_t)(1 << bit % 8);
	s->count.flipped++;
	if (!f->packet || bit / 8 >= check_filler_at(f->packet, f->link, f->n))
		return;
	f->doomed = true;
	f->header_hit |= bit / 8 < HEADER_BYTES;
}

static nsec_t delay_of(struct sim *s, const struct addr *from, const struct addr *to)
{
	bool same = s->o.bursts > 0 && s->last.at == s->now && addr_equal(&s->last.from, from) &&
		    addr_equal(&s->last.to, to) && !sim_chance(s, s->o.reorder);
	if (!same) {
		s->last.from = *from;
		s->last.to = *to;
		s->last.at = s->now;
		s->last.delay = any_delay(s, from, to);
	}
	return s->last.delay;
}

static struct flight *flight_new(const struct flight *like, const uint8_t *d, size_t n)
{
	struct flight *f = malloc(sizeof(*f) + n);
	if (!f)
		abort();
	*f = *like;
	f->n = n;
	memcpy(f->d, d, n);
	if (f->packet)
		packet_hold(f->packet);
	return f;
}

static void launch(struct sim *s, const struct flight *like, const uint8_t *d, size_t n)
{
	struct flight *f = flight_new(like, d, n);
	if (sim_chance(s, s->o.flip))
		flip(s, f);
	sim_push(s, s->now + delay_of(s, &f->from, &f->to), EVENT_ARRIVE, f, NULL);
}

/* The attacker keeps one of the last datagrams. */
static void catch_one(struct sim *s, const struct flight *like, const uint8_t *d, size_t n)
{
	if (s->o.hostile == 0 || s->now >= s->traffic_ends || !sim_chance(s, PER_MILLION / 10))
		return;
	if (s->caught)
		wire_drop(s, s->caught);
	s->caught = flight_new(like, d, n);
}

void wire_send(struct sim *s, const struct addr *from, const struct addr *to, const uint8_t *d,
	       size_t n, struct packet *packet, unsigned link, bool doomed)
{
	const struct flight like = {
		.from = *from, .to = *to, .packet = packet, .link = link, .doomed = doomed};
	s->count.datagrams++;
	if (n > DATAGRAM_MAX) {
		violated(s, "a datagram of %zu bytes", n);
		return;
	}
	catch_one(s, &like, d, n);
	if (sim_chance(s, s->o.loss)) {
		s->count.lost++;
		return;
	}
	launch(s, &like, d, n);
	if (sim_chance(s, s->o.dup)) {
		s->count.doubled++;
		launch(s, &like, d, n);
	}
}

void wire_drop(struct sim *s, struct flight *f)
{
	if (f->packet)
		packet_release(s, f->packet);
	free(f);
}

/* What was caught, again: half of the time from another of 64 ports. It may be the first of its
 * kind to arrive, when the true one was lost: so it keeps its packet. */
static void send_caught(struct sim *s, const struct addr *other)
{
	struct flight like = *s->caught;
	if (rng_below(&s->rng, 2))
		like.from = *other;
	launch(s, &like, s->caught->d, s->caught->n);
}

/* A copy of what was caught, garbage (also as if from a true neighbour), or the start of a
 * handshake. */
void wire_hostile(struct sim *s)
{
	uint8_t d[DATAGRAM_MAX];
	size_t n = rng_below(&s->rng, sizeof(d) + 1);
	struct flight like = {.to = s->hosts[rng_below(&s->rng, s->nhosts)].addr};
	like.from = (struct addr){.family = 4, .ip = {192, 0, 2, 66}};
	like.from.port = (uint16_t)(1 + rng_below(&s->rng, HOSTILE_PORTS));
	s->count.hostile++;
	uint64_t what = rng_below(&s->rng, 4);
	if (what <= 1 && s->caught) {
		send_caught(s, &like.from);
		return;
	}
	rng_bytes(&s->rng, d, sizeof(d));
	if (what == 2) {
		n = LINK_INIT_BYTES;
		memset(d, 0, LINK_ID_BYTES);
		d[LINK_ID_BYTES] = d[LINK_ID_BYTES + 1] = 1;
	}
	if (what == 3)
		like.from = s->hosts[rng_below(&s->rng, s->nhosts)].addr;
	launch(s, &like, d, n);
}
