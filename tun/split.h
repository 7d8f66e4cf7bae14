/* tun/split.h - judge a frame that the TUN gave, and cut it into plains of PROTOCOL.md section 6.
 *
 * Each packet is what the kernel's own software segmentation would have made of the frame
 * (tcp_gso_segment, __udp_gso_segment, inet_gso_segment, ipv6_gso_segment). Pure; any thread.
 */
#pragma once
#include <stddef.h>
#include "tun/frame.h"

/* Judge the virtio header h together with the len bytes at data, and fill *ret, which points into
 * data. Nothing is taken from h that the packet's own headers do not bear out; its hdr_len is not
 * looked at. What follows the packet by its own length field is cut off, but nothing may follow a
 * segmented one.
 *   GSO_NONE                 one packet of any protocol. An open checksum of a whole TCP or UDP
 *                            packet without extension headers stays open (csum_open); any other
 *                            is completed here, in data.
 *   GSO_TCPV4, TCPV6 (both with or without GSO_ECN), UDP_L4: no fragment. IPv4 and TCP options
 *                            are copied to every packet, and so are IPv6 extension headers; since
 *                            type 3 does not go with these, csum_open is false then. No
 *                            NEEDS_CSUM means that the kernel has checked the sum: new ones are
 *                            needed all the same. No more payload than gso_size: one packet.
 * 0; -EMSGSIZE more than FRAME_BYTES_MAX; -EBADMSG anything else, with *ret untouched. */
int frame_parse(const struct virtio_net_hdr *h, uint8_t *data, size_t len, struct tun_frame *ret)
	__attribute__((warn_unused_result));

/* Bytes of packet i (below f->packets). */
size_t frame_packet_bytes(const struct tun_frame *f, unsigned i);

/* Write packet i as a plain to `to`, which holds 1 + frame_packet_bytes() bytes, and return just
 * these: type 3 with a checksum field of 0 when f->csum_open, else type 2. In a packet of several
 *   IPv4  total length, checksum; ID is the frame's + i, also with DF set (as Linux does)
 *   IPv6  payload length
 *   TCP   sequence number; FIN and PSH only in the last, CWR only in the first; SYN, URG, RST and
 *         the options are the frame's in all
 *   UDP   length
 * The frame's own bytes stay as they are. */
size_t frame_plain(const struct tun_frame *f, unsigned i, uint8_t *to);
