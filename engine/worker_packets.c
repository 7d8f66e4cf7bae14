/* engine/worker_packets.c - a worker's packets: what came by UDP goes through the onion layer, what
 * came from the TUN is split and sealed, and all that leaves waits for the end of the batch.
 *
 * Datagrams are worked on where the kernel put them (net/udp.h) and leave from there. Frames of the
 * TUN are split into the arena, where datagrams are sealed one behind the other, so that equal ones
 * leave in one send. Nothing moves until worker_flush().
 */
#include <string.h>
#include "engine/engine_internal.h"
#include "tun/device.h"
#include "tun/frame.h"
#include "tun/plain.h"
#include "tun/split.h"

/* --- packets --- */

struct pkt *worker_get(struct worker *w)
{
	struct pkt *k = pkt_get(w->pool);
	if (!k)
		drops_add(&w->drops, DROP_POOL_EMPTY);
	return k;
}

void worker_put(struct worker *w, struct pkt *k)
{
	if (!(k->flags & PKT_IN_BURST))
		pkt_put(w->pool, k);
}

/* Its bytes are queued: it goes back to the pool when they have left. */
static void put_later(struct worker *w, struct pkt *k)
{
	if (k->flags & PKT_IN_BURST)
		return;
	k->next = w->leaving;
	w->leaving = k;
}

void worker_drop(struct worker *w, struct pkt *k, enum drop why)
{
	drops_add(&w->drops, why);
	worker_put(w, k);
}

void worker_drop_frame(struct worker *w, const struct tun_frame *f, enum drop why)
{
	drops_add_n(&w->drops, why, f->packets);
}

/* --- leaving --- */

/* Who sends to l's other side; NULL: there is no socket of that family. */
static struct udp_writer *writer_of(struct worker *w, const struct link_data *l)
{
	const struct addr *to = atomic_load_explicit(&l->remote, memory_order_acquire);
	return w->writer[to->family == 6 ? FAMILY6 : FAMILY4];
}

/* Queue a datagram for l's other side. */
static void send_on_link(struct worker *w, struct link_data *l, const uint8_t *d, size_t n)
{
	const struct addr *to = atomic_load_explicit(&l->remote, memory_order_acquire);
	struct udp_writer *out = w->writer[to->family == 6 ? FAMILY6 : FAMILY4];

	if (out)
		udp_writer_put(out, d, n, to);
	else
		drops_add(&w->drops, DROP_SEND_FAILED);
}

void worker_write_item(void *arg, const struct virtio_net_hdr *h, struct iovec *iov, unsigned n)
{
	struct worker *w = arg;

	if (tun_write_iov(w->tun_now, w->number, h, iov, n))
		drops_add_n(&w->drops, DROP_TUN_WRITE, n - 1);
}

void worker_to_tun(struct worker *w, struct pkt *k, const struct ip_view *v)
{
	if (!w->tun_now) {
		worker_drop(w, k, DROP_TUN_WRITE);
		return;
	}
	coalesce_put(w->coalesce, k->data, v, k->flags & TUN_PKT_CSUM_OPEN);
	put_later(w, k);
}

void worker_flush(struct worker *w)
{
	coalesce_flush(w->coalesce);
	for (unsigned f = 0; f < FAMILIES; f++)
		if (w->writer[f])
			drops_add_n(&w->drops, DROP_SEND_FAILED, udp_writer_flush(w->writer[f]));
	w->arena_used = 0;
	w->in_run = 0;
	while (w->leaving) {
		struct pkt *k = w->leaving;

		w->leaving = k->next;
		pkt_put(w->pool, k);
	}
}

/* --- sealing --- */

/* Where sealed datagrams go: a path of ours, or back along a circuit that ends here. */
struct way {
	struct path_data *path; /* or NULL */
	struct circuit *circuit;
	struct link_data *link;
	uint16_t full_dgram;
	enum padding padding;
};

static struct way way_of_path(struct path_data *p)
{
	return (struct way){
		.path = p,
		.link = p->link,
		.full_dgram = atomic_load_explicit(&p->full_dgram, memory_order_relaxed),
		.padding = (enum padding)atomic_load_explicit(&p->padding, memory_order_relaxed),
	};
}

static struct way way_of_circuit(struct circuit *c)
{
	return (struct way){
		.circuit = c,
		.link = c->back_link,
		.full_dgram = atomic_load_explicit(&c->full_dgram, memory_order_relaxed),
		.padding = (enum padding)atomic_load_explicit(&c->padding, memory_order_relaxed),
	};
}

static size_t datagram_bytes(const struct way *y, size_t plain)
{
	return y->path ? path_datagram_bytes(y->path, plain, y->full_dgram, y->padding)
		       : circuit_datagram_bytes(y->circuit, plain, y->full_dgram, y->padding);
}

/* Seal n datagrams and queue those that could be sealed; who refuses counts. */
static void seal_and_send(struct worker *w, const struct way *y, struct dp_seal *s, size_t n)
{
	if (y->path)
		path_seal_batch(&w->dp, y->path, s, n, y->full_dgram, y->padding);
	else
		circuit_seal_batch(&w->dp, y->circuit, s, n, y->full_dgram, y->padding);
	for (size_t i = 0; i < n; i++)
		if (s[i].datagram)
			send_on_link(w, y->link, s[i].room, s[i].datagram);
}

static uint8_t *arena_take(struct worker *w, size_t n)
{
	uint8_t *room = w->arena + w->arena_used;

	if (n > ARENA_BYTES - w->arena_used)
		return NULL;
	w->arena_used += n;
	return room;
}

static void send_frame(struct worker *w, const struct way *y, const struct tun_frame *f)
{
	struct udp_writer *out = writer_of(w, y->link);
	struct dp_seal s[SEAL_BATCH];
	size_t plain = 0, datagram = 0, run = 0;

	if (!out) {
		worker_drop_frame(w, f, DROP_SEND_FAILED);
		return;
	}

	for (unsigned i = 0; i < f->packets;) {
		size_t n = 0;

		for (; n < SEAL_BATCH && i < f->packets; i++) {
			size_t bytes = 1 + frame_packet_bytes(f, i);
			uint8_t *room;

			if (bytes != plain) { /* all but the last are equal */
				plain = bytes;
				datagram = datagram_bytes(y, plain);
				run = datagram ? udp_writer_run(out, datagram) : 0;
			}
			if (!datagram) {
				drops_add(&w->drops, DROP_DATA_SIZE);
				continue;
			}
			if (n && w->in_run + n >= run)
				break;
			room = arena_take(w, datagram);
			if (!room)
				break;
			frame_plain(f, i, room + HEADER_BYTES);
			s[n++] = (struct dp_seal){.room = room, .plain = plain};
		}
		seal_and_send(w, y, s, n);
		w->in_run += n;
		/* a whole run leaves while its bytes are in the cache */
		if (w->in_run >= run || w->arena_used > ARENA_BYTES - DATAGRAM_MAX)
			worker_flush(w);
	}
}

void worker_frame_to_path(struct worker *w, struct path_data *p, const struct tun_frame *f)
{
	struct way y = way_of_path(p);
	send_frame(w, &y, f);
}

void worker_frame_to_circuit(struct worker *w, struct circuit *c, const struct tun_frame *f)
{
	struct way y = way_of_circuit(c);
	send_frame(w, &y, f);
}

void worker_to_circuit(struct worker *w, struct circuit *c, struct pkt *k)
{
	struct way y = way_of_circuit(c);
	struct dp_seal s = {.room = k->data - HEADER_BYTES, .plain = k->len};

	/* room for the largest datagram around the plain */
	if (pkt_headroom(k) < HEADER_BYTES ||
	    HEADER_BYTES + k->len + pkt_tailroom(k) < DATAGRAM_MAX) {
		worker_drop(w, k, DROP_DATA_SIZE);
		return;
	}
	seal_and_send(w, &y, &s, 1);
	put_later(w, k);
}

/* --- arriving --- */

static void plain_arrived(struct worker *w, const struct dp_item *it)
{
	const struct dp_result *r = &it->r;
	const struct engine_inner_ops *inner = &w->engine->config.inner;
	struct message m = {
		.kind = MESSAGE_PLAIN, .id = r->end->slot.id, .datagram = (uint16_t)it->n};
	struct pkt k = {
		.data = r->plain,
		.len = (uint32_t)r->plain_bytes,
		.flags = PKT_IN_BURST,
		.room = it->d,
		.room_bytes = (uint32_t)it->n,
	};

	switch (r->plain[0]) {
	case PLAIN_DUMMY:
		break;
	case PLAIN_CONTROL:
		worker_to_control(w, &m, r->plain, r->plain_bytes);
		break;
	case PLAIN_PACKET:
	case PLAIN_PACKET_OPEN:
		if (inner->from_onion)
			inner->from_onion(inner->arg, w, r->end, &k);
		else
			drops_add(&w->drops, DROP_SESSION_STATE);
		break;
	default:
		drops_add(&w->drops, DROP_PLAIN_FORMAT);
	}
}

/* A link's owner may send from a foreign address as fast as it likes; the control thread asks it
 * once a second. */
static void foreign_source(struct worker *w, uint32_t link, const struct addr *from)
{
	struct foreign *f = &w->foreign[link % FOREIGN_CELLS];
	struct message m = {.kind = MESSAGE_FOREIGN, .id = link, .from = *from};

	if (f->link == link && w->now - f->told < NSEC_PER_SEC)
		return;
	*f = (struct foreign){link, w->now};
	worker_to_control(w, &m, NULL, 0);
}

/* May l bring CTRL now? Its header is right, more nobody knows yet, and a neighbour can send that
 * as fast as the wire lets it. Once the control thread's ring is half full each link brings a
 * little, and the last eighth is for links between relays. */
static bool ctrl_may_go(struct worker *w, const struct link_data *l)
{
	size_t used = ring_used(w->engine->control_ring);
	struct ctrl_cell *c = &w->ctrl[l->slot.id % CTRL_CELLS];

	if (used < CONTROL_RING_CELLS / 2)
		return true;
	if (used >= CONTROL_RING_CELLS / 8 * 7 && !l->fixed && !l->initiator)
		return false;
	if (w->now - c->since >= NSEC_PER_MSEC)
		*c = (struct ctrl_cell){.since = w->now};
	return c->n++ < CTRL_WHEN_BUSY;
}

static void datagram_judged(struct worker *w, const struct dp_item *it, const struct addr *from)
{
	const struct dp_result *r = &it->r;
	struct message m = {.from = *from};

	if (r->foreign)
		foreign_source(w, r->foreign_link, from);
	switch (r->action) {
	case DP_SEND:
		send_on_link(w, r->link, it->d, it->n);
		break;
	case DP_PLAIN:
		plain_arrived(w, it);
		break;
	case DP_HANDSHAKE:
		m.kind = MESSAGE_HANDSHAKE;
		worker_to_control(w, &m, it->d, it->n);
		break;
	case DP_CTRL:
		if (!ctrl_may_go(w, r->link)) {
			drops_add(&w->drops, DROP_RING_FULL);
			break;
		}
		m.kind = MESSAGE_CTRL;
		m.id = r->link->slot.id;
		m.ctr = r->header.ctr;
		worker_to_control(w, &m, it->d + HEADER_BYTES, it->n - HEADER_BYTES);
		break;
	case DP_HANDOVER:
		worker_hand_over(w, r->worker, it->d, it->n, from);
		break;
	case DP_DROP:
		break;
	}
}

void worker_burst(struct worker *w, uint8_t *d, size_t len, size_t segment, const struct addr *from)
{
	for (size_t at = 0; at < len;) {
		size_t n = 0;

		for (; n < DP_BATCH && at < len; n++) {
			size_t left = len - at;

			w->item[n].d = d + at;
			w->item[n].n = left < segment ? left : segment;
			at += w->item[n].n;
		}
		dataplane_receive_batch(&w->dp, w->item, n, from, w->now);
		for (size_t i = 0; i < n; i++)
			datagram_judged(w, &w->item[i], from);
	}
}
