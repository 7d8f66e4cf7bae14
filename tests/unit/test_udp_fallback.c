/* tests/unit/test_udp_fallback.c - kernels and paths without UDP offloads, played by wrapped system
 * calls over real sockets: what the writer finds out, that nothing is lost by it, and what the
 * reader makes of odd answers. */
#include "net/udp.h"
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include "udp_world.h"

/* What the played kernel refuses; 0 for nothing. */
static struct {
	int run_error;	   /* for each message with UDP_SEGMENT */
	int runs;	   /* how many of them, 0 for all */
	size_t mtu;	   /* longest datagram; EMSGSIZE beyond it */
	int mtu_run_error; /* for a run with longer segments; EMSGSIZE if 0 */
	size_t room;	   /* messages until the buffer is full, 0 for no limit: EAGAIN */
	int interrupts;	   /* calls that end with EINTR first */
	int without;	   /* socket option of SOL_UDP that does not exist: ENOPROTOOPT */
	unsigned calls;	   /* of sendmmsg and recvmmsg */
	size_t pieces;	   /* of memory, in all messages of sendmmsg */
	unsigned asked;	   /* messages of the last one */
	struct addr to;	   /* of the first message of the last sendmmsg */
	socklen_t to_bytes;
	void (*answer)(struct mmsghdr *m); /* changes what recvmmsg brought */
} kernel;

int __real_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
int __real_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t);
int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t n);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n);

static size_t message_bytes(const struct msghdr *h)
{
	size_t n = 0;
	for (size_t i = 0; i < h->msg_iovlen; i++)
		n += h->msg_iov[i].iov_len;
	return n;
}

/* Length of the segments of a run, 0 for a single datagram. */
static uint16_t run_segment(struct msghdr *h)
{
	uint16_t segment = 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	if (c) {
		assert_int_equal(c->cmsg_level, SOL_UDP);
		assert_int_equal(c->cmsg_type, UDP_SEGMENT);
		assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(segment)));
		memcpy(&segment, CMSG_DATA(c), sizeof(segment));
		assert_true(segment > 0 && message_bytes(h) > segment);
	}
	return segment;
}

static int refusal(struct msghdr *h)
{
	uint16_t segment = run_segment(h);
	if (segment && kernel.run_error) {
		int error = kernel.run_error;
		if (kernel.runs && --kernel.runs == 0)
			kernel.run_error = 0;
		return error;
	}
	if (kernel.mtu && segment > kernel.mtu)
		return kernel.mtu_run_error ? kernel.mtu_run_error : EMSGSIZE;
	if (kernel.mtu && !segment && message_bytes(h) > kernel.mtu)
		return EMSGSIZE;
	return 0;
}

/* Like the kernel's: an error is told only when it is about the first message. */
int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	unsigned taken = 0;
	int error = 0;
	kernel.calls++;
	kernel.asked = n;
	kernel.to = addr_from_sockaddr(m[0].msg_hdr.msg_name);
	kernel.to_bytes = m[0].msg_hdr.msg_namelen;
	for (unsigned i = 0; i < n; i++)
		kernel.pieces += m[i].msg_hdr.msg_iovlen;
	assert_true(flags & MSG_DONTWAIT && n <= UDP_BATCH);
	if (kernel.interrupts > 0) {
		kernel.interrupts--;
		errno = EINTR;
		return -1;
	}
	for (; taken < n; taken++) {
		if (kernel.room == 1)
			error = EAGAIN;
		else if (taken > 0 && kernel.run_error && run_segment(&m[taken].msg_hdr))
			break; /* its turn comes when it is the first */
		else
			error = refusal(&m[taken].msg_hdr);
		if (error)
			break;
		kernel.room -= kernel.room > 0;
	}
	if (taken > 0)
		return __real_sendmmsg(fd, m, taken, flags);
	errno = error;
	return -1;
}

int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t)
{
	kernel.asked = n;
	if (kernel.interrupts > 0) {
		kernel.interrupts--;
		errno = EINTR;
		return -1;
	}
	int got = __real_recvmmsg(fd, m, n, flags, t);
	for (int i = 0; i < got; i++)
		if (kernel.answer)
			kernel.answer(&m[i]);
	return got;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	if (level == SOL_UDP && name == kernel.without) {
		errno = ENOPROTOOPT;
		return -1;
	}
	return __real_setsockopt(fd, level, name, value, n);
}

static struct udp_world open_world(uint8_t family)
{
	memset(&kernel, 0, sizeof(kernel));
	return world_open(family, 0);
}

static bool has_gso(const struct udp_world *w)
{
	return udp_offloads(w->from) & UDP_OFFLOAD_GSO;
}

static void put_many(struct udp_world *w, struct seeded *s, unsigned to, size_t n, size_t count,
		     size_t gap)
{
	for (size_t i = 0; i < count; i++)
		world_put(w, s, to, n, gap);
}

/* A single datagram, runs for two destinations, one of them back to back, and another single one.
 */
static void put_mixed(struct udp_world *w, struct seeded *s)
{
	world_put(w, s, 2, 11, 0);
	for (size_t i = 0; i < 5; i++) {
		world_put(w, s, 0, 1200, 0);
		world_put(w, s, 1, 700, 3);
	}
	world_put(w, s, 0, 800, 0);
	put_many(w, s, 1, 30, 4, 0);
	world_put(w, s, 2, 12, 0);
}

static void check_without_gso(uint8_t family, int error)
{
	struct seeded s = {1};
	struct udp_world w = open_world(family);
	const struct udp_writer_counters *c = udp_writer_counters(w.writer);
	unsigned offloads = udp_offloads(w.from);
	kernel.run_error = error;
	put_mixed(&w, &s);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(udp_offloads(w.from), offloads & ~(unsigned)UDP_OFFLOAD_GSO);
	assert_int_equal(c->fell_back, 1); /* one try was enough */
	assert_int_equal(c->sent, 17);
	assert_int_equal(c->bursts, 17);
	assert_int_equal(c->failed, 0);
	world_check(&w);

	kernel.calls = 0;
	put_mixed(&w, &s);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(kernel.calls, 1);
	assert_int_equal(c->fell_back, 1);
	assert_int_equal(c->sent, 2 * 17);
	world_check(&w);
	world_close(&w);
}

static void udp_writer_learns_that_a_path_has_no_gso(void **state)
{
	(void)state;
	static const int errors[] = {EIO, EINVAL, EOPNOTSUPP};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		check_without_gso(4, errors[i]);
		check_without_gso(6, errors[i]);
	}
}

static void udp_writer_loses_nothing_by_falling_back(void **state)
{
	(void)state;
	struct seeded s = {2};
	for (unsigned i = 0; i < 20; i++) {
		struct udp_world w = open_world(i % 2 ? 4 : 6);
		put_many(&w, &s, 0, 100, 1 + i, 0);
		assert_int_equal(udp_writer_flush(w.writer), 0);
		world_check(&w);
		kernel.run_error = i % 4 < 2 ? EIO : ENOBUFS; /* for good, or once */
		kernel.runs = i % 4 < 2 ? 0 : (int)(1 + i);
		world_put_random(&w, &s, 57);
		assert_int_equal(udp_writer_flush(w.writer), 0);
		assert_true(udp_writer_counters(w.writer)->fell_back > 0);
		assert_int_equal(has_gso(&w), i % 4 >= 2);
		world_check(&w);
		world_close(&w);
	}
}

/* Datagrams that lie back to back are one piece for the kernel, and are found again in it one by
 * one. */
static void udp_writer_joins_adjacent_memory(void **state)
{
	(void)state;
	struct seeded s = {12};
	struct udp_world w = open_world(4);
	put_many(&w, &s, 0, 1000, 6, 0);
	world_put(&w, &s, 0, 999, 0);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(kernel.pieces, 1);
	world_check(&w);

	put_many(&w, &s, 0, 1000, 2, 0);
	put_many(&w, &s, 0, 1000, 1, 1);
	put_many(&w, &s, 0, 1000, 3, 0);
	put_many(&w, &s, 0, 1000, 2, 7);
	world_put(&w, &s, 0, 999, 0);
	kernel.run_error = EIO;
	kernel.pieces = 0;
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(kernel.pieces, 4 + 9); /* refused, and then alone */
	world_check(&w);
	world_close(&w);
}

/* Segments beyond the MTU are the sender's fault. before_6_14: how older kernels say it. */
static void check_too_large(bool before_6_14)
{
	struct seeded s = {3};
	struct udp_world w = open_world(4);
	const struct udp_writer_counters *c = udp_writer_counters(w.writer);
	kernel.mtu = 1000;
	kernel.mtu_run_error = before_6_14 ? EINVAL : EMSGSIZE;
	put_many(&w, &s, 0, 1200, 5, 0);
	world_put(&w, &s, 0, 800, 0);
	put_many(&w, &s, 1, 900, 4, 0);
	world_put(&w, &s, 1, 1001, 0);
	for (unsigned i = 0; i < 5; i++) /* they will not arrive */
		w.put[i].n = 0;
	w.put[10].n = 0;
	assert_int_equal(udp_writer_flush(w.writer), 6);
	assert_int_equal(c->too_large, 6);
	assert_int_equal(c->failed, 6);
	assert_int_equal(c->sent, 5);
	assert_int_equal(c->bursts, 2);
	assert_int_equal(c->fell_back, 1);
	assert_true(has_gso(&w));
	world_check(&w);
	world_close(&w);
}

static void udp_writer_blames_a_large_segment_on_nobody_else(void **state)
{
	(void)state;
	check_too_large(false);
	check_too_large(true);
}

/* Where the network may fragment, datagrams pass that no run can hold. */
static void udp_writer_keeps_gso_where_fragments_pass(void **state)
{
	(void)state;
	static const int errors[] = {EMSGSIZE, EINVAL};
	for (size_t i = 0; i < 2; i++) {
		struct seeded s = {4};
		struct udp_world w = open_world(4);
		assert_int_equal(udp_set_df(w.from, UDP_DF_OFF), 0);
		kernel.run_error = errors[i];
		put_mixed(&w, &s);
		assert_int_equal(udp_writer_flush(w.writer), 0);
		assert_int_equal(udp_writer_counters(w.writer)->fell_back, 3);
		assert_true(has_gso(&w));
		world_check(&w);

		assert_int_equal(udp_set_df(w.from, UDP_DF_PROBE), 0);
		put_mixed(&w, &s);
		assert_int_equal(udp_writer_flush(w.writer), 0);
		assert_int_equal(has_gso(&w), errors[i] == EMSGSIZE);
		world_check(&w);
		world_close(&w);
	}
}

static void udp_writer_keeps_gso_when_memory_was_short(void **state)
{
	(void)state;
	static const int errors[] = {ENOBUFS, ENOMEM, EPERM};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct seeded s = {5};
		struct udp_world w = open_world(6);
		const struct udp_writer_counters *c = udp_writer_counters(w.writer);
		kernel.run_error = errors[i];
		kernel.runs = 1;
		put_mixed(&w, &s);
		assert_int_equal(udp_writer_flush(w.writer), 0);
		assert_int_equal(c->fell_back, 1);
		assert_int_equal(c->sent, 17);
		assert_int_equal(c->bursts, 6 + 4); /* the second and third run whole */
		assert_true(has_gso(&w));
		world_check(&w);
		world_close(&w);
	}
}

static void udp_writer_does_not_insist_without_a_route(void **state)
{
	(void)state;
	static const int errors[] = {ENETUNREACH, EHOSTUNREACH, ENETDOWN};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct seeded s = {6};
		struct udp_world w = open_world(4);
		const struct udp_writer_counters *c = udp_writer_counters(w.writer);
		kernel.run_error = errors[i];
		put_many(&w, &s, 0, 500, 60, 0);
		for (unsigned k = 0; k < 60; k++)
			w.put[k].n = 0;
		world_put(&w, &s, 1, 501, 0);
		assert_int_equal(udp_writer_flush(w.writer), 60);
		assert_int_equal(c->calls, 2);
		assert_int_equal(c->failed, 60);
		assert_int_equal(c->sent, 1);
		assert_int_equal(c->fell_back, 0);
		assert_int_equal(c->full + c->too_large, 0);
		assert_true(has_gso(&w));
		world_check(&w);
		world_close(&w);
	}
}

/* room: messages that the buffer takes; then datagrams that arrive of 1 + 4 + 3 in three messages.
 */
static void check_full(int run_error, size_t room, size_t sent, size_t calls)
{
	struct seeded s = {7};
	struct udp_world w = open_world(4);
	const struct udp_writer_counters *c = udp_writer_counters(w.writer);
	world_put(&w, &s, 0, 50, 0);
	put_many(&w, &s, 1, 400, 4, 0);
	put_many(&w, &s, 0, 300, 3, 0);
	for (size_t i = sent; i < w.n; i++)
		w.put[i].n = 0;
	kernel.run_error = run_error;
	kernel.room = room + 1;
	assert_int_equal(udp_writer_flush(w.writer), 8 - sent);
	assert_int_equal(c->sent, sent);
	assert_int_equal(c->full, 8 - sent);
	assert_int_equal(c->failed, 8 - sent);
	assert_int_equal(c->calls, calls);
	assert_int_equal(has_gso(&w), run_error == 0);
	world_check(&w);
	world_close(&w);
}

static void udp_writer_drops_the_rest_when_the_buffer_is_full(void **state)
{
	(void)state;
	check_full(0, 2, 5, 2);
	check_full(0, 1, 1, 2);
	check_full(0, 0, 0, 1);
	/* in the middle of a run that goes one by one: first the single one, the run, two of it,
	 * the rest of it; then the second run's first */
	check_full(EIO, 3, 3, 5);
}

/* On loopback an address that is left out arrives too. */
static void udp_writer_names_whom_it_is_for(void **state)
{
	(void)state;
	static const uint8_t ip[16] = {0x20, 1,	 0x0d, 0xb8, 5,	 6,  7,	 8,
				       9,    10, 11,   12,   13, 14, 15, 16};
	for (uint8_t family = 4; family <= 6; family += 2) {
		struct udp_world w = open_world(family);
		struct addr to = addr_from_ip(ip, family == 4 ? 4 : 16, 0x1234);
		kernel.room = 1;
		udp_writer_put(w.writer, ip, sizeof(ip), &to);
		assert_int_equal(udp_writer_flush(w.writer), 1);
		assert_true(addr_equal(&kernel.to, &to));
		assert_int_equal(kernel.to_bytes, family == 4 ? sizeof(struct sockaddr_in)
							      : sizeof(struct sockaddr_in6));
		world_close(&w);
	}
}

static void udp_calls_go_on_after_a_signal(void **state)
{
	(void)state;
	struct seeded s = {8};
	struct udp_world w = open_world(4);
	kernel.interrupts = 2;
	put_mixed(&w, &s);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(kernel.interrupts, 0);
	kernel.interrupts = 2;
	world_check(&w);
	assert_int_equal(kernel.interrupts, 0);
	world_close(&w);
}

static void check_old_kernel(int without, unsigned has, uint8_t family)
{
	struct seeded s = {9};
	memset(&kernel, 0, sizeof(kernel));
	kernel.without = without;
	struct udp_world w = world_open(family, 0);
	assert_int_equal(udp_offloads(w.from), has);
	put_mixed(&w, &s);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(udp_writer_counters(w.writer)->bursts, has & UDP_OFFLOAD_GSO ? 5 : 17);
	world_check(&w);
	assert_int_equal(kernel.asked, has & UDP_OFFLOAD_GRO ? 8 : UDP_BATCH);
	world_close(&w);
}

static void udp_works_on_kernels_without_offloads(void **state)
{
	(void)state;
	check_old_kernel(UDP_SEGMENT, UDP_OFFLOAD_GRO, 4);
	check_old_kernel(UDP_SEGMENT, UDP_OFFLOAD_GRO, 6);
	check_old_kernel(UDP_GRO, UDP_OFFLOAD_GSO, 4);
	check_old_kernel(UDP_GRO, UDP_OFFLOAD_GSO, 6);
}

/* GRO that is there at first and refused when a reader asks: small buffers and no bursts. */
static void udp_reader_does_without_gro_when_it_is_refused(void **state)
{
	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	struct udp *u = open_udp(4, 0);
	struct addr to = udp_local(u);
	kernel.without = UDP_GRO;
	struct udp_reader *r = udp_reader_new(u);
	const struct udp_burst *b;
	assert_non_null(r);
	assert_int_equal(udp_offloads(u), UDP_OFFLOAD_GSO);
	assert_int_equal(udp_send_now(u, "ab", 2, &to), 0);
	wait_readable(u);
	assert_int_equal(udp_reader_receive(r, UDP_BATCH, &b), 1);
	assert_memory_equal(b->data, "ab", 2);
	assert_int_equal(kernel.asked, UDP_BATCH);
	udp_reader_free(r);
	udp_close(u);
}

/* Odd answers of the kernel. Each changes the message of a run of 3 x 100 and 50 bytes. */
static struct cmsghdr *gro_control(struct mmsghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr);
	while (c && (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO))
		c = CMSG_NXTHDR(&m->msg_hdr, c);
	assert_non_null(c);
	return c;
}

static void set_segment(struct mmsghdr *m, int segment)
{
	memcpy(CMSG_DATA(gro_control(m)), &segment, sizeof(segment));
}

static void answer_as_it_is(struct mmsghdr *m)
{
	gro_control(m);
}

static void answer_no_control(struct mmsghdr *m)
{
	m->msg_hdr.msg_controllen = 0;
}

static void answer_zero(struct mmsghdr *m)
{
	set_segment(m, 0);
}

static void answer_negative(struct mmsghdr *m)
{
	set_segment(m, -100);
}

static void answer_least(struct mmsghdr *m)
{
	set_segment(m, INT_MIN);
}

static void answer_more_than_all(struct mmsghdr *m)
{
	set_segment(m, 351);
}

static void answer_16_bits_too_many(struct mmsghdr *m)
{
	set_segment(m, 0x10000 + 100);
}

static void answer_all(struct mmsghdr *m)
{
	set_segment(m, 350);
}

static void answer_one(struct mmsghdr *m)
{
	set_segment(m, 1);
}

static void answer_other_level(struct mmsghdr *m)
{
	gro_control(m)->cmsg_level = SOL_SOCKET;
}

static void answer_other_type(struct mmsghdr *m)
{
	gro_control(m)->cmsg_type = UDP_GRO + 1;
}

static void answer_short_control(struct mmsghdr *m)
{
	gro_control(m)->cmsg_len = CMSG_LEN(2);
}

static void answer_cut_control(struct mmsghdr *m)
{
	m->msg_hdr.msg_flags |= MSG_CTRUNC;
}

static void answer_cut(struct mmsghdr *m)
{
	m->msg_hdr.msg_flags |= MSG_TRUNC;
}

static void answer_longer_than_any(struct mmsghdr *m)
{
	m->msg_len = 65536;
}

static void answer_empty(struct mmsghdr *m)
{
	m->msg_len = 0;
}

static void udp_reader_believes_only_what_can_be(void **state)
{
	(void)state;
	static const struct {
		void (*answer)(struct mmsghdr *m);
		uint16_t segment; /* that comes out, 0 for a drop */
		uint64_t datagrams, too_long, empty;
	} rows[] = {
		{answer_as_it_is, 100, 4, 0, 0},
		{answer_no_control, 350, 1, 0, 0},
		{answer_zero, 350, 1, 0, 0},
		{answer_negative, 350, 1, 0, 0},
		{answer_least, 350, 1, 0, 0},
		{answer_more_than_all, 350, 1, 0, 0},
		{answer_16_bits_too_many, 350, 1, 0, 0},
		{answer_all, 350, 1, 0, 0},
		{answer_one, 1, 350, 0, 0},
		{answer_other_level, 350, 1, 0, 0},
		{answer_other_type, 350, 1, 0, 0},
		{answer_short_control, 350, 1, 0, 0},
		{answer_cut_control, 0, 0, 1, 0},
		{answer_cut, 0, 0, 1, 0},
		{answer_longer_than_any, 0, 0, 1, 0},
		{answer_empty, 0, 0, 0, 1},
		{answer_as_it_is, 100, 4, 0, 0}, /* and the slot is as good as new */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct seeded s = {10};
		struct udp_world w = open_world(6);
		const struct udp_burst *b;
		if (kernel_offloads() != (UDP_OFFLOAD_GSO | UDP_OFFLOAD_GRO)) {
			world_close(&w);
			skip();
		}
		put_many(&w, &s, 0, 100, 3, 0);
		world_put(&w, &s, 0, 50, 0);
		assert_int_equal(udp_writer_flush(w.writer), 0);
		kernel.answer = rows[i].answer;
		wait_readable(w.at[0]);
		assert_int_equal(udp_reader_receive(w.readers[0], UDP_BATCH, &b),
				 rows[i].segment ? 1 : 0);
		const struct udp_reader_counters *c = udp_reader_counters(w.readers[0]);
		assert_int_equal(c->too_long, rows[i].too_long);
		assert_int_equal(c->empty, rows[i].empty);
		assert_int_equal(c->received, rows[i].datagrams);
		assert_int_equal(c->calls, 1);
		if (rows[i].segment) {
			assert_int_equal(b->len, 350);
			assert_int_equal(b->segment, rows[i].segment);
			assert_memory_equal(b->data, w.put[0].bytes, 350);
		}
		kernel.answer = NULL; /* the next message in the same slot is whole again */
		w.n = 0;
		put_many(&w, &s, 0, 20, 2, 0);
		assert_int_equal(udp_writer_flush(w.writer), 0);
		wait_readable(w.at[0]);
		assert_int_equal(udp_reader_receive(w.readers[0], UDP_BATCH, &b), 1);
		assert_int_equal(b->len, 40);
		assert_int_equal(b->segment, 20);
		world_close(&w);
	}
}

/* Each fills a different message of one call. */
static void udp_reader_closes_the_gap_of_a_drop(void **state)
{
	(void)state;
	struct seeded s = {11};
	struct udp_world w = open_world(4);
	const struct udp_burst *b;
	world_put(&w, &s, 0, 0, 0);
	world_put(&w, &s, 0, 10, 0);
	world_put(&w, &s, 0, 0, 0);
	world_put(&w, &s, 0, 20, 0);
	world_put(&w, &s, 0, 30, 0);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	size_t i = 0;
	for (uint64_t got = 0; got < 3;) {
		wait_readable(w.at[0]);
		int n = udp_reader_receive(w.readers[0], UDP_BATCH, &b);
		assert_true(n >= 0);
		for (int k = 0; k < n; k++)
			i = world_check_burst(&w, &b[k], 0, i);
		got += (uint64_t)n;
	}
	assert_int_equal(udp_reader_counters(w.readers[0])->empty, 2);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_writer_learns_that_a_path_has_no_gso),
		cmocka_unit_test(udp_writer_loses_nothing_by_falling_back),
		cmocka_unit_test(udp_writer_joins_adjacent_memory),
		cmocka_unit_test(udp_writer_blames_a_large_segment_on_nobody_else),
		cmocka_unit_test(udp_writer_keeps_gso_where_fragments_pass),
		cmocka_unit_test(udp_writer_keeps_gso_when_memory_was_short),
		cmocka_unit_test(udp_writer_does_not_insist_without_a_route),
		cmocka_unit_test(udp_writer_drops_the_rest_when_the_buffer_is_full),
		cmocka_unit_test(udp_writer_names_whom_it_is_for),
		cmocka_unit_test(udp_calls_go_on_after_a_signal),
		cmocka_unit_test(udp_works_on_kernels_without_offloads),
		cmocka_unit_test(udp_reader_does_without_gro_when_it_is_refused),
		cmocka_unit_test(udp_reader_believes_only_what_can_be),
		cmocka_unit_test(udp_reader_closes_the_gap_of_a_drop),
	};
	memset(&kernel, 0, sizeof(kernel));
	if (!(kernel_offloads() & UDP_OFFLOAD_GSO)) {
		fprintf(stderr,
			"test_udp_fallback: this kernel has no UDP_SEGMENT, nothing to fall back from\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
