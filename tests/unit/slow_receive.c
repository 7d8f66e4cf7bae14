/* tests/unit/slow_receive.c - see slow_receive.h. */
#include "unit/slow_receive.h"
#include "base/bytes.h"

static void stamp(_Atomic nsec_t *at, nsec_t now)
{
	if (now != 0)
		atomic_store_explicit(at, now, memory_order_relaxed);
}

/* Write the DATA header of what goes out on l and stamp the link. */
static void address_data(struct dp_thread *t, struct link_data *l, uint32_t circuit_id,
			 uint64_t ctr, uint8_t *d)
{
	const struct header h = {circuit_id, HEADER_DATA, ctr & COUNTER_MASK};
	datagram_header(t->aead, l, &h, d);
	stamp(&l->last_tx, t->now);
}

/* One DATA datagram on its way through judge_data(). */
struct data {
	uint8_t *d;
	uint8_t *body;
	size_t n; /* of body: L */
	uint64_t ctr;
	struct hop_dir *dir;
};

static enum drop judge_handshake(const uint8_t *d, size_t n, uint32_t link_id,
				 struct dp_result *ret)
{
	if (n != LINK_INIT_BYTES && n != LINK_COOKIE_BYTES)
		return link_id == 0 ? DROP_SIZE : DROP_LINK_UNKNOWN;
	uint8_t type = d[LINK_ID_BYTES];
	bool legal = link_id == 0 ? type == LINK_TYPE_INIT && n == LINK_INIT_BYTES
				  : (type == LINK_TYPE_RESP && n == LINK_RESP_BYTES) ||
					    (type == LINK_TYPE_COOKIE && n == LINK_COOKIE_BYTES);
	if (!legal)
		return DROP_LINK_UNKNOWN;
	ret->action = DP_HANDSHAKE;
	return DROP_NONE;
}

static enum drop check_window(const struct replay *w, uint64_t ctr)
{
	switch (replay_check(w, ctr)) {
	case REPLAY_NEW:
		return DROP_NONE;
	case REPLAY_AHEAD:
		return DROP_DATA_AHEAD;
	case REPLAY_SEEN:
		break;
	}
	return DROP_DATA_REPLAY;
}

static void mark(struct hop_dir *dir, uint64_t ctr)
{
	replay_mark(&dir->window, ctr);
	atomic_fetch_add(&dir->count, 1);
}

static bool fits_out(const struct data *k)
{
	return HEADER_BYTES + k->n <= k->dir->out->max_dgram;
}

static void pass_on(struct dp_thread *t, const struct data *k, struct dp_result *ret)
{
	struct hop_dir *dir = k->dir;
	address_data(t, dir->out, dir->out_id, k->ctr + dir->offset, k->d);
	ret->action = DP_SEND;
	ret->link = dir->out;
}

/* Away from the client, at every hop: our layer's tag and fill_i filler slots end the body. */
static enum drop open_layer(struct dp_thread *t, const struct data *k)
{
	struct hop_dir *dir = k->dir;
	size_t tail = ((size_t)dir->fill + 1) * AEAD_TAG;
	if (k->n < tail + PLAIN_LEAST)
		return DROP_DATA_SIZE;
	enum drop why = check_window(&dir->window, k->ctr);
	if (why != DROP_NONE)
		return why;
	uint8_t *tag = k->body + k->n - tail;
	if (!aead_open(t->aead, dir->key, k->ctr, k->body, k->n - tail, tag))
		return DROP_DATA_OPEN;
	mark(dir, k->ctr);
	return DROP_NONE;
}

static enum drop forward(struct dp_thread *t, const struct data *k, struct dp_result *ret)
{
	if (!fits_out(k))
		return DROP_DATA_SIZE;
	enum drop why = open_layer(t, k);
	if (why != DROP_NONE)
		return why;
	size_t tail = ((size_t)k->dir->fill + 1) * AEAD_TAG;
	filler_bytes(t->filler, k->body + k->n - tail, tail);
	pass_on(t, k, ret);
	return DROP_NONE;
}

static enum drop end_forward(struct dp_thread *t, const struct data *k, struct dp_result *ret)
{
	enum drop why = open_layer(t, k);
	if (why != DROP_NONE)
		return why;
	ret->action = DP_PLAIN;
	ret->end = k->dir;
	ret->plain = k->body;
	ret->plain_bytes = k->n - ((size_t)k->dir->fill + 1) * AEAD_TAG;
	return DROP_NONE;
}

/* Towards the client: seal up to the filler, whose first slot takes our tag. The counter is marked
 * before it seals, so that no neighbour can have one nonce used twice. */
static enum drop backward(struct dp_thread *t, const struct data *k, struct dp_result *ret)
{
	struct hop_dir *dir = k->dir;
	size_t tail = (size_t)dir->fill * AEAD_TAG;
	if (tail == 0 || k->n < tail + PLAIN_LEAST || !fits_out(k))
		return DROP_DATA_SIZE;
	enum drop why = check_window(&dir->window, k->ctr);
	if (why != DROP_NONE)
		return why;
	mark(dir, k->ctr);
	uint8_t *tag = k->body + k->n - tail;
	aead_seal(t->aead, dir->key, k->ctr, k->body, k->n - tail, tag);
	filler_bytes(t->filler, tag + AEAD_TAG, tail - AEAD_TAG);
	pass_on(t, k, ret);
	return DROP_NONE;
}

/* Open all layers of a path of ours; plain bytes of plain remain in front. */
static bool open_all(struct dp_thread *t, const struct path_data *p, const struct data *k,
		     size_t plain)
{
	uint64_t ctr = k->ctr;
	for (unsigned i = 0; i < p->hops; i++) {
		size_t n = plain + (size_t)(p->hops - 1 - i) * AEAD_TAG;
		ctr = (ctr - p->layer[i].db) & COUNTER_MASK;
		if (!aead_open(t->aead, &p->layer[i].kb, ctr, k->body, n, k->body + n))
			return false;
	}
	return true;
}

/* The window judges the exit's own counter: the header's less all offsets. */
static uint64_t exit_counter(const struct path_data *p, uint64_t ctr)
{
	for (unsigned i = 0; i < p->hops; i++)
		ctr -= p->layer[i].db;
	return ctr & COUNTER_MASK;
}

static enum drop end_backward(struct dp_thread *t, const struct data *k, struct dp_result *ret)
{
	struct hop_dir *dir = k->dir;
	struct path_data *p = dir->owner;
	size_t slots = (size_t)p->slots * AEAD_TAG;
	if (p->hops > p->slots || k->n < slots + PLAIN_LEAST)
		return DROP_DATA_SIZE;
	uint64_t ctr = exit_counter(p, k->ctr);
	enum drop why = check_window(&dir->window, ctr);
	if (why != DROP_NONE)
		return why;
	size_t plain = k->n - slots;
	if (!open_all(t, p, k, plain))
		return DROP_DATA_OPEN;
	mark(dir, ctr);
	stamp(&p->last_rx, t->now);
	atomic_store_explicit(&p->unanswered, 0, memory_order_relaxed);
	ret->action = DP_PLAIN;
	ret->end = dir;
	ret->plain = k->body;
	ret->plain_bytes = plain;
	return DROP_NONE;
}

static enum drop judge_data(struct dp_thread *t, struct link_data *l, const struct header *h,
			    struct data *k, struct dp_result *ret)
{
	k->dir = (struct hop_dir *)slots_find(t->circuits, h->circuit_id);
	if (!k->dir)
		return DROP_CIRCUIT_UNKNOWN;
	if (k->dir->in != l)
		return DROP_CIRCUIT_LINK;
	if (k->dir->count >= KEY_PACKETS_MOST)
		return DROP_DATA_KEY_SPENT;
	k->ctr = h->ctr;
	switch (k->dir->kind) {
	case HOP_FORWARD:
		return forward(t, k, ret);
	case HOP_BACKWARD:
		return backward(t, k, ret);
	case HOP_END_FORWARD:
		return end_forward(t, k, ret);
	case HOP_END_BACKWARD:
		return end_backward(t, k, ret);
	}
	return DROP_CIRCUIT_UNKNOWN;
}

static bool is_remote(const struct link_data *l, const struct addr *from)
{
	const struct addr *remote = atomic_load_explicit(&l->remote, memory_order_acquire);
	return remote && addr_equal(remote, from);
}

/* Its header opened on l: to the control thread, to the owner, or on through its circuit. */
static enum drop judge_opened(struct dp_thread *t, struct link_data *l, const struct header *h,
			      struct data *k, struct dp_result *ret)
{
	if (h->type == HEADER_CTRL && h->circuit_id == 0) {
		ret->action = DP_CTRL;
		ret->link = l;
		ret->header = *h;
		return DROP_NONE;
	}
	if (h->type != HEADER_DATA)
		return DROP_HEADER_TYPE;
	if (l->owner != t->worker) {
		ret->action = DP_HANDOVER;
		ret->worker = l->owner;
		return DROP_NONE;
	}
	enum drop why = judge_data(t, l, h, k, ret);
	if (why == DROP_NONE)
		stamp(&l->last_rx, t->now);
	return why;
}

static enum drop judge(struct dp_thread *t, uint8_t *d, size_t n, const struct addr *from,
		       struct dp_result *ret)
{
	if (n < LINK_COOKIE_BYTES || n > DATAGRAM_MAX)
		return DROP_SIZE;
	uint32_t id = load_be32(d);
	struct link_data *l = (struct link_data *)slots_find(t->links, id);
	if (!l)
		return judge_handshake(d, n, id, ret);
	if (n < DATAGRAM_MIN)
		return DROP_SIZE;
	bool foreign = !is_remote(l, from);
	if (foreign && (l->initiator || l->fixed))
		return DROP_LINK_SOURCE;
	struct header h;
	if (!header_open(t->aead, &l->rx, d + LINK_ID_BYTES, &h))
		return DROP_HEADER;
	struct data k = {.d = d, .body = d + HEADER_BYTES, .n = n - HEADER_BYTES};
	enum drop why = judge_opened(t, l, &h, &k, ret);
	if (foreign && (ret->action == DP_SEND || ret->action == DP_PLAIN)) {
		ret->foreign = true;
		ret->foreign_link = id;
	}
	return why;
}

void slow_receive(struct dp_thread *t, uint8_t *d, size_t n, const struct addr *from, nsec_t now,
		  struct dp_result *ret)
{
	*ret = (struct dp_result){.action = DP_DROP};
	t->now = now;
	enum drop why = judge(t, d, n, from, ret);
	if (why != DROP_NONE)
		drops_add(t->drops, why);
}
