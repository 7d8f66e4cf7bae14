/* tests/unit/test_split.c - tun/split.h: what is refused, bytes in and out, and against a slow
 * segmentation written from the RFCs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/plain_type.h"
#include "tun/split.h"
#include "unit/slow_packets.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A copy that is exactly as long, so that a sanitizer sees one byte too many. */
static uint8_t *exact(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	assert_non_null(copy);
	memcpy(copy, p, n);
	return copy;
}

static uint8_t gso_type_of(const uint8_t *p)
{
	int protocol;
	slow_l4(p, &protocol);
	if (protocol == UDP)
		return VIRTIO_NET_HDR_GSO_UDP_L4;
	return p[0] / 16 == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
}

/* The virtio header that the kernel puts before this packet, its checksum open. */
static struct virtio_net_hdr header_of(const uint8_t *p, uint8_t gso_type, size_t gso_size)
{
	int protocol;
	size_t l4 = slow_l4(p, &protocol);
	return (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				       .gso_type = gso_type,
				       .gso_size = (uint16_t)gso_size,
				       .csum_start = (uint16_t)l4,
				       .csum_offset = protocol == TCP ? 16 : 6};
}

/* --- bytes in, bytes out --- */

static void check_plains(struct virtio_net_hdr *h, const uint8_t *frame, size_t n,
			 const uint8_t *const want[], const size_t want_bytes[], unsigned packets)
{
	uint8_t *data = exact(frame, n);
	struct tun_frame f;
	assert_int_equal(frame_parse(h, data, n, &f), 0);
	assert_ptr_equal(f.data, data);
	assert_int_equal(f.len, n);
	assert_int_equal(f.view.len, n);
	assert_int_equal(f.packets, packets);
	assert_int_equal(f.payload, h->gso_size);
	assert_true(f.csum_open);
	for (unsigned i = 0; i < packets; i++) {
		uint8_t *plain = malloc(want_bytes[i]);
		assert_int_equal(1 + frame_packet_bytes(&f, i), want_bytes[i]);
		assert_int_equal(frame_plain(&f, i, plain), want_bytes[i]);
		assert_memory_equal(plain, want[i], want_bytes[i]);
		free(plain);
	}
	assert_memory_equal(data, frame, n);
	free(data);
}

/* IPv4 with ECT(0), ID 65535, DF; TCP with an option, sequence number 2 below the wrap, CWR, ECE,
 * ACK, PSH, FIN and "abcdefg" in pieces of 3. */
static void split_gives_these_tcp_packets(void **state)
{
	(void)state;
	static const uint8_t frame[] = {
		0x45, 0x02, 0x00, 0x33, 0xff, 0xff, 0x40, 0x00, 0x40, 0x06, 0x6e, 0xb9, 0x0a,
		0x00, 0x00, 0x01, 0xc0, 0x00, 0x02, 0x09, 0x0f, 0xa0, 0x01, 0xbb, 0xff, 0xff,
		0xff, 0xfe, 0x11, 0x22, 0x33, 0x44, 0x60, 0xd9, 0x02, 0x00, 0xcc, 0x2f, 0x00,
		0x00, 0x01, 0x01, 0x01, 0x00, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67};
	static const uint8_t first[] = {0x03, 0x45, 0x02, 0x00, 0x2f, 0xff, 0xff, 0x40, 0x00, 0x40,
					0x06, 0x6e, 0xbd, 0x0a, 0x00, 0x00, 0x01, 0xc0, 0x00, 0x02,
					0x09, 0x0f, 0xa0, 0x01, 0xbb, 0xff, 0xff, 0xff, 0xfe, 0x11,
					0x22, 0x33, 0x44, 0x60, 0xd0, 0x02, 0x00, 0x00, 0x00, 0x00,
					0x00, 0x01, 0x01, 0x01, 0x00, 0x61, 0x62, 0x63};
	static const uint8_t second[] = {0x03, 0x45, 0x02, 0x00, 0x2f, 0x00, 0x00, 0x40, 0x00, 0x40,
					 0x06, 0x6e, 0xbd, 0x0a, 0x00, 0x00, 0x01, 0xc0, 0x00, 0x02,
					 0x09, 0x0f, 0xa0, 0x01, 0xbb, 0x00, 0x00, 0x00, 0x01, 0x11,
					 0x22, 0x33, 0x44, 0x60, 0x50, 0x02, 0x00, 0x00, 0x00, 0x00,
					 0x00, 0x01, 0x01, 0x01, 0x00, 0x64, 0x65, 0x66};
	static const uint8_t third[] = {0x03, 0x45, 0x02, 0x00, 0x2d, 0x00, 0x01, 0x40, 0x00, 0x40,
					0x06, 0x6e, 0xbe, 0x0a, 0x00, 0x00, 0x01, 0xc0, 0x00, 0x02,
					0x09, 0x0f, 0xa0, 0x01, 0xbb, 0x00, 0x00, 0x00, 0x04, 0x11,
					0x22, 0x33, 0x44, 0x60, 0x59, 0x02, 0x00, 0x00, 0x00, 0x00,
					0x00, 0x01, 0x01, 0x01, 0x00, 0x67};
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
		.hdr_len = 51, /* the kernel may say so: its linear part */
		.gso_size = 3,
		.csum_start = 20,
		.csum_offset = 16,
	};
	check_plains(&h, frame, sizeof(frame), (const uint8_t *const[]){first, second, third},
		     (const size_t[]){sizeof(first), sizeof(second), sizeof(third)}, 3);
}

/* IPv6 with traffic class 2, flow label 0x12345, hop limit 63; UDP with "wxyz!" in pieces of 4. */
static void split_gives_these_udp_packets(void **state)
{
	(void)state;
	static const uint8_t frame[] = {
		0x60, 0x21, 0x23, 0x45, 0x00, 0x0d, 0x11, 0x3f, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x13, 0x88,
		0x00, 0x35, 0x00, 0x0d, 0x2a, 0xe2, 0x77, 0x78, 0x79, 0x7a, 0x21};
	static const uint8_t first[] = {
		0x03, 0x60, 0x21, 0x23, 0x45, 0x00, 0x0c, 0x11, 0x3f, 0xfd, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d,
		0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x13,
		0x88, 0x00, 0x35, 0x00, 0x0c, 0x00, 0x00, 0x77, 0x78, 0x79, 0x7a};
	static const uint8_t second[] = {
		0x03, 0x60, 0x21, 0x23, 0x45, 0x00, 0x09, 0x11, 0x3f, 0xfd, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20,
		0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x09, 0x13, 0x88, 0x00, 0x35, 0x00, 0x09, 0x00, 0x00, 0x21};
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		.gso_size = 4,
		.csum_start = 40,
		.csum_offset = 6,
	};
	check_plains(&h, frame, sizeof(frame), (const uint8_t *const[]){first, second},
		     (const size_t[]){sizeof(first), sizeof(second)}, 2);
}

/* --- single packets --- */

/* One packet in, the same out, or with its checksum at 0 and type 3. */
static void check_single(const struct virtio_net_hdr *h, const uint8_t *p, size_t read,
			 const uint8_t *want, size_t n, bool open)
{
	uint8_t *data = exact(p, read), *plain = malloc(1 + n);
	struct tun_frame f;
	struct ip_view v;
	assert_int_equal(frame_parse(h, data, read, &f), 0);
	assert_int_equal(ip_parse(data, read, &v), 0);
	assert_memory_equal(&f.view, &v, sizeof(v));
	assert_int_equal(f.packets, 1);
	assert_int_equal(f.payload, 0);
	assert_int_equal(f.header, 0);
	assert_int_equal(f.len, n);
	assert_int_equal(f.csum_open, open);
	assert_int_equal(frame_packet_bytes(&f, 0), n);
	assert_int_equal(frame_plain(&f, 0, plain), 1 + n);
	assert_int_equal(plain[0], open ? PLAIN_PACKET_OPEN : PLAIN_PACKET);
	assert_memory_equal(plain + 1, want, n);
	free(plain);
	free(data);
}

static void split_leaves_a_complete_packet_as_it_is(void **state)
{
	(void)state;
	for (int kind = 0; kind < 6; kind++) {
		struct slow s = slow_usual(kind % 2 ? 6 : 4, kind < 2 ? TCP : kind < 4 ? UDP : 99);
		uint8_t p[SLOW_HEADER_MAX + 100 + 9] = {0};
		struct virtio_net_hdr h = {0};
		s.ip_options = s.version == 4 ? 8 : 0;
		size_t n = slow_build(&s, p);
		check_single(&h, p, n, p, n, false);
		check_single(&h, p, n + 9, p, n, false); /* what follows is no part of it */
		h.flags = VIRTIO_NET_HDR_F_DATA_VALID;
		check_single(&h, p, n, p, n, false);
	}
}

static void split_keeps_an_open_checksum_open(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct slow s = slow_usual(kind % 2 ? 6 : 4, kind < 2 ? TCP : UDP);
		uint8_t p[SLOW_HEADER_MAX + 100], want[sizeof(p)];
		s.ip_options = s.version == 4 ? 4 : 0;
		size_t n = slow_open(&s, p);
		memcpy(want, p, n);
		put16(want + slow_checksum_at(p), 0);
		struct virtio_net_hdr h = header_of(p, VIRTIO_NET_HDR_GSO_NONE, 0);
		check_single(&h, p, n, want, n, true);
		/* as a frame that is too short to be one */
		h = header_of(p, gso_type_of(p), s.payload);
		check_single(&h, p, n, want, n, true);
		h.flags = 0;
		slow_sum_upper(p, n);
		check_single(&h, p, n, p, n, false);
	}
}

static void split_completes_what_type_3_cannot_carry(void **state)
{
	(void)state;
	uint8_t p[SLOW_HEADER_MAX + 100 + 4] = {0}, want[sizeof(p)];
	struct slow s = slow_usual(6, TCP);
	s.ext_headers = 2;
	size_t n = slow_build(&s, want);
	slow_open(&s, p);
	struct virtio_net_hdr h = header_of(p, VIRTIO_NET_HDR_GSO_NONE, 0);
	check_single(&h, p, n, want, n, false);
	h = header_of(p, VIRTIO_NET_HDR_GSO_TCPV6, s.payload);
	check_single(&h, p, n, want, n, false);

	/* something follows, and the kernel's sum goes to the end */
	s = slow_usual(4, TCP);
	n = slow_build(&s, want);
	slow_open(&s, p);
	memset(p + n, 0, 4);
	h = header_of(p, VIRTIO_NET_HDR_GSO_NONE, 0);
	check_single(&h, p, n + 4, want, n, false);

	/* the sum starts elsewhere */
	memcpy(want, p, n);
	h.csum_start = 24;
	h.csum_offset = 12;
	put16(want + 36, (uint16_t)~slow_add(0, p + 24, n - 24));
	check_single(&h, p, n, want, n, false);

	/* a sum within what UDP carries, as a tunnel in the kernel leaves it; 12 bytes in */
	s = slow_usual(4, UDP);
	n = slow_build(&s, p);
	memcpy(want, p, n);
	put16(want + 28 + 12 + 6, (uint16_t)~slow_add(0, p + 28 + 12, n - 40));
	h = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 40, .csum_offset = 6};
	check_single(&h, p, n, want, n, false);

	/* nonsense: over a port, and over the first byte */
	memcpy(want, p, n);
	put16(want + 22, (uint16_t)~slow_add(0, p + 20, n - 20));
	h.csum_start = 20;
	h.csum_offset = 2;
	check_single(&h, p, n, want, n, false);
	h.csum_start = h.csum_offset = 0;
	struct tun_frame f;
	assert_int_equal(frame_parse(&h, p, n, &f), -EBADMSG);
}

/* --- refused --- */

enum { BAD_FRAGMENT = 1, BAD_UDP_LENGTH, BAD_TRAILER, BAD_CUT };

static void split_refuses(void **state)
{
	(void)state;
	enum { V4 = VIRTIO_NET_HDR_GSO_TCPV4, V6 = VIRTIO_NET_HDR_GSO_TCPV6 };
	enum { L4 = VIRTIO_NET_HDR_GSO_UDP_L4, ECN = VIRTIO_NET_HDR_GSO_ECN };
	static const struct {
		const char *what;
		int version, protocol;
		uint8_t gso_type;
		uint16_t gso_size;
		int start, offset; /* added to the right ones */
		int bad;
	} rows[] = {
		{"TCPV4 on IPv6", 6, TCP, V4, 10, 0, 0, 0},
		{"TCPV6 on IPv4", 4, TCP, V6, 10, 0, 0, 0},
		{"TCPV4 on UDP", 4, UDP, V4, 10, 0, 0, 0},
		{"TCPV6 on UDP", 6, UDP, V6, 10, 0, 0, 0},
		{"UDP_L4 on TCP", 4, TCP, L4, 10, 0, 0, 0},
		{"UDP_L4 with ECN", 4, UDP, L4 | ECN, 10, 0, 0, 0},
		{"ECN alone", 4, TCP, ECN, 10, 0, 0, 0},
		{"UFO", 4, UDP, VIRTIO_NET_HDR_GSO_UDP, 10, 0, 0, 0},
		{"type 2", 4, TCP, 2, 10, 0, 0, 0},
		{"type 127", 4, TCP, 127, 10, 0, 0, 0},
		{"TCPV4 on another protocol", 4, 99, V4, 10, -20, 0, 0},
		{"gso_size 0", 4, TCP, V4, 0, 0, 0, 0},
		{"a fragment", 4, TCP, V4, 10, 0, 0, BAD_FRAGMENT},
		{"UDP of another length", 4, UDP, L4, 10, 0, 0, BAD_UDP_LENGTH},
		{"bytes behind", 4, TCP, V4, 10, 0, 0, BAD_TRAILER},
		{"bytes behind, IPv6", 6, UDP, L4, 10, 0, 0, BAD_TRAILER},
		{"cut short", 6, TCP, V6, 10, 0, 0, BAD_CUT},
		{"csum_start too low", 4, TCP, V4, 10, -1, 0, 0},
		{"csum_start too high", 6, TCP, V6, 10, 8, 0, 0},
		{"TCP with UDP's csum_offset", 4, TCP, V4, 10, 0, -10, 0},
		{"UDP with TCP's csum_offset", 6, UDP, L4, 10, 0, 10, 0},
		{"an open checksum behind the end", 4, TCP, 0, 0, 0, 116, 0},
		{"half behind the end", 4, TCP, 0, 0, 0, 115, 0},
		{"csum_start at the end", 4, TCP, 0, 0, 132, -16, 0},
		{"csum_start far away", 4, UDP, 0, 0, 60000, 0, 0},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct slow s = slow_usual(rows[i].version, rows[i].protocol);
		uint8_t p[SLOW_HEADER_MAX + 104 + 1];
		s.payload = rows[i].bad == BAD_FRAGMENT ? 104 : 100; /* of 8 */
		size_t n = slow_build(&s, p);
		if (rows[i].bad == BAD_FRAGMENT)
			p[6] = 0x20;
		if (rows[i].bad == BAD_UDP_LENGTH)
			put16(p + 24, 107);
		n += (rows[i].bad == BAD_TRAILER) - (rows[i].bad == BAD_CUT);
		struct virtio_net_hdr h = header_of(p, rows[i].gso_type, rows[i].gso_size);
		h.csum_start = (uint16_t)(h.csum_start + rows[i].start);
		h.csum_offset = (uint16_t)(h.csum_offset + rows[i].offset);
		struct tun_frame f = {.len = 77}, before = f;
		uint8_t *data = exact(p, n);
		if (frame_parse(&h, data, n, &f) != -EBADMSG)
			fail_msg("%s was taken", rows[i].what);
		assert_memory_equal(&f, &before, sizeof(f));
		assert_memory_equal(data, p, n);
		free(data);
	}
}

/* The header alone makes the difference: just inside of what split_refuses() has just outside. */
static void split_takes_the_last_place_for_a_checksum(void **state)
{
	(void)state;
	struct slow s = slow_usual(4, TCP);
	uint8_t p[SLOW_HEADER_MAX + 100], want[sizeof(p)];
	size_t n = slow_build(&s, p);
	struct virtio_net_hdr h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				   .csum_start = (uint16_t)(n - 2)};
	memcpy(want, p, n);
	put16(want + n - 2, ~get16(p + n - 2) & 0xffff);
	check_single(&h, p, n, want, n, false);
}

static void split_refuses_sizes(void **state)
{
	(void)state;
	static uint8_t p[SLOW_HEADER_MAX + SLOW_PACKET_MAX];
	struct slow s = slow_usual(4, TCP);
	struct virtio_net_hdr h = {0};
	struct tun_frame f;
	assert_int_equal(frame_parse(&h, p, 0, &f), -EBADMSG);
	s.payload = SLOW_PACKET_MAX - 20 - 32;
	assert_int_equal(slow_open(&s, p), SLOW_PACKET_MAX);
	h = header_of(p, VIRTIO_NET_HDR_GSO_TCPV4, 1000);
	assert_int_equal(frame_parse(&h, p, SLOW_PACKET_MAX + 1, &f), -EMSGSIZE);
	h.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	assert_int_equal(frame_parse(&h, p, SLOW_PACKET_MAX + 1, &f), -EMSGSIZE);
	s.payload = 30;
	size_t n = slow_open(&s, p);
	h = header_of(p, VIRTIO_NET_HDR_GSO_TCPV4, 7);
	for (size_t cut = 0; cut < n; cut++) {
		uint8_t *data = exact(p, cut);
		assert_int_equal(frame_parse(&h, data, cut, &f), -EBADMSG);
		free(data);
	}
}

/* --- against a slow segmentation --- */

/* Packet i of the frame as if its sender had sent it alone; its length. */
static size_t slow_packet(const uint8_t *frame, size_t n, size_t size, size_t i, uint8_t *to)
{
	size_t header = slow_header(frame), from = header + i * size;
	size_t bytes = n - from < size ? n - from : size;
	bool last = from + bytes == n;
	int protocol;
	uint8_t *l4 = to + slow_l4(frame, &protocol);
	memcpy(to, frame, header);
	memcpy(to + header, frame + from, bytes);
	if (frame[0] / 16 == 4) {
		put16(to + 2, (unsigned)(header + bytes));
		put16(to + 4, (get16(frame + 4) + (unsigned)i) & 0xffff);
	} else {
		put16(to + 4, (unsigned)(header + bytes - 40));
	}
	if (protocol == UDP) {
		put16(l4 + 4, (unsigned)(8 + bytes));
	} else {
		put32(l4 + 4, (uint32_t)((get32(l4 + 4) + (uint64_t)i * size) % 4294967296u));
		for (int bit = 1; bit < 256; bit *= 2) {
			bool keep = bit == CWR ? i == 0 : bit == FIN || bit == PSH ? last : true;
			if (!keep && l4[13] & bit)
				l4[13] = (uint8_t)(l4[13] - bit);
		}
	}
	slow_sum_ip(to);
	slow_sum_upper(to, header + bytes);
	return header + bytes;
}

static void check_frame(const struct virtio_net_hdr *h, const uint8_t *p, size_t n, bool open)
{
	static uint8_t want[SLOW_PACKET_MAX];
	size_t payload = n - slow_header(p);
	uint8_t *data = exact(p, n);
	struct tun_frame f;
	assert_int_equal(frame_parse(h, data, n, &f), 0);
	assert_int_equal(f.csum_open, open);
	assert_int_equal(f.packets, (payload + h->gso_size - 1) / h->gso_size);
	for (unsigned i = 0; i < f.packets; i++) {
		size_t bytes = slow_packet(p, n, h->gso_size, i, want);
		uint8_t *plain = malloc(1 + bytes);
		assert_int_equal(frame_packet_bytes(&f, i), bytes);
		assert_int_equal(frame_plain(&f, i, plain), 1 + bytes);
		assert_int_equal(plain[0], open ? PLAIN_PACKET_OPEN : PLAIN_PACKET);
		if (open) {
			assert_int_equal(get16(plain + 1 + slow_checksum_at(want)), 0);
			slow_sum_upper(plain + 1, bytes);
		}
		assert_memory_equal(plain + 1, want, bytes);
		free(plain);
	}
	assert_memory_equal(data, p, n);
	free(data);
}

static void check_random(struct seeded *r, size_t most, size_t packets)
{
	static uint8_t p[SLOW_HEADER_MAX + SLOW_PACKET_MAX];
	struct slow s = slow_random(r, most);
	size_t n = slow_open(&s, p), least = (s.payload + packets - 1) / packets;
	size_t size = least + upto(r, (uint32_t)(s.payload - least));
	struct virtio_net_hdr h = header_of(p, gso_type_of(p), size);
	h.hdr_len = (uint16_t)upto(r, 65536); /* a hint, says the kernel */
	if (s.protocol == TCP && s.flags & CWR)
		h.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	if (once_in(r, 8))
		h.flags = 0;
	check_frame(&h, p, n, s.ext_headers == 0);
}

static void split_agrees_with_a_slow_one(void **state)
{
	(void)state;
	struct seeded r = {.state = 41};
	for (int i = 0; i < 30000; i++)
		check_random(&r, 60, 60);
	for (int i = 0; i < 2000; i++)
		check_random(&r, 3000, 40);
	for (int i = 0; i < 60; i++)
		check_random(&r, SLOW_PACKET_MAX, 50);
}

/* Completed here, UDP's sum of 0 must not look like none. */
static void split_writes_a_zero_of_udp_as_ones(void **state)
{
	(void)state;
	uint8_t p[SLOW_HEADER_MAX + 100], one[sizeof(p)];
	struct slow s = slow_usual(6, UDP);
	s.ext_headers = 1;
	size_t n = slow_open(&s, p), header = slow_header(p);
	slow_packet(p, n, 60, 0, one);
	uint16_t sum = slow_add(0, one + slow_checksum_at(one), 2);
	put16(p + header, slow_add(sum, p + header, 2));
	slow_packet(p, n, 60, 0, one);
	assert_int_equal(get16(one + slow_checksum_at(one)), 0xffff);
	struct virtio_net_hdr h = header_of(p, VIRTIO_NET_HDR_GSO_UDP_L4, 60);
	check_frame(&h, p, n, false);
}

static void split_takes_the_largest_frames(void **state)
{
	(void)state;
	static uint8_t p[SLOW_HEADER_MAX + SLOW_PACKET_MAX];
	static const size_t sizes[] = {1319, 1, 65483, 32742, 32741, 536};
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct slow s = slow_usual(4, TCP);
		s.payload = SLOW_PACKET_MAX - 20 - 32;
		size_t n = slow_open(&s, p);
		assert_int_equal(n, SLOW_PACKET_MAX);
		struct virtio_net_hdr h = header_of(p, VIRTIO_NET_HDR_GSO_TCPV4, sizes[i]);
		if (sizes[i] < s.payload) {
			check_frame(&h, p, n, true);
			continue;
		}
		uint8_t *want = exact(p, n);
		put16(want + slow_checksum_at(p), 0);
		check_single(&h, p, n, want, n, true);
		free(want);
	}
	struct slow s = slow_usual(6, UDP);
	s.payload = SLOW_PACKET_MAX - 40 - 8;
	size_t n = slow_open(&s, p);
	struct virtio_net_hdr h = header_of(p, VIRTIO_NET_HDR_GSO_UDP_L4, 1024);
	check_frame(&h, p, n, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_gives_these_tcp_packets),
		cmocka_unit_test(split_gives_these_udp_packets),
		cmocka_unit_test(split_leaves_a_complete_packet_as_it_is),
		cmocka_unit_test(split_keeps_an_open_checksum_open),
		cmocka_unit_test(split_completes_what_type_3_cannot_carry),
		cmocka_unit_test(split_refuses),
		cmocka_unit_test(split_takes_the_last_place_for_a_checksum),
		cmocka_unit_test(split_refuses_sizes),
		cmocka_unit_test(split_agrees_with_a_slow_one),
		cmocka_unit_test(split_writes_a_zero_of_udp_as_ones),
		cmocka_unit_test(split_takes_the_largest_frames),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
