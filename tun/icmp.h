/* tun/icmp.h - ICMP answers to inner packets that we refuse. Pure; the caller limits their rate.
 *
 * Sources: RFC 792, RFC 1122 3.2.2 (what is never answered), RFC 1191, RFC 1812 4.3.2 (how much is
 * quoted), RFC 4443 2.4, 3.1, 3.2.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "tun/ip.h"

#define ICMP_ANSWER_BYTES_MAX 1280 /* IPv6's least MTU; an IPv4 answer has at most 576 */

/* Each builds a whole IP packet in out[ICMP_ANSWER_BYTES_MAX], from `from` to v->src, hop limit 64,
 * about the packet p (v from ip_parse() of it), and returns its length; or 0, nothing written, when
 * none may be sent: p is an ICMP error or an ICMP message of unknown type, a fragment other than
 * the first, from or to a multicast, broadcast, unspecified or loopback address, or `from` is of
 * another family. */

/* "Administratively prohibited": ICMP 3/13, ICMPv6 1/1. */
size_t icmp_prohibited(const uint8_t *p, const struct ip_view *v, const struct addr *from,
		       uint8_t *out);
/* "No route": ICMP 3/0, ICMPv6 1/0: for packets of a family that the exit does not carry. */
size_t icmp_no_route(const uint8_t *p, const struct ip_view *v, const struct addr *from,
		     uint8_t *out);
/* "Fragmentation needed" (ICMP 3/4; sent whatever DF says, since nobody behind us cuts the packet
 * up) or "packet too big" (ICMPv6 2/0) with the inner MTU in bytes, not below 68 or 1,280. */
size_t icmp_too_big(const uint8_t *p, const struct ip_view *v, uint16_t mtu,
		    const struct addr *from, uint8_t *out);
