/* tests/unit/test_engine.c - workers on loopback: what reaches the control thread, what is handed
 * over, what is freed when; and that a worker allocates nothing. Run under TSan as well. */
#include "engine/engine.h"
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/bytes.h"
#include "base/log.h"
#include "crypto/kdf.h"
#include "net/udp.h"
#include "tun/device.h"
#include "tun/split.h"
#include "unit/seeded.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define GIVE_UP_NS (5 * NSEC_PER_SEC)
#define WORKERS	   4
#define PORTS	   24 /* source ports of a neighbour, spread over the workers by the kernel */

/* --- no allocation on workers --- */

static pthread_t main_thread;
static _Atomic bool armed; /* once the packet path runs */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static void check_allocation(void)
{
	if (atomic_load(&armed) && !pthread_equal(pthread_self(), main_thread))
		abort();
}

void *__wrap_malloc(size_t n)
{
	check_allocation();
	return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	check_allocation();
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	check_allocation();
	return __real_realloc(p, n);
}

/* --- the two ends --- */

/* One hop: the engine is the exit, the test is its client. Static for their alignment. */
struct ends {
	struct link_data link, client_link;
	struct circuit circuit;
	struct path_data path;
	struct addr remote, engine;
};

struct fixture {
	struct seeded seed;
	struct rng rng;
	struct event_base *base;
	struct engine *engine;
	struct aead_ctx *aead;
	struct filler filler;
	struct drops drops;
	struct dp_thread dp; /* the client's */
	struct udp *udp[PORTS];
	struct ends *ends;
	/* what the control thread was told */
	unsigned handshakes, ctrls, foreigns, plains, notes;
	unsigned worker; /* of the last one */
	bool two_workers;
	uint32_t id;
	uint64_t ctr;
	struct addr from;
	uint8_t bytes[DATAGRAM_MAX];
	size_t n, datagram;
	nsec_t now, dp_now;
	/* what workers were told */
	_Atomic unsigned packets;
	_Atomic bool hold, holding; /* a worker waits in its read-side section */
	_Atomic unsigned frames;    /* sealed from the TUN */
	nsec_t turn;		    /* the worker's: the batch that it works on, */
	size_t in_turn, turn_most;  /* bytes of frames in it, and in any so far */
};

static void note(struct fixture *f, unsigned worker, const void *bytes, size_t n, nsec_t now)
{
	f->two_workers = f->two_workers || (f->handshakes + f->ctrls && worker != f->worker);
	f->worker = worker;
	memcpy(f->bytes, bytes, n);
	f->n = n;
	f->now = now;
	f->dp_now = engine_env(f->engine)->dp->now;
	assert_true(pthread_equal(pthread_self(), main_thread));
}

static void on_handshake(void *arg, const struct addr *from, unsigned worker, const uint8_t *d,
			 size_t n, nsec_t now)
{
	struct fixture *f = arg;
	note(f, worker, d, n, now);
	f->from = *from;
	f->handshakes++;
}

static void on_ctrl(void *arg, uint32_t link_id, const struct addr *from, unsigned worker,
		    uint64_t ctr, uint8_t *body, size_t n, nsec_t now)
{
	struct fixture *f = arg;
	note(f, worker, body, n, now);
	f->from = *from;
	f->id = link_id;
	f->ctr = ctr;
	f->ctrls++;
}

static void on_foreign(void *arg, uint32_t link_id, const struct addr *from, nsec_t now)
{
	struct fixture *f = arg;
	note(f, f->worker, "", 0, now);
	f->id = link_id;
	f->from = *from;
	f->foreigns++;
}

static void on_plain(void *arg, uint32_t circuit_id, const uint8_t *plain, size_t n,
		     size_t datagram, nsec_t now)
{
	struct fixture *f = arg;
	note(f, f->worker, plain, n, now);
	f->id = circuit_id;
	f->datagram = datagram;
	f->plains++;
}

static void on_note(void *arg, const uint8_t *bytes, size_t n, nsec_t now)
{
	struct fixture *f = arg;
	note(f, f->worker, bytes, n, now);
	f->notes++;
}

/* Inner code of an exit that sends each packet back where it came from, on its worker. */
static void from_onion(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k)
{
	struct fixture *f = arg;
	unsigned number = worker_number(w);
	struct pkt *answer;
	atomic_fetch_add(&f->packets, 1);
	if (!worker_note(w, &number, sizeof(number)) ||
	    worker_note(w, f->bytes, ENGINE_NOTE_BYTES + 1))
		abort();
	if (worker_now(w) <= 0 || worker_dp(w)->worker != number)
		abort();
	if (atomic_load(&f->hold)) {
		atomic_store(&f->holding, true);
		while (atomic_load(&f->hold))
			sched_yield();
	}
	answer = worker_get(w);
	if (!answer)
		abort();
	memcpy(answer->data, k->data, k->len);
	answer->len = k->len;
	worker_put(w, k);
	worker_to_circuit(w, end->owner, answer);
}

static void from_tun(void *arg, struct worker *w, const struct tun_frame *frame)
{
	struct fixture *f = arg;
	if (worker_now(w) != f->turn) {
		f->turn = worker_now(w);
		f->in_turn = 0;
	}
	f->in_turn += frame_bytes(frame);
	if (f->in_turn > f->turn_most)
		f->turn_most = f->in_turn;
	worker_frame_to_circuit(w, &f->ends->circuit, frame);
	atomic_fetch_add(&f->frames, 1);
}

/* --- a TUN that always has more --- */

#define FRAMES_READY 40 /* of FRAME_BYTES each: more than one turn may seal */
#define FRAME_BYTES  60028
#define FRAME_PIECE  1200

static _Atomic unsigned frames_left; /* that the device has */
static int tun_event = -1;

unsigned __wrap_tun_queues(const struct tun *t);
int __wrap_tun_fd(const struct tun *t, unsigned queue);
unsigned __wrap_tun_offloads(const struct tun *t);
int __wrap_tun_read_frame(struct tun *t, unsigned queue, uint8_t *buf, size_t room,
			  struct tun_frame *ret);

unsigned __wrap_tun_queues(const struct tun *t)
{
	(void)t;
	return 1;
}

int __wrap_tun_fd(const struct tun *t, unsigned queue)
{
	(void)t;
	(void)queue;
	return tun_event;
}

unsigned __wrap_tun_offloads(const struct tun *t)
{
	(void)t;
	return 0;
}

/* A burst of UDP. */
int __wrap_tun_read_frame(struct tun *t, unsigned queue, uint8_t *buf, size_t room,
			  struct tun_frame *ret)
{
	const struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
					 .gso_size = FRAME_PIECE};
	static const uint8_t ip[] = {0x45,
				     0,
				     FRAME_BYTES >> 8,
				     FRAME_BYTES & 255,
				     0,
				     0,
				     0,
				     0,
				     64,
				     17,
				     0,
				     0,
				     192,
				     0,
				     2,
				     1,
				     192,
				     0,
				     2,
				     2};
	uint64_t count;
	(void)t;
	(void)queue;
	assert_true(room > FRAME_BYTES);
	if (!atomic_load(&frames_left)) {
		ssize_t n = read(tun_event, &count, sizeof(count));
		(void)n;
		return -EAGAIN;
	}
	atomic_fetch_sub(&frames_left, 1);
	memset(buf, 0, FRAME_BYTES);
	memcpy(buf, ip, sizeof(ip));
	store_be16(buf + sizeof(ip) + 4, FRAME_BYTES - sizeof(ip));
	return frame_parse(&h, buf, FRAME_BYTES, ret);
}

static struct addr loopback(uint16_t port)
{
	return addr_from_ip((uint8_t[]){127, 0, 0, 1}, 4, port);
}

static void open_engine(struct fixture *f, unsigned workers)
{
	char err[256] = "";
	const struct engine_config c = {
		.base = f->base,
		.workers = workers,
		.bind4 = loopback(0),
		.underlay4 = true,
		.rng = &f->rng,
		.inner = {f, from_onion, from_tun},
		.control = {f, on_handshake, on_ctrl, on_foreign, on_plain, on_note},
		.link_bits = 8,
		.circuit_bits = 8,
		.links_most = 16,
		.circuits_most = 16,
		.pool_packets = 256,
	};
	int r = engine_new(&c, &f->engine, err);
	if (r)
		fail_msg("%s", err);
	assert_int_equal(engine_workers(f->engine), workers);
	assert_int_not_equal(engine_port(f->engine, 4), 0);
	assert_int_equal(engine_port(f->engine, 6), 0);
	f->ends->engine = loopback(engine_port(f->engine, 4));
}

static void make_links(struct fixture *f, unsigned owner)
{
	struct link_data *l = &f->ends->link, *c = &f->ends->client_link;
	uint8_t key[2][32];
	rng_bytes(&f->rng, key, sizeof(key));
	header_key_init(&l->rx, f->aead, key[0]);
	header_key_init(&c->tx, f->aead, key[0]);
	header_key_init(&l->tx, f->aead, key[1]);
	header_key_init(&c->rx, f->aead, key[1]);
	l->owner = (uint16_t)owner;
	l->max_dgram = c->max_dgram = DATAGRAM_FULL_MOST;
	f->ends->remote = udp_local(f->udp[0]);
	atomic_store(&l->remote, &f->ends->remote);
	atomic_store(&c->remote, &f->ends->engine);
	l->remote_id = 0x11223344;
	assert_int_equal(slots_add(engine_env(f->engine)->links, &l->slot, &f->rng), 0);
	c->remote_id = l->slot.id;
}

static void make_path(struct fixture *f)
{
	struct circuit *x = &f->ends->circuit;
	struct path_data *p = &f->ends->path;
	uint8_t key[2][32] = {{1}, {2}}, iv[2][12] = {{3}, {4}};
	aead_key_init(&x->kf, f->aead, key[0], iv[0]);
	aead_key_init(&p->layer[0].kf, f->aead, key[0], iv[0]);
	aead_key_init(&x->kb, f->aead, key[1], iv[1]);
	x->last = true;
	x->forward = (struct hop_dir){.kind = HOP_END_FORWARD,
				      .in = &f->ends->link,
				      .fill = 2,
				      .key = &x->kf,
				      .owner = x};
	assert_int_equal(slots_add(engine_env(f->engine)->circuits, &x->forward.slot, &f->rng), 0);
	x->back_link = &f->ends->link;
	x->back_id = 0x55667788;
	atomic_store(&x->full_dgram, 1440);
	p->hops = 1;
	p->slots = 3;
	p->link = &f->ends->client_link;
	p->forward_id = x->forward.slot.id;
	atomic_store(&p->full_dgram, 1440);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->rng = seeded_rng(&f->seed, 11);
	f->ends = aligned_alloc(64, (sizeof(*f->ends) + 63) / 64 * 64);
	assert_non_null(f->ends);
	memset(f->ends, 0, sizeof(*f->ends));
	f->base = event_base_new();
	f->aead = aead_ctx_new();
	assert_true(f->base && f->aead);
	filler_init(&f->filler, &f->rng);
	f->dp = (struct dp_thread){.aead = f->aead, .filler = &f->filler, .drops = &f->drops};
	for (unsigned i = 0; i < PORTS; i++)
		assert_int_equal(udp_open(&(struct udp_config){.bind = loopback(0)}, &f->udp[i]),
				 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	atomic_store(&f->hold, false);
	if (f->engine) {
		slots_remove(engine_env(f->engine)->links, f->ends->link.slot.id);
		slots_remove(engine_env(f->engine)->circuits, f->ends->circuit.forward.slot.id);
	}
	engine_free(f->engine);
	atomic_store(&armed, false);
	for (unsigned i = 0; i < PORTS; i++)
		udp_close(f->udp[i]);
	filler_done(&f->filler);
	aead_ctx_free(f->aead);
	event_base_free(f->base);
	free(f->ends);
	free(f);
	return 0;
}

static void send_from(struct fixture *f, unsigned port, const void *d, size_t n)
{
	assert_int_equal(udp_send_now(f->udp[port], d, n, &f->ends->engine), 0);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Turn the control thread's loop until *what reaches `least`. */
static void run_until(struct fixture *f, const unsigned *what, unsigned least)
{
	const struct timeval most = {GIVE_UP_NS / NSEC_PER_SEC, 0};
	bool late = false;
	struct event *guard = evtimer_new(f->base, on_late, &late);
	evtimer_add(guard, &most);
	while (*what < least && !late)
		event_base_loop(f->base, EVLOOP_ONCE);
	event_free(guard);
	assert_false(late);
}

/* Until all threads together have counted so many of this drop. */
static void wait_for_drops(struct fixture *f, enum drop why, uint64_t least)
{
	uint64_t n[DROP_COUNT];
	nsec_t until = clock_now() + GIVE_UP_NS;
	do {
		engine_drops(f->engine, n);
		assert_true(clock_now() < until);
		sched_yield();
	} while (n[why] < least);
}

/* --- datagrams --- */

static size_t make_ctrl(struct fixture *f, uint64_t ctr, uint8_t fill, uint8_t d[DATAGRAM_MAX])
{
	const struct header h = {0, HEADER_CTRL, ctr};
	datagram_header(f->aead, &f->ends->client_link, &h, d);
	memset(d + HEADER_BYTES, fill, CTRL_PLAIN_SMALL + AEAD_TAG);
	return HEADER_BYTES + CTRL_PLAIN_SMALL + AEAD_TAG;
}

static size_t make_data(struct fixture *f, enum plain_type type, uint8_t fill,
			uint8_t d[DATAGRAM_MAX])
{
	memset(d + HEADER_BYTES, fill, 100);
	d[HEADER_BYTES] = (uint8_t)type;
	size_t n = path_seal(&f->dp, &f->ends->path, d, 100, 0, PAD_BUCKET);
	assert_true(n > 0);
	return n;
}

static void engine_brings_handshakes(void **state)
{
	struct fixture *f = *state;
	uint8_t d[LINK_INIT_BYTES] = {0, 0, 0, 0, LINK_TYPE_INIT, PROTOCOL_VERSION};
	memset(d + 8, 0x77, sizeof(d) - 8);
	open_engine(f, WORKERS);
	assert_int_equal(engine_env(f->engine)->dp->now, 0);
	nsec_t before = clock_now();
	send_from(f, 0, d, sizeof(d));
	run_until(f, &f->handshakes, 1);
	assert_int_equal(f->n, sizeof(d));
	assert_memory_equal(f->bytes, d, sizeof(d));
	struct addr from = udp_local(f->udp[0]);
	assert_true(addr_equal(&f->from, &from));
	assert_true(f->worker < WORKERS);
	assert_true(f->now >= before && f->now <= clock_now());
	assert_int_equal(f->dp_now, f->now); /* what is sealed in answer stamps its link */
	engine_set_now(f->engine, 77);
	assert_int_equal(engine_env(f->engine)->dp->now, 77);
}

static void engine_counts_noise(void **state)
{
	struct fixture *f = *state;
	uint8_t noise[200];
	memset(noise, 0xa5, sizeof(noise));
	open_engine(f, WORKERS);
	for (unsigned i = 0; i < PORTS; i++) {
		send_from(f, i, noise, 200);
		send_from(f, i, noise, 10);
	}
	wait_for_drops(f, DROP_SIZE, PORTS);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->handshakes + f->ctrls + f->plains, 0);
}

/* A flood of handshakes fills the ring and no more; what came in is told, the rest counted. */
static void engine_bounds_what_waits_for_control(void **state)
{
	struct fixture *f = *state;
	uint8_t d[LINK_INIT_BYTES] = {0, 0, 0, 0, LINK_TYPE_INIT, PROTOCOL_VERSION};
	uint64_t n[DROP_COUNT];
	open_engine(f, 1);
	nsec_t until = clock_now() + GIVE_UP_NS;
	unsigned sent = 0;
	do {
		send_from(f, 0, d, sizeof(d));
		sent++;
		engine_drops(f->engine, n);
		assert_true(clock_now() < until);
	} while (n[DROP_RING_FULL] == 0);
	run_until(f, &f->handshakes, 256); /* what it holds is told */
	assert_true(f->handshakes < sent);
}

/* Add a second link to the engine, from port 2, and make a CTRL datagram of it. */
static size_t make_other_ctrl(struct fixture *f, struct link_data *l, struct addr *remote,
			      uint8_t d[DATAGRAM_MAX])
{
	const struct header h = {0, HEADER_CTRL, 1};
	struct link_data other = {.slot = {0}};
	uint8_t key[32];
	rng_bytes(&f->rng, key, sizeof(key));
	header_key_init(&l->rx, f->aead, key);
	header_key_init(&other.tx, f->aead, key);
	l->max_dgram = DATAGRAM_FULL_MOST;
	*remote = udp_local(f->udp[2]);
	atomic_store(&l->remote, remote);
	assert_int_equal(slots_add(engine_env(f->engine)->links, &l->slot, &f->rng), 0);
	other.remote_id = l->slot.id;
	datagram_header(f->aead, &other, &h, d);
	memset(d + HEADER_BYTES, 1, CTRL_PLAIN_SMALL + AEAD_TAG);
	return HEADER_BYTES + CTRL_PLAIN_SMALL + AEAD_TAG;
}

/* A neighbour whose CTRL comes faster than the control thread can take it. True when a datagram of
 * another link that came after it is told all the same. */
static bool comes_through(struct fixture *f, bool fixed, unsigned flood)
{
	static struct link_data other;
	static struct addr remote;
	uint8_t d[DATAGRAM_MAX], one[DATAGRAM_MAX];
	uint64_t before[DROP_COUNT], after[DROP_COUNT];
	memset(&other, 0, sizeof(other));
	other.fixed = fixed;
	size_t bytes = make_ctrl(f, 5, 0x3c, d),
	       one_bytes = make_other_ctrl(f, &other, &remote, one);
	engine_drops(f->engine, before);
	for (unsigned i = 0; i < flood; i++)
		send_from(f, 0, d, bytes);
	send_from(f, 2, one, one_bytes);
	send_from(f, 0, d, make_data(f, 77, 0, d)); /* who counts it has seen the others */
	wait_for_drops(f, DROP_PLAIN_FORMAT, before[DROP_PLAIN_FORMAT] + 1);
	engine_synchronize(f->engine); /* and has told that there is something */
	engine_drops(f->engine, after);
	assert_true(after[DROP_RING_FULL] > before[DROP_RING_FULL]);
	unsigned told = 0;
	do {
		told = f->ctrls;
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	} while (f->ctrls != told);
	slots_remove(engine_env(f->engine)->links, other.slot.id);
	engine_synchronize(f->engine);
	return f->id == other.slot.id; /* it was the last */
}

static void engine_hears_others_during_a_flood_of_ctrl(void **state)
{
	struct fixture *f = *state;
	open_engine(f, 1);
	make_links(f, 0);
	make_path(f);
	assert_true(comes_through(f, false, 600));
	assert_true(comes_through(f, true, 1500));
}

static void engine_brings_ctrl(void **state)
{
	struct fixture *f = *state;
	uint8_t d[DATAGRAM_MAX];
	open_engine(f, WORKERS);
	make_links(f, 0);
	size_t n = make_ctrl(f, 5, 0x3c, d);
	send_from(f, 0, d, n);
	run_until(f, &f->ctrls, 1);
	assert_int_equal(f->id, f->ends->link.slot.id);
	assert_int_equal(f->ctr, 5);
	assert_int_equal(f->n, n - HEADER_BYTES);
	assert_memory_equal(f->bytes, d + HEADER_BYTES, f->n);
	d[LINK_ID_BYTES] ^= 1; /* one bit of the header block */
	send_from(f, 0, d, n);
	wait_for_drops(f, DROP_HEADER, 1);
	assert_int_equal(f->ctrls, 1);
}

static void engine_brings_session_messages(void **state)
{
	struct fixture *f = *state;
	uint8_t d[DATAGRAM_MAX];
	open_engine(f, WORKERS);
	make_links(f, 1);
	make_path(f);
	size_t n = make_data(f, PLAIN_CONTROL, 0x11, d);
	send_from(f, 0, d, n);
	run_until(f, &f->plains, 1);
	assert_int_equal(f->id, f->ends->circuit.forward.slot.id);
	assert_int_equal(f->datagram, n);
	assert_int_equal(f->bytes[0], PLAIN_CONTROL);
	assert_int_equal(f->bytes[1], 0x11);
	assert_int_equal(f->n, padded_bytes(100, plain_bytes(1440, 3), PAD_BUCKET));
	send_from(f, 0, d, n); /* the same again */
	wait_for_drops(f, DROP_DATA_REPLAY, 1);
	n = make_data(f, PLAIN_DUMMY, 0, d);
	send_from(f, 0, d, n);
	n = make_data(f, 77, 0, d);
	send_from(f, 0, d, n);
	wait_for_drops(f, DROP_PLAIN_FORMAT, 1);
	assert_int_equal(f->plains, 1);
	assert_int_equal(atomic_load(&f->packets), 0);
}

/* The one datagram that must have come; its link id is checked. */
static void expect_back(struct fixture *f, unsigned port, size_t n)
{
	struct udp_reader *r = udp_reader_new(f->udp[port]);
	struct pollfd p = {.fd = udp_fd(f->udp[port]), .events = POLLIN};
	const struct udp_burst *b;
	assert_non_null(r);
	assert_int_equal(poll(&p, 1, GIVE_UP_NS / NSEC_PER_MSEC), 1);
	assert_int_equal(udp_reader_receive(r, UDP_BATCH, &b), 1);
	assert_int_equal(b->len, n);
	assert_int_equal(b->segment, n);
	assert_int_equal(load_be32(b->data), 0x11223344);
	udp_reader_free(r);
}

/* From whatever port of the neighbour, so on whatever worker it arrives: the link's owner judges
 * it. */
static void engine_hands_over_to_the_owner(void **state)
{
	struct fixture *f = *state;
	uint8_t d[DATAGRAM_MAX];
	for (unsigned owner = 0; owner < WORKERS; owner++) {
		open_engine(f, WORKERS);
		make_links(f, owner);
		make_path(f);
		f->notes = 0;
		atomic_store(&armed, true);
		for (unsigned i = 0; i < PORTS; i++) {
			size_t n = make_data(f, PLAIN_PACKET, (uint8_t)i, d);
			send_from(f, i, d, n);
			run_until(f, &f->notes, i + 1);
			unsigned on;
			memcpy(&on, f->bytes, sizeof(on));
			if (f->n == sizeof(on)) /* else a foreign source was told last */
				assert_int_equal(on, owner);
			expect_back(f, 0, n); /* to the address that was proved */
		}
		assert_int_equal(atomic_load(&f->packets), PORTS * (owner + 1));
		if (owner + 1 < WORKERS) {
			slots_remove(engine_env(f->engine)->links, f->ends->link.slot.id);
			slots_remove(engine_env(f->engine)->circuits,
				     f->ends->circuit.forward.slot.id);
			engine_free(f->engine);
			f->engine = NULL;
			atomic_store(&armed, false);
			memset(f->ends, 0, sizeof(*f->ends));
		}
	}
}

/* Workers tell of a foreign source at most once a second each, however many datagrams come from
 * there. */
static void engine_tells_of_a_foreign_source_once(void **state)
{
	struct fixture *f = *state;
	uint8_t d[DATAGRAM_MAX];
	open_engine(f, 1);
	make_links(f, 0);
	make_path(f);
	for (unsigned i = 0; i < 20; i++) {
		size_t n = make_data(f, PLAIN_CONTROL, 1, d);
		send_from(f, 1, d, n);
	}
	run_until(f, &f->plains, 20);
	assert_int_equal(f->foreigns, 1);
}

static void on_freed(void *object)
{
	atomic_fetch_add((_Atomic unsigned *)object, 1);
}

/* What was retired is freed when no worker can hold it any more, and not before. */
static void engine_frees_after_a_grace_period(void **state)
{
	struct fixture *f = *state;
	uint8_t d[DATAGRAM_MAX];
	static _Atomic unsigned freed;
	atomic_store(&freed, 0);
	open_engine(f, WORKERS);
	make_links(f, 0);
	make_path(f);
	atomic_store(&f->hold, true);
	size_t n = make_data(f, PLAIN_PACKET, 1, d);
	send_from(f, 0, d, n);
	nsec_t until = clock_now() + GIVE_UP_NS;
	while (!atomic_load(&f->holding)) {
		assert_true(clock_now() < until);
		sched_yield();
	}
	const struct onion_env *env = engine_env(f->engine);
	env->retire(env->arg, (void *)&freed, on_freed);
	for (nsec_t end = clock_now() + 50 * NSEC_PER_MSEC;
	     clock_now() < end;) /* time enough for a wrong one */
		assert_int_equal(atomic_load(&freed), 0);
	atomic_store(&f->hold, false);
	while (!atomic_load(&freed)) {
		assert_true(clock_now() < until);
		sched_yield();
	}
	engine_synchronize(f->engine); /* returns */
	env->retire(env->arg, (void *)&freed, on_freed);
	slots_remove(env->links, f->ends->link.slot.id);
	slots_remove(env->circuits, f->ends->circuit.forward.slot.id);
	engine_free(f->engine); /* waits for what is still to be freed */
	f->engine = NULL;
	assert_int_equal(atomic_load(&freed), 2);
}

static void engine_refuses_what_cannot_be(void **state)
{
	struct fixture *f = *state;
	char err[256] = "";
	struct engine *e = NULL;
	struct engine_config c = {
		.base = f->base,
		.workers = 1,
		.bind4 = addr_from_ip((uint8_t[]){192, 0, 2, 77}, 4, 4500), /* not ours */
		.underlay4 = true,
		.rng = &f->rng,
		.control = {f, on_handshake, on_ctrl, on_foreign, on_plain, on_note},
		.link_bits = 8,
		.circuit_bits = 8,
		.links_most = 16,
		.circuits_most = 16,
		.pool_packets = 16,
	};
	assert_int_not_equal(engine_new(&c, &e, err), 0);
	assert_null(e);
	assert_non_null(strstr(err, "192.0.2.77"));
	c.workers = 99; /* cut to the most */
	c.bind4 = loopback(0);
	assert_int_equal(engine_new(&c, &e, err), 0);
	assert_int_equal(engine_workers(e), ENGINE_WORKERS_MOST);
	engine_free(e);
	engine_free(NULL);
}

/* A worker that lets datagrams wait in its socket for too long, again and again, drops a few. */
static uint64_t late_after(struct fixture *f, nsec_t wait)
{
	const unsigned each = 20, rounds = 8;
	uint64_t n[DROP_COUNT];
	nsec_t until = clock_now() + GIVE_UP_NS;
	unsigned before = atomic_load(&f->packets), sent = 0;

	engine_drops(f->engine, n);
	for (unsigned r = 0; r < rounds; r++) {
		uint8_t d[DATAGRAM_MAX];
		uint64_t was = n[DROP_QUEUE_LATE];

		atomic_store(&f->holding, false);
		atomic_store(&f->hold, wait > 0);
		for (unsigned i = 0; i < each; i++, sent++)
			send_from(f, 0, d, make_data(f, PLAIN_PACKET, 1, d));
		for (nsec_t end = clock_now() + wait; clock_now() < end;)
			sched_yield();
		atomic_store(&f->hold, false);
		do {
			engine_drops(f->engine, n);
			assert_true(clock_now() < until);
			event_base_loop(f->base, EVLOOP_NONBLOCK);
		} while (atomic_load(&f->packets) - before + n[DROP_QUEUE_LATE] - was < sent);
		sent -= (unsigned)(n[DROP_QUEUE_LATE] - was);
	}
	return n[DROP_QUEUE_LATE];
}

static void engine_drops_of_a_queue_that_stays_long(void **state)
{
	struct fixture *f = *state;
	open_engine(f, 1);
	make_links(f, 0);
	make_path(f);
	assert_in_range(late_after(f, 15 * NSEC_PER_MSEC), 1, 40);
}

/* A worker that fell behind once loses little of what comes later and does not wait, however long
 * the stall was. */
static void engine_forgives_a_stall(void **state)
{
	struct fixture *f = *state;
	uint8_t d[DATAGRAM_MAX];
	uint64_t n[DROP_COUNT], stalled;
	const unsigned later = 40;
	open_engine(f, 1);
	make_links(f, 0);
	make_path(f);
	stalled = late_after(f, 15 * NSEC_PER_MSEC);
	for (unsigned i = 0; i < later; i++) {
		unsigned before = atomic_load(&f->packets);
		nsec_t next = clock_now() + 5 * NSEC_PER_MSEC, until = clock_now() + GIVE_UP_NS;
		engine_drops(f->engine, n);
		uint64_t was = n[DROP_QUEUE_LATE];
		send_from(f, 0, d, make_data(f, PLAIN_PACKET, 1, d));
		do {
			engine_drops(f->engine, n);
			assert_true(clock_now() < until);
		} while (atomic_load(&f->packets) == before && n[DROP_QUEUE_LATE] == was);
		while (clock_now() < next)
			event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	assert_in_range(n[DROP_QUEUE_LATE] - stalled, 0, 2);
}

/* What the TUN gave is sealed a turn at a time, so that what comes by UDP does not wait for all of
 * it. */
static void engine_seals_a_turn_at_a_time(void **state)
{
	struct fixture *f = *state;
	nsec_t until = clock_now() + GIVE_UP_NS;
	tun_event = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_true(tun_event >= 0);
	open_engine(f, 1);
	make_links(f, 0);
	make_path(f);
	atomic_store(&frames_left, FRAMES_READY);
	assert_int_equal(engine_attach_tun(f->engine, (struct tun *)&tun_event), 0);
	while (atomic_load(&f->frames) < FRAMES_READY) {
		assert_true(clock_now() < until);
		sched_yield();
	}
	engine_detach_tun(f->engine);
	close(tun_event);
	assert_in_range(f->turn_most, FRAME_BYTES, 4 * FRAME_BYTES);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(engine_brings_handshakes),
		TEST(engine_counts_noise),
		TEST(engine_bounds_what_waits_for_control),
		TEST(engine_brings_ctrl),
		TEST(engine_hears_others_during_a_flood_of_ctrl),
		TEST(engine_brings_session_messages),
		TEST(engine_hands_over_to_the_owner),
		TEST(engine_tells_of_a_foreign_source_once),
		TEST(engine_frees_after_a_grace_period),
		TEST(engine_drops_of_a_queue_that_stays_long),
		TEST(engine_forgives_a_stall),
		TEST(engine_seals_a_turn_at_a_time),
		TEST(engine_refuses_what_cannot_be),
	};
	main_thread = pthread_self();
	log_set_level(LOG_ERROR);
	if (crypto_init() || aead_engine_choose("openssl"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
