/* tests/unit/test_icmp.c - tun/icmp.h: what is answered, with what bytes, and what never is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "tun/checksum.h"
#include "tun/icmp.h"
#include "unit/inner_packets.h"

static struct addr from4, from6;

static const struct addr *from(const struct ip_view *v)
{
	return v->version == 4 ? &from4 : &from6;
}

/* The answer is a good packet to the sender, with good checksums, and quotes the start of p. */
static const uint8_t *check_answer(const uint8_t *out, size_t n, const uint8_t *p,
				   const struct ip_view *v, uint8_t type, uint8_t code, size_t most)
{
	struct ip_view a;
	assert_in_range(n, 1, most);
	assert_int_equal(ip_parse(out, n, &a), 0);
	assert_int_equal(a.len, n);
	assert_int_equal(a.ttl, 64);
	assert_int_equal(a.protocol, v->version == 4 ? IP_ICMP : IP_ICMPV6);
	assert_true(addr_equal_ip(&a.dst, &v->src) && addr_equal_ip(&a.src, from(v)));
	const uint8_t *icmp = out + a.l4_offset;
	assert_int_equal(icmp[0], type);
	assert_int_equal(icmp[1], code);
	size_t quoted = n - a.l4_offset - 8;
	assert_int_equal(quoted, v->len < most - a.l4_offset - 8 ? v->len : most - a.l4_offset - 8);
	assert_memory_equal(icmp + 8, p, quoted);
	uint64_t sum = v->version == 4 ? 0 : checksum_pseudo(&a);
	assert_int_equal(checksum_fold(checksum_add(sum, icmp, n - a.l4_offset)), 0xffff);
	if (v->version == 4)
		assert_int_equal(checksum_fold(checksum_add(0, out, 20)), 0xffff);
	return icmp;
}

static void icmp_answers_tcp_and_udp(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 500, 520, 1200, 1228, 1400};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (int kind = 0; kind < 4; kind++) {
			uint8_t p[1600], out[ICMP_ANSWER_BYTES_MAX];
			struct ip_view v;
			bool six = kind & 1;
			size_t most = six ? 1280 : 576;
			size_t n =
				make_packet(p, six ? 6 : 4, kind & 2 ? IP_TCP : IP_UDP, sizes[i]);
			assert_int_equal(ip_parse(p, n, &v), 0);
			n = icmp_prohibited(p, &v, from(&v), out);
			check_answer(out, n, p, &v, six ? 1 : 3, six ? 1 : 13, most);
			n = icmp_no_route(p, &v, from(&v), out);
			check_answer(out, n, p, &v, six ? 1 : 3, 0, most);
			n = icmp_too_big(p, &v, 1371, from(&v), out);
			const uint8_t *icmp =
				check_answer(out, n, p, &v, six ? 2 : 3, six ? 0 : 4, most);
			assert_int_equal(load_be32(icmp + 4), 1371);
			n = icmp_too_big(p, &v, 40, from(&v), out);
			icmp = check_answer(out, n, p, &v, six ? 2 : 3, six ? 0 : 4, most);
			assert_int_equal(load_be32(icmp + 4), six ? 1280 : 68);
		}
	}
}

static void icmp_answers_pings_but_no_errors(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		uint8_t p[128], out[ICMP_ANSWER_BYTES_MAX];
		struct ip_view v;
		size_t n = make_packet(p, 4, IP_ICMP, 8);
		p[20] = (uint8_t)type;
		assert_int_equal(ip_parse(p, n, &v), 0);
		bool query = type == 0 || type == 8 || (type >= 13 && type <= 18);
		assert_int_equal(icmp_prohibited(p, &v, &from4, out) != 0, query);
		n = make_packet(p, 6, IP_ICMPV6, 8);
		p[40] = (uint8_t)type;
		assert_int_equal(ip_parse(p, n, &v), 0);
		assert_int_equal(icmp_prohibited(p, &v, &from6, out) != 0, type >= 128);
	}
}

static void icmp_answers_no_crowds(void **state)
{
	(void)state;
	static const struct {
		uint8_t version;
		size_t at; /* of the address's first byte */
		uint8_t ip[16];
	} rows[] = {
		{4, 12, {0, 0, 0, 0}},
		{4, 12, {127, 0, 0, 1}},
		{4, 12, {224, 0, 0, 5}},
		{4, 16, {224, 0, 0, 251}},
		{4, 16, {255, 255, 255, 255}},
		{4, 12, {255, 255, 255, 255}},
		{4, 12, {240, 0, 0, 1}},
		{4, 16, {0, 1, 2, 3}},
		{6, 8, {0}},
		{6, 8, {[15] = 1}},
		{6, 8, {0xff, 2, [15] = 1}},
		{6, 24, {0xff, 2, [15] = 1}},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t p[128], out[ICMP_ANSWER_BYTES_MAX];
		struct ip_view v;
		size_t n = make_packet(p, rows[i].version, IP_UDP, 8);
		memcpy(p + rows[i].at, rows[i].ip, rows[i].version == 4 ? 4 : 16);
		assert_int_equal(ip_parse(p, n, &v), 0);
		assert_int_equal(icmp_prohibited(p, &v, from(&v), out), 0);
		assert_int_equal(icmp_too_big(p, &v, 1280, from(&v), out), 0);
	}
}

static void icmp_answers_first_fragments_only(void **state)
{
	(void)state;
	uint8_t p[128], out[ICMP_ANSWER_BYTES_MAX];
	struct ip_view v;
	size_t n = make_packet(p, 4, IP_UDP, 8);
	store_be16(p + 6, 0x2000);
	assert_int_equal(ip_parse(p, n, &v), 0);
	assert_int_not_equal(icmp_prohibited(p, &v, &from4, out), 0);
	store_be16(p + 6, 0x2010);
	assert_int_equal(ip_parse(p, n, &v), 0);
	assert_int_equal(icmp_prohibited(p, &v, &from4, out), 0);
}

static void icmp_speaks_no_other_family(void **state)
{
	(void)state;
	uint8_t p[128], out[ICMP_ANSWER_BYTES_MAX];
	struct ip_view v;
	size_t n = make_packet(p, 4, IP_UDP, 8);
	struct addr none = {.family = 0};
	assert_int_equal(ip_parse(p, n, &v), 0);
	assert_int_equal(icmp_prohibited(p, &v, &from6, out), 0);
	assert_int_equal(icmp_prohibited(p, &v, &none, out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(icmp_answers_tcp_and_udp),
		cmocka_unit_test(icmp_answers_pings_but_no_errors),
		cmocka_unit_test(icmp_answers_no_crowds),
		cmocka_unit_test(icmp_answers_first_fragments_only),
		cmocka_unit_test(icmp_speaks_no_other_family),
	};
	if (addr_parse_ip("10.88.0.1", &from4) < 0 || addr_parse_ip("fd88::1", &from6) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
