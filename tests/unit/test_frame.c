/* tests/unit/test_frame.c - a frame that loses its first packet is the frame of the others; ECN
 * marks. */
#include "tun/frame.h"
#include <string.h>
#include "base/bytes.h"
#include "tun/checksum.h"
#include "tun/ecn.h"
#include "tun/split.h"
#include "unit/inner_packets.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define PAYLOAD 100
#define PACKETS 7

struct sample {
	uint8_t bytes[2048];
	struct tun_frame frame;
};

/* Put an extension header of 8 bytes (RFC 8200 4.6) before the TCP or UDP header. */
static size_t insert_options(uint8_t *p, size_t len)
{
	static const uint8_t pad[6] = {1, 4};
	memmove(p + 48, p + 40, len - 40);
	p[40] = p[6];
	p[41] = 0;
	memcpy(p + 42, pad, sizeof(pad));
	p[6] = 60;
	store_be16(p + 4, (uint16_t)(load_be16(p + 4) + 8));
	return len + 8;
}

static void make_frame(struct sample *s, uint8_t version, uint8_t protocol, bool options)
{
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = protocol == IP_UDP ? VIRTIO_NET_HDR_GSO_UDP_L4
			    : version == 4     ? VIRTIO_NET_HDR_GSO_TCPV4
					       : VIRTIO_NET_HDR_GSO_TCPV6,
		.gso_size = PAYLOAD,
	};
	struct ip_view v;
	size_t len = make_packet(s->bytes, version, protocol, PAYLOAD * (PACKETS - 1) + 30);
	if (options)
		len = insert_options(s->bytes, len);
	assert_int_equal(ip_parse(s->bytes, len, &v), 0);
	h.csum_start = v.l4_offset;
	h.csum_offset = protocol == IP_UDP ? 6 : 16;
	if (!options)
		checksum_leave_open(s->bytes, &v);
	assert_int_equal(frame_parse(&h, s->bytes, len, &s->frame), 0);
	assert_int_equal(s->frame.packets, PACKETS);
	assert_int_equal(s->frame.csum_open, !options);
}

static void frame_without_its_first_packet_has_the_others(void **state)
{
	static const struct {
		uint8_t version, protocol;
		bool options;
	} rows[] = {{4, IP_TCP, false}, {6, IP_TCP, false}, {4, IP_UDP, false},
		    {6, IP_UDP, false}, {6, IP_TCP, true},  {6, IP_UDP, true}};
	(void)state;
	for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct sample s;
		uint8_t plain[PACKETS][512];
		size_t n[PACKETS], sum = 0;
		make_frame(&s, rows[r].version, rows[r].protocol, rows[r].options);
		for (unsigned i = 0; i < PACKETS; i++) {
			n[i] = frame_plain(&s.frame, i, plain[i]);
			sum += n[i] - 1;
		}
		assert_int_equal(frame_bytes(&s.frame), sum);
		for (unsigned gone = 1; gone < PACKETS; gone++) {
			assert_true(frame_drop_first(&s.frame));
			assert_int_equal(s.frame.packets, PACKETS - gone);
			for (unsigned i = 0; i < s.frame.packets; i++) {
				uint8_t again[512];
				assert_int_equal(frame_packet_bytes(&s.frame, i), n[gone + i] - 1);
				assert_int_equal(frame_plain(&s.frame, i, again), n[gone + i]);
				assert_memory_equal(again, plain[gone + i], n[gone + i]);
			}
		}
		assert_false(frame_drop_first(&s.frame));
	}
}

static void ecn_marks_those_who_know_it(void **state)
{
	static const uint8_t versions[] = {4, 6};
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned tos = 0; tos < 256; tos++) {
			uint8_t p[256], before[256];
			struct ip_view v;
			size_t n = make_packet(p, versions[i], IP_UDP, 20);
			if (versions[i] == 4) {
				p[1] = (uint8_t)tos;
				store_be16(p + 10, 0);
				store_be16(p + 10,
					   (uint16_t)~checksum_fold(checksum_add(0, p, 20)));
			} else {
				p[0] = (uint8_t)(0x60 | tos >> 4);
				p[1] = (uint8_t)((tos & 15) << 4 | (p[1] & 15));
			}
			assert_int_equal(ip_parse(p, n, &v), 0);
			memcpy(before, p, n);
			assert_int_equal(ecn_mark(p, &v), (tos & 3) != 0);
			if (tos & 3) {
				before[1] |= versions[i] == 4 ? 3 : 3 << 4;
				if (versions[i] == 4) {
					store_be16(before + 10, 0);
					store_be16(before + 10,
						   (uint16_t)~checksum_fold(
							   checksum_add(0, before, 20)));
				}
			}
			assert_memory_equal(p, before, n);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame_without_its_first_packet_has_the_others),
		cmocka_unit_test(ecn_marks_those_who_know_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
