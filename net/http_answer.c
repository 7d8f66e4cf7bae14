/* net/http_answer.c - see net/http_answer.h. */
#include "net/http_answer.h"
#include <errno.h>
#include <http_parser.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_FIRST_BYTES 4096
#define LENGTH_NONE	 UINT64_MAX /* http_parser's content_length without Content-Length */

/* Stop the parser: what a callback returns. */
static int refuse(struct http_answer *a, int code)
{
	a->refusal = code;
	return -1;
}

/* --- head --- */

/* Append what fits; *bytes counts all of it. */
static void append(char *text, size_t *bytes, const char *at, size_t n)
{
	if (*bytes < HTTP_ANSWER_NAME_BYTES) {
		size_t room = HTTP_ANSWER_NAME_BYTES - *bytes;
		memcpy(text + *bytes, at, n < room ? n : room);
	}
	*bytes += n;
}

/* Blanks behind it aside, which the library leaves on values. */
static bool is_text(const char *bytes, size_t n, const char *text)
{
	while (n > 0 && n <= HTTP_ANSWER_NAME_BYTES &&
	       (bytes[n - 1] == ' ' || bytes[n - 1] == '\t'))
		n--;
	return n == strlen(text) && strncasecmp(bytes, text, n) == 0;
}

/* A header of the head is over. The library takes any coding whose last is chunks, and any other
 * one for a body up to the end of the stream; we could undo none. */
static int end_header(struct http_answer *a)
{
	bool is_coding = is_text(a->name, a->name_bytes, "Transfer-Encoding");
	bool is_chunks = is_text(a->value, a->value_bytes, "chunked");

	a->is_value = false;
	a->name_bytes = a->value_bytes = 0;
	if (!is_coding || a->has_head) /* a trailer's means nothing */
		return 0;
	if (a->has_coding || !is_chunks)
		return refuse(a, -EBADMSG);
	a->has_coding = true;
	return 0;
}

static int on_name(http_parser *p, const char *at, size_t n)
{
	struct http_answer *a = p->data;
	int rc = a->is_value ? end_header(a) : 0;

	if (memchr(at, ' ', n)) /* Debian's library takes them; what is meant is anybody's guess */
		return refuse(a, -EBADMSG);
	append(a->name, &a->name_bytes, at, n);
	return rc;
}

static int on_value(http_parser *p, const char *at, size_t n)
{
	struct http_answer *a = p->data;

	a->is_value = true;
	append(a->value, &a->value_bytes, at, n);
	return 0;
}

/* Returns 1 to have the library expect no body. */
static int on_head(http_parser *p)
{
	struct http_answer *a = p->data;
	unsigned status = p->status_code;

	if (end_header(a) < 0)
		return -1;
	/* We asked for no other protocol. */
	if (p->http_major != 1 || status < 100 || status > 599 || status == 101 || p->upgrade)
		return refuse(a, -EBADMSG);
	a->has_coding = false;
	if (status < 200)
		return 1;
	a->has_head = true;
	a->status = (int)status;
	if (status == 204 || status == 304)
		return 1;
	if (p->content_length != LENGTH_NONE && p->content_length > a->most)
		return refuse(a, -EMSGSIZE);
	return 0;
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

static int on_chunk(http_parser *p)
{
	struct http_answer *a = p->data;

	return p->content_length > a->most - a->n ? refuse(a, -EMSGSIZE) : 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct http_answer *a = p->data;

	if (n == 0)
		return 0;
	if (n > a->most - a->n)
		return refuse(a, -EMSGSIZE);
	int rc = make_room(a, n);
	if (rc < 0)
		return refuse(a, rc);
	memcpy(a->body + a->n, at, n);
	a->n += n;
	return 0;
}

/* The parser stops behind it, so that what follows is not taken for another answer. */
static int on_end(http_parser *p)
{
	struct http_answer *a = p->data;

	if (a->has_head) {
		a->state = ANSWER_WHOLE;
		http_parser_pause(p, 1);
	}
	return 0;
}

static const http_parser_settings callbacks = {
	.on_header_field = on_name,
	.on_header_value = on_value,
	.on_headers_complete = on_head,
	.on_chunk_header = on_chunk,
	.on_body = on_body,
	.on_message_complete = on_end,
};

/* --- life --- */

int http_answer_init(struct http_answer *a, size_t body_bytes_max)
{
	memset(a, 0, sizeof(*a));
	a->most = body_bytes_max;
	a->parser = calloc(1, sizeof(*a->parser));
	if (!a->parser)
		return -ENOMEM;
	http_parser_set_max_header_size(HTTP_ANSWER_HEAD_BYTES_MAX);
	http_parser_init(a->parser, HTTP_RESPONSE);
	a->parser->data = a;
	return 0;
}

void http_answer_done(struct http_answer *a)
{
	free(a->body);
	free(a->parser);
	a->body = NULL;
	a->parser = NULL;
}

static size_t others_max(const struct http_answer *a)
{
	return HTTP_ANSWER_HEAD_BYTES_MAX + (a->has_head ? a->most : 0);
}

/* Have the parser take at most as many bytes as are allowed outside of the body, so that the bound
 * is met at the same byte however the stream comes in pieces. Returns how many it took or -errno.
 */
static int take_some(struct http_answer *a, const uint8_t *bytes, size_t n, size_t *ret_taken)
{
	size_t room = others_max(a) - a->other_bytes, before = a->n;

	if (n > room)
		n = room > 0 ? room : 1;
	size_t taken = http_parser_execute(a->parser, &callbacks, (const char *)bytes, n);
	enum http_errno code = HTTP_PARSER_ERRNO(a->parser);
	if (code == HPE_HEADER_OVERFLOW)
		return -E2BIG;
	if (code != HPE_OK && code != HPE_PAUSED)
		return a->refusal < 0 ? a->refusal : -EBADMSG;
	a->other_bytes += taken - (a->n - before);
	if (a->other_bytes > others_max(a))
		return a->has_head ? -EMSGSIZE : -E2BIG;
	*ret_taken = taken;
	return 0;
}

int http_answer_take(struct http_answer *a, const uint8_t *bytes, size_t n)
{
	if (a->state == ANSWER_REFUSED)
		return -EBADMSG;
	while (n > 0) {
		size_t taken = 0;
		int rc = a->state == ANSWER_WHOLE ? -EBADMSG : take_some(a, bytes, n, &taken);
		if (rc < 0) {
			a->state = ANSWER_REFUSED;
			return rc;
		}
		bytes += taken;
		n -= taken;
	}
	return 0;
}

int http_answer_end(struct http_answer *a)
{
	if (a->state == ANSWER_COMES) /* no bytes: that is the end to the parser */
		http_parser_execute(a->parser, &callbacks, "", 0);
	return a->state == ANSWER_WHOLE ? 0 : -EBADMSG;
}
