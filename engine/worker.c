/* engine/worker.c - one packet worker: wait, read a batch, pass it through the onion layer, write a
 * batch.
 *
 * Nothing here allocates, logs or waits for a lock once the loop runs. The loop is a read-side
 * section of QSBR-RCU from the return of epoll_wait to the end of the batch.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <urcu-qsbr.h>
#include "base/clock.h"
#include "engine/engine_internal.h"
#include "engine/tsan.h"
#include "tun/device.h"

void eventfd_wake(int fd)
{
	uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));
	(void)n; /* EAGAIN: the counter is full, so the reader is awake already */
}

/* --- towards other threads --- */

/* How far each kind may fill the control thread's ring. Anybody can send handshakes, and a client
 * messages to its exit: a flood of them leaves room for what keeps links and circuits alive. */
static const size_t control_share[] = {
	[MESSAGE_HANDSHAKE] = CONTROL_RING_CELLS / 2, [MESSAGE_FOREIGN] = CONTROL_RING_CELLS / 2,
	[MESSAGE_PLAIN] = CONTROL_RING_CELLS / 4 * 3, [MESSAGE_NOTE] = CONTROL_RING_CELLS / 4 * 3,
	[MESSAGE_CTRL] = CONTROL_RING_CELLS,
};

static bool to_control(struct worker *w, struct message *m, const void *body, size_t n)
{
	struct ring *r = w->engine->control_ring;

	m->worker = (uint16_t)w->number;
	if (n > MESSAGE_BODY_BYTES || ring_used(r) >= control_share[m->kind] ||
	    !ring_push(r, m, sizeof(*m), body, n)) {
		drops_add(&w->drops, DROP_RING_FULL);
		return false;
	}
	w->tell_control = true;
	return true;
}

static void to_worker(struct worker *w, unsigned number, const struct pkt *k)
{
	struct engine *e = w->engine;

	if (number >= e->workers || k->len > DATAGRAM_MAX ||
	    !ring_push(e->worker[number]->ring, &k->from, sizeof(k->from), k->data, k->len))
		drops_add(&w->drops, DROP_RING_FULL);
	else
		w->tell_workers |= UINT64_C(1) << number;
}

static void wake_others(struct worker *w)
{
	if (w->tell_control)
		eventfd_wake(w->engine->control_fd);
	w->tell_control = false;
	for (unsigned i = 0; w->tell_workers; i++, w->tell_workers >>= 1)
		if (w->tell_workers & 1)
			eventfd_wake(w->engine->worker[i]->wake_fd);
}

bool worker_note(struct worker *w, const void *note, size_t n)
{
	struct message m = {.kind = MESSAGE_NOTE};

	if (n <= ENGINE_NOTE_BYTES)
		return to_control(w, &m, note, n);
	drops_add(&w->drops, DROP_RING_FULL);
	return false;
}

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
	pkt_put(w->pool, k);
}

void worker_drop(struct worker *w, struct pkt *k, enum drop why)
{
	drops_add(&w->drops, why);
	pkt_put(w->pool, k);
}

/* Queue a datagram for l's other side; it leaves when the batch ends or is full. */
static void send_on_link(struct worker *w, struct link_data *l, struct pkt *k)
{
	const struct addr *to = atomic_load_explicit(&l->remote, memory_order_acquire);
	unsigned f = to->family == 6 ? FAMILY6 : FAMILY4;

	if (!w->out[f]) {
		worker_drop(w, k, DROP_SEND_FAILED);
		return;
	}
	udp_out_put(w->out[f], k, to);
}

void worker_to_tun(struct worker *w, struct pkt *k)
{
	struct tun *t = atomic_load_explicit(&w->tun, memory_order_acquire);

	if (!t || tun_write(t, w->number, k))
		drops_add(&w->drops, DROP_TUN_WRITE);
	pkt_put(w->pool, k);
}

/* Where the datagram will start, or NULL when k has no room for the largest one around its plain.
 */
static uint8_t *datagram_room(struct pkt *k)
{
	if (pkt_headroom(k) < HEADER_BYTES ||
	    k->len + pkt_tailroom(k) + HEADER_BYTES < DATAGRAM_MAX)
		return NULL;
	return k->data - HEADER_BYTES;
}

static void send_sealed(struct worker *w, struct link_data *l, struct pkt *k, uint8_t *room,
			size_t n)
{
	if (!n) { /* counted by whoever refused to seal */
		pkt_put(w->pool, k);
		return;
	}
	k->data = room;
	k->len = (uint32_t)n;
	send_on_link(w, l, k);
}

void worker_to_path(struct worker *w, struct path_data *p, struct pkt *k)
{
	uint8_t *room = datagram_room(k);

	if (!room) {
		worker_drop(w, k, DROP_DATA_SIZE);
		return;
	}
	send_sealed(
		w, p->link, k, room,
		path_seal(&w->dp, p, room, k->len, 0,
			  (enum padding)atomic_load_explicit(&p->padding, memory_order_relaxed)));
}

void worker_to_circuit(struct worker *w, struct circuit *c, struct pkt *k)
{
	uint8_t *room = datagram_room(k);

	if (!room) {
		worker_drop(w, k, DROP_DATA_SIZE);
		return;
	}
	send_sealed(w, c->back_link, k, room,
		    circuit_seal(
			    &w->dp, c, room, k->len, 0,
			    (enum padding)atomic_load_explicit(&c->padding, memory_order_relaxed)));
}

struct dp_thread *worker_dp(struct worker *w)
{
	return &w->dp;
}

unsigned worker_number(const struct worker *w)
{
	return w->number;
}

nsec_t worker_now(const struct worker *w)
{
	return w->now;
}

/* --- one datagram --- */

static void plain_arrived(struct worker *w, struct pkt *k, const struct dp_result *r,
			  size_t datagram)
{
	struct message m = {
		.kind = MESSAGE_PLAIN, .id = r->end->slot.id, .datagram = (uint16_t)datagram};

	k->data = r->plain;
	k->len = (uint32_t)r->plain_bytes;
	switch (r->plain[0]) {
	case PLAIN_DUMMY:
		break;
	case PLAIN_CONTROL:
		to_control(w, &m, r->plain, r->plain_bytes);
		break;
	case PLAIN_PACKET:
	case PLAIN_PACKET_OPEN:
		if (w->engine->config.inner.from_onion) {
			w->engine->config.inner.from_onion(w->engine->config.inner.arg, w, r->end,
							   k);
			return; /* k is its */
		}
		drops_add(&w->drops, DROP_SESSION_STATE);
		break;
	default:
		drops_add(&w->drops, DROP_PLAIN_FORMAT);
	}
	pkt_put(w->pool, k);
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
	to_control(w, &m, NULL, 0);
}

static void datagram_arrived(struct worker *w, struct pkt *k)
{
	struct message m = {.from = k->from};
	struct dp_result r;
	size_t n = k->len;

	dataplane_receive(&w->dp, k->data, n, &k->from, w->now, &r);
	if (r.foreign)
		foreign_source(w, r.foreign_link, &m.from);
	switch (r.action) {
	case DP_SEND:
		send_on_link(w, r.link, k);
		return;
	case DP_PLAIN:
		plain_arrived(w, k, &r, n);
		return;
	case DP_HANDSHAKE:
		m.kind = MESSAGE_HANDSHAKE;
		to_control(w, &m, k->data, n);
		break;
	case DP_CTRL:
		m.kind = MESSAGE_CTRL;
		m.id = r.link->slot.id;
		m.ctr = r.header.ctr;
		to_control(w, &m, k->data + HEADER_BYTES, n - HEADER_BYTES);
		break;
	case DP_HANDOVER:
		to_worker(w, r.worker, k);
		break;
	case DP_DROP:
		break;
	}
	pkt_put(w->pool, k);
}

/* --- batches --- */

static void read_udp(struct worker *w, unsigned family)
{
	struct pkt *in[BATCH_PACKETS];
	int n = udp_in_receive(w->in[family], in, BATCH_PACKETS);

	if (n == -ENOBUFS)
		drops_add(&w->drops, DROP_POOL_EMPTY);
	for (int i = 0; i < n; i++)
		datagram_arrived(w, in[i]);
}

static void read_tun(struct worker *w)
{
	struct tun *t = atomic_load_explicit(&w->tun, memory_order_acquire);

	for (unsigned i = 0; t && i < BATCH_PACKETS; i++) {
		struct pkt *k = worker_get(w);
		int e;

		if (!k)
			return;
		e = tun_read(t, w->number, k);
		if (!e) {
			w->engine->config.inner.from_tun(w->engine->config.inner.arg, w, k);
			continue;
		}
		if (e != -EMSGSIZE && e != -EBADMSG) {
			pkt_put(w->pool, k);
			if (e == -EBADFD) /* somebody removed the interface: it would be "ready" for
					     ever */
				epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, tun_fd(t, w->number), NULL);
			return;
		}
		worker_drop(w, k, DROP_INNER_FORMAT);
	}
}

static void read_ring(struct worker *w)
{
	struct handover h;
	uint64_t count;
	size_t n;

	if (read(w->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	for (unsigned i = 0; i < BATCH_PACKETS; i++) {
		struct pkt *k;

		n = ring_pop(w->ring, &h);
		if (n <= offsetof(struct handover, bytes))
			return;
		k = worker_get(w);
		if (!k)
			break;
		k->from = h.from;
		k->len = (uint32_t)(n - offsetof(struct handover, bytes));
		memcpy(k->data, h.bytes, k->len);
		datagram_arrived(w, k);
	}
	eventfd_wake(w->wake_fd); /* perhaps there is more: after the others had their turn */
}

static void serve(struct worker *w, uint64_t what)
{
	switch (what) {
	case WATCH_UDP4:
		read_udp(w, FAMILY4);
		break;
	case WATCH_UDP6:
		read_udp(w, FAMILY6);
		break;
	case WATCH_TUN:
		read_tun(w);
		break;
	default:
		read_ring(w);
	}
}

static void flush(struct worker *w)
{
	for (unsigned f = 0; f < FAMILIES; f++) {
		size_t lost = w->out[f] ? udp_out_flush(w->out[f]) : 0;
		while (lost--)
			drops_add(&w->drops, DROP_SEND_FAILED);
	}
	wake_others(w);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct epoll_event ready[8];

	urcu_qsbr_register_thread();
	while (!atomic_load_explicit(&w->engine->stop, memory_order_relaxed)) {
		int n;

		tsan_release_rcu();
		urcu_qsbr_thread_offline();
		n = epoll_wait(w->epoll_fd, ready, 8, -1);
		urcu_qsbr_thread_online();
		w->now = w->dp.now = clock_now();
		for (int i = 0; i < n; i++) {
			serve(w, ready[i].data.u64);
			flush(w);
		}
	}
	tsan_release_rcu();
	urcu_qsbr_unregister_thread();
	return NULL;
}

/* --- life: the rest is in worker_open.c --- */

int worker_start(struct worker *w)
{
	int r = pthread_create(&w->thread, NULL, worker_main, w);
	w->started = !r;
	return -r;
}

void worker_join(struct worker *w)
{
	if (!w || !w->started)
		return;
	eventfd_wake(w->wake_fd);
	pthread_join(w->thread, NULL);
	w->started = false;
}
