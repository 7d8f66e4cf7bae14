/* net/http.h - signed documents over HTTP: a server (GNU libmicrohttpd) and a fetch, both on the
 * libevent loop.
 *
 * The server answers one request a connection and closes it. The library reads and writes all of
 * HTTP; here are routes, limits and deadlines, so that a few slow strangers cannot hold it for
 * hours. Bodies come with Content-Length. All of it belongs to the control thread.
 *
 * What remains: a body that is refused is not read, so that a client that sends on may see a reset
 * instead of the answer; a full table of descriptors while no connection is open has the library
 * try in a loop.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

struct event_base;

#define HTTP_CONNECTION_BYTES                                                                      \
	16384 /* of memory; the request line and headers must fit in, else 414 or 431 */
#define HTTP_CONNECTIONS_MAX                                                                       \
	64 /* of one server at once; further ones wait in the kernel's backlog */
#define HTTP_FRIENDS_PLACES	  16 /* of those, which strangers do not get */
#define HTTP_ROUTES_MAX		  32
#define HTTP_REQUEST_SECONDS	  10  /* from accept to the last byte of the request */
#define HTTP_REPLY_SECONDS	  120 /* from the reply to its last byte taken */
#define HTTP_FETCHES_MAX	  64  /* of one struct http_client at once */
#define HTTP_FETCH_HEAD_BYTES_MAX 16384

/* ---- server ---- */

struct http_server;
struct http_request; /* valid until its handler returns */

enum http_method { HTTP_GET, HTTP_POST };

/* Answer q before returning (http_reply...), else 500 is answered. */
typedef void http_handle_fn(void *arg, struct http_request *q);

struct http_server_config {
	struct addr bind;	 /* port 0 takes a free one */
	size_t body_bytes_max;	 /* of a request; a larger one is answered 413 by its head */
	unsigned per_source_max; /* connections of one IPv4 /32 or IPv6 /56 at once, 0 for no limit
				  */
	/* Whose connections have places of their own (by IP alone), so that strangers cannot shut
	 * them out; it outlives the server. Without friends strangers get all places, and wait for
	 * one; with, those beyond theirs are hung up. */
	const struct addr *friends;
	unsigned nfriends;
	unsigned request_ms; /* 0 is HTTP_REQUEST_SECONDS */
	unsigned reply_ms;   /* 0 is HTTP_REPLY_SECONDS */
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
/* Have fn answer `method` on exactly this path (kept by reference), whatever the query. Other
 * methods on it get 405, other paths 404. -ENOSPC beyond HTTP_ROUTES_MAX. */
int http_server_add(struct http_server *s, enum http_method method, const char *path,
		    http_handle_fn *fn, void *arg) __attribute__((warn_unused_result));

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
void http_reply_shared(struct http_request *q, int status, const char *type,
		       struct http_body *body);
/* Answer with one line of plain text. */
void http_reply_text(struct http_request *q, int status, const char *text);

/* ---- fetch ---- */

struct http_client; /* gathers fetches on one loop */
struct http_fetch;  /* one of them, until its callback */

struct http_fetch_options {
	const char *url;  /* as http_url.h says; a name is refused: none is asked for */
	const void *post; /* NULL for GET; copied */
	size_t post_bytes;
	size_t body_bytes_max;	     /* of the answer */
	unsigned timeout_ms;	     /* for all of it; 0 is refused */
	unsigned connect_timeout_ms; /* 0: the same as timeout_ms */
	uint32_t mark;		     /* SO_MARK, 0 for none */
	const char *device;	     /* SO_BINDTODEVICE, NULL for none */
	const struct addr *source; /* address to send from (its port is not used), NULL for none */
};

/* The fetch ended and is no more. status is HTTP's, and body its n bytes, good until fn returns; or
 * status 0 and `failure` says why in a sentence's words ("timed out after 500 ms"). May start and
 * cancel fetches; must not free the client. */
typedef void http_done_fn(void *arg, int status, const uint8_t *body, size_t n,
			  const char *failure);

/* NULL without memory. */
struct http_client *http_client_new(struct event_base *base);
/* Cancels what runs. */
void http_client_free(struct http_client *c);
/* Start. Redirects are not followed, proxies of the environment not used. 0, and fn will be called
 * once, later, unless cancelled; or -EINVAL for options that cannot be, -EBUSY beyond
 * HTTP_FETCHES_MAX, -ENOMEM. */
int http_fetch_start(struct http_client *c, const struct http_fetch_options *o, http_done_fn *fn,
		     void *arg, struct http_fetch **ret) __attribute__((warn_unused_result));
/* Stop without a callback. Only while it runs: never after its callback was called. */
void http_fetch_cancel(struct http_fetch *f);
