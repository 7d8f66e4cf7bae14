/* engine/worker.c - one packet worker: wait, read a batch, pass it through the onion layer, write a
 * batch.
 *
 * Nothing here allocates, logs or waits for a lock once the loop runs. The loop is a read-side
 * section of QSBR-RCU from the return of epoll_wait to the end of the batch.
 */
#include <errno.h>
#include <sched.h>
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

bool worker_to_control(struct worker *w, struct message *m, const void *body, size_t n)
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

void worker_hand_over(struct worker *w, unsigned number, const uint8_t *d, size_t n,
		      const struct addr *from)
{
	struct engine *e = w->engine;

	if (number >= e->workers || n > DATAGRAM_MAX ||
	    !ring_push(e->worker[number]->ring, from, sizeof(*from), d, n))
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
		return worker_to_control(w, &m, note, n);
	drops_add(&w->drops, DROP_RING_FULL);
	return false;
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

/* --- batches --- */

/* Does the socket's queue hold datagrams for too long, so that one of this burst shall be lost? A
 * worker that takes turns with others on its core finds much and leaves nothing each time: so it is
 * the average wait that counts, not, as in a router, the shortest. The loss waits for a large
 * burst, which is of a flow that fills the queue, unless all wait very long. Few are lost in any
 * case: the wait may be the making of noise or of another program on this core, which no loss makes
 * shorter, and after a stall the average stays high for some hundred bursts. docs/PERFORMANCE.md
 * has what other limits gave. */
static bool is_late(struct worker *w, struct arriving *q, const struct udp_burst *b)
{
	static const struct codel_limits limits = {NSEC_PER_MSEC / 2, 25 * NSEC_PER_MSEC};

	q->average += ((nsec_t)b->waited - q->average) / AVERAGE_BURSTS;
	if (codel_drops(&q->codel, &limits, w->now, q->average, false))
		q->owed = true;
	else if (q->average < limits.target)
		q->owed = false;
	if (q->kept < KEEP_LEAST)
		q->kept += (b->len + b->segment - 1u) / b->segment;
	if (!q->owed || q->kept < KEEP_LEAST ||
	    (b->len < LARGE_BURST_BYTES && q->average < 4 * limits.target))
		return false;
	q->owed = false;
	q->kept = 0;
	return true;
}

/* How many to ask for when the last time brought `last`: twice as many. To find that there is no
 * second one costs a lonely packet a look into the kernel before it leaves. */
static unsigned next_most(unsigned last, unsigned limit)
{
	unsigned most = last ? 2 * last : 1;
	return most < limit ? most : limit;
}

/* How much the reader itself dropped: nothing of ours is empty or longer than 64 KB. */
static uint64_t count_unread(struct worker *w, unsigned family)
{
	struct arriving *q = &w->arriving[family];
	const struct udp_reader_counters *c = udp_reader_counters(w->reader[family]);
	uint64_t n = atomic_load_explicit(&c->too_long, memory_order_relaxed) +
		     atomic_load_explicit(&c->empty, memory_order_relaxed);

	uint64_t more = n - q->unread;

	drops_add_n(&w->drops, DROP_SIZE, more);
	q->unread = n;
	return more;
}

static void read_udp(struct worker *w, unsigned family)
{
	struct arriving *q = &w->arriving[family];

	for (unsigned round = 0; round < READ_ROUNDS; round++) {
		unsigned most = next_most(q->bursts, q->large ? READ_LARGE : READ_MOST);
		const struct udp_burst *b;
		size_t bytes = 0;
		int n = udp_reader_receive(w->reader[family], most, &b);

		for (int i = 0; i < n; i++) {
			/* it goes unread, so that its counter may come again */
			size_t lost = is_late(w, q, &b[i]) ? b[i].segment : 0;

			if (lost)
				drops_add(&w->drops, DROP_QUEUE_LATE);
			worker_burst(w, b[i].data + lost, b[i].len - lost, b[i].segment,
				     &b[i].from);
			bytes += b[i].len;
		}
		worker_flush(w); /* the reader's buffers are read into again */
		/* those too: what is worthless comes as fast as the rest */
		q->bursts = (n > 0 ? (unsigned)n : 0) + (unsigned)count_unread(w, family);
		q->large = n > 0 && bytes / (unsigned)n >= LARGE_BURST_BYTES;
		if (n < (int)most || most == 1)
			break;
	}
}

/* Take what the kernel has for us into the queue: it shall wait where it is seen how long. */
static void read_tun(struct worker *w)
{
	unsigned most = next_most(w->frames, BATCH_FRAMES), n = 0;

	while (w->tun_now && n < most) {
		struct tun_frame f;
		int e = tun_read_frame(w->tun_now, w->number, fq_room(w->fq), FRAME_ROOM, &f);

		if (!e) {
			fq_put(w->fq, &f, w->now);
			n++;
			continue;
		}
		if (e == -EMSGSIZE || e == -EBADMSG) {
			drops_add(&w->drops, DROP_INNER_FORMAT);
			n++;
			continue;
		}
		if (e == -EBADFD) /* somebody removed the interface: it would be "ready" for ever */
			epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, tun_fd(w->tun_now, w->number), NULL);
		break;
	}
	w->frames = n;
}

/* Seal from the queue for a while, then what came by UDP has its turn. */
static void serve_queue(struct worker *w)
{
	const struct engine_inner_ops *inner = &w->engine->config.inner;
	struct tun_frame f;

	for (size_t bytes = 0; bytes < BATCH_BYTES && fq_get(w->fq, w->now, &f);) {
		bytes += f.len;
		inner->from_tun(inner->arg, w, &f);
	}
}

/* What is sealed has further to go, and maybe on this core: let the others catch up now and then,
 * so that what has to wait waits here, where flows get equal shares and a ping passes a download,
 * and not in their sockets. With a core to itself it goes on at once. */
static void give_way(struct worker *w)
{
	if (!fq_count(w->fq))
		w->turns = 0;
	else if (++w->turns % YIELD_TURNS == 0)
		sched_yield();
}

static void read_ring(struct worker *w)
{
	struct handover h;
	uint64_t count;

	if (read(w->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	for (unsigned i = 0; i < BATCH_HANDOVERS; i++) {
		size_t n = ring_pop(w->ring, &h);
		uint8_t *d;

		if (n <= offsetof(struct handover, bytes))
			return;
		n -= offsetof(struct handover, bytes);
		d = w->arena + w->arena_used; /* it stays there until it has left */
		w->arena_used += n;
		memcpy(d, h.bytes, n);
		worker_burst(w, d, n, n, &h.from);
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

/* The device of this batch: it may be another than the last one's, or none. */
static void see_tun(struct worker *w)
{
	struct tun *t = atomic_load_explicit(&w->tun, memory_order_acquire);

	if (t && t != w->tun_now)
		coalesce_set_offloads(w->coalesce, tun_offloads(t));
	w->tun_now = t;
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
		n = epoll_wait(w->epoll_fd, ready, 8, fq_count(w->fq) ? 0 : -1);
		urcu_qsbr_thread_online();
		w->now = w->dp.now = clock_now();
		see_tun(w);
		for (int i = 0; i < n; i++) {
			serve(w, ready[i].data.u64);
			worker_flush(w);
			wake_others(w);
		}
		serve_queue(w);
		worker_flush(w);
		give_way(w);
	}
	tsan_release_rcu();
	urcu_qsbr_unregister_thread();
	return NULL;
}

/* --- life: the rest is in worker_open.c --- */

int worker_start(struct worker *w)
{
	char name[16]; /* what ps and perf show */
	int r = pthread_create(&w->thread, NULL, worker_main, w);

	w->started = !r;
	snprintf(name, sizeof(name), "worker%u", w->number);
	if (w->started)
		pthread_setname_np(w->thread, name);
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
