/* tun/checksum.c - see tun/checksum.h. */
#include "tun/checksum.h"
#include <assert.h>
#include "base/bytes.h"

uint64_t checksum_add(uint64_t sum, const void *p, size_t n)
{
	const uint8_t *at = p;
	/* Four bytes at a time: 2^16 = 1 modulo 65535, so a 32-bit word adds as its two halves
	 * would. */
	for (; n >= 4; n -= 4, at += 4)
		sum += load_be32(at);
	if (n >= 2) {
		sum += load_be16(at);
		at += 2;
		n -= 2;
	}
	if (n)
		sum += (uint64_t)*at << 8;
	return sum;
}

uint16_t checksum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint64_t checksum_pseudo(const struct ip_view *v)
{
	size_t n = addr_ip_bytes(&v->src);
	uint64_t sum = checksum_add(0, v->src.ip, n);
	sum = checksum_add(sum, v->dst.ip, n);
	return sum + v->protocol + (uint64_t)(v->len - v->l4_offset);
}

void checksum_complete(uint8_t *packet, const struct ip_view *v)
{
	size_t at = ip_open_checksum_at(v);
	assert(at != 0);
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
