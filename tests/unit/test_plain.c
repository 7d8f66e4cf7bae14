/* tests/unit/test_plain.c - tun/plain.h: PROTOCOL.md section 6 "Plain", both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "base/bytes.h"
#include "tun/checksum.h"
#include "tun/device.h"
#include "tun/plain.h"
#include "unit/inner_packets.h"

static struct pkt_pool *pool;

static struct pkt *packet(uint8_t version, uint8_t protocol, struct ip_view *v)
{
	struct pkt *k = pkt_get(pool);
	k->len = (uint32_t)make_packet(k->data, version, protocol, 21);
	assert_int_equal(ip_parse(k->data, k->len, v), 0);
	if (ip_open_checksum_at(v))
		checksum_complete(k->data, v);
	return k;
}

static void plain_carries_a_whole_packet(void **state)
{
	(void)state;
	struct ip_view v, back;
	struct pkt *k = packet(4, IP_ICMP, &v);
	uint8_t copy[128];
	memcpy(copy, k->data, v.len);
	k->len += 9; /* what stands behind the packet is not carried */
	plain_from_packet(k, &v);
	assert_int_equal(k->len, 1 + v.len);
	assert_int_equal(k->data[0], PLAIN_PACKET);
	assert_int_equal(pkt_headroom(k), PKT_HEADROOM - 1);
	memset(k->data + k->len, 0, 100); /* padding */
	k->len += 100;
	assert_int_equal(plain_to_packet(k, &back), 0);
	assert_int_equal(k->len, v.len);
	assert_memory_equal(k->data, copy, v.len);
	assert_memory_equal(&v, &back, sizeof(v));
	assert_int_equal(k->flags, 0);
	pkt_put(pool, k);
}

static void plain_leaves_checksums_open(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct ip_view v, back;
		struct pkt *k = packet(kind & 1 ? 6 : 4, kind & 2 ? IP_TCP : IP_UDP, &v);
		uint8_t complete[128];
		memcpy(complete, k->data, v.len);
		checksum_leave_open(k->data, &v);
		k->flags |= TUN_PKT_CSUM_OPEN;
		plain_from_packet(k, &v);
		assert_int_equal(k->data[0], PLAIN_PACKET_OPEN);
		assert_int_equal(k->flags, 0);
		assert_int_equal(load_be16(k->data + 1 + ip_open_checksum_at(&v)), 0);
		assert_int_equal(plain_to_packet(k, &back), 0);
		assert_int_equal(k->flags, TUN_PKT_CSUM_OPEN);
		assert_int_equal(load_be16(k->data + ip_open_checksum_at(&v)), 0);
		checksum_complete(k->data, &back);
		assert_memory_equal(k->data, complete, v.len);
		pkt_put(pool, k);
	}
}

/* Every refusal leaves the packet as it was. */
static void plain_refuses(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		uint8_t type, version, protocol;
		uint16_t checksum;
		uint8_t flags_byte; /* IPv4: first byte of the fragment field */
	} rows[] = {
		{"dummy", PLAIN_DUMMY, 4, IP_UDP, 0, 0},
		{"control", PLAIN_CONTROL, 4, IP_UDP, 0, 0},
		{"type 4", 4, 4, IP_UDP, 0, 0},
		{"open ICMP", PLAIN_PACKET_OPEN, 4, IP_ICMP, 0, 0},
		{"open ICMPv6", PLAIN_PACKET_OPEN, 6, IP_ICMPV6, 0, 0},
		{"a checksum in type 3", PLAIN_PACKET_OPEN, 4, IP_UDP, 1, 0},
		{"a checksum in type 3, IPv6", PLAIN_PACKET_OPEN, 6, IP_TCP, 0x0100, 0},
		{"an open fragment", PLAIN_PACKET_OPEN, 4, IP_UDP, 0, 0x20},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct ip_view v;
		struct pkt *k = pkt_get(pool);
		k->data[0] = rows[i].type;
		k->len = 1 +
			 (uint32_t)make_packet(k->data + 1, rows[i].version, rows[i].protocol, 24);
		assert_int_equal(ip_parse(k->data + 1, k->len - 1, &v), 0);
		if (ip_open_checksum_at(&v))
			store_be16(k->data + 1 + ip_open_checksum_at(&v), rows[i].checksum);
		if (rows[i].version == 4)
			k->data[1 + 6] = rows[i].flags_byte;
		struct pkt before = *k;
		uint8_t bytes[PKT_HEADROOM + PKT_ROOM];
		assert_int_equal(k->room_bytes, sizeof(bytes));
		memcpy(bytes, k->room, sizeof(bytes));
		if (plain_to_packet(k, &v) == 0)
			fail_msg("%s was taken", rows[i].what);
		assert_ptr_equal(k->data, before.data);
		assert_int_equal(k->len, before.len);
		assert_memory_equal(k->room, bytes, sizeof(bytes));
		pkt_put(pool, k);
	}
}

static void plain_refuses_open_behind_extension_headers(void **state)
{
	(void)state;
	struct ip_view v;
	struct pkt *k = pkt_get(pool);
	k->data[0] = PLAIN_PACKET_OPEN;
	k->len = 1 + (uint32_t)make_chain(k->data + 1, (const uint8_t[]){60, 255});
	assert_int_not_equal(plain_to_packet(k, &v), 0);
	k->data[0] = PLAIN_PACKET;
	assert_int_equal(plain_to_packet(k, &v), 0);
	pkt_put(pool, k);
}

static void plain_refuses_what_is_cut_short(void **state)
{
	(void)state;
	struct ip_view v;
	struct pkt *k = packet(6, IP_TCP, &v);
	plain_from_packet(k, &v);
	uint32_t whole = k->len;
	for (uint32_t n = 0; n < whole; n++) {
		k->len = n;
		assert_int_not_equal(plain_to_packet(k, &v), 0);
	}
	pkt_put(pool, k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_carries_a_whole_packet),
		cmocka_unit_test(plain_leaves_checksums_open),
		cmocka_unit_test(plain_refuses),
		cmocka_unit_test(plain_refuses_open_behind_extension_headers),
		cmocka_unit_test(plain_refuses_what_is_cut_short),
	};
	pool = pkt_pool_new(4);
	int failed = pool ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
	pkt_pool_free(pool);
	return failed;
}
