/* tests/unit/test_udp_header.c - what the world sees of our datagrams: the outer header's fields,
 * and what an MTU does to runs; real packets in a network namespace of our own, whose defaults are
 * not ours. */
#include "net/udp.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "udp_world.h"

#define OTHER_TTL	77
#define OTHER_HOP_LIMIT 99
#ifndef IPV6_FLOWINFO
#define IPV6_FLOWINFO 11 /* linux/in6.h; the libc has no name for it */
#endif

struct seen {
	int ttl, traffic_class,
		flow_label; /* flow label 0: the kernel does not tell one that is zero */
};

static void write_file(const char *path, int value)
{
	FILE *f = fopen(path, "w");
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	assert_true(fprintf(f, "%d", value) > 0);
	assert_int_equal(fclose(f), 0);
}

static void set_loopback(unsigned long request, struct ifreq *r)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	strcpy(r->ifr_name, "lo");
	assert_int_equal(ioctl(fd, request, r), 0);
	close(fd);
}

static void set_mtu(int mtu)
{
	struct ifreq r = {.ifr_mtu = mtu};
	set_loopback(SIOCSIFMTU, &r);
}

/* Defaults that differ from ours, in a namespace of our own. */
static int enter_namespace(void **state)
{
	(void)state;
	struct ifreq r = {.ifr_flags = IFF_UP};
	set_loopback(SIOCSIFFLAGS, &r);
	write_file("/proc/sys/net/ipv4/ip_default_ttl", OTHER_TTL);
	write_file("/proc/sys/net/ipv6/conf/all/hop_limit", OTHER_HOP_LIMIT);
	write_file("/proc/sys/net/ipv6/conf/lo/hop_limit", OTHER_HOP_LIMIT);
	write_file("/proc/sys/net/ipv6/auto_flowlabels", 1);
	return 0;
}

static void set_option(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

/* A socket that tells the header fields of what comes in. */
static struct udp *open_witness(uint8_t family)
{
	struct udp *u = open_udp(family, 0);
	if (family == 4) {
		set_option(udp_fd(u), IPPROTO_IP, IP_RECVTTL, 1);
		set_option(udp_fd(u), IPPROTO_IP, IP_RECVTOS, 1);
	} else {
		set_option(udp_fd(u), IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
		set_option(udp_fd(u), IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
		set_option(udp_fd(u), IPPROTO_IPV6, IPV6_FLOWINFO, 1);
	}
	return u;
}

static struct seen see_one(struct udp *u, size_t bytes)
{
	union {
		struct cmsghdr align;
		uint8_t room[256];
	} control;
	uint8_t data[2048];
	struct iovec iov = {data, sizeof(data)};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	struct seen seen = {.ttl = -1, .traffic_class = -1};
	wait_readable(u);
	assert_int_equal(recvmsg(udp_fd(u), &h, 0), bytes);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		uint32_t v = 0;
		memcpy(&v, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0) < 4 ? 1 : 4);
		if (c->cmsg_type == (c->cmsg_level == IPPROTO_IP ? IP_TTL : IPV6_HOPLIMIT))
			seen.ttl = (int)v;
		else if (c->cmsg_type == (c->cmsg_level == IPPROTO_IP ? IP_TOS : IPV6_TCLASS))
			seen.traffic_class = (int)v;
		else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_FLOWINFO)
			seen.flow_label = (int)(ntohl(v) & 0xfffff);
	}
	return seen;
}

static void check_seen(struct seen s)
{
	assert_int_equal(s.ttl, 64);
	assert_int_equal(s.traffic_class, 0);
	assert_int_equal(s.flow_label, 0);
}

static void check_header(uint8_t family)
{
	static const uint8_t bytes[500];
	struct udp *witness = open_witness(family);
	struct addr to = udp_local(witness);

	/* what the witness sees of a socket that takes the namespace's defaults, and another class
	 */
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(&to, &ss);
	int plain = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(plain >= 0);
	if (family == 4)
		set_option(plain, IPPROTO_IP, IP_TOS, 0x28);
	else
		set_option(plain, IPPROTO_IPV6, IPV6_TCLASS, 0x28);
	assert_int_equal(sendto(plain, bytes, 10, 0, (struct sockaddr *)&ss, n), 10);
	struct seen other = see_one(witness, 10);
	assert_int_equal(other.ttl, family == 4 ? OTHER_TTL : OTHER_HOP_LIMIT);
	assert_int_equal(other.traffic_class, 0x28);
	assert_true(family == 4 || other.flow_label != 0);
	close(plain);

	for (unsigned without = 0; without < 2; without++) {
		struct udp *u = open_udp(family, without ? UDP_OFFLOAD_GSO : 0);
		struct udp_writer *w = udp_writer_new(u);
		assert_non_null(w);
		assert_int_equal(udp_send_now(u, bytes, 11, &to), 0);
		check_seen(see_one(witness, 11));
		for (unsigned i = 0; i < 5; i++)
			udp_writer_put(w, bytes, 100 - i / 4, &to);
		udp_writer_put(w, bytes, 200, &to);
		assert_int_equal(udp_writer_flush(w), 0);
		for (unsigned i = 0; i < 6; i++)
			check_seen(see_one(witness, i == 5 ? 200 : 100 - i / 4));
		udp_writer_free(w);
		udp_close(u);
	}
	udp_close(witness);
}

static void udp_header_has_the_same_fields_everywhere(void **state)
{
	(void)state;
	check_header(4);
	check_header(6);
}

/* Five datagrams of 1,400 B and one of 1,000 B where 1,300 B pass. */
static void check_mtu(uint8_t family, enum udp_df df)
{
	struct seeded s = {1};
	struct udp_world w = world_open(family, 0);
	const struct udp_writer_counters *c = udp_writer_counters(w.writer);
	assert_int_equal(udp_set_df(w.from, df), 0);
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < 5; i++) {
			world_put(&w, &s, 0, 1400, 0);
			if (df != UDP_DF_OFF)
				w.put[i].n = 0; /* does not arrive */
		}
		world_put(&w, &s, 0, 1000, 0);
		assert_int_equal(udp_writer_flush(w.writer), df == UDP_DF_OFF ? 0 : 5);
		assert_int_equal(udp_offloads(w.from), kernel_offloads());
		world_check(&w);
	}
	assert_int_equal(c->too_large, df == UDP_DF_OFF ? 0 : 10);
	assert_int_equal(c->failed, c->too_large);
	assert_int_equal(c->sent, 12 - c->failed);
	if (kernel_offloads() & UDP_OFFLOAD_GSO)
		assert_int_equal(c->fell_back, 2);

	uint64_t before = c->bursts; /* what fits goes as before */
	for (size_t i = 0; i < 5; i++)
		world_put(&w, &s, 1, 1240, 0);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(c->bursts - before, kernel_offloads() & UDP_OFFLOAD_GSO ? 1 : 5);
	world_check(&w);
	world_close(&w);
}

static void udp_writer_meets_an_mtu(void **state)
{
	(void)state;
	set_mtu(1300);
	for (unsigned df = UDP_DF_PROBE; df <= UDP_DF_OFF; df++) {
		check_mtu(4, (enum udp_df)df);
		check_mtu(6, (enum udp_df)df);
	}
	set_mtu(65536);
}

/* The namespace has two ports to give: a third socket gets none, but may share one by its number.
 */
static void check_free_ports(uint8_t family)
{
	struct udp *u[2], *more;
	struct udp_config c = {.bind = loopback(family)};
	u[0] = open_udp(family, 0);
	u[1] = open_udp(family, 0);
	assert_int_not_equal(udp_local(u[0]).port, udp_local(u[1]).port);
	assert_int_equal(udp_open(&c, &more), -EADDRINUSE);
	c.bind = udp_local(u[0]);
	assert_int_equal(udp_open(&c, &more), 0);
	udp_close(more);
	udp_close(u[0]);
	udp_close(u[1]);
}

static void udp_port_that_the_kernel_chooses_is_nobody_elses(void **state)
{
	(void)state;
	static const char path[] = "/proc/sys/net/ipv4/ip_local_port_range";
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs("40000 40001", f) >= 0);
	assert_int_equal(fclose(f), 0);
	check_free_ports(4);
	check_free_ports(6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_header_has_the_same_fields_everywhere),
		cmocka_unit_test(udp_writer_meets_an_mtu),
		cmocka_unit_test(udp_port_that_the_kernel_chooses_is_nobody_elses), /* the last */
	};
	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		fprintf(stderr, "test_udp_header: no network namespace to be had: %s\n",
			strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, enter_namespace, NULL);
}
