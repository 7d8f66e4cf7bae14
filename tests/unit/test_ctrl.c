/* tests/unit/test_ctrl.c - lists of CTRL frames: exact lengths, what ends a list, what spoils one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "onion/ctrl.h"
#include "unit/seeded.h"

static struct seeded seed;

static const size_t lengths[8] = {0, 8, 8, 806, 520, 5, 1, 0};

static void ctrl_knows_each_types_length(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 300; type++)
		assert_int_equal(ctrl_frame_bytes(type), type < 8 ? lengths[type] : 0);
}

static void ctrl_lists_go_there_and_back(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 500; round++) {
		struct ctrl_list l = {0};
		enum frame_type types[300];
		size_t at[300], used = 0;
		unsigned n = 0;
		uint8_t data[FRAME_BUILD_BYTES];
		seeded_fill(&seed, data, sizeof(data));
		while (n < 1 + round % 200) {
			enum frame_type t = (enum frame_type)(1 + seeded_u64(&seed) % 6);
			bool fits = used + 3 + lengths[t] <= CTRL_PLAIN_LARGE;
			assert_int_equal(ctrl_put(&l, t, data, lengths[t]), fits);
			if (!fits)
				break;
			types[n] = t;
			at[n++] = used + 3;
			used += 3 + lengths[t];
		}
		size_t size = ctrl_pad(&l);
		assert_int_equal(size, used <= 160 ? 160 : 900);
		assert_true(ctrl_check(l.plain, size));
		struct reader r;
		struct ctrl_frame f;
		reader_init(&r, l.plain, size);
		for (unsigned i = 0; i < n; i++) {
			assert_true(ctrl_next(&r, &f));
			assert_int_equal(f.type, types[i]);
			assert_ptr_equal(f.data, l.plain + at[i]);
			assert_int_equal(f.n, lengths[types[i]]);
			assert_memory_equal(f.data, data, f.n);
		}
		assert_false(ctrl_next(&r, &f));
		for (size_t i = used; i < size; i++)
			assert_int_equal(l.plain[i], 0);
	}
}

static void ctrl_sizes_are_two(void **state)
{
	(void)state;
	static const uint8_t zero[1000];
	for (size_t n = 0; n < sizeof(zero); n++)
		assert_int_equal(ctrl_check(zero, n), n == 160 || n == 900);
}

static void ctrl_wrong_lengths_spoil_the_list(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		for (unsigned n = 0; n < 900; n += n < 20 ? 1 : 3) {
			uint8_t plain[CTRL_PLAIN_LARGE] = {FRAME_PING, 0, 8};
			plain[11] = (uint8_t)type;
			plain[12] = (uint8_t)(n >> 8);
			plain[13] = (uint8_t)n;
			bool good = type == 0 || (type <= 6 && n == lengths[type]);
			assert_int_equal(ctrl_check(plain, sizeof(plain)), good);
		}
	}
}

static void ctrl_pad_ends_the_list(void **state)
{
	(void)state;
	uint8_t plain[CTRL_PLAIN_SMALL];
	memset(plain, 0xff, sizeof(plain)); /* behind PAD nothing is read */
	plain[0] = FRAME_PAD;
	assert_true(ctrl_check(plain, sizeof(plain)));
	struct reader r;
	struct ctrl_frame f;
	reader_init(&r, plain, sizeof(plain));
	assert_false(ctrl_next(&r, &f));
	plain[0] = FRAME_LINK_CLOSE;
	plain[1] = 0;
	plain[2] = 1;
	plain[4] = FRAME_PAD;
	assert_true(ctrl_check(plain, sizeof(plain)));
	plain[4] = 0xff;
	assert_false(ctrl_check(plain, sizeof(plain)));
}

/* A frame that would run over the end, and heads that are cut, at every place. */
static void ctrl_frames_stay_within(void **state)
{
	(void)state;
	for (unsigned filler = 0; filler <= 40; filler++) {
		uint8_t plain[CTRL_PLAIN_SMALL] = {0};
		unsigned at = 0;
		for (unsigned i = 0; i < filler && at + 4 <= sizeof(plain); i++, at += 4) {
			plain[at] = FRAME_LINK_CLOSE;
			plain[at + 2] = 1;
		}
		assert_true(ctrl_check(plain, sizeof(plain)));
		if (at + 3 > sizeof(plain))
			continue;
		plain[at] = FRAME_PING;
		plain[at + 2] = 8;
		assert_int_equal(ctrl_check(plain, sizeof(plain)), at + 11 <= sizeof(plain));
	}
	uint8_t cut[CTRL_PLAIN_SMALL] = {0};
	for (unsigned i = 0; i < 13; i++)
		memcpy(cut + 11 * i, (const uint8_t[]){FRAME_PING, 0, 8}, 3);
	memcpy(cut + 143, (const uint8_t[]){FRAME_CIRCUIT_CLOSE, 0, 5}, 3);
	memcpy(cut + 151, (const uint8_t[]){FRAME_CIRCUIT_CLOSE, 0, 5}, 3);
	assert_true(ctrl_check(cut, sizeof(cut)));
	cut[159] = FRAME_PING; /* a head of one byte */
	assert_false(ctrl_check(cut, sizeof(cut)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctrl_knows_each_types_length),
		cmocka_unit_test(ctrl_lists_go_there_and_back),
		cmocka_unit_test(ctrl_sizes_are_two),
		cmocka_unit_test(ctrl_wrong_lengths_spoil_the_list),
		cmocka_unit_test(ctrl_pad_ends_the_list),
		cmocka_unit_test(ctrl_frames_stay_within),
	};
	seed.state = 5;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
