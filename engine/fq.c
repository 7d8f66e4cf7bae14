/* engine/fq.c - see fq.h. RFC 8290 with frames for packets; a burst of 64 KB counts with all its
 * bytes. */
#include "engine/fq.h"
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "tun/ecn.h"
#include "tun/split.h"

#define QUANTUM	   16384 /* bytes that a flow may send before the next has its turn */
#define NONE	   UINT16_MAX
#define DROP_MOST  64	 /* frames lost at once when all is full, */
#define DROP_BYTES 16384 /* and about so many bytes */

/* Shorter than RFC 8289 has them: the queue is before a processor, not before a slow wire. */
static const struct codel_limits limits = {NSEC_PER_MSEC, 25 * NSEC_PER_MSEC};

struct slot {
	struct tun_frame frame;
	nsec_t since;
	uint16_t next; /* of its flow, or of the free slots */
};

struct flow {
	uint16_t first, last; /* slots */
	uint16_t next;	      /* flow in the same list */
	bool listed;
	int32_t credit;
	uint32_t bytes;
	struct codel codel;
};

struct list {
	uint16_t first, last;
};

struct fq {
	size_t room, bytes_most, bytes, count;
	uint64_t seed;
	struct drops *drops;
	uint8_t *block; /* of all slots */
	struct slot *slot;
	size_t nslots;
	size_t fresh;	/* slots from here on were never used: their memory is untouched */
	uint16_t free;	/* used before, and free */
	uint16_t next;	/* the one that fq_room() gave */
	uint16_t taken; /* the one that fq_get() gave */
	struct list fresh_flows, old_flows; /* those that had no turn yet go first */
	struct flow flow[FQ_FLOWS];
};

static void give_back(struct fq *q, uint16_t s)
{
	q->slot[s].next = q->free;
	q->free = s;
}

static uint16_t take_free(struct fq *q)
{
	uint16_t s = q->free;

	if (s != NONE)
		q->free = q->slot[s].next;
	else if (q->fresh < q->nslots)
		s = (uint16_t)q->fresh++;
	return s;
}

struct fq *fq_new(size_t frames, size_t room, size_t bytes, uint64_t seed, struct drops *drops)
{
	struct fq *q = calloc(1, sizeof(*q));

	if (!q || frames < 4 || frames >= NONE)
		goto fail;
	room = (room + 63) & ~(size_t)63;
	q->slot = calloc(frames, sizeof(*q->slot));
	q->block = aligned_alloc(64, frames * room);
	if (!q->slot || !q->block)
		goto fail;
	q->room = room;
	q->bytes_most = bytes;
	q->seed = seed;
	q->drops = drops;
	q->nslots = frames;
	q->free = q->taken = NONE;
	q->fresh_flows = q->old_flows = (struct list){NONE, NONE};
	for (unsigned i = 0; i < FQ_FLOWS; i++)
		q->flow[i].first = q->flow[i].last = q->flow[i].next = NONE;
	q->next = take_free(q);
	return q;
fail:
	fq_free(q);
	return NULL;
}

void fq_free(struct fq *q)
{
	if (!q)
		return;
	free(q->slot);
	free(q->block);
	free(q);
}

uint8_t *fq_room(struct fq *q)
{
	return q->block + q->next * q->room;
}

size_t fq_count(const struct fq *q)
{
	return q->count;
}

/* --- flows --- */

static uint64_t mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 32;
}

static uint64_t mix_address(uint64_t h, const struct addr *a)
{
	if (a->family == 4)
		return mix(h, load_be32(a->ip));
	return mix(mix(h, load_be64(a->ip)), load_be64(a->ip + 8));
}

static struct flow *flow_of(struct fq *q, const struct ip_view *v)
{
	uint64_t h = mix_address(mix_address(q->seed, &v->src), &v->dst);

	h = mix(h, (uint64_t)v->protocol << 32 | (uint32_t)v->src_port << 16 | v->dst_port);
	return &q->flow[h % FQ_FLOWS];
}

static void append(struct fq *q, struct list *l, struct flow *f)
{
	uint16_t i = (uint16_t)(f - q->flow);

	f->next = NONE;
	f->listed = true;
	if (l->first == NONE)
		l->first = i;
	else
		q->flow[l->last].next = i;
	l->last = i;
}

static struct flow *take_first(struct fq *q, struct list *l)
{
	struct flow *f = &q->flow[l->first];

	l->first = f->next;
	if (l->first == NONE)
		l->last = NONE;
	f->listed = false;
	return f;
}

/* --- frames --- */

static uint16_t unlink_first(struct fq *q, struct flow *f)
{
	uint16_t s = f->first;

	f->first = q->slot[s].next;
	if (f->first == NONE)
		f->last = NONE;
	f->bytes -= q->slot[s].frame.len;
	q->bytes -= q->slot[s].frame.len;
	q->count--;
	return s;
}

/* The queue with the most bytes loses its oldest frame; of small ones more at once, since to find
 * it takes a look at all. */
static void drop_from_longest(struct fq *q)
{
	struct flow *longest = &q->flow[0];
	uint32_t left;

	for (unsigned i = 1; i < FQ_FLOWS; i++)
		if (q->flow[i].bytes > longest->bytes)
			longest = &q->flow[i];
	left = longest->bytes > DROP_BYTES ? longest->bytes - DROP_BYTES : 0;
	if (left < longest->bytes / 2)
		left = longest->bytes / 2;
	for (unsigned i = 0; i < DROP_MOST && (!i || longest->bytes > left); i++) {
		uint16_t s = unlink_first(q, longest);

		drops_add_n(q->drops, DROP_QUEUE_FULL, q->slot[s].frame.packets);
		give_back(q, s);
	}
}

void fq_put(struct fq *q, const struct tun_frame *f, nsec_t now)
{
	struct flow *flow = flow_of(q, &f->view);
	struct slot *s = &q->slot[q->next];

	s->frame = *f;
	s->since = now;
	s->next = NONE;
	if (flow->first == NONE)
		flow->first = q->next;
	else
		q->slot[flow->last].next = q->next;
	flow->last = q->next;
	flow->bytes += f->len;
	q->bytes += f->len;
	q->count++;
	if (!flow->listed) {
		flow->credit = QUANTUM;
		append(q, &q->fresh_flows, flow);
	}
	while (q->bytes > q->bytes_most && q->count > 1)
		drop_from_longest(q);
	q->next = take_free(q);
	while (q->next == NONE) {
		drop_from_longest(q);
		q->next = take_free(q);
	}
}

/* It waited too long: say so, or lose a packet. False when nothing of it is left. */
static bool punish(struct fq *q, struct tun_frame *f)
{
	if (ecn_mark(f->data, &f->view))
		return true;
	drops_add(q->drops, DROP_QUEUE_LATE);
	return frame_drop_first(f);
}

/* The flow's next frame, or NONE. */
static uint16_t dequeue(struct fq *q, struct flow *f, nsec_t now)
{
	while (f->first != NONE) {
		uint16_t s = unlink_first(q, f);
		struct slot *slot = &q->slot[s];
		bool last = f->first == NONE;

		if (!codel_drops(&f->codel, &limits, now, now - slot->since, last) ||
		    punish(q, &slot->frame))
			return s;
		give_back(q, s);
	}
	f->codel.dropping = false;
	return NONE;
}

bool fq_get(struct fq *q, nsec_t now, struct tun_frame *ret)
{
	if (q->taken != NONE)
		give_back(q, q->taken);
	q->taken = NONE;
	while (q->fresh_flows.first != NONE || q->old_flows.first != NONE) {
		bool fresh = q->fresh_flows.first != NONE;
		struct list *l = fresh ? &q->fresh_flows : &q->old_flows;
		struct flow *f = &q->flow[l->first];
		uint16_t s;

		if (f->credit <= 0) {
			f->credit += QUANTUM;
			take_first(q, l);
			append(q, &q->old_flows, f);
			continue;
		}
		s = dequeue(q, f, now);
		if (s ==
		    NONE) { /* a flow that ran empty waits one round before it is fresh again */
			take_first(q, l);
			if (fresh && q->old_flows.first != NONE)
				append(q, &q->old_flows, f);
			continue;
		}
		f->credit -= (int32_t)q->slot[s].frame.len;
		q->taken = s;
		*ret = q->slot[s].frame;
		return true;
	}
	return false;
}
