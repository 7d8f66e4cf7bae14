/* tests/unit/test_checksum.c - tun/checksum.h against RFC 1071's example and a slow sum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "tun/checksum.h"
#include "unit/inner_packets.h"

static uint16_t slow_sum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;
	for (size_t i = 0; i < n; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		if (sum > 0xffff)
			sum = (sum & 0xffff) + 1;
	}
	return (uint16_t)sum;
}

static void checksum_gives_the_rfc_example(void **state)
{
	(void)state;
	static const uint8_t p[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	assert_int_equal(checksum_fold(checksum_add(0, p, sizeof(p))), 0xddf2);
	assert_int_equal(checksum_fold(0), 0);
	assert_int_equal(checksum_fold(0xffff), 0xffff);
	assert_int_equal(checksum_fold(0x1fffe), 0xffff);
}

/* Any 64 bits: what is left when 65,535 is divided out, but 0xffff for its multiples. */
static void checksum_folds_any_number(void **state)
{
	(void)state;
	static const uint16_t parts[] = {0, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff};
	const unsigned n = sizeof(parts) / sizeof(*parts);
	for (unsigned i = 1; i < n * n * n * n; i++) {
		uint64_t sum = 0;
		for (unsigned left = i, k = 0; k < 4; k++, left /= n)
			sum = sum << 16 | parts[left % n];
		assert_int_equal(checksum_fold(sum), sum % 0xffff ? sum % 0xffff : 0xffff);
	}
}

static void checksum_agrees_with_a_slow_sum(void **state)
{
	(void)state;
	static uint8_t p[65535 + 8];
	srandom(11);
	for (int i = 0; i < 2000; i++) {
		size_t n = (size_t)random() % (i % 100 ? 200 : 65535), shift = (size_t)random() % 8;
		size_t half = n / 2 & ~(size_t)1;
		for (size_t k = 0; k < n; k++)
			p[shift + k] = i % 7 ? (uint8_t)random() : 0xff;
		uint64_t sum = checksum_add(0, p + shift, n);
		assert_int_equal(checksum_fold(sum), slow_sum(p + shift, n));
		if (n >= 20)
			assert_int_equal(checksum_ipv4(p + shift), slow_sum(p + shift, 20));
		sum = checksum_add(0, p + shift, half);
		sum = checksum_add(sum, p + shift + half, n - half);
		assert_int_equal(checksum_fold(sum), slow_sum(p + shift, n));
	}
}

/* By the book: build the pseudo-header as bytes. */
static uint16_t slow_upper_sum(const uint8_t *p, const struct ip_view *v)
{
	static uint8_t all[40 + 65535];
	size_t n = addr_ip_bytes(&v->src), upper = (size_t)(v->len - v->l4_offset);
	memcpy(all, v->src.ip, n);
	memcpy(all + n, v->dst.ip, n);
	size_t at = 2 * n;
	if (v->version == 4) {
		all[at++] = 0;
		all[at++] = v->protocol;
		store_be16(all + at, (uint16_t)upper);
		at += 2;
	} else {
		store_be32(all + at, (uint32_t)upper);
		store_be32(all + at + 4, v->protocol);
		at += 8;
	}
	memcpy(all + at, p + v->l4_offset, upper);
	return slow_sum(all, at + upper);
}

static void checksum_completes_tcp_and_udp(void **state)
{
	(void)state;
	for (size_t data = 0; data < 40; data++) {
		for (int kind = 0; kind < 4; kind++) {
			uint8_t p[128];
			struct ip_view v;
			size_t n = make_packet(p, kind & 1 ? 6 : 4, kind & 2 ? 6 : 17, data);
			assert_int_equal(ip_parse(p, n, &v), 0);
			size_t at = ip_open_checksum_at(&v);
			store_be16(p + at, 0xabcd);
			checksum_complete(p, &v);
			assert_int_equal(slow_upper_sum(p, &v), 0xffff);
			/* what the kernel does with an open checksum comes to the same */
			uint16_t known = load_be16(p + at);
			checksum_leave_open(p, &v);
			uint16_t sum = (uint16_t)~slow_sum(p + v.l4_offset, n - v.l4_offset);
			assert_int_equal(sum, known);
		}
	}
}

static void checksum_writes_a_zero_of_udp_as_ones(void **state)
{
	(void)state;
	uint8_t p[64];
	struct ip_view v;
	size_t n = make_packet(p, 4, 17, 2);
	assert_int_equal(ip_parse(p, n, &v), 0);
	store_be16(p + 28, 0);
	checksum_complete(p, &v);
	store_be16(p + 28, load_be16(p + 26)); /* data that makes the sum come out as zero */
	checksum_complete(p, &v);
	assert_int_equal(load_be16(p + 26), 0xffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum_gives_the_rfc_example),
		cmocka_unit_test(checksum_folds_any_number),
		cmocka_unit_test(checksum_agrees_with_a_slow_sum),
		cmocka_unit_test(checksum_completes_tcp_and_udp),
		cmocka_unit_test(checksum_writes_a_zero_of_udp_as_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
