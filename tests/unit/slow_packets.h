/* tests/unit/slow_packets.h - TCP and UDP packets for tests of tun/split.h and tun/coalesce.h, made
 * and summed byte by byte from RFC 791, 793, 768, 8200 and 1071. Nothing here uses tun/. */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "unit/seeded.h"

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128 };
enum { ICMP = 1, TCP = 6, UDP = 17, DST_OPTS = 60 };

#define SLOW_PACKET_MAX 65535
#define SLOW_HEADER_MAX 200 /* of what slow_build() makes */

struct slow {
	int version, protocol;
	uint8_t host;	    /* last byte of the source address */
	uint8_t tos, ttl;   /* or traffic class and hop limit */
	uint32_t label;	    /* flow label, 20 bits */
	uint16_t id;	    /* IPv4 */
	uint16_t fragment;  /* IPv4: flags and offset */
	size_t ip_options;  /* IPv4: bytes, of 4 */
	size_t ext_headers; /* IPv6: destination options of 8 bytes */
	uint16_t src_port, dst_port;
	uint32_t seq, ack;
	int flags; /* of TCP */
	uint16_t window, urgent;
	size_t tcp_options; /* bytes, of 4 */
	uint8_t option_byte;
	size_t payload;
	uint8_t payload_byte; /* the first one; they count up by 7 */
};

static inline void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static inline unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] * 256 + p[1];
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) * 65536 + get16(p + 2);
}

/* Add words to a ones' complement sum, one at a time. */
static inline uint16_t slow_add(uint16_t sum, const uint8_t *p, size_t n)
{
	uint32_t s = sum;
	for (size_t i = 0; i < n; i += 2) {
		s += i + 1 < n ? get16(p + i) : (uint32_t)p[i] * 256;
		if (s > 0xffff)
			s -= 0xffff;
	}
	return (uint16_t)s;
}

/* Where TCP or UDP starts, and which it is. Only for packets of slow_build() and pieces of such. */
static inline size_t slow_l4(const uint8_t *p, int *protocol)
{
	if (p[0] / 16 == 4) {
		*protocol = p[9];
		return (size_t)(p[0] % 16) * 4;
	}
	size_t at = 40;
	*protocol = p[6];
	while (*protocol == DST_OPTS) {
		*protocol = p[at];
		at += (size_t)p[at + 1] * 8 + 8;
	}
	return at;
}

static inline size_t slow_checksum_at(const uint8_t *p)
{
	int protocol;
	size_t l4 = slow_l4(p, &protocol);
	return l4 + (protocol == TCP ? 16 : 6);
}

/* Headers up to the payload. */
static inline size_t slow_header(const uint8_t *p)
{
	int protocol;
	size_t l4 = slow_l4(p, &protocol);
	return protocol == TCP ? l4 + (size_t)(p[l4 + 12] / 16) * 4 : l4 + 8;
}

/* Not complemented sum of the pseudo-header. */
static inline uint16_t slow_pseudo(const uint8_t *p, size_t n)
{
	int protocol;
	size_t l4 = slow_l4(p, &protocol);
	uint8_t rest[4] = {0, (uint8_t)protocol};
	put16(rest + 2, (unsigned)(n - l4));
	uint16_t sum = p[0] / 16 == 4 ? slow_add(0, p + 12, 8) : slow_add(0, p + 8, 32);
	return slow_add(sum, rest, 4);
}

/* Write the checksum of IPv4, and that of TCP or UDP, as a sender would. */
static inline void slow_sum_ip(uint8_t *p)
{
	if (p[0] / 16 != 4)
		return;
	put16(p + 10, 0);
	put16(p + 10, (uint16_t)~slow_add(0, p, (size_t)(p[0] % 16) * 4));
}

static inline void slow_sum_upper(uint8_t *p, size_t n)
{
	int protocol;
	size_t l4 = slow_l4(p, &protocol), at = slow_checksum_at(p);
	put16(p + at, 0);
	uint16_t sum = (uint16_t)~slow_add(slow_pseudo(p, n), p + l4, n - l4);
	put16(p + at, protocol == UDP && sum == 0 ? 0xffff : sum);
}

static inline size_t slow_ip(const struct slow *s, uint8_t *p, size_t upper)
{
	if (s->version == 4) {
		size_t header = 20 + s->ip_options;
		p[0] = (uint8_t)(0x40 + header / 4);
		p[1] = s->tos;
		put16(p + 2, (unsigned)(header + upper));
		put16(p + 4, s->id);
		put16(p + 6, s->fragment);
		p[8] = s->ttl;
		p[9] = (uint8_t)s->protocol;
		memcpy(p + 12, (const uint8_t[]){10, 99, 0, s->host, 203, 0, 113, 7}, 8);
		memset(p + 20, 1, s->ip_options); /* no-operation */
		return header;
	}
	put32(p, 0x60000000u + ((uint32_t)s->tos << 20) + s->label);
	put16(p + 4, (unsigned)(8 * s->ext_headers + upper));
	p[6] = s->ext_headers ? DST_OPTS : (uint8_t)s->protocol;
	p[7] = s->ttl;
	memset(p + 8, 0, 32);
	memcpy(p + 8, (const uint8_t[]){0xfd, 0, 0, 0x99}, 4);
	p[23] = s->host;
	memcpy(p + 24, (const uint8_t[]){0x20, 1, 0x0d, 0xb8}, 4);
	p[39] = 7;
	for (size_t i = 0; i < s->ext_headers; i++) {
		uint8_t *e = p + 40 + 8 * i;
		memcpy(e, (const uint8_t[]){DST_OPTS, 0, 1, 4, 0, 0, 0, 0}, 8); /* PadN */
		if (i + 1 == s->ext_headers)
			e[0] = (uint8_t)s->protocol;
	}
	return 40 + 8 * s->ext_headers;
}

/* The packet with all checksums complete; its length. p holds SLOW_HEADER_MAX + payload. */
static inline size_t slow_build(const struct slow *s, uint8_t *p)
{
	size_t upper = s->protocol == TCP ? 20 + s->tcp_options : 8;
	memset(p, 0, SLOW_HEADER_MAX);
	uint8_t *l4 = p + slow_ip(s, p, upper + s->payload);
	size_t n = (size_t)(l4 - p) + upper + s->payload;
	if (s->protocol == TCP || s->protocol == UDP) {
		put16(l4, s->src_port);
		put16(l4 + 2, s->dst_port);
	}
	if (s->protocol == TCP) {
		put32(l4 + 4, s->seq);
		put32(l4 + 8, s->ack);
		l4[12] = (uint8_t)(upper / 4 * 16);
		l4[13] = (uint8_t)s->flags;
		put16(l4 + 14, s->window);
		put16(l4 + 18, s->urgent);
		memset(l4 + 20, s->option_byte, s->tcp_options);
	} else if (s->protocol == UDP) {
		put16(l4 + 4, (unsigned)(upper + s->payload));
	}
	for (size_t i = 0; i < s->payload; i++)
		l4[upper + i] = (uint8_t)(s->payload_byte + 7 * i);
	slow_sum_ip(p);
	if (s->protocol == TCP || s->protocol == UDP)
		slow_sum_upper(p, n);
	return n;
}

/* The same with its checksum open: the pseudo-header's sum stands there. */
static inline size_t slow_open(const struct slow *s, uint8_t *p)
{
	size_t n = slow_build(s, p);
	put16(p + slow_checksum_at(p), slow_pseudo(p, n));
	return n;
}

/* A TCP packet with timestamps, or a UDP packet, to begin with. */
static inline struct slow slow_usual(int version, int protocol)
{
	return (struct slow){.version = version,
			     .protocol = protocol,
			     .host = 2,
			     .tos = 0,
			     .ttl = 64,
			     .label = version == 6 ? 0x12345 : 0,
			     .id = 0x1000,
			     .fragment = 0x4000,
			     .src_port = 4000,
			     .dst_port = 443,
			     .seq = 0xfffffff0,
			     .ack = 0x01020304,
			     .flags = ACK,
			     .window = 501,
			     .tcp_options = protocol == TCP ? 12 : 0,
			     .option_byte = 1,
			     .payload = 100,
			     .payload_byte = 3};
}

/* 0 .. n - 1. */
static inline uint32_t upto(struct seeded *r, uint32_t n)
{
	return (uint32_t)(seeded_u64(r) % n);
}

/* True once in n times. */
static inline bool once_in(struct seeded *r, uint32_t n)
{
	return upto(r, n) == 0;
}

/* Any TCP or UDP packet, its payload 2 .. most + 1 bytes. */
static inline struct slow slow_random(struct seeded *r, size_t most)
{
	struct slow s = slow_usual(once_in(r, 2) ? 4 : 6, once_in(r, 3) ? UDP : TCP);
	s.tos = (uint8_t)upto(r, 256);
	s.ttl = (uint8_t)upto(r, 256);
	s.id = (uint16_t)upto(r, 65536);
	s.fragment = once_in(r, 2) ? 0x4000 : 0;
	s.ip_options = s.version == 4 && once_in(r, 4) ? 4 * upto(r, 11) : 0;
	s.ext_headers = s.version == 6 && once_in(r, 4) ? upto(r, 4) : 0;
	s.seq = (uint32_t)seeded_u64(r);
	s.ack = (uint32_t)seeded_u64(r);
	s.flags = (int)upto(r, 256);
	s.window = (uint16_t)upto(r, 65536);
	s.urgent = (uint16_t)upto(r, 65536);
	s.tcp_options = s.protocol == TCP ? 4 * upto(r, 11) : 0;
	s.option_byte = (uint8_t)upto(r, 256);
	size_t room = SLOW_PACKET_MAX - SLOW_HEADER_MAX;
	s.payload = 2 + upto(r, (uint32_t)(most < room ? most : room));
	s.payload_byte = (uint8_t)upto(r, 256);
	return s;
}
