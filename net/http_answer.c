/* net/http_answer.c - see net/http_answer.h. */
#include "net/http_answer.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#define STATUS_LINE_BYTES_LEAST 12 /* "HTTP/1.1 200" */
#define LENGTH_DIGITS_MAX	18 /* below 2^60 */
#define CHUNK_DIGITS_MAX	15
#define BODY_FIRST_BYTES	4096

void http_answer_init(struct http_answer *a, size_t body_bytes_max)
{
	memset(a, 0, sizeof(*a));
	a->most = body_bytes_max;
}

void http_answer_done(struct http_answer *a)
{
	free(a->body);
	a->body = NULL;
}

/* --- lines --- */

/* The value of a header line of that name, without the blanks around it; NULL for another name. */
static char *value_of(struct http_answer *a, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(a->line, name, n) != 0 || a->line[n] != ':')
		return NULL;
	char *value = a->line + n + 1 + strspn(a->line + n + 1, " \t");
	for (size_t end = strlen(value); end > 0 && strchr(" \t", value[end - 1]); end--)
		value[end - 1] = '\0';
	return value;
}

static int digit_of(char c, unsigned base)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

	return at && at - digits < (int)base ? (int)(at - digits) : -1;
}

/* Digits at the start of text; how many of them, 0 for none or more than `most`. */
static size_t read_number(const char *text, unsigned base, size_t most, uint64_t *ret)
{
	uint64_t value = 0;
	size_t n = 0;

	while (digit_of(text[n], base) >= 0) {
		if (n == most)
			return 0;
		value = value * base + (unsigned)digit_of(text[n++], base);
	}
	*ret = value;
	return n;
}

/* "HTTP/1.x NNN", and then a blank and a reason or nothing. */
static int on_status_line(struct http_answer *a)
{
	const char *line = a->line;
	uint64_t status;

	if (a->line_bytes < STATUS_LINE_BYTES_LEAST || memcmp(line, "HTTP/1.", 7) != 0 ||
	    digit_of(line[7], 10) < 0 || line[8] != ' ' ||
	    read_number(line + 9, 10, 3, &status) != 3 || (line[12] != ' ' && line[12] != '\0'))
		return -EBADMSG;
	if (status < 100 || status > 599 || status == 101) /* 101: we asked for no other protocol */
		return -EBADMSG;
	a->status = (int)status;
	a->has_length = a->is_chunked = false;
	a->state = ANSWER_HEADER;
	return 0;
}

static int on_head_end(struct http_answer *a)
{
	if (a->status < 200) {
		a->state = ANSWER_STATUS;
		return 0;
	}
	if (a->has_length && a->is_chunked)
		return -EBADMSG;
	if (a->status == 204 || a->status == 304)
		a->state = ANSWER_WHOLE;
	else if (a->is_chunked)
		a->state = ANSWER_CHUNK_SIZE;
	else if (!a->has_length)
		a->state = ANSWER_BODY_TO_END;
	else if (a->left > a->most)
		return -EMSGSIZE;
	else
		a->state = a->left > 0 ? ANSWER_BODY : ANSWER_WHOLE;
	return 0;
}

/* RFC 9110 section 5.6.2. */
static bool is_name(const char *line)
{
	static const char others[] = "!#$%&'*+-.^_`|~";
	size_t n = 0;

	for (char c; (c = line[n]) != '\0' && c != ':'; n++) {
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!letter && !(c >= '0' && c <= '9') && !strchr(others, c))
			return false;
	}
	return n > 0 && (line[n] == ':' || n == HTTP_ANSWER_LINE_BYTES - 1);
}

static int on_header_line(struct http_answer *a)
{
	bool whole = a->line_bytes < sizeof(a->line);
	const char *value;

	if (a->line_bytes == 0)
		return on_head_end(a);
	if (!is_name(a->line))
		return -EBADMSG;
	if ((value = value_of(a, "Content-Length"))) {
		size_t digits = read_number(value, 10, LENGTH_DIGITS_MAX, &a->left);
		if (!whole || a->has_length || digits == 0 || value[digits] != '\0')
			return -EBADMSG;
		a->has_length = true;
	} else if ((value = value_of(a, "Transfer-Encoding"))) {
		if (!whole || a->is_chunked || strcasecmp(value, "chunked") != 0)
			return -EBADMSG;
		a->is_chunked = true;
	}
	return 0;
}

/* The size, and maybe extensions that mean nothing to us. */
static int on_chunk_size_line(struct http_answer *a)
{
	size_t digits = read_number(a->line, 16, CHUNK_DIGITS_MAX, &a->left);

	if (digits == 0 || !strchr("; \t", a->line[digits])) /* finds the final NUL as well */
		return -EBADMSG;
	if (a->left > a->most - a->n)
		return -EMSGSIZE;
	a->state = a->left > 0 ? ANSWER_CHUNK : ANSWER_TRAILER;
	return 0;
}

static int on_line(struct http_answer *a)
{
	switch (a->state) {
	case ANSWER_STATUS:
		return on_status_line(a);
	case ANSWER_HEADER:
		return on_header_line(a);
	case ANSWER_CHUNK_SIZE:
		return on_chunk_size_line(a);
	case ANSWER_CHUNK_END:
		a->state = ANSWER_CHUNK_SIZE;
		return a->line_bytes == 0 ? 0 : -EBADMSG;
	case ANSWER_TRAILER:
		if (a->line_bytes == 0)
			a->state = ANSWER_WHOLE;
		else if (!is_name(a->line))
			return -EBADMSG;
		return 0;
	default:
		return -EBADMSG;
	}
}

/* What stands around chunks may be as long as the body may, and a head: that is chunks of some ten
 * bytes for the largest, and less work than any other way to keep us busy. */
static int count_line_byte(struct http_answer *a)
{
	if (a->state == ANSWER_CHUNK_SIZE || a->state == ANSWER_CHUNK_END)
		return ++a->frame_bytes > a->most + HTTP_ANSWER_HEAD_BYTES_MAX ? -EMSGSIZE : 0;
	return ++a->head_bytes > HTTP_ANSWER_HEAD_BYTES_MAX ? -E2BIG : 0;
}

static int take_line_byte(struct http_answer *a, uint8_t byte)
{
	int rc = count_line_byte(a);

	if (rc < 0)
		return rc;
	if (a->line_has_cr != (byte == '\n') || byte == '\0')
		return -EBADMSG;
	a->line_has_cr = byte == '\r';
	if (byte == '\r')
		return 0;
	if (byte != '\n') {
		if (a->line_bytes < sizeof(a->line) - 1)
			a->line[a->line_bytes] = (char)byte;
		a->line_bytes++;
		return 0;
	}
	a->line[a->line_bytes < sizeof(a->line) ? a->line_bytes : sizeof(a->line) - 1] = '\0';
	rc = on_line(a);
	a->line_bytes = 0;
	return rc;
}

/* --- body --- */

static int make_room(struct http_answer *a, size_t n)
{
	size_t need = a->n + n, size = a->size ? a->size : BODY_FIRST_BYTES;

	if (need <= a->size)
		return 0;
	while (size < need)
		size *= 2;
	if (size > a->most)
		size = a->most;
	uint8_t *body = realloc(a->body, size);
	if (!body)
		return -ENOMEM;
	a->body = body;
	a->size = size;
	return 0;
}

/* Returns how many of the n bytes belong to the body or to this chunk, or -errno. */
static ssize_t take_body(struct http_answer *a, const uint8_t *bytes, size_t n)
{
	bool to_end = a->state == ANSWER_BODY_TO_END;

	if (!to_end && n > a->left)
		n = (size_t)a->left;
	if (n > a->most - a->n)
		return -EMSGSIZE;
	int rc = make_room(a, n);
	if (rc < 0)
		return rc;
	memcpy(a->body + a->n, bytes, n);
	a->n += n;
	a->left -= to_end ? 0 : n;
	if (!to_end && a->left == 0)
		a->state = a->state == ANSWER_CHUNK ? ANSWER_CHUNK_END : ANSWER_WHOLE;
	return (ssize_t)n;
}

static ssize_t take_some(struct http_answer *a, const uint8_t *bytes, size_t n)
{
	if (a->state == ANSWER_BODY || a->state == ANSWER_BODY_TO_END || a->state == ANSWER_CHUNK)
		return take_body(a, bytes, n);
	int rc = take_line_byte(a, *bytes);
	return rc < 0 ? rc : 1;
}

int http_answer_take(struct http_answer *a, const uint8_t *bytes, size_t n)
{
	if (a->state == ANSWER_REFUSED)
		return -EBADMSG;
	while (n > 0 && a->state != ANSWER_WHOLE) {
		ssize_t taken = take_some(a, bytes, n);
		if (taken < 0) {
			a->state = ANSWER_REFUSED;
			return (int)taken;
		}
		bytes += taken;
		n -= (size_t)taken;
	}
	return 0;
}

int http_answer_end(struct http_answer *a)
{
	if (a->state == ANSWER_BODY_TO_END)
		a->state = ANSWER_WHOLE;
	return a->state == ANSWER_WHOLE ? 0 : -EBADMSG;
}
