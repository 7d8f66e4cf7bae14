/* tests/unit/test_bytes.c - cursors: order, bounds, and that bad stays bad. */
#include "base/bytes.h"
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void bytes_writes_and_reads_big_endian(void **state)
{
	(void)state;
	uint8_t buf[32];
	static const uint8_t want[] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23,
				       0x45, 0x67, 0x89, 0xab, 0xcd, 'h',  'i',	 0,    0};
	struct writer w;
	writer_init(&w, buf, sizeof(want));
	writer_u8(&w, 0x01);
	writer_u16(&w, 0x2345);
	writer_u32(&w, 0x6789abcd);
	writer_u64(&w, 0xef0123456789abcd);
	writer_put(&w, "hi", 2);
	writer_zero(&w, 2);
	assert_false(w.bad);
	assert_int_equal(w.used, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));

	struct reader r;
	reader_init(&r, buf, sizeof(want));
	assert_int_equal(reader_u8(&r), 0x01);
	assert_int_equal(reader_u16(&r), 0x2345);
	assert_int_equal(reader_u32(&r), 0x6789abcd);
	assert_true(reader_u64(&r) == 0xef0123456789abcd);
	char hi[2];
	reader_copy(&r, hi, 2);
	assert_memory_equal(hi, "hi", 2);
	assert_false(reader_done(&r));
	reader_zero(&r, 2);
	assert_true(reader_done(&r));
}

static void bytes_short_read_gives_zero_and_stays_bad(void **state)
{
	(void)state;
	static const uint8_t in[] = {1, 2, 3, 4, 5, 6, 7};
	struct reader r;
	reader_init(&r, in, sizeof(in));
	assert_true(reader_u64(&r) == 0);
	assert_true(r.bad);
	assert_int_equal(reader_u8(&r), 0); /* a byte is there, but it must not be read now */
	assert_null(reader_take(&r, 1));
	assert_null(reader_take(&r, 0));
	assert_false(reader_done(&r));

	uint8_t out[8];
	memset(out, 0xaa, sizeof(out));
	reader_init(&r, in, sizeof(in));
	reader_copy(&r, out, sizeof(out));
	for (size_t i = 0; i < sizeof(out); i++)
		assert_int_equal(out[i], 0);
	assert_true(r.bad);
}

static void bytes_take_refuses_sizes_near_the_largest(void **state)
{
	(void)state;
	static const uint8_t in[4];
	struct reader r;
	reader_init(&r, in, sizeof(in));
	reader_u8(&r);
	assert_null(reader_take(&r, SIZE_MAX));
	assert_true(r.bad);
	uint8_t out[4];
	struct writer w;
	writer_init(&w, out, sizeof(out));
	writer_u8(&w, 1);
	assert_null(writer_reserve(&w, SIZE_MAX));
	assert_true(w.bad);
}

static void bytes_sub_is_cut_to_its_length(void **state)
{
	(void)state;
	static const uint8_t in[] = {1, 2, 3, 4};
	struct reader r;
	reader_init(&r, in, sizeof(in));
	struct reader sub = reader_sub(&r, 2);
	assert_int_equal(reader_u16(&sub), 0x0102);
	assert_true(reader_done(&sub));
	assert_int_equal(reader_u8(&sub), 0);
	assert_true(sub.bad);
	assert_int_equal(reader_u16(&r), 0x0304); /* the outer one is not hurt */
	assert_true(reader_done(&r));

	reader_init(&r, in, sizeof(in));
	sub = reader_sub(&r, 5);
	assert_true(r.bad);
	assert_true(sub.bad);
	assert_false(reader_done(&sub));
}

static void bytes_zero_refuses_what_is_not_zero(void **state)
{
	(void)state;
	for (size_t i = 0; i < 5; i++) {
		uint8_t in[5] = {0};
		in[i] = 1;
		struct reader r;
		reader_init(&r, in, sizeof(in));
		reader_zero(&r, 4);
		assert_int_equal(r.bad, i < 4);
	}
}

static void bytes_fail_turns_bad(void **state)
{
	(void)state;
	static const uint8_t in[1];
	struct reader r;
	reader_init(&r, in, 0);
	assert_true(reader_done(&r));
	reader_fail(&r);
	assert_false(reader_done(&r));
}

static void bytes_empty_input_may_be_null(void **state)
{
	(void)state;
	struct reader r;
	reader_init(&r, NULL, 0);
	reader_take(&r, 0);
	reader_zero(&r, 0);
	struct reader sub = reader_sub(&r, 0);
	assert_true(reader_done(&sub));
	assert_true(reader_done(&r));
}

static void bytes_write_that_does_not_fit_writes_nothing(void **state)
{
	(void)state;
	uint8_t buf[4] = {9, 9, 9, 9};
	struct writer w;
	writer_init(&w, buf, 3);
	writer_u32(&w, 0x01020304);
	assert_true(w.bad);
	writer_u8(&w, 1); /* would fit, but bad stays bad */
	assert_int_equal(w.used, 0);
	static const uint8_t same[4] = {9, 9, 9, 9};
	assert_memory_equal(buf, same, 4);

	writer_init(&w, buf, 3);
	writer_u16(&w, 7);
	assert_ptr_equal(writer_reserve(&w, 1), buf + 2);
	assert_false(w.bad);
	assert_null(writer_reserve(&w, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_writes_and_reads_big_endian),
		cmocka_unit_test(bytes_short_read_gives_zero_and_stays_bad),
		cmocka_unit_test(bytes_take_refuses_sizes_near_the_largest),
		cmocka_unit_test(bytes_sub_is_cut_to_its_length),
		cmocka_unit_test(bytes_zero_refuses_what_is_not_zero),
		cmocka_unit_test(bytes_fail_turns_bad),
		cmocka_unit_test(bytes_empty_input_may_be_null),
		cmocka_unit_test(bytes_write_that_does_not_fit_writes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
