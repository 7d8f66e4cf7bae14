/* tests/unit/test_exit_inner.c - exit/inner.c on a worker that only writes down what it is told:
 * source, rules, ICMP answers and their rate, notes, MTU, counters, and that every packet ends
 * exactly once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "base/drop.h"
#include "exit/inner.h"
#include "exit/settings.h"
#include "onion/wire.h"
#include "seeded.h"
#include "tun/frame.h"
#include "tun/split.h"
#include "tun/checksum.h"
#include "tun/device.h"
#include "tun/plain.h"

#define POOL 64

/* --- the worker --- */

struct worker {
	struct pkt_pool *pool;
	struct drops drops;
	nsec_t now;
	struct pkt *tun[POOL];	   /* what went into the TUN */
	struct pkt *circuit[POOL]; /* and back to the client, */
	struct circuit *by[POOL];  /* by which circuit */
	unsigned ntun, ncircuit, nnotes;
	struct inner_note note;
};

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

void worker_drop_frame(struct worker *w, const struct tun_frame *f, enum drop why)
{
	drops_add_n(&w->drops, why, f->packets);
}

void worker_to_circuit(struct worker *w, struct circuit *c, struct pkt *k);

/* The first packet of the frame will do. */
void worker_frame_to_circuit(struct worker *w, struct circuit *c, const struct tun_frame *f)
{
	struct pkt *k = pkt_get(w->pool);
	assert_non_null(k);
	k->len = (uint32_t)frame_plain(f, 0, k->data);
	worker_to_circuit(w, c, k);
}

void worker_to_tun(struct worker *w, struct pkt *k, const struct ip_view *v)
{
	struct ip_view own;
	assert_int_equal(ip_parse(k->data, k->len, &own), 0);
	assert_memory_equal(&own, v, sizeof(own));
	assert_true(w->ntun < POOL);
	w->tun[w->ntun++] = k;
}

void worker_to_circuit(struct worker *w, struct circuit *c, struct pkt *k)
{
	assert_true(w->ncircuit < POOL && pkt_headroom(k) >= HEADER_BYTES);
	w->by[w->ncircuit] = c;
	w->circuit[w->ncircuit++] = k;
}

bool worker_note(struct worker *w, const void *note, size_t n)
{
	assert_int_equal(n, sizeof(w->note));
	memcpy(&w->note, note, n);
	w->nnotes++;
	return true;
}

nsec_t worker_now(const struct worker *w)
{
	return w->now;
}

/* --- an exit with one session on two circuits --- */

struct lab {
	struct worker w;
	struct seeded seed;
	struct rng rng;
	struct leases *leases;
	struct inner inner;
	struct session_data *session;
	struct circuit *circuit, *standby;
	struct addr web4, web6, relay4;
};

static struct addr address(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(text, &a), 0);
	return a;
}

static struct circuit *new_circuit(struct session_data *s, uint32_t id)
{
	/* Its keys ask for 64. */
	size_t n = (sizeof(struct circuit) + 63) / 64 * 64;
	struct circuit *c = aligned_alloc(64, n);

	assert_non_null(c);
	memset(c, 0, n);
	c->forward.slot.id = id;
	c->forward.kind = HOP_END_FORWARD;
	c->forward.owner = c;
	c->forward.fill = 2;
	atomic_init(&c->full_dgram, 1440);
	atomic_init(&c->session, s);
	return c;
}

static void set_rules(struct lab *lab, const char *const *policy)
{
	char err[POLICY_ERROR_BYTES];
	struct exit_settings s;
	struct policy p;

	exit_settings_init(&s);
	for (; *policy; policy++)
		assert_int_equal(policy_add_text(&s.policy, *policy, err), 0);
	s.has_policy = true;
	assert_int_equal(exit_effective_policy(&s, &p), 0);
	struct rules_config c = {.policy = &p, .closed = &lab->relay4, .nclosed = 1};
	assert_int_equal(prefix_parse("10.9.0.0/16", &c.lease4), 0);
	assert_int_equal(prefix_parse("fd09::/64", &c.lease6), 0);
	c.own4 = lab->inner.own[0];
	c.own6 = lab->inner.own[1];
	struct rules *r = rules_new(&c, &lab->rng);
	assert_non_null(r);
	rules_free(atomic_exchange(&lab->inner.rules, r));
}

static const char *const usual[] = {"reject 198.41.0.4", "reject 2001:500::1", "reject *:25",
				    "accept *", NULL};

static int set_up(void **state)
{
	struct lab *lab = calloc(1, sizeof(*lab));
	struct prefix p4, p6;

	lab->rng = seeded_rng(&lab->seed, 1);
	lab->w.pool = pkt_pool_new(POOL);
	lab->w.now = 1000 * NSEC_PER_SEC;
	assert_int_equal(prefix_parse("10.9.0.0/16", &p4), 0);
	assert_int_equal(prefix_parse("fd09::/64", &p6), 0);
	lab->leases = leases_new(&p4, &p6, &lab->rng);
	assert_int_equal(inner_init(&lab->inner, lab->leases), 0);
	lab->session = calloc(1, sizeof(*lab->session));
	assert_int_equal(leases_take(lab->leases, lab->session, WANT_V4 | WANT_V6, NULL), 0);
	lab->circuit = new_circuit(lab->session, 77);
	lab->standby = new_circuit(lab->session, 78);
	atomic_store(&lab->session->active, lab->circuit);
	lab->web4 = address("9.9.9.9");
	lab->web6 = address("2620:fe::fe");
	lab->relay4 = address("11.22.33.44");
	set_rules(lab, usual);
	*state = lab;
	return 0;
}

static void put_all(struct worker *w)
{
	while (w->ntun)
		pkt_put(w->pool, w->tun[--w->ntun]);
	while (w->ncircuit)
		pkt_put(w->pool, w->circuit[--w->ncircuit]);
	w->nnotes = 0;
}

static int tear_down(void **state)
{
	struct lab *lab = *state;

	put_all(&lab->w);
	assert_int_equal(pkt_pool_left(lab->w.pool), POOL); /* none was lost, none put twice */
	pkt_pool_free(lab->w.pool);
	rules_free(atomic_load(&lab->inner.rules));
	inner_done(&lab->inner);
	leases_free(lab->leases);
	free(lab->session);
	free(lab->circuit);
	free(lab->standby);
	free(lab);
	return 0;
}

/* --- packets --- */

struct inner_packet {
	struct addr src, dst;
	uint8_t protocol;
	uint16_t port;
	uint16_t fragment; /* offset in 8 bytes; 0x2000 more follow (IPv4) */
	size_t bytes;	   /* whole; at least 60 */
	uint8_t icmp_type;
};

/* Into k as an IP packet. */
static void build(struct pkt *k, const struct inner_packet *p)
{
	bool v6 = p->src.family == 6;
	size_t header = v6 ? 40 : 20;
	uint8_t *b = k->data, *l4 = b + header;

	k->len = (uint32_t)p->bytes;
	memset(b, 0, p->bytes);
	if (v6) {
		b[0] = 0x60;
		store_be16(b + 4, (uint16_t)(p->bytes - header));
		b[6] = p->protocol;
		b[7] = 64;
		memcpy(b + 8, p->src.ip, 16);
		memcpy(b + 24, p->dst.ip, 16);
	} else {
		b[0] = 0x45;
		store_be16(b + 2, (uint16_t)p->bytes);
		store_be16(b + 6, p->fragment);
		b[8] = 64;
		b[9] = p->protocol;
		memcpy(b + 12, p->src.ip, 4);
		memcpy(b + 16, p->dst.ip, 4);
	}
	if (p->protocol == IP_TCP || p->protocol == IP_UDP) {
		store_be16(l4, 40000);
		store_be16(l4 + 2, p->port);
		if (p->protocol == IP_UDP)
			store_be16(l4 + 4, (uint16_t)(p->bytes - header));
		else
			l4[12] = 0x50;
	} else {
		l4[0] = p->icmp_type;
	}
}

/* A packet of the client's arrives on c, padded. */
static void arrive(struct lab *lab, struct circuit *c, const struct inner_packet *p)
{
	struct pkt *k = worker_get(&lab->w);
	struct ip_view v;

	assert_non_null(k);
	build(k, p);
	if (ip_parse(k->data, k->len, &v)) {
		fail_msg("the test's own packet is bad");
		return;
	}
	plain_from_packet(k, &v);
	memset(k->data + k->len, 0, 100);
	k->len += 100;
	inner_from_onion(&lab->inner, &lab->w, &c->forward, k);
}

static struct inner_packet udp4(const struct lab *lab, const char *to, uint16_t port)
{
	return (struct inner_packet){lab->session->lease4, address(to), IP_UDP, port, 0, 100, 0};
}

static struct inner_packet udp6(const struct lab *lab, const char *to, uint16_t port)
{
	return (struct inner_packet){lab->session->lease6, address(to), IP_UDP, port, 0, 100, 0};
}

static uint64_t dropped(const struct lab *lab, enum drop why)
{
	return drops_get(&lab->w.drops, why);
}

/* The one thing that came back by ICMP: checked as the client would see it. */
static void expect_prohibited(struct lab *lab, struct circuit *by, const struct inner_packet *about)
{
	bool v6 = about->src.family == 6;
	struct ip_view v;
	struct pkt *k;

	assert_int_equal(lab->w.ncircuit, 1);
	assert_int_equal(lab->w.ntun, 0);
	assert_ptr_equal(lab->w.by[0], by);
	k = lab->w.circuit[0];
	assert_int_equal(plain_to_packet(k, &v), 0);
	assert_true(addr_equal_ip(&v.src, &lab->inner.own[v6]));
	assert_true(addr_equal_ip(&v.dst, &about->src));
	assert_int_equal(v.protocol, v6 ? IP_ICMPV6 : IP_ICMP);
	assert_int_equal(k->data[v.l4_offset], v6 ? 1 : 3);
	assert_int_equal(k->data[v.l4_offset + 1], v6 ? 1 : 13);
	assert_memory_equal(k->data + v.l4_offset + 8 + (v6 ? 24 : 16), about->dst.ip, v6 ? 16 : 4);
	assert_int_equal(lab->w.nnotes, 1);
	assert_int_equal(lab->w.note.circuit_id, by->forward.slot.id);
	assert_int_equal(lab->w.note.protocol, about->protocol);
	assert_true(addr_equal_ip(&lab->w.note.addr, &about->dst));
	assert_int_equal(lab->w.note.addr.port, about->port);
	put_all(&lab->w);
}

/* --- from the client --- */

static void inner_passes_what_may_go(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = udp4(lab, "9.9.9.9", 443);

	lab->w.now = 1234 * NSEC_PER_SEC;
	arrive(lab, lab->circuit, &p);
	assert_int_equal(lab->w.ntun, 1);
	assert_int_equal(lab->w.tun[0]->len, 100); /* without type and padding */
	assert_memory_equal(lab->w.tun[0]->data + 12, lab->session->lease4.ip, 4);
	p = udp6(lab, "2620:fe::fe", 443);
	p.protocol = IP_TCP;
	arrive(lab, lab->standby, &p); /* data is taken on every bound path */
	assert_int_equal(lab->w.ntun, 2);
	assert_int_equal(lab->w.ncircuit, 0);
	assert_int_equal(atomic_load(&lab->session->packets_up), 2);
	assert_int_equal(atomic_load(&lab->session->bytes_up), 200);
	assert_int_equal(atomic_load(&lab->session->last_rx), 1234 * NSEC_PER_SEC);
	assert_int_equal(lab->w.nnotes, 0);
}

static void inner_drops_what_is_not_from_the_lease(void **state)
{
	struct lab *lab = *state;
	struct session_data other = {0};
	struct inner_packet p = udp4(lab, "9.9.9.9", 443);

	assert_int_equal(leases_take(lab->leases, &other, WANT_V4 | WANT_V6, NULL), 0);
	p.src = other.lease4;
	arrive(lab, lab->circuit, &p);
	p.src = address("192.168.0.9");
	arrive(lab, lab->circuit, &p);
	p = udp6(lab, "2620:fe::fe", 443);
	p.src = other.lease6;
	arrive(lab, lab->circuit, &p);
	lab->session->lease6.family = 0; /* only IPv4 was granted */
	p = udp6(lab, "2620:fe::fe", 443);
	p.src.family = 6;
	arrive(lab, lab->circuit, &p);
	assert_int_equal(dropped(lab, DROP_INNER_SOURCE), 4);
	assert_int_equal(lab->w.ntun + lab->w.ncircuit + lab->w.nnotes, 0);
	assert_int_equal(atomic_load(&lab->session->packets_up), 0);
	assert_int_equal(atomic_load(&lab->session->last_rx), 0);
	leases_put(lab->leases, &other);
}

static void inner_drops_without_session_or_form(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = udp4(lab, "9.9.9.9", 443);
	struct pkt *k = worker_get(&lab->w);

	k->len = 60;
	memset(k->data, 0, 60);
	k->data[0] = PLAIN_PACKET;
	k->data[1] = 0x55;
	inner_from_onion(&lab->inner, &lab->w, &lab->circuit->forward, k);
	assert_int_equal(dropped(lab, DROP_INNER_FORMAT), 1);
	atomic_store(&lab->circuit->session, NULL);
	arrive(lab, lab->circuit, &p);
	assert_int_equal(dropped(lab, DROP_SESSION_STATE), 1);
	rules_free(atomic_exchange(&lab->inner.rules, NULL)); /* the exit stops */
	arrive(lab, lab->standby, &p);
	assert_int_equal(dropped(lab, DROP_SESSION_STATE), 2);
	assert_int_equal(lab->w.ntun + lab->w.ncircuit, 0);
}

static void inner_refuses_audibly(void **state)
{
	static const struct {
		const char *to;
		uint16_t port;
		enum drop why;
	} rows[] = {
		{"10.0.0.1", 80, DROP_INNER_DEST},	  {"192.168.1.1", 80, DROP_INNER_DEST},
		{"169.254.169.254", 80, DROP_INNER_DEST}, {"10.9.0.200", 80, DROP_INNER_DEST},
		{"11.22.33.44", 4400, DROP_INNER_DEST},	  {"11.22.33.44", 80, DROP_INNER_DEST},
		{"203.0.113.1", 80, DROP_INNER_DEST},	  {"10.9.0.1", 53, DROP_INNER_DEST},
		{"9.9.9.9", 25, DROP_INNER_POLICY},	  {"198.41.0.4", 53, DROP_INNER_POLICY},
		{"fd00::1", 80, DROP_INNER_DEST},	  {"fe80::1", 80, DROP_INNER_DEST},
		{"fd09::1", 53, DROP_INNER_DEST},	  {"fd09::99", 80, DROP_INNER_DEST},
		{"2002:a00:1::", 80, DROP_INNER_DEST},	  {"2001:500::1", 80, DROP_INNER_POLICY},
		{"2620:fe::fe", 25, DROP_INNER_POLICY},
	};
	struct lab *lab = *state;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct inner_packet p = strchr(rows[i].to, ':')
						? udp6(lab, rows[i].to, rows[i].port)
						: udp4(lab, rows[i].to, rows[i].port);
		uint64_t before = dropped(lab, rows[i].why);

		lab->w.now += NSEC_PER_SEC;
		arrive(lab, i % 2 ? lab->circuit : lab->standby, &p);
		assert_int_equal(dropped(lab, rows[i].why), before + 1);
		expect_prohibited(lab, i % 2 ? lab->circuit : lab->standby, &p);
	}
	assert_int_equal(atomic_load(&lab->session->packets_up), 0);
}

static void inner_never_answers_multicast_or_errors(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = udp4(lab, "224.0.0.251", 5353);

	arrive(lab, lab->circuit, &p);
	p = udp4(lab, "10.0.0.1", 0);
	p.protocol = IP_ICMP;
	p.icmp_type = 3;
	arrive(lab, lab->circuit, &p);
	assert_int_equal(dropped(lab, DROP_INNER_DEST), 2);
	assert_int_equal(lab->w.ncircuit + lab->w.ntun, 0);
}

static void inner_lets_only_pings_reach_the_exit_itself(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = udp4(lab, "10.9.0.1", 0);

	p.protocol = IP_ICMP;
	p.icmp_type = 8;
	arrive(lab, lab->circuit, &p);
	p = udp6(lab, "fd09::1", 0);
	p.protocol = IP_ICMPV6;
	p.icmp_type = 128;
	arrive(lab, lab->circuit, &p);
	assert_int_equal(lab->w.ntun, 2);
	p.icmp_type = 135; /* neighbour solicitation */
	arrive(lab, lab->circuit, &p);
	p.protocol = IP_ICMP; /* of the wrong family */
	p.icmp_type = 8;
	arrive(lab, lab->circuit, &p);
	p = udp4(lab, "10.9.0.1", 22);
	p.protocol = IP_TCP;
	arrive(lab, lab->circuit, &p);
	assert_int_equal(lab->w.ntun, 2);
	assert_int_equal(dropped(lab, DROP_INNER_DEST), 3);
}

static void inner_limits_its_answers(void **state)
{
	struct lab *lab = *state;
	struct session_data other = {0};
	struct circuit *c = new_circuit(&other, 79);
	struct inner_packet p = udp4(lab, "10.0.0.1", 80);
	unsigned burst;

	assert_int_equal(leases_take(lab->leases, &other, WANT_V4, NULL), 0);
	for (unsigned i = 0; i < 40; i++)
		arrive(lab, lab->circuit, &p);
	burst = lab->w.ncircuit;
	assert_int_equal(burst, INNER_ANSWERS_BURST);
	assert_int_equal(lab->w.nnotes, burst);
	assert_int_equal(dropped(lab, DROP_INNER_DEST), 40);
	p.src = other.lease4; /* another session has its own measure */
	arrive(lab, c, &p);
	assert_int_equal(lab->w.ncircuit, burst + 1);
	put_all(&lab->w);
	p.src = lab->session->lease4;
	for (unsigned i = 0, n = 0; i < 1000; i++) { /* one each ms, for a second */
		lab->w.now += NSEC_PER_MSEC;
		arrive(lab, lab->circuit, &p);
		n += lab->w.ncircuit;
		put_all(&lab->w);
		if (i == 999)
			assert_in_range(n, INNER_ANSWERS_PER_S - 1, INNER_ANSWERS_PER_S + 1);
	}
	lab->w.now += NSEC_PER_SEC;
	for (unsigned i = 0; i < 40; i++)
		arrive(lab, lab->circuit, &p);
	assert_int_equal(lab->w.ncircuit, INNER_ANSWERS_BURST);
	free(c);
}

static void inner_judges_fragments(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = udp4(lab, "9.9.9.9", 443);

	p.fragment = 0x2000; /* the first of several: its port is seen */
	p.bytes = 20 + 88;
	arrive(lab, lab->circuit, &p);
	assert_int_equal(lab->w.ntun, 1);
	p.port = 25;
	arrive(lab, lab->circuit, &p);
	assert_int_equal(dropped(lab, DROP_INNER_POLICY), 1);
	put_all(&lab->w);
	p.fragment = 10; /* a later one passes: its first one was judged */
	arrive(lab, lab->circuit, &p);
	assert_int_equal(lab->w.ntun, 1);
	put_all(&lab->w);
	p.dst = address(
		"198.41.0.4"); /* unless all of the address is refused; and it gets no answer */
	arrive(lab, lab->circuit, &p);
	assert_int_equal(dropped(lab, DROP_INNER_POLICY), 2);
	assert_int_equal(lab->w.ntun + lab->w.ncircuit, 0);
	p.dst = address("10.9.0.1"); /* looks like a ping, but what stands there is data */
	p.protocol = IP_ICMP;
	p.icmp_type = 8;
	arrive(lab, lab->circuit, &p);
	assert_int_equal(dropped(lab, DROP_INNER_DEST), 1);
}

static void inner_drops_when_the_pool_is_empty(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = udp4(lab, "10.0.0.1", 80);
	struct pkt *held[POOL];
	unsigned n = 0;

	while (pkt_pool_left(lab->w.pool) > 1)
		held[n++] = pkt_get(lab->w.pool);
	arrive(lab, lab->circuit, &p);
	assert_int_equal(dropped(lab, DROP_INNER_DEST), 1);
	assert_int_equal(dropped(lab, DROP_POOL_EMPTY), 1);
	assert_int_equal(lab->w.nnotes, 1);
	while (n)
		pkt_put(lab->w.pool, held[--n]);
}

/* --- to the client --- */

static void from_tun(struct lab *lab, const struct inner_packet *p, bool open)
{
	struct pkt *k = worker_get(&lab->w);
	struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	struct tun_frame f;
	struct ip_view v;

	build(k, p);
	if (open) {
		assert_int_equal(ip_parse(k->data, k->len, &v), 0);
		checksum_leave_open(k->data, &v);
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = v.l4_offset;
		h.csum_offset = (uint16_t)(ip_open_checksum_at(&v) - v.l4_offset);
	}
	assert_int_equal(frame_parse(&h, k->data, k->len, &f), 0);
	inner_from_tun(&lab->inner, &lab->w, &f);
	worker_put(&lab->w, k);
}

static void inner_sends_answers_by_the_active_circuit(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = {lab->web4, lab->session->lease4, IP_UDP, 40000, 0, 200, 0};
	struct inner_packet q = {lab->web6, lab->session->lease6, IP_TCP, 40000, 0, 300, 0};
	struct ip_view v;

	from_tun(lab, &p, false);
	atomic_store(&lab->session->active, lab->standby);
	from_tun(lab, &q, true);
	assert_int_equal(lab->w.ncircuit, 2);
	assert_ptr_equal(lab->w.by[0], lab->circuit);
	assert_ptr_equal(lab->w.by[1], lab->standby);
	assert_int_equal(lab->w.circuit[0]->data[0], PLAIN_PACKET);
	assert_int_equal(lab->w.circuit[0]->len, 201);
	assert_int_equal(lab->w.circuit[1]->data[0], PLAIN_PACKET_OPEN);
	assert_int_equal(plain_to_packet(lab->w.circuit[1], &v), 0);
	assert_true(addr_equal_ip(&v.dst, &lab->session->lease6));
	assert_int_equal(atomic_load(&lab->session->packets_down), 2);
	assert_int_equal(atomic_load(&lab->session->bytes_down), 500);
	assert_int_equal(atomic_load(&lab->session->packets_up), 0);
}

static void inner_drops_answers_to_nobody(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = {lab->web4, lab->session->lease4, IP_UDP, 40000, 0, 200, 0};

	p.dst.ip[2] ^= 1;
	from_tun(lab, &p, false);
	p.dst = lab->inner.own[0];
	from_tun(lab, &p, false);
	p.dst = lab->web4;
	from_tun(lab, &p, false);
	assert_int_equal(dropped(lab, DROP_NO_LEASE), 3);
	p.dst = lab->session->lease4;
	atomic_store(&lab->session->active, NULL);
	from_tun(lab, &p, false);
	assert_int_equal(dropped(lab, DROP_NO_PATH), 1);
	assert_int_equal(lab->w.ncircuit + lab->w.ntun, 0);
}

static void inner_says_packet_too_big(void **state)
{
	struct lab *lab = *state;
	struct inner_packet p = {lab->web4, lab->session->lease4, IP_UDP, 40000, 0, 1371, 0};
	struct inner_packet q = {lab->web6, lab->session->lease6, IP_UDP, 40000, 0, 1300, 0};
	struct ip_view v;
	struct pkt *k;

	from_tun(lab, &p, false);
	assert_int_equal(lab->w.ncircuit, 1);
	p.bytes = 1372;
	from_tun(lab, &p, false);
	assert_int_equal(lab->w.ncircuit, 1);
	assert_int_equal(dropped(lab, DROP_INNER_MTU), 1);
	assert_int_equal(lab->w.ntun, 1);
	k = lab->w.tun[0];
	assert_int_equal(ip_parse(k->data, k->len, &v), 0);
	/* not from the exit's own address, which its kernel would take for a lie */
	assert_true(addr_equal_ip(&v.src, &lab->session->lease4) &&
		    addr_equal_ip(&v.dst, &lab->web4));
	assert_int_equal(k->data[20], 3);
	assert_int_equal(k->data[21], 4);
	assert_int_equal(load_be16(k->data + 26), 1371);
	put_all(&lab->w);
	/* a path that carries less, and has more hops */
	atomic_store(&lab->circuit->full_dgram, 1380);
	lab->circuit->forward.fill = 3;
	q.bytes = 1296; /* 1380 - 20 - 4 * 16 = 1296, less the type byte */
	from_tun(lab, &q, false);
	assert_int_equal(lab->w.ntun, 1);
	k = lab->w.tun[0];
	assert_int_equal(ip_parse(k->data, k->len, &v), 0);
	assert_true(addr_equal_ip(&v.src, &lab->session->lease6));
	assert_int_equal(k->data[40], 2);
	assert_int_equal(load_be32(k->data + 44), 1295);
	q.bytes = 1295;
	from_tun(lab, &q, false);
	assert_int_equal(lab->w.ncircuit, 1);
	q.bytes = 1300;
	for (unsigned i = 0; i < 30; i++)
		from_tun(lab, &q, false);
	assert_int_equal(lab->w.ntun,
			 INNER_ANSWERS_BURST - 1); /* one of the IPv4 answer, the same measure */
	assert_int_equal(dropped(lab, DROP_INNER_MTU), 32);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(inner_passes_what_may_go),
		TEST(inner_drops_what_is_not_from_the_lease),
		TEST(inner_drops_without_session_or_form),
		TEST(inner_refuses_audibly),
		TEST(inner_never_answers_multicast_or_errors),
		TEST(inner_lets_only_pings_reach_the_exit_itself),
		TEST(inner_limits_its_answers),
		TEST(inner_judges_fragments),
		TEST(inner_drops_when_the_pool_is_empty),
		TEST(inner_sends_answers_by_the_active_circuit),
		TEST(inner_drops_answers_to_nobody),
		TEST(inner_says_packet_too_big),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
