/* tests/unit/test_addr.c - addresses and prefixes, and the special ones against a list of ranges.
 */
#include "base/addr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include "base/bytes.h"
#include "base/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct addr ip(const char *text)
{
	struct addr a;
	if (addr_parse_ip(text, &a) != 0)
		fail_msg("cannot parse %s", text);
	return a;
}

static struct prefix prefix(const char *text)
{
	struct prefix p;
	if (prefix_parse(text, &p) != 0)
		fail_msg("cannot parse %s", text);
	return p;
}

static void addr_text_goes_both_ways(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"192.0.2.1:443",	 "0.0.0.0:0",
		"[2001:db8::1]:65535",	 "[::]:1",
		"255.255.255.255:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct addr a;
		char buf[ADDR_TEXT_BYTES];
		assert_int_equal(addr_parse(texts[i], &a), 0);
		assert_string_equal(addr_text(&a, buf), texts[i]);
	}
	struct addr none = {0};
	char buf[ADDR_TEXT_BYTES];
	assert_string_equal(addr_text(&none, buf), "none");
	assert_string_equal(addr_ip_text(&none, buf), "none");
}

static void addr_parse_refuses_what_is_not_exact(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
					  ":",
					  ":1",
					  "192.0.2.1",
					  "192.0.2.1:",
					  "192.0.2.1:65536",
					  "192.0.2.1:+1",
					  "192.0.2.1:1 ",
					  " 192.0.2.1:1",
					  "192.0.2.1:000001",
					  "192.0.2:1",
					  "192.0.2.1.5:1",
					  "2001:db8::1:443",
					  "[2001:db8::1]",
					  "[2001:db8::1]443",
					  "[192.0.2.1]:443",
					  "[2001:db8::1:443",
					  "[fe80::1%lo]:1",
					  "name:1",
					  "[]:1",
					  "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:1"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct addr a = {.family = 99};
		if (addr_parse(bad[i], &a) != -EINVAL || a.family != 99)
			fail_msg("took %s", bad[i]);
	}
	struct addr a = {.family = 99};
	assert_int_equal(addr_parse_ip("192.0.2.1:1", &a), -EINVAL);
	assert_int_equal(addr_parse_ip("[::1]", &a), -EINVAL);
	assert_int_equal(addr_parse_ip("192.0.02.1", &a), -EINVAL);
	assert_int_equal(a.family, 99);
}

static void prefix_text_goes_both_ways(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"10.0.0.0/8", "0.0.0.0/0", "192.0.2.128/25",  "192.0.2.1/32",
		"fd00::/8",   "::/0",	   "2001:db8::1/128", "2001:db8:8000::/33"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct prefix p = prefix(texts[i]);
		char buf[ADDR_TEXT_BYTES];
		assert_string_equal(prefix_text(&p, buf), texts[i]);
	}
	char buf[ADDR_TEXT_BYTES];
	struct prefix bare = prefix("192.0.2.1");
	assert_string_equal(prefix_text(&bare, buf), "192.0.2.1/32");
	bare = prefix("::1");
	assert_string_equal(prefix_text(&bare, buf), "::1/128");

	static const char *const bad[] = {
		"",	      "/8",	    "10.0.0.0/",   "10.0.0.0/33", "10.0.0.1/8",
		"fd00::/129", "fd00::1/64", "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0.0/0008"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct prefix p;
		if (prefix_parse(bad[i], &p) != -EINVAL)
			fail_msg("took %s", bad[i]);
	}
}

static void addr_mapped_form_goes_both_ways(void **state)
{
	(void)state;
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
	struct addr a = ip("192.0.2.1");
	uint8_t out[16];
	addr_to_mapped(&a, out);
	assert_memory_equal(out, mapped, 16);
	a.port = 7;
	struct addr back = addr_from_mapped(out, 7);
	assert_true(addr_equal(&a, &back));

	a = ip("2001:db8::5");
	addr_to_mapped(&a, out);
	back = addr_from_mapped(out, 0);
	assert_true(addr_equal(&a, &back));

	struct addr none = {0};
	addr_to_mapped(&none, out);
	assert_int_equal(addr_from_mapped(out, 9).family, 0);
	assert_int_equal(ip("::ffff:192.0.2.1").family, 4);
	assert_int_equal(addr_from_ip(mapped, 15, 0).family, 0);
	assert_int_equal(addr_from_ip(mapped, 16, 0).family, 6);
}

static void addr_sockaddr_goes_both_ways(void **state)
{
	(void)state;
	static const char *const texts[] = {"192.0.2.1:443", "[2001:db8::1]:8443"};
	struct sockaddr_storage ss;
	for (size_t i = 0; i < 2; i++) {
		struct addr a;
		assert_int_equal(addr_parse(texts[i], &a), 0);
		assert_int_equal(addr_to_sockaddr(&a, &ss),
				 i == 0 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
		struct addr back = addr_from_sockaddr((struct sockaddr *)&ss);
		assert_true(addr_equal(&a, &back));
	}
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(5)};
	assert_int_equal(inet_pton(AF_INET6, "::ffff:10.1.2.3", &sin6.sin6_addr), 1);
	struct addr a = addr_from_sockaddr((struct sockaddr *)&sin6);
	assert_int_equal(a.family, 4);
	assert_int_equal(a.port, 5);
	struct sockaddr other = {.sa_family = AF_UNIX};
	assert_int_equal(addr_from_sockaddr(&other).family, 0);
	struct addr none = {0};
	assert_int_equal(addr_to_sockaddr(&none, &ss), 0);
}

/* Slow and obvious: bit by bit. */
static bool slow_same_subnet(const struct addr *a, const struct addr *b, unsigned bits)
{
	if (a->family != b->family)
		return false;
	for (unsigned i = 0; i < bits; i++)
		if ((a->ip[i / 8] >> (7 - i % 8) & 1) != (b->ip[i / 8] >> (7 - i % 8) & 1))
			return false;
	return true;
}

static void addr_same_subnet_agrees_with_the_slow_way(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		bool v6 = rng_below(&rng_system, 2);
		unsigned max = v6 ? 128 : 32;
		uint8_t bytes[16];
		rng_bytes(&rng_system, bytes, sizeof(bytes));
		struct addr a = addr_from_ip(bytes, max / 8, 1);
		unsigned flip = (unsigned)rng_below(&rng_system, max);
		bytes[flip / 8] ^= (uint8_t)(0x80 >> flip % 8);
		struct addr b = addr_from_ip(bytes, max / 8, 2);
		unsigned bits = (unsigned)rng_below(&rng_system, max + 1);
		bool want = slow_same_subnet(&a, &b, bits);
		assert_int_equal(want, bits <= flip);
		assert_int_equal(addr_same_subnet(&a, &b, bits), want);
	}
	struct addr a = ip("10.0.0.0");
	struct addr b = ip("a00::");
	assert_false(addr_same_subnet(&a, &b, 8));
	assert_false(addr_same_subnet(&a, &a, 33));
}

static void prefix_has_and_overlaps(void **state)
{
	(void)state;
	struct prefix ten = prefix("10.0.0.0/8");
	struct prefix inner = prefix("10.9.0.0/16");
	struct prefix next = prefix("11.0.0.0/8");
	struct prefix all = prefix("0.0.0.0/0");
	struct prefix all6 = prefix("::/0");
	struct addr a = ip("10.255.255.255");
	struct addr none = {0};
	assert_true(prefix_has(&ten, &a));
	assert_false(prefix_has(&inner, &a));
	assert_false(prefix_has(&next, &a));
	assert_true(prefix_has(&all, &a));
	assert_false(prefix_has(&all6, &a));
	assert_false(prefix_has(&all, &none));
	assert_true(prefix_overlaps(&ten, &inner));
	assert_true(prefix_overlaps(&inner, &ten));
	assert_false(prefix_overlaps(&ten, &next));
	assert_false(prefix_overlaps(&all, &all6));
	assert_true(prefix_overlaps(&ten, &ten));
}

/* First and last addresses of each special range as the registries print them, and their
 * neighbours. */
static const struct {
	const char *text;
	bool special;
} kinds[] = {
	{"0.0.0.0", true},
	{"0.255.255.255", true},
	{"1.0.0.0", false},
	{"9.255.255.255", false},
	{"10.0.0.0", true},
	{"10.255.255.255", true},
	{"11.0.0.0", false},
	{"100.63.255.255", false},
	{"100.64.0.0", true},
	{"100.127.255.255", true},
	{"100.128.0.0", false},
	{"126.255.255.255", false},
	{"127.0.0.1", true},
	{"128.0.0.0", false},
	{"169.253.255.255", false},
	{"169.254.169.254", true},
	{"169.255.0.0", false},
	{"172.15.255.255", false},
	{"172.16.0.0", true},
	{"172.31.255.255", true},
	{"172.32.0.0", false},
	{"191.255.255.255", false},
	{"192.0.0.0", true},
	{"192.0.0.255", true},
	{"192.0.1.0", false},
	{"192.0.2.0", true},
	{"192.0.3.0", false},
	{"192.31.196.1", false},
	{"192.88.98.255", false},
	{"192.88.99.1", true},
	{"192.88.100.0", false},
	{"192.167.255.255", false},
	{"192.168.0.0", true},
	{"192.168.255.255", true},
	{"192.169.0.0", false},
	{"198.17.255.255", false},
	{"198.18.0.0", true},
	{"198.19.255.255", true},
	{"198.20.0.0", false},
	{"198.51.99.255", false},
	{"198.51.100.1", true},
	{"198.51.101.0", false},
	{"203.0.112.255", false},
	{"203.0.113.10", true},
	{"203.0.114.0", false},
	{"223.255.255.255", false},
	{"224.0.0.1", true},
	{"239.255.255.255", true},
	{"240.0.0.0", true},
	{"255.255.255.255", true},
	{"8.8.8.8", false},
	{"::", true},
	{"::1", true},
	{"::2", true},
	{"::8.8.8.8", true},
	{"64:ff9b::8.8.8.8", false},
	{"64:ff9b::10.0.0.1", true},
	{"64:ff9b::1:808:808", true},
	{"64:ff9b:1::808:808", true},
	{"100::1", true},
	{"1fff:ffff::1", true},
	{"2000::1", false},
	{"2001::1", true},
	{"2001:2::1", true},
	{"2001:3::1", false},
	{"2001:4:111::1", true},
	{"2001:4:112::1", false},
	{"2001:20::1", true},
	{"2001:1ff::1", true},
	{"2001:200::1", false},
	{"2001:db7:ffff::1", false},
	{"2001:db8::1", true},
	{"2001:db9::1", false},
	{"2002:808:808::1", false},
	{"2002:a00:1::1", true},
	{"2002:c0a8:1::1", true},
	{"2003::1", false},
	{"3ffe::1", false},
	{"3fff::1", true},
	{"3fff:fff:ffff::1", true},
	{"3fff:1000::1", false},
	{"4000::1", true},
	{"5f00::1", true},
	{"fbff::1", true},
	{"fc00::1", true},
	{"fd00::1", true},
	{"fe80::1", true},
	{"fec0::1", true},
	{"ff02::1", true},
	{"2620:fe::fe", false},
	/* Teredo: server 65.54.227.120 and client 192.0.2.45, then 8.8.8.8, then a private server
	 */
	{"2001:0:4136:e378:8000:63bf:3fff:fdd2", true},
	{"2001:0:4136:e378:8000:63bf:f7f7:f7f7", false},
	{"2001:0:a00:1:8000:63bf:f7f7:f7f7", true},
};

static void addr_is_special_knows_the_registries(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct addr a = ip(kinds[i].text);
		if (addr_is_special(&a) != kinds[i].special)
			fail_msg("%s: wrong", kinds[i].text);
	}
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 8, 8, 8, 8};
	struct addr raw = addr_from_ip(mapped, 16, 0);
	assert_true(addr_is_special(&raw));
	struct addr none = {0};
	assert_true(addr_is_special(&none));
}

/* The IPv4 registry a second time, as numbers from and to. */
static bool slow_special4(uint32_t v)
{
	static const uint32_t ranges[][2] = {
		{0x00000000, 0x00ffffff}, {0x0a000000, 0x0affffff}, {0x64400000, 0x647fffff},
		{0x7f000000, 0x7fffffff}, {0xa9fe0000, 0xa9feffff}, {0xac100000, 0xac1fffff},
		{0xc0000000, 0xc00000ff}, {0xc0000200, 0xc00002ff}, {0xc0586300, 0xc05863ff},
		{0xc0a80000, 0xc0a8ffff}, {0xc6120000, 0xc613ffff}, {0xc6336400, 0xc63364ff},
		{0xcb007100, 0xcb0071ff}, {0xe0000000, 0xffffffff},
	};
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (v >= ranges[i][0] && v <= ranges[i][1])
			return true;
	return false;
}

static void addr_is_special_agrees_with_the_slow_way(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1u << 16; i++) {
		uint8_t bytes[4];
		store_be32(bytes, i << 16 | rng_u32(&rng_system) >> 16);
		struct addr a = addr_from_ip(bytes, 4, 0);
		assert_int_equal(addr_is_special(&a), slow_special4(load_be32(bytes)));
	}
}

static void addr_equality(void **state)
{
	(void)state;
	struct addr a = ip("192.0.2.1");
	struct addr b = a;
	b.port = 9;
	assert_true(addr_equal_ip(&a, &b));
	assert_false(addr_equal(&a, &b));
	b = ip("c000:201::");
	assert_false(addr_equal_ip(&a, &b)); /* the same first bytes, another family */
	b = ip("192.0.2.2");
	assert_false(addr_equal(&a, &b));
	assert_int_equal(addr_ip_bytes(&a), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addr_text_goes_both_ways),
		cmocka_unit_test(addr_parse_refuses_what_is_not_exact),
		cmocka_unit_test(prefix_text_goes_both_ways),
		cmocka_unit_test(addr_mapped_form_goes_both_ways),
		cmocka_unit_test(addr_sockaddr_goes_both_ways),
		cmocka_unit_test(addr_same_subnet_agrees_with_the_slow_way),
		cmocka_unit_test(prefix_has_and_overlaps),
		cmocka_unit_test(addr_is_special_knows_the_registries),
		cmocka_unit_test(addr_is_special_agrees_with_the_slow_way),
		cmocka_unit_test(addr_equality),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
