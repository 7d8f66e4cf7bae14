/* tests/unit/test_udp_burst.c - runs of datagrams out, bursts in, over loopback, with and without
 * offloads. */
#include "net/udp.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "udp_world.h"

#define BOTH (UDP_OFFLOAD_GSO | UDP_OFFLOAD_GRO)

static void check_sequences(uint8_t family, unsigned without, uint64_t seed)
{
	enum { ROUNDS = 25, ROUND_MAX = 60 };
	struct seeded s = {seed};
	struct udp_world w = world_open(family, without);
	const struct udp_writer_counters *out = udp_writer_counters(w.writer);
	bool gso = udp_offloads(w.from) & UDP_OFFLOAD_GSO;
	uint64_t sent = 0, empty = 0, received = 0, bursts = 0, dropped = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		world_put_random(&w, &s, 1 + seeded_u64(&s) % ROUND_MAX);
		uint64_t before = out->bursts;
		uint64_t messages = world_model_messages(&w, family, gso);
		sent += w.n;
		for (size_t i = 0; i < w.n; i++)
			empty += w.put[i].n == 0;
		assert_int_equal(udp_writer_flush(w.writer), 0);
		assert_int_equal(out->bursts - before, messages);
		world_check(&w);
	}
	assert_int_equal(out->sent, sent);
	assert_int_equal(out->failed, 0);
	assert_int_equal(out->fell_back, 0);
	assert_int_equal(out->calls, ROUNDS);
	for (unsigned i = 0; i < DESTINATIONS; i++) {
		const struct udp_reader_counters *in = udp_reader_counters(w.readers[i]);
		received += in->received;
		bursts += in->bursts;
		dropped += in->empty;
		assert_int_equal(in->too_long, 0);
	}
	assert_int_equal(received, sent - empty);
	assert_int_equal(dropped, empty);
	assert_true(empty > 0);
	if (gso && !(without & UDP_OFFLOAD_GRO)) /* loopback hands a run over as it is */
		assert_int_equal(bursts, out->bursts - empty);
	else
		assert_int_equal(bursts, received);
	world_close(&w);
}

static void udp_burst_any_sequence_arrives_whole_and_in_order(void **state)
{
	(void)state;
	for (unsigned without = 0; without <= BOTH; without++) {
		check_sequences(4, without, 40 + without);
		check_sequences(6, without, 60 + without);
	}
}

/* The two ends differ: what one has is no business of the other's. */
static void check_mixed(uint8_t family, unsigned sender_without, unsigned reader_without)
{
	struct seeded s = {7};
	struct udp_world w = world_open(family, reader_without);
	udp_writer_free(w.writer);
	udp_close(w.from);
	w.from = open_udp(family, sender_without);
	w.writer = udp_writer_new(w.from);
	assert_non_null(w.writer);
	for (unsigned round = 0; round < 10; round++) {
		world_put_random(&w, &s, 50);
		assert_int_equal(udp_writer_flush(w.writer), 0);
		world_check(&w);
	}
	world_close(&w);
}

static void udp_burst_ends_need_not_agree(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= BOTH; i++) {
		check_mixed(4, i, BOTH - i);
		check_mixed(6, i, BOTH - i);
	}
}

/* Put count datagrams of n bytes for destination 0. */
static void put_equal(struct udp_world *w, struct seeded *s, size_t n, size_t count)
{
	for (size_t i = 0; i < count; i++)
		world_put(w, s, 0, n, 0);
}

static void check_limits(uint8_t family)
{
	static const struct {
		size_t n, count, last4,
			last6; /* count datagrams of n bytes and one that just fits behind them */
	} full[] = {
		{100, 63, 72, 52},	/* 64 segments */
		{128, 63, 100, 80},	/* 64 segments */
		{1439, 45, 752, 732},	/* 65,507 and 65,487 bytes */
		{1000, 63, 972, 952},	/* 64 segments */
		{16000, 4, 1507, 1487}, /* bytes */
	};
	struct seeded s = {1};
	struct udp_world w = world_open(family, 0);
	const struct udp_writer_counters *c = udp_writer_counters(w.writer);
	if (!(udp_offloads(w.from) & UDP_OFFLOAD_GSO)) {
		world_close(&w);
		skip();
	}
	for (size_t i = 0; i < sizeof(full) / sizeof(full[0]); i++) {
		for (size_t beyond = 0; beyond < 2; beyond++) {
			uint64_t before = c->bursts;
			put_equal(&w, &s, full[i].n, full[i].count);
			world_put(&w, &s, 0, (family == 4 ? full[i].last4 : full[i].last6) + beyond,
				  5);
			assert_int_equal(udp_writer_flush(w.writer), 0);
			assert_int_equal(c->bursts - before, 1 + beyond);
			world_check(&w);
		}
	}
	assert_int_equal(c->fell_back, 0);
	world_close(&w);
}

static void udp_run_ends_at_the_kernels_limits(void **state)
{
	(void)state;
	if (!(kernel_offloads() & UDP_OFFLOAD_GSO))
		skip();
	check_limits(4);
	check_limits(6);
}

static void udp_run_rule_by_example(void **state)
{
	(void)state;
	static const struct {
		const char *what; /* destination a, b or c, and bytes */
		unsigned messages;
	} rows[] = {
		{"a100 a100 a100", 1},
		{"a100 a100 a40", 1},
		{"a100 a40 a100", 2}, /* a shorter one ends the run, */
		{"a100 a40 a40 a40", 2},
		{"a100 a101", 2}, /* a longer one begins the next */
		{"a100 b100 a100 b100", 2},
		{"a100 b100 a40 b100 a100 b40 a100", 3},
		{"a100 b50 c70 a100 b50 c70 a20 b20 c20", 3},
		{"a100 a0 a100", 3},
		{"a0 a0", 2},
	};
	if (!(kernel_offloads() & UDP_OFFLOAD_GSO))
		skip();
	struct seeded s = {2};
	struct udp_world w = world_open(4, 0);
	const struct udp_writer_counters *c = udp_writer_counters(w.writer);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t before = c->bursts;
		for (const char *p = rows[i].what; *p;) {
			char *end;
			unsigned to = (unsigned)(*p - 'a');
			size_t n = strtoul(p + 1, &end, 10);
			world_put(&w, &s, to, n, i % 2);
			p = end + (*end == ' ');
		}
		assert_int_equal(udp_writer_flush(w.writer), 0);
		if (c->bursts - before != rows[i].messages)
			fail_msg("%s: %u messages", rows[i].what, (unsigned)(c->bursts - before));
		world_check(&w);
	}
	world_close(&w);
}

/* Datagrams for n destinations in turn, 5 for each; returns how many messages they made. */
static uint64_t interleave(uint8_t n)
{
	static const uint8_t bytes[64];
	struct udp *u = open_udp(4, 0);
	struct udp_writer *w = udp_writer_new(u);
	struct addr to = loopback(4);
	assert_non_null(w);
	to.port = udp_local(u).port;
	for (unsigned i = 0; i < 5; i++)
		for (uint8_t d = 0; d < n; d++) {
			to.ip[3] = (uint8_t)(2 + d); /* nobody is there */
			udp_writer_put(w, bytes, sizeof(bytes), &to);
		}
	assert_int_equal(udp_writer_flush(w), 0);
	uint64_t messages = udp_writer_counters(w)->bursts;
	assert_int_equal(udp_writer_counters(w)->sent, 5 * n);
	udp_writer_free(w);
	udp_close(u);
	return messages;
}

static void udp_runs_form_of_eight_destinations_in_turn(void **state)
{
	(void)state;
	if (!(kernel_offloads() & UDP_OFFLOAD_GSO))
		skip();
	assert_int_equal(interleave(8), 8);
	assert_int_equal(interleave(9), 45);
}

static void check_self_flush(unsigned without)
{
	struct seeded s = {3};
	struct udp_world w = world_open(4, without);
	const struct udp_writer_counters *c = udp_writer_counters(w.writer);
	for (size_t i = 0; i < UDP_BATCH; i++)
		world_put(&w, &s, 0, 10 + i, 0); /* each longer: no runs */
	assert_int_equal(c->calls, 0);
	world_put(&w, &s, 0, 10 + UDP_BATCH, 0);
	assert_int_equal(c->sent, UDP_BATCH);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(c->sent, UDP_BATCH + 1);
	assert_int_equal(c->calls, 2);
	assert_int_equal(udp_writer_flush(w.writer), 0);
	assert_int_equal(c->calls, 2);
	world_check(&w);
	world_close(&w);
}

static void udp_writer_sends_when_there_is_no_room(void **state)
{
	(void)state;
	check_self_flush(0);
	check_self_flush(BOTH);
}

static void udp_writer_forgets_what_was_not_sent(void **state)
{
	(void)state;
	struct udp *u = open_udp(4, 0);
	struct udp_writer *w = udp_writer_new(u);
	struct addr to = udp_local(u);
	assert_non_null(w);
	udp_writer_put(w, (const uint8_t *)"x", 1, &to);
	udp_writer_free(w);
	struct udp_reader *r = udp_reader_new(u);
	const struct udp_burst *b;
	assert_non_null(r);
	assert_int_equal(udp_reader_receive(r, UDP_BATCH, &b), 0);
	udp_reader_free(r);
	udp_close(u);
}

static void udp_writer_counts_what_the_kernel_refuses(void **state)
{
	(void)state;
	static uint8_t large[65508];
	struct udp *u = open_udp(4, 0);
	struct udp_writer *w = udp_writer_new(u);
	struct udp_reader *r = udp_reader_new(u);
	const struct udp_writer_counters *c = udp_writer_counters(w);
	assert_true(w && r);
	struct addr to = udp_local(u);
	struct addr nobody = loopback(4); /* port 0: EINVAL */
	struct addr other = to;		  /* the same port and bytes, but no such socket's */
	other.family = 6;
	udp_writer_put(w, large, 10, &nobody);
	udp_writer_put(w, large + 20, 10, &nobody);
	udp_writer_put(w, large, 65508, &to); /* EMSGSIZE */
	udp_writer_put(w, large, 65507, &to);
	udp_writer_put(w, large, 11, &to);
	udp_writer_put(w, large, 11, &other);
	assert_int_equal(udp_writer_flush(w), 4);
	assert_int_equal(udp_writer_flush(w), 0);
	assert_int_equal(c->failed, 4);
	assert_int_equal(c->too_large, 1);
	assert_int_equal(c->full, 0);
	assert_int_equal(c->sent, 2);
	assert_int_equal(udp_offloads(u), kernel_offloads());

	for (unsigned i = 0; i <= UDP_BATCH; i++) /* the first 64 are sent by the put of the last */
		udp_writer_put(w, large, i + 1, &nobody);
	assert_int_equal(c->failed, 4 + UDP_BATCH);
	assert_int_equal(udp_writer_flush(w), UDP_BATCH + 1);
	udp_reader_free(r);
	udp_writer_free(w);
	udp_close(u);
}

/* Send `bytes` from a plain socket as the kernel's own cut: runs of `segment`, or one datagram for
 * 0. */
static void send_run(int fd, const struct addr *to, const uint8_t *bytes, size_t n,
		     uint16_t segment)
{
	union {
		struct cmsghdr header;
		uint8_t room[CMSG_SPACE(sizeof(segment))];
	} control = {.header = {.cmsg_level = SOL_UDP,
				.cmsg_type = UDP_SEGMENT,
				.cmsg_len = CMSG_LEN(sizeof(segment))}};
	memcpy(CMSG_DATA(&control.header), &segment, sizeof(segment));
	struct sockaddr_storage ss;
	struct iovec iov = {(void *)(uintptr_t)bytes, n};
	struct msghdr h = {.msg_name = &ss,
			   .msg_namelen = addr_to_sockaddr(to, &ss),
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = segment ? &control : NULL,
			   .msg_controllen = segment ? sizeof(control) : 0};
	assert_int_equal(sendmsg(fd, &h, 0), n);
}

/* A sender of its own mind: runs with a shorter last, single datagrams, lengths that change. */
static void check_strange_sender(uint8_t family, bool gro)
{
	static const struct {
		uint32_t n;
		uint16_t segment; /* 0 for one datagram */
	} rows[] = {
		{10300, 1000}, {501, 0}, {1, 0}, {0, 0},       {1700, 500},
		{30000, 0},    {60, 1},	 {2, 1}, {1999, 1000}, {1, 0},
	};
	enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
	static uint8_t bytes[ROWS][32768];
	struct seeded s = {9};
	struct udp *u = open_udp(family, gro ? 0 : UDP_OFFLOAD_GRO);
	struct udp *plain = open_udp(family, 0);
	struct addr to = udp_local(u);
	struct addr from = udp_local(plain);
	struct udp_reader *r = udp_reader_new(u);
	assert_non_null(r);
	for (size_t i = 0; i < ROWS; i++) {
		seeded_fill(&s, bytes[i], rows[i].n);
		send_run(udp_fd(plain), &to, bytes[i], rows[i].n, rows[i].segment);
	}
	for (size_t i = 0, off = 0; i < ROWS;) {
		const struct udp_burst *b;
		wait_readable(u);
		int n = udp_reader_receive(r, UDP_BATCH, &b);
		assert_true(n >= 0);
		for (int k = 0; k < n; k++, b++) {
			while (rows[i].n == 0 || (!gro && rows[i].n == 30000))
				i++;
			uint32_t segment = rows[i].segment ? rows[i].segment : rows[i].n;
			uint32_t left = rows[i].n - (uint32_t)off;
			uint32_t want = gro ? rows[i].n : left < segment ? left : segment;
			assert_int_equal(b->len, want);
			assert_int_equal(b->segment, gro ? segment : want);
			assert_memory_equal(b->data, bytes[i] + off, want);
			assert_true(addr_equal(&b->from, &from));
			off += want;
			if (off == rows[i].n) {
				off = 0;
				i++;
			}
		}
	}
	assert_int_equal(udp_reader_counters(r)->empty, 1);
	assert_int_equal(udp_reader_counters(r)->too_long, gro ? 0 : 1);
	assert_int_equal(udp_reader_counters(r)->received, 11 + 1 + 1 + 4 + gro + 60 + 2 + 2 + 1);
	udp_reader_free(r);
	udp_close(u);
	udp_close(plain);
}

static void udp_burst_of_a_strange_sender(void **state)
{
	(void)state;
	if (kernel_offloads() != BOTH)
		skip();
	for (unsigned gro = 0; gro < 2; gro++) {
		check_strange_sender(4, gro);
		check_strange_sender(6, gro);
	}
}

static void udp_reader_drops_what_is_too_long(void **state)
{
	(void)state;
	static uint8_t bytes[2049];
	struct udp *u = open_udp(4, UDP_OFFLOAD_GRO);
	struct addr to = udp_local(u);
	struct udp_reader *r = udp_reader_new(u);
	const struct udp_burst *b;
	assert_non_null(r);
	assert_int_equal(udp_reader_receive(r, UDP_BATCH, &b), 0);
	assert_int_equal(udp_reader_counters(r)->calls, 0);
	assert_int_equal(udp_send_now(u, bytes, 2049, &to), 0);
	wait_readable(u);
	assert_int_equal(udp_reader_receive(r, UDP_BATCH, &b), 0);
	assert_int_equal(udp_send_now(u, bytes, 2048, &to), 0);
	wait_readable(u);
	assert_int_equal(udp_reader_receive(r, UDP_BATCH, &b), 1);
	assert_int_equal(b->len, 2048);
	assert_int_equal(b->segment, 2048);
	assert_int_equal(udp_reader_counters(r)->too_long, 1);
	assert_int_equal(udp_reader_counters(r)->received, 1);
	udp_reader_free(r);
	udp_close(u);
}

static void check_waiting_datagrams(unsigned without, int at_once)
{
	struct udp *u = open_udp(6, without);
	struct addr to = udp_local(u);
	struct udp_reader *r = udp_reader_new(u);
	const struct udp_burst *b;
	assert_non_null(r);
	for (uint8_t i = 0; i < 100; i++)
		assert_int_equal(udp_send_now(u, &i, 1, &to), 0);
	for (unsigned seen = 0; seen < 100;) {
		wait_readable(u);
		int n = udp_reader_receive(r, UDP_BATCH, &b);
		assert_true(n > 0 && n <= at_once);
		for (int i = 0; i < n; i++)
			assert_int_equal(b[i].data[0], seen++);
	}
	assert_int_equal(udp_reader_counters(r)->bursts, 100);
	assert_int_equal(udp_reader_counters(r)->received, 100);
	udp_reader_free(r);
	udp_close(u);
}

static void udp_reader_takes_what_waits_in_order(void **state)
{
	(void)state;
	check_waiting_datagrams(UDP_OFFLOAD_GRO, UDP_BATCH);
	check_waiting_datagrams(0, kernel_offloads() & UDP_OFFLOAD_GRO ? 8 : UDP_BATCH);
}

static long resident_bytes(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

static void udp_reader_at_rest_is_small(void **state)
{
	(void)state;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	skip(); /* the sanitizer's shadow of it is resident too */
#endif
	enum { READERS = 16 };
	struct udp *u[READERS];
	struct udp_reader *r[READERS];
	for (unsigned i = 0; i < READERS; i++)
		u[i] = open_udp(4, 0);
	long before = resident_bytes();
	for (unsigned i = 0; i < READERS; i++) {
		r[i] = udp_reader_new(u[i]);
		assert_non_null(r[i]);
	}
	for (unsigned i = 0; i < 20 * READERS; i++) {
		struct addr to = udp_local(u[i % READERS]);
		const struct udp_burst *b;
		assert_int_equal(udp_send_now(u[0], "hello", 5, &to), 0);
		wait_readable(u[i % READERS]);
		assert_int_equal(udp_reader_receive(r[i % READERS], UDP_BATCH, &b), 1);
		memset(b->data - UDP_BURST_HEADROOM, 0, UDP_BURST_HEADROOM);
	}
	assert_true(resident_bytes() - before < READERS * 64 * 1024);
	for (unsigned i = 0; i < READERS; i++) {
		udp_reader_free(r[i]);
		udp_close(u[i]);
	}
}

static void udp_offloads_are_those_allowed(void **state)
{
	(void)state;
	unsigned has = kernel_offloads();
	for (unsigned without = 0; without <= BOTH; without++) {
		struct udp *u = open_udp(6, without);
		assert_int_equal(udp_offloads(u), has & ~without);
		udp_close(u);
	}
}

/* Who asks for no bursts gets none, before and after somebody read bursts. */
static void udp_without_a_reader_hands_out_single_datagrams(void **state)
{
	(void)state;
	static const uint8_t bytes[3000];
	uint8_t got[3000];
	if (!(kernel_offloads() & UDP_OFFLOAD_GSO))
		skip();
	struct udp *u = open_udp(4, 0);
	struct udp *plain = open_udp(4, 0);
	struct addr to = udp_local(u);
	for (unsigned i = 0; i < 2; i++) {
		send_run(udp_fd(plain), &to, bytes, sizeof(bytes), 1000);
		for (unsigned j = 0; j < 3; j++) {
			wait_readable(u);
			assert_int_equal(recv(udp_fd(u), got, sizeof(got), 0), 1000);
		}
		struct udp_reader *r = udp_reader_new(u);
		assert_non_null(r);
		udp_reader_free(r);
	}
	udp_close(u);
	udp_close(plain);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* How long a burst waited lies between what passed since it was sent and since that began. */
static void udp_burst_says_how_long_it_waited(void **state)
{
	(void)state;
	static const uint64_t waits[] = {0, 3000000, 8000000};
	struct udp *u = open_udp(4, 0);
	struct udp *from = open_udp(4, 0);
	struct udp_reader *r = udp_reader_new(u);
	struct addr to = udp_local(u);
	assert_non_null(r);
	for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		const struct udp_burst *b;
		uint64_t begin = now_ns();
		assert_int_equal(udp_send_now(from, "waits", 5, &to), 0);
		uint64_t sent = now_ns();
		wait_readable(u);
		while (now_ns() - sent < waits[i])
			;
		uint64_t least = now_ns() - sent;
		assert_int_equal(udp_reader_receive(r, UDP_BATCH, &b), 1);
		/* the two clocks may be tuned apart by 500 parts in a million */
		assert_in_range(b->waited, least - least / 1000, (now_ns() - begin) * 1001 / 1000);
		assert_true(b->waited > 0);
	}
	udp_reader_free(r);
	udp_close(u);
	udp_close(from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_burst_any_sequence_arrives_whole_and_in_order),
		cmocka_unit_test(udp_burst_ends_need_not_agree),
		cmocka_unit_test(udp_run_ends_at_the_kernels_limits),
		cmocka_unit_test(udp_run_rule_by_example),
		cmocka_unit_test(udp_runs_form_of_eight_destinations_in_turn),
		cmocka_unit_test(udp_writer_sends_when_there_is_no_room),
		cmocka_unit_test(udp_writer_forgets_what_was_not_sent),
		cmocka_unit_test(udp_writer_counts_what_the_kernel_refuses),
		cmocka_unit_test(udp_burst_of_a_strange_sender),
		cmocka_unit_test(udp_reader_drops_what_is_too_long),
		cmocka_unit_test(udp_reader_takes_what_waits_in_order),
		cmocka_unit_test(udp_reader_at_rest_is_small),
		cmocka_unit_test(udp_burst_says_how_long_it_waited),
		cmocka_unit_test(udp_offloads_are_those_allowed),
		cmocka_unit_test(udp_without_a_reader_hands_out_single_datagrams),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
