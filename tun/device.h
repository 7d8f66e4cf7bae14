/* tun/device.h - the TUN device: open it, read and write inner packets, many of a flow at a time.
 *
 * The device has IFF_NO_PI, IFF_VNET_HDR (10 bytes, struct virtio_net_hdr) and, of what was asked
 * for, what the kernel can: TUN_F_CSUM, then it hands us TCP and UDP whose checksum is still open
 * and takes such from us; TUN_F_TSO4 and 6 and TUN_F_USO4 and 6, then what it hands and takes may
 * be many packets of a flow in one piece, up to 64 KB (tun/frame.h). It is not persistent: it goes
 * with the last descriptor, also after kill -9, and the routes through it go with it. Source:
 * Documentation/networking/tuntap.rst. Open and close on the control thread; one queue belongs to
 * one worker.
 */
#pragma once
#include <net/if.h>
#include <stdbool.h>
#include <sys/uio.h>
#include "base/pkt.h"
#include "tun/frame.h"

#define TUN_QUEUES_MAX	64
#define TUN_ERROR_BYTES 256
#define TUN_VNET_BYTES                                                                             \
	10 /* struct virtio_net_hdr; read into and written from a packet's headroom */
/* What tun_read_frame() needs: the longest frame, and one byte that shows a longer one. */
#define TUN_FRAME_ROOM	  (TUN_VNET_BYTES + FRAME_BYTES_MAX + 1)
#define TUN_PKT_CSUM_OPEN (1u << 0) /* in pkt.flags: see below */
/* TUN_PKT_CSUM_OPEN: the packet is an unfragmented TCP or UDP packet without IPv6 extension
 * headers, and its checksum field holds the folded, not complemented sum of its pseudo-header:
 * whoever sends it on completes it (virtio-net's "needs checksum"; checksum_complete() in
 * tun/checksum.h does so in software). */

struct tun;

/* Make the interface `name` (1..15 characters, neither "/" nor white space nor "%") with `queues`
 * queues (1..TUN_QUEUES_MAX), non-blocking, close-on-exec. `checksum` false: do not offer checksum
 * offload. The link is down and has no address: routing/host.h does that. 0; or with one sentence
 * in err[TUN_ERROR_BYTES]: -ENOENT no /dev/net/tun, -EACCES not allowed to open it, -EPERM no
 * CAP_NET_ADMIN, -EBUSY an interface of that name exists (any kind: it is never taken over),
 * -EINVAL a bad name or number, other -errno. */
int tun_open(const char *name, unsigned queues, bool checksum, struct tun **ret, char *err)
	__attribute__((warn_unused_result));
/* Close all queues; the interface vanishes. Takes NULL. */
void tun_close(struct tun *t);
/* As tun_open(), but `offloads` (base/offload.h; OFFLOAD_CSUM, OFFLOAD_TSO and OFFLOAD_USO count,
 * the last two only with the first) says what to ask for. What the kernel refuses is not used: see
 * tun_offloads(). A device with TSO or USO is for tun_read_frame() only. */
int tun_open_offloads(const char *name, unsigned queues, unsigned offloads, struct tun **ret,
		      char *err) __attribute__((warn_unused_result));
/* Of `offloads`, what is in use. */
unsigned tun_offloads(const struct tun *t);

const char *tun_name(const struct tun *t);
unsigned tun_queues(const struct tun *t);
/* Descriptor of a queue, for poll and epoll; stays the device's. */
int tun_fd(const struct tun *t, unsigned queue);
/* True when the kernel leaves checksums open for us; false: every packet is complete. Packets with
 * TUN_PKT_CSUM_OPEN can be written either way. */
bool tun_has_checksum_offload(const struct tun *t);

/* Read one packet into k (taken from a pool, empty): data at PKT_HEADROOM, len, TUN_PKT_CSUM_OPEN
 * set or not. An open checksum anywhere else (inside another tunnel, behind extension headers) is
 * completed here. The bytes are not looked at further: ip_parse() them. 0; -EAGAIN nothing there;
 * -EMSGSIZE longer than a packet holds, or -EBADMSG a virtio header that makes no sense (both:
 * taken off the queue, drop and count it); -EBADFD the interface is gone; other -errno. */
int tun_read(struct tun *t, unsigned queue, struct pkt *k) __attribute__((warn_unused_result));
/* Write the packet k (data, len, flags; at least TUN_VNET_BYTES of headroom, whose bytes are
 * overwritten). 0; -EAGAIN the queue is full; -EINVAL with TUN_PKT_CSUM_OPEN on what is no plain
 * TCP or UDP; -EIO the link is down; other -errno. The packet stays the caller's; without offload
 * its checksum is completed in it. */
int tun_write(struct tun *t, unsigned queue, struct pkt *k) __attribute__((warn_unused_result));

/* Read one frame into buf (room bytes, at least TUN_FRAME_ROOM; the virtio header goes before the
 * packet, at buf + TUN_VNET_BYTES) and fill *ret by frame_parse(): it points into buf. 0; errors as
 * tun_read(): -EAGAIN nothing there; -EMSGSIZE or -EBADMSG taken off the queue, drop and count it;
 * -EBADFD the interface is gone; other -errno. */
int tun_read_frame(struct tun *t, unsigned queue, uint8_t *buf, size_t room, struct tun_frame *ret)
	__attribute__((warn_unused_result));
/* Write what coalesce_emit_fn (tun/coalesce.h) got: iov[0] is overwritten, iov[1] .. iov[n - 1] (n
 * at least 2) are the bytes, in order. Without OFFLOAD_CSUM in tun_offloads() an open checksum is
 * completed in the bytes, which must be one slice then. 0; -EAGAIN the queue is full; -EINVAL what
 * the device cannot take; -EIO the link is down; other -errno. */
int tun_write_iov(struct tun *t, unsigned queue, const struct virtio_net_hdr *h, struct iovec *iov,
		  unsigned n) __attribute__((warn_unused_result));
