/* onion/dataplane_receive.c - see dataplane.h. PROTOCOL.md sections 4 (header) and 6. Worker
 * threads.
 *
 * Order for each datagram: length, cheap checks, header, owner, circuit, window, tag; what they
 * leave behind (window, stamps, counts) is written after the last check, with one exception: a
 * backward counter at a relay is marked before its nonce seals.
 *
 * A batch goes by runs. A run is up to DP_RUN datagrams of one direction of one circuit which the
 * window called new before any of them was marked. They are opened together; then each, in order,
 * is judged by the window as it has become: two with one counter are both opened, and the second is
 * a replay if the first verified. What the window does not call new at first ends the run before
 * it: its verdict waits until the ones before it are marked. So it ends as if there were no runs.
 */
#include "onion/dataplane_priv.h"
#include "base/bytes.h"

/* One DATA datagram whose header opened. */
struct data {
	struct dp_item *item;
	uint64_t ctr;  /* as the header has it */
	uint64_t seen; /* as the window counts it: HOP_END_BACKWARD, the exit's own; else ctr */
	bool ok;       /* every layer of ours verified */
};

struct run {
	struct hop_dir *dir;
	size_t n;
	struct data k[DP_RUN];
};

/* A batch on its way; what was found for the last datagram serves the next one. */
struct batch {
	struct dp_thread *t;
	const struct addr *from;
	bool asked_link, asked_circuit; /* link_id, circuit_id below were looked up */
	uint32_t link_id, circuit_id;
	struct link_data *link; /* NULL: none has that id */
	bool foreign;		/* `from` is not that link's remote */
	struct hop_dir *dir;
	struct run run;
};

static void drop(const struct batch *b, enum drop why)
{
	drops_add(b->t->drops, why);
}

static uint8_t *body_of(const struct data *k)
{
	return k->item->d + HEADER_BYTES;
}

/* L */
static size_t length_of(const struct data *k)
{
	return k->item->n - HEADER_BYTES;
}

/* ---- window ---- */

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

static uint64_t served(const struct hop_dir *dir)
{
	return atomic_load_explicit(&dir->count, memory_order_relaxed);
}

/* One thread writes it. */
static void serve(struct hop_dir *dir, uint64_t n)
{
	atomic_store_explicit(&dir->count, served(dir) + n, memory_order_relaxed);
}

/* ---- a run's layers ---- */

/* Our tag and what follows it, at the body's end. */
static size_t tail_of(const struct hop_dir *dir)
{
	if (dir->kind == HOP_BACKWARD)
		return (size_t)dir->fill * AEAD_TAG; /* our tag takes the first slot of filler */
	return ((size_t)dir->fill + 1) * AEAD_TAG;
}

static void items_of(const struct run *r, size_t tail, struct aead_item it[DP_RUN])
{
	for (size_t i = 0; i < r->n; i++) {
		const struct data *k = &r->k[i];
		it[i].p = body_of(k);
		it[i].n = length_of(k) - tail;
		it[i].tag = it[i].p + it[i].n;
		it[i].ctr = k->ctr;
	}
}

/* Away from the client, at every hop: our layer's tag and fill_i filler slots end the body. */
static void open_layer(const struct batch *b, struct run *r)
{
	struct aead_item it[DP_RUN];
	items_of(r, tail_of(r->dir), it);
	aead_open_batch(b->t->aead, r->dir->key, it, r->n);
	for (size_t i = 0; i < r->n; i++)
		r->k[i].ok = it[i].ok;
}

/* Towards the client: seal up to the filler. All were marked when they came into the run. */
static void seal_layer(const struct batch *b, struct run *r)
{
	struct aead_item it[DP_RUN];
	items_of(r, tail_of(r->dir), it);
	aead_seal_batch(b->t->aead, r->dir->key, it, r->n);
	for (size_t i = 0; i < r->n; i++)
		r->k[i].ok = true;
}

/* Open all layers of a path of ours. What fails at one is not opened further. */
static void open_all(const struct batch *b, struct run *r)
{
	const struct path_data *p = r->dir->owner;
	struct aead_item it[DP_RUN];
	struct data *of[DP_RUN]; /* whose it[i] is */
	size_t n = r->n;
	items_of(r, ((size_t)p->slots - p->hops) * AEAD_TAG, it);
	for (size_t i = 0; i < n; i++)
		of[i] = &r->k[i];
	for (unsigned layer = 0; layer < p->hops; layer++) {
		for (size_t i = 0; i < n; i++) {
			it[i].n -= AEAD_TAG;
			it[i].tag -= AEAD_TAG;
			it[i].ctr = (it[i].ctr - p->layer[layer].db) & COUNTER_MASK;
		}
		aead_open_batch(b->t->aead, &p->layer[layer].kb, it, n);
		size_t good = 0;
		for (size_t i = 0; i < n; i++) {
			of[i]->ok = it[i].ok;
			if (!it[i].ok)
				continue;
			if (good != i) {
				it[good] = it[i];
				of[good] = of[i];
			}
			good++;
		}
		n = good;
	}
}

/* ---- a run's end ---- */

/* Judge each by the window as those before it left it, mark, and keep only what passed. */
static void settle(const struct batch *b, struct run *r)
{
	size_t kept = 0;
	for (size_t i = 0; i < r->n; i++) {
		struct data *k = &r->k[i];
		enum drop why = check_window(&r->dir->window, k->seen);
		if (why == DROP_NONE && !k->ok)
			why = DROP_DATA_OPEN;
		if (why != DROP_NONE) {
			drop(b, why);
			continue;
		}
		replay_mark(&r->dir->window, k->seen);
		if (kept != i)
			r->k[kept] = *k;
		kept++;
	}
	r->n = kept;
}

static struct dp_result *result(const struct batch *b, const struct data *k, enum dp_action action)
{
	struct dp_result *ret = &k->item->r;
	ret->action = action;
	ret->foreign = b->foreign;
	if (b->foreign)
		ret->foreign_link = b->link_id;
	return ret;
}

/* Fresh filler behind what is left of the body, and on with it. */
static void pass_on(const struct batch *b, const struct run *r)
{
	const struct hop_dir *dir = r->dir;
	size_t tail = tail_of(dir) - (dir->kind == HOP_BACKWARD ? AEAD_TAG : 0);
	uint64_t ctr[DP_RUN];
	uint8_t *d[DP_RUN];
	for (size_t i = 0; i < r->n; i++) {
		const struct data *k = &r->k[i];
		filler_bytes(b->t->filler, body_of(k) + length_of(k) - tail, tail);
		ctr[i] = k->ctr + dir->offset;
		d[i] = k->item->d;
		result(b, k, DP_SEND)->link = dir->out;
	}
	dp_address(b->t, dir->out, dir->out_id, ctr, d, r->n);
}

static void deliver(const struct batch *b, const struct run *r, size_t tail)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct data *k = &r->k[i];
		struct dp_result *ret = result(b, k, DP_PLAIN);
		ret->end = r->dir;
		ret->plain = body_of(k);
		ret->plain_bytes = length_of(k) - tail;
	}
}

static void end_forward(struct batch *b, struct run *r)
{
	open_layer(b, r);
	settle(b, r);
	if (r->n == 0)
		return;
	if (r->dir->kind == HOP_FORWARD)
		pass_on(b, r);
	else
		deliver(b, r, tail_of(r->dir));
}

static void end_backward(struct batch *b, struct run *r)
{
	struct path_data *p = r->dir->owner;
	open_all(b, r);
	settle(b, r);
	if (r->n == 0)
		return;
	dp_stamp(&p->last_rx, b->t->now);
	if (atomic_load_explicit(&p->unanswered, memory_order_relaxed) != 0)
		atomic_store_explicit(&p->unanswered, 0, memory_order_relaxed);
	deliver(b, r, (size_t)p->slots * AEAD_TAG);
}

static void finish_run(struct batch *b)
{
	struct run *r = &b->run;
	if (r->n == 0)
		return;
	switch (r->dir->kind) {
	case HOP_FORWARD:
	case HOP_END_FORWARD:
		end_forward(b, r);
		break;
	case HOP_BACKWARD:
		seal_layer(b, r);
		pass_on(b, r);
		break;
	case HOP_END_BACKWARD:
		end_backward(b, r);
		break;
	}
	if (r->n > 0) {
		serve(r->dir, r->n);
		dp_stamp(&b->link->last_rx, b->t->now);
	}
	r->n = 0;
}

/* ---- into a run ---- */

/* A body of n bytes. */
static bool size_fits(const struct hop_dir *dir, size_t n)
{
	const struct path_data *p = dir->owner;
	switch (dir->kind) {
	case HOP_FORWARD:
		return HEADER_BYTES + n <= dir->out->max_dgram && n >= tail_of(dir) + PLAIN_LEAST;
	case HOP_BACKWARD:
		return HEADER_BYTES + n <= dir->out->max_dgram && dir->fill > 0 &&
		       n >= tail_of(dir) + PLAIN_LEAST;
	case HOP_END_FORWARD:
		return n >= tail_of(dir) + PLAIN_LEAST;
	case HOP_END_BACKWARD:
		return p->hops <= p->slots && n >= (size_t)p->slots * AEAD_TAG + PLAIN_LEAST;
	}
	return false;
}

/* The client's window judges the exit's own counter: the header's less all offsets. */
static uint64_t seen_as(const struct hop_dir *dir, uint64_t ctr)
{
	if (dir->kind != HOP_END_BACKWARD)
		return ctr;
	const struct path_data *p = dir->owner;
	for (unsigned i = 0; i < p->hops; i++)
		ctr -= p->layer[i].db;
	return ctr & COUNTER_MASK;
}

/* Key (if all of the run verify), size of the body, window: DROP_NONE, or why not. */
static enum drop check(const struct run *r, size_t n, uint64_t seen)
{
	if (served(r->dir) + r->n >= KEY_PACKETS_MOST)
		return DROP_DATA_KEY_SPENT;
	if (!size_fits(r->dir, n))
		return DROP_DATA_SIZE;
	return check_window(&r->dir->window, seen);
}

/* Field by field: a copy of what was just written would wait for the writes. */
static void append(struct run *r, struct dp_item *item, uint64_t ctr, uint64_t seen)
{
	struct data *k = &r->k[r->n++];
	k->item = item;
	k->ctr = ctr;
	k->seen = seen;
	k->ok = false;
}

static void into_run(struct batch *b, struct hop_dir *dir, struct dp_item *item, uint64_t ctr)
{
	struct run *r = &b->run;
	if (r->dir != dir) {
		finish_run(b);
		r->dir = dir;
	}
	uint64_t seen = seen_as(dir, ctr);
	enum drop why = check(r, item->n - HEADER_BYTES, seen);
	if (why != DROP_NONE && r->n > 0) { /* it depends on those before it */
		finish_run(b);
		why = check(r, item->n - HEADER_BYTES, seen);
	}
	if (why != DROP_NONE) {
		drop(b, why);
		return;
	}
	/* Before it seals, so that no neighbour can have one nonce used twice. */
	if (dir->kind == HOP_BACKWARD)
		replay_mark(&dir->window, seen);
	append(r, item, ctr, seen);
}

/* ---- headers ---- */

static struct hop_dir *find_circuit(struct batch *b, uint32_t id)
{
	if (!b->asked_circuit || b->circuit_id != id) {
		b->asked_circuit = true;
		b->circuit_id = id;
		b->dir = (struct hop_dir *)slots_find(b->t->circuits, id);
	}
	return b->dir;
}

/* Its header opened on b->link: to the control thread, to the owner, or into its circuit's run. */
static enum drop judge_opened(struct batch *b, struct dp_item *item, const struct header *h)
{
	struct link_data *l = b->link;
	if (h->type == HEADER_CTRL && h->circuit_id == 0) {
		item->r.action = DP_CTRL;
		item->r.link = l;
		item->r.header = *h;
		return DROP_NONE;
	}
	if (h->type != HEADER_DATA)
		return DROP_HEADER_TYPE;
	if (l->owner != b->t->worker) {
		item->r.action = DP_HANDOVER;
		item->r.worker = l->owner;
		return DROP_NONE;
	}
	struct hop_dir *dir = find_circuit(b, h->circuit_id);
	if (!dir)
		return DROP_CIRCUIT_UNKNOWN;
	if (dir->in != l)
		return DROP_CIRCUIT_LINK;
	into_run(b, dir, item, h->ctr);
	return DROP_NONE;
}

/* n datagrams of b->link. */
static void judge_headers(struct batch *b, struct dp_item *const of[], size_t n)
{
	const uint8_t *at[DP_RUN] = {NULL};
	struct header h[DP_RUN];
	bool ok[DP_RUN];
	for (size_t i = 0; i < n; i++)
		at[i] = of[i]->d + LINK_ID_BYTES;
	headers_open(b->t->aead, &b->link->rx, at, n, h, ok);
	for (size_t i = 0; i < n; i++) {
		enum drop why = ok[i] ? judge_opened(b, of[i], &h[i]) : DROP_HEADER;
		if (why != DROP_NONE)
			drop(b, why);
	}
	finish_run(b);
}

/* ---- links ---- */

static enum drop judge_handshake(struct dp_item *item, uint32_t link_id)
{
	if (item->n != LINK_INIT_BYTES && item->n != LINK_COOKIE_BYTES)
		return link_id == 0 ? DROP_SIZE : DROP_LINK_UNKNOWN;
	uint8_t type = item->d[LINK_ID_BYTES];
	bool legal = link_id == 0
			     ? type == LINK_TYPE_INIT && item->n == LINK_INIT_BYTES
			     : (type == LINK_TYPE_RESP && item->n == LINK_RESP_BYTES) ||
				       (type == LINK_TYPE_COOKIE && item->n == LINK_COOKIE_BYTES);
	if (!legal)
		return DROP_LINK_UNKNOWN;
	item->r.action = DP_HANDSHAKE;
	return DROP_NONE;
}

static bool is_remote(const struct link_data *l, const struct addr *from)
{
	const struct addr *remote = atomic_load_explicit(&l->remote, memory_order_acquire);
	return remote && addr_equal(remote, from);
}

static void find_link(struct batch *b, uint32_t id)
{
	if (b->asked_link && b->link_id == id)
		return;
	b->asked_link = true;
	b->link_id = id;
	b->link = (struct link_data *)slots_find(b->t->links, id);
	b->foreign = b->link && !is_remote(b->link, b->from);
}

/* What needs no key; b->link is the one that the datagram names. *ret_open: its header is to be
 * opened. */
static enum drop judge_outside(struct batch *b, struct dp_item *item, bool *ret_open)
{
	if (!b->link)
		return judge_handshake(item, b->link_id);
	if (item->n < DATAGRAM_MIN)
		return DROP_SIZE;
	if (b->foreign && (b->link->initiator || b->link->fixed))
		return DROP_LINK_SOURCE;
	*ret_open = true;
	return DROP_NONE;
}

/* Headers wait until there are enough of one link. */
static void judge(struct batch *b, struct dp_item *items, size_t n)
{
	struct dp_item *waiting[DP_RUN];
	size_t m = 0;
	for (struct dp_item *item = items; item < items + n; item++) {
		item->r = (struct dp_result){.action = DP_DROP};
		if (item->n < LINK_COOKIE_BYTES || item->n > DATAGRAM_MAX) {
			drop(b, DROP_SIZE);
			continue;
		}
		uint32_t id = load_be32(item->d);
		if (m == DP_RUN || (m > 0 && id != b->link_id)) {
			judge_headers(b, waiting, m);
			m = 0;
		}
		find_link(b, id);
		bool open = false;
		enum drop why = judge_outside(b, item, &open);
		if (open)
			waiting[m++] = item;
		else if (why != DROP_NONE)
			drop(b, why);
	}
	if (m > 0)
		judge_headers(b, waiting, m);
}

void dataplane_receive_batch(struct dp_thread *t, struct dp_item *items, size_t n,
			     const struct addr *from, nsec_t now)
{
	struct batch b; /* the run's packets stay as they are until they are written */
	b.t = t;
	b.from = from;
	b.asked_link = b.asked_circuit = false;
	b.run.dir = NULL;
	b.run.n = 0;
	t->now = now;
	judge(&b, items, n);
}

void dataplane_receive(struct dp_thread *t, uint8_t *d, size_t n, const struct addr *from,
		       nsec_t now, struct dp_result *ret)
{
	struct dp_item one = {.d = d, .n = n};
	dataplane_receive_batch(t, &one, 1, from, now);
	*ret = one.r;
}
