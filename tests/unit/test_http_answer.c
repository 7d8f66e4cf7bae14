/* tests/unit/test_http_answer.c - HTTP answers: what is taken and what is refused, however the
 * bytes come in pieces. */
#include "net/http_answer.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define BODY_MOST 20
#define OK	  "HTTP/1.1 200 OK\r\n"
#define CHUNKED	  OK "Transfer-Encoding: chunked\r\n\r\n"
#define CUT	  (-EPIPE) /* of a row: the stream ended too soon */

struct row {
	const char *text;
	int rc; /* of take(), or of end() when it took all */
	int status;
	const char *body;
};

static const struct row rows[] = {
	/* length, chunks, end of stream */
	{OK "Content-Length: 5\r\n\r\nhello", 0, 200, "hello"},
	{OK "content-LENGTH:\t5 \t\r\n\r\nhello, and more", 0, 200, "hello"},
	{OK "Content-Length: 0\r\n\r\n", 0, 200, ""},
	{OK "Content-Length: 000000000000000020\r\n\r\n01234567890123456789", 0, 200,
	 "01234567890123456789"},
	{OK "\r\nhello", 0, 200, "hello"},
	{OK "\r\n", 0, 200, ""},
	{OK "\r\n01234567890123456789", 0, 200, "01234567890123456789"},
	{CHUNKED "5\r\nhello\r\n0\r\n\r\n", 0, 200, "hello"},
	{CHUNKED "1\r\nh\r\n00a;x=\"y\"\r\n0123456789\r\n1 \r\n!\r\n0;last\r\nTrailer: x\r\n\r\n",
	 0, 200, "h0123456789!"},
	{CHUNKED "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", 0, 200, "01234567890123456789"},
	{OK "transfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n", 0, 200, ""},
	/* statuses */
	{"HTTP/1.0 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 0, 404, "x"},
	{"HTTP/1.1 599\r\n\r\n", 0, 599, ""},
	{"HTTP/1.1 503 \r\n\r\n", 0, 503, ""},
	{"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\nnot of it", 0, 204, ""},
	{"HTTP/1.1 304 Not Modified\r\n\r\nnot of it", 0, 304, ""},
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nContent-Length: 9\r\n\r\n" OK
	 "Content-Length: 2\r\n\r\nab",
	 0, 200, "ab"},
	{"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n" OK "\r\nab", 0, 200, "ab"},
	/* lines that mean nothing to us */
	{OK "Server: x: y\r\nX-A.B_c!:\r\nContent-Lengths: 9\r\nContent: 9\r\n\r\nab", 0, 200,
	 "ab"},
	/* cut off */
	{"", CUT, 0, NULL},
	{"HTTP/1.1 200 OK", CUT, 0, NULL},
	{OK "Content-Length: 5\r\n", CUT, 0, NULL},
	{OK "Content-Length: 5\r\n\r\nhell", CUT, 0, NULL},
	{"HTTP/1.1 100 Continue\r\n\r\n", CUT, 0, NULL},
	{CHUNKED "5\r\nhello\r\n", CUT, 0, NULL},
	{CHUNKED "5\r\nhello\r\n0\r\n", CUT, 0, NULL},
	{CHUNKED "5\r\nhello\r\n0\r\nA: b\r\n", CUT, 0, NULL},
	{CHUNKED "5\r\nhell", CUT, 0, NULL},
	/* no HTTP */
	{"hello\r\n", -EBADMSG, 0, NULL},
	{"\r\n", -EBADMSG, 0, NULL},
	{"HTTP/2.0 200 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.x 200 OK\r\n", -EBADMSG, 0, NULL},
	{"http/1.1 200 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1  200 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 2000 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 20 OK.\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 200OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 +20 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 099 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 600 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 101 Switching Protocols\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 200 OK\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 200 O\rK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 200 OK\r\r\n", -EBADMSG, 0, NULL},
	{OK "A: b\n", -EBADMSG, 0, NULL},
	{OK "\n", -EBADMSG, 0, NULL},
	{OK "A b: c\r\n", -EBADMSG, 0, NULL},
	{OK "A\r\n", -EBADMSG, 0, NULL},
	{OK ": c\r\n", -EBADMSG, 0, NULL},
	{OK "A: b\r\n folded\r\n", -EBADMSG, 0, NULL},
	/* lengths that two could read in two ways */
	{OK "Content-Length : 5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 5\r\nContent-Length: 5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 5, 5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: -5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: +5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 0x5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 5 5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length:\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 18446744073709551621\r\n", -EBADMSG, 0, NULL}, /* 2^64 + 5 */
	{OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: gzip\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: gzip, chunked\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: identity\r\n", -EBADMSG, 0, NULL},
	{CHUNKED "\r\n", -EBADMSG, 0, NULL},
	{CHUNKED "g\r\n", -EBADMSG, 0, NULL},
	{CHUNKED "-1\r\n", -EBADMSG, 0, NULL},
	{CHUNKED "0x5\r\n", -EBADMSG, 0, NULL},
	{CHUNKED " 5\r\n", -EBADMSG, 0, NULL},
	{CHUNKED "10000000000000005\r\n", -EBADMSG, 0, NULL}, /* 2^64 + 5 */
	{CHUNKED "5\nhello", -EBADMSG, 0, NULL},
	{CHUNKED "5\r\nhello!\r\n", -EBADMSG, 0, NULL},
	{CHUNKED "5\r\nhello0\r\n\r\n", -EBADMSG, 0, NULL},
	{CHUNKED "0\r\nno name\r\n", -EBADMSG, 0, NULL},
	/* too much */
	{OK "Content-Length: 21\r\n\r\n", -EMSGSIZE, 0, NULL},
	{OK "Content-Length: 999999999999999999\r\n\r\n", -EMSGSIZE, 0, NULL},
	{OK "\r\n012345678901234567890", -EMSGSIZE, 0, NULL},
	{CHUNKED "15\r\n", -EMSGSIZE, 0, NULL},
	{CHUNKED "fffffffffffffff\r\n", -EMSGSIZE, 0, NULL},
	{CHUNKED "5\r\nhello\r\n10\r\n", -EMSGSIZE, 0, NULL},
};

/* Take it in pieces whose lengths `next` tells (0: all that is left), then the end of the stream.
 */
static int take(struct http_answer *a, const char *text, size_t n, size_t (*next)(void))
{
	while (n > 0) {
		size_t piece = next() % (n + 1);
		piece = piece ? piece : n;
		/* Of its own, so that a sanitizer sees what is read beyond it. */
		uint8_t *bytes = malloc(piece);
		assert_non_null(bytes);
		memcpy(bytes, text, piece);
		int rc = http_answer_take(a, bytes, piece);
		free(bytes);
		if (rc < 0)
			return rc;
		text += piece;
		n -= piece;
	}
	return a->state == ANSWER_WHOLE || http_answer_end(a) == 0 ? 0 : CUT;
}

static size_t all(void)
{
	return 0;
}

static size_t one(void)
{
	return 1;
}

static size_t some(void)
{
	static unsigned seed = 7;
	return (size_t)rand_r(&seed) % 9;
}

static void check(const struct row *r, size_t (*next)(void))
{
	struct http_answer a;
	http_answer_init(&a, BODY_MOST);
	int rc = take(&a, r->text, strlen(r->text), next);
	if (rc != r->rc)
		fail_msg("%s: %d instead of %d", r->text, rc, r->rc);
	if (rc == 0) {
		assert_int_equal(a.status, r->status);
		assert_int_equal(a.n, strlen(r->body));
		assert_memory_equal(a.n ? (const char *)a.body : "", r->body, a.n);
		assert_true(a.size <= BODY_MOST);
	} else if (rc != CUT) { /* refused once, refused for good */
		assert_int_equal(http_answer_take(&a, (const uint8_t *)OK, 1), -EBADMSG);
		assert_int_equal(http_answer_end(&a), -EBADMSG);
	}
	http_answer_done(&a);
}

static void http_answer_is_the_same_in_any_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check(&rows[i], all);
		check(&rows[i], one);
		for (unsigned tries = 0; tries < 20; tries++)
			check(&rows[i], some);
	}
}

/* Feed `unit` again and again behind `start`: what ends it, and after how many bytes. */
static int endless(const char *start, const char *unit, size_t most, size_t *ret_bytes)
{
	struct http_answer a;
	size_t bytes = strlen(start);
	http_answer_init(&a, most);
	int rc = http_answer_take(&a, (const uint8_t *)start, bytes);
	while (rc == 0 && a.state != ANSWER_WHOLE && bytes < 10 * HTTP_ANSWER_HEAD_BYTES_MAX) {
		rc = http_answer_take(&a, (const uint8_t *)unit, strlen(unit));
		bytes += strlen(unit);
	}
	http_answer_done(&a);
	*ret_bytes = bytes;
	return rc;
}

static void http_answer_has_an_end(void **state)
{
	(void)state;
	static const struct {
		const char *start, *unit;
		int rc;
		size_t least, most; /* bytes */
	} cases[] = {
		{OK, "A: b\r\n", -E2BIG, HTTP_ANSWER_HEAD_BYTES_MAX,
		 HTTP_ANSWER_HEAD_BYTES_MAX + 6},
		{OK "A: ", "b", -E2BIG, HTTP_ANSWER_HEAD_BYTES_MAX, HTTP_ANSWER_HEAD_BYTES_MAX + 1},
		{"", "HTTP/1.1 100 x\r\n\r\n", -E2BIG, HTTP_ANSWER_HEAD_BYTES_MAX,
		 HTTP_ANSWER_HEAD_BYTES_MAX + 18},
		{CHUNKED "0\r\n", "A: b\r\n", -E2BIG, HTTP_ANSWER_HEAD_BYTES_MAX,
		 HTTP_ANSWER_HEAD_BYTES_MAX + 9},
		{CHUNKED "1;", "x", -EMSGSIZE, HTTP_ANSWER_HEAD_BYTES_MAX,
		 2 * HTTP_ANSWER_HEAD_BYTES_MAX},
		{CHUNKED, "1\r\nx\r\n", -EMSGSIZE, HTTP_ANSWER_HEAD_BYTES_MAX,
		 2 * HTTP_ANSWER_HEAD_BYTES_MAX + 1000},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t bytes;
		assert_int_equal(endless(cases[i].start, cases[i].unit, 10000, &bytes),
				 cases[i].rc);
		assert_in_range(bytes, cases[i].least, cases[i].most);
	}
}

/* A line longer than what is kept of it: passed over, unless it is one that is looked at. */
static void http_answer_takes_long_lines(void **state)
{
	(void)state;
	static const struct {
		const char *before, *after;
		int rc;
	} cases[] = {
		{"Set-Cookie: ", "", 0},
		{"", ": x", 0},
		{"Content-Length: 0000", "", -EBADMSG},
		{"Content-Length: ", "2", -EBADMSG},
		{"Content-Length: 2", "2", -EBADMSG},
		{"Transfer-Encoding: chunked", ", gzip", -EBADMSG},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t n = HTTP_ANSWER_LINE_BYTES - 40; n < HTTP_ANSWER_LINE_BYTES + 40; n++) {
			char text[600], filler[200];
			memset(filler, i >= 3 ? ' ' : '0', n);
			filler[n] = '\0';
			int len = snprintf(text, sizeof(text), OK "%s%s%s\r\n\r\nab",
					   cases[i].before, filler, cases[i].after);
			struct http_answer a;
			http_answer_init(&a, BODY_MOST);
			int rc = take(&a, text, (size_t)len, all);
			bool is_kept = strlen(cases[i].before) + n + strlen(cases[i].after) <
				       HTTP_ANSWER_LINE_BYTES;
			if (i == 3 && is_kept) /* blanks in front of a length are none of it */
				assert_int_equal(rc, 0);
			else
				assert_int_equal(rc, cases[i].rc);
			if (rc == 0)
				assert_memory_equal(a.body, "ab", 2);
			http_answer_done(&a);
		}
	}
}

/* Memory follows what came, not what was announced. */
static void http_answer_takes_memory_for_what_came(void **state)
{
	(void)state;
	static const char head[] = OK "Content-Length: 100000000\r\n\r\n";
	struct http_answer a;
	uint8_t byte = 'x';
	http_answer_init(&a, 100000000);
	assert_int_equal(http_answer_take(&a, (const uint8_t *)head, sizeof(head) - 1), 0);
	assert_int_equal(a.size, 0);
	for (size_t i = 0; i < 100000; i++) {
		assert_int_equal(http_answer_take(&a, &byte, 1), 0);
		assert_true(a.size <= 2 * a.n + 4096);
	}
	http_answer_done(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(http_answer_is_the_same_in_any_pieces),
		cmocka_unit_test(http_answer_has_an_end),
		cmocka_unit_test(http_answer_takes_long_lines),
		cmocka_unit_test(http_answer_takes_memory_for_what_came),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
