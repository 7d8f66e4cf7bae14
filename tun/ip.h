/* tun/ip.h - a checked view of one inner IPv4 or IPv6 packet. Pure.
 *
 * Sources: RFC 791, RFC 8200, RFC 1858 and 3128 (tiny and overlapping fragments), RFC 5722, RFC
 * 7112 (the first fragment holds the whole chain), RFC 5095 (routing headers).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

#define IP_EXT_HEADERS_MAX 8

enum ip_protocol { IP_ICMP = 1, IP_TCP = 6, IP_UDP = 17, IP_ICMPV6 = 58 };

struct ip_view {
	struct addr src, dst; /* port 0 */
	uint16_t len;	      /* by the packet's own length field; at most the n given */
	uint16_t l4_offset;   /* where the protocol's header starts, from the packet's first byte */
	uint16_t fragment_offset; /* bytes; 0 in the first fragment and in whole packets */
	uint16_t src_port;	  /* of TCP and UDP when has_ports, else 0 */
	uint16_t dst_port;
	uint8_t version;      /* 4 or 6 */
	uint8_t protocol;     /* behind all extension headers: IP_TCP, ... */
	uint8_t ttl;	      /* or hop limit */
	bool is_fragment;     /* any part of a fragmented packet, the first one too */
	bool has_ports;	      /* TCP or UDP, whole or first fragment: the full header is there */
	bool has_ext_headers; /* IPv6 extension headers of any kind (IPv4 options do not count) */
};

/* Check the packet that starts at p (n bytes; it may be followed by padding, its own length field
 * ends it) and fill *ret. Refuses: a version that is neither 4 nor 6, a header cut short, a length
 * field below the header or above n, source routing (IPv4 LSRR and SSRR, an IPv6 routing header
 * with segments left), a jumbogram, more than IP_EXT_HEADERS_MAX extension headers or hop-by-hop
 * anywhere but first, a second fragment header, a TCP, UDP, ICMP or ICMPv6 header that is not whole
 * in a packet or first fragment, a TCP data offset or UDP length that does not fit, a fragment that
 * would lie over its TCP header or reach beyond 65,535 bytes. Does not check any checksum, address
 * or TTL. 0 or -EBADMSG with *ret untouched. */
int ip_parse(const uint8_t *p, size_t n, struct ip_view *ret) __attribute__((warn_unused_result));

/* Where the 2-byte checksum field of TCP or UDP stands from the packet's first byte, for whole
 * packets without extension headers (those whose checksum may be left open); 0 for every other
 * packet. */
size_t ip_open_checksum_at(const struct ip_view *v);
