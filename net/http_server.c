/* net/http_server.c - one request a connection, on libevent's bufferevents. See http.h. Control
 * thread.
 *
 * A connection reads until its request is whole, answers, shuts its sending side when the answer is
 * taken, and then lets the other end close first: closing over unread bytes would reset the
 * connection and could take the answer away from a client that still sends. One timer bounds each
 * of the three.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net/http.h"

#define LINGER_MS	     2000
#define ACCEPT_PAUSE_SECONDS 1 /* after accept failed, for want of descriptors as a rule */
#define BACKLOG		     128

enum state { READING, REPLYING, LINGERING };

struct connection {
	LIST_ENTRY(connection) entry;
	struct http_server *server;
	struct bufferevent *bev;
	struct event *deadline;
	struct addr from;
	enum state state;
	bool has_head;
	struct http_head head;
};

struct route {
	enum http_method method;
	const char *path;
	http_handle_fn *fn;
	void *arg;
};

struct http_server {
	struct event_base *base;
	struct http_server_config config;
	struct addr addr;
	struct evconnlistener *listener;
	struct event *resume; /* accepting, after a pause */
	LIST_HEAD(, connection) connections;
	size_t count;
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

static void set_deadline(struct connection *c, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
	event_add(c->deadline, &tv);
}

static void connection_free(struct connection *c)
{
	struct http_server *s = c->server;
	LIST_REMOVE(c, entry);
	s->count--;
	if (s->listener && !evtimer_pending(s->resume, NULL))
		evconnlistener_enable(s->listener);
	event_free(c->deadline);
	bufferevent_free(c->bev);
	free(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	connection_free(arg);
}

static const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{200, "OK"},
		{400, "Bad Request"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{409, "Conflict"},
		{411, "Length Required"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Other";
}

/* Write the head of an answer of n bytes. False when it was answered already. */
static bool start_reply(struct connection *c, int status, const char *type, size_t n)
{
	if (c->state != READING)
		return false;
	c->state = REPLYING;
	set_deadline(c, c->server->config.reply_ms);
	evbuffer_add_printf(bufferevent_get_output(c->bev),
			    "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
			    "Connection: close\r\n\r\n",
			    status, status_text(status), type, n);
	return true;
}

static void reply_text(struct connection *c, int status, const char *text)
{
	size_t n = strlen(text);
	if (start_reply(c, status, "text/plain; charset=utf-8", n + 1))
		evbuffer_add_printf(bufferevent_get_output(c->bev), "%s\n", text);
}

void http_reply(struct http_request *q, int status, const char *type, const void *body, size_t n)
{
	if (start_reply(q->connection, status, type, n))
		evbuffer_add(bufferevent_get_output(q->connection->bev), body, n);
}

void http_reply_text(struct http_request *q, int status, const char *text)
{
	reply_text(q->connection, status, text);
}

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

static void on_body_sent(const void *bytes, size_t n, void *arg)
{
	(void)bytes;
	(void)n;
	http_body_unref(arg);
}

void http_reply_shared(struct http_request *q, int status, const char *type, struct http_body *body)
{
	if (!start_reply(q->connection, status, type, body->n) || body->n == 0)
		return;
	body->references++;
	if (evbuffer_add_reference(bufferevent_get_output(q->connection->bev), body->bytes, body->n,
				   on_body_sent, body) < 0)
		body->references--; /* the client sees an answer cut short */
}

const uint8_t *http_request_body(const struct http_request *q, size_t *ret_n)
{
	*ret_n = q->body_bytes;
	return q->body;
}

struct addr http_request_from(const struct http_request *q)
{
	return q->connection->from;
}

/* The row of method and path, or NULL and the status to answer. */
static const struct route *route_find(const struct http_server *s, const struct http_head *head,
				      int *ret_status)
{
	*ret_status = 404;
	for (size_t i = 0; i < s->route_count; i++) {
		if (strcmp(s->routes[i].path, head->path) != 0)
			continue;
		if (head->is_known && s->routes[i].method == head->method)
			return &s->routes[i];
		*ret_status = 405;
	}
	return NULL;
}

/* Read the head when it is there, and refuse what need not be waited for. */
static void read_head(struct connection *c, struct evbuffer *input)
{
	size_t n = evbuffer_get_length(input);
	if (n > HTTP_HEAD_BYTES_MAX)
		n = HTTP_HEAD_BYTES_MAX;
	const uint8_t *bytes = evbuffer_pullup(input, (ev_ssize_t)n);
	int err = bytes ? http_head_parse(bytes, n, &c->head) : -EAGAIN;
	if (err == -EAGAIN)
		return;
	int status = -err;
	if (err == 0 && route_find(c->server, &c->head, &status))
		status = c->head.body_bytes > c->server->config.body_bytes_max ? 413 : 0;
	if (status != 0)
		reply_text(c, status, status_text(status));
	c->has_head = status == 0;
}

/* Hand the request on when its body is whole. */
static void serve(struct connection *c, struct evbuffer *input)
{
	size_t total = c->head.head_bytes + (size_t)c->head.body_bytes;
	if (evbuffer_get_length(input) < total)
		return;
	const uint8_t *bytes = evbuffer_pullup(input, (ev_ssize_t)total);
	int status;
	const struct route *route = route_find(c->server, &c->head, &status);
	if (bytes && route) {
		struct http_request q = {.connection = c,
					 .body = bytes + c->head.head_bytes,
					 .body_bytes = (size_t)c->head.body_bytes};
		route->fn(route->arg, &q);
	}
	if (c->state == READING)
		reply_text(c, 500, status_text(500));
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct connection *c = arg;
	struct evbuffer *input = bufferevent_get_input(bev);
	if (c->state == READING && !c->has_head)
		read_head(c, input);
	if (c->state == READING && c->has_head)
		serve(c, input);
	if (c->state != READING)
		evbuffer_drain(input, evbuffer_get_length(input));
}

static void on_written(struct bufferevent *bev, void *arg)
{
	struct connection *c = arg;
	if (c->state != REPLYING)
		return;
	c->state = LINGERING;
	shutdown(bufferevent_getfd(bev), SHUT_WR);
	set_deadline(c, LINGER_MS);
}

static void on_stream_event(struct bufferevent *bev, short what, void *arg)
{
	struct connection *c = arg;
	bool shut_sending = (what & BEV_EVENT_EOF) && c->state == REPLYING;
	if (!shut_sending)
		connection_free(c);
	else
		bufferevent_disable(bev, EV_READ);
}

/* True when this source has as many connections as one may have. */
static bool has_enough(const struct http_server *s, const struct addr *from)
{
	unsigned n = 0;
	const struct connection *c;
	LIST_FOREACH (c, &s->connections, entry)
		n += addr_same_subnet(&c->from, from, from->family == 4 ? 32 : 56);
	return s->config.per_source_max != 0 && n >= s->config.per_source_max;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
		      int n, void *arg)
{
	(void)n;
	struct http_server *s = arg;
	struct addr from = addr_from_sockaddr(sa);
	struct connection *c = has_enough(s, &from) ? NULL : calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->server = s;
	c->from = from;
	c->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
	c->deadline = evtimer_new(s->base, on_deadline, c);
	if (!c->bev || !c->deadline) {
		if (c->bev)
			bufferevent_free(c->bev);
		else
			close(fd);
		if (c->deadline)
			event_free(c->deadline);
		free(c);
		return;
	}
	LIST_INSERT_HEAD(&s->connections, c, entry);
	if (++s->count >= HTTP_CONNECTIONS_MAX)
		evconnlistener_disable(listener);
	bufferevent_setcb(c->bev, on_read, on_written, on_stream_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0,
				 HTTP_HEAD_BYTES_MAX + s->config.body_bytes_max);
	set_deadline(c, s->config.request_ms);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* accept failed: it would fail again at once, and burn the processor. */
static void on_accept_failed(struct evconnlistener *listener, void *arg)
{
	static const struct timeval pause = {.tv_sec = ACCEPT_PAUSE_SECONDS};
	struct http_server *s = arg;
	evconnlistener_disable(listener);
	event_add(s->resume, &pause);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct http_server *s = arg;
	if (s->count < HTTP_CONNECTIONS_MAX)
		evconnlistener_enable(s->listener);
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

int http_server_open(struct event_base *base, const struct http_server_config *c,
		     struct http_server **ret)
{
	struct http_server *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->base = base;
	s->config = *c;
	s->config.request_ms = c->request_ms ? c->request_ms : HTTP_REQUEST_SECONDS * 1000;
	s->config.reply_ms = c->reply_ms ? c->reply_ms : HTTP_REPLY_SECONDS * 1000;
	LIST_INIT(&s->connections);
	int fd = listen_on(&c->bind, &s->addr);
	if (fd < 0) {
		free(s);
		return fd;
	}
	signal(SIGPIPE, SIG_IGN); /* libevent writes with writev, which has no flag for it */
	s->resume = evtimer_new(base, on_resume, s);
	s->listener = evconnlistener_new(base, on_accept, s,
					 LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!s->listener)
		close(fd);
	if (!s->resume || !s->listener) {
		http_server_close(s);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(s->listener, on_accept_failed);
	*ret = s;
	return 0;
}

void http_server_close(struct http_server *s)
{
	if (!s)
		return;
	struct connection *c;
	while ((c = LIST_FIRST(&s->connections)))
		connection_free(c);
	if (s->listener)
		evconnlistener_free(s->listener);
	if (s->resume)
		event_free(s->resume);
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
