/* tests/unit/test_http.c - the HTTP server against raw sockets, and the fetch against that server.
 */
#include "net/http.h"
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define GIVE_UP_NS	  (5 * NSEC_PER_SEC)
#define BODY_BYTES_MAX	  20000
#define PATIENT_MS	  20000 /* a deadline that no test lives to see */
#define SHORT_MS	  80
#define LARGE_BYTES	  3000000
#define LITTLE_ROOM_BYTES 4096

struct fixture {
	struct event_base *base;
	struct http_server *server;
	struct http_client *client;
	struct http_body *large;
	unsigned calls;
};

static uint8_t large_byte(size_t i)
{
	return (uint8_t)(i * 31 >> 3);
}

static void on_hello(void *arg, struct http_request *q)
{
	struct fixture *f = arg;
	f->calls++;
	http_reply(q, 200, "text/plain", "hello", 5);
	http_reply(q, 500, "text/plain", "twice", 5); /* the first one stands */
}

static void on_echo(void *arg, struct http_request *q)
{
	struct fixture *f = arg;
	f->calls++;
	size_t n;
	const uint8_t *body = http_request_body(q, &n);
	http_reply(q, 200, "application/octet-stream", body, n);
}

static void on_large(void *arg, struct http_request *q)
{
	struct fixture *f = arg;
	http_reply_shared(q, 200, "application/octet-stream", f->large);
}

static void on_from(void *arg, struct http_request *q)
{
	(void)arg;
	char buf[ADDR_TEXT_BYTES];
	struct addr from = http_request_from(q);
	http_reply_text(q, 403, addr_ip_text(&from, buf));
}

static void on_mute(void *arg, struct http_request *q)
{
	(void)arg;
	(void)q;
}

static struct http_server *open_server(struct fixture *f, const char *bind, unsigned per_source,
				       unsigned request_ms)
{
	struct http_server_config c = {.body_bytes_max = BODY_BYTES_MAX,
				       .per_source_max = per_source,
				       .request_ms = request_ms,
				       .reply_ms = 5000};
	struct http_server *s;
	assert_int_equal(addr_parse_ip(bind, &c.bind), 0);
	int err = http_server_open(f->base, &c, &s);
	if (err != 0)
		fail_msg("http_server_open: %s", strerror(-err));
	assert_int_equal(http_server_add(s, HTTP_GET, "/hello", on_hello, f), 0);
	assert_int_equal(http_server_add(s, HTTP_POST, "/echo", on_echo, f), 0);
	assert_int_equal(http_server_add(s, HTTP_GET, "/large", on_large, f), 0);
	assert_int_equal(http_server_add(s, HTTP_GET, "/from", on_from, f), 0);
	assert_int_equal(http_server_add(s, HTTP_GET, "/mute", on_mute, f), 0);
	return s;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	struct event_config *config = event_config_new();
	assert_non_null(config); /* without the flag a turn of 1 ms takes 4 */
	assert_int_equal(event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER), 0);
	f->base = event_base_new_with_config(config);
	event_config_free(config);
	f->client = http_client_new(f->base);
	char *bytes = malloc(LARGE_BYTES);
	assert_true(f->base && f->client && bytes);
	for (size_t i = 0; i < LARGE_BYTES; i++)
		bytes[i] = (char)large_byte(i);
	f->large = http_body_new(bytes, LARGE_BYTES);
	assert_non_null(f->large);
	free(bytes);
	f->server = open_server(f, "127.0.0.1", 0, PATIENT_MS);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	http_server_close(f->server);
	http_client_free(f->client);
	http_body_unref(f->large);
	event_base_free(f->base);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	struct timeval tick = {.tv_usec = 1000};
	event_base_loopexit(f->base, &tick);
	event_base_dispatch(f->base);
}

/* With room for `room` bytes that are not read yet, 0 for the kernel's choice. */
static int raw_connect_room(const struct http_server *s, int room)
{
	struct addr a = http_server_addr(s);
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(&a, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	if (room > 0)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	assert_true(connect(fd, (struct sockaddr *)&ss, n) == 0 || errno == EINPROGRESS);
	return fd;
}

static int raw_connect(const struct http_server *s)
{
	return raw_connect_room(s, 0);
}

static void raw_send(struct fixture *f, int fd, const char *bytes, size_t n)
{
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (n > 0) {
		ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);
		if (done > 0) {
			bytes += done;
			n -= (size_t)done;
		} else if (errno != EAGAIN) {
			return; /* the server has had enough: what it says is read next */
		}
		turn(f);
		if (clock_now() > end)
			fail_msg("waited too long to send");
	}
}

/* Read to the end of the stream; returns the length. */
static size_t raw_read(struct fixture *f, int fd, char *buf, size_t size)
{
	size_t n = 0;
	nsec_t end = clock_now() + GIVE_UP_NS;
	for (;;) {
		ssize_t got = recv(fd, buf + n, size - 1 - n, 0);
		if (got > 0)
			n += (size_t)got;
		else if (got == 0 || errno != EAGAIN)
			break;
		else
			turn(f);
		if (clock_now() > end)
			fail_msg("waited too long for the end");
	}
	buf[n] = '\0';
	return n;
}

/* Send a request's text and return the status of the answer, 0 for none. */
static int ask(struct fixture *f, const char *text, size_t n, char *buf, size_t size)
{
	int status = 0;
	int fd = raw_connect(f->server);
	raw_send(f, fd, text, n);
	raw_read(f, fd, buf, size);
	close(fd);
	if (sscanf(buf, "HTTP/1.1 %d ", &status) != 1)
		return 0;
	return status;
}

static void wait_for_none(struct fixture *f, const struct http_server *s)
{
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (http_server_connections(s) > 0 && clock_now() < end)
		turn(f);
	assert_int_equal(http_server_connections(s), 0);
}

static void http_server_answers(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *request;
		int status;
		const char *end; /* of the answer */
	} rows[] = {
		{"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 200, "\r\n\r\nhello"},
		{"GET /hello?x=/y HTTP/1.0\r\n\r\n", 200, "\r\n\r\nhello"},
		{"POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 200, "\r\n\r\nabc"},
		{"POST /echo HTTP/1.1\r\ncontent-length:  3\r\n\r\nabcdef", 200, "\r\n\r\nabc"},
		{"POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 200, "\r\n\r\n"},
		{"GET /from HTTP/1.1\r\n\r\n", 403, "\r\n\r\n127.0.0.1\n"},
		{"GET /mute HTTP/1.1\r\n\r\n", 500, "Internal Server Error\n"},
		{"GET /nothing HTTP/1.1\r\n\r\n", 404, "Not Found\n"},
		{"GET /hello/ HTTP/1.1\r\n\r\n", 404, "Not Found\n"},
		{"POST /hello HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405, "Not Allowed\n"},
		{"DELETE /hello HTTP/1.1\r\n\r\n", 405, "Not Allowed\n"},
		{"POST /echo HTTP/1.1\r\n\r\n", 411, "Length Required\n"},
		{"POST /echo HTTP/1.1\r\nContent-Length: 20001\r\n\r\n", 413, "Too Large\n"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char buf[1024];
		int status = ask(f, rows[i].request, strlen(rows[i].request), buf, sizeof(buf));
		if (status != rows[i].status)
			fail_msg("%s: %s", rows[i].request, buf);
		size_t n = strlen(rows[i].end);
		assert_true(strlen(buf) > n);
		assert_string_equal(buf + strlen(buf) - n, rows[i].end);
		assert_non_null(strstr(buf, "\r\nConnection: close\r\n"));
	}
	wait_for_none(f, f->server);
}

static void http_server_takes_a_body_in_pieces(void **state)
{
	struct fixture *f = *state;
	static const char head[] = "POST /echo HTTP/1.1\r\nContent-Length: 20000\r\n\r\n";
	char *body = malloc(BODY_BYTES_MAX);
	char *buf = malloc(BODY_BYTES_MAX + 1000);
	assert_true(body && buf);
	for (size_t i = 0; i < BODY_BYTES_MAX; i++)
		body[i] = (char)(i % 251);
	int fd = raw_connect(f->server);
	for (size_t i = 0; i < 10; i++) /* single bytes first */
		raw_send(f, fd, head + i, 1);
	raw_send(f, fd, head + 10, sizeof(head) - 1 - 10);
	raw_send(f, fd, body, 7000);
	assert_int_equal(f->calls, 0);
	raw_send(f, fd, body + 7000, BODY_BYTES_MAX - 7000);
	size_t n = raw_read(f, fd, buf, BODY_BYTES_MAX + 1000);
	assert_true(n > BODY_BYTES_MAX);
	assert_memory_equal(buf + n - BODY_BYTES_MAX, body, BODY_BYTES_MAX);
	assert_int_equal(f->calls, 1);
	close(fd);
	free(body);
	free(buf);
}

static void http_server_refuses_a_large_head(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(100000);
	char buf[1000];
	assert_non_null(text);
	memset(text, 'x', 100000);
	memcpy(text, "GET /hello HTTP/1.1\r\nA: ", 24);
	assert_int_equal(ask(f, text, 100000, buf, sizeof(buf)), 431);
	free(text);
}

static void http_server_ends_a_slow_request(void **state)
{
	struct fixture *f = *state;
	struct http_server *s = open_server(f, "127.0.0.1", 0, SHORT_MS);
	nsec_t start = clock_now();
	int fd = raw_connect(s);
	char c;
	raw_send(f, fd, "GET /hello", 10);
	/* A byte now and then prolongs nothing: the stream ends though bytes go on. */
	while (recv(fd, &c, 1, 0) < 0 && errno == EAGAIN) {
		raw_send(f, fd, "x", 1);
		if (clock_now() - start > GIVE_UP_NS)
			fail_msg("the request was never ended");
	}
	assert_true(clock_now() - start >= (SHORT_MS - 30) * NSEC_PER_MSEC);
	wait_for_none(f, s);
	close(fd);
	http_server_close(s);
}

static void http_server_limits_connections(void **state)
{
	struct fixture *f = *state;
	enum { MORE = HTTP_CONNECTIONS_MAX + 1 };
	struct http_server *s = open_server(f, "127.0.0.1", 0, PATIENT_MS);
	int fds[MORE];
	char buf[200];
	for (unsigned i = 0; i < MORE; i++)
		fds[i] = raw_connect(s);
	raw_send(f, fds[MORE - 1], "GET /hello HTTP/1.1\r\n\r\n", 23);
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (http_server_connections(s) < HTTP_CONNECTIONS_MAX && clock_now() < end)
		turn(f);
	for (unsigned i = 0; i < 5; i++)
		turn(f);
	assert_int_equal(http_server_connections(s), HTTP_CONNECTIONS_MAX);
	assert_int_equal(f->calls, 0);
	close(fds[0]); /* one goes, and nothing else happens: the one that waits is served */
	raw_read(f, fds[MORE - 1], buf, sizeof(buf));
	assert_non_null(strstr(buf, "hello"));
	for (unsigned i = 1; i < MORE; i++)
		close(fds[i]);
	http_server_close(s);
}

static void http_server_limits_one_source(void **state)
{
	struct fixture *f = *state;
	struct http_server *s = open_server(f, "127.0.0.1", 2, PATIENT_MS);
	int fds[3];
	char buf[200];
	for (unsigned i = 0; i < 3; i++) {
		fds[i] = raw_connect(s);
		turn(f);
	}
	assert_int_equal(http_server_connections(s), 2);
	assert_int_equal(raw_read(f, fds[2], buf, sizeof(buf)), 0); /* hung up at once */
	raw_send(f, fds[0], "GET /hello HTTP/1.1\r\n\r\n", 23);
	assert_true(raw_read(f, fds[0], buf, sizeof(buf)) > 0);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	http_server_close(s);
}

static int connect_from(const struct http_server *s, const char *source)
{
	struct addr from, to = http_server_addr(s);
	struct sockaddr_storage ss;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(addr_parse_ip(source, &from), 0);
	socklen_t n = addr_to_sockaddr(&from, &ss);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, n), 0);
	n = addr_to_sockaddr(&to, &ss);
	assert_true(connect(fd, (struct sockaddr *)&ss, n) == 0 || errno == EINPROGRESS);
	return fd;
}

/* Strangers take all places that they get, and one more: friends are served all the same. */
static void http_server_keeps_places_for_friends(void **state)
{
	struct fixture *f = *state;
	enum { STRANGERS = HTTP_CONNECTIONS_MAX - HTTP_FRIENDS_PLACES };
	struct addr friends[2];
	struct http_server_config c = {
		.per_source_max = 0, .friends = friends, .nfriends = 2, .request_ms = PATIENT_MS};
	struct http_server *s;
	int fds[STRANGERS + 1];
	char buf[200];
	assert_int_equal(addr_parse_ip("127.0.0.1", &c.bind), 0);
	assert_int_equal(addr_parse_ip("127.0.0.8", &friends[0]), 0);
	assert_int_equal(addr_parse_ip("127.0.0.9", &friends[1]), 0);
	assert_int_equal(http_server_open(f->base, &c, &s), 0);
	assert_int_equal(http_server_add(s, HTTP_GET, "/hello", on_hello, f), 0);
	for (unsigned i = 0; i <= STRANGERS; i++) {
		fds[i] = raw_connect(s);
		turn(f);
	}
	assert_int_equal(raw_read(f, fds[STRANGERS], buf, sizeof(buf)), 0); /* hung up at once */
	assert_int_equal(http_server_connections(s), STRANGERS);
	int fd = connect_from(s, "127.0.0.9");
	raw_send(f, fd, "GET /hello HTTP/1.1\r\n\r\n", 23);
	assert_true(raw_read(f, fd, buf, sizeof(buf)) > 0);
	assert_non_null(strstr(buf, "hello"));
	close(fd);
	for (unsigned i = 0; i <= STRANGERS; i++)
		close(fds[i]);
	http_server_close(s);
}

static void http_server_says_why_not(void **state)
{
	struct fixture *f = *state;
	struct http_server *s = NULL;
	struct http_server_config c = {.bind = http_server_addr(f->server)};
	assert_int_equal(http_server_open(f->base, &c, &s), -EADDRINUSE);
	c.bind.family = 0;
	assert_int_equal(http_server_open(f->base, &c, &s), -EINVAL);
	for (unsigned i = 5; i < HTTP_ROUTES_MAX; i++)
		assert_int_equal(http_server_add(f->server, HTTP_GET, "/x", on_mute, f), 0);
	assert_int_equal(http_server_add(f->server, HTTP_GET, "/x", on_mute, f), -ENOSPC);
}

/* ---- hostile clients ---- */

static void http_server_refuses_what_is_no_http(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *text;
		int status;
	} rows[] = {
		{"GET\r\n\r\n", 0}, /* the library hangs up without a word */
		{"GET /hello\r\n\r\n", 400},
		{"GET /hello HTTP/2.0\r\n\r\n", 505},
		{"GET /hello HTTP/1.x\r\n\r\n", 400},
		{"GET /hello HTTP/1.1\r\nA\r\n\r\n", 400},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"G@T /hello HTTP/1.1\r\n\r\n", 405},
		{"GET * HTTP/1.1\r\n\r\n", 404},
		{"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
		{"POST /echo HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", 400},
		{"POST /echo HTTP/1.1\r\nContent-Length:\r\n\r\n", 400},
		{"POST /echo HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", 413},
		{"POST /echo HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n", 413},
		{"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 411},
		{"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		 411},
		{"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
		 "3\r\nabc\r\n0\r\n\r\n",
		 411},
		{"GET /hello HTTP/1.1\r\nContent-Length: 20001\r\n\r\n", 413},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char buf[1024];
		int status = ask(f, rows[i].text, strlen(rows[i].text), buf, sizeof(buf));
		if (status != rows[i].status)
			fail_msg("%s: %d, %s", rows[i].text, status, buf);
	}
	assert_int_equal(f->calls, 0);
}

/* Whatever comes, a connection ends and the next request is answered. */
static void http_server_bears_random_bytes(void **state)
{
	struct fixture *f = *state;
	static const char good[] = "POST /echo?a=%41 HTTP/1.1\r\nHost: x\r\nCookie: a=b; c\r\n"
				   "Expect: 100-continue\r\nContent-Length: 12\r\n\r\nabcdefghijkl";
	unsigned seed = 7;
	for (unsigned i = 0; i < 60; i++) {
		char text[sizeof(good)];
		char buf[2048];
		memcpy(text, good, sizeof(good));
		for (unsigned flips = rand_r(&seed) % 6; flips > 0; flips--)
			text[(unsigned)rand_r(&seed) % sizeof(good)] = (char)rand_r(&seed);
		int fd = raw_connect(f->server);
		raw_send(f, fd, text, 1 + (unsigned)rand_r(&seed) % sizeof(good));
		shutdown(fd, SHUT_WR);
		raw_read(f, fd, buf, sizeof(buf));
		close(fd);
	}
	wait_for_none(f, f->server);
	char buf[200];
	assert_int_equal(ask(f, "GET /hello HTTP/1.1\r\n\r\n", 23, buf, sizeof(buf)), 200);
}

/* Its length alone refuses a body: no byte of it is waited for, and not one kept. */
static void http_server_refuses_a_large_body(void **state)
{
	struct fixture *f = *state;
	char head[100];
	char buf[500];
	char *rest = calloc(1, LARGE_BYTES);
	assert_non_null(rest);
	int n = snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\nContent-Length: %u\r\n\r\n",
			 LARGE_BYTES);
	assert_int_equal(ask(f, head, (size_t)n, buf, sizeof(buf)), 413);

	int fd = raw_connect(f->server); /* one who sends it nevertheless is hung up on */
	raw_send(f, fd, head, (size_t)n);
	raw_send(f, fd, rest, LARGE_BYTES);
	raw_read(f, fd, buf, sizeof(buf));
	close(fd);
	wait_for_none(f, f->server);
	assert_int_equal(f->calls, 0);
	free(rest);
}

static void http_server_answers_one_request_a_connection(void **state)
{
	struct fixture *f = *state;
	static const char two[] = "GET /hello HTTP/1.1\r\nConnection: keep-alive\r\n\r\n"
				  "GET /hello HTTP/1.1\r\n\r\n";
	char buf[1000];
	assert_int_equal(ask(f, two, sizeof(two) - 1, buf, sizeof(buf)), 200);
	assert_null(strstr(strstr(buf, "HTTP/1.1 ") + 1, "HTTP/1.1 "));
	assert_int_equal(f->calls, 1);
	assert_null(strcasestr(buf, "\r\nServer:"));
	assert_null(strcasestr(buf, "\r\nDate:"));
}

static const char ask_large[] = "GET /large HTTP/1.1\r\n\r\n";

/* Many take the one body, each at its own pace; they have shut their sending side. */
static void http_server_shares_a_body(void **state)
{
	struct fixture *f = *state;
	enum { MANY = 8 };
	int fds[MANY];
	char *buf = malloc(LARGE_BYTES + 1000);
	assert_non_null(buf);
	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = raw_connect(f->server);
		raw_send(f, fds[i], ask_large, sizeof(ask_large) - 1);
		shutdown(fds[i], SHUT_WR);
	}
	http_body_unref(f->large); /* the answers under way have references of their own */
	f->large = NULL;
	for (unsigned i = 0; i < MANY; i++) {
		size_t n = raw_read(f, fds[i], buf, LARGE_BYTES + 1000);
		assert_true(n > LARGE_BYTES);
		for (size_t j = 0; j < LARGE_BYTES; j += 997)
			assert_int_equal((uint8_t)buf[n - LARGE_BYTES + j], large_byte(j));
		close(fds[i]);
	}
	free(buf);
}

static void http_server_ends_a_slow_reader(void **state)
{
	struct fixture *f = *state;
	struct http_server_config c = {.request_ms = PATIENT_MS, .reply_ms = SHORT_MS};
	struct http_server *s;
	assert_int_equal(addr_parse_ip("127.0.0.1", &c.bind), 0);
	assert_int_equal(http_server_open(f->base, &c, &s), 0);
	assert_int_equal(http_server_add(s, HTTP_GET, "/large", on_large, f), 0);
	char few[1000];
	int fd = raw_connect_room(s, LITTLE_ROOM_BYTES); /* else the kernel takes all of it */
	nsec_t start = clock_now();
	raw_send(f, fd, ask_large, sizeof(ask_large) - 1);
	while (recv(fd, few, sizeof(few), 0) < 0 && clock_now() - start < GIVE_UP_NS)
		turn(f);
	assert_int_equal(http_server_connections(s), 1);
	while (http_server_connections(s) > 0 && clock_now() - start < GIVE_UP_NS) {
		recv(fd, few, 1, 0); /* a byte now and then prolongs nothing */
		turn(f);
	}
	assert_int_equal(http_server_connections(s), 0);
	assert_true(clock_now() - start >= (SHORT_MS - 30) * NSEC_PER_MSEC);
	close(fd);
	http_server_close(s);
}

/* The server goes while requests and answers are half done; memory is the sanitizer's to check. */
static void http_server_closes_while_busy(void **state)
{
	struct fixture *f = *state;
	struct http_server *s = open_server(f, "127.0.0.1", 0, PATIENT_MS);
	static const char *const halves[] = {
		"", "GET /he", "POST /echo HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc", ask_large};
	enum { HALVES = sizeof(halves) / sizeof(halves[0]) };
	int fds[HALVES];
	char few[1000];
	for (unsigned i = 0; i < HALVES; i++) {
		fds[i] = raw_connect_room(s, LITTLE_ROOM_BYTES);
		raw_send(f, fds[i], halves[i], strlen(halves[i]));
	}
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (recv(fds[HALVES - 1], few, sizeof(few), 0) < 0 && clock_now() < end)
		turn(f);
	assert_int_equal(http_server_connections(s), HALVES);
	http_server_close(s);
	for (unsigned i = 0; i < HALVES; i++) {
		if (i < HALVES - 1) /* the last one's is still in the kernel */
			assert_int_equal(raw_read(f, fds[i], few, sizeof(few)), 0);
		close(fds[i]);
	}
}

/* ---- fetch ---- */

struct result {
	unsigned calls;
	int status;
	size_t n;
	uint8_t start[64];
	bool is_large;
	char failure[200];
	const struct fixture *f;
	struct http_fetch *cancel; /* another one, from the callback */
};

static void on_done(void *arg, int status, const uint8_t *body, size_t n, const char *failure)
{
	struct result *r = arg;
	r->calls++;
	r->status = status;
	r->n = n;
	memcpy(r->start, body, n < sizeof(r->start) ? n : sizeof(r->start));
	snprintf(r->failure, sizeof(r->failure), "%s", failure ? failure : "");
	r->is_large = n == LARGE_BYTES;
	for (size_t i = 0; i < n && r->is_large; i++)
		r->is_large = body[i] == large_byte(i);
	if (r->cancel)
		http_fetch_cancel(r->cancel);
}

static void url_of(const struct http_server *s, const char *path, char *buf, size_t size)
{
	char text[ADDR_TEXT_BYTES];
	struct addr a = http_server_addr(s);
	snprintf(buf, size, "http://%s%s", addr_text(&a, text), path);
}

static struct http_fetch_options options(const char *url)
{
	return (struct http_fetch_options){
		.url = url, .body_bytes_max = LARGE_BYTES, .timeout_ms = 3000};
}

static struct http_fetch *start(struct fixture *f, const struct http_fetch_options *o,
				struct result *r)
{
	struct http_fetch *fetch = NULL;
	int err = http_fetch_start(f->client, o, on_done, r, &fetch);
	if (err != 0)
		fail_msg("http_fetch_start: %s", strerror(-err));
	assert_int_equal(r->calls, 0);
	return fetch;
}

static void fetch_one(struct fixture *f, const struct http_fetch_options *o, struct result *r)
{
	memset(r, 0, sizeof(*r));
	start(f, o, r);
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (r->calls == 0 && clock_now() < end)
		turn(f);
	assert_int_equal(r->calls, 1);
	turn(f);
	assert_int_equal(r->calls, 1);
}

static void http_fetch_gets_and_posts(void **state)
{
	struct fixture *f = *state;
	char url[100];
	struct result r;
	url_of(f->server, "/hello", url, sizeof(url));
	struct http_fetch_options o = options(url);
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.n, 5);
	assert_memory_equal(r.start, "hello", 5);
	assert_string_equal(r.failure, "");

	url_of(f->server, "/echo", url, sizeof(url));
	o.post = "a\0b";
	o.post_bytes = 3;
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.n, 3);
	assert_memory_equal(r.start, "a\0b", 3);
	o.post_bytes = 0;
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.n, 0);

	url_of(f->server, "/nothing", url, sizeof(url));
	o.post = NULL;
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 404);
	assert_memory_equal(r.start, "Not Found\n", 10);
}

static void http_fetch_over_ipv6_and_from_a_source(void **state)
{
	struct fixture *f = *state;
	char url[100];
	struct result r;
	struct http_server *s = open_server(f, "::1", 0, PATIENT_MS);
	url_of(s, "/hello", url, sizeof(url));
	struct http_fetch_options o = options(url);
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 200);
	http_server_close(s);

	struct addr source;
	assert_int_equal(addr_parse_ip("127.0.0.77", &source), 0);
	url_of(f->server, "/from", url, sizeof(url));
	o.source = &source;
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 403);
	assert_memory_equal(r.start, "127.0.0.77\n", 11);

	o.source = NULL;
	o.device = "lo";
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 403);
	o.device = "no-such-dev0";
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.failure, "the socket cannot be bound to its device");
}

/* A socket that accepts (the kernel does) and says nothing; its URL into url. */
static int listen_silently(char *url, size_t size)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &n), 0);
	snprintf(url, size, "http://127.0.0.1:%u/", ntohs(sin.sin_port));
	return fd;
}

static void http_fetch_bounds_size_and_time(void **state)
{
	struct fixture *f = *state;
	char url[100];
	struct result r;
	url_of(f->server, "/large", url, sizeof(url));
	struct http_fetch_options o = options(url);
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 200);
	assert_true(r.is_large);
	o.body_bytes_max = LARGE_BYTES - 1;
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, 0);
	assert_string_equal(r.failure, "the answer is larger than allowed");

	int fd = listen_silently(url, sizeof(url));
	o.timeout_ms = 60;
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.failure, "timed out (60 ms are allowed)");
	close(fd);

	o.timeout_ms = 3000; /* nobody listens there any more */
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 0);
	assert_string_not_equal(r.failure, "");
}

/* A connection that does not come about ends by its own time, and one that did is not ended by it.
 */
static void http_fetch_bounds_the_time_to_connect(void **state)
{
	struct fixture *f = *state;
	char url[100];
	struct result r;
	int fd = listen_silently(url, sizeof(url));
	struct http_fetch_options o = options(url);
	nsec_t start_at = clock_now();
	o.connect_timeout_ms = SHORT_MS / 2;
	o.timeout_ms = SHORT_MS;
	fetch_one(f, &o, &r);
	assert_string_equal(r.failure, "timed out (80 ms are allowed)");
	assert_true(clock_now() - start_at >= (SHORT_MS - 30) * NSEC_PER_MSEC);

	int waiting[8]; /* the kernel accepts six of them, and then leaves SYNs unanswered */
	struct sockaddr_in sin;
	socklen_t n = sizeof(sin);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &n), 0);
	for (unsigned i = 0; i < 8; i++) {
		waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(waiting[i], (struct sockaddr *)&sin, sizeof(sin));
	}
	start_at = clock_now();
	o.timeout_ms = PATIENT_MS;
	fetch_one(f, &o, &r);
	assert_int_equal(r.status, 0);
	assert_true(clock_now() - start_at < GIVE_UP_NS);
	for (unsigned i = 0; i < 8; i++)
		close(waiting[i]);
	close(fd);
}

/* Serve one connection with fixed words, length-less, and hang up. It reads nothing. */
static void fetch_words_for(struct fixture *f, const char *words, size_t n,
			    const struct http_fetch_options *with, struct result *r)
{
	char url[100];
	int fd = listen_silently(url, sizeof(url));
	struct http_fetch_options o = *with;
	o.url = url;
	memset(r, 0, sizeof(*r));
	start(f, &o, r);
	int peer = -1;
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (peer < 0 && clock_now() < end) {
		turn(f);
		peer = accept(fd, NULL, NULL);
	}
	assert_true(peer >= 0);
	assert_int_equal(send(peer, words, n, MSG_NOSIGNAL), n);
	shutdown(peer, SHUT_WR);
	while (r->calls == 0 && clock_now() < end)
		turn(f);
	assert_int_equal(r->calls, 1);
	close(peer);
	close(fd);
}

static void fetch_words(struct fixture *f, const char *words, size_t n, struct result *r)
{
	struct http_fetch_options o = options("");
	o.body_bytes_max = 1000;
	fetch_words_for(f, words, n, &o, r);
}

/* A server that has not read all of a large request, or nothing of it, may answer: that counts. */
static void http_fetch_takes_an_early_answer(void **state)
{
	struct fixture *f = *state;
	static const char answer[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\n"
				     "Transfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n0\r\n\r\n";
	struct http_fetch_options o = options("");
	struct result r;
	uint8_t *post = calloc(1, 10 * LARGE_BYTES); /* more than the kernel holds */
	assert_non_null(post);
	o.post = post;
	o.post_bytes = 10 * LARGE_BYTES;
	fetch_words_for(f, answer, sizeof(answer) - 1, &o, &r);
	assert_int_equal(r.status, 413);
	assert_int_equal(r.n, 3);
	assert_memory_equal(r.start, "no!", 3);
	free(post);
}

static void http_fetch_bears_a_hostile_server(void **state)
{
	struct fixture *f = *state;
	struct result r;
	static const char redirect[] = "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n"
				       "Content-Length: 0\r\n\r\n";
	fetch_words(f, redirect, sizeof(redirect) - 1, &r);
	assert_int_equal(r.status, 302); /* not followed */
	static const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
	fetch_words(f, cut, sizeof(cut) - 1, &r);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.n, 0);
	fetch_words(f, "hello", 5, &r); /* HTTP/0.9 */
	assert_int_equal(r.status, 0);

	char *words = malloc(40000);
	assert_non_null(words);
	memset(words, 'x', 40000);
	memcpy(words, "HTTP/1.1 200 OK\r\n\r\n", 19); /* no length, more than 1,000 bytes */
	fetch_words(f, words, 5000, &r);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.failure, "the answer is larger than allowed");
	memcpy(words, "HTTP/1.1 200 OK\r\n", 17);
	for (size_t at = 17; at + 100 <= 40000; at += 100) { /* headers without end */
		memcpy(words + at, "X: ", 3);
		memcpy(words + at + 98, "\r\n", 2);
	}
	fetch_words(f, words, 30000, &r);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.failure, "the answer's header is larger than allowed");
	free(words);
}

static void http_fetch_refuses_what_is_no_literal_http(void **state)
{
	struct fixture *f = *state;
	static const char *const urls[] = {
		"",
		"http://localhost:1/",
		"ftp://127.0.0.1/",
		"file:///etc/passwd",
		"http://",
		"127.0.0.1:80/",
		"http://u:p@127.0.0.1/",
		"gopher://127.0.0.1/",
		"http://[::1/",
		"http://127.0.0.1.example/",
		"https://127.0.0.1/",
		"http://127.0.0.1:0/",
		"http://127.0.0.1:65536/",
		"http://127.0.0.1/a b",
		"http://127.0.0.1/a\r\nX: y",
		"http://127.0.0.1/#x",
		"http://127.0.0.1?x",
		"http:///x",
	};
	struct http_fetch *fetch = NULL;
	struct result r = {0};
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct http_fetch_options o = options(urls[i]);
		if (http_fetch_start(f->client, &o, on_done, &r, &fetch) != -EINVAL)
			fail_msg("took %s", urls[i]);
	}
	struct http_fetch_options o = options("http://127.0.0.1:1/");
	o.timeout_ms = 0;
	assert_int_equal(http_fetch_start(f->client, &o, on_done, &r, &fetch), -EINVAL);
	assert_null(fetch);
}

static void http_fetch_can_be_cancelled(void **state)
{
	struct fixture *f = *state;
	char url[100];
	int fd = listen_silently(url, sizeof(url)); /* what asks there does not end by itself */
	struct http_fetch_options o = options(url);
	struct result a = {0};
	struct result b = {0};
	struct result c = {0};
	http_fetch_cancel(start(f, &o, &a));
	struct http_fetch *half = start(f, &o, &a);
	turn(f); /* it is on its way */
	http_fetch_cancel(half);

	c.cancel = start(f, &o, &b);
	char other[100];
	url_of(f->server, "/hello", other, sizeof(other));
	o = options(other);
	start(f, &o, &c); /* cancels the first from within its callback */
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (c.calls == 0 && clock_now() < end)
		turn(f);
	for (unsigned i = 0; i < 5; i++)
		turn(f);
	assert_int_equal(a.calls, 0);
	assert_int_equal(b.calls, 0);
	assert_int_equal(c.calls, 1);
	close(fd);

	struct result many = {0}; /* and all at once, by freeing the client */
	struct http_fetch *fetch;
	for (unsigned i = 0; i < HTTP_FETCHES_MAX; i++)
		assert_int_equal(http_fetch_start(f->client, &o, on_done, &many, &fetch), 0);
	assert_int_equal(http_fetch_start(f->client, &o, on_done, &many, &fetch), -EBUSY);
	http_client_free(f->client);
	f->client = NULL;
	turn(f);
	assert_int_equal(many.calls, 0);
}

#define WITH_SERVER(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(http_server_answers),
		WITH_SERVER(http_server_takes_a_body_in_pieces),
		WITH_SERVER(http_server_refuses_a_large_head),
		WITH_SERVER(http_server_ends_a_slow_request),
		WITH_SERVER(http_server_limits_connections),
		WITH_SERVER(http_server_limits_one_source),
		WITH_SERVER(http_server_keeps_places_for_friends),
		WITH_SERVER(http_server_says_why_not),
		WITH_SERVER(http_server_refuses_what_is_no_http),
		WITH_SERVER(http_server_bears_random_bytes),
		WITH_SERVER(http_server_refuses_a_large_body),
		WITH_SERVER(http_server_answers_one_request_a_connection),
		WITH_SERVER(http_server_shares_a_body),
		WITH_SERVER(http_server_ends_a_slow_reader),
		WITH_SERVER(http_server_closes_while_busy),
		WITH_SERVER(http_fetch_gets_and_posts),
		WITH_SERVER(http_fetch_over_ipv6_and_from_a_source),
		WITH_SERVER(http_fetch_bounds_size_and_time),
		WITH_SERVER(http_fetch_bounds_the_time_to_connect),
		WITH_SERVER(http_fetch_takes_an_early_answer),
		WITH_SERVER(http_fetch_bears_a_hostile_server),
		WITH_SERVER(http_fetch_refuses_what_is_no_literal_http),
		WITH_SERVER(http_fetch_can_be_cancelled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
