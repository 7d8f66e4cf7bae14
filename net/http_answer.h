/* net/http_answer.h - an HTTP/1 answer (RFC 9112), read as it comes: no I/O, no clock, every count
 * bounded. The reader is Debian's http_parser; here are the bounds and what is refused besides.
 *
 *   head     all interim answers (1xx) and the one that counts: HTTP_ANSWER_HEAD_BYTES_MAX
 *   body     as many bytes as Content-Length says, or in chunks, or up to the end of the stream
 *   chunks   what stands around them and behind: as much as a body and a head may
 *
 * The library refuses a length given twice or beside chunks; here another coding than chunks,
 * blanks in names, other versions than 1, 101, and bytes behind the answer. Memory is taken for
 * bytes that came, never for a length that was announced.
 *
 * Debian builds the library without HTTP_PARSER_STRICT. It lets pass: a bare LF as a line's end,
 * any byte behind a CR, folded lines, wrong letters in "HTTP", any two bytes behind a chunk. One
 * connection carries one answer, and what is in it is signed: a reader that finds another end of it
 * finds signatures that do not fit.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_ANSWER_HEAD_BYTES_MAX 16384
#define HTTP_ANSWER_NAME_BYTES	   24 /* of a header's name and value: more than what is looked at */

enum http_answer_state { ANSWER_COMES, ANSWER_WHOLE, ANSWER_REFUSED };

struct http_parser;

/* It must stay where it was initialised: the parser points to it. */
struct http_answer {
	enum http_answer_state state;
	int status; /* 200..599 once its head was read */
	uint8_t *body;
	size_t n, size, most; /* bytes of the body: that came, that fit in, that are allowed */
	struct http_parser *parser;
	int refusal;	    /* why a callback stopped the parser, 0 for the library's own reasons */
	bool has_head;	    /* of the answer that counts */
	bool is_value;	    /* the parser is in a header's value */
	bool has_coding;    /* a Transfer-Encoding was seen in this head */
	size_t other_bytes; /* that came and are none of the body's */
	size_t name_bytes, value_bytes; /* of the header that is being read */
	char name[HTTP_ANSWER_NAME_BYTES], value[HTTP_ANSWER_NAME_BYTES];
};

/* 0 or -ENOMEM; http_answer_done() may follow either. Control thread: the bound of heads is the
 * library's only global. */
int http_answer_init(struct http_answer *a, size_t body_bytes_max)
	__attribute__((warn_unused_result));
/* Frees the body and the parser. */
void http_answer_done(struct http_answer *a);
/* Take the next n bytes of the stream. 0 (is it whole by now? see the state); -EBADMSG no HTTP, or
 * more than one answer; -EMSGSIZE a body, or what stands around its chunks, larger than allowed;
 * -E2BIG a head, a chunk's line or a trailer larger than allowed; -ENOMEM. After a failure it takes
 * no more (-EBADMSG). */
int http_answer_take(struct http_answer *a, const uint8_t *bytes, size_t n)
	__attribute__((warn_unused_result));
/* The stream ended. 0 the answer is whole now, -EBADMSG it was cut. */
int http_answer_end(struct http_answer *a) __attribute__((warn_unused_result));
