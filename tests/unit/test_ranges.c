/* tests/unit/test_ranges.c - client/ranges: what is a range, and lists of them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "client/ranges.h"

static void ranges_takes_networks_and_addresses(void **state)
{
	static const struct {
		const char *text, *same;
	} good[] = {
		{"10.0.0.0/8", "10.0.0.0/8"},	     {"0.0.0.0/0", "0.0.0.0/0"},
		{"203.0.113.10", "203.0.113.10/32"}, {"::/0", "::/0"},
		{"2001:db8::/32", "2001:db8::/32"},  {"2001:DB8:0::7", "2001:db8::7/128"},
	};
	char err[RANGES_SENTENCE_BYTES], text[ADDR_TEXT_BYTES];
	struct ranges r = {.n = 0};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ranges_add(&r, good[i].text, err), 0);
		assert_int_equal(r.n, i + 1);
		assert_string_equal(prefix_text(&r.range[i], text), good[i].same);
	}
}

static void ranges_refuses_with_the_value_named(void **state)
{
	static const char *const bad[] = {
		"",
		"10.0.0.1/8",
		"10.0.0.0/33",
		"10.0.0/8",
		"10.0.0.0/",
		"10.0.0.0/-1",
		"10.0.0.0/8 ",
		"web.test",
		"2001:db8::1/64",
		"2001:db8::/129",
		"[2001:db8::]/32",
		"10.0.0.0:80",
		"0.0.0.0/0/0",
		"10.0.0.0/08x",
	};
	char err[RANGES_SENTENCE_BYTES], quoted[80];
	struct ranges r = {.n = 0};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err[0] = 0;
		assert_int_equal(ranges_add(&r, bad[i], err), -EINVAL);
		snprintf(quoted, sizeof(quoted), "\"%s\"", bad[i]);
		assert_non_null(strstr(err, quoted));
		assert_int_equal(r.n, 0);
	}
}

static void ranges_cuts_a_long_value(void **state)
{
	char err[RANGES_SENTENCE_BYTES], text[4000];
	struct ranges r = {.n = 0};

	(void)state;
	memset(text, '1', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	assert_int_equal(ranges_add(&r, text, err), -EINVAL);
	assert_true(strlen(err) < sizeof(err) - 1); /* not cut itself */
}

static void ranges_keeps_sixteen_unlike_ones(void **state)
{
	char err[RANGES_SENTENCE_BYTES], text[ADDR_TEXT_BYTES];
	struct ranges r = {.n = 0};

	(void)state;
	for (unsigned i = 0; i < 2 * RANGES_MOST; i++) {
		snprintf(text, sizeof(text), "192.0.2.%u", i / 2); /* each one twice */
		assert_int_equal(ranges_add(&r, text, err), 0);
		assert_int_equal(r.n, i / 2 + 1);
	}
	assert_int_equal(ranges_add(&r, "192.0.2.0/32", err), 0); /* there already */
	assert_int_equal(ranges_add(&r, "192.0.2.0/24", err), -ENOSPC);
	assert_int_equal(r.n, RANGES_MOST);
	assert_non_null(strstr(err, "16"));
}

static void ranges_equal_whatever_the_order(void **state)
{
	char err[RANGES_SENTENCE_BYTES];
	struct ranges a = {.n = 0}, b = {.n = 0};

	(void)state;
	assert_true(ranges_equal(&a, &b));
	assert_int_equal(ranges_add(&a, "10.0.0.0/8", err), 0);
	assert_false(ranges_equal(&a, &b));
	assert_false(ranges_equal(&b, &a));
	assert_int_equal(ranges_add(&a, "::/0", err), 0);
	assert_int_equal(ranges_add(&b, "::/0", err), 0);
	assert_int_equal(ranges_add(&b, "10.0.0.0/9", err), 0);
	assert_false(ranges_equal(&a, &b));
	b.n = 1;
	assert_int_equal(ranges_add(&b, "10.0.0.0/8", err), 0);
	assert_true(ranges_equal(&a, &b));
	b.n = 0;
	assert_int_equal(ranges_add(&b, "0.0.0.0/0", err), 0);
	a.n = 0;
	assert_int_equal(ranges_add(&a, "::/0", err), 0);
	assert_false(ranges_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_takes_networks_and_addresses),
		cmocka_unit_test(ranges_refuses_with_the_value_named),
		cmocka_unit_test(ranges_cuts_a_long_value),
		cmocka_unit_test(ranges_keeps_sixteen_unlike_ones),
		cmocka_unit_test(ranges_equal_whatever_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
