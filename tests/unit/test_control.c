/* tests/unit/test_control.c - the control socket: server on its own thread's loop, clients that
 * block.
 *
 * The server runs in the test's thread between the client's steps: run_until() turns the loop until
 * a fact holds. Blocking client calls run in a thread of their own meanwhile.
 */
#include "net/control.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define GIVE_UP_NS (5 * NSEC_PER_SEC)

struct fixture {
	char dir[32];
	char path[64];
	struct event_base *base;
	struct control *control;
	struct control_request *held; /* of method "hold" */
	unsigned gone;
	unsigned calls;
	struct control_peer peer; /* of the last call */
};

static void on_gone(void *arg, struct control_request *q)
{
	struct fixture *f = arg;
	f->gone++;
	assert_true(control_request_is_gone(q));
	f->held = NULL;
	control_event(f->control, "gone", NULL); /* allowed here */
	control_reply(q, NULL);
}

static void handle(void *arg, struct control_request *q, const char *method, json_t *params)
{
	struct fixture *f = arg;
	f->calls++;
	f->peer = *control_request_peer(q);
	if (strcmp(method, "echo") == 0) {
		control_reply(q, json_incref(params));
	} else if (strcmp(method, "hold") == 0) {
		f->held = q;
		control_request_on_gone(q, on_gone, f);
	} else if (strcmp(method, "watch") == 0) {
		control_watch(q);
		control_reply(q, NULL);
	} else if (strcmp(method, "event") == 0) {
		control_event(f->control, "tick", json_pack("{s:i}", "n", 5));
		control_reply(q, NULL);
	} else if (strcmp(method, "large") == 0) {
		char *text = malloc(300001);
		assert_non_null(text);
		memset(text, 'x', 300000);
		text[300000] = '\0';
		control_reply(q, json_pack("{s:s}", "text", text));
		free(text);
	} else {
		control_reply_error(q, "unknown-method", "there is no method \"%s\"", method);
	}
}

static int open_control(struct fixture *f, struct control **ret)
{
	struct control_config c = {.path = f->path, .handle = handle, .arg = f};
	return control_open(f->base, &c, ret);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->dir, "/tmp/test_control.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	f->base = event_base_new();
	assert_non_null(f->base);
	assert_int_equal(open_control(f, &f->control), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char lock[80];
	control_close(f->control);
	event_base_free(f->base);
	assert_int_equal(access(f->path, F_OK), -1);
	snprintf(lock, sizeof(lock), "%s.lock", f->path);
	assert_int_equal(unlink(lock), 0);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* Turn the loop until *fact; fails after a while. */
static void run_until(struct fixture *f, const atomic_bool *fact)
{
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (!atomic_load(fact)) {
		struct timeval tick = {.tv_usec = 2000};
		event_base_loopexit(f->base, &tick);
		event_base_dispatch(f->base);
		if (clock_now() > end)
			fail_msg("waited too long");
	}
}

/* A raw client: a socket, what is sent, what came back. */
static int raw_connect(const struct fixture *f)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	strcpy(sun.sun_path, f->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

/* Send bytes, turning the loop when the socket is full. False when the server hung up. */
static bool raw_send(struct fixture *f, int fd, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);
		if (done < 0 && errno != EAGAIN)
			return false;
		if (done > 0) {
			bytes += done;
			n -= (size_t)done;
		}
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	return true;
}

/* Read one line into buf; "" at the end of the stream. */
static void raw_line(struct fixture *f, int fd, char *buf, size_t size)
{
	size_t n = 0;
	nsec_t end = clock_now() + GIVE_UP_NS;
	while (n + 1 < size && (n == 0 || buf[n - 1] != '\n')) {
		ssize_t got = recv(fd, buf + n, 1, 0);
		if (got > 0)
			n++;
		else if (got == 0 || errno != EAGAIN)
			break;
		else
			event_base_loop(f->base, EVLOOP_NONBLOCK);
		if (clock_now() > end)
			fail_msg("waited too long for a line");
	}
	buf[n > 0 && buf[n - 1] == '\n' ? n - 1 : n] = '\0';
}

static void control_answers_or_says_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *line;
		const char *answer;
	} rows[] = {
		{"{\"id\":1,\"method\":\"echo\",\"params\":{\"a\":[1,2]}}",
		 "{\"id\":1,\"result\":{\"a\":[1,2]}}"},
		{"{\"id\":-9007199254740993,\"method\":\"echo\"}",
		 "{\"id\":-9007199254740993,\"result\":{}}"},
		{"{\"id\":2,\"method\":\"nope\"}",
		 "{\"id\":2,\"error\":{\"code\":\"unknown-method\",\"message\":\"there is no method \\\"nope\\\"\"}}"},
		{"{\"id\":",
		 "{\"id\":null,\"error\":{\"code\":\"bad-request\",\"message\":\"the line is not one JSON object\"}}"},
		{"",
		 "{\"id\":null,\"error\":{\"code\":\"bad-request\",\"message\":\"the line is not one JSON object\"}}"},
		{"[1]",
		 "{\"id\":null,\"error\":{\"code\":\"bad-request\",\"message\":\"the line is not one JSON object\"}}"},
		{"{\"id\":1,\"id\":2,\"method\":\"echo\"}",
		 "{\"id\":null,\"error\":{\"code\":\"bad-request\",\"message\":\"the line is not one JSON object\"}}"},
		{"{\"id\":\"1\",\"method\":\"echo\"}",
		 "{\"id\":null,\"error\":{\"code\":\"bad-request\",\"message\":\"the request needs an \\\"id\\\" that is an integer\"}}"},
		{"{\"id\":3,\"method\":4}",
		 "{\"id\":3,\"error\":{\"code\":\"bad-request\",\"message\":\"the request needs a \\\"method\\\", a string\"}}"},
		{"{\"id\":3,\"method\":\"echo\",\"params\":[]}",
		 "{\"id\":3,\"error\":{\"code\":\"bad-request\",\"message\":\"\\\"params\\\" must be an object\"}}"},
		{"{\"id\":3,\"method\":\"echo\",\"more\":1}",
		 "{\"id\":3,\"error\":{\"code\":\"bad-request\",\"message\":"
		 "\"a request has \\\"id\\\", \\\"method\\\" and \\\"params\\\" and no other field\"}}"},
	};
	int fd = raw_connect(f);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char answer[512];
		assert_true(raw_send(f, fd, rows[i].line, strlen(rows[i].line)));
		assert_true(raw_send(f, fd, "\n", 1));
		raw_line(f, fd, answer, sizeof(answer));
		assert_string_equal(answer, rows[i].answer);
	}
	for (unsigned i = 0; i < 2 * CONTROL_PENDING_MAX; i++) { /* answered ones do not count */
		char answer[128];
		assert_true(raw_send(f, fd, "{\"id\":9,\"method\":\"echo\"}\n", 25));
		raw_line(f, fd, answer, sizeof(answer));
		assert_string_equal(answer, "{\"id\":9,\"result\":{}}");
	}
	close(fd);
}

static void control_refuses_a_line_beyond_the_limit(void **state)
{
	struct fixture *f = *state;
	char *line = malloc(CONTROL_LINE_BYTES_MAX + 1);
	char *answer = malloc(CONTROL_LINE_BYTES_MAX + 100);
	assert_true(line && answer);
	/* the longest that fits: 64 KiB with its newline */
	static const char start[] = "{\"id\":1,\"method\":\"echo\",\"params\":{\"a\":\"";
	memset(line, 'x', CONTROL_LINE_BYTES_MAX);
	memcpy(line, start, sizeof(start) - 1);
	memcpy(line + CONTROL_LINE_BYTES_MAX - 4, "\"}}\n", 4);
	int fd = raw_connect(f);
	assert_true(raw_send(f, fd, line, CONTROL_LINE_BYTES_MAX));
	raw_line(f, fd, answer, CONTROL_LINE_BYTES_MAX + 100);
	assert_memory_equal(answer, "{\"id\":1,\"result\":{\"a\":\"xxx", 25);

	/* one byte more */
	memset(line + CONTROL_LINE_BYTES_MAX - 4, 'x', 4);
	raw_send(f, fd, line, CONTROL_LINE_BYTES_MAX);
	raw_line(f, fd, answer, CONTROL_LINE_BYTES_MAX);
	assert_string_equal(answer, "{\"id\":null,\"error\":{\"code\":\"bad-request\","
				    "\"message\":\"the line is longer than 64 KiB\"}}");
	raw_line(f, fd, answer, CONTROL_LINE_BYTES_MAX);
	assert_string_equal(answer, ""); /* hung up */
	assert_int_equal(f->calls, 1);
	close(fd);
	free(line);
	free(answer);
}

static void control_refuses_client_33(void **state)
{
	struct fixture *f = *state;
	int fds[CONTROL_CLIENTS_MAX + 1];
	char answer[256];
	for (unsigned i = 0; i <= CONTROL_CLIENTS_MAX; i++) {
		fds[i] = raw_connect(f);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	raw_line(f, fds[CONTROL_CLIENTS_MAX], answer, sizeof(answer));
	assert_non_null(strstr(answer, "\"busy\""));
	raw_line(f, fds[CONTROL_CLIENTS_MAX], answer, sizeof(answer));
	assert_string_equal(answer, "");
	close(fds[0]); /* room for one again */
	close(fds[CONTROL_CLIENTS_MAX]);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	fds[0] = raw_connect(f);
	assert_true(raw_send(f, fds[0], "{\"id\":1,\"method\":\"echo\"}\n", 25));
	raw_line(f, fds[0], answer, sizeof(answer));
	assert_string_equal(answer, "{\"id\":1,\"result\":{}}");
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
}

static void control_cuts_a_slow_reader_off(void **state)
{
	struct fixture *f = *state;
	static const char ask[] = "{\"id\":1,\"method\":\"large\"}\n";
	int fd = raw_connect(f);
	unsigned sent = 0;
	while (sent < 100 && raw_send(f, fd, ask, sizeof(ask) - 1))
		sent++;
	assert_in_range(sent, 2,
			10); /* never reading, it got some 300 KB answers and then the end */
	close(fd);

	/* one answer larger than the limit reaches a client that reads */
	char *answer = malloc(400000);
	assert_non_null(answer);
	fd = raw_connect(f);
	assert_true(raw_send(f, fd, ask, sizeof(ask) - 1));
	raw_line(f, fd, answer, 400000);
	assert_in_range(strlen(answer), 300000, 300100);
	free(answer);
	close(fd);
}

static void control_request_outlives_its_client(void **state)
{
	struct fixture *f = *state;
	static const char hold[] = "{\"id\":7,\"method\":\"hold\"}\n";
	char answer[128];
	int fd = raw_connect(f);
	assert_true(raw_send(f, fd, hold, sizeof(hold) - 1));
	for (unsigned i = 0; i < 100 && !f->held; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_non_null(f->held);
	assert_false(control_request_is_gone(f->held));
	assert_int_equal(f->peer.pid, getpid());
	assert_int_equal(f->peer.uid, getuid());
	assert_int_equal(f->peer.gid, getgid());
	assert_true(f->peer.may_change);
	control_reply(f->held, json_pack("{s:b}", "late", 1)); /* answered later */
	raw_line(f, fd, answer, sizeof(answer));
	assert_string_equal(answer, "{\"id\":7,\"result\":{\"late\":true}}");

	f->held = NULL;
	assert_true(raw_send(f, fd, hold, sizeof(hold) - 1));
	for (unsigned i = 0; i < 100 && !f->held; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_non_null(f->held);
	close(fd); /* its owner is told */
	for (unsigned i = 0; i < 100 && f->gone == 0; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->gone, 1);

	/* and when the server is closed under it */
	fd = raw_connect(f);
	assert_true(raw_send(f, fd, hold, sizeof(hold) - 1));
	for (unsigned i = 0; i < 100 && !f->held; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	struct control_request *q = f->held;
	control_request_on_gone(q, NULL, NULL);
	control_close(f->control);
	assert_true(control_request_is_gone(q));
	control_reply_error(q, "gone", "nobody reads this");
	close(fd);
	assert_int_equal(open_control(f, &f->control), 0);
}

static void control_limits_unanswered_requests(void **state)
{
	struct fixture *f = *state;
	static const char hold[] = "{\"id\":7,\"method\":\"hold\"}\n";
	int fd = raw_connect(f);
	for (unsigned i = 0; i <= CONTROL_PENDING_MAX; i++)
		assert_true(raw_send(f, fd, hold, sizeof(hold) - 1));
	char answer[256];
	raw_line(f, fd, answer, sizeof(answer));
	assert_memory_equal(answer, "{\"id\":7,\"error\":{\"code\":\"busy\"", 30);
	assert_int_equal(f->calls, CONTROL_PENDING_MAX);
	close(fd);
	for (unsigned i = 0; i < 100 && f->gone < CONTROL_PENDING_MAX; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->gone, CONTROL_PENDING_MAX);
}

static void control_request_before_shutdown_is_answered(void **state)
{
	struct fixture *f = *state;
	char answer[128];
	int fd = raw_connect(f);
	assert_int_equal(send(fd, "{\"id\":1,\"method\":\"echo\"}\n", 25, 0), 25);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	raw_line(f, fd, answer, sizeof(answer));
	assert_string_equal(answer, "{\"id\":1,\"result\":{}}");
	raw_line(f, fd, answer, sizeof(answer));
	assert_string_equal(answer, "");
	close(fd);
}

static void control_replaces_only_a_dead_socket(void **state)
{
	struct fixture *f = *state;
	struct control *second = NULL;
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(open_control(f, &second), -EADDRINUSE); /* by the lock */
	struct stat after;
	assert_int_equal(stat(f->path, &after), 0);
	assert_int_equal(st.st_ino, after.st_ino); /* unharmed */
	control_close(f->control);

	/* a live socket of somebody who takes no lock */
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	strcpy(sun.sun_path, f->path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(open_control(f, &second), -EADDRINUSE);
	assert_int_equal(access(f->path, F_OK), 0);
	close(fd); /* dead now, its file stays */
	assert_int_equal(access(f->path, F_OK), 0);
	assert_int_equal(open_control(f, &second), 0);
	control_close(second);

	fd = open(f->path, O_CREAT | O_WRONLY, 0600); /* no socket: not ours to remove */
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(open_control(f, &second), -EEXIST);
	assert_int_equal(unlink(f->path), 0);

	struct control_config c = {.path = "", .handle = handle};
	assert_int_equal(control_open(f->base, &c, &second), -EINVAL);
	char long_path[200];
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	c.path = long_path;
	assert_int_equal(control_open(f->base, &c, &second), -ENAMETOOLONG);
	c.path = "/tmp/no-such-folder-here/s";
	assert_int_equal(control_open(f->base, &c, &second), -ENOENT);
	assert_int_equal(open_control(f, &f->control), 0);
}

static void control_sets_group_and_mode(void **state)
{
	struct fixture *f = *state;
	control_close(f->control);
	struct group *g = getgrgid(getgid());
	struct control_config c = {.path = f->path,
				   .mode = 0600,
				   .handle = handle,
				   .arg = f,
				   .group = g ? g->gr_name : NULL};
	assert_int_equal(control_open(f->base, &c, &f->control), 0);
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_gid, getgid());
	control_close(f->control);
	c.group = "no-such-group-here";
	assert_int_equal(control_open(f->base, &c, &f->control), 0);
}

/* bind(), after which the socket's place is taken by a link to `bait` when there is one: so would
 * the owner of the folder do it, whom the daemon becomes only later. */
static const char *bait;
int __real_bind(int fd, const struct sockaddr *sa, socklen_t n);
int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t n);

int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t n)
{
	int rc = __real_bind(fd, sa, n);
	const char *path = ((const struct sockaddr_un *)(const void *)sa)->sun_path;
	if (bait && rc == 0) {
		assert_int_equal(unlink(path), 0);
		assert_int_equal(symlink(bait, path), 0);
	}
	return rc;
}

static void control_opens_up_nothing_but_its_socket(void **state)
{
	struct fixture *f = *state;
	struct control_config c = {.path = f->path, .mode = 0666, .handle = handle, .arg = f};
	char victim[80];
	struct stat st;
	control_close(f->control);
	snprintf(victim, sizeof(victim), "%s/victim", f->dir);
	int fd = open(victim, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	close(fd);
	bait = victim;
	assert_int_equal(control_open(f->base, &c, &f->control), -EEXIST);
	bait = NULL;
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(unlink(victim), 0);
	assert_int_equal(open_control(f, &f->control), 0);
}

/* Blocking calls on a thread of their own. */
struct talk {
	const struct fixture *f;
	void (*say)(struct talk *t, struct control_client *c);
	unsigned events;
	int numbers; /* of the events, added up */
	int err[4];
	struct control_error error;
	char *text;
	atomic_bool done;
};

static void on_event(void *arg, const char *event, json_t *data)
{
	struct talk *t = arg;
	if (strcmp(event, "tick") == 0)
		t->events++;
	t->numbers += (int)json_integer_value(json_object_get(data, "n"));
}

static void *talk(void *arg)
{
	struct talk *t = arg;
	struct control_client *c = NULL;
	t->err[0] = control_connect(t->f->path, &c);
	if (t->err[0] == 0)
		t->say(t, c);
	control_disconnect(c);
	atomic_store(&t->done, true);
	return NULL;
}

static void run_talk(struct fixture *f, struct talk *t)
{
	pthread_t thread;
	t->f = f;
	assert_int_equal(pthread_create(&thread, NULL, talk, t), 0);
	run_until(f, &t->done);
	pthread_join(thread, NULL);
}

static void say_calls(struct talk *t, struct control_client *c)
{
	json_t *result = NULL;
	t->err[1] = control_call(c, "echo", json_pack("{s:s}", "a", "b"), GIVE_UP_NS, NULL, NULL,
				 &result, &t->error);
	t->text = result ? json_dumps(result, JSON_COMPACT) : NULL;
	json_decref(result);
	t->err[2] = control_call(c, "nope", NULL, NSEC_NEVER, NULL, NULL, NULL, &t->error);
	result = NULL;
	t->err[3] = control_call(c, "large", NULL, GIVE_UP_NS, NULL, NULL, &result, &t->error);
	t->numbers = (int)json_string_length(json_object_get(result, "text"));
	json_decref(result);
}

static void control_client_gets_results_and_errors(void **state)
{
	struct fixture *f = *state;
	struct talk t = {.say = say_calls};
	run_talk(f, &t);
	assert_int_equal(t.err[0], 0);
	assert_int_equal(t.err[1], 0);
	assert_string_equal(t.text, "{\"a\":\"b\"}");
	free(t.text);
	assert_int_equal(t.err[2], -EREMOTEIO);
	assert_string_equal(t.error.code, "unknown-method");
	assert_string_equal(t.error.message, "there is no method \"nope\"");
	assert_int_equal(t.err[3], 0);
	assert_int_equal(t.numbers, 300000);
}

static void say_watch(struct talk *t, struct control_client *c)
{
	t->err[1] = control_call(c, "watch", NULL, GIVE_UP_NS, on_event, t, NULL, &t->error);
	/* the event comes before the answer of the call that causes it */
	t->err[2] = control_call(c, "event", NULL, GIVE_UP_NS, on_event, t, NULL, &t->error);
	t->err[3] = control_wait_event(c, 5 * NSEC_PER_MSEC, on_event, t);
}

static void control_client_gets_events_between(void **state)
{
	struct fixture *f = *state;
	struct talk t = {.say = say_watch};
	assert_int_equal(control_watchers(f->control), 0);
	run_talk(f, &t);
	assert_int_equal(t.err[1], 0);
	assert_int_equal(t.err[2], 0);
	assert_int_equal(t.events, 1);
	assert_int_equal(t.numbers, 5);
	assert_int_equal(t.err[3], -ETIMEDOUT);

	/* to two watchers, and not to who does not watch */
	int fds[3];
	char answer[128];
	for (unsigned i = 0; i < 3; i++) {
		fds[i] = raw_connect(f);
		const char *method = i < 2 ? "{\"id\":1,\"method\":\"watch\"}\n"
					   : "{\"id\":1,\"method\":\"echo\"}\n";
		assert_true(raw_send(f, fds[i], method, strlen(method)));
		raw_line(f, fds[i], answer, sizeof(answer));
	}
	assert_int_equal(control_watchers(f->control), 2);
	control_event(f->control, "x", NULL);
	for (unsigned i = 0; i < 2; i++) {
		raw_line(f, fds[i], answer, sizeof(answer));
		assert_string_equal(answer, "{\"event\":\"x\",\"data\":{}}");
	}
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(recv(fds[2], answer, 1, 0), -1);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
}

static void say_hold(struct talk *t, struct control_client *c)
{
	t->err[1] = control_call(c, "hold", NULL, 20 * NSEC_PER_MSEC, NULL, NULL, NULL, &t->error);
}

static void control_client_times_out(void **state)
{
	struct fixture *f = *state;
	struct talk t = {.say = say_hold};
	run_talk(f, &t);
	assert_int_equal(t.err[1], -ETIMEDOUT);
	for (unsigned i = 0; i < 100 && f->gone == 0; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->gone, 1);

	struct control_client *c = NULL;
	assert_int_equal(control_connect("/tmp/no-such-folder-here/s", &c), -ENOENT);
	assert_int_equal(control_connect("", &c), -EINVAL);
}

/* A server that says what it is told to, for the client to judge. */
static int client_against(const char *words)
{
	char dir[] = "/tmp/test_control.XXXXXX";
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	assert_non_null(mkdtemp(dir));
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/s", dir);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 1), 0);
	struct control_client *c;
	assert_int_equal(control_connect(sun.sun_path, &c), 0);
	int peer = accept(fd, NULL, NULL);
	assert_true(peer >= 0);
	assert_int_equal(send(peer, words, strlen(words), 0), strlen(words));
	assert_int_equal(shutdown(peer, SHUT_WR), 0);
	struct control_error error;
	int err = control_call(c, "x", NULL, GIVE_UP_NS, NULL, NULL, NULL, &error);
	control_disconnect(c);
	close(peer);
	close(fd);
	assert_int_equal(unlink(sun.sun_path), 0);
	assert_int_equal(rmdir(dir), 0);
	return err;
}

static void control_client_judges_the_server(void **state)
{
	(void)state;
	assert_int_equal(client_against("{\"id\":1,\"result\":{}}\n"), 0);
	assert_int_equal(client_against("{\"event\":\"a\"}\n{\"id\":1,\"result\":{}}\n"), 0);
	assert_int_equal(client_against("{\"id\":2,\"result\":{}}\n"), -EPROTO);
	assert_int_equal(client_against("{\"id\":1}\n"), -EPROTO);
	assert_int_equal(client_against("{\"id\":1,\"result\":3}\n"), -EPROTO);
	assert_int_equal(client_against("hello\n"), -EPROTO);
	assert_int_equal(
		client_against("{\"id\":2,\"error\":{\"code\":\"a\",\"message\":\"b\"}}\n"),
		-EPROTO);
	assert_int_equal(
		client_against("{\"id\":null,\"error\":{\"code\":\"a\",\"message\":\"b\"}}\n"),
		-EREMOTEIO);
	assert_int_equal(client_against("{\"id\":1,\"error\":{\"code\":\"a\"}}\n"), -EPROTO);
	assert_int_equal(client_against("{\"id\":1,\"result\":{}}"), -ECONNRESET);
	assert_int_equal(client_against(""), -ECONNRESET);
}

#define WITH_SERVER(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(control_answers_or_says_what_is_wrong),
		WITH_SERVER(control_refuses_a_line_beyond_the_limit),
		WITH_SERVER(control_refuses_client_33),
		WITH_SERVER(control_cuts_a_slow_reader_off),
		WITH_SERVER(control_request_outlives_its_client),
		WITH_SERVER(control_limits_unanswered_requests),
		WITH_SERVER(control_request_before_shutdown_is_answered),
		WITH_SERVER(control_replaces_only_a_dead_socket),
		WITH_SERVER(control_sets_group_and_mode),
		WITH_SERVER(control_opens_up_nothing_but_its_socket),
		WITH_SERVER(control_client_gets_results_and_errors),
		WITH_SERVER(control_client_gets_events_between),
		WITH_SERVER(control_client_times_out),
		cmocka_unit_test(control_client_judges_the_server),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
