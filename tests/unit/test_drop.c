/* tests/unit/test_drop.c - every reason has a name of its own, and counts alone. */
#include "base/drop.h"
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void drop_names_are_distinct_words(void **state)
{
	(void)state;
	for (int i = 0; i < DROP_COUNT; i++) {
		const char *name = drop_name((enum drop)i);
		assert_non_null(name);
		assert_int_not_equal(strlen(name), 0);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-"),
				 strlen(name));
		assert_string_not_equal(name, "unknown");
		for (int j = 0; j < i; j++)
			assert_string_not_equal(name, drop_name((enum drop)j));
	}
	assert_string_equal(drop_name(DROP_MAC1), "mac1-bad");
	assert_string_equal(drop_name(DROP_COUNT), "unknown");
	assert_string_equal(drop_name((enum drop) - 1), "unknown");
}

static void drop_counts_one_reason_alone(void **state)
{
	(void)state;
	static struct drops d;
	drops_add(&d, DROP_SIZE);
	drops_add(&d, DROP_SIZE);
	drops_add(&d, DROP_TUN_WRITE);
	for (int i = 0; i < DROP_COUNT; i++)
		assert_int_equal(drops_get(&d, (enum drop)i), i == DROP_SIZE	    ? 2
							      : i == DROP_TUN_WRITE ? 1
										    : 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drop_names_are_distinct_words),
		cmocka_unit_test(drop_counts_one_reason_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
