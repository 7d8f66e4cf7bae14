/* net/http_fetch.c - one request, one connection, one answer, on the libevent loop. See http.h;
 * http_answer.h reads what comes, http_url.h says where to. Control thread.
 *
 *   begin      in the loop's next turn, so that no callback runs inside http_fetch_start()
 *   connected  the socket can be written to
 *   talking    the request goes out, and the answer is read meanwhile: a server may refuse a body
 *              before it has all of it
 *   readable   the rest of the answer
 *
 * Not libcurl: Debian's brings 26 libraries along (two TLS, Kerberos, LDAP, SSH), 5 MB of each
 * daemon's memory and all their bugs, for a GET from an address.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net/http.h"
#include "net/http_answer.h"
#include "net/http_url.h"

#define SENTENCE_BYTES	   256
#define REQUEST_HEAD_BYTES 512
#define READ_BYTES	   16384
#define READS_AT_ONCE	   8 /* then others have their turn */

_Static_assert(HTTP_FETCH_HEAD_BYTES_MAX == HTTP_ANSWER_HEAD_BYTES_MAX, "one limit, two names");

struct http_client {
	struct event_base *base;
	LIST_HEAD(, http_fetch) fetches;
	size_t count;
};

struct http_fetch {
	LIST_ENTRY(http_fetch) entry;
	struct http_client *client;
	http_done_fn *fn;
	void *arg;
	int fd;		  /* -1 before the loop's next turn */
	struct event *io; /* what comes next: begin, connected, talking, readable */
	struct event *timer, *connect_timer;
	unsigned timeout_ms;
	struct addr to, source;
	uint32_t mark;
	char *device;
	uint8_t *request;
	size_t request_bytes, sent;
	struct http_answer answer;
};

static void fetch_free(struct http_fetch *f)
{
	LIST_REMOVE(f, entry);
	f->client->count--;
	if (f->io)
		event_free(f->io);
	if (f->timer)
		event_free(f->timer);
	if (f->connect_timer)
		event_free(f->connect_timer);
	if (f->fd >= 0)
		close(f->fd);
	http_answer_done(&f->answer);
	free(f->device);
	free(f->request);
	free(f);
}

/* Take it apart, then tell its owner, who may start and cancel others. failure NULL: the answer
 * came. */
static void finish(struct http_fetch *f, const char *failure)
{
	static const uint8_t nothing[1];
	http_done_fn *fn = f->fn;
	void *arg = f->arg;
	int status = failure ? 0 : f->answer.status;
	uint8_t *body = f->answer.body;
	size_t n = failure ? 0 : f->answer.n;

	f->answer.body = NULL;
	fetch_free(f);
	fn(arg, status, body ? body : nothing, n, failure);
	free(body);
}

static void fail_errno(struct http_fetch *f, const char *what, int code)
{
	char text[SENTENCE_BYTES];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(code));
	finish(f, text);
}

static void fail_answer(struct http_fetch *f, int code)
{
	finish(f, code == -EMSGSIZE ? "the answer is larger than allowed"
		  : code == -E2BIG  ? "the answer's header is larger than allowed"
		  : code == -ENOMEM ? "out of memory"
				    : "the answer is not HTTP, or it was cut off");
}

/* --- talking --- */

/* True while the fetch goes on. */
static bool read_some(struct http_fetch *f)
{
	uint8_t bytes[READ_BYTES];

	for (unsigned i = 0; i < READS_AT_ONCE; i++) {
		ssize_t n = recv(f->fd, bytes, sizeof(bytes), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n < 0) {
			fail_errno(f, "the connection broke off", errno);
			return false;
		}
		int rc = n > 0 ? http_answer_take(&f->answer, bytes, (size_t)n)
			       : http_answer_end(&f->answer);
		if (rc < 0) {
			fail_answer(f, rc);
			return false;
		}
		if (f->answer.state == ANSWER_WHOLE) {
			finish(f, NULL);
			return false;
		}
	}
	return true;
}

/* False: the fetch has ended. */
static bool watch(struct http_fetch *f, short events, event_callback_fn fn)
{
	if (f->io)
		event_free(f->io);
	f->io = event_new(f->client->base, f->fd, (short)(events | EV_PERSIST), fn, f);
	if (f->io && event_add(f->io, NULL) == 0)
		return true;
	finish(f, "out of memory");
	return false;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_some(arg);
}

/* A server that has said enough hangs up while we still send: what it said counts. */
static void on_talking(evutil_socket_t fd, short what, void *arg)
{
	struct http_fetch *f = arg;

	(void)fd;
	if (what & EV_WRITE) {
		ssize_t n =
			send(f->fd, f->request + f->sent, f->request_bytes - f->sent, MSG_NOSIGNAL);
		if (n >= 0)
			f->sent += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			f->sent = f->request_bytes;
		if (f->sent == f->request_bytes && !watch(f, EV_READ, on_readable))
			return;
	}
	if (what & EV_READ)
		read_some(f);
}

/* --- connecting --- */

/* Mark and device stand before anything can leave: what fails here ends the fetch. */
static const char *make_socket(struct http_fetch *f)
{
	struct sockaddr_storage ss;
	socklen_t n;

	f->fd = socket(f->to.family == 6 ? AF_INET6 : AF_INET,
		       SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		return "no socket can be opened";
	if (f->mark != 0 && setsockopt(f->fd, SOL_SOCKET, SO_MARK, &f->mark, sizeof(f->mark)) < 0)
		return "the socket's mark cannot be set";
	if (f->device && setsockopt(f->fd, SOL_SOCKET, SO_BINDTODEVICE, f->device,
				    (socklen_t)strlen(f->device)) < 0)
		return "the socket cannot be bound to its device";
	n = f->source.family ? addr_to_sockaddr(&f->source, &ss) : 0;
	if (n > 0 && bind(f->fd, (struct sockaddr *)&ss, n) < 0)
		return "the socket cannot be bound to its address";
	return NULL;
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct http_fetch *f = arg;
	int code = 0;
	socklen_t n = sizeof(code);

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) < 0)
		code = errno;
	if (code != 0) {
		fail_errno(f, "there is no connection", code);
		return;
	}
	event_del(f->connect_timer);
	watch(f, EV_READ | EV_WRITE, on_talking);
}

static void on_begin(evutil_socket_t none, short what, void *arg)
{
	struct http_fetch *f = arg;
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(&f->to, &ss);
	const char *failure = make_socket(f);

	(void)none;
	(void)what;
	if (failure)
		finish(f, failure);
	else if (connect(f->fd, (struct sockaddr *)&ss, n) < 0 && errno != EINPROGRESS)
		fail_errno(f, "there is no connection", errno);
	else
		watch(f, EV_WRITE, on_connected);
}

static void on_timeout(evutil_socket_t none, short what, void *arg)
{
	struct http_fetch *f = arg;
	char text[SENTENCE_BYTES];

	(void)none;
	(void)what;
	snprintf(text, sizeof(text), "timed out (%u ms are allowed)", f->timeout_ms);
	finish(f, text);
}

/* --- life --- */

struct http_client *http_client_new(struct event_base *base)
{
	struct http_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->base = base;
	LIST_INIT(&c->fetches);
	return c;
}

void http_client_free(struct http_client *c)
{
	struct http_fetch *f;

	if (!c)
		return;
	while ((f = LIST_FIRST(&c->fetches)))
		fetch_free(f);
	free(c);
}

/* The whole request, as it goes out. */
static bool write_request(struct http_fetch *f, const struct http_fetch_options *o,
			  const char *path)
{
	char head[REQUEST_HEAD_BYTES], post[REQUEST_HEAD_BYTES / 4] = "", host[ADDR_TEXT_BYTES];

	if (o->post)
		snprintf(post, sizeof(post),
			 "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n",
			 o->post_bytes);
	int n = snprintf(head, sizeof(head),
			 "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n",
			 o->post ? "POST" : "GET", path, addr_text(&f->to, host), post);
	size_t body = o->post ? o->post_bytes : 0;
	if (n < 0 || (size_t)n >= sizeof(head))
		return false;
	f->request = malloc((size_t)n + body);
	if (!f->request)
		return false;
	memcpy(f->request, head, (size_t)n);
	if (body > 0)
		memcpy(f->request + n, o->post, body);
	f->request_bytes = (size_t)n + body;
	return true;
}

static struct event *new_timer(struct http_fetch *f, unsigned ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	struct event *timer = evtimer_new(f->client->base, on_timeout, f);

	if (timer && event_add(timer, &tv) < 0) {
		event_free(timer);
		return NULL;
	}
	return timer;
}

int http_fetch_start(struct http_client *c, const struct http_fetch_options *o, http_done_fn *fn,
		     void *arg, struct http_fetch **ret)
{
	struct http_url url;

	if (o->timeout_ms == 0 || o->body_bytes_max > SIZE_MAX / 4)
		return -EINVAL;
	if (http_url_parse(o->url, &url) < 0)
		return -EINVAL;
	if (o->source && addr_ip_bytes(o->source) == 0)
		return -EINVAL;
	if (c->count >= HTTP_FETCHES_MAX)
		return -EBUSY;
	struct http_fetch *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	LIST_INSERT_HEAD(&c->fetches, f, entry);
	c->count++;
	f->client = c;
	f->fn = fn;
	f->arg = arg;
	f->fd = -1;
	f->to = url.to;
	f->mark = o->mark;
	f->timeout_ms = o->timeout_ms;
	if (o->source)
		f->source = *o->source;
	f->source.port = 0;
	int rc = http_answer_init(&f->answer, o->body_bytes_max);
	f->device = o->device ? strdup(o->device) : NULL;
	f->timer = new_timer(f, o->timeout_ms);
	f->connect_timer =
		new_timer(f, o->connect_timeout_ms ? o->connect_timeout_ms : o->timeout_ms);
	f->io = event_new(c->base, -1, 0, on_begin, f);
	if (rc < 0 || (o->device && !f->device) || !f->timer || !f->connect_timer || !f->io ||
	    !write_request(f, o, url.path)) {
		fetch_free(f);
		return -ENOMEM;
	}
	event_active(f->io, EV_TIMEOUT, 0);
	*ret = f;
	return 0;
}

void http_fetch_cancel(struct http_fetch *f)
{
	fetch_free(f);
}
