/* tun/plain.h - an inner packet as a plain of PROTOCOL.md section 6, and back, in place. Pure.
 *
 *   0  1  type   0 dummy, 1 control, 2 a packet, 3 a TCP or UDP packet whose checksum field is 0
 *   1  n  packet its own length field ends it; padding follows
 */
#pragma once
#include <stdint.h>
#include "base/pkt.h"
#include "base/plain_type.h"
#include "tun/ip.h"

/* In pkt.flags: the packet is an unfragmented TCP or UDP packet without IPv6 extension headers, and
 * its checksum is left open, whatever stands in the field: coalesce_put() takes it so, and
 * checksum_complete() writes it. */
#define TUN_PKT_CSUM_OPEN (1u << 0)

/* Turn the inner packet in k (data, len >= v->len, TUN_PKT_CSUM_OPEN or not; v from ip_parse() of
 * it) into a plain: one type byte is put before it, len becomes 1 + v->len (what followed is cut
 * off), the flag is cleared. An open checksum gives type 3 and a zeroed field. k needs 1 byte of
 * headroom. */
void plain_from_packet(struct pkt *k, const struct ip_view *v);
/* Turn the plain of type 2 or 3 in k (data, len, padding and all) into an inner packet: data behind
 * the type byte, len its own length; type 3 sets TUN_PKT_CSUM_OPEN and leaves the field 0, type 2
 * clears the flag. Fills *ret. -EBADMSG with k and *ret untouched: another type, a packet that
 * ip_parse() refuses, type 3 on what is no whole TCP or UDP packet without extension headers, or
 * whose checksum field is not 0. */
int plain_to_packet(struct pkt *k, struct ip_view *ret) __attribute__((warn_unused_result));
