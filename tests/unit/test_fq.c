/* tests/unit/test_fq.c - the queue behind the TUN: order within a flow, fairness between flows,
 * bounds in frames, bytes and time. */
#include "engine/fq.h"
#include <string.h>
#include "base/bytes.h"
#include "tun/checksum.h"
#include "tun/split.h"
#include "unit/inner_packets.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MS     NSEC_PER_MSEC
#define FRAMES 64
#define ROOM   4096
#define BYTES  (64 * 1024)

struct fixture {
	struct fq *q;
	struct drops drops;
	uint32_t number; /* of the next packet */
};

static int set_up(void **state)
{
	static struct fixture f;
	memset(&f, 0, sizeof(f));
	f.q = fq_new(FRAMES, ROOM, BYTES, 7, &f.drops);
	assert_non_null(f.q);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	fq_free(f->q);
	return 0;
}

/* A UDP packet of `flow` (its source port) with n bytes of payload, the first four of which number
 * it. */
static void put(struct fixture *f, uint16_t flow, size_t n, uint8_t ecn, nsec_t now)
{
	const struct virtio_net_hdr h = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
	struct tun_frame frame;
	struct ip_view v;
	uint8_t *p = fq_room(f->q);
	size_t len = make_packet(p, 4, IP_UDP, n);
	p[1] = ecn;
	store_be16(p + 10, 0);
	store_be16(p + 10, (uint16_t)~checksum_fold(checksum_add(0, p, 20)));
	store_be16(p + 20, flow);
	store_be32(p + 28, f->number++);
	assert_int_equal(ip_parse(p, len, &v), 0);
	checksum_complete(p, &v);
	assert_int_equal(frame_parse(&h, p, len, &frame), 0);
	fq_put(f->q, &frame, now);
}

static bool get(struct fixture *f, nsec_t now, uint16_t *flow, uint32_t *number)
{
	struct tun_frame frame;
	if (!fq_get(f->q, now, &frame))
		return false;
	*flow = frame.view.src_port;
	*number = load_be32(frame.data + 28);
	return true;
}

static uint64_t dropped(struct fixture *f, enum drop why)
{
	return drops_get(&f->drops, why);
}

static void fq_keeps_the_order_of_a_flow(void **state)
{
	struct fixture *f = *state;
	uint32_t last[4] = {0}, number, n = 0;
	uint16_t flow;
	bool seen[4] = {false};
	for (unsigned i = 0; i < 60; i++)
		put(f, (uint16_t)(i * i % 4), 100 + i, 0, MS);
	assert_int_equal(fq_count(f->q), 60);
	while (get(f, MS, &flow, &number)) {
		assert_true(!seen[flow] || number > last[flow]);
		seen[flow] = true;
		last[flow] = number;
		n++;
	}
	assert_int_equal(n, 60);
	assert_int_equal(fq_count(f->q), 0);
	assert_int_equal(dropped(f, DROP_QUEUE_FULL) + dropped(f, DROP_QUEUE_LATE), 0);
}

static void fq_serves_a_sparse_flow_first(void **state)
{
	struct fixture *f = *state;
	uint32_t number;
	uint16_t flow;
	for (unsigned i = 0; i < 30; i++)
		put(f, 1, 1400, 0, MS);
	for (unsigned i = 0; i < 12; i++) /* flow 1 has used up what a new flow may send at once */
		assert_true(get(f, MS, &flow, &number));
	put(f, 2, 64, 0, MS);
	assert_true(get(f, MS, &flow, &number));
	assert_int_equal(flow, 2);
	assert_true(get(f, MS, &flow, &number));
	assert_int_equal(flow, 1);
}

/* By bytes, whatever the size of the packets. */
static void fq_shares_by_bytes(void **state)
{
	struct fixture *f = *state;
	size_t bytes[2] = {0, 0};
	uint32_t number;
	uint16_t flow;
	for (unsigned i = 0; i < 2000; i++) {
		struct tun_frame frame;
		while (fq_count(f->q) < 40) { /* both always have something */
			put(f, 0, 1400, 0, MS);
			put(f, 1, 350, 0, MS);
			put(f, 1, 350, 0, MS);
			put(f, 1, 350, 0, MS);
			put(f, 1, 350, 0, MS);
		}
		assert_true(fq_get(f->q, MS, &frame));
		bytes[frame.view.src_port] += frame.len;
	}
	assert_true(bytes[0] * 10 > bytes[1] * 9 && bytes[1] * 10 > bytes[0] * 9);
	while (get(f, MS, &flow, &number))
		;
}

static void fq_holds_so_many_bytes_and_drops_from_the_longest(void **state)
{
	struct fixture *f = *state;
	uint32_t number, n = 0, first = UINT32_MAX;
	uint16_t flow;
	bool small = false;
	put(f, 9, 64, 0, MS);
	for (unsigned i = 0; i < 60; i++)
		put(f, 1, 1400, 0, MS);
	assert_true(dropped(f, DROP_QUEUE_FULL) > 0);
	assert_int_equal(fq_count(f->q) + dropped(f, DROP_QUEUE_FULL), 61);
	while (get(f, MS, &flow, &number)) {
		small = small || flow == 9;
		if (flow == 1 && first == UINT32_MAX)
			first = number;
		n++;
	}
	assert_true(small);	/* the short queue lost nothing */
	assert_true(first > 1); /* the oldest went */
	assert_int_equal(n + dropped(f, DROP_QUEUE_FULL), 61);
}

static void fq_holds_so_many_frames(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 5 * FRAMES; i++) {
		put(f, 1, 10, 0, MS);
		assert_true(fq_count(f->q) < FRAMES);
	}
	assert_int_equal(fq_count(f->q) + dropped(f, DROP_QUEUE_FULL), 5 * FRAMES);
}

/* Nobody gets there with a queue that stays at 20 ms. */
static void stand(struct fixture *f, uint8_t ecn, unsigned *ce)
{
	uint32_t number;
	uint16_t flow;
	for (unsigned i = 0; i < 20; i++)
		put(f, 1, 100, ecn, i * MS);
	for (nsec_t now = 20 * MS; now < 1000 * MS; now += MS) {
		struct tun_frame frame;
		put(f, 1, 100, ecn, now);
		if (!fq_get(f->q, now, &frame))
			continue;
		*ce += (frame.data[1] & 3) == 3;
		assert_int_equal(checksum_fold(checksum_add(0, frame.data, 20)), 0xffff);
	}
	while (get(f, 1000 * MS, &flow, &number))
		;
}

static void fq_drops_what_waits_too_long(void **state)
{
	struct fixture *f = *state;
	unsigned ce = 0;
	stand(f, 0, &ce);
	assert_in_range(dropped(f, DROP_QUEUE_LATE), 10, 800);
	assert_int_equal(ce, 0);
	assert_int_equal(dropped(f, DROP_QUEUE_FULL), 0);
}

static void fq_marks_what_knows_ecn(void **state)
{
	struct fixture *f = *state;
	unsigned ce = 0;
	stand(f, 2, &ce);
	assert_in_range(ce, 10, 800);
	assert_int_equal(dropped(f, DROP_QUEUE_LATE), 0);
}

static void fq_refuses_impossible_sizes(void **state)
{
	struct fixture *f = *state;
	assert_null(fq_new(0, ROOM, BYTES, 0, &f->drops));
	assert_null(fq_new(UINT16_MAX, ROOM, BYTES, 0, &f->drops));
	fq_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fq_keeps_the_order_of_a_flow),
		TEST(fq_serves_a_sparse_flow_first),
		TEST(fq_shares_by_bytes),
		TEST(fq_holds_so_many_bytes_and_drops_from_the_longest),
		TEST(fq_holds_so_many_frames),
		TEST(fq_drops_what_waits_too_long),
		TEST(fq_marks_what_knows_ecn),
		TEST(fq_refuses_impossible_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
