/* tun/checksum.h - the internet checksum (RFC 1071) of inner packets. Pure. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/bytes.h"
#include "tun/ip.h"

/* Add the n bytes at p, as big-endian 16-bit words with an odd last byte padded by zero, to `sum`
 * (0 to begin). Only the last of several pieces may have an odd length. The result is not folded. n
 * at most 65,535. */
uint64_t checksum_add(uint64_t sum, const void *p, size_t n);
/* The same of n bytes, a multiple of 4, without a call: for the addresses of a header. */
static inline uint64_t checksum_words(const uint8_t *p, size_t n)
{
	uint64_t sum = 0; /* 65535 divides 2^32 - 1 too */
	for (size_t i = 0; i < n; i += 4)
		sum += load_be32(p + i);
	return sum;
}
/* Fold to 16 bits; the checksum to write is its complement. */
uint16_t checksum_fold(uint64_t sum);
/* The folded sum of the 20 bytes at p: of an IPv4 header without options. 0xffff when its checksum
 * is right, or was to be 0xffff and is 0. */
uint16_t checksum_ipv4(const uint8_t *p);
/* Sum of the pseudo-header of v's packet (RFC 793, RFC 768, RFC 8200 8.1), its length that of the
 * upper-layer bytes in the packet. Only for packets that are no fragments and have no routing
 * header. */
uint64_t checksum_pseudo(const struct ip_view *v);
/* Compute and write the TCP or UDP checksum of a packet that has ports and is no fragment, whatever
 * stood in the field; extension headers may stand before it. A UDP sum of 0 is written as 0xffff. */
void checksum_complete(uint8_t *packet, const struct ip_view *v);
/* Write the folded, not complemented pseudo-header sum into the field: what virtio-net's "needs
 * checksum" wants there. Only for packets with ip_open_checksum_at() != 0. */
void checksum_leave_open(uint8_t *packet, const struct ip_view *v);
/* Complete an open checksum of any protocol, as skb_checksum_help() of the kernel does: the field
 * at `at` holds the sum of what the bytes from `start` to the end (n) do not show; both lie within,
 * the field as a whole. A sum of 0 is written as 0xffff. */
void checksum_close(uint8_t *packet, size_t n, size_t start, size_t at);
