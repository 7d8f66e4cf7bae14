/* tests/unit/test_ip.c - tun/ip.h against tables and a slow second implementation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "tun/ip.h"
#include "unit/inner_packets.h"

static void ip_views_whole_packets(void **state)
{
	(void)state;
	static const struct {
		uint8_t version, protocol;
		size_t at;
	} rows[] = {{4, IP_TCP, 36}, {4, IP_UDP, 26},	{6, IP_TCP, 56}, {6, IP_UDP, 46},
		    {4, IP_ICMP, 0}, {6, IP_ICMPV6, 0}, {4, 47, 0},	 {6, 50, 0}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t p[128];
		size_t n = make_packet(p, rows[i].version, rows[i].protocol, 12);
		struct ip_view v;
		memset(p + n, 0xee, 5); /* padding behind it */
		assert_int_equal(ip_parse(p, n + 5, &v), 0);
		assert_int_equal(v.len, n);
		assert_int_equal(v.version, rows[i].version);
		assert_int_equal(v.protocol, rows[i].protocol);
		assert_int_equal(v.ttl, 64);
		assert_int_equal(v.src.family, rows[i].version);
		assert_int_equal(v.dst.ip[0], rows[i].version == 4 ? 203 : 0x20);
		assert_int_equal(v.l4_offset, rows[i].version == 4 ? 20 : 40);
		assert_int_equal(ip_open_checksum_at(&v), rows[i].at);
		assert_int_equal(v.has_ports, rows[i].at != 0);
		assert_int_equal(v.src_port, rows[i].at ? 4000 : 0);
		assert_int_equal(v.dst_port, rows[i].at ? 443 : 0);
		assert_false(v.is_fragment || v.has_ext_headers);
	}
}

/* No length shorter than the packet's own is taken, and the view is not touched. */
static void ip_refuses_every_truncation(void **state)
{
	(void)state;
	static const uint8_t protocols[] = {IP_TCP, IP_UDP, IP_ICMP, IP_ICMPV6, 47};
	for (size_t i = 0; i < sizeof(protocols); i++) {
		for (uint8_t version = 4; version <= 6; version += 2) {
			uint8_t p[128];
			size_t n = make_packet(p, version, protocols[i], 12);
			for (size_t cut = 0; cut < n; cut++) {
				struct ip_view v, before;
				memset(&before, 0xa5, sizeof(before));
				v = before;
				uint8_t *copy =
					malloc(cut + 1); /* so that ASan sees a read beyond */
				memcpy(copy + 1, p, cut);
				assert_int_not_equal(ip_parse(copy + 1, cut, &v), 0);
				assert_memory_equal(&v, &before, sizeof(v));
				free(copy);
			}
		}
	}
}

struct change {
	const char *what;
	uint8_t version, protocol;
	size_t at;
	uint8_t value;
};

static void ip_refuses_bad_fields(void **state)
{
	(void)state;
	static const struct change rows[] = {
		{"version 5", 4, IP_UDP, 0, 0x55},
		{"version 0", 4, IP_UDP, 0, 0x05},
		{"IPv4 header of 16 bytes", 4, IP_UDP, 0, 0x44},
		{"total length below the header", 4, IP_UDP, 3, 19},
		{"total length beyond the bytes", 4, IP_UDP, 3, 200},
		{"payload length beyond the bytes", 6, IP_UDP, 5, 200},
		{"jumbogram", 6, IP_UDP, 5, 0},
		{"UDP length below its header", 4, IP_UDP, 25, 7},
		{"UDP length beyond the packet", 4, IP_UDP, 25, 200},
		{"UDP length 0", 6, IP_UDP, 45, 0},
		{"TCP offset of 16 bytes", 4, IP_TCP, 32, 0x40},
		{"TCP offset beyond the packet", 6, IP_TCP, 52, 0xf0},
		{"more fragments of odd length", 4, IP_UDP, 6, 0x20},
		{"fragment over the TCP header", 4, IP_TCP, 7, 1},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t p[128];
		struct ip_view v;
		size_t n = make_packet(p, rows[i].version, rows[i].protocol, 10);
		assert_int_equal(ip_parse(p, n, &v), 0);
		p[rows[i].at] = rows[i].value;
		if (ip_parse(p, n, &v) == 0)
			fail_msg("%s was taken", rows[i].what);
	}
}

static void ip_refuses_source_routes(void **state)
{
	(void)state;
	static const struct {
		uint8_t options[8];
		bool ok;
	} rows[] = {
		{{1, 1, 1, 0, 9, 9, 9, 9}, true},    /* after the end anything may stand */
		{{7, 7, 4, 0, 0, 0, 0, 0}, true},    /* record route */
		{{131, 7, 4, 1, 2, 3, 4, 0}, false}, /* loose source route */
		{{1, 137, 7, 4, 1, 2, 3, 4}, false}, /* strict */
		{{7, 9, 4, 0, 0, 0, 0, 0}, false},   /* longer than the header */
		{{7, 1, 0, 0, 0, 0, 0, 0}, false},   /* shorter than itself */
		{{1, 1, 1, 1, 1, 1, 1, 7}, false},   /* no length */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t p[128];
		struct ip_view v;
		size_t n = make_packet(p, 4, IP_UDP, 10);
		memmove(p + 28, p + 20, n - 20);
		memcpy(p + 20, rows[i].options, 8);
		p[0] = 0x47;
		store_be16(p + 2, (uint16_t)(n + 8));
		assert_int_equal(ip_parse(p, n + 8, &v) == 0, rows[i].ok);
		if (rows[i].ok)
			assert_int_equal(ip_open_checksum_at(&v), 34);
	}
}

static void ip_marks_ipv4_fragments(void **state)
{
	(void)state;
	uint8_t p[128];
	struct ip_view v;
	size_t n = make_packet(p, 4, IP_UDP, 8);
	p[6] = 0x20;
	assert_int_equal(ip_parse(p, n, &v), 0);
	assert_true(v.is_fragment && v.has_ports && v.fragment_offset == 0);
	assert_int_equal(ip_open_checksum_at(&v), 0);
	store_be16(p + 6, 185);
	assert_int_equal(ip_parse(p, n, &v), 0);
	assert_true(v.is_fragment && !v.has_ports && v.dst_port == 0);
	assert_int_equal(v.fragment_offset, 1480);
	store_be16(p + 6, 0x1fff); /* ends at 65,544 */
	assert_int_not_equal(ip_parse(p, n, &v), 0);
}

/* A chain given as (next header, length in bytes) pairs behind the fixed header. */
static void ip_walks_ipv6_chains(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		uint8_t kinds[10]; /* 255 ends */
		bool ok;
	} rows[] = {
		{"hop by hop", {0, 255}, true},
		{"hop by hop second", {60, 0, 255}, false},
		{"destination, authentication", {60, 51, 255}, true},
		{"fragment", {44, 255}, true},
		{"two fragments", {44, 44, 255}, false},
		{"used-up routing", {43, 255}, true},
		{"eight", {60, 60, 60, 60, 60, 60, 60, 60, 255}, true},
		{"nine", {60, 60, 60, 60, 60, 60, 60, 60, 60, 255}, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t p[256];
		struct ip_view v;
		size_t n = make_chain(p, rows[i].kinds);
		if ((ip_parse(p, n, &v) == 0) != rows[i].ok)
			fail_msg("%s", rows[i].what);
		if (!rows[i].ok)
			continue;
		assert_true(v.has_ext_headers);
		assert_int_equal(v.protocol, IP_UDP);
		assert_int_equal(v.dst_port, 443);
		assert_int_equal(ip_open_checksum_at(&v), 0);
	}
	uint8_t p[256];
	struct ip_view v;
	size_t n = make_chain(p, (const uint8_t[]){43, 255});
	p[43] = 1; /* segments left */
	assert_int_not_equal(ip_parse(p, n, &v), 0);
	n = make_chain(p, (const uint8_t[]){44, 255});
	p[42] = 0x05; /* offset 1,280: what follows is data */
	p[43] = 0x00;
	assert_int_equal(ip_parse(p, n, &v), 0);
	assert_true(v.is_fragment && !v.has_ports && v.fragment_offset == 1280);
}

/* The same rules once more, by plain indexing and without a cursor. */
static int slow_parse(const uint8_t *p, size_t n, struct ip_view *v)
{
	memset(v, 0, sizeof(*v));
	size_t end, at;
	if (n >= 20 && p[0] >> 4 == 4) {
		at = (p[0] & 15u) * 4;
		end = p[2] * 256u + p[3];
		if (at < 20 || end < at || end > n)
			return -1;
		for (size_t i = 20; i < at && p[i] != 0; i += p[i] == 1 ? 1 : p[i + 1]) {
			if (p[i] == 131 || p[i] == 137 ||
			    (p[i] != 1 && (i + 1 >= at || p[i + 1] < 2 || i + p[i + 1] > at)))
				return -1;
		}
		v->fragment_offset = (uint16_t)((((p[6] & 0x1fu) << 8) | p[7]) * 8);
		bool more = p[6] & 0x20;
		v->is_fragment = more || v->fragment_offset;
		if (v->fragment_offset + end - at > 65535 || (more && (end - at) % 8))
			return -1;
		v->protocol = p[9];
		v->ttl = p[8];
	} else if (n >= 40 && p[0] >> 4 == 6) {
		end = 40 + p[4] * 256u + p[5];
		at = 40;
		if (end > n || end > 65535 || (end == 40 && p[6] != 59))
			return -1;
		v->protocol = p[6];
		v->ttl = p[7];
		for (int count = 0; v->fragment_offset == 0; count++) {
			uint8_t k = v->protocol;
			if (k != 0 && k != 43 && k != 44 && k != 51 && k != 60 && k != 135 &&
			    k != 139 && k != 140)
				break;
			if (count == 8 || (k == 0 && count) || end - at < 8 ||
			    (k == 44 && v->is_fragment))
				return -1;
			size_t len = k == 44   ? 8
				     : k == 51 ? (p[at + 1] + 2u) * 4
					       : (p[at + 1] + 1u) * 8;
			if (len > end - at || (k == 43 && p[at + 3]))
				return -1;
			if (k == 44) {
				v->is_fragment = true;
				v->fragment_offset =
					(uint16_t)((p[at + 2] << 8 | p[at + 3]) & 0xfff8);
				if (v->fragment_offset + end - at - 8 > 65535 ||
				    ((p[at + 3] & 1) && (end - at) % 8))
					return -1;
			}
			v->has_ext_headers = true;
			v->protocol = p[at];
			at += len;
		}
	} else {
		return -1;
	}
	v->version = p[0] >> 4;
	v->len = (uint16_t)end;
	v->l4_offset = (uint16_t)at;
	v->src = addr_from_ip(p + (v->version == 4 ? 12 : 8), v->version == 4 ? 4 : 16, 0);
	v->dst = addr_from_ip(p + (v->version == 4 ? 16 : 24), v->version == 4 ? 4 : 16, 0);
	size_t left = end - at;
	bool tcp = v->protocol == 6, udp = v->protocol == 17;
	if (v->fragment_offset)
		return tcp && v->fragment_offset < 20 ? -1 : 0;
	if (v->protocol == 1 || v->protocol == 58)
		return left < 8 ? -1 : 0;
	if (tcp && (left < 20 || p[at + 12] >> 4 < 5 ||
		    (!v->is_fragment && (p[at + 12] >> 4) * 4u > left)))
		return -1;
	if (udp && (left < 8 || p[at + 4] * 256 + p[at + 5] < 8 ||
		    (!v->is_fragment && p[at + 4] * 256u + p[at + 5] > left)))
		return -1;
	if (tcp || udp) {
		v->has_ports = true;
		v->src_port = (uint16_t)(p[at] * 256 + p[at + 1]);
		v->dst_port = (uint16_t)(p[at + 2] * 256 + p[at + 3]);
	}
	return 0;
}

static void ip_agrees_with_a_slow_parser(void **state)
{
	(void)state;
	static const uint8_t favourites[] = {0,	 1,  6,	   17,	 43,   44, 51, 58,
					     59, 60, 0x45, 0x46, 0x60, 8,  20, 131};
	unsigned taken = 0;
	srandom(7);
	for (int round = 0; round < 200000; round++) {
		uint8_t p[160];
		uint8_t kinds[4];
		for (int i = 0; i < 3; i++)
			kinds[i] = (const uint8_t[]){60, 44, 43, 51, 0, 255}[random() % 6];
		kinds[3] = 255;
		size_t n = round % 3 ? make_packet(p, random() % 2 ? 4 : 6,
						   favourites[random() % sizeof(favourites)], 8)
				     : make_chain(p, kinds);
		for (long hits = random() % 4; hits > 0; hits--)
			p[(size_t)random() % n] =
				random() % 2 ? (uint8_t)random()
					     : favourites[random() % sizeof(favourites)];
		if (random() % 4 == 0)
			n -= (size_t)random() % (n - 1);
		struct ip_view fast, slow;
		memset(&fast, 0, sizeof(fast));
		bool ok = ip_parse(p, n, &fast) == 0;
		assert_int_equal(ok, slow_parse(p, n, &slow) == 0);
		if (ok)
			assert_memory_equal(&fast, &slow, sizeof(fast));
		taken += ok;
	}
	assert_in_range(taken, 20000, 180000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ip_views_whole_packets),
		cmocka_unit_test(ip_refuses_every_truncation),
		cmocka_unit_test(ip_refuses_bad_fields),
		cmocka_unit_test(ip_refuses_source_routes),
		cmocka_unit_test(ip_marks_ipv4_fragments),
		cmocka_unit_test(ip_walks_ipv6_chains),
		cmocka_unit_test(ip_agrees_with_a_slow_parser),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
