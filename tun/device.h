/* tun/device.h - the TUN device: open it, read and write one inner packet at a time.
 *
 * The device has IFF_NO_PI, IFF_VNET_HDR (10 bytes, struct virtio_net_hdr) and, where the kernel
 * can, TUN_F_CSUM: it then hands us TCP and UDP whose checksum is still open and takes such from
 * us. It never hands us segments in this version. It is not persistent: it goes with the last
 * descriptor, also after kill -9, and the routes through it go with it. Source:
 * Documentation/networking/tuntap.rst. Open and close on the control thread; one queue belongs to
 * one worker.
 */
#pragma once
#include <net/if.h>
#include <stdbool.h>
#include "base/pkt.h"

#define TUN_QUEUES_MAX	64
#define TUN_ERROR_BYTES 256
#define TUN_VNET_BYTES                                                                             \
	10 /* struct virtio_net_hdr; read into and written from a packet's headroom */
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
