/* tun/device.c - see tun/device.h. */
#include "tun/device.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/offload.h"
#include "tun/checksum.h"
#include "tun/split.h"

#define TUN_PATH "/dev/net/tun"

#ifndef TUN_F_USO4 /* in headers since Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct tun {
	char name[IF_NAMESIZE];
	unsigned queues;
	unsigned offloads; /* in use: bits of enum offload */
	int fd[TUN_QUEUES_MAX];
};

_Static_assert(sizeof(struct virtio_net_hdr) == TUN_VNET_BYTES, "the kernel's default header");

static int __attribute__((format(printf, 3, 4))) fail(char *err, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err, TUN_ERROR_BYTES, fmt, ap);
	va_end(ap);
	return code;
}

static bool name_is_ok(const char *name)
{
	size_t n = strlen(name);
	if (n == 0 || n >= IF_NAMESIZE || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (strchr("/:%", name[i]) || isspace((unsigned char)name[i]))
			return false;
	}
	return true;
}

/* One sentence for each way in which /dev/net/tun refuses to open. */
static int open_device(char *err)
{
	int fd = open(TUN_PATH, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		return fd;
	int e = errno;
	if (e == ENOENT || e == ENXIO || e == ENODEV)
		return fail(err, -ENOENT,
			    "There is no " TUN_PATH ": load the module (modprobe tun), or make the "
			    "device (mknod " TUN_PATH " c 10 200) or pass it into the container.");
	if (e == EACCES || e == EPERM)
		return fail(err, -EACCES,
			    TUN_PATH " may not be opened by this user: start as root, or let the "
				     "device be opened (chmod 0666 " TUN_PATH
				     ", DeviceAllow=/dev/net/tun rw).");
	return fail(err, -e, TUN_PATH " cannot be opened: %s.", strerror(e));
}

static int attach_failed(const char *name, int e, char *err)
{
	if (e == EPERM)
		return fail(err, -EPERM,
			    "The interface %s cannot be made: the capability CAP_NET_ADMIN is "
			    "missing; start as root or by the service unit.",
			    name);
	if (e == EBUSY || e == EEXIST || e == EINVAL)
		return fail(err, -EBUSY,
			    "The interface name %s is in use: remove that interface (ip link del "
			    "%s) or set another name in the configuration.",
			    name, name);
	return fail(err, -e, "The interface %s cannot be made: %s.", name, strerror(e));
}

/* Make queue i. The first one insists that no such interface exists; the others join it. */
static int open_queue(struct tun *t, unsigned i, char *err)
{
	int fd = open_device(err);
	if (fd < 0)
		return fd;
	struct ifreq req;
	memset(&req, 0, sizeof(req));
	memcpy(req.ifr_name, t->name, sizeof(t->name));
	unsigned flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
	if (t->queues > 1)
		flags |= IFF_MULTI_QUEUE;
	if (i == 0)
		flags |= IFF_TUN_EXCL;
	req.ifr_flags = (short)flags;
	int size = TUN_VNET_BYTES;
	if (ioctl(fd, TUNSETIFF, &req) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &size) < 0) {
		int code = attach_failed(t->name, errno, err);
		close(fd);
		return code;
	}
	t->fd[i] = fd;
	return 0;
}

static unsigned tun_features(unsigned offloads)
{
	return (offloads & OFFLOAD_CSUM ? TUN_F_CSUM : 0) |
	       (offloads & OFFLOAD_TSO ? TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0) |
	       (offloads & OFFLOAD_USO ? TUN_F_USO4 | TUN_F_USO6 : 0);
}

/* Ask for these; what an older kernel refuses is given up one by one. Without any of them packets
 * come and go complete and one by one: slower, not wrong. */
static unsigned ask_offloads(int fd, unsigned offloads)
{
	static const unsigned give_up[] = {OFFLOAD_USO, OFFLOAD_TSO, OFFLOAD_CSUM};
	offloads &= OFFLOAD_CSUM | OFFLOAD_TSO | OFFLOAD_USO;
	for (size_t i = 0; ioctl(fd, TUNSETOFFLOAD, tun_features(offloads)) < 0; i++) {
		if (offloads == 0)
			break; /* so it was at first */
		offloads &= ~give_up[i];
	}
	return offloads;
}

int tun_open(const char *name, unsigned queues, unsigned offloads, struct tun **ret, char *err)
{
	if (!name_is_ok(name))
		return fail(err, -EINVAL,
			    "\"%s\" is no name for an interface: 1 to 15 characters without /, :, "
			    "%% and spaces.",
			    name);
	if (queues < 1 || queues > TUN_QUEUES_MAX)
		return fail(err, -EINVAL, "%u queues: a TUN device has 1 to %d.", queues,
			    TUN_QUEUES_MAX);
	struct tun *t = calloc(1, sizeof(*t));
	if (!t)
		return fail(err, -ENOMEM, "There is no memory for the TUN device.");
	memset(t->fd, -1, sizeof(t->fd));
	memcpy(t->name, name, strlen(name) + 1);
	t->queues = queues;
	int rc = if_nametoindex(name) ? attach_failed(name, EBUSY, err) : 0;
	for (unsigned i = 0; i < queues && rc == 0; i++)
		rc = open_queue(t, i, err);
	if (rc < 0) {
		tun_close(t);
		return rc;
	}
	t->offloads = ask_offloads(t->fd[0], offloads);
	*ret = t;
	return 0;
}

void tun_close(struct tun *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < TUN_QUEUES_MAX; i++) {
		if (t->fd[i] >= 0)
			close(t->fd[i]);
	}
	free(t);
}

const char *tun_name(const struct tun *t)
{
	return t->name;
}

unsigned tun_queues(const struct tun *t)
{
	return t->queues;
}

int tun_fd(const struct tun *t, unsigned queue)
{
	assert(queue < t->queues);
	return t->fd[queue];
}

unsigned tun_offloads(const struct tun *t)
{
	return t->offloads;
}

int tun_read_frame(struct tun *t, unsigned queue, uint8_t *buf, size_t room, struct tun_frame *ret)
{
	assert(room >= TUN_FRAME_ROOM);
	ssize_t n = read(tun_fd(t, queue), buf, room);
	if (n < 0)
		return -errno;
	if ((size_t)n >= room)
		return -EMSGSIZE;
	struct virtio_net_hdr h;
	if ((size_t)n <= sizeof(h))
		return -EBADMSG;
	memcpy(&h, buf, sizeof(h));
	return frame_parse(&h, buf + sizeof(h), (size_t)n - sizeof(h), ret);
}

/* The device takes complete packets only. */
static int complete_slice(struct virtio_net_hdr *h, const struct iovec *slice, unsigned n)
{
	size_t at = (size_t)h->csum_start + h->csum_offset;
	if (n != 1 || h->gso_type != VIRTIO_NET_HDR_GSO_NONE || at + 2 > slice->iov_len)
		return -EINVAL;
	checksum_close(slice->iov_base, slice->iov_len, h->csum_start, at);
	memset(h, 0, sizeof(*h));
	return 0;
}

int tun_write_iov(struct tun *t, unsigned queue, const struct virtio_net_hdr *h, struct iovec *iov,
		  unsigned n)
{
	assert(n >= 2);
	struct virtio_net_hdr mine = *h;
	if ((h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && !(t->offloads & OFFLOAD_CSUM)) {
		int rc = complete_slice(&mine, iov + 1, n - 1);
		if (rc < 0)
			return rc;
	}
	iov[0] = (struct iovec){&mine, sizeof(mine)};
	ssize_t done = writev(tun_fd(t, queue), iov, (int)n);
	return done < 0 ? -errno : 0;
}
