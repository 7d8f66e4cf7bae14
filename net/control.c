/* net/control.c - the control socket's server on libevent. See control.h. Control thread.
 *
 * A client lives until it goes, is too slow, or breaks the framing. A handler may answer, and so
 * cut a client off, while we stand in that client's read loop or walk the list: so a client is only
 * marked `dropped` there, and freed by an event of its own, the reaper. A request holds its client
 * by a pointer that is cleared when the client goes first.
 */
#include "net/control.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net/control_socket.h"

#define LINGER_SECONDS	     5 /* for a client that shut its sending side to read what is left */
#define ACCEPT_PAUSE_SECONDS 1 /* after accept failed, for want of descriptors as a rule */

struct client {
	LIST_ENTRY(client) entry;
	struct control *control;
	struct bufferevent *bev;
	struct control_peer peer;
	LIST_HEAD(, control_request) pending;
	unsigned pending_count;
	bool dropped; /* the reaper will free it */
	bool closing; /* reads no more, goes when its output is taken */
	bool watches;
};

struct control_request {
	LIST_ENTRY(control_request) entry;
	struct client *client; /* NULL when gone */
	struct control_peer peer;
	json_int_t id;
	control_gone_fn *gone;
	void *gone_arg;
};

struct control {
	struct control_socket socket;
	struct evconnlistener *listener;
	struct event *resume; /* accepting, after a pause */
	struct event *reaper; /* made active when a client is dropped */
	control_handle_fn *handle;
	void *arg;
	LIST_HEAD(, client) clients;
	size_t client_count;
};

/* Let go of a client's requests and tell their owners. */
static void orphan_requests(struct client *c)
{
	struct control_request *q;
	while ((q = LIST_FIRST(&c->pending))) {
		LIST_REMOVE(q, entry);
		q->client = NULL;
		if (q->gone)
			q->gone(q->gone_arg, q); /* may answer, and so free, q */
	}
	c->pending_count = 0;
}

static void client_free(struct client *c)
{
	LIST_REMOVE(c, entry);
	c->control->client_count--;
	orphan_requests(c);
	bufferevent_free(c->bev);
	free(c);
}

static void client_drop(struct client *c)
{
	if (c->dropped)
		return;
	c->dropped = true;
	bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	event_active(c->control->reaper, EV_TIMEOUT, 0);
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct control *control = arg;
	struct client *c = LIST_FIRST(&control->clients);
	while (c) {
		struct client *next = LIST_NEXT(c, entry); /* only we and control_close free */
		if (c->dropped)
			client_free(c);
		c = next;
	}
}

/* Send one object as a line; line is taken. Cuts the client off when it does not read. */
static void client_send(struct client *c, json_t *line)
{
	char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	struct evbuffer *output = bufferevent_get_output(c->bev);
	bool kept_up = evbuffer_get_length(output) <= CONTROL_OUTPUT_BYTES_MAX;
	json_decref(line);
	if (c->dropped || !text || !kept_up || evbuffer_add(output, text, strlen(text)) < 0 ||
	    evbuffer_add(output, "\n", 1) < 0)
		client_drop(c); /* no memory, too: an answer that never comes is worse than none */
	free(text);
}

static json_t *error_line(json_t *id, const char *code, const char *message)
{
	json_t *error = json_pack("{s:s, s:s}", "code", code, "message", message);
	if (!error) /* a message that is not UTF-8 */
		error = json_pack("{s:s, s:s}", "code", code, "message", "no message");
	return json_pack("{s:o, s:o}", "id", id, "error", error);
}

/* Refuse a line that made no request. id is taken; NULL when it could not be read. */
static void refuse(struct client *c, json_t *id, const char *code, const char *message)
{
	client_send(c, error_line(id ? id : json_null(), code, message));
}

static void start_request(struct client *c, json_int_t id, const char *method, json_t *params)
{
	struct control_request *q = calloc(1, sizeof(*q));
	json_t *none = params ? NULL : json_object();
	if (!q || (!params && !none)) {
		free(q);
		client_drop(c);
		return;
	}
	q->client = c;
	q->peer = c->peer;
	q->id = id;
	LIST_INSERT_HEAD(&c->pending, q, entry);
	c->pending_count++;
	c->control->handle(c->control->arg, q, method, params ? params : none);
	json_decref(none);
}

/* Check the form of one request and hand it on. */
static void judge_request(struct client *c, json_t *line)
{
	json_t *id = json_object_get(line, "id");
	const char *method = json_string_value(json_object_get(line, "method"));
	json_t *params = json_object_get(line, "params");
	size_t known = (id ? 1 : 0) + (method ? 1 : 0) + (params ? 1 : 0);
	if (!json_is_integer(id))
		refuse(c, NULL, "bad-request", "the request needs an \"id\" that is an integer");
	else if (!method)
		refuse(c, json_incref(id), "bad-request",
		       "the request needs a \"method\", a string");
	else if (params && !json_is_object(params))
		refuse(c, json_incref(id), "bad-request", "\"params\" must be an object");
	else if (json_object_size(line) != known)
		refuse(c, json_incref(id), "bad-request",
		       "a request has \"id\", \"method\" and \"params\" and no other field");
	else if (c->pending_count >= CONTROL_PENDING_MAX)
		refuse(c, json_incref(id), "busy",
		       "too many requests wait for their answers; send this one later");
	else
		start_request(c, json_integer_value(id), method, params);
}

static void on_line(struct client *c, const char *text, size_t n)
{
	json_error_t why;
	json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(line))
		refuse(c, NULL, "bad-request", "the line is not one JSON object");
	else
		judge_request(c, line);
	json_decref(line);
}

/* Read no more, and go when what was sent is taken or LINGER_SECONDS are over. */
static void client_finish(struct client *c)
{
	static const struct timeval linger = {.tv_sec = LINGER_SECONDS};
	if (c->dropped)
		return;
	c->closing = true;
	bufferevent_disable(c->bev, EV_READ);
	bufferevent_set_timeouts(c->bev, NULL, &linger);
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
		client_drop(c);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct client *c = arg;
	struct evbuffer *input = bufferevent_get_input(bev);
	while (!c->dropped && !c->closing) {
		size_t n;
		char *text = evbuffer_readln(input, &n, EVBUFFER_EOL_LF);
		bool too_long = text ? n >= CONTROL_LINE_BYTES_MAX
				     : evbuffer_get_length(input) >= CONTROL_LINE_BYTES_MAX;
		if (too_long) {
			refuse(c, NULL, "bad-request", "the line is longer than 64 KiB");
			client_finish(c);
		} else if (text) {
			on_line(c, text, n);
		}
		free(text);
		if (!text)
			break;
	}
}

static void on_written(struct bufferevent *bev, void *arg)
{
	(void)bev;
	struct client *c = arg;
	if (c->closing)
		client_drop(c);
}

static void on_stream_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	struct client *c = arg;
	if (!(what & BEV_EVENT_EOF) || c->closing) {
		client_drop(c);
		return;
	}
	/* It will ask nothing more: its open requests are moot, but let it read what it was sent.
	 */
	orphan_requests(c);
	client_finish(c);
}

static struct client *client_new(struct control *control, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->control = control;
	LIST_INIT(&c->pending);
	struct event_base *base = evconnlistener_get_base(control->listener);
	if (control_socket_peer(&control->socket, fd, &c->peer) == 0)
		c->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!c->bev) {
		free(c);
		return NULL;
	}
	bufferevent_setcb(c->bev, on_read, on_written, on_stream_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, CONTROL_LINE_BYTES_MAX);
	if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) < 0) {
		bufferevent_free(c->bev);
		free(c);
		return NULL;
	}
	return c;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
		      int n, void *arg)
{
	(void)listener;
	(void)sa;
	(void)n;
	static const char full[] =
		"{\"id\":null,\"error\":{\"code\":\"busy\",\"message\":"
		"\"too many clients are connected already; try again later\"}}\n";
	struct control *control = arg;
	struct client *c = NULL;
	if (control->client_count < CONTROL_CLIENTS_MAX)
		c = client_new(control, fd);
	if (!c) { /* a courtesy: when it cannot be sent, the end of the stream says enough */
		(void)!send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	LIST_INSERT_HEAD(&control->clients, c, entry);
	control->client_count++;
}

/* accept failed: it would fail again at once, and burn the processor. */
static void on_accept_failed(struct evconnlistener *listener, void *arg)
{
	static const struct timeval pause = {.tv_sec = ACCEPT_PAUSE_SECONDS};
	struct control *control = arg;
	evconnlistener_disable(listener);
	event_add(control->resume, &pause);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	struct control *control = arg;
	evconnlistener_enable(control->listener);
}

int control_open(struct event_base *base, const struct control_config *config, struct control **ret)
{
	struct control *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->handle = config->handle;
	c->arg = config->arg;
	LIST_INIT(&c->clients);
	int err = control_socket_open(&c->socket, config);
	if (err < 0) {
		free(c);
		return err;
	}
	signal(SIGPIPE, SIG_IGN); /* libevent writes with writev, which has no flag for it */
	c->resume = evtimer_new(base, on_resume, c);
	c->reaper = evtimer_new(base, on_reap, c);
	c->listener =
		evconnlistener_new(base, on_accept, c, LEV_OPT_CLOSE_ON_EXEC, 0, c->socket.fd);
	if (!c->resume || !c->reaper || !c->listener) {
		control_close(c);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(c->listener, on_accept_failed);
	*ret = c;
	return 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	struct client *client;
	while ((client = LIST_FIRST(&c->clients)))
		client_free(client);
	if (c->listener)
		evconnlistener_free(c->listener);
	if (c->resume)
		event_free(c->resume);
	if (c->reaper)
		event_free(c->reaper);
	control_socket_close(&c->socket);
	free(c);
}

const struct control_peer *control_request_peer(const struct control_request *q)
{
	return &q->peer;
}

bool control_request_is_gone(const struct control_request *q)
{
	return !q->client;
}

void control_request_on_gone(struct control_request *q, control_gone_fn *fn, void *arg)
{
	q->gone = fn;
	q->gone_arg = arg;
}

/* Send the answer to who asked, if he is still there, and free q. line is taken. */
static void finish_request(struct control_request *q, json_t *line)
{
	struct client *c = q->client;
	if (c) {
		LIST_REMOVE(q, entry);
		c->pending_count--;
		client_send(c, line);
	} else {
		json_decref(line);
	}
	free(q);
}

void control_reply(struct control_request *q, json_t *result)
{
	finish_request(
		q, json_pack("{s:I, s:o}", "id", q->id, "result", result ? result : json_object()));
}

void control_reply_error(struct control_request *q, const char *code, const char *fmt, ...)
{
	char message[CONTROL_MESSAGE_BYTES];
	va_list args;
	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	finish_request(q, error_line(json_integer(q->id), code, message));
}

void control_watch(struct control_request *q)
{
	if (q->client)
		q->client->watches = true;
}

size_t control_watchers(const struct control *c)
{
	size_t n = 0;
	const struct client *client;
	LIST_FOREACH (client, &c->clients, entry)
		n += client->watches && !client->closing && !client->dropped;
	return n;
}

void control_event(struct control *c, const char *event, json_t *data)
{
	json_t *line = json_pack("{s:s, s:o}", "event", event, "data", data ? data : json_object());
	struct client *client;
	LIST_FOREACH (client, &c->clients, entry)
		if (line && client->watches && !client->closing && !client->dropped)
			client_send(client, json_incref(line));
	json_decref(line);
}
