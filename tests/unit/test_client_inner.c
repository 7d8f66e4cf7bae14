/* tests/unit/test_client_inner.c - inner packets on the client's workers, with a worker that only
 * notes what it is told. */
#include "client/client.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tun/frame.h"
#include "tun/plain.h"
#include "tun/split.h"
#include "unit/inner_packets.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* --- the worker --- */

struct worker {
	struct pkt_pool *pool;
	unsigned to_tun, to_path, drops;
	enum drop why;
	uint8_t bytes[2048]; /* of the last packet that went anywhere */
	size_t n;
	struct path_data *path;
	bool pool_is_empty;
};

static void keep(struct worker *w, struct pkt *k)
{
	memcpy(w->bytes, k->data, k->len);
	w->n = k->len;
	pkt_put(w->pool, k);
}

struct pkt *worker_get(struct worker *w)
{
	return w->pool_is_empty ? NULL : pkt_get(w->pool);
}

void worker_put(struct worker *w, struct pkt *k)
{
	pkt_put(w->pool, k);
}

void worker_drop(struct worker *w, struct pkt *k, enum drop why)
{
	w->drops++;
	w->why = why;
	pkt_put(w->pool, k);
}

void worker_drop_frame(struct worker *w, const struct tun_frame *f, enum drop why)
{
	w->drops += f->packets;
	w->why = why;
}

void worker_to_tun(struct worker *w, struct pkt *k, const struct ip_view *v)
{
	struct ip_view own;
	assert_int_equal(ip_parse(k->data, k->len, &own), 0);
	assert_memory_equal(&own, v, sizeof(own));
	w->to_tun++;
	keep(w, k);
}

void worker_frame_to_path(struct worker *w, struct path_data *p, const struct tun_frame *f)
{
	w->to_path++;
	w->path = p;
	w->n = frame_plain(f, 0, w->bytes);
}

/* --- the fixture --- */

#define POOL 8

struct fixture {
	struct inner *inner;
	struct engine_inner_ops ops;
	struct worker w;
	struct path_data path;
	struct onion_env env;
	void *retired[4];
	unsigned nretired;
};

static void retire(void *arg, void *object, void (*free_fn)(void *))
{
	struct fixture *f = arg;
	f->retired[f->nretired++] = object;
	(void)free_fn;
}

static struct addr ip(const char *text)
{
	struct addr a;
	assert_int_equal(addr_parse_ip(text, &a), 0);
	return a;
}

static void set_lease(struct fixture *f)
{
	struct msg_grant g = {.lease4 = ip("10.99.0.2"), .lease6 = ip("fd00:99::2"), .ndns = 2};
	struct prefix local[2];
	g.dns[0] = ip("10.99.0.1");
	g.dns[1] = ip("fd00:99::1");
	assert_int_equal(prefix_parse("198.51.100.0/24", &local[0]), 0);
	assert_int_equal(prefix_parse("2001:db8:100::/64", &local[1]), 0);
	assert_int_equal(inner_set_lease(f->inner, &f->env, &g, local, 2), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->inner = inner_new();
	f->w.pool = pkt_pool_new(POOL);
	assert_true(f->inner && f->w.pool);
	f->ops = inner_ops(f->inner);
	f->env = (struct onion_env){.arg = f, .retire = retire};
	f->path.slots = 3;
	atomic_store(&f->path.full_dgram, 1440);
	set_lease(f);
	inner_set_active(f->inner, &f->path);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(pkt_pool_left(f->w.pool), POOL); /* each packet ended exactly once */
	for (unsigned i = 0; i < f->nretired; i++)
		free(f->retired[i]);
	inner_free(f->inner);
	pkt_pool_free(f->w.pool);
	free(f);
	return 0;
}

static struct pkt *packet(struct fixture *f, const uint8_t *bytes, size_t n)
{
	struct pkt *k = pkt_get(f->w.pool);
	assert_non_null(k);
	memcpy(k->data, bytes, n);
	k->len = (uint32_t)n;
	return k;
}

/* What came out of the onion: type byte, packet, padding. */
static void from_onion(struct fixture *f, const uint8_t *bytes, size_t n)
{
	uint8_t plain[2048] = {PLAIN_PACKET};
	struct hop_dir end = {.kind = HOP_END_BACKWARD};
	memcpy(plain + 1, bytes, n);
	memset(plain + 1 + n, 0, 40);
	f->ops.from_onion(f->ops.arg, &f->w, &end, packet(f, plain, 1 + n + 40));
}

static void from_tun(struct fixture *f, const uint8_t *bytes, size_t n)
{
	const struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	uint8_t copy[2048];
	struct tun_frame frame;
	memcpy(copy, bytes, n);
	assert_int_equal(frame_parse(&h, copy, n, &frame), 0);
	f->ops.from_tun(f->ops.arg, &f->w, &frame);
}

static void set_ends(uint8_t *p, const char *src, const char *dst)
{
	struct addr s = ip(src), d = ip(dst);
	unsigned at = s.family == 4 ? 12 : 8, n = s.family == 4 ? 4 : 16;
	assert_int_equal(s.family, d.family);
	memcpy(p + at, s.ip, n);
	memcpy(p + at + n, d.ip, n);
}

static size_t make(uint8_t *p, uint8_t protocol, const char *src, const char *dst)
{
	size_t n = make_packet(p, strchr(src, ':') ? 6 : 4, protocol, 24);
	set_ends(p, src, dst);
	return n;
}

/* --- from the onion --- */

static void client_inner_takes_what_is_for_the_lease(void **state)
{
	static const char *const pairs[][2] = {
		{"203.0.113.7", "10.99.0.2"},
		{"2001:db8:113::7", "fd00:99::2"},
		{"9.9.9.9", "10.99.0.2"},
		{"10.99.0.1", "10.99.0.2"}, /* the granted resolver, whatever its address */
		{"fd00:99::1", "fd00:99::2"},
	};
	struct fixture *f = *state;
	uint64_t up, down, sum = 0;
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		uint8_t p[256];
		size_t n = make(p, IP_UDP, pairs[i][0], pairs[i][1]);
		from_onion(f, p, n);
		assert_int_equal(f->w.to_tun, i + 1);
		assert_int_equal(f->w.n, n); /* without its padding */
		assert_memory_equal(f->w.bytes, p, n);
		sum += n;
	}
	inner_bytes(f->inner, &up, &down);
	assert_int_equal(up, 0);
	assert_int_equal(down, sum);
	assert_int_equal(f->w.drops, 0);
	inner_reset_bytes(f->inner);
	inner_bytes(f->inner, &up, &down);
	assert_int_equal(down, 0);
}

static void client_inner_drops_foreign_destinations(void **state)
{
	static const char *const pairs[][2] = {
		{"203.0.113.7", "10.99.0.3"},	   {"203.0.113.7", "192.168.1.5"},
		{"203.0.113.7", "127.0.0.1"},	   {"203.0.113.7", "255.255.255.255"},
		{"203.0.113.7", "224.0.0.251"},	   {"203.0.113.7", "198.51.100.4"},
		{"2001:db8:113::7", "fd00:99::3"}, {"2001:db8:113::7", "ff02::1"},
		{"2001:db8:113::7", "fe80::1"},	   {"2001:db8:113::7", "2001:db8:100::5"},
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		uint8_t p[256];
		from_onion(f, p, make(p, IP_UDP, pairs[i][0], pairs[i][1]));
		assert_int_equal(f->w.drops, i + 1);
		assert_int_equal(f->w.why, DROP_INNER_DEST);
	}
	assert_int_equal(f->w.to_tun, 0);
}

static void client_inner_drops_bad_sources(void **state)
{
	static const char *const pairs[][2] = {
		{"10.1.2.3", "10.99.0.2"},
		{"172.16.0.1", "10.99.0.2"},
		{"172.31.0.1", "10.99.0.2"},
		{"192.168.1.1", "10.99.0.2"},
		{"100.64.0.1", "10.99.0.2"},
		{"127.0.0.1", "10.99.0.2"},
		{"169.254.0.1", "10.99.0.2"},
		{"0.0.0.0", "10.99.0.2"},
		{"224.0.0.1", "10.99.0.2"},
		{"255.255.255.255", "10.99.0.2"},
		{"10.99.0.2", "10.99.0.2"},
		{"198.51.100.1", "10.99.0.2"},
		{"fd00:99::2", "fd00:99::2"},
		{"fd12::1", "fd00:99::2"},
		{"fc00::1", "fd00:99::2"},
		{"fe80::1", "fd00:99::2"},
		{"fec0::1", "fd00:99::2"},
		{"ff02::1", "fd00:99::2"},
		{"::", "fd00:99::2"},
		{"::1", "fd00:99::2"},
		{"2001:db8:100::1", "fd00:99::2"},
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		uint8_t p[256];
		from_onion(f, p, make(p, IP_TCP, pairs[i][0], pairs[i][1]));
		if (f->w.drops != i + 1 || f->w.why != DROP_INNER_SOURCE)
			fail_msg("%s", pairs[i][0]);
	}
	assert_int_equal(f->w.to_tun, 0);
}

/* An exit answers a refused packet from its inner address, a router on the way from a private one.
 */
static void client_inner_lets_icmp_errors_in(void **state)
{
	static const struct {
		uint8_t version, type;
		const char *src;
		bool passes;
	} rows[] = {
		{4, 3, "10.99.0.1", true},
		{4, 3, "10.1.1.1", true},
		{4, 11, "192.168.0.1", true},
		{4, 0, "10.1.1.1", false},
		{4, 5, "10.1.1.1", false},
		{4, 8, "10.1.1.1", false},
		{4, 3, "127.0.0.1", false},
		{4, 3, "169.254.1.1", false},
		{4, 3, "198.51.100.1", false},
		{4, 3, "10.99.0.2", false},
		{6, 1, "fd00:77::1", true},
		{6, 2, "fd00:77::1", true},
		{6, 3, "fd00:77::1", true},
		{6, 4, "fd00:77::1", false},
		{6, 128, "fd00:77::1", false},
		{6, 134, "fe80::1", false}, /* a router's advertisement */
		{6, 1, "fe80::1", false},
		{6, 137, "fd00:77::1", false},
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t p[256];
		bool six = rows[i].version == 6;
		size_t n = make(p, six ? IP_ICMPV6 : IP_ICMP, rows[i].src,
				six ? "fd00:99::2" : "10.99.0.2");
		unsigned before = f->w.to_tun;
		p[six ? 40 : 20] = rows[i].type;
		from_onion(f, p, n);
		if ((f->w.to_tun == before + 1) != rows[i].passes)
			fail_msg("%u", i);
	}
}

static void client_inner_drops_what_is_no_packet(void **state)
{
	struct fixture *f = *state;
	uint8_t p[256];
	size_t n = make(p, IP_UDP, "203.0.113.7", "10.99.0.2");
	p[0] = 0x55;
	from_onion(f, p, n);
	assert_int_equal(f->w.why, DROP_INNER_FORMAT);
	n = make(p, IP_UDP, "203.0.113.7", "10.99.0.2");
	store_be16(p + 2, 2000); /* its length lies */
	from_onion(f, p, n);
	assert_int_equal(f->w.drops, 2);
	assert_int_equal(f->w.why, DROP_INNER_FORMAT);
}

static void client_inner_without_a_lease_takes_nothing(void **state)
{
	struct fixture *f = *state;
	struct inner *none = inner_new();
	struct engine_inner_ops ops = inner_ops(none);
	uint8_t p[256], plain[256] = {PLAIN_PACKET};
	size_t n = make(p, IP_UDP, "203.0.113.7", "10.99.0.2");
	memcpy(plain + 1, p, n);
	ops.from_onion(ops.arg, &f->w, NULL, packet(f, plain, n + 1));
	assert_int_equal(f->w.why, DROP_NO_LEASE);
	f->ops = ops;
	from_tun(f, p, n);
	assert_int_equal(f->w.why, DROP_NO_PATH);
	assert_int_equal(f->w.drops, 2);
	inner_free(none);
}

/* --- from the TUN --- */

static void client_inner_sends_on_the_active_path(void **state)
{
	struct fixture *f = *state;
	uint8_t p[256];
	uint64_t up, down;
	size_t n = make(p, IP_UDP, "10.99.0.2", "203.0.113.7");
	from_tun(f, p, n);
	assert_int_equal(f->w.to_path, 1);
	assert_ptr_equal(f->w.path, &f->path);
	assert_int_equal(f->w.n, n + 1);
	assert_int_equal(f->w.bytes[0], PLAIN_PACKET);
	assert_memory_equal(f->w.bytes + 1, p, n);
	inner_bytes(f->inner, &up, &down);
	assert_int_equal(up, n);
	n = make(p, IP_TCP, "fd00:99::2", "2001:db8:113::7");
	from_tun(f, p, n);
	assert_int_equal(f->w.to_path, 2);

	inner_set_active(f->inner, NULL); /* blocked, or all paths lost */
	from_tun(f, p, n);
	assert_int_equal(f->w.to_path, 2);
	assert_int_equal(f->w.why, DROP_NO_PATH);
}

static void client_inner_sends_from_the_lease_alone(void **state)
{
	static const char *const pairs[][2] = {
		{"10.99.0.3", "203.0.113.7"},
		{"192.168.1.2", "203.0.113.7"},
		{"fe80::1", "ff02::2"}, /* the kernel's own router solicitation */
		{"2001:db8:100::5", "2001:db8:113::7"},
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		uint8_t p[256];
		from_tun(f, p, make(p, IP_UDP, pairs[i][0], pairs[i][1]));
		assert_int_equal(f->w.drops, i + 1);
		assert_int_equal(f->w.why, DROP_INNER_SOURCE);
	}
	assert_int_equal(f->w.to_path, 0);
}

/* What is too big for the path is answered from where it was going, with the path's MTU. */
static void client_inner_answers_too_big(void **state)
{
	struct fixture *f = *state;
	unsigned mtu = inner_mtu(1440, 3);
	uint8_t p[2048];
	struct ip_view v;
	assert_int_equal(mtu, 1371);
	size_t n = make_packet(p, 4, IP_UDP, mtu - 28);
	from_tun(f, p, n);
	assert_int_equal(f->w.to_path, 1); /* the largest that fits */
	n = make_packet(p, 4, IP_UDP, mtu - 27);
	from_tun(f, p, n);
	assert_int_equal(f->w.to_path, 1);
	assert_int_equal(f->w.to_tun, 1);
	assert_int_equal(f->w.why, DROP_INNER_MTU);
	assert_int_equal(ip_parse(f->w.bytes, f->w.n, &v), 0);
	assert_int_equal(v.protocol, IP_ICMP);
	assert_int_equal(f->w.bytes[v.l4_offset], 3);
	assert_int_equal(f->w.bytes[v.l4_offset + 1], 4);
	assert_int_equal(load_be16(f->w.bytes + v.l4_offset + 6), mtu);
	struct addr lease = ip("10.99.0.2"), web = ip("203.0.113.7");
	assert_true(addr_equal_ip(&v.dst, &lease));
	assert_true(addr_equal_ip(&v.src, &web));

	n = make_packet(p, 6, IP_TCP, 1400);
	from_tun(f, p, n);
	assert_int_equal(f->w.to_tun, 2);
	assert_int_equal(ip_parse(f->w.bytes, f->w.n, &v), 0);
	assert_int_equal(v.protocol, IP_ICMPV6);
	assert_int_equal(f->w.bytes[v.l4_offset], 2);
	assert_int_equal(load_be32(f->w.bytes + v.l4_offset + 4), mtu);

	/* a segment is as large as its packets */
	struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
				   .gso_size = (uint16_t)(mtu - 40)};
	struct tun_frame frame;
	uint64_t up, down, before;
	inner_bytes(f->inner, &before, &down);
	n = make_packet(p, 4, IP_TCP, 1500);
	assert_int_equal(frame_parse(&h, p, n, &frame), 0);
	f->ops.from_tun(f->ops.arg, &f->w, &frame);
	assert_int_equal(f->w.to_path, 2);
	inner_bytes(f->inner, &up, &down);
	assert_int_equal(up - before, 1500 + 2 * 40);
	h.gso_size++;
	assert_int_equal(frame_parse(&h, p, n, &frame), 0);
	f->ops.from_tun(f->ops.arg, &f->w, &frame);
	assert_int_equal(f->w.to_path, 2);
	assert_int_equal(f->w.to_tun, 3);
	assert_int_equal(f->w.drops, 4);
	assert_int_equal(load_be16(f->w.bytes + 26), mtu);

	n = make_packet(p, 6, IP_TCP, 1400);
	f->w.pool_is_empty = true; /* then it is dropped without an answer */
	from_tun(f, p, n);
	assert_int_equal(f->w.to_tun, 3);
	assert_int_equal(f->w.drops, 5);
}

static void retire_now(void *arg, void *object, void (*free_fn)(void *))
{
	(void)arg;
	free_fn(object);
}

/* Every length of prefix, and addresses that differ from it in one bit: as prefix_has() says. */
static void client_inner_knows_local_networks(void **state)
{
	struct fixture *f = *state;
	const struct onion_env env = {.retire = retire_now};
	const struct msg_grant g = {.lease4 = ip("10.99.0.2")};
	const struct addr full[2] = {ip("198.51.100.77"), ip("2001:db8:99:a5a5:5a5a:3c3c:c3c3:77")};
	for (unsigned six = 0; six < 2; six++) {
		for (unsigned len = 0; len <= (six ? 128 : 32); len++) {
			struct prefix p = {.addr = full[six], .len = (uint8_t)len};
			struct addr other = full[six];
			for (unsigned bit = len; bit < 128; bit++)
				p.addr.ip[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
			assert_int_equal(inner_set_lease(f->inner, &env, &g, &p, 1), 0);
			for (unsigned bit = 0; bit < (six ? 128 : 32); bit++) {
				struct addr a = full[six];
				a.ip[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
				assert_int_equal(inner_is_local(f->inner, &a), prefix_has(&p, &a));
			}
			assert_true(inner_is_local(f->inner, &full[six]));
			other.family = six ? 4 : 6; /* the same bytes */
			assert_false(inner_is_local(f->inner, &other));
		}
	}
}

static void client_inner_retires_the_old_lease(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(f->nretired, 0);
	set_lease(f);
	assert_int_equal(f->nretired, 1); /* and not freed: a worker may read it */
	struct addr a = ip("198.51.100.77"), b = ip("203.0.113.7");
	assert_true(inner_is_local(f->inner, &a));
	assert_false(inner_is_local(f->inner, &b));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(client_inner_takes_what_is_for_the_lease),
		TEST(client_inner_drops_foreign_destinations),
		TEST(client_inner_drops_bad_sources),
		TEST(client_inner_lets_icmp_errors_in),
		TEST(client_inner_drops_what_is_no_packet),
		TEST(client_inner_without_a_lease_takes_nothing),
		TEST(client_inner_sends_on_the_active_path),
		TEST(client_inner_sends_from_the_lease_alone),
		TEST(client_inner_answers_too_big),
		TEST(client_inner_knows_local_networks),
		TEST(client_inner_retires_the_old_lease),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
