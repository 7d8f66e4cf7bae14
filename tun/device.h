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
#include <sys/uio.h>
#include "tun/frame.h"

#define TUN_QUEUES_MAX	64
#define TUN_ERROR_BYTES 256
#define TUN_VNET_BYTES	10 /* struct virtio_net_hdr, before each frame */
/* What tun_read_frame() needs: the longest frame, and one byte that shows a longer one. */
#define TUN_FRAME_ROOM (TUN_VNET_BYTES + FRAME_BYTES_MAX + 1)

struct tun;

/* Make the interface `name` (1..15 characters, neither "/" nor white space nor "%") with `queues`
 * queues (1..TUN_QUEUES_MAX), non-blocking, close-on-exec. `offloads` (base/offload.h;
 * OFFLOAD_CSUM, OFFLOAD_TSO and OFFLOAD_USO count, the last two only with the first) says what to
 * ask for; what the kernel refuses is not used: see tun_offloads(). The link is down and has no
 * address: routing/host.h does that. 0; or with one sentence in err[TUN_ERROR_BYTES]: -ENOENT no
 * /dev/net/tun, -EACCES not allowed to open it, -EPERM no CAP_NET_ADMIN, -EBUSY an interface of
 * that name exists (any kind: it is never taken over), -EINVAL a bad name or number, other -errno.
 */
int tun_open(const char *name, unsigned queues, unsigned offloads, struct tun **ret, char *err)
	__attribute__((warn_unused_result));
/* Close all queues; the interface vanishes. Takes NULL. */
void tun_close(struct tun *t);
/* Of the offloads that were asked for, what is in use. Without OFFLOAD_CSUM every packet comes
 * complete. */
unsigned tun_offloads(const struct tun *t);

const char *tun_name(const struct tun *t);
unsigned tun_queues(const struct tun *t);
/* Descriptor of a queue, for poll and epoll; stays the device's. */
int tun_fd(const struct tun *t, unsigned queue);

/* Read one frame into buf (room bytes, at least TUN_FRAME_ROOM; the virtio header goes before the
 * packet, at buf + TUN_VNET_BYTES) and fill *ret by frame_parse(): it points into buf. 0; -EAGAIN
 * nothing there; -EMSGSIZE or -EBADMSG taken off the queue, drop and count it; -EBADFD the
 * interface is gone; other -errno. */
int tun_read_frame(struct tun *t, unsigned queue, uint8_t *buf, size_t room, struct tun_frame *ret)
	__attribute__((warn_unused_result));
/* Write what coalesce_emit_fn (tun/coalesce.h) got: iov[0] is overwritten, iov[1] .. iov[n - 1] (n
 * at least 2) are the bytes, in order. Without OFFLOAD_CSUM in tun_offloads() an open checksum is
 * completed in the bytes, which must be one slice then. 0; -EAGAIN the queue is full; -EINVAL what
 * the device cannot take; -EIO the link is down; other -errno. */
int tun_write_iov(struct tun *t, unsigned queue, const struct virtio_net_hdr *h, struct iovec *iov,
		  unsigned n) __attribute__((warn_unused_result));
