/* onion/dataplane_seal.c - the two ends of a path seal; headers. See dataplane.h. PROTOCOL.md
 * sections 4 (header) and 6. Any thread.
 *
 * A batch is measured first, so that it takes all its numbers at once; then it goes by runs: all
 * layers around some packets before the next ones are touched.
 */
#include "onion/dataplane_priv.h"
#include "base/bytes.h"

#include <string.h>

/* ---- headers ---- */

void datagram_header(struct aead_ctx *c, const struct link_data *l, const struct header *h,
		     uint8_t out[HEADER_BYTES])
{
	store_be32(out, l->remote_id);
	header_seal(c, &l->tx, h, out + LINK_ID_BYTES);
}

void dp_address(struct dp_thread *t, struct link_data *l, uint32_t circuit_id, const uint64_t ctr[],
		uint8_t *const d[], size_t n)
{
	struct header h[DP_RUN];
	uint8_t *at[DP_RUN];
	for (size_t i = 0; i < n; i++) {
		h[i] = (struct header){circuit_id, HEADER_DATA, ctr[i] & COUNTER_MASK};
		at[i] = d[i] + LINK_ID_BYTES;
		store_be32(d[i], l->remote_id);
	}
	headers_seal(t->aead, &l->tx, h, n, at);
	dp_stamp(&l->last_tx, t->now);
}

/* ---- sizes ---- */

unsigned inner_mtu(uint16_t full_dgram, unsigned slots)
{
	size_t plain = plain_bytes(full_dgram, slots);
	return plain > 0 ? (unsigned)plain - 1 : 0;
}

static size_t datagram_bytes(size_t plain, unsigned slots, uint16_t full_dgram, enum padding how)
{
	if (full_dgram > DATAGRAM_MAX)
		return 0;
	size_t padded = padded_bytes(plain, plain_bytes(full_dgram, slots), how);
	return padded > 0 ? HEADER_BYTES + padded + (size_t)slots * AEAD_TAG : 0;
}

static uint16_t full_or_own(uint16_t full_dgram, const _Atomic uint16_t *own)
{
	return full_dgram ? full_dgram : atomic_load_explicit(own, memory_order_relaxed);
}

static unsigned slots_of(const struct circuit *c)
{
	return c->forward.fill + 1u;
}

size_t path_datagram_bytes(const struct path_data *p, size_t plain, uint16_t full_dgram,
			   enum padding how)
{
	return datagram_bytes(plain, p->slots, full_or_own(full_dgram, &p->full_dgram), how);
}

size_t circuit_datagram_bytes(const struct circuit *c, size_t plain, uint16_t full_dgram,
			      enum padding how)
{
	return datagram_bytes(plain, slots_of(c), full_or_own(full_dgram, &c->full_dgram), how);
}

/* ---- a batch: what fits, and its numbers ---- */

/* Set every datagram's length. Returns how many fit; the others are counted. */
static size_t measure(struct dp_thread *t, struct dp_seal *s, size_t n, unsigned slots,
		      uint16_t full_dgram, enum padding how)
{
	size_t fit = 0, bytes = 0;
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || s[i].plain != s[i - 1].plain) /* most are equal */
			bytes = datagram_bytes(s[i].plain, slots, full_dgram, how);
		s[i].datagram = bytes;
		if (bytes > 0)
			fit++;
		else
			drops_add(t->drops, DROP_DATA_SIZE);
	}
	return fit;
}

/* Take the next `want` counters, which start at *ret: no two threads ever get the same one. Returns
 * how many of them the key still serves. */
static size_t take_counters(_Atomic uint64_t *sealed, uint64_t first, size_t want, uint64_t *ret)
{
	*ret = atomic_fetch_add_explicit(sealed, want, memory_order_relaxed);
	uint64_t used = *ret - first;
	if (used >= KEY_PACKETS_MOST)
		return 0;
	return want < KEY_PACKETS_MOST - used ? want : KEY_PACKETS_MOST - used;
}

/* Some packets on their way through the layers, and the batch that they come from. */
struct run {
	struct dp_seal *left; /* not looked at yet */
	struct dp_seal *end;
	uint64_t ctr;  /* of the first packet */
	size_t served; /* how many more the key serves */
	unsigned slots;
	bool ip; /* an IP packet was among them */
	/* Of this run: */
	size_t n;
	uint8_t *d[DP_RUN];
	uint64_t number[DP_RUN]; /* counters on the first link */
	struct aead_item it[DP_RUN];
	size_t plain[DP_RUN]; /* padded */
};

/* The arrays stay as they are: next_run() writes what is read. */
static void start(struct run *r, struct dp_seal *s, size_t n, unsigned slots)
{
	r->left = s;
	r->end = s + n;
	r->slots = slots;
	r->ip = false;
}

static bool is_ip(uint8_t type)
{
	return type == PLAIN_PACKET || type == PLAIN_PACKET_OPEN;
}

/* Pad one plain with zeroes and give it the next counter. */
static void take(struct run *r, const struct dp_seal *s)
{
	uint8_t *body = s->room + HEADER_BYTES;
	size_t padded = s->datagram - HEADER_BYTES - (size_t)r->slots * AEAD_TAG;
	if (padded > s->plain)
		memset(body + s->plain, 0, padded - s->plain);
	r->ip |= is_ip(body[0]);
	r->d[r->n] = s->room;
	r->number[r->n] = r->ctr++ & COUNTER_MASK;
	r->plain[r->n] = padded;
	r->it[r->n] = (struct aead_item){.p = body, .n = padded, .tag = body + padded};
	r->served--;
	r->n++;
}

/* Fill the next run. False: nothing is left. */
static bool next_run(struct dp_thread *t, struct run *r)
{
	for (r->n = 0; r->left < r->end && r->n < DP_RUN; r->left++) {
		if (r->left->datagram == 0)
			continue;
		if (r->served > 0) {
			take(r, r->left);
			continue;
		}
		r->left->datagram = 0;
		drops_add(t->drops, DROP_DATA_KEY_SPENT);
	}
	return r->n > 0;
}

/* Everything behind the innermost plain and the layers' tags is filler. */
static void fill(struct dp_thread *t, const struct run *r, unsigned layers)
{
	if (layers == r->slots)
		return;
	for (size_t i = 0; i < r->n; i++)
		filler_bytes(t->filler,
			     r->d[i] + HEADER_BYTES + r->plain[i] + (size_t)layers * AEAD_TAG,
			     (size_t)(r->slots - layers) * AEAD_TAG);
}

/* ---- the client ---- */

/* Seal layers n..1 behind each other; hop i opens with the first link's counter plus
 * df_1..df_{i-1}. */
static void seal_layers(struct dp_thread *t, const struct path_data *p, struct run *r)
{
	uint64_t offset = 0;
	for (unsigned i = 0; i + 1 < p->hops; i++)
		offset += p->layer[i].df;
	for (unsigned i = p->hops; i-- > 0;) {
		for (size_t j = 0; j < r->n; j++)
			r->it[j].ctr = (r->number[j] + offset) & COUNTER_MASK;
		aead_seal_batch(t->aead, &p->layer[i].kf, r->it, r->n);
		for (size_t j = 0; j < r->n; j++) {
			r->it[j].n += AEAD_TAG;
			r->it[j].tag += AEAD_TAG;
		}
		offset -= i > 0 ? p->layer[i - 1].df : 0;
	}
}

void path_seal_batch(struct dp_thread *t, struct path_data *p, struct dp_seal *s, size_t n,
		     uint16_t full_dgram, enum padding how)
{
	struct run r;
	start(&r, s, n, p->slots);
	size_t fit = measure(t, s, n, p->slots, full_or_own(full_dgram, &p->full_dgram), how);
	if (fit == 0)
		return;
	r.served = take_counters(&p->sealed, p->sealed_first, fit, &r.ctr);
	while (next_run(t, &r)) {
		seal_layers(t, p, &r);
		fill(t, &r, p->hops);
		dp_address(t, p->link, p->forward_id, r.number, r.d, r.n);
	}
	if (!r.ip)
		return;
	dp_stamp(&p->last_tx, t->now);
	if (atomic_load_explicit(&p->unanswered, memory_order_relaxed) == 0)
		dp_stamp(&p->unanswered, t->now);
}

size_t path_seal(struct dp_thread *t, struct path_data *p, uint8_t *room, size_t plain_used,
		 uint16_t full_dgram, enum padding how)
{
	struct dp_seal one = {.room = room, .plain = plain_used};
	path_seal_batch(t, p, &one, 1, full_dgram, how);
	return one.datagram;
}

/* ---- the exit ---- */

void circuit_seal_batch(struct dp_thread *t, struct circuit *c, struct dp_seal *s, size_t n,
			uint16_t full_dgram, enum padding how)
{
	struct run r;
	start(&r, s, n, slots_of(c));
	size_t fit = measure(t, s, n, r.slots, full_or_own(full_dgram, &c->full_dgram), how);
	if (fit == 0)
		return;
	r.served = take_counters(&c->sealed, c->sealed_first, fit, &r.ctr);
	while (next_run(t, &r)) {
		for (size_t i = 0; i < r.n; i++)
			r.it[i].ctr = r.number[i];
		aead_seal_batch(t->aead, &c->kb, r.it, r.n);
		fill(t, &r, 1);
		for (size_t i = 0; i < r.n; i++)
			r.number[i] += c->db;
		dp_address(t, c->back_link, c->back_id, r.number, r.d, r.n);
	}
}

size_t circuit_seal(struct dp_thread *t, struct circuit *c, uint8_t *room, size_t plain_used,
		    uint16_t full_dgram, enum padding how)
{
	struct dp_seal one = {.room = room, .plain = plain_used};
	circuit_seal_batch(t, c, &one, 1, full_dgram, how);
	return one.datagram;
}
