/* tests/bench/stream.c - see stream.h. */
#include "tests/bench/stream.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"

#define KEY_ALIGN   64
#define STAMP_BYTES 16 /* in front of the pattern: path's number u32, the datagram's u64, 0 u32 */
#define PUMP_BURSTS 4  /* sent between two looks at the sockets */
/* Forward tag and filler, backward filler. */
#define TAIL_BYTES ((PATH_FILL_FORWARD + 1) * AEAD_TAG)
/* What one look at the sockets counts at most: we may have slept. */
#define LOOK_NSEC (5 * NSEC_PER_MSEC)

_Static_assert(PATH_FILL_BACK == PATH_FILL_FORWARD + 1, "both directions end in as many slots");

/* --- what a datagram holds --- */

static size_t content_bytes(const struct stream *s)
{
	return s->c.bytes - HEADER_BYTES - TAIL_BYTES;
}

static void stamp(uint8_t *p, unsigned path, uint64_t number)
{
	store_be32(p, path);
	store_be64(p + 4, number);
	store_be32(p + 12, 0);
}

static struct flow *flow_of(const struct stream *s, struct path_load *p)
{
	return s->c.direction == STREAM_FORWARD ? &p->forward : &p->backward;
}

/* What the relay adds to the counter. */
static uint64_t offset_of(const struct stream *s, const struct path_load *p)
{
	return s->c.direction == STREAM_FORWARD ? p->keys.df : p->keys.db;
}

/* --- sending --- */

static struct neighbour *sender(const struct stream *s, unsigned number)
{
	return neighbour_find(
		s->paths->around,
		s->c.direction == STREAM_FORWARD ? NEIGHBOUR_PREVIOUS : NEIGHBOUR_NEXT, number);
}

/* Content, stamp and counter of one more datagram of a path at d; its header and what is to seal go
 * to *h and *item. */
static void write_datagram(struct stream *s, unsigned path, uint8_t *d, struct header *h,
			   struct aead_item *item)
{
	struct path_load *p = &s->paths->path[path];
	struct flow *f = flow_of(s, p);
	bool forward = s->c.direction == STREAM_FORWARD;
	uint8_t *body = d + HEADER_BYTES;
	size_t n = content_bytes(s);
	if (forward) { /* backward the bytes of the burst before serve again */
		memcpy(body + STAMP_BYTES, s->pattern + STAMP_BYTES, n - STAMP_BYTES);
		memcpy(body + n, s->pattern + n, TAIL_BYTES);
	}
	stamp(body, path, f->sent);
	*h = (struct header){forward ? p->forward_id : p->backward_id, HEADER_DATA,
			     (f->first + f->sent) & COUNTER_MASK};
	*item = (struct aead_item){.p = body, .n = n, .tag = body + n, .ctr = h->ctr};
	f->sent++;
}

/* Many keys are in no cache: have the one that comes next on its way. */
static void prefetch_key(const struct aead_key *k)
{
	for (size_t i = 0; k && i < sizeof(*k); i += KEY_ALIGN)
		__builtin_prefetch((const char *)k + i);
}

/* The next of those that this neighbour sends for; each has its turn for c.run datagrams. */
static unsigned next_path(struct stream *s, struct stream_turn *t)
{
	unsigned path = t->path[t->at];
	if (++t->row >= s->c.run) {
		t->row = 0;
		t->at = (t->at + 1) % t->n;
		prefetch_key(s->paths->path[t->path[t->at]].kf);
	}
	return path;
}

/* Seal the items, those of one path in a row at once. */
static void seal(struct stream *s, const unsigned *path, struct aead_item *item, unsigned n)
{
	for (unsigned from = 0, to; from < n; from = to) {
		for (to = from + 1; to < n && path[to] == path[from];)
			to++;
		aead_seal_batch(s->paths->around->aead, s->paths->path[path[from]].kf, item + from,
				to - from);
	}
}

/* c.burst datagrams of the paths of t, in s->burst, from this neighbour. */
static void write_burst(struct stream *s, struct stream_turn *t, const struct neighbour *from)
{
	struct header h[GSO_DATAGRAMS_MOST];
	struct aead_item item[GSO_DATAGRAMS_MOST];
	uint8_t *at[GSO_DATAGRAMS_MOST];
	unsigned path[GSO_DATAGRAMS_MOST];
	for (unsigned i = 0; i < s->c.burst; i++) {
		uint8_t *d = s->burst + (size_t)i * s->c.bytes;
		path[i] = next_path(s, t);
		write_datagram(s, path[i], d, &h[i], &item[i]);
		store_be32(d, from->up->remote_id);
		at[i] = d + LINK_ID_BYTES;
	}
	if (s->c.direction == STREAM_FORWARD)
		seal(s, path, item, s->c.burst);
	headers_seal(s->paths->around->aead, &from->up->tx, h, s->c.burst, at);
}

static void send_burst(struct stream *s)
{
	while (s->turn[s->sender].n == 0)
		s->sender = (s->sender + 1) % s->senders;
	struct stream_turn *t = &s->turn[s->sender];
	struct neighbour *p = sender(s, s->sender);
	s->sender = (s->sender + 1) % s->senders;
	if (!p->up) {
		s->count.bad++;
		return;
	}
	write_burst(s, t, p);
	unsigned sent = neighbour_send(p, s->burst, s->c.bytes, s->c.burst);
	s->count.sent += s->c.burst;
	s->count.lost += s->c.burst - sent;
	s->under_way += sent;
}

/* What did not come while we looked for so long will not: the window opens for others. */
static void give_up_late(struct stream *s, nsec_t now)
{
	s->silent += nsec_min(now - s->looked, LOOK_NSEC);
	s->looked = now;
	if (s->under_way == 0 || s->silent < STREAM_PATIENCE_NSEC)
		return;
	s->count.lost += s->under_way;
	s->under_way = 0;
	for (unsigned i = s->c.first; i < s->c.first + s->c.n; i++) {
		struct flow *f = flow_of(s, &s->paths->path[i]);
		f->next = f->sent;
	}
}

static bool is_due(const struct stream *s, nsec_t now)
{
	if (s->c.per_s > 0)
		return (double)(s->count.sent + s->c.burst) <=
		       (double)(now - s->started) / NSEC_PER_SEC * s->c.per_s;
	return s->under_way + s->c.burst <= s->c.window;
}

bool stream_pump(struct stream *s, nsec_t now)
{
	if (!s->started)
		s->started = s->looked = now;
	if (s->under_way == 0)
		s->silent = 0;
	give_up_late(s, now);
	for (unsigned i = 0; i < PUMP_BURSTS && is_due(s, now); i++)
		send_burst(s);
	return is_due(s, now);
}

bool stream_is_drained(struct stream *s, nsec_t now)
{
	give_up_late(s, now);
	return s->under_way == 0;
}

/* --- receiving --- */

enum neighbour_kind stream_receiver(const struct stream *s)
{
	return s->c.direction == STREAM_FORWARD ? NEIGHBOUR_NEXT : NEIGHBOUR_PREVIOUS;
}

/* The body as the relay must have left it: our plain, or its layer around it; behind it fresh
 * filler. */
static bool is_as_sent(struct stream *s, unsigned path, uint64_t number, uint64_t ctr,
		       uint8_t *body)
{
	struct path_load *p = &s->paths->path[path];
	size_t n = content_bytes(s);
	struct aead_key kb;
	uint8_t want[STAMP_BYTES];
	bool opened = true;
	if (s->c.direction == STREAM_BACKWARD) {
		aead_key_init(&kb, s->paths->around->aead, p->keys.kb, p->keys.ivb);
		opened = aead_open(s->paths->around->aead, &kb, (ctr - p->keys.db) & COUNTER_MASK,
				   body, n, body + n);
		aead_key_done(&kb);
	}
	stamp(want, path, number);
	return opened && memcmp(body, want, STAMP_BYTES) == 0 &&
	       memcmp(body + n + AEAD_TAG, s->pattern + n + AEAD_TAG, TAIL_BYTES - AEAD_TAG) != 0 &&
	       memcmp(body + STAMP_BYTES, s->pattern + STAMP_BYTES, n - STAMP_BYTES) == 0;
}

static void judge_order(struct stream *s, struct flow *f, uint64_t number)
{
	if (number < f->next) {
		s->count.late++;
		return;
	}
	s->count.lost += number - f->next;
	s->under_way -= number - f->next < s->under_way ? number - f->next : s->under_way;
	f->next = number + 1;
}

void stream_on_data(struct stream *s, const struct header *h, uint8_t *d, size_t n)
{
	unsigned path = h->circuit_id - 1;
	if (path < s->c.first || path >= s->c.first + s->c.n || n != s->c.bytes) {
		s->count.bad++;
		return;
	}
	struct path_load *p = &s->paths->path[path];
	struct flow *f = flow_of(s, p);
	uint64_t number = (h->ctr - offset_of(s, p) - f->first) & COUNTER_MASK;
	if (number >= f->sent) {
		s->count.bad++;
		return;
	}
	s->silent = 0;
	s->under_way -= s->under_way > 0;
	judge_order(s, f, number);
	if (s->count.received % s->c.verify_each == 0) {
		s->count.verified++;
		if (!is_as_sent(s, path, number, h->ctr, d + HEADER_BYTES))
			s->count.bad++;
	}
	s->count.received++;
	s->count.bytes += n;
}

/* --- life --- */

static int expand_key(struct load_paths *paths, struct path_load *p)
{
	size_t n = (sizeof(*p->kf) + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN;
	if (p->kf)
		return 0;
	p->kf = aligned_alloc(KEY_ALIGN, n);
	if (!p->kf)
		return -ENOMEM;
	aead_key_init(p->kf, paths->around->aead, p->keys.kf, p->keys.ivf);
	return 0;
}

/* paths.c gives path i to the neighbours i modulo their number. */
static int add_paths(struct stream *s)
{
	for (unsigned i = s->c.first; i < s->c.first + s->c.n; i++) {
		struct path_load *p = &s->paths->path[i];
		struct stream_turn *t = &s->turn[i % s->senders];
		if (!p->live)
			return -EINVAL;
		if (s->c.direction == STREAM_FORWARD && expand_key(s->paths, p))
			return -ENOMEM;
		t->path[t->n++] = i;
	}
	return 0;
}

static int make_turns(struct stream *s)
{
	s->turn = calloc(s->senders, sizeof(*s->turn));
	if (!s->turn)
		return -ENOMEM;
	for (unsigned i = 0; i < s->senders; i++) {
		s->turn[i].path = calloc(s->c.n / s->senders + 1, sizeof(*s->turn[i].path));
		if (!s->turn[i].path)
			return -ENOMEM;
	}
	return add_paths(s);
}

static bool is_sound(const struct stream_config *c, const struct load_paths *paths)
{
	return c->n > 0 && c->first + c->n <= paths->made && c->bytes >= DATAGRAM_MIN &&
	       c->bytes <= DATAGRAM_FULL_MOST && c->run > 0 && c->verify_each > 0 && c->burst > 0 &&
	       c->burst <= GSO_DATAGRAMS_MOST && (size_t)c->burst * c->bytes <= GSO_BYTES_MOST &&
	       (c->per_s > 0 || c->window >= c->burst);
}

int stream_init(struct stream *s, struct load_paths *paths, const struct stream_config *c)
{
	*s = (struct stream){.c = *c, .paths = paths};
	if (!is_sound(c, paths))
		return -EINVAL;
	s->senders = c->direction == STREAM_FORWARD ? paths->around->previous : paths->around->next;
	s->burst = calloc(GSO_DATAGRAMS_MOST, DATAGRAM_MAX);
	if (!s->burst)
		return -ENOMEM;
	rng_bytes(&rng_system, s->pattern, sizeof(s->pattern));
	for (unsigned i = 0; i < c->burst; i++)
		memcpy(s->burst + (size_t)i * c->bytes + HEADER_BYTES, s->pattern,
		       c->bytes - HEADER_BYTES);
	return make_turns(s);
}

void stream_done(struct stream *s)
{
	for (unsigned i = 0; s->turn && i < s->senders; i++)
		free(s->turn[i].path);
	free(s->turn);
	free(s->burst);
	*s = (struct stream){0};
}
