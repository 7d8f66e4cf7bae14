/* tests/unit/test_udp.c - sockets: their options, single sends, why one does not open. */
#include "net/udp.h"
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>
#include "udp_world.h"

static void udp_refused_datagram_costs_only_itself(void **state)
{
	(void)state;
	static const uint8_t bytes[] = {0, 1, 2, 3, 4, 5, 6, 7};
	struct udp *a = open_udp(4, 0);
	struct udp *b = open_udp(4, UDP_OFFLOAD_GRO);
	struct udp_writer *w = udp_writer_new(a);
	struct udp_reader *r = udp_reader_new(b);
	assert_true(w && r);
	struct addr to = udp_local(b);
	struct addr nobody = loopback(4); /* port 0: EINVAL */
	struct addr other = loopback(6);
	struct addr unroutable; /* EACCES, no SO_BROADCAST */
	assert_int_equal(addr_parse("255.255.255.255:9", &unroutable), 0);
	udp_writer_put(w, bytes, 1, &nobody);
	udp_writer_put(w, bytes, 2, &to);
	udp_writer_put(w, bytes, 8, &other);
	udp_writer_put(w, bytes, 3, &unroutable);
	udp_writer_put(w, bytes, 4, &nobody);
	udp_writer_put(w, bytes, 5, &to); /* longer: no run with the first */
	udp_writer_put(w, bytes, 6, &nobody);
	assert_int_equal(udp_writer_flush(w), 5);
	assert_int_equal(udp_writer_counters(w)->sent, 2);
	assert_int_equal(udp_writer_counters(w)->failed, 5);
	assert_int_equal(udp_writer_counters(w)->full, 0);
	const struct udp_burst *got;
	wait_readable(b);
	assert_int_equal(udp_reader_receive(r, UDP_BATCH, &got), 2);
	assert_int_equal(got[0].len, 2);
	assert_int_equal(got[1].len, 5);
	udp_writer_free(w);
	udp_reader_free(r);
	udp_close(a);
	udp_close(b);
}

static void udp_send_now_says_what_it_refuses(void **state)
{
	(void)state;
	struct udp *a = open_udp(4, 0);
	struct udp *b = open_udp(4, 0);
	struct udp_reader *r = udp_reader_new(b);
	assert_non_null(r);
	struct addr to = udp_local(b);
	struct addr nobody = loopback(4); /* port 0: EINVAL */
	struct addr other = loopback(6);
	assert_int_equal(udp_send_now(a, "hi", 2, &other), -EAFNOSUPPORT);
	assert_int_equal(udp_send_now(a, "hi", 2, &nobody), -EINVAL);
	struct udp *six = open_udp(6, 0); /* the kernel itself would say ENETUNREACH */
	assert_int_equal(udp_send_now(six, "hi", 2, &to), -EAFNOSUPPORT);
	udp_close(six);
	assert_int_equal(udp_send_now(a, "hi", 2, &to), 0);
	const struct udp_burst *got;
	wait_readable(b);
	assert_int_equal(udp_reader_receive(r, UDP_BATCH, &got), 1);
	assert_int_equal(got->len, 2);
	assert_memory_equal(got->data, "hi", 2);
	udp_reader_free(r);
	udp_close(a);
	udp_close(b);
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
	struct udp *u = open_udp(4, 0);
	assert_int_equal(option(u, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
	assert_int_equal(udp_set_df(u, UDP_DF_ON), 0);
	assert_int_equal(option(u, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DO);
	assert_int_equal(udp_set_df(u, UDP_DF_OFF), 0);
	assert_int_equal(option(u, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DONT);
	assert_int_equal(udp_set_df(u, (enum udp_df)3), -EINVAL);
	assert_true(udp_receive_buffer(u) >= 200 * 1024);

	struct udp_config same = {.bind = udp_local(u)}; /* the port is shared by the workers */
	struct udp *second;
	assert_int_equal(udp_open(&same, &second), 0);
	assert_int_equal(udp_local(second).port, udp_local(u).port);
	udp_close(second);
	udp_close(u);

	u = open_udp(6, 0);
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
		cmocka_unit_test(udp_refused_datagram_costs_only_itself),
		cmocka_unit_test(udp_send_now_says_what_it_refuses),
		cmocka_unit_test(udp_sets_its_options),
		cmocka_unit_test(udp_open_says_why_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
