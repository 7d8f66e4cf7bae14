/* tests/unit/inner_packets.h - inner packets for tests of tun/: 10.99.0.2 or fd00:99::2, port 4000,
 * to 203.0.113.7 or 2001:db8:113::7, port 443. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/bytes.h"

/* The upper-layer header and n bytes of data at `at`; its length. Checksums are 0. */
static inline size_t make_upper(uint8_t *at, uint8_t protocol, size_t n)
{
	size_t header = protocol == 6 ? 20 : 8;
	memset(at, 0, header);
	if (protocol == 6 || protocol == 17) {
		store_be16(at, 4000);
		store_be16(at + 2, 443);
	} else if (protocol == 1 || protocol == 58) {
		at[0] = protocol == 1 ? 8 : 128;
	}
	if (protocol == 6)
		at[12] = 0x50;
	if (protocol == 17)
		store_be16(at + 4, (uint16_t)(header + n));
	for (size_t i = 0; i < n; i++)
		at[header + i] = (uint8_t)(i * 7 + 1);
	return header + n;
}

static inline void make_ipv6_header(uint8_t *p, uint8_t next, size_t payload)
{
	static const uint8_t src[16] = {0xfd, 0, 0, 0x99, [15] = 2};
	static const uint8_t dst[16] = {0x20, 1, 0x0d, 0xb8, 1, 0x13, [15] = 7};
	store_be32(p, 0x60000000);
	store_be16(p + 4, (uint16_t)payload);
	p[6] = next;
	p[7] = 64;
	memcpy(p + 8, src, 16);
	memcpy(p + 24, dst, 16);
}

/* A whole packet with n bytes of data at p (room for 60 + n); its length. */
static inline size_t make_packet(uint8_t *p, uint8_t version, uint8_t protocol, size_t n)
{
	static const uint8_t ends[8] = {10, 99, 0, 2, 203, 0, 113, 7};
	if (version == 6) {
		size_t upper = make_upper(p + 40, protocol, n);
		make_ipv6_header(p, protocol, upper);
		return 40 + upper;
	}
	size_t upper = make_upper(p + 20, protocol, n);
	memset(p, 0, 20);
	p[0] = 0x45;
	store_be16(p + 2, (uint16_t)(20 + upper));
	p[8] = 64;
	p[9] = protocol;
	memcpy(p + 12, ends, 8);
	return 20 + upper;
}

/* An IPv6 packet with these extension headers of 8 bytes each (12 for 51), up to 255, and UDP
 * behind. */
static inline size_t make_chain(uint8_t *p, const uint8_t *kinds)
{
	size_t at = 40;
	for (size_t i = 0; kinds[i] != 255; i++) {
		size_t len = kinds[i] == 51 ? 12 : 8;
		memset(p + at, 0, len);
		p[at] = kinds[i + 1] == 255 ? 17 : kinds[i + 1];
		if (kinds[i] == 51)
			p[at + 1] = 1;
		at += len;
	}
	at += make_upper(p + at, 17, 16);
	make_ipv6_header(p, kinds[0] == 255 ? 17 : kinds[0], at - 40);
	return at;
}
