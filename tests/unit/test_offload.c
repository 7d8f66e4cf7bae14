/* tests/unit/test_offload.c - the names of offloads, in the config and in the environment. */
#include "base/offload.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void offloads_have_names(void **state)
{
	static const struct {
		const char *names;
		unsigned mask;
		const char *text;
	} rows[] = {
		{"", 0, "none"},
		{"none", 0, "none"},
		{"gso", OFFLOAD_GSO, "gso"},
		{"gro", OFFLOAD_GRO, "gro"},
		{"csum", OFFLOAD_CSUM, "csum"},
		{"tso", OFFLOAD_TSO, "tso"},
		{"uso", OFFLOAD_USO, "uso"},
		{"uso, gso", OFFLOAD_USO | OFFLOAD_GSO, "gso uso"},
		{" gso,gro\tgso ", OFFLOAD_GSO | OFFLOAD_GRO, "gso gro"},
		{"all", OFFLOAD_ALL, "gso gro csum tso uso"},
	};
	char text[OFFLOADS_TEXT_BYTES];
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned mask = ~0u;
		assert_int_equal(offloads_parse(rows[i].names, &mask), 0);
		assert_int_equal(mask, rows[i].mask);
		assert_string_equal(offloads_text(mask, text), rows[i].text);
	}
}

static void offloads_refuse_other_words(void **state)
{
	static const char *const names[] = {"GSO", "gs", "gsox", "gso;tso", "tso gso x"};
	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		unsigned mask = 77;
		assert_int_equal(offloads_parse(names[i], &mask), -EINVAL);
		assert_int_equal(mask, 77);
	}
}

static void offloads_of_the_environment_come_on_top(void **state)
{
	char err[256] = "";
	unsigned off = OFFLOAD_GSO;
	(void)state;
	unsetenv(OFFLOADS_ENV);
	assert_int_equal(offloads_from_env(&off, err, sizeof(err)), 0);
	assert_int_equal(off, OFFLOAD_GSO);
	setenv(OFFLOADS_ENV, "tso", 1);
	assert_int_equal(offloads_from_env(&off, err, sizeof(err)), 0);
	assert_int_equal(off, OFFLOAD_GSO | OFFLOAD_TSO);
	setenv(OFFLOADS_ENV, "fast", 1);
	assert_int_equal(offloads_from_env(&off, err, sizeof(err)), -EINVAL);
	assert_int_equal(off, OFFLOAD_GSO | OFFLOAD_TSO);
	assert_non_null(strstr(err, "fast"));
	assert_non_null(strstr(err, OFFLOADS_ENV));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offloads_have_names),
		cmocka_unit_test(offloads_refuse_other_words),
		cmocka_unit_test(offloads_of_the_environment_come_on_top),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
