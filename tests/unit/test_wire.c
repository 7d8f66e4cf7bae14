/* tests/unit/test_wire.c - onion/wire.c: sizes, slots, padding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "onion/wire.h"

static void wire_rounds_a_full_size_down(void **state)
{
	(void)state;
	static const uint16_t rows[][2] = {{0, 1240},	 {84, 1240},   {1239, 1240}, {1240, 1240},
					   {1241, 1240}, {1319, 1240}, {1320, 1320}, {1379, 1320},
					   {1380, 1380}, {1439, 1380}, {1440, 1440}, {1441, 1440},
					   {1452, 1440}, {65535, 1440}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(datagram_full_floor(rows[i][0]), rows[i][1]);
}

static void wire_gives_at_least_three_slots(void **state)
{
	(void)state;
	static const unsigned slots[HOPS_MAX + 1] = {3, 3, 3, 3, 4, 5, 6, 7, 8};
	for (unsigned hops = 0; hops <= HOPS_MAX; hops++)
		assert_int_equal(tag_slots(hops), slots[hops]);
}

/* The example of PROTOCOL.md section 6: 1,440 and S = 3 give plain 1,372. */
static void wire_counts_plain_without_underflow(void **state)
{
	(void)state;
	assert_int_equal(plain_bytes(1440, 3), 1372);
	assert_int_equal(plain_bytes(DATAGRAM_MIN, 3), PLAIN_LEAST);
	assert_int_equal(plain_bytes(1240, 8), 1240 - 20 - 128);
	for (size_t n = 0; n <= 20 + 8 * 16; n++)
		assert_int_equal(plain_bytes(n, 8), 0);
	assert_int_equal(plain_bytes(20 + 8 * 16 + 1, 8), 1);
}

/* By its definition: the smallest allowed size that holds n. */
static size_t slow_padded(size_t n, size_t full, enum padding how)
{
	static const size_t sizes[] = {128, 320, 640, 1024};
	if (n > full || full < 16)
		return 0;
	for (size_t size = 0; size < full; size++) {
		bool allowed = how == PAD_NONE && size >= 16;
		for (size_t i = 0; i < 4; i++)
			allowed |= how == PAD_BUCKET && size == sizes[i];
		if (allowed && size >= n)
			return size;
	}
	return full;
}

static void wire_pads_as_asked(void **state)
{
	(void)state;
	static const size_t fulls[] = {0, 15, 16, 100, 128, 129, 320, 700, 1044, 1172, 1372};
	for (size_t i = 0; i < sizeof(fulls) / sizeof(fulls[0]); i++)
		for (size_t n = 0; n <= 1400; n++)
			for (enum padding how = PAD_BUCKET; how <= PAD_FULL; how++)
				assert_int_equal(padded_bytes(n, fulls[i], how),
						 slow_padded(n, fulls[i], how));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wire_rounds_a_full_size_down),
		cmocka_unit_test(wire_gives_at_least_three_slots),
		cmocka_unit_test(wire_counts_plain_without_underflow),
		cmocka_unit_test(wire_pads_as_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
