/* tests/netns/tun_frames.c - real TUN devices: the kernel hands us segmented frames and takes what
 * we put together.
 *
 *   namespace A   socket -- tun A --> frames, cut up, put together --> tun B -- socket   namespace
 * B
 *                         <-- and back -----------------------------
 *
 * One thread plays all parts: it enters a namespace to make a device or a socket there, and then
 * carries packets between the two devices as a client and an exit would. ioctl() is wrapped: it can
 * refuse offloads as an older kernel does; so is writev(), which looks at what is written. Needs
 * root (exit status 77: skipped).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/offload.h"
#include "base/plain_type.h"
#include "tun/coalesce.h"
#include "tun/device.h"
#include "tun/split.h"

#define MTU	      1371
#define ROUND_FRAMES  16 /* read before what came of them is written */
#define TCP_BYTES     (6u << 20)
#define DATAGRAMS     40
#define DATAGRAM      1000
#define LAST_DATAGRAM 123
#define DEADLINE      (30 * NSEC_PER_SEC)

struct end {
	int netns;
	struct tun *tun;
	struct coalesce *out;
	unsigned frames, segmented, read_packets; /* read from the device */
	unsigned cwr_segmented;			  /* of these, TCP with CWR */
	unsigned items, joined, written; /* written to it: items, those of several, packets */
};

static struct end ends[2];

/* --- an older kernel --- */

static unsigned refused; /* TUN_F_* */

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (request == TUNSETOFFLOAD && ((unsigned long)arg & refused)) {
		errno = EINVAL;
		return -1;
	}
	return __real_ioctl(fd, request, arg);
}

/* A device without checksum offload takes complete packets, and one without segmentation offload
 * single ones. */
ssize_t __real_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	for (int i = 0; i < 2; i++) {
		struct virtio_net_hdr h;
		if (!ends[i].tun || tun_fd(ends[i].tun, 0) != fd)
			continue;
		assert_int_equal(iov[0].iov_len, sizeof(h));
		memcpy(&h, iov[0].iov_base, sizeof(h));
		if (!(tun_offloads(ends[i].tun) & OFFLOAD_CSUM))
			assert_int_equal(h.flags, 0);
		if (!(tun_offloads(ends[i].tun) & (OFFLOAD_TSO | OFFLOAD_USO)))
			assert_int_equal(h.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	}
	return __real_writev(fd, iov, n);
}

/* --- namespaces and devices --- */

static void __attribute__((format(printf, 1, 2))) sh(const char *format, ...)
{
	char line[256];
	va_list ap;
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (system(line) != 0)
		fail_msg("failed: %s", line);
}

static void enter(const struct end *e)
{
	assert_int_equal(setns(e->netns, CLONE_NEWNET), 0);
}

static void write_item(void *arg, const struct virtio_net_hdr *h, struct iovec *iov, unsigned n)
{
	struct end *e = arg;
	int rc = tun_write_iov(e->tun, 0, h, iov, n);
	if (rc != 0)
		fail_msg("an item of %u packets, type %u, was not taken: %s", n - 1, h->gso_type,
			 strerror(-rc));
	e->items++;
	e->joined += n > 2;
	e->written += n - 1;
}

/* The kernel puts the route to an IPv6 address of its own in later, from a work queue; until then
 * it drops what comes for it. */
static void wait_for_address(int n)
{
	char line[100];
	nsec_t end = clock_now() + DEADLINE;
	snprintf(line, sizeof(line), "ip -6 route get fd00:99::%d 2>&1 | grep -q ^local", n);
	while (system(line) != 0) {
		if (clock_now() > end)
			fail_msg("the address does not come up");
		poll(NULL, 0, 5);
	}
}

/* A namespace with a device that asks for these offloads, 10.99.0.N and fd00:99::N. */
static void make_end(struct end *e, int n, unsigned offloads)
{
	char err[TUN_ERROR_BYTES];
	memset(e, 0, sizeof(*e));
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	e->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(e->netns >= 0);
	if (tun_open("inner", 1, offloads, &e->tun, err) != 0)
		fail_msg("%s", err);
	sh("echo 1 >/proc/sys/net/ipv4/tcp_ecn");
	sh("ip link set lo up && ip link set inner mtu %d up && ip addr add 10.99.0.%d/24 dev inner && "
	   "ip addr add fd00:99::%d/64 dev inner nodad",
	   MTU, n, n);
	wait_for_address(n);
	e->out = coalesce_new(tun_offloads(e->tun), write_item, e);
	assert_non_null(e->out);
}

static void make_ends(unsigned a, unsigned b)
{
	make_end(&ends[0], 1, a);
	make_end(&ends[1], 2, b);
}

static void remove_ends(void)
{
	for (int i = 0; i < 2; i++) {
		coalesce_free(ends[i].out);
		tun_close(ends[i].tun);
		ends[i].tun = NULL;
		close(ends[i].netns);
	}
}

/* A value of /proc/net/snmp there. */
static long snmp(const struct end *e, const char *protocol, const char *name)
{
	char names[1024], values[1024];
	size_t n = strlen(protocol);
	long found = -1;
	enter(e);
	FILE *f = fopen("/proc/thread-self/net/snmp", "r");
	assert_non_null(f);
	while (found < 0 && fgets(names, sizeof(names), f) && fgets(values, sizeof(values), f)) {
		char *nsave, *vsave;
		if (strncmp(names, protocol, n) != 0 || names[n] != ':')
			continue;
		char *word = strtok_r(names, " \n", &nsave);
		char *value = strtok_r(values, " \n", &vsave);
		for (; word && value; word = strtok_r(NULL, " \n", &nsave)) {
			if (strcmp(word, name) == 0)
				found = atol(value);
			value = strtok_r(NULL, " \n", &vsave);
		}
	}
	fclose(f);
	assert_true(found >= 0);
	return found;
}

/* --- from one device to the other --- */

static uint8_t arena[ROUND_FRAMES * (TUN_FRAME_ROOM + 4096)];

/* Congestion on the way: of a packet that may be marked, make one that is. */
static void mark_ce(uint8_t *p)
{
	if (p[0] >> 4 != 6 || (p[1] & 0x30) == 0)
		return;
	p[1] |= 0x30;
}

static size_t carry_packet(const struct tun_frame *f, unsigned i, uint8_t *to, struct end *e)
{
	static unsigned count;
	size_t n = frame_plain(f, i, to);
	struct ip_view v;
	assert_true(n <= 1 + MTU);
	assert_int_equal(ip_parse(to + 1, n - 1, &v), 0);
	assert_int_equal(v.len, n - 1);
	if (++count % 499 == 0)
		mark_ce(to + 1);
	coalesce_put(e->out, to + 1, &v, to[0] == PLAIN_PACKET_OPEN);
	return n;
}

/* Carry what waits at `from`, at most one round of it. */
static void carry(struct end *from, struct end *to)
{
	static uint8_t buf[TUN_FRAME_ROOM];
	size_t used = 0;
	for (int i = 0; i < ROUND_FRAMES; i++) {
		struct tun_frame f;
		int rc = tun_read_frame(from->tun, 0, buf, sizeof(buf), &f);
		if (rc == -EAGAIN)
			break;
		if (rc != 0)
			fail_msg("a frame could not be read: %s", strerror(-rc));
		from->frames++;
		from->segmented += f.packets > 1;
		from->read_packets += f.packets;
		if (f.packets > 1 && f.view.protocol == IP_TCP)
			from->cwr_segmented += f.data[f.view.l4_offset + 13] >> 7;
		for (unsigned k = 0; k < f.packets; k++) {
			assert_true(used + 1 + MTU <= sizeof(arena));
			used += carry_packet(&f, k, arena + used, to);
		}
	}
	coalesce_flush(to->out);
}

/* Carry both ways until one of the sockets can be read or written. */
static void carry_until(struct pollfd *sockets, nfds_t n)
{
	struct pollfd p[4];
	nsec_t end = clock_now() + DEADLINE;
	for (;;) {
		p[0] = (struct pollfd){.fd = tun_fd(ends[0].tun, 0), .events = POLLIN};
		p[1] = (struct pollfd){.fd = tun_fd(ends[1].tun, 0), .events = POLLIN};
		memcpy(p + 2, sockets, n * sizeof(p[0]));
		assert_true(poll(p, 2 + n, 1000) >= 0);
		if (clock_now() > end)
			fail_msg("nothing came for too long");
		if (p[0].revents)
			carry(&ends[0], &ends[1]);
		if (p[1].revents)
			carry(&ends[1], &ends[0]);
		memcpy(sockets, p + 2, n * sizeof(p[0]));
		for (nfds_t i = 0; i < n; i++)
			if (sockets[i].revents)
				return;
	}
}

/* --- sockets --- */

static socklen_t address(int family, int n, struct sockaddr_storage *ret)
{
	char text[40];
	struct addr a;
	snprintf(text, sizeof(text), family == AF_INET ? "10.99.0.%d:5000" : "[fd00:99::%d]:5000",
		 n);
	assert_int_equal(addr_parse(text, &a), 0);
	return addr_to_sockaddr(&a, ret);
}

static int socket_at(const struct end *e, int family, int type)
{
	enter(e);
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	return fd;
}

static int listen_at(const struct end *e, int family, int type)
{
	struct sockaddr_storage ss;
	int fd = socket_at(e, family, type), one = 1;
	socklen_t n = address(family, 2, &ss);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, n), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static uint8_t stream_byte(size_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* A connection from A to B; ret_a and ret_b are its ends. */
static void connect_ends(int family, int *ret_a, int *ret_b)
{
	struct sockaddr_storage ss;
	int listener = listen_at(&ends[1], family, SOCK_STREAM);
	int a = socket_at(&ends[0], family, SOCK_STREAM);
	socklen_t n = address(family, 2, &ss);
	assert_int_equal(connect(a, (struct sockaddr *)&ss, n), -1);
	assert_int_equal(errno, EINPROGRESS);
	struct pollfd p = {.fd = listener, .events = POLLIN};
	carry_until(&p, 1);
	*ret_b = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(*ret_b >= 0);
	*ret_a = a;
	close(listener);
}

static size_t send_some(int fd, size_t sent)
{
	static uint8_t chunk[1 << 17];
	size_t n = TCP_BYTES - sent < sizeof(chunk) ? TCP_BYTES - sent : sizeof(chunk);
	for (size_t i = 0; i < n; i++)
		chunk[i] = stream_byte(sent + i);
	ssize_t done = send(fd, chunk, n, MSG_NOSIGNAL);
	assert_true(done > 0 || errno == EAGAIN);
	return done > 0 ? (size_t)done : 0;
}

static size_t receive_some(int fd, size_t got)
{
	static uint8_t chunk[1 << 17];
	ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
	assert_true(n > 0 || errno == EAGAIN);
	for (ssize_t i = 0; i < n; i++)
		if (chunk[i] != stream_byte(got + (size_t)i))
			fail_msg("byte %zu is another", got + (size_t)i);
	return n > 0 ? (size_t)n : 0;
}

/* TCP_BYTES from `from` to `to`, and both closed: the last byte was received, and the end of it. */
static void run_stream(int from, int to)
{
	size_t sent = 0, got = 0;
	while (got < TCP_BYTES) {
		struct pollfd p[2] = {{.fd = to, .events = POLLIN},
				      {.fd = from, .events = sent < TCP_BYTES ? POLLOUT : 0}};
		carry_until(p, 2);
		if (p[1].revents & POLLOUT)
			sent += send_some(from, sent);
		if (p[0].revents)
			got += receive_some(to, got);
	}
	assert_int_equal(shutdown(from, SHUT_WR), 0);
	struct pollfd p = {.fd = to, .events = POLLIN};
	carry_until(&p, 1);
	uint8_t byte;
	assert_int_equal(recv(to, &byte, 1, 0), 0);
	close(from);
	close(to);
}

/* Datagrams by UDP_SEGMENT from A, to a socket with or without UDP_GRO at B. */
static void run_datagrams(int family, bool gro)
{
	static uint8_t all[(DATAGRAMS - 1) * DATAGRAM + LAST_DATAGRAM], got[1 << 16];
	struct sockaddr_storage ss;
	int to = listen_at(&ends[1], family, SOCK_DGRAM), one = 1, size = DATAGRAM;
	int from = socket_at(&ends[0], family, SOCK_DGRAM);
	socklen_t n = address(family, 2, &ss);
	if (gro)
		assert_int_equal(setsockopt(to, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)), 0);
	assert_int_equal(connect(from, (struct sockaddr *)&ss, n), 0);
	assert_int_equal(setsockopt(from, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = stream_byte(i);
	assert_int_equal(send(from, all, sizeof(all), 0), sizeof(all));
	bool joined = false;
	for (size_t at = 0; at < sizeof(all);) {
		struct pollfd p = {.fd = to, .events = POLLIN};
		carry_until(&p, 1);
		ssize_t len = recv(to, got, sizeof(got), 0);
		assert_true(len > 0 && at + (size_t)len <= sizeof(all));
		assert_memory_equal(got, all + at, (size_t)len);
		joined |= len > DATAGRAM;
		at += (size_t)len;
		if (!gro)
			assert_int_equal(len, at < sizeof(all) ? DATAGRAM : LAST_DATAGRAM);
	}
	assert_int_equal(joined, gro && (tun_offloads(ends[1].tun) & OFFLOAD_USO));
	close(from);
	close(to);
}

/* --- what the devices did --- */

static void check_streams(int family)
{
	int a, b;
	connect_ends(family, &a, &b);
	run_stream(a, b);
	connect_ends(family, &a, &b);
	run_stream(b, a);
	for (int i = 0; i < 2; i++) {
		struct end *e = &ends[i], *other = &ends[1 - i];
		bool tso = tun_offloads(e->tun) & OFFLOAD_TSO;
		assert_int_equal(e->segmented > 0, tso); /* it handed us some */
		assert_int_equal(e->joined > 0, tso);	 /* and took some */
		assert_int_equal(e->written, other->read_packets);
		assert_int_equal(snmp(e, "Tcp", "InCsumErrors"), 0);
		assert_int_equal(snmp(e, "Tcp", "InErrs"), 0);
		assert_int_equal(snmp(e, "Ip", "InHdrErrors"), 0);
		if (tso)
			assert_true(e->read_packets > 5 * e->frames);
		if (tso && tun_offloads(other->tun) & OFFLOAD_TSO)
			assert_true(e->written > 5 * e->items);
	}
}

static void check_datagrams(int family)
{
	struct end *a = &ends[0], *b = &ends[1];
	for (int gro = 0; gro < 2; gro++) {
		unsigned segmented = a->segmented, joined = b->joined;
		run_datagrams(family, gro);
		assert_int_equal(a->segmented - segmented,
				 tun_offloads(a->tun) & OFFLOAD_USO ? 1 : 0);
		if (!(tun_offloads(b->tun) & OFFLOAD_USO))
			assert_int_equal(b->joined, joined);
		else
			assert_true(b->joined > joined);
	}
	assert_int_equal(snmp(b, "Udp", "InErrors"), 0);
	assert_int_equal(snmp(b, "Udp", "InCsumErrors"), 0);
}

#define CSUM OFFLOAD_CSUM
#define TSO  (OFFLOAD_CSUM | OFFLOAD_TSO)
#define ALL  (OFFLOAD_CSUM | OFFLOAD_TSO | OFFLOAD_USO)

static void frames_pass_between_two_devices(void **state)
{
	(void)state;
	static const unsigned masks[][2] = {
		{ALL, ALL}, {TSO, ALL}, {ALL, CSUM}, {0, ALL}, {ALL, 0}};
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		for (int v6 = 0; v6 < 2; v6++) {
			make_ends(masks[i][0], masks[i][1]);
			check_datagrams(v6 ? AF_INET6 : AF_INET);
			ends[0].segmented = ends[1].segmented = 0;
			ends[0].joined = ends[1].joined = 0;
			check_streams(v6 ? AF_INET6 : AF_INET);
			if (v6 && i == 0) /* marked packets made the sender say CWR */
				assert_true(ends[0].cwr_segmented > 0);
			remove_ends();
		}
	}
}

/* What this kernel has of them. USO came with Linux 6.2. */
static unsigned kernel_has(void)
{
	char err[TUN_ERROR_BYTES];
	struct tun *t;
	assert_int_equal(tun_open("probe", 1, OFFLOAD_ALL, &t, err), 0);
	unsigned has = tun_offloads(t);
	tun_close(t);
	struct utsname u;
	int major = 0, minor = 0;
	assert_int_equal(uname(&u), 0);
	assert_int_equal(sscanf(u.release, "%d.%d", &major, &minor), 2);
	assert_int_equal(has, major > 6 || (major == 6 && minor >= 2) ? ALL : TSO);
	return has;
}

static void frames_fall_back_on_older_kernels(void **state)
{
	(void)state;
	static const unsigned uso = 0x20 | 0x40, tso = TUN_F_TSO4 | TUN_F_TSO6;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	unsigned has = kernel_has();
	const struct {
		unsigned refused, asked, want;
	} rows[] = {
		{0, ALL, has},
		{0, 0, 0},
		{0, CSUM, CSUM},
		{0, TSO, TSO},
		{0, CSUM | OFFLOAD_USO, has & ~(unsigned)OFFLOAD_TSO},
		{0, OFFLOAD_TSO | OFFLOAD_USO, 0}, /* they want csum */
		{uso, ALL, TSO},
		{uso | TUN_F_TSO_ECN, ALL, CSUM},
		{tso, ALL, CSUM},
		{TUN_F_CSUM, ALL, 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char err[TUN_ERROR_BYTES];
		struct tun *t;
		refused = rows[i].refused;
		assert_int_equal(tun_open("old", 2, rows[i].asked, &t, err), 0);
		assert_int_equal(tun_offloads(t), rows[i].want);
		tun_close(t);
	}
	refused = uso;
	make_ends(ALL, ALL);
	check_datagrams(AF_INET);
	check_streams(AF_INET);
	remove_ends();
	refused = 0;
}

static void frames_tell_errors(void **state)
{
	(void)state;
	static uint8_t buf[TUN_FRAME_ROOM];
	static uint8_t packet[1500] = {0x45};
	struct iovec iov[3] = {[1] = {packet, 60}, [2] = {packet, 40}};
	struct virtio_net_hdr h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				   .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
				   .gso_size = 40,
				   .csum_start = 20,
				   .csum_offset = 16};
	struct tun_frame f = {.len = 5};
	make_ends(ALL, 0);
	sh("ip link set inner down"); /* B, where we are: no router solicitations */
	while (tun_read_frame(ends[1].tun, 0, buf, sizeof(buf), &f) == 0)
		;
	assert_int_equal(tun_read_frame(ends[1].tun, 0, buf, sizeof(buf), &f), -EAGAIN);
	assert_int_equal(tun_write_iov(ends[1].tun, 0, &h, iov, 3), -EINVAL); /* needs TSO */
	h.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	h.csum_start = 43;
	assert_int_equal(tun_write_iov(ends[1].tun, 0, &h, iov, 2), -EINVAL); /* behind the end */
	h.flags = 0;
	assert_int_equal(tun_write_iov(ends[1].tun, 0, &h, iov, 2), -EIO); /* it is down */
	sh("ip link del inner");
	assert_int_equal(tun_read_frame(ends[1].tun, 0, buf, sizeof(buf), &f), -EBADFD);
	assert_int_equal(tun_write_iov(ends[1].tun, 0, &h, iov, 2), -EBADFD);
	remove_ends();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_fall_back_on_older_kernels),
		cmocka_unit_test(frames_pass_between_two_devices),
		cmocka_unit_test(frames_tell_errors),
	};
	if (geteuid() != 0) {
		puts("needs root");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
