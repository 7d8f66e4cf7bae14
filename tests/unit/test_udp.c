/* tests/unit/test_udp.c - batches of datagrams over loopback. */
#include "net/udp.h"
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define WAIT_MS 2000

static struct addr loopback(uint8_t family)
{
	struct addr a;
	assert_int_equal(addr_parse_ip(family == 4 ? "127.0.0.1" : "::1", &a), 0);
	return a;
}

static struct udp *open_udp(struct addr bind)
{
	struct udp_config c = {.bind = bind};
	struct udp *u;
	int err = udp_open(&c, &u);
	if (err != 0)
		fail_msg("udp_open: %s", strerror(-err));
	return u;
}

/* Receive exactly want datagrams into ret. */
static void receive_all(struct udp_in *in, struct udp *u, struct pkt **ret, size_t want)
{
	size_t got = 0;
	while (got < want) {
		struct pollfd p = {.fd = udp_fd(u), .events = POLLIN};
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		int n = udp_in_receive(in, ret + got, want - got);
		assert_true(n >= 0);
		got += (size_t)n;
	}
}

static struct pkt *make_pkt(struct pkt_pool *pool, size_t len, uint8_t fill)
{
	struct pkt *k = pkt_get(pool);
	assert_non_null(k);
	k->len = (uint32_t)len;
	memset(k->data, fill, len);
	return k;
}

static void check_batches(uint8_t family)
{
	enum { N = UDP_BATCH + 10 };
	struct pkt_pool *pool = pkt_pool_new(2 * N);
	struct udp *a = open_udp(loopback(family));
	struct udp *b = open_udp(loopback(family));
	struct udp_out *out = udp_out_new(a, pool);
	struct udp_in *in = udp_in_new(b, pool);
	assert_true(pool && out && in);
	struct addr to = udp_local(b);
	struct addr from = udp_local(a);
	assert_int_not_equal(to.port, 0);
	for (unsigned i = 0; i < N; i++)
		udp_out_put(out, make_pkt(pool, 100 + i, (uint8_t)i), &to);
	assert_int_equal(udp_out_queued(out), N - UDP_BATCH); /* the first batch went by itself */
	assert_int_equal(udp_out_flush(out), 0);
	assert_int_equal(udp_out_queued(out), 0);
	assert_int_equal(pkt_pool_left(pool), 2 * N);
	assert_int_equal(udp_out_counters(out)->sent, N);

	struct pkt *got[N];
	receive_all(in, b, got, N);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(got[i]->len, 100 + i);
		assert_int_equal(pkt_headroom(got[i]), PKT_HEADROOM);
		for (unsigned j = 0; j < got[i]->len; j++)
			assert_int_equal(got[i]->data[j], i);
		assert_true(addr_equal(&got[i]->from, &from));
		pkt_put(pool, got[i]);
	}
	assert_int_equal(udp_in_receive(in, got, N), 0);
	assert_int_equal(udp_in_receive(in, got, 0), 0);
	assert_int_equal(pkt_pool_left(pool), 2 * N);
	assert_int_equal(udp_in_counters(in)->received, N);
	udp_in_free(in);
	udp_out_free(out);
	udp_close(a);
	udp_close(b);
	pkt_pool_free(pool);
}

static void udp_carries_batches(void **state)
{
	(void)state;
	check_batches(4);
	check_batches(6);
}

static void udp_refused_datagram_costs_only_itself(void **state)
{
	(void)state;
	struct pkt_pool *pool = pkt_pool_new(16);
	struct udp *a = open_udp(loopback(4));
	struct udp *b = open_udp(loopback(4));
	struct udp_out *out = udp_out_new(a, pool);
	struct udp_in *in = udp_in_new(b, pool);
	assert_true(pool && out && in);
	struct addr to = udp_local(b);
	struct addr nobody = loopback(4); /* port 0: EINVAL */
	struct addr other = loopback(6);
	struct addr unroutable;
	assert_int_equal(addr_parse("255.255.255.255:9", &unroutable),
			 0); /* EACCES, no SO_BROADCAST */
	udp_out_put(out, make_pkt(pool, 1, 1), &nobody);
	udp_out_put(out, make_pkt(pool, 2, 2), &to);
	udp_out_put(out, make_pkt(pool, 9, 9), &other);
	udp_out_put(out, make_pkt(pool, 3, 3), &unroutable);
	udp_out_put(out, make_pkt(pool, 4, 4), &nobody);
	udp_out_put(out, make_pkt(pool, 5, 5), &to);
	udp_out_put(out, make_pkt(pool, 6, 6), &nobody);
	assert_int_equal(udp_out_flush(out), 4);
	assert_int_equal(udp_out_counters(out)->sent, 2);
	assert_int_equal(udp_out_counters(out)->failed, 5);
	assert_int_equal(udp_out_counters(out)->full, 0);
	assert_int_equal(pkt_pool_left(pool), 16);
	struct pkt *got[2];
	receive_all(in, b, got, 2);
	assert_int_equal(got[0]->len, 2);
	assert_int_equal(got[1]->len, 5);
	pkt_put(pool, got[0]);
	pkt_put(pool, got[1]);

	assert_int_equal(udp_send_now(a, "hi", 2, &other), -EAFNOSUPPORT);
	assert_int_equal(udp_send_now(a, "hi", 2, &nobody), -EINVAL);
	assert_int_equal(udp_send_now(a, "hi", 2, &to), 0);
	receive_all(in, b, got, 1);
	assert_int_equal(got[0]->len, 2);
	assert_memory_equal(got[0]->data, "hi", 2);
	pkt_put(pool, got[0]);
	udp_in_free(in);
	udp_out_put(out, make_pkt(pool, 1, 1), &to);
	udp_out_free(out);
	assert_int_equal(pkt_pool_left(pool), 16); /* what was queued came back */
	udp_close(a);
	udp_close(b);
	pkt_pool_free(pool);
}

static void udp_too_long_datagram_is_dropped_and_counted(void **state)
{
	(void)state;
	static uint8_t bytes[PKT_ROOM + 1];
	struct pkt_pool *pool = pkt_pool_new(8);
	struct udp *a = open_udp(loopback(4));
	struct udp *b = open_udp(loopback(4));
	struct udp_in *in = udp_in_new(b, pool);
	assert_true(pool && in);
	struct addr to = udp_local(b);
	assert_int_equal(udp_send_now(a, bytes, PKT_ROOM + 1, &to), 0);
	assert_int_equal(udp_send_now(a, bytes, PKT_ROOM, &to), 0);
	assert_int_equal(udp_send_now(a, bytes, 0, &to), 0);
	struct pkt *got[2];
	receive_all(in, b, got, 2);
	assert_int_equal(got[0]->len, PKT_ROOM);
	assert_int_equal(got[1]->len, 0);
	assert_int_equal(udp_in_counters(in)->too_long, 1);
	assert_int_equal(udp_in_counters(in)->received, 2);
	pkt_put(pool, got[0]);
	pkt_put(pool, got[1]);
	assert_int_equal(pkt_pool_left(pool), 8);
	udp_in_free(in);
	udp_close(a);
	udp_close(b);
	pkt_pool_free(pool);
}

static void udp_empty_pool_loses_nothing(void **state)
{
	(void)state;
	struct pkt_pool *pool = pkt_pool_new(1);
	struct udp *a = open_udp(loopback(4));
	struct udp_in *in = udp_in_new(a, pool);
	assert_true(pool && in);
	struct addr to = udp_local(a);
	assert_int_equal(udp_send_now(a, "x", 1, &to), 0);
	struct pkt *held = pkt_get(pool);
	struct pkt *got[4];
	assert_int_equal(udp_in_receive(in, got, 4), -ENOBUFS);
	assert_int_equal(udp_in_counters(in)->pool_empty, 1);
	pkt_put(pool, held);
	receive_all(in, a, got, 1);
	assert_int_equal(got[0]->len, 1);
	pkt_put(pool, got[0]);
	udp_in_free(in);
	udp_close(a);
	pkt_pool_free(pool);
}

static int option(struct udp *u, int level, int name)
{
	int v = -1;
	socklen_t n = sizeof(v);
	assert_int_equal(getsockopt(udp_fd(u), level, name, &v, &n), 0);
	return v;
}

static void udp_sets_its_options(void **state)
{
	(void)state;
	struct udp *u = open_udp(loopback(4));
	assert_int_equal(option(u, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
	assert_int_equal(udp_set_df(u, UDP_DF_ON), 0);
	assert_int_equal(option(u, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DO);
	assert_int_equal(udp_set_df(u, UDP_DF_OFF), 0);
	assert_int_equal(option(u, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DONT);
	assert_int_equal(udp_set_df(u, (enum udp_df)3), -EINVAL);
	assert_true(udp_receive_buffer(u) >= 200 * 1024);

	struct udp *second = open_udp(udp_local(u)); /* the port is shared by the workers */
	assert_int_equal(udp_local(second).port, udp_local(u).port);
	udp_close(second);
	udp_close(u);

	u = open_udp(loopback(6));
	assert_int_equal(option(u, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_PROBE);
	assert_int_equal(option(u, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	udp_close(u);
}

static void udp_open_says_why_not(void **state)
{
	(void)state;
	struct udp *u = NULL;
	struct udp_config c = {.bind = {0}};
	assert_int_equal(udp_open(&c, &u), -EINVAL);
	assert_int_equal(addr_parse_ip("192.0.2.1", &c.bind), 0);
	assert_int_equal(udp_open(&c, &u), -EADDRNOTAVAIL);
	c.bind = loopback(4);
	c.mark = 7;
	int err = udp_open(&c, &u); /* with CAP_NET_ADMIN it works */
	if (err == 0)
		assert_int_equal(option(u, SOL_SOCKET, SO_MARK), 7);
	else
		assert_int_equal(err, -EPERM);
	udp_close(err == 0 ? u : NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_carries_batches),
		cmocka_unit_test(udp_refused_datagram_costs_only_itself),
		cmocka_unit_test(udp_too_long_datagram_is_dropped_and_counted),
		cmocka_unit_test(udp_empty_pool_loses_nothing),
		cmocka_unit_test(udp_sets_its_options),
		cmocka_unit_test(udp_open_says_why_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
