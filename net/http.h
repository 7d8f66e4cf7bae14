/* net/http.h - a small HTTP/1.1 server for signed documents, and a fetch, both on the libevent loop.
 *
 * The server answers one request a connection and closes it. It is ours and not evhttp: libevent 2.1's
 * has no limit of connections and no deadline for a whole request, so that a few slow strangers could hold
 * it for hours. It takes GET and POST with Content-Length, and nothing else of HTTP. The fetch is libcurl's.
 * All of it belongs to the control thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

struct event_base;

#define HTTP_HEAD_BYTES_MAX      8192 /* request line and headers */
#define HTTP_PATH_BYTES          128  /* of a request, with the NUL; the query is cut off */
#define HTTP_CONNECTIONS_MAX     64   /* at once; further ones wait in the kernel's backlog */
#define HTTP_ROUTES_MAX          32
#define HTTP_REQUEST_SECONDS     10   /* from accept to the last byte of the request */
#define HTTP_REPLY_SECONDS       120  /* from the reply to its last byte taken */
#define HTTP_FETCHES_MAX         64   /* of one struct http_client at once */
#define HTTP_FETCH_HEAD_BYTES_MAX 16384

/* ---- server ---- */

struct http_server;
struct http_request; /* valid until its handler returns */

enum http_method { HTTP_GET, HTTP_POST };

/* Answer q before returning (http_reply...), else 500 is answered. */
typedef void http_handle_fn(void *arg, struct http_request *q);

struct http_server_config {
	struct addr bind;        /* port 0 takes a free one */
	size_t body_bytes_max;   /* of a request; a larger one is answered 413 */
	unsigned per_source_max; /* connections of one IPv4 /32 or IPv6 /56 at once, 0 for no limit */
	unsigned request_ms;     /* 0 is HTTP_REQUEST_SECONDS */
	unsigned reply_ms;       /* 0 is HTTP_REPLY_SECONDS */
};

/* Bind and serve on base. Makes the process ignore SIGPIPE. 0 or -errno. */
int http_server_open(struct event_base *base, const struct http_server_config *c,
		     struct http_server **ret) __attribute__((warn_unused_result));
/* Cut all connections off. Not from within a handler. */
void http_server_close(struct http_server *s);
/* Where it listens, with the true port. */
struct addr http_server_addr(const struct http_server *s);
/* Connections that are open now. */
size_t http_server_connections(const struct http_server *s);
/* Have fn answer `method` on exactly this path (kept by reference). Other methods on it get 405, other
 * paths 404. -ENOSPC beyond HTTP_ROUTES_MAX. */
int http_server_add(struct http_server *s, enum http_method method, const char *path, http_handle_fn *fn,
		    void *arg) __attribute__((warn_unused_result));

/* The body of a POST; *ret_n 0 and never NULL when there is none. */
const uint8_t *http_request_body(const struct http_request *q, size_t *ret_n);
struct addr http_request_from(const struct http_request *q);

/* A reply's body that many connections may share: one copy in memory however many fetch it. */
struct http_body;
/* Copy n bytes. The caller holds one reference. NULL without memory. */
struct http_body *http_body_new(const void *bytes, size_t n);
void http_body_unref(struct http_body *b);

/* Answer with n copied bytes of MIME type `type`. */
void http_reply(struct http_request *q, int status, const char *type, const void *body, size_t n);
/* The same with a shared body; takes a reference of its own. */
void http_reply_shared(struct http_request *q, int status, const char *type, struct http_body *body);
/* Answer with one line of plain text. */
void http_reply_text(struct http_request *q, int status, const char *text);

/* ---- the parser underneath, pure ---- */

struct http_head {
	bool is_known; /* the method is GET or POST */
	enum http_method method;
	char path[HTTP_PATH_BYTES];
	uint64_t body_bytes; /* Content-Length */
	size_t head_bytes;   /* up to and with the empty line */
};

/* Parse a request's head. 0 when it is whole; -EAGAIN when more bytes are needed; else the negative HTTP
 * status to answer: -400 malformed, -411 a POST without length, -414 path too long, -431 head too large,
 * -501 a transfer coding, -505 not HTTP/1.x. *ret is set on 0 only. */
int http_head_parse(const uint8_t *bytes, size_t n, struct http_head *ret)
	__attribute__((warn_unused_result));

/* ---- fetch ---- */

struct http_client; /* gathers fetches on one loop */
struct http_fetch;  /* one of them, until its callback */

struct http_fetch_options {
	const char *url;             /* http(s)://IP:PORT/PATH or [v6]; a name is refused: none is asked for */
	const void *post;            /* NULL for GET; copied */
	size_t post_bytes;
	size_t body_bytes_max;       /* of the answer */
	unsigned timeout_ms;         /* for all of it; 0 is refused */
	unsigned connect_timeout_ms; /* 0: the same as timeout_ms */
	uint32_t mark;               /* SO_MARK, 0 for none */
	const char *device;          /* SO_BINDTODEVICE, NULL for none */
	const struct addr *source;   /* address to send from (its port is not used), NULL for none */
};

/* The fetch ended and is no more. status is HTTP's, and body its n bytes, good until fn returns; or status 0
 * and `failure` says why in a sentence's words ("timed out after 500 ms"). May start and cancel fetches; must
 * not free the client. */
typedef void http_done_fn(void *arg, int status, const uint8_t *body, size_t n, const char *failure);

/* Makes the process ignore SIGPIPE. NULL without memory. */
struct http_client *http_client_new(struct event_base *base);
/* Cancels what runs. */
void http_client_free(struct http_client *c);
/* Start. Redirects are not followed, proxies of the environment not used. 0, and fn will be called once,
 * later, unless cancelled; or -EINVAL for options that cannot be, -EBUSY beyond HTTP_FETCHES_MAX, -ENOMEM. */
int http_fetch_start(struct http_client *c, const struct http_fetch_options *o, http_done_fn *fn, void *arg,
		     struct http_fetch **ret) __attribute__((warn_unused_result));
/* Stop without a callback. Only while it runs: never after its callback was called. */
void http_fetch_cancel(struct http_fetch *f);
