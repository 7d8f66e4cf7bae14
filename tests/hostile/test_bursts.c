/* tests/hostile/test_bursts.c - a real engine on loopback, and neighbours whose bursts hold
 * everything: good datagrams, and in between runts, long ones, copies, counters of all ages, broken
 * headers and tags, ids of others, CTRL, handshakes and noise, with a short one at the end.
 * PROTOCOL.md sections 4, 6 and 10.
 *
 * A burst is one send with UDP_SEGMENT: the engine gets it in one piece by GRO. Each datagram comes
 * with the fate that a slow model of the paper gives it. After each burst all of it must have come
 * to pass: what arrived, in order and byte for byte, what was told to the control thread, and what
 * was dropped under which name. Also run under AddressSanitizer and ThreadSanitizer.
 */
#include "tests/hostile/workers_lab.h"
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "base/offload.h"
#include "tests/unit/seeded.h"

#ifdef __SANITIZE_THREAD__
#define BURSTS 120
#else
#define BURSTS 400
#endif
#define BURST_MOST     64
#define BYTES_MOST     65000 /* of one send */
#define LONGEST	       65507 /* UDP over IPv4 */
#define OUT_MOST       1440  /* next link's max_dgram: what is longer does not go there */
#define TOO_OLD	       5000
#define NEAR	       1000 /* counters behind the newest that are tried again */
#define CTR_BYTES      8
#define LEAST_FOR_DATA DATAGRAM_MIN

/* --- a slow window --- */

struct window {
	uint64_t taken[BURSTS * BURST_MOST]; /* steps from the first counter */
	size_t n;
	uint64_t newest;
};

static bool was_taken(const struct window *w, uint64_t step)
{
	for (size_t i = w->n; i > 0; i--)
		if (w->taken[i - 1] == step)
			return true;
	return false;
}

static enum drop judge(const struct window *w, uint64_t step)
{
	if (w->n == 0)
		return DROP_NONE;
	if (step > w->newest)
		return step - w->newest > REPLAY_MAX_AHEAD ? DROP_DATA_AHEAD : DROP_NONE;
	return w->newest - step >= REPLAY_PACKETS || was_taken(w, step) ? DROP_DATA_REPLAY
									: DROP_NONE;
}

static void take_step(struct window *w, uint64_t step)
{
	w->taken[w->n++] = step;
	if (step > w->newest)
		w->newest = step;
}

/* --- what is expected --- */

/* A counter on its way out of the engine. */
struct arrival {
	unsigned circuit;
	uint64_t ctr; /* as it came in */
	size_t n;     /* of the datagram */
};

struct expected {
	uint64_t drops[DROP_COUNT];
	unsigned handshakes, ctrls, plains;
	struct arrival arrival[BURST_MOST];
	size_t arrivals;
};

struct attack {
	struct lab l;
	struct seeded seed;
	struct rng rng;
	bool exit;
	struct window window[CIRCUITS_MOST][2]; /* forward, backward */
	struct expected e;			/* of this burst */
	uint64_t drops[DROP_COUNT];		/* before it */
	size_t got;				/* of its arrivals */
	uint8_t bytes[LONGEST];
	size_t arrived, dropped, sealed; /* in all */
};

/* What an exit's worker delivered; the owner of the link writes, the test reads after `delivered`.
 */
static struct arrival delivered_at[BURST_MOST];
static _Atomic size_t delivered;
static _Atomic bool delivered_wrong;
static struct attack *of_worker;

static uint64_t first_counter(unsigned circuit, bool back)
{
	return (COUNTER_MASK - 30000 + circuit * 7777 + back * 99) & COUNTER_MASK; /* they wrap */
}

/* The n bytes of content under this counter: the type byte of a packet, the counter, a pattern. */
static void content(uint8_t *p, size_t n, uint8_t type, uint64_t ctr)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(ctr + i * 31);
	p[0] = type;
	if (n > CTR_BYTES)
		store_be64(p + 1, ctr);
}

static bool is_content(const uint8_t *p, size_t n, uint64_t ctr)
{
	uint8_t want[DATAGRAM_MAX];

	content(want, n, PLAIN_PACKET, ctr);
	return memcmp(p, want, n) == 0;
}

static void on_packet(void *arg, struct worker *w, struct hop_dir *end, struct pkt *k)
{
	struct lab *l = &of_worker->l;
	size_t at = atomic_load(&delivered);
	uint64_t ctr = load_be64(k->data + 1);

	(void)arg;
	if (at >= BURST_MOST || !is_content(k->data, k->len, ctr)) {
		atomic_store(&delivered_wrong, true);
	} else {
		delivered_at[at] = (struct arrival){.circuit = end->owner != l->circuits[0],
						    .ctr = ctr,
						    .n = k->len + HEADER_BYTES + AEAD_TAG};
		atomic_store(&delivered, at + 1);
	}
	worker_put(w, k);
}

/* --- datagrams, each with its fate --- */

static uint32_t below(struct attack *a, uint32_t n)
{
	return (uint32_t)(seeded_u64(&a->seed) % n);
}

static void noise(struct attack *a, uint8_t *d, size_t n)
{
	rng_bytes(&a->rng, d, n);
}

static void expect_drop(struct attack *a, enum drop why)
{
	a->e.drops[why]++;
}

static struct link_data *link_in(struct attack *a, bool back)
{
	return back ? a->l.b : a->l.a;
}

static struct hop_dir *direction(struct attack *a, unsigned circuit, bool back)
{
	struct circuit *c = a->l.circuits[circuit];
	return back ? &c->backward : &c->forward;
}

static void head(struct attack *a, const struct link_data *in, uint32_t circuit_id, uint8_t type,
		 uint64_t ctr, uint8_t *d)
{
	const struct header h = {circuit_id, type, ctr};

	store_be32(d, in->slot.id);
	header_seal(a->l.aead, &in->rx, &h, d + LINK_ID_BYTES);
}

/* A DATA datagram as an honest neighbour makes it. */
static void data(struct attack *a, unsigned circuit, bool back, uint64_t step, uint8_t type,
		 uint8_t *d, size_t n)
{
	uint64_t ctr = (first_counter(circuit, back) + step) & COUNTER_MASK;
	uint8_t *body = d + HEADER_BYTES;
	size_t plain = n - HEADER_BYTES - AEAD_TAG;

	content(body, plain, type, ctr);
	noise(a, body + plain, AEAD_TAG);
	if (!back)
		aead_seal(a->l.aead, &a->l.circuits[circuit]->kf, ctr, body, plain, body + plain);
	head(a, link_in(a, back), direction(a, circuit, back)->slot.id, HEADER_DATA, ctr, d);
}

static void expect_arrival(struct attack *a, unsigned circuit, bool back, uint64_t step, size_t n)
{
	struct arrival *r = &a->e.arrival[a->e.arrivals++];
	uint64_t ctr = (first_counter(circuit, back) + step) & COUNTER_MASK;

	*r = (struct arrival){circuit, ctr, n};
}

/* A step that is worth a try: new, seen, one that a broken copy had before, far ahead, too old. */
static uint64_t choose_step(struct attack *a, const struct window *w)
{
	uint64_t back = below(a, NEAR);

	switch (below(a, 12)) {
	case 0:
		return w->newest + REPLAY_MAX_AHEAD + 1 + below(a, 3);
	case 1: /* what follows is near the new newest, and too far ahead of the old one */
		return w->newest + (below(a, 2) ? below(a, 2000) : REPLAY_MAX_AHEAD);
	case 2:
		return w->newest > TOO_OLD ? w->newest - TOO_OLD : w->newest;
	case 3:
	case 4:
		return w->n ? w->taken[w->n - 1 - below(a, w->n < 20 ? (uint32_t)w->n : 20)] : 0;
	case 5:
		return w->newest > back ? w->newest - back : 0;
	default:
		return w->newest + 1;
	}
}

/* DATA of a circuit of this link, whole or with a wrong tag. */
static void make_data(struct attack *a, bool back, uint8_t *d, size_t n)
{
	unsigned circuit = below(a, CIRCUITS_MOST);
	struct window *w = &a->window[circuit][back];
	uint64_t step = choose_step(a, w);
	bool broken = !back && below(a, 4) == 0;
	uint8_t type =
		a->exit && below(a, 8) == 0 ? (below(a, 2) ? PLAIN_CONTROL : 77) : PLAIN_PACKET;
	enum drop why = judge(w, step);

	data(a, circuit, back, step, type, d, n);
	if (broken)
		d[HEADER_BYTES + below(a, (uint32_t)n - HEADER_BYTES)] ^= 1 << below(a, 8);
	if (!back && !a->exit && n > OUT_MOST)
		why = DROP_DATA_SIZE;
	if (why == DROP_NONE && broken)
		why = DROP_DATA_OPEN;
	if (why != DROP_NONE) {
		expect_drop(a, why);
		return;
	}
	take_step(w, step);
	if (type == PLAIN_PACKET)
		expect_arrival(a, circuit, back, step, n);
	else if (type == PLAIN_CONTROL)
		a->e.plains++;
	else
		expect_drop(a, DROP_PLAIN_FORMAT);
}

/* Link ids of nobody. */
static void make_stranger(struct attack *a, uint8_t *d, size_t n)
{
	uint32_t id;

	noise(a, d, n);
	do
		id = (uint32_t)seeded_u64(&a->seed);
	while (id == 0 || id == a->l.a->slot.id || id == a->l.b->slot.id);
	store_be32(d, id);
	d[LINK_ID_BYTES] = 0; /* no type of a handshake */
	expect_drop(a, DROP_LINK_UNKNOWN);
}

/* What looks like a handshake from outside. */
static void make_handshake(struct attack *a, uint8_t *d, size_t n)
{
	bool init = n == LINK_INIT_BYTES && below(a, 2);

	make_stranger(a, d, n);
	if (n != LINK_INIT_BYTES && n != LINK_COOKIE_BYTES) {
		if (below(a, 2)) {
			store_be32(d, 0);
			a->e.drops[DROP_LINK_UNKNOWN]--;
			expect_drop(a, DROP_SIZE);
		}
		return;
	}
	if (init)
		store_be32(d, 0);
	d[LINK_ID_BYTES] = init			  ? LINK_TYPE_INIT
			   : n == LINK_RESP_BYTES ? LINK_TYPE_RESP
						  : LINK_TYPE_COOKIE;
	a->e.drops[DROP_LINK_UNKNOWN]--;
	a->e.handshakes++;
}

/* A neighbour may have two links; here the other one's side knows what is on both. */
static void make_ctrl(struct attack *a, bool back, uint8_t *d, size_t n)
{
	bool other = below(a, 4) == 0;

	noise(a, d, n);
	head(a, link_in(a, back != other), 0, HEADER_CTRL, seeded_u64(&a->seed) & COUNTER_MASK, d);
	a->e.ctrls++;
}

/* Headers that open to what does not fit, or do not open. */
static void make_bad_header(struct attack *a, bool back, uint8_t *d, size_t n)
{
	const struct link_data *in = link_in(a, back);
	uint64_t ctr = first_counter(0, back) + a->window[0][back].newest + 1;
	uint32_t own = direction(a, 0, back)->slot.id;

	noise(a, d, n);
	switch (below(a, 6)) {
	case 0:
		head(a, in, own, HEADER_DATA, ctr, d);
		d[LINK_ID_BYTES + below(a, 16)] ^= 1 << below(a, 8);
		expect_drop(a, DROP_HEADER);
		break;
	case 1:
		head(a, in, own, below(a, 2) ? 0 : 3, ctr, d);
		expect_drop(a, DROP_HEADER_TYPE);
		break;
	case 2: /* CTRL with a circuit */
		head(a, in, own, HEADER_CTRL, ctr, d);
		expect_drop(a, DROP_HEADER_TYPE);
		break;
	case 3: /* the place is taken, the number is another's */
		head(a, in, own ^ 0x80000000, HEADER_DATA, ctr, d);
		expect_drop(a, DROP_CIRCUIT_UNKNOWN);
		break;
	case 4: /* the circuit's own number, on another link */
		head(a, link_in(a, !back), own, HEADER_DATA, ctr, d);
		expect_drop(a, DROP_CIRCUIT_LINK);
		break;
	case 5: /* the number of a circuit's other side */
		if (a->exit) {
			head(a, in, 0, HEADER_DATA, ctr, d);
			expect_drop(a, DROP_CIRCUIT_UNKNOWN);
		} else {
			head(a, in, direction(a, 1, !back)->slot.id, HEADER_DATA, ctr, d);
			expect_drop(a, DROP_CIRCUIT_LINK);
		}
		break;
	}
}

static void make_one(struct attack *a, bool back, uint8_t *d, size_t n)
{
	uint32_t kind = below(a, 10);

	if (n < LINK_COOKIE_BYTES || n > DATAGRAM_MAX) {
		noise(a, d, n);
		if (n >= LINK_ID_BYTES && below(a, 2))
			store_be32(d, link_in(a, back)->slot.id);
		expect_drop(a, DROP_SIZE);
	} else if (kind == 0) {
		make_stranger(a, d, n);
	} else if (kind == 1) {
		make_handshake(a, d, n);
	} else if (n < LEAST_FOR_DATA) {
		noise(a, d, n);
		store_be32(d, link_in(a, back)->slot.id);
		expect_drop(a, DROP_SIZE);
	} else if (kind == 2) {
		make_bad_header(a, back, d, n);
	} else if (kind == 3) {
		make_ctrl(a, back, d, n);
	} else {
		make_data(a, back, d, n);
	}
}

/* --- a burst, and what became of it --- */

static void send_burst(struct attack *a, bool back, size_t len, uint16_t segment)
{
	struct sockaddr_storage ss;
	struct iovec iov = {a->bytes, len};
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
	} control = {0};
	struct msghdr m = {.msg_name = &ss,
			   .msg_namelen = addr_to_sockaddr(&a->l.engine_addr, &ss),
			   .msg_iov = &iov,
			   .msg_iovlen = 1};

	if (segment < len) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		control.align = (struct cmsghdr){.cmsg_level = SOL_UDP,
						 .cmsg_type = UDP_SEGMENT,
						 .cmsg_len = CMSG_LEN(sizeof(segment))};
		memcpy(CMSG_DATA(&control.align), &segment, sizeof(segment));
	}
	assert_int_equal(sendmsg(back ? a->l.next : a->l.client[0], &m, 0), len);
}

static void check_arrival(struct attack *a, unsigned circuit, uint64_t ctr, size_t n)
{
	const struct arrival *r;

	assert_true(a->got < a->e.arrivals);
	r = &a->e.arrival[a->got++];
	assert_true(r->ctr == ctr); /* else twice, out of order, or never due */
	assert_int_equal(r->circuit, circuit);
	assert_int_equal(r->n, n);
}

/* Take what came out at a neighbour. */
static void take_arrivals(struct attack *a, bool back)
{
	struct lab *l = &a->l;
	const struct link_data *out = back ? l->a : l->b;
	uint8_t d[2048], *body = d + HEADER_BYTES;
	struct header h;
	ssize_t n;

	while ((n = recv(back ? l->client[0] : l->next, d, sizeof(d), MSG_DONTWAIT)) > 0) {
		size_t plain = (size_t)n - HEADER_BYTES - AEAD_TAG;
		unsigned circuit;
		uint64_t ctr;

		assert_in_range(n, DATAGRAM_MIN, DATAGRAM_MAX);
		assert_int_equal(load_be32(d), out->remote_id);
		assert_true(header_open(l->aead, &out->tx, d + LINK_ID_BYTES, &h));
		circuit = h.circuit_id - (back ? CLIENT_CID : NEXT_CID);
		ctr = (h.ctr - (back ? OFFSET_B : OFFSET_F)) & COUNTER_MASK;
		assert_true(circuit < CIRCUITS_MOST);
		assert_true(!back || aead_open(l->aead, &l->circuits[circuit]->kb, ctr, body, plain,
					       body + plain));
		assert_true(is_content(body, plain, ctr));
		check_arrival(a, circuit, ctr, (size_t)n);
	}
}

/* What came out at the exit's end. */
static void take_delivered(struct attack *a)
{
	size_t n = atomic_load(&delivered);

	assert_false(atomic_load(&delivered_wrong));
	while (a->got < n) {
		const struct arrival *r = &delivered_at[a->got];
		check_arrival(a, r->circuit, r->ctr, r->n);
	}
}

/* What is still to be counted under this name. */
static uint64_t owed(const struct attack *a, const uint64_t now[DROP_COUNT], enum drop why)
{
	uint64_t got = now[why] - a->drops[why];

	if (got > a->e.drops[why])
		fail_msg("%s: %llu instead of %llu", drop_name(why), (unsigned long long)got,
			 (unsigned long long)a->e.drops[why]);
	return a->e.drops[why] - got;
}

/* All of the burst has come to pass, and nothing else. */
static bool is_through(const struct attack *a, const uint64_t now[DROP_COUNT])
{
	const struct lab *l = &a->l;
	uint64_t due = 0;

	for (unsigned i = DROP_NONE + 1; i < DROP_COUNT; i++)
		due += owed(a, now, (enum drop)i);
	assert_true(l->handshakes <= a->e.handshakes && l->ctrls <= a->e.ctrls);
	assert_true(l->plains <= a->e.plains);
	return !due && l->handshakes == a->e.handshakes && l->ctrls == a->e.ctrls &&
	       l->plains == a->e.plains && a->got == a->e.arrivals;
}

static void wait_for_burst(struct attack *a, bool back)
{
	struct lab *l = &a->l;
	uint64_t now[DROP_COUNT];

	for (int waited = 0;; waited++) {
		struct pollfd p = {back ? l->client[0] : l->next, POLLIN, 0};

		engine_drops(l->engine, now);
		event_base_loop(l->base, EVLOOP_NONBLOCK);
		if (a->exit)
			take_delivered(a);
		else
			take_arrivals(a, back);
		if (is_through(a, now))
			break;
		if (waited > PATIENCE_MS)
			fail_msg("%zu of %zu arrived, %u of %u handshakes, %u of %u CTRL", a->got,
				 a->e.arrivals, l->handshakes, a->e.handshakes, l->ctrls,
				 a->e.ctrls);
		poll(&p, 1, 1);
	}
	for (unsigned i = DROP_NONE + 1; i < DROP_COUNT; i++)
		a->dropped += now[i] - a->drops[i];
	a->arrived += a->got;
	memcpy(a->drops, now, sizeof(a->drops));
}

static size_t choose_segment(struct attack *a)
{
	static const size_t sizes[] = {1,   20,	 63,   64,   83,   84,	 100,  192,  192,  196,
				       500, 936, 1240, 1400, 1440, 1441, 1452, 1453, 2000, 9000};

	if (below(a, 2))
		return LEAST_FOR_DATA + below(a, DATAGRAM_MAX - LEAST_FOR_DATA + 1);
	return sizes[below(a, sizeof(sizes) / sizeof(sizes[0]))];
}

static void begin(struct attack *a)
{
	memset(&a->e, 0, sizeof(a->e));
	a->got = 0;
	a->l.handshakes = a->l.ctrls = a->l.plains = 0;
	atomic_store(&delivered, 0);
}

static void burst(struct attack *a)
{
	bool back = !a->exit && below(a, 2);
	size_t segment = choose_segment(a), most = BYTES_MOST / segment, at = 0;
	uint32_t count = 1 + below(a, most < BURST_MOST ? (uint32_t)most : BURST_MOST);

	begin(a);
	for (uint32_t i = 0; i < count; i++) {
		size_t n = i + 1 < count ? segment : 1 + below(a, (uint32_t)segment);

		make_one(a, back, a->bytes + at, n);
		at += n;
	}
	if (back)
		a->sealed += a->e.arrivals;
	send_burst(a, back, at, (uint16_t)segment);
	wait_for_burst(a, back);
}

/* The longest datagram that there is, alone. */
static void long_one(struct attack *a)
{
	begin(a);
	noise(a, a->bytes, LONGEST);
	store_be32(a->bytes, a->l.a->slot.id);
	expect_drop(a, DROP_SIZE);
	send_burst(a, false, LONGEST, LONGEST);
	wait_for_burst(a, false);
}

/* --- the linker shows us what the relay seals --- */

static const struct aead_key *_Atomic sealing[CIRCUITS_MOST];
static _Atomic size_t seals, batches, batched;

void __real_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n);
void __wrap_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n);
void __real_dataplane_receive_batch(struct dp_thread *t, struct dp_item *items, size_t n,
				    const struct addr *from, nsec_t now);
void __wrap_dataplane_receive_batch(struct dp_thread *t, struct dp_item *items, size_t n,
				    const struct addr *from, nsec_t now);

void __wrap_aead_seal_batch(struct aead_ctx *c, const struct aead_key *k, struct aead_item *it,
			    size_t n)
{
	for (unsigned i = 0; i < CIRCUITS_MOST; i++)
		if (k == sealing[i])
			atomic_fetch_add(&seals, n);
	__real_aead_seal_batch(c, k, it, n);
}

void __wrap_dataplane_receive_batch(struct dp_thread *t, struct dp_item *items, size_t n,
				    const struct addr *from, nsec_t now)
{
	atomic_fetch_add(&batches, 1);
	atomic_fetch_add(&batched, n);
	__real_dataplane_receive_batch(t, items, n, from, now);
}

/* --- tests --- */

static void attack(unsigned workers, unsigned owner_a, unsigned owner_b, bool exit,
		   unsigned offloads_off)
{
	const struct engine_inner_ops inner = {NULL, on_packet, NULL};
	const struct lab_kind kind = {.workers = workers,
				      .owner_a = owner_a,
				      .owner_b = owner_b,
				      .inner = exit ? &inner : NULL,
				      .offloads_off = offloads_off};
	struct attack *a = calloc(1, sizeof(*a));

	assert_non_null(a);
	of_worker = a;
	a->exit = exit;
	a->rng = seeded_rng(&a->seed, 1 + workers + exit * 16 + offloads_off * 32);
	lab_init(&a->l, &kind);
	lab_add_circuit(&a->l);
	a->l.b->max_dgram = OUT_MOST;
	seals = batches = batched = 0;
	for (unsigned i = 0; i < CIRCUITS_MOST; i++)
		sealing[i] = &a->l.circuits[i]->kb;
	for (unsigned i = 0; i < BURSTS; i++)
		burst(a);
	long_one(a);
	assert_int_equal(seals, a->sealed);
	/* The attack took place: much passed, much was dropped, and it came in bursts. */
	assert_true(a->arrived > BURSTS && a->dropped > BURSTS);
	if (engine_offloads(a->l.engine) & OFFLOAD_GRO && owner_a == owner_b && workers == 1)
		assert_true(batched / batches > 4);
	lab_done(&a->l);
	free(a);
}

static void relay_sorts_bursts(void **state)
{
	(void)state;
	attack(1, 0, 0, false, 0);
}

static void relay_sorts_bursts_of_others_links(void **state)
{
	(void)state;
	attack(4, 3, 2, false, 0);
}

static void relay_sorts_single_datagrams(void **state)
{
	(void)state;
	attack(2, 0, 1, false, OFFLOAD_ALL);
}

static void exit_sorts_bursts(void **state)
{
	(void)state;
	attack(1, 0, 0, true, 0);
	attack(4, 2, 0, true, OFFLOAD_GSO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relay_sorts_bursts),
		cmocka_unit_test(relay_sorts_bursts_of_others_links),
		cmocka_unit_test(relay_sorts_single_datagrams),
		cmocka_unit_test(exit_sorts_bursts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
