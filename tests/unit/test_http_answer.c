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
	{OK "content-LENGTH:\t5 \r\n\r\nhello", 0, 200, "hello"},
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
	{"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", 0, 204, ""},
	{"HTTP/1.1 304 Not Modified\r\n\r\n", 0, 304, ""},
	{"HTTP/1.1 304 Not Modified\r\nContent-Length: 21\r\n\r\n", 0, 304, ""},
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nContent-Length: 9\r\n\r\n" OK
	 "Content-Length: 2\r\n\r\nab",
	 0, 200, "ab"},
	{"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n" OK "\r\nab", 0, 200, "ab"},
	{"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKED "0\r\n\r\n", 0, 200,
	 ""},
	/* lines that mean nothing to us */
	{OK "Server: x: y\r\nX-A.B_c!:\r\nContent-Lengths: 9\r\nContent: 9\r\n\r\nab", 0, 200,
	 "ab"},
	/* what the library lets pass, as Debian builds it: what comes of it */
	{"\r\n\n" OK "\r\nab", 0, 200, "ab"},
	{"HTTP/1.1  200 OK\r\n\r\nab", 0, 200, "ab"},
	{"HTTP/1.1 200 O\rK\r\nab", 0, 200, "ab"},
	{"HTTP/1.1 200 OK\nContent-Length: 2\n\nab", 0, 200, "ab"},
	{OK "A: b\r\n folded\r\n\r\nab", 0, 200, "ab"},
	{OK "Upgrade: h2c\r\nConnection: upgrade\r\n\r\nab", 0, 200, "ab"},
	{OK "Transfer-Encoding: chunked \r\n\r\n2\r\nab..0\r\n\r\n", 0, 200, "ab"},
	{CHUNKED "0\r\nTransfer-Encoding: gzip\r\nA: b\r\n\r\n", 0, 200, ""},
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
	{"\r\nhello", -EBADMSG, 0, NULL},
	{"HTTP/2.0 200 OK\r\n\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.x 200 OK\r\n", -EBADMSG, 0, NULL},
	{"http/1.1 200 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 2000 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 20 OK.\r\n\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 200OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 +20 OK\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 099 OK\r\n\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 600 OK\r\n\r\n", -EBADMSG, 0, NULL},
	{"HTTP/1.1 101 Switching Protocols\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "A b: c\r\n", -EBADMSG, 0, NULL},
	{OK " A: c\r\n", -EBADMSG, 0, NULL},
	{OK "A\r\n", -EBADMSG, 0, NULL},
	{OK ": c\r\n", -EBADMSG, 0, NULL},
	/* lengths that two could read in two ways */
	{OK "Content-Length : 5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length:\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 5\t\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 5\r\nContent-Length: 5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 5, 5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: -5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: +5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 0x5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 5 5\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 18446744073709551621\r\n", -EBADMSG, 0, NULL}, /* 2^64 + 5 */
	{OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: gzip\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: gzip, chunked\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: identity\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: chunked, chunked\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding: chunked\r\n , gzip\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding : gzip\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Transfer-Encoding:\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 2\r\n , 2\r\n\r\n", -EBADMSG, 0, NULL},
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
	/* bytes behind the answer */
	{OK "Content-Length: 5\r\n\r\nhello, and more", -EBADMSG, 0, NULL},
	{OK "Content-Length: 0\r\n\r\n\r\n", -EBADMSG, 0, NULL},
	{OK "Content-Length: 0\r\n\r\n" OK "Content-Length: 0\r\n\r\n", -EBADMSG, 0, NULL},
	{CHUNKED "0\r\n\r\n" OK "\r\nab", -EBADMSG, 0, NULL},
	{"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\nnot of it", -EBADMSG, 0, NULL},
	{"HTTP/1.1 304 Not Modified\r\n\r\nnot of it", -EBADMSG, 0, NULL},
	{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx", -EBADMSG,
	 0, NULL},
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
	assert_int_equal(http_answer_init(&a, BODY_MOST), 0);
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
	assert_int_equal(http_answer_init(&a, most), 0);
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
	enum {
		MOST = 10000,
		OTHER_MOST = HTTP_ANSWER_HEAD_BYTES_MAX + MOST,
		HEAD_BYTES = sizeof(CHUNKED) - 1
	};
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
		 HTTP_ANSWER_HEAD_BYTES_MAX + sizeof(CHUNKED "0\r\n") + 6},
		{CHUNKED "1;", "x", -E2BIG, HTTP_ANSWER_HEAD_BYTES_MAX,
		 HTTP_ANSWER_HEAD_BYTES_MAX + sizeof(CHUNKED "1;") + 1},
		/* what is not the body's: 5 of 6 bytes, and all but one */
		{CHUNKED, "1\r\nx\r\n", -EMSGSIZE, (OTHER_MOST - HEAD_BYTES) / 5 * 6,
		 (OTHER_MOST - HEAD_BYTES) / 5 * 6 + 200},
		{CHUNKED, "1;extension=and-more-of-it\r\nx\r\n", -EMSGSIZE, OTHER_MOST,
		 OTHER_MOST + OTHER_MOST / 30 + 100},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t bytes;
		assert_int_equal(endless(cases[i].start, cases[i].unit, MOST, &bytes), cases[i].rc);
		assert_in_range(bytes, cases[i].least, cases[i].most);
	}
}

/* What stands behind the last byte that is allowed is not looked at: all pieces end the same way.
 */
static void http_answer_ends_at_the_same_byte(void **state)
{
	(void)state;
	/* An interim answer first: from there on the library's own count is behind. */
	static const char start[] = "HTTP/1.1 100 Continue\r\n\r\n" OK;
	static const char line[] = "A: b\r\n", wrong[] = ": no name\r\n";
	char *text = malloc(2 * HTTP_ANSWER_HEAD_BYTES_MAX);
	size_t n = sizeof(start) - 1;
	assert_non_null(text);
	memcpy(text, start, n);
	for (; n < HTTP_ANSWER_HEAD_BYTES_MAX; n += sizeof(line) - 1)
		memcpy(text + n, line, sizeof(line) - 1);
	memcpy(text + n, wrong, sizeof(wrong));
	n += sizeof(wrong) - 1;
	size_t (*const pieces[])(void) = {all, one, some};
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct http_answer a;
		assert_int_equal(http_answer_init(&a, BODY_MOST), 0);
		assert_int_equal(take(&a, text, n, pieces[i]), -E2BIG);
		http_answer_done(&a);
	}
	free(text);
}

/* Longer than what is kept of a header: passed over, unless it is one that is looked at. */
static void http_answer_takes_long_lines(void **state)
{
	(void)state;
	static const struct {
		const char *before, *after;
		char filler;
		int rc;
	} cases[] = {
		{"Set-Cookie: ", "", 'x', 0},
		{"X", ": x", 'x', 0},
		{"Transfer-Encoding", "x: gzip", 'x', 0},
		{"Content-Length: ", "2", '0', 0},
		{"Content-Length: ", "2", ' ', 0},
		{"Content-Length: 2", "", ' ', 0},
		{"Content-Length: 2", " 2", ' ', -EBADMSG},
		{"Content-Length: 2", " 2", '0', -EBADMSG},
		{"Transfer-Encoding: chunked", ", gzip", ' ', -EBADMSG},
		{"Transfer-Encoding: ", "gzip", ' ', -EBADMSG},
		{"Transfer-Encoding", " : gzip", ' ', -EBADMSG},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t n = 0; n < 3 * HTTP_ANSWER_NAME_BYTES; n++) {
			char text[600], filler[3 * HTTP_ANSWER_NAME_BYTES];
			memset(filler, cases[i].filler, n);
			filler[n] = '\0';
			int len = snprintf(text, sizeof(text), OK "%s%s%s\r\n\r\nab",
					   cases[i].before, filler, cases[i].after);
			struct http_answer a;
			assert_int_equal(http_answer_init(&a, BODY_MOST), 0);
			int rc = take(&a, text, (size_t)len, some);
			if (rc != cases[i].rc)
				fail_msg("%s: %d", text, rc);
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
	assert_int_equal(http_answer_init(&a, 100000000), 0);
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
		cmocka_unit_test(http_answer_ends_at_the_same_byte),
		cmocka_unit_test(http_answer_takes_long_lines),
		cmocka_unit_test(http_answer_takes_memory_for_what_came),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
