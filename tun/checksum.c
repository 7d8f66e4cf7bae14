/* tun/checksum.c - see tun/checksum.h. */
#include "tun/checksum.h"
#include <assert.h>
#include <endian.h>
#include <string.h>
#include "base/bytes.h"

/* An addition modulo 2^64 - 1: the carry comes back. */
static uint64_t add_around(uint64_t sum, uint64_t word)
{
	sum += word;
	return sum + (sum < word);
}

/* The last 0 to 15 bytes, as a sum of words in the machine's own order, zeros behind. */
static uint64_t sum_of_tail(const uint8_t *at, size_t n)
{
	uint64_t sum = 0;
	uint32_t w[3] = {0, 0, 0};
	uint16_t half = 0;
	if (n & 8) {
		memcpy(w, at, 8);
		at += 8;
	}
	if (n & 4) {
		memcpy(w + 2, at, 4);
		at += 4;
	}
	if (n & 2) {
		memcpy(&half, at, 2);
		at += 2;
	}
	if (n & 1)
		sum = htobe16((uint16_t)(*at << 8));
	return sum + w[0] + w[1] + w[2] + half;
}

/* Sixteen bytes at a time in the machine's own order: 65535 divides 2^64 - 1, so the halves of such
 * a sum add up to the same, and turning the bytes of the result turns those of all words (RFC 1071,
 * section 2 (B) and (C)). */
uint64_t checksum_add(uint64_t sum, const void *p, size_t n)
{
	const uint8_t *at = p;
	uint64_t a = 0, b = 0; /* two, so that one addition need not wait for the other */
	for (; n >= 16; n -= 16, at += 16) {
		uint64_t w[2];
		memcpy(w, at, sizeof(w));
		a = add_around(a, w[0]);
		b = add_around(b, w[1]);
	}
	uint64_t halves = (a >> 32) + (uint32_t)a + (b >> 32) + (uint32_t)b + sum_of_tail(at, n);
	return sum + be16toh(checksum_fold(halves));
}

uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum >> 32) + (uint32_t)sum;  /* below 2^33 */
	sum = (sum >> 16) + (sum & 0xffff); /* below 2^18 */
	sum = (sum >> 16) + (sum & 0xffff); /* at most 0x10001 */
	return (uint16_t)((sum >> 16) + sum);
}

uint16_t checksum_ipv4(const uint8_t *p)
{
	uint64_t w[2];
	uint32_t rest;
	memcpy(w, p, sizeof(w));
	memcpy(&rest, p + sizeof(w), sizeof(rest));
	return be16toh(checksum_fold(add_around(add_around(w[0], w[1]), rest)));
}

uint64_t checksum_pseudo(const struct ip_view *v)
{
	size_t n = v->version == 4 ? 4 : 16;
	return checksum_words(v->src.ip, n) + checksum_words(v->dst.ip, n) + v->protocol +
	       (uint64_t)(v->len - v->l4_offset);
}

void checksum_complete(uint8_t *packet, const struct ip_view *v)
{
	assert(v->has_ports && !v->is_fragment);
	size_t at = v->l4_offset + (v->protocol == IP_TCP ? 16u : 6u);
	store_be16(packet + at, 0);
	uint64_t sum = checksum_add(checksum_pseudo(v), packet + v->l4_offset,
				    (size_t)(v->len - v->l4_offset));
	uint16_t value = (uint16_t)~checksum_fold(sum);
	if (value == 0 && v->protocol == IP_UDP)
		value = 0xffff;
	store_be16(packet + at, value);
}

void checksum_leave_open(uint8_t *packet, const struct ip_view *v)
{
	size_t at = ip_open_checksum_at(v);
	assert(at != 0);
	store_be16(packet + at, checksum_fold(checksum_pseudo(v)));
}

void checksum_close(uint8_t *packet, size_t n, size_t start, size_t at)
{
	assert(start < n && at + 2 <= n);
	uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, packet + start, n - start));
	store_be16(packet + at, sum ? sum : 0xffff);
}
