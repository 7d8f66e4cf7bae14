/* tests/unit/test_http_url.c - URLs of addresses: what comes of them, and which are refused. */
#include "net/http_url.h"
#include <errno.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void http_url_takes_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *text, *to, *path;
	} rows[] = {
		{"http://192.0.2.1", "192.0.2.1:80", "/"},
		{"http://192.0.2.1/", "192.0.2.1:80", "/"},
		{"http://192.0.2.1:8080/a/b.c", "192.0.2.1:8080", "/a/b.c"},
		{"http://192.0.2.1:65535", "192.0.2.1:65535", "/"},
		{"http://192.0.2.1/a?b=/c:d@e?f", "192.0.2.1:80", "/a?b=/c:d@e?f"},
		{"http://192.0.2.1/a?", "192.0.2.1:80", "/a?"},
		{"http://[2001:db8::1]/", "[2001:db8::1]:80", "/"},
		{"http://[2001:db8::1]:7/x", "[2001:db8::1]:7", "/x"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_url url;
		char text[ADDR_TEXT_BYTES];
		if (http_url_parse(rows[i].text, &url) != 0)
			fail_msg("%s", rows[i].text);
		assert_string_equal(addr_text(&url.to, text), rows[i].to);
		assert_string_equal(url.path, rows[i].path);
	}
}

static void http_url_refuses_the_rest(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"http://",
		"http:///x",
		"http://:80/",
		"http:/192.0.2.1/",
		"HTTPS://192.0.2.1/",
		"https://192.0.2.1/",
		"192.0.2.1:80",
		"/x",
		"*",
		"http://localhost/",
		"http://192.0.2.1.example/",
		"http://192.0.2/",
		"http://192.0.2.1:/",
		"http://192.0.2.1:0/",
		"http://192.0.2.1:65536/",
		"http://192.0.2.1:4294967376/",
		"http://192.0.2.1:80x/",
		"http://192.0.2.1:80:80/",
		"http://u@192.0.2.1/",
		"http://u:p@192.0.2.1/",
		"http://@192.0.2.1/",
		"http://2001:db8::1/",
		"http://[2001:db8::1/",
		"http://[192.0.2.1]/",
		"http://[fe80::1%eth0]/",
		"http://[2001:db8::1]80/",
		"http://192.0.2.1?x",
		"http://192.0.2.1/#",
		"http://192.0.2.1/#x",
		"http://192.0.2.1/x?y#",
		"http://192.0.2.1#x",
		"http://192.0.2.1/a b",
		"http://192.0.2.1/a\tb",
		"http://192.0.2.1/a\fb",
		"http://192.0.2.1/a\r\nX: y",
		"http://192.0.2.1/a\x7f",
		"http://192.0.2.1/a\xc3\xa4",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct http_url url = {.path = "untouched"};
		if (http_url_parse(texts[i], &url) != -EINVAL)
			fail_msg("took %s", texts[i]);
		assert_string_equal(url.path, "untouched");
		assert_int_equal(url.to.family, 0);
	}
}

static void http_url_has_a_length(void **state)
{
	(void)state;
	static const char start[] = "http://192.0.2.1/";
	char text[HTTP_URL_BYTES_MAX + 2];
	struct http_url url;
	memset(text, 'x', sizeof(text));
	memcpy(text, start, sizeof(start) - 1);
	text[HTTP_URL_BYTES_MAX + 1] = '\0';
	assert_int_equal(http_url_parse(text, &url), -EINVAL);
	text[HTTP_URL_BYTES_MAX] = '\0';
	assert_int_equal(http_url_parse(text, &url), 0);
	assert_int_equal(strlen(url.path), HTTP_URL_BYTES_MAX - sizeof(start) + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(http_url_takes_addresses),
		cmocka_unit_test(http_url_refuses_the_rest),
		cmocka_unit_test(http_url_has_a_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
