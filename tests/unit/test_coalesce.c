/* tests/unit/test_coalesce.c - tun/coalesce.h: bytes in and out, and which packets join. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/offload.h"
#include "tun/coalesce.h"
#include "unit/slow_packets.h"

#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define ITEMS_MAX 512
#define BYTES_MAX (SLOW_HEADER_MAX + SLOW_PACKET_MAX)

/* What came out, in its order. */
static struct {
	struct virtio_net_hdr h;
	uint8_t *bytes; /* all slices one behind the other */
	size_t n;
	unsigned packets;
} got[ITEMS_MAX];
static size_t items;
static int emitted_by; /* what the callback was given */

static void take(void *arg, const struct virtio_net_hdr *h, struct iovec *iov, unsigned n)
{
	assert_ptr_equal(arg, &emitted_by);
	assert_true(items < ITEMS_MAX && n >= 2 && n - 1 <= COALESCE_PACKETS_MAX);
	size_t bytes = 0;
	for (unsigned i = 1; i < n; i++)
		bytes += iov[i].iov_len;
	uint8_t *to = malloc(bytes);
	got[items].h = *h;
	got[items].bytes = to;
	got[items].n = bytes;
	got[items++].packets = n - 1;
	for (unsigned i = 1; i < n; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	iov[0].iov_base = NULL; /* it is ours */
}

static void forget(void)
{
	while (items > 0)
		free(got[--items].bytes);
}

static struct coalesce *begin(unsigned offloads)
{
	struct coalesce *c = coalesce_new(offloads, take, &emitted_by);
	assert_non_null(c);
	forget();
	return c;
}

/* A packet that is to be put; its bytes must stay, so they are freed by end(). */
static uint8_t *kept[1024];
static size_t nkept;

static uint8_t *keep(const uint8_t *p, size_t n)
{
	assert_true(nkept < COUNT(kept));
	kept[nkept] = malloc(n);
	memcpy(kept[nkept], p, n);
	return kept[nkept++];
}

static void put_bytes(struct coalesce *c, const uint8_t *p, size_t n, bool open)
{
	struct ip_view v;
	uint8_t *copy = keep(p, n);
	assert_int_equal(ip_parse(copy, n, &v), 0);
	coalesce_put(c, copy, &v, open);
}

static void put(struct coalesce *c, const struct slow *s, bool open)
{
	static uint8_t p[BYTES_MAX];
	size_t n = slow_build(s, p);
	if (open) /* what stands there does not matter */
		put16(p + slow_checksum_at(p), 0xbeef);
	put_bytes(c, p, n, open);
}

static void end(struct coalesce *c)
{
	coalesce_flush(c);
	coalesce_free(c);
	while (nkept > 0)
		free(kept[--nkept]);
}

/* The next packet of the flow. */
static void advance(struct slow *s)
{
	s->seq += (uint32_t)s->payload;
	s->id++;
	s->payload_byte = (uint8_t)(s->payload_byte + 7 * s->payload);
}

/* --- bytes out --- */

/* Three packets by slow_build() give the one that slow_build() makes of all their payload. */
static void coalesce_makes_one_packet(void **state)
{
	(void)state;
	for (int kind = 0; kind < 8; kind++) {
		static uint8_t want[BYTES_MAX];
		struct slow s = slow_usual(kind & 1 ? 6 : 4, kind & 2 ? UDP : TCP), all = s;
		struct coalesce *c = begin(OFFLOAD_ALL);
		bool open = kind & 4;
		s.flags = all.flags = ACK | CWR | ECE;
		put(c, &s, open);
		advance(&s);
		s.flags = ACK | ECE;
		put(c, &s, open);
		advance(&s);
		s.payload = 50;
		s.flags = ACK | ECE | PSH | FIN;
		assert_int_equal(items, 0);
		put(c, &s, open);
		assert_int_equal(items, 1); /* it is shorter: nothing can follow */
		all.payload = 250;
		all.flags = ACK | CWR | ECE | PSH | FIN;
		size_t n = slow_build(&all, want), at = slow_checksum_at(want);
		put16(want + at, slow_pseudo(want, n));
		end(c);
		assert_int_equal(items, 1);
		assert_int_equal(got[0].packets, 3);
		assert_int_equal(got[0].n, n);
		assert_memory_equal(got[0].bytes, want, n);
		struct virtio_net_hdr h = {
			.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
			.hdr_len = (uint16_t)(n - 250),
			.gso_size = 100,
			.csum_start = kind & 1 ? 40 : 20,
			.csum_offset = (uint16_t)(at - (kind & 1 ? 40 : 20)),
		};
		if (!(kind & 2))
			h.gso_type = VIRTIO_NET_HDR_GSO_ECN | (kind & 1 ? VIRTIO_NET_HDR_GSO_TCPV6
									: VIRTIO_NET_HDR_GSO_TCPV4);
		assert_memory_equal(&got[0].h, &h, sizeof(h));
	}
}

/* A packet alone, whether it waited for others or could not. */
static void coalesce_writes_a_single_packet_as_it_came(void **state)
{
	(void)state;
	for (int kind = 0; kind < 32; kind++) {
		static uint8_t want[BYTES_MAX];
		struct slow s = slow_usual(kind & 1 ? 6 : 4, kind & 2 ? UDP : TCP);
		bool open = kind & 4;
		if (kind & 8)
			s.payload = 0;
		struct coalesce *c = begin(kind & 16 ? OFFLOAD_ALL : OFFLOAD_CSUM);
		put(c, &s, open);
		end(c);
		size_t n = slow_build(&s, want), at = slow_checksum_at(want);
		struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
		if (open) {
			put16(want + at, slow_pseudo(want, n));
			h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
			h.csum_start = kind & 1 ? 40 : 20;
			h.csum_offset = (uint16_t)(at - h.csum_start);
		}
		assert_int_equal(items, 1);
		assert_int_equal(got[0].packets, 1);
		assert_int_equal(got[0].n, n);
		assert_memory_equal(got[0].bytes, want, n);
		assert_memory_equal(&got[0].h, &h, sizeof(h));
	}
}

/* --- which packets join --- */

enum change {
	NOTHING,
	TOS,
	TTL,
	LABEL,
	NO_DF,
	RESERVED_FLAG,
	ID_OF_FIRST,
	ID_OF_FIRST_NO_DF,
	ID_OF_SECOND,
	ID_JUMPS,
	ID_JUMPS_NO_DF,
	OPTIONS_OF_IP,
	EXT_HEADER,
	SEQ_GAP,
	SEQ_AGAIN,
	OTHER_ACK,
	OTHER_WINDOW,
	URGENT_POINTER,
	OPTION_BYTES,
	MORE_OPTIONS,
	SHORTER,
	LONGER,
	LONGER_BY_FAR,
	EMPTY,
	ONE_BYTE,
	BAD_SUM,
	BAD_IP_SUM,
	NO_SUM,
	UDP_TRAILER,
	FLAGS, /* and the bits */
};

/* Three packets that would make one item, of which one (or with 0 each) is changed; sizes of the
 * items that come out, in packets. */
static const struct row {
	const char *what;
	int which; /* packet, from 1 */
	int change;
	const char *tcp4, *tcp6, *udp4, *udp6; /* NULL: makes no sense there */
} rows[] = {
	{"nothing", 2, NOTHING, "3", "3", "3", "3"},
	{"other TOS", 2, TOS, "111", "111", "111", "111"},
	{"other TTL", 2, TTL, "111", "111", "111", "111"},
	{"other TTL, last", 3, TTL, "21", "21", "21", "21"},
	{"other flow label", 2, LABEL, NULL, "111", NULL, "111"},
	{"without DF", 2, NO_DF, "111", NULL, "111", NULL},
	{"all without DF", 0, NO_DF, "3", NULL, "3", NULL},
	{"reserved flag", 2, RESERVED_FLAG, "111", NULL, "111", NULL},
	{"reserved flag first", 1, RESERVED_FLAG, "12", NULL, "12", NULL},
	{"the second ID as the first", 2, ID_OF_FIRST, "21", NULL, "21", NULL},
	{"the third ID as the second", 3, ID_OF_SECOND, "21", NULL, "21", NULL},
	{"the third ID as the first", 3, ID_OF_FIRST, "21", NULL, "21", NULL},
	{"all IDs the same with DF", 0, ID_OF_FIRST, "3", NULL, "3", NULL},
	{"all IDs the same without", 0, ID_OF_FIRST_NO_DF, "111", NULL, "111", NULL},
	{"ID jumps", 2, ID_JUMPS, "111", NULL, "111", NULL},
	{"ID jumps, last", 3, ID_JUMPS, "21", NULL, "21", NULL},
	{"ID jumps without DF", 0, ID_JUMPS_NO_DF, "111", NULL, "111", NULL},
	{"IP options", 2, OPTIONS_OF_IP, "111", NULL, "111", NULL},
	{"IP options in all", 0, OPTIONS_OF_IP, "111", NULL, "111", NULL},
	{"extension header", 2, EXT_HEADER, NULL, "111", NULL, "111"},
	{"extension header in all", 0, EXT_HEADER, NULL, "111", NULL, "111"},
	{"gap", 2, SEQ_GAP, "111", "111", NULL, NULL},
	{"gap, last", 3, SEQ_GAP, "21", "21", NULL, NULL},
	{"the same again", 3, SEQ_AGAIN, "21", "21", NULL, NULL},
	{"other ack", 2, OTHER_ACK, "111", "111", NULL, NULL},
	{"other window", 2, OTHER_WINDOW, "111", "111", NULL, NULL},
	{"urgent pointer", 2, URGENT_POINTER, "111", "111", NULL, NULL},
	{"bytes of options", 2, OPTION_BYTES, "111", "111", NULL, NULL},
	{"bytes of options in all", 0, OPTION_BYTES, "3", "3", NULL, NULL},
	{"more options", 2, MORE_OPTIONS, "111", "111", NULL, NULL},
	{"shorter", 2, SHORTER, "21", "21", "21", "21"},
	{"shorter, last", 3, SHORTER, "3", "3", "3", "3"},
	{"shorter, first", 1, SHORTER, "12", "12", "12", "12"},
	{"longer", 2, LONGER, "12", "12", "12", "12"},
	{"longer by far", 3, LONGER_BY_FAR, "21", "21", "21", "21"},
	{"empty", 2, EMPTY, "111", "111", "111", "111"},
	{"empty, first", 1, EMPTY, "12", "12", "12", "12"},
	{"empty, last", 3, EMPTY, "21", "21", "21", "21"},
	{"one byte in all", 0, ONE_BYTE, "3", "3", "3", "3"},
	{"bad sum", 2, BAD_SUM, "111", "111", "111", "111"},
	{"bad sum, first", 1, BAD_SUM, "12", "12", "12", "12"},
	{"bad sum, last", 3, BAD_SUM, "21", "21", "21", "21"},
	{"bad IP sum", 2, BAD_IP_SUM, "111", NULL, "111", NULL},
	{"bad IP sum, first", 1, BAD_IP_SUM, "12", NULL, "12", NULL},
	{"no sum", 2, NO_SUM, NULL, NULL, "111", "111"},
	{"no sum in all", 0, NO_SUM, NULL, NULL, "111", "111"},
	{"bytes behind UDP", 2, UDP_TRAILER, NULL, NULL, "111", "111"},
	{"PSH first", 1, FLAGS + (ACK | PSH), "12", "12", NULL, NULL},
	{"PSH", 2, FLAGS + (ACK | PSH), "21", "21", NULL, NULL},
	{"PSH last", 3, FLAGS + (ACK | PSH), "3", "3", NULL, NULL},
	{"PSH in all", 0, FLAGS + (ACK | PSH), "111", "111", NULL, NULL},
	{"FIN first", 1, FLAGS + (ACK | FIN), "12", "12", NULL, NULL},
	{"FIN", 2, FLAGS + (ACK | FIN), "21", "21", NULL, NULL},
	{"FIN last", 3, FLAGS + (ACK | FIN), "3", "3", NULL, NULL},
	{"CWR first", 1, FLAGS + (ACK | CWR), "3", "3", NULL, NULL},
	{"CWR", 2, FLAGS + (ACK | CWR), "12", "12", NULL, NULL},
	{"CWR in all", 0, FLAGS + (ACK | CWR), "111", "111", NULL, NULL},
	{"ECE", 2, FLAGS + (ACK | ECE), "111", "111", NULL, NULL},
	{"ECE in all", 0, FLAGS + (ACK | ECE), "3", "3", NULL, NULL},
	{"SYN first", 1, FLAGS + SYN, "12", "12", NULL, NULL},
	{"SYN", 2, FLAGS + (SYN | ACK), "111", "111", NULL, NULL},
	{"SYN in all", 0, FLAGS + (SYN | ACK), "111", "111", NULL, NULL},
	{"RST", 2, FLAGS + (ACK | RST), "111", "111", NULL, NULL},
	{"RST in all", 0, FLAGS + RST, "111", "111", NULL, NULL},
	{"URG", 2, FLAGS + (ACK | URG), "111", "111", NULL, NULL},
	{"URG in all", 0, FLAGS + (ACK | URG), "111", "111", NULL, NULL},
	{"no flags in all", 0, FLAGS, "3", "3", NULL, NULL},
};

static void change_ip(struct slow *s, int change)
{
	if (change == TOS)
		s->tos ^= 1;
	if (change == TTL)
		s->ttl--;
	if (change == LABEL)
		s->label ^= 1;
	if (change == NO_DF || change == ID_OF_FIRST_NO_DF || change == ID_JUMPS_NO_DF)
		s->fragment = 0;
	if (change == RESERVED_FLAG)
		s->fragment |= 0x8000;
	if (change == ID_OF_FIRST || change == ID_OF_FIRST_NO_DF)
		s->id = 0x1000;
	if (change == ID_OF_SECOND)
		s->id = 0x1001;
	if (change == ID_JUMPS || change == ID_JUMPS_NO_DF)
		s->id = (uint16_t)(s->id * 5);
	if (change == OPTIONS_OF_IP)
		s->ip_options = 4;
	if (change == EXT_HEADER)
		s->ext_headers = 1;
}

static void change_upper(struct slow *s, int change)
{
	if (change >= FLAGS)
		s->flags = change - FLAGS;
	if (change == SEQ_GAP)
		s->seq++;
	if (change == SEQ_AGAIN)
		s->seq -= (uint32_t)s->payload;
	if (change == OTHER_ACK)
		s->ack++;
	if (change == OTHER_WINDOW)
		s->window++;
	if (change == URGENT_POINTER)
		s->urgent = 1;
	if (change == OPTION_BYTES)
		s->option_byte = 0;
	if (change == MORE_OPTIONS)
		s->tcp_options += 4;
	if (change == SHORTER)
		s->payload--;
	if (change == LONGER)
		s->payload++;
	if (change == LONGER_BY_FAR)
		s->payload += 1000;
	if (change == EMPTY)
		s->payload = 0;
	if (change == ONE_BYTE)
		s->payload = 1;
}

/* What no sender would write. */
static void change_bytes(uint8_t *p, size_t n, int change)
{
	size_t at = slow_checksum_at(p);
	if (change == BAD_SUM)
		put16(p + at, get16(p + at) ^ 0x10);
	if (change == BAD_IP_SUM)
		put16(p + 10, get16(p + 10) ^ 0x10);
	if (change == NO_SUM)
		put16(p + at, 0);
	if (change == UDP_TRAILER) {
		put16(p + at - 2, get16(p + at - 2) - 1); /* the length field */
		slow_sum_upper(p, n);
	}
}

static const char *sizes_of_items(void)
{
	static char sizes[ITEMS_MAX + 1];
	size_t i;
	for (i = 0; i < items; i++)
		sizes[i] = (char)('0' + got[i].packets);
	sizes[i] = 0;
	return sizes;
}

static void try_row(const struct row *row, int version, int protocol, const char *want)
{
	struct slow s = slow_usual(version, protocol);
	struct coalesce *c = begin(OFFLOAD_ALL);
	for (int place = 1; place <= 3; place++) {
		static uint8_t p[BYTES_MAX];
		struct slow one = s;
		int change = row->which == 0 || row->which == place ? row->change : NOTHING;
		change_ip(&one, change);
		change_upper(&one, change);
		size_t n = slow_build(&one, p);
		change_bytes(p, n, change);
		put_bytes(c, p, n, false);
		s.seq += (uint32_t)one.payload;
		s.id++;
	}
	end(c);
	if (strcmp(sizes_of_items(), want) != 0)
		fail_msg("%s, packet %d, IPv%d, protocol %d: %s instead of %s", row->what,
			 row->which, version, protocol, sizes_of_items(), want);
}

static void coalesce_keeps_its_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *want[] = {rows[i].tcp4, rows[i].tcp6, rows[i].udp4, rows[i].udp6};
		for (int kind = 0; kind < 4; kind++)
			if (want[kind])
				try_row(&rows[i], kind & 1 ? 6 : 4, kind & 2 ? UDP : TCP,
					want[kind]);
	}
}

/* Zero and all ones are one number in a sum; what comes out again would be the usual one. */
static void coalesce_leaves_unusual_sums_alone(void **state)
{
	(void)state;
	for (int kind = 0; kind < 6; kind++) {
		static uint8_t p[BYTES_MAX];
		struct slow s = slow_usual(4, kind < 4 ? TCP : UDP);
		struct coalesce *c = begin(OFFLOAD_ALL);
		size_t n = slow_build(&s, p), header = slow_header(p);
		if (kind < 2) { /* an ID with which the header's sum is 0 */
			s.id = slow_add((uint16_t)s.id, p + 10, 2);
			slow_build(&s, p);
			assert_int_equal(get16(p + 10), 0);
			put16(p + 10, kind == 0 ? 0 : 0xffff);
		} else { /* data with which TCP's or UDP's is */
			put16(p + header,
			      slow_add(slow_add(0, p + slow_checksum_at(p), 2), p + header, 2));
			slow_sum_upper(p, n);
			assert_int_equal(get16(p + slow_checksum_at(p)), kind < 4 ? 0 : 0xffff);
			if (kind == 3)
				put16(p + slow_checksum_at(p), 0xffff);
		}
		put_bytes(c, p, n, false);
		advance(&s);
		put(c, &s, false);
		end(c);
		assert_string_equal(sizes_of_items(), kind == 1 || kind == 3 ? "11" : "2");
		if (items == 2)
			assert_memory_equal(got[0].bytes, p, n);
	}
}

static void coalesce_joins_open_and_complete_packets(void **state)
{
	(void)state;
	static uint8_t want[BYTES_MAX];
	struct slow s = slow_usual(6, TCP), all = s;
	struct coalesce *c = begin(OFFLOAD_ALL);
	for (int i = 0; i < 4; i++) {
		put(c, &s, i % 2);
		advance(&s);
	}
	end(c);
	all.payload = 400;
	size_t n = slow_build(&all, want);
	put16(want + slow_checksum_at(want), slow_pseudo(want, n));
	assert_string_equal(sizes_of_items(), "4");
	assert_memory_equal(got[0].bytes, want, n);
}

/* --- order --- */

static void coalesce_keeps_flows_apart(void **state)
{
	(void)state;
	struct slow flow[6], all[6];
	struct coalesce *c = begin(OFFLOAD_ALL);
	for (int i = 0; i < 6; i++)
		flow[i] = slow_usual(4, TCP);
	flow[1].src_port++;
	flow[2].dst_port++;
	flow[3].host++;
	flow[4] = slow_usual(4, UDP);
	flow[5] = slow_usual(6, TCP);
	memcpy(all, flow, sizeof(all));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 6; i++) {
			put(c, &flow[i], i % 2);
			advance(&flow[i]);
		}
	}
	assert_int_equal(items, 0);
	end(c);
	assert_string_equal(sizes_of_items(), "333333");
	for (int i = 0; i < 6; i++) { /* in the order in which they were opened */
		static uint8_t want[BYTES_MAX];
		all[i].payload = 300;
		size_t n = slow_build(&all[i], want);
		put16(want + slow_checksum_at(want), slow_pseudo(want, n));
		assert_int_equal(got[i].n, n);
		assert_memory_equal(got[i].bytes, want, n);
	}
}

/* What goes alone comes behind what is open of its flow or, without ports, between its ends; and
 * what is open between others stays so. */
static void coalesce_never_overtakes(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		int version, protocol;
		uint16_t fragment;
		size_t payload;
		int host, port; /* added */
		const char *want;
	} alone[] = {
		{"acknowledgement alone", 4, TCP, 0x4000, 0, 0, 0, "21"},
		{"acknowledgement alone", 6, TCP, 0, 0, 0, 0, "21"},
		{"its host's other neighbour", 4, TCP, 0x4000, 0, 1, 0, "12"},
		{"first fragment", 4, TCP, 0x2000, 104, 0, 0, "21"},
		{"first fragment of another", 4, TCP, 0x2000, 104, 0, 1, "21"},
		{"another flow", 4, TCP, 0x4000, 0, 0, 1, "12"},
		{"later fragment", 4, TCP, 0x0010, 104, 0, 0, "21"},
		{"fragment of UDP", 4, UDP, 0x2010, 104, 0, 0, "21"},
		{"fragment elsewhere", 4, TCP, 0x0010, 104, 1, 0, "12"},
		{"ICMP", 4, ICMP, 0, 30, 0, 0, "21"},
		{"ICMP elsewhere", 4, ICMP, 0, 30, 1, 0, "12"},
		{"ICMPv6", 6, 58, 0, 30, 0, 0, "21"},
		{"ICMPv6 elsewhere", 6, 58, 0, 30, 1, 0, "12"},
		{"no protocol at all", 6, 59, 0, 0, 0, 0, "21"},
		{"UDP beside it", 4, UDP, 0x4000, 0, 0, 0, "12"},
	};
	for (size_t i = 0; i < COUNT(alone); i++) {
		static uint8_t want[BYTES_MAX];
		struct slow s = slow_usual(alone[i].version, TCP), k;
		struct coalesce *c = begin(OFFLOAD_ALL);
		put(c, &s, true);
		advance(&s);
		put(c, &s, true);
		advance(&s);
		k = s;
		k.protocol = alone[i].protocol;
		k.fragment = alone[i].fragment;
		k.payload = alone[i].payload;
		k.host = (uint8_t)(k.host + alone[i].host);
		k.src_port = (uint16_t)(k.src_port + alone[i].port);
		put(c, &k, false);
		assert_int_equal(items, alone[i].want[0] - '0');
		end(c);
		if (strcmp(sizes_of_items(), alone[i].want) != 0)
			fail_msg("%s: %s instead of %s", alone[i].what, sizes_of_items(),
				 alone[i].want);
		size_t n = slow_build(&k, want), at = alone[i].want[0] == '1' ? 0 : 1;
		assert_int_equal(got[at].n, n);
		assert_memory_equal(got[at].bytes, want, n);
	}
}

static void coalesce_evicts_the_oldest(void **state)
{
	(void)state;
	struct slow s = slow_usual(6, UDP);
	struct coalesce *c = begin(OFFLOAD_ALL);
	for (int i = 0; i < COALESCE_FLOWS; i++) {
		s.src_port = (uint16_t)(100 + i);
		put(c, &s, true);
	}
	s.src_port = 100; /* used again, and the oldest all the same */
	put(c, &s, true);
	assert_int_equal(items, 0);
	s.src_port = 200;
	put(c, &s, true);
	assert_int_equal(items, 1);
	assert_int_equal(get16(got[0].bytes + 40), 100);
	assert_int_equal(got[0].packets, 2);
	s.src_port = 101;
	s.payload = 0; /* closes the second one from the middle */
	put(c, &s, true);
	assert_int_equal(items, 3);
	assert_int_equal(get16(got[1].bytes + 40), 101);
	assert_int_equal(get16(got[2].bytes + 40), 101);
	s.payload = 100;
	s.src_port = 201;
	put(c, &s, true);
	assert_int_equal(items, 3);
	end(c);
	assert_int_equal(items, 3 + COALESCE_FLOWS);
	for (int i = 0; i < COALESCE_FLOWS; i++)
		assert_int_equal(get16(got[3 + i].bytes + 40),
				 i < COALESCE_FLOWS - 2 ? 102 + i : 200 + i - (COALESCE_FLOWS - 2));
}

/* --- limits --- */

static void coalesce_ends_at_its_limits(void **state)
{
	(void)state;
	struct slow s = slow_usual(4, UDP);
	struct coalesce *c = begin(OFFLOAD_ALL);
	for (int i = 0; i < COALESCE_PACKETS_MAX + 3; i++) {
		put(c, &s, false);
		advance(&s);
	}
	end(c);
	assert_int_equal(items, 2);
	assert_int_equal(got[0].packets, COALESCE_PACKETS_MAX);
	assert_int_equal(got[1].packets, 3);
	for (size_t last = 1082; last <= 1084; last++) {
		s = slow_usual(4, TCP);
		s.payload = 1400;
		c = begin(OFFLOAD_ALL);
		for (int i = 0; i < 46; i++) {
			put(c, &s, false);
			advance(&s);
		}
		s.payload = last;
		put(c, &s, false);
		end(c);
		assert_int_equal(items, last <= 1083 ? 1 : 2);
		assert_int_equal(got[0].n, last <= 1083 ? 52 + 46 * 1400 + last : 52 + 46 * 1400);
		assert_true(got[0].n <= FRAME_BYTES_MAX);
	}
	s = slow_usual(6, UDP);
	s.payload = 32744; /* 48 + 2 * 32744 = 65536 */
	c = begin(OFFLOAD_ALL);
	put(c, &s, false);
	put(c, &s, false);
	end(c);
	assert_string_equal(sizes_of_items(), "11");
}

static void coalesce_makes_only_what_the_device_takes(void **state)
{
	(void)state;
	static const struct {
		unsigned offloads;
		const char *tcp, *udp;
	} row[] = {
		{0, "11", "11"},
		{OFFLOAD_CSUM, "11", "11"},
		{OFFLOAD_TSO | OFFLOAD_USO | OFFLOAD_GSO | OFFLOAD_GRO, "11", "11"},
		{OFFLOAD_CSUM | OFFLOAD_TSO, "2", "11"},
		{OFFLOAD_CSUM | OFFLOAD_USO, "11", "2"},
		{OFFLOAD_ALL, "2", "2"},
	};
	for (size_t i = 0; i < 2 * COUNT(row); i++) {
		struct slow s = slow_usual(i % 4 < 2 ? 4 : 6, i % 2 ? UDP : TCP);
		struct coalesce *c = begin(OFFLOAD_ALL);
		coalesce_set_offloads(c, row[i / 2].offloads);
		put(c, &s, false);
		advance(&s);
		put(c, &s, false);
		end(c);
		assert_string_equal(sizes_of_items(), i % 2 ? row[i / 2].udp : row[i / 2].tcp);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(coalesce_makes_one_packet),
		cmocka_unit_test(coalesce_writes_a_single_packet_as_it_came),
		cmocka_unit_test(coalesce_keeps_its_rules),
		cmocka_unit_test(coalesce_leaves_unusual_sums_alone),
		cmocka_unit_test(coalesce_joins_open_and_complete_packets),
		cmocka_unit_test(coalesce_keeps_flows_apart),
		cmocka_unit_test(coalesce_never_overtakes),
		cmocka_unit_test(coalesce_evicts_the_oldest),
		cmocka_unit_test(coalesce_ends_at_its_limits),
		cmocka_unit_test(coalesce_makes_only_what_the_device_takes),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	forget();
	return failed;
}
