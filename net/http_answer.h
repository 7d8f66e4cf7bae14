/* net/http_answer.h - an HTTP/1 answer (RFC 9112), read as it comes: pure, and strict.
 *
 *   status line, header lines, empty line        all interim answers (1xx) and the trailer with it:
 *                                                HTTP_ANSWER_HEAD_BYTES_MAX
 *   body: as many bytes as Content-Length says, or in chunks, or up to the end of the stream
 *
 * Refused is what two readers could take in two ways: a length given twice, or beside chunks; a
 * coding other than chunks; folded lines; line ends other than CR LF. Of a header line the first
 * HTTP_ANSWER_LINE_BYTES are kept, which is enough for what is looked at. Memory is taken for bytes
 * that came, never for a length that was announced.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_ANSWER_HEAD_BYTES_MAX 16384
#define HTTP_ANSWER_LINE_BYTES	   128

enum http_answer_state {
	ANSWER_STATUS,
	ANSWER_HEADER,
	ANSWER_BODY, /* `left` bytes more */
	ANSWER_BODY_TO_END,
	ANSWER_CHUNK_SIZE,
	ANSWER_CHUNK, /* `left` bytes more */
	ANSWER_CHUNK_END,
	ANSWER_TRAILER,
	ANSWER_WHOLE,
	ANSWER_REFUSED,
};

struct http_answer {
	enum http_answer_state state;
	int status; /* 200..599 once the last status line was read */
	uint8_t *body;
	size_t n, size, most; /* bytes of the body: that came, that fit in, that are allowed */
	uint64_t left;
	bool has_length, is_chunked;
	size_t head_bytes, frame_bytes; /* of lines so far: head and trailer; chunk sizes */
	size_t line_bytes;		/* of the line that is being read, its CR LF aside */
	bool line_has_cr;		/* its last byte was the CR */
	char line[HTTP_ANSWER_LINE_BYTES];
};

void http_answer_init(struct http_answer *a, size_t body_bytes_max);
/* Frees the body. */
void http_answer_done(struct http_answer *a);
/* Take the next n bytes of the stream; what follows a whole answer is not looked at. 0 (is it whole
 * by now? see the state); -EBADMSG no HTTP; -EMSGSIZE a body larger than allowed; -E2BIG a head
 * larger than allowed; -ENOMEM. After a failure it takes no more (-EBADMSG). */
int http_answer_take(struct http_answer *a, const uint8_t *bytes, size_t n)
	__attribute__((warn_unused_result));
/* The stream ended. 0 the answer is whole now, -EBADMSG it was cut. */
int http_answer_end(struct http_answer *a) __attribute__((warn_unused_result));
