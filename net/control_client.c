/* net/control_client.c - the control socket's client: plain blocking calls for command lines. See
 * control.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "net/control.h"
#include "net/control_socket.h"

#define READ_BYTES 16384 /* asked of the kernel at once */

struct control_client {
	int fd;
	json_int_t last_id;
	char *input; /* what was received and not yet taken as a line */
	size_t used;
	size_t size;
	size_t seen; /* bytes of input known to hold no newline */
};

int control_connect(const char *path, struct control_client **ret)
{
	struct sockaddr_un sun;
	int err = control_socket_address(path, &sun);
	if (err < 0)
		return err;
	struct control_client *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		err = -errno;
		control_disconnect(c);
		return err;
	}
	*ret = c;
	return 0;
}

void control_disconnect(struct control_client *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->input);
	free(c);
}

/* Wait until the socket can do `events` or the deadline has come. */
static int wait_for(const struct control_client *c, short events, nsec_t deadline)
{
	struct pollfd p = {.fd = c->fd, .events = events};
	int ms = -1;
	if (deadline != NSEC_NEVER) {
		nsec_t left = deadline - clock_now();
		if (left <= 0)
			return -ETIMEDOUT;
		left = (left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
		ms = left > INT32_MAX ? INT32_MAX : (int)left;
	}
	int n = poll(&p, 1, ms);
	if (n < 0)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

static nsec_t deadline_after(nsec_t timeout)
{
	nsec_t now = clock_now();
	return timeout >= NSEC_NEVER - now ? NSEC_NEVER : now + timeout;
}

static int send_all(const struct control_client *c, const char *bytes, size_t n, nsec_t deadline)
{
	while (n > 0) {
		ssize_t done = send(c->fd, bytes, n, MSG_NOSIGNAL);
		if (done < 0 && errno == EPIPE)
			return -ECONNRESET;
		if (done < 0 && errno != EAGAIN)
			return -errno;
		if (done < 0) {
			int err = wait_for(c, POLLOUT, deadline);
			if (err < 0)
				return err;
			continue;
		}
		bytes += done;
		n -= (size_t)done;
	}
	return 0;
}

/* Receive once, appending to the input. -EAGAIN when nothing is there. */
static int receive_more(struct control_client *c)
{
	if (c->used > CONTROL_REPLY_BYTES_MAX)
		return -EPROTO;
	if (c->size - c->used < READ_BYTES) {
		size_t size = c->size * 2 + READ_BYTES;
		char *input = realloc(c->input, size);
		if (!input)
			return -ENOMEM;
		c->input = input;
		c->size = size;
	}
	ssize_t got = recv(c->fd, c->input + c->used, c->size - c->used, 0);
	if (got < 0)
		return -errno;
	if (got == 0)
		return -ECONNRESET;
	c->used += (size_t)got;
	return 0;
}

/* Parse the first line of the input and take it out; *ret NULL when no whole line is there. */
static int take_line(struct control_client *c, json_t **ret)
{
	*ret = NULL;
	if (c->used == c->seen)
		return 0;
	char *end = memchr(c->input + c->seen, '\n', c->used - c->seen);
	if (!end) {
		c->seen = c->used;
		return 0;
	}
	size_t n = (size_t)(end - c->input);
	json_error_t why;
	json_t *line = json_loadb(c->input, n, JSON_REJECT_DUPLICATES, &why);
	c->used -= n + 1;
	c->seen = 0;
	memmove(c->input, end + 1, c->used);
	if (!json_is_object(line)) {
		json_decref(line);
		return -EPROTO;
	}
	*ret = line;
	return 0;
}

static int read_line(struct control_client *c, nsec_t deadline, json_t **ret)
{
	for (;;) {
		int err = take_line(c, ret);
		if (err < 0 || *ret)
			return err;
		err = receive_more(c);
		if (err == -EAGAIN)
			err = wait_for(c, POLLIN, deadline);
		if (err < 0)
			return err;
	}
}

/* Hand an event line to fn. False when the line is no event. */
static bool deliver_event(json_t *line, control_event_fn *fn, void *arg)
{
	const char *event = json_string_value(json_object_get(line, "event"));
	if (!event)
		return false;
	json_t *data = json_object_get(line, "data");
	json_t *none = json_is_object(data) ? NULL : json_object();
	if (fn)
		fn(arg, event, none ? none : data);
	json_decref(none);
	return true;
}

/* Judge an answer: 0 with the result, -EREMOTEIO with the error, -EPROTO when it is neither. */
static int take_answer(json_t *line, json_int_t id, json_t **ret_result,
		       struct control_error *ret_error)
{
	json_t *line_id = json_object_get(line, "id");
	json_t *result = json_object_get(line, "result");
	json_t *error = json_object_get(line, "error");
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));
	if (code && message) { /* an id of null answers a line that could not be read */
		if (!json_is_null(line_id) && json_integer_value(line_id) != id)
			return -EPROTO;
		snprintf(ret_error->code, sizeof(ret_error->code), "%s", code);
		snprintf(ret_error->message, sizeof(ret_error->message), "%s", message);
		return -EREMOTEIO;
	}
	if (!json_is_integer(line_id) || json_integer_value(line_id) != id ||
	    !json_is_object(result))
		return -EPROTO;
	if (ret_result)
		*ret_result = json_incref(result);
	return 0;
}

static int send_request(struct control_client *c, const char *method, json_t *params,
			nsec_t deadline)
{
	json_t *line = json_pack("{s:I, s:s, s:o}", "id", ++c->last_id, "method", method, "params",
				 params ? params : json_object());
	char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	int err = -ENOMEM;
	json_decref(line);
	if (text)
		err = send_all(c, text, strlen(text), deadline);
	if (err == 0)
		err = send_all(c, "\n", 1, deadline);
	free(text);
	return err;
}

int control_call(struct control_client *c, const char *method, json_t *params, nsec_t timeout,
		 control_event_fn *on_event, void *arg, json_t **ret_result,
		 struct control_error *ret_error)
{
	nsec_t deadline = deadline_after(timeout);
	/* When the daemon has hung up it may have said why: then its last words are the answer. */
	int sent = send_request(c, method, params, deadline);
	if (sent < 0 && sent != -ECONNRESET)
		return sent;
	for (;;) {
		json_t *line;
		int err = read_line(c, deadline, &line);
		if (err < 0)
			return err;
		bool was_event = deliver_event(line, on_event, arg);
		if (!was_event)
			err = take_answer(line, c->last_id, ret_result, ret_error);
		json_decref(line);
		if (!was_event)
			return err;
	}
}

int control_wait_event(struct control_client *c, nsec_t timeout, control_event_fn *on_event,
		       void *arg)
{
	json_t *line;
	int err = read_line(c, deadline_after(timeout), &line);
	if (err < 0)
		return err;
	err = deliver_event(line, on_event, arg) ? 0 : -EPROTO;
	json_decref(line);
	return err;
}
