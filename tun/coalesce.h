/* tun/coalesce.h - put packets of one flow together again, so that one write gives the kernel many.
 *
 * The other way round from tun/split.h, and by the rules of the kernel's GRO (tcp_gro_receive,
 * udp_gro_receive_segment, inet_gro_receive, ipv6_gro_receive). Nothing is copied: an item is a
 * list of slices of the packets where they lie. Packets of a flow never overtake each other; what
 * lies between the same two addresses and has no ports (ICMP, fragments) overtakes nothing and is
 * not overtaken. Pure but for what the callback does; belongs to one worker.
 *
 * A packet joins its flow's open item when
 *   both    addresses, ports and protocol; TTL, TOS with ECN, DF, flow label; no IP options,
 *           extension headers or fragments; all sums of headers that are given up are right; its
 *           payload is not empty and no longer than the first one's (a shorter one is the last);
 *           ID counts up by one, or stays the same in all with DF set; at most
 *           COALESCE_PACKETS_MAX packets and FRAME_BYTES_MAX bytes
 *   TCP     its sequence number continues; acknowledged number, window, urgent pointer and the
 *           bytes of the options are the same; so are the flags but for PSH and FIN, which end the
 *           item with this packet, and CWR, which only the first may have. SYN, RST and URG never.
 *   UDP     its length field is the packet's; it has a checksum
 * A checksum is left open or verified: one that is wrong, missing or written in an unusual way
 * makes the packet go alone, as it came. A packet that cannot join makes its flow's item go first.
 * When an item is cut up again, by split.h or the kernel, the same packets come out, byte for byte
 * but for IDs that were all the same with DF (RFC 6864: they mean nothing): these count up then.
 */
#pragma once
#include <sys/uio.h>
#include "tun/frame.h"

#define COALESCE_FLOWS	     16 /* items open at once; the oldest makes room */
#define COALESCE_PACKETS_MAX 64 /* in one item; older kernels refuse more for UDP */

struct coalesce;

/* Called for each item, and for each packet that goes alone. iov[0] is empty and free for *h (see
 * tun_write_iov()), iov[1] .. iov[n - 1] are n - 1 packets in their order: the first one's bytes
 * from its header on, then only payload. All is lent until the callback returns. It must not call
 * coalesce_*(). */
typedef void coalesce_emit_fn(void *arg, const struct virtio_net_hdr *h, struct iovec *iov,
			      unsigned n);

/* What may be made: of `offloads` (base/offload.h), OFFLOAD_CSUM with OFFLOAD_TSO for items of TCP,
 * with OFFLOAD_USO for items of UDP; the rest goes alone. NULL without memory; nothing is allocated
 * later. */
struct coalesce *coalesce_new(unsigned offloads, coalesce_emit_fn *emit, void *arg);
/* Nothing may be open. Takes NULL. */
void coalesce_free(struct coalesce *c);
/* Change what may be made; nothing may be open. */
void coalesce_set_offloads(struct coalesce *c, unsigned offloads);

/* Take the packet of v->len bytes at p, of which v is the view. csum_open: the checksum of a packet
 * with ip_open_checksum_at() is left open, whatever stands in its field. The bytes must stay where
 * they are, untouched, until coalesce_flush() returns; headers are changed in place. */
void coalesce_put(struct coalesce *c, uint8_t *p, const struct ip_view *v, bool csum_open);
/* Emit all that is open, the oldest item first. */
void coalesce_flush(struct coalesce *c);
