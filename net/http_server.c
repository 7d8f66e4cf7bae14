/* net/http_server.c - GNU libmicrohttpd on the libevent loop. See http.h. Control thread.
 *
 * The library owns the listening socket, the connections and all of HTTP; it starts no thread. It
 * waits by an epoll descriptor of its own, which is one event of our loop, and by the timer that
 * MHD_get_timeout asks for. What it lacks is here: limits by network and not by address, and a
 * deadline for a whole request and a whole answer, for its own timeout begins anew with every byte.
 * Our deadline shuts the socket down, the library sees that and frees the connection.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net/http.h"

#define BACKLOG 128

struct route {
	enum http_method method;
	const char *path;
	http_handle_fn *fn;
	void *arg;
};

struct connection {
	LIST_ENTRY(connection) entry;
	struct http_server *server;
	struct MHD_Connection *mhd;
	struct event *deadline;
	struct addr from;
	bool is_friend;
	const struct route *route; /* of the request, NULL before its head is whole */
	struct evbuffer *body;	   /* NULL while there is none */
	bool is_answered;
};

struct http_server {
	struct MHD_Daemon *daemon;
	struct event *ready, *timer;
	struct http_server_config config;
	struct addr addr;
	LIST_HEAD(, connection) connections;
	size_t count;
	bool has_closed; /* a connection, in this run of the daemon */
	struct route routes[HTTP_ROUTES_MAX];
	size_t route_count;
};

struct http_request {
	struct connection *connection;
	const uint8_t *body;
	size_t body_bytes;
};

struct http_body {
	unsigned references;
	size_t n;
	uint8_t bytes[];
};

static void add_timer(struct event *timer, unsigned long long ms)
{
	struct timeval tv = {.tv_sec = (time_t)(ms / 1000),
			     .tv_usec = (suseconds_t)(ms % 1000) * 1000};
	event_add(timer, &tv);
}

/* ---- answers ---- */

struct http_body *http_body_new(const void *bytes, size_t n)
{
	if (n > SIZE_MAX - sizeof(struct http_body))
		return NULL;
	struct http_body *b = malloc(sizeof(*b) + n);
	if (!b)
		return NULL;
	b->references = 1;
	b->n = n;
	if (n > 0)
		memcpy(b->bytes, bytes, n);
	return b;
}

void http_body_unref(struct http_body *b)
{
	if (b && --b->references == 0)
		free(b);
}

static void on_body_sent(void *arg)
{
	http_body_unref(arg);
}

/* Send r, unless there is an answer already; takes the caller's reference. NULL is no memory. */
static void answer(struct connection *c, int status, const char *type, struct MHD_Response *r)
{
	if (!r)
		return;
	if (!c->is_answered && MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type) &&
	    MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close") &&
	    MHD_queue_response(c->mhd, (unsigned)status, r)) {
		c->is_answered = true;
		add_timer(c->deadline, c->server->config.reply_ms);
	}
	MHD_destroy_response(r);
}

static void answer_copy(struct connection *c, int status, const char *type, const void *body,
			size_t n)
{
	answer(c, status, type,
	       MHD_create_response_from_buffer(n, (void *)body, MHD_RESPMEM_MUST_COPY));
}

static void answer_text(struct connection *c, int status, const char *text)
{
	char *line;
	int n = asprintf(&line, "%s\n", text);
	if (n < 0)
		return;
	answer_copy(c, status, "text/plain; charset=utf-8", line, (size_t)n);
	free(line);
}

void http_reply(struct http_request *q, int status, const char *type, const void *body, size_t n)
{
	answer_copy(q->connection, status, type, body, n);
}

void http_reply_text(struct http_request *q, int status, const char *text)
{
	answer_text(q->connection, status, text);
}

void http_reply_shared(struct http_request *q, int status, const char *type, struct http_body *body)
{
	struct MHD_Response *r = MHD_create_response_from_buffer_with_free_callback_cls(
		body->n, body->bytes, on_body_sent, body);
	if (!r)
		return;
	body->references++;
	answer(q->connection, status, type, r);
}

/* ---- requests ---- */

const uint8_t *http_request_body(const struct http_request *q, size_t *ret_n)
{
	*ret_n = q->body_bytes;
	return q->body;
}

struct addr http_request_from(const struct http_request *q)
{
	return q->connection->from;
}

static bool is_method(const char *name, enum http_method method)
{
	return strcmp(name, method == HTTP_GET ? MHD_HTTP_METHOD_GET : MHD_HTTP_METHOD_POST) == 0;
}

/* Find the route, or return the status to answer. */
static int find_route(struct connection *c, const char *method, const char *path)
{
	const struct http_server *s = c->server;
	int status = 404;
	for (size_t i = 0; i < s->route_count; i++) {
		if (strcmp(s->routes[i].path, path) != 0)
			continue;
		if (is_method(method, s->routes[i].method)) {
			c->route = &s->routes[i];
			return 0;
		}
		status = 405;
	}
	return status;
}

/* Refuse a body of unknown length, for MHD takes no answer in the midst of it, and one too large.
 */
static int check_length(const struct connection *c)
{
	const char *length = MHD_lookup_connection_value(c->mhd, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_CONTENT_LENGTH);
	if (MHD_lookup_connection_value(c->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING))
		return 411;
	if (!length)
		return c->route->method == HTTP_POST ? 411 : 0;
	/* digits of a 64-bit number, by MHD; take_body counts again */
	return strtoull(length, NULL, 10) > c->server->config.body_bytes_max ? 413 : 0;
}

/* The head is whole. What need not be waited for is answered now, and the body not read. */
static enum MHD_Result take_head(struct connection *c, const char *method, const char *path)
{
	int status = find_route(c, method, path);
	if (status == 0)
		status = check_length(c);
	if (status == 0)
		return MHD_YES;
	answer_text(c, status, MHD_get_reason_phrase_for((unsigned)status));
	return c->is_answered ? MHD_YES : MHD_NO;
}

static enum MHD_Result take_body(struct connection *c, const char *bytes, size_t *n)
{
	if (!c->body)
		c->body = evbuffer_new();
	if (!c->body || *n > c->server->config.body_bytes_max - evbuffer_get_length(c->body) ||
	    evbuffer_add(c->body, bytes, *n) < 0)
		return MHD_NO;
	*n = 0; /* none is left */
	return MHD_YES;
}

/* The request is whole: have it answered. */
static enum MHD_Result serve(struct connection *c)
{
	struct http_request q = {.connection = c, .body = (const uint8_t *)""};
	if (c->body) {
		q.body_bytes = evbuffer_get_length(c->body);
		q.body = evbuffer_pullup(c->body, -1);
	}
	if (q.body)
		c->route->fn(c->route->arg, &q);
	if (!c->is_answered)
		answer_text(c, 500, MHD_get_reason_phrase_for(500));
	if (c->body)
		evbuffer_free(c->body);
	c->body = NULL;
	return c->is_answered ? MHD_YES : MHD_NO;
}

/* Called once with the head, then with each piece of the body, then once more. MHD_NO hangs up. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *path,
				  const char *method, const char *version, const char *bytes,
				  size_t *n, void **seen)
{
	(void)arg;
	(void)version;
	struct connection *c =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	if (!c || c->is_answered)
		return MHD_NO;
	if (!*seen) {
		*seen = c;
		return take_head(c, method, path);
	}
	return *n > 0 ? take_body(c, bytes, n) : serve(c);
}

/* ---- connections ---- */

/* MHD must close the descriptor; shut down, it reads as broken, and MHD does so in its next run. */
static void cut_off(struct MHD_Connection *mhd)
{
	shutdown(MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd,
		 SHUT_RDWR);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	cut_off(((struct connection *)arg)->mhd);
}

static bool is_friend(const struct http_server *s, const struct addr *a)
{
	for (unsigned i = 0; i < s->config.nfriends; i++)
		if (addr_equal_ip(&s->config.friends[i], a))
			return true;
	return false;
}

static struct connection *connection_new(struct http_server *s, struct MHD_Connection *mhd)
{
	struct connection *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->deadline = evtimer_new(event_get_base(s->timer), on_deadline, c);
	if (!c->deadline) {
		free(c);
		return NULL;
	}
	c->server = s;
	c->mhd = mhd;
	c->from = addr_from_sockaddr(
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
	c->is_friend = is_friend(s, &c->from);
	LIST_INSERT_HEAD(&s->connections, c, entry);
	s->count++;
	add_timer(c->deadline, s->config.request_ms);
	return c;
}

static void connection_free(struct connection *c)
{
	if (!c)
		return;
	LIST_REMOVE(c, entry);
	c->server->count--;
	event_free(c->deadline);
	if (c->body)
		evbuffer_free(c->body);
	free(c);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct http_server *s = arg;
	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		connection_free(*context);
		s->has_closed = true;
		return;
	}
	*context = connection_new(s, mhd);
	if (!*context)
		cut_off(mhd);
}

/* MHD_NO when this source has as many connections as one may have, or strangers have all of theirs.
 */
static enum MHD_Result on_accept(void *arg, const struct sockaddr *sa, socklen_t size)
{
	(void)size;
	const struct http_server *s = arg;
	struct addr from = addr_from_sockaddr(sa);
	unsigned n = 0, strangers = 0;
	const struct connection *c;
	LIST_FOREACH (c, &s->connections, entry) {
		n += addr_same_subnet(&c->from, &from, from.family == 4 ? 32 : 56);
		strangers += !c->is_friend;
	}
	if (s->config.nfriends > 0 && strangers >= HTTP_CONNECTIONS_MAX - HTTP_FRIENDS_PLACES &&
	    !is_friend(s, &from))
		return MHD_NO;
	return s->config.per_source_max != 0 && n >= s->config.per_source_max ? MHD_NO : MHD_YES;
}

/* ---- server ---- */

/* Run the daemon again when it wants. At once when a connection was closed: only at the start of a
 * run does it begin again to listen, after the limit of connections was met. */
static void arm(struct http_server *s)
{
	MHD_UNSIGNED_LONG_LONG ms = 0;
	if (s->has_closed || MHD_get_timeout(s->daemon, &ms))
		add_timer(s->timer, ms);
	else
		event_del(s->timer);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct http_server *s = arg;
	s->has_closed = false;
	MHD_run(s->daemon);
	arm(s);
}

/* A listening socket bound to `to`, with its true address in *ret_addr; or -errno. */
static int listen_on(const struct addr *to, struct addr *ret_addr)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(to, &ss);
	static const int on = 1;
	if (n == 0)
		return -EINVAL;
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	bool fine = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
	if (fine && to->family == 6)
		fine = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
	fine = fine && bind(fd, (struct sockaddr *)&ss, n) == 0 && listen(fd, BACKLOG) == 0;
	n = sizeof(ss);
	fine = fine && getsockname(fd, (struct sockaddr *)&ss, &n) == 0;
	if (!fine) {
		int err = -errno;
		close(fd);
		return err;
	}
	*ret_addr = addr_from_sockaddr((struct sockaddr *)&ss);
	return fd;
}

/* Start the library on fd, which is its own from now on. It can fail for want of memory or of
 * descriptors. The timeout is only a second line: our deadlines come before it. */
static struct MHD_Daemon *start_daemon(struct http_server *s, int fd)
{
	unsigned flags = MHD_USE_EPOLL | MHD_USE_SUPPRESS_DATE_NO_CLOCK;
	if (s->addr.family == 6)
		flags |= MHD_USE_IPv6;
	return MHD_start_daemon(flags, 0, on_accept, s, on_request, s, MHD_OPTION_LISTEN_SOCKET, fd,
				MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES,
				MHD_OPTION_CONNECTION_TIMEOUT,
				(s->config.request_ms + s->config.reply_ms) / 1000 + 1,
				MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

static int start(struct event_base *base, struct http_server *s)
{
	s->timer = evtimer_new(base, on_ready, s);
	if (!s->timer)
		return -ENOMEM;
	int fd = listen_on(&s->config.bind, &s->addr);
	if (fd < 0)
		return fd;
	signal(SIGPIPE, SIG_IGN); /* the library may write by calls that have no flag for it */
	s->daemon = start_daemon(s, fd);
	if (!s->daemon)
		return -ENOMEM;
	int epoll_fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	s->ready = event_new(base, epoll_fd, EV_READ | EV_PERSIST, on_ready, s);
	if (!s->ready || event_add(s->ready, NULL) < 0)
		return -ENOMEM;
	arm(s);
	return 0;
}

int http_server_open(struct event_base *base, const struct http_server_config *c,
		     struct http_server **ret)
{
	struct http_server *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->config = *c;
	s->config.request_ms = c->request_ms ? c->request_ms : HTTP_REQUEST_SECONDS * 1000;
	s->config.reply_ms = c->reply_ms ? c->reply_ms : HTTP_REPLY_SECONDS * 1000;
	LIST_INIT(&s->connections);
	int err = start(base, s);
	if (err == 0)
		*ret = s;
	else
		http_server_close(s);
	return err;
}

void http_server_close(struct http_server *s)
{
	if (!s)
		return;
	if (s->ready)
		event_free(s->ready); /* while its descriptor is open */
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	if (s->timer)
		event_free(s->timer);
	free(s);
}

struct addr http_server_addr(const struct http_server *s)
{
	return s->addr;
}

size_t http_server_connections(const struct http_server *s)
{
	return s->count;
}

int http_server_add(struct http_server *s, enum http_method method, const char *path,
		    http_handle_fn *fn, void *arg)
{
	if (s->route_count >= HTTP_ROUTES_MAX)
		return -ENOSPC;
	s->routes[s->route_count++] =
		(struct route){.method = method, .path = path, .fn = fn, .arg = arg};
	return 0;
}
