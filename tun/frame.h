/* tun/frame.h - what one read of the TUN gives: one inner packet, or many of one flow in one piece.
 *
 *   0            header           header + payload              len
 *   | IP | L4    | payload        | payload        | ... | rest |
 *
 * With segmentation offload the kernel hands us what one write() of an application or one burst
 * of its GRO made: one header, and payload for several packets. tun/split.h cuts it up,
 * tun/coalesce.h makes such frames of packets. Source: the virtio specification 1.2, 5.1.6
 * "Device Operation", and include/linux/virtio_net.h of the kernel.
 */
#pragma once
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tun/ip.h"

#define FRAME_BYTES_MAX 65535 /* of IP; a larger one (BIG TCP) is not asked for */

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4   /* in headers since Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5 /* UDP datagrams of gso_size bytes, the last may be shorter */
#endif

/* An open value; the bytes stay the reader's. */
struct tun_frame {
	uint8_t *data; /* the IP packet; each of the frame's packets gets its header from here */
	uint32_t len;  /* bytes of it, by its own length field; at most FRAME_BYTES_MAX */
	struct ip_view view; /* of data as a whole, so its len is not that of one packet */
	uint16_t header;  /* bytes of IP and TCP or UDP header of each packet; 0 in a single one */
	uint16_t payload; /* bytes behind it in each packet but the last; 0 in a single one */
	uint16_t packets; /* 1 or more */
	bool csum_open;	  /* checksums are left to whoever sends them on: plains of type 3. When
			     false,   a single packet's is complete (or it has none), and of several
			     each   one's is completed when it is cut off. */
};

/* Bytes of all its packets together. */
size_t frame_bytes(const struct tun_frame *f);
/* Take away the first packet of several: f begins behind it afterwards (its header moves within data). False, with
 * nothing changed, when it is the only one. */
bool frame_drop_first(struct tun_frame *f);
