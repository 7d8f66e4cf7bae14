/* tests/unit/test_cli.c - the command line itself, run against a daemon that answers what the test
 * wants. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/zbase32.h"
#include "client/cli.h"
#include "crypto/kdf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SECRET	  "correct-horse-battery-staple"
#define ARGS	  16
#define CALLS	  16
#define GIVE_UP_S 8

extern char **environ;

struct fixture {
	char dir[40], path[60];
	struct event_base *base;
	struct control *control;
	char exit_name[NAME_BYTES];
	uint8_t exit_id[32];
	/* how the daemon answers */
	const char *failing, *code; /* this method, with this word */
	bool already;
	const char *status;
	/* what it heard */
	char method[CALLS][16];
	json_t *params[CALLS];
	unsigned calls;
	/* what the program said */
	char out[4096], err[4096];
	size_t nout, nerr;
};

static void answer(struct fixture *f, struct control_request *q, const char *method)
{
	if (f->failing && !strcmp(method, f->failing))
		control_reply_error(q, f->code, "because of %s", f->code);
	else if (!strcmp(method, "up"))
		control_reply(q, json_pack("{s:i,s:b}", "attempt", 7, "already", (int)f->already));
	else if (!strcmp(method, "exits"))
		control_reply(q, json_pack("{s:i,s:[{s:s,s:s,s:s,s:i}]}", "schema", 1, "exits",
					   "name", f->exit_name, "address", "192.0.2.1", "nickname",
					   "bob", "mbit", 100));
	else
		control_reply(q, json_loads(f->status, 0, NULL));
}

static void handle(void *arg, struct control_request *q, const char *method, json_t *params)
{
	struct fixture *f = arg;
	assert_true(f->calls < CALLS);
	snprintf(f->method[f->calls], sizeof(f->method[0]), "%s", method);
	f->params[f->calls++] = json_incref(params);
	answer(f, q, method);
}

static void forget(struct fixture *f)
{
	while (f->calls)
		json_decref(f->params[--f->calls]);
	f->nout = f->nerr = 0;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->dir, "/tmp/test_cli.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	for (unsigned i = 0; i < 32; i++)
		f->exit_id[i] = (uint8_t)(i * 7 + 1);
	name_from_id(f->exit_id, f->exit_name);
	f->status = "{\"schema\":1,\"state\":\"off\",\"exit\":null,\"lease\":null,\"paths\":[],"
		    "\"bytes\":{\"up\":0,\"down\":0},\"drops\":{}}";
	f->base = event_base_new();
	const struct control_config c = {.path = f->path, .handle = handle, .arg = f};
	assert_int_equal(control_open(f->base, &c, &f->control), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char path[80];
	forget(f);
	control_close(f->control);
	event_base_free(f->base);
	snprintf(path, sizeof(path), "%s/s.lock", f->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/token", f->dir);
	unlink(path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* Start the program with these arguments (NULL ends them); its output goes to the two pipes. */
static pid_t start(const struct fixture *f, const char *const *args, int in, int out[2], int err[2])
{
	char *argv[ARGS + 4] = {"sispopnet-vpn", "--socket", (char *)f->path};
	posix_spawn_file_actions_t actions;
	unsigned n = 3;
	pid_t pid;
	while (*args && n < ARGS + 3)
		argv[n++] = (char *)*args++;
	argv[n] = NULL;
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, err[1], 2);
	assert_int_equal(posix_spawn(&pid, CLI_PATH, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	return pid;
}

struct reader_event {
	struct event *e;
	char *to;
	size_t *n;
	bool *done;
};

static void on_output(evutil_socket_t fd, short what, void *arg)
{
	struct reader_event *r = arg;
	(void)what;
	ssize_t n = read(fd, r->to + *r->n, 4095 - *r->n);
	if (n <= 0)
		*r->done = true;
	else
		*r->n += (size_t)n;
	r->to[*r->n] = 0;
	if (*r->done)
		event_del(r->e);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Run it to its end, the daemon serving meanwhile; the exit status. */
static int run_with(struct fixture *f, const char *const *args, int in)
{
	const struct timeval most = {GIVE_UP_S, 0};
	int out[2], err[2], status;
	bool out_done = false, err_done = false, late = false;
	forget(f);
	pid_t pid = start(f, args, in, out, err);
	struct reader_event r[2] = {{NULL, f->out, &f->nout, &out_done},
				    {NULL, f->err, &f->nerr, &err_done}};
	r[0].e = event_new(f->base, out[0], EV_READ | EV_PERSIST, on_output, &r[0]);
	r[1].e = event_new(f->base, err[0], EV_READ | EV_PERSIST, on_output, &r[1]);
	struct event *guard = evtimer_new(f->base, on_late, &late);
	event_add(r[0].e, NULL);
	event_add(r[1].e, NULL);
	event_add(guard, &most);
	while (!(out_done && err_done) && !late)
		event_base_loop(f->base, EVLOOP_ONCE);
	if (late)
		kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(late);
	event_free(r[0].e);
	event_free(r[1].e);
	event_free(guard);
	close(out[0]);
	close(err[0]);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int run(struct fixture *f, const char *const *args)
{
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r = run_with(f, args, in);
	close(in);
	return r;
}

#define RUN(f, ...) run(f, (const char *const[]){__VA_ARGS__, NULL})

/* Each bad line has its exit code and one sentence, before anything is asked of the daemon. */
static void cli_refuses_bad_lines(void **state)
{
	struct fixture *f = *state;
	char bad_last[NAME_BYTES], short_name[NAME_BYTES], upper[NAME_BYTES];
	strcpy(bad_last, f->exit_name);
	bad_last[51] = 'b';
	snprintf(short_name, sizeof(short_name), "%s", f->exit_name + 1);
	strcpy(upper, f->exit_name);
	upper[0] = 'Y';
	const struct {
		int code;
		const char *args[8];
	} rows[] = {
		{CLI_USAGE, {NULL}},
		{CLI_USAGE, {"--up"}},
		{CLI_USAGE, {"--up", "--down"}},
		{CLI_USAGE, {"--status", "--exits"}},
		{CLI_USAGE, {"--down", "--exit", f->exit_name}},
		{CLI_USAGE, {"--status", "now"}},
		{CLI_USAGE, {"--status", "--token", "x"}},
		{CLI_USAGE, {"--status", "--hops", "3"}},
		{CLI_USAGE, {"--down", "--timeout", "3"}},
		{CLI_USAGE, {"--down", "--json"}},
		{CLI_USAGE, {"--exits", "--no-wait"}},
		{CLI_USAGE, {"--frobnicate"}},
		{CLI_USAGE, {"--up", "--exit"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--hops", "0"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--hops", "9"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--hops", "three"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--hops", "3x"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--hops", ""}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--timeout", "0"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--timeout", "601"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--token", ""}},
		{CLI_USAGE,
		 {"--up", "--exit", f->exit_name, "--token", "-"}}, /* standard input is empty */
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--token-file", "/nowhere/at/all"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--token-file", "/dev/null"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--token-fd", "77"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--token-fd", "x"}},
		{CLI_USAGE, {"--up", "--exit", f->exit_name, "--range", "10.0.0.1/8"}},
		{CLI_NO_EXIT, {"--up", "--exit", "example.org"}},
		{CLI_NO_EXIT, {"--up", "--exit", ""}},
		{CLI_NO_EXIT, {"--up", "--exit", bad_last}},
		{CLI_NO_EXIT, {"--up", "--exit", short_name}},
		{CLI_NO_EXIT, {"--up", "--exit", upper}},
		{CLI_NO_EXIT, {"--swap", bad_last}},
	};
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int code = run(f, rows[i].args);
		if (code != rows[i].code || f->calls || f->nout || !f->nerr)
			fail_msg("row %u: code %d, %u calls: %s", i, code, f->calls, f->err);
	}
}

static void cli_says_that_no_daemon_is_there(void **state)
{
	struct fixture *f = *state;
	char kept[60];
	strcpy(kept, f->path);
	snprintf(f->path, sizeof(f->path), "%s/none", f->dir);
	assert_int_equal(RUN(f, "--status"), CLI_DAEMON);
	assert_non_null(strstr(f->err, "start sispopnetd"));
	strcpy(f->path, kept);
}

/* Every error word of docs/CONTROL.md, with its exit code. */
static void cli_knows_every_error_word(void **state)
{
	static const struct {
		const char *word;
		int code;
	} rows[] = {
		{"bad-request", 2},    {"busy", 3},	    {"unknown-method", 3},
		{"no-directory", 4},   {"bad-name", 5},	    {"no-such-exit", 5},
		{"no-path", 6},	       {"auth-bad", 7},	    {"auth-expired", 7},
		{"auth-quota", 7},     {"auth-in-use", 7},  {"auth-full", 7},
		{"auth-policy", 7},    {"auth-version", 7}, {"exit-no-forward", 8},
		{"exit-bad-grant", 8}, {"host-failed", 9},  {"not-permitted", 10},
		{"timed-out", 11},     {"cancelled", 11},   {"something-new", 3},
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		f->failing = i % 2 ? "wait" : "up";
		f->code = rows[i].word;
		int code = RUN(f, "--up", "--exit", f->exit_name);
		if (code != rows[i].code || !strstr(f->err, "because of"))
			fail_msg("%s: %d %s", rows[i].word, code, f->err);
	}
}

static void cli_asks_for_what_was_said(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(RUN(f, "--up", "--exit", f->exit_name, "--hops", "5", "--timeout", "9",
			     "--range", "192.0.2.0/24"),
			 CLI_DONE);
	assert_int_equal(f->nerr, 0); /* no terminal: quiet */
	assert_int_equal(f->nout, 0);
	assert_int_equal(f->calls, 2);
	assert_string_equal(f->method[0], "up");
	assert_string_equal(f->method[1], "wait");
	json_t *want = json_pack("{s:[s],s:i,s:s,s:i,s:[s]}", "exits", f->exit_name, "hops", 5,
				 "auth", "open", "timeout_s", 9, "ranges", "192.0.2.0/24");
	assert_true(json_equal(f->params[0], want));
	json_decref(want);
	assert_int_equal(json_integer_value(json_object_get(f->params[1], "attempt")), 7);
	assert_int_equal(RUN(f, "--up", "--exit", f->exit_name, "--no-wait"), CLI_DONE);
	assert_int_equal(f->calls, 1);
	f->already = true;
	assert_int_equal(RUN(f, "--up", "--exit", f->exit_name), CLI_DONE);
	assert_int_equal(f->calls, 1);
	assert_int_equal(RUN(f, "--down"), CLI_DONE);
	assert_string_equal(f->method[0], "down");
}

static void cli_shows_status_and_exits(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(RUN(f, "--status", "--json"), CLI_DONE);
	json_t *got = json_loads(f->out, 0, NULL), *want = json_loads(f->status, 0, NULL);
	assert_true(json_equal(got, want));
	json_decref(got);
	json_decref(want);
	assert_int_equal(RUN(f, "--status"), CLI_DONE);
	assert_non_null(strstr(f->out, "state     off"));
	assert_int_equal(RUN(f, "--exits"), CLI_DONE);
	assert_non_null(strstr(f->out, f->exit_name));
	assert_int_equal(RUN(f, "--help"), CLI_DONE);
	assert_non_null(strstr(f->out, "--token-file"));
	assert_int_equal(RUN(f, "--version"), CLI_DONE);
}

static void check_seed(struct fixture *f, const char *token)
{
	uint8_t seed[32];
	char hex[65];
	assert_int_equal(f->calls, 3);
	assert_string_equal(f->method[1], "token");
	assert_int_equal(token_seed(token, f->exit_id, seed), 0);
	for (unsigned i = 0; i < 32; i++)
		sprintf(hex + 2 * i, "%02x", seed[i]);
	assert_string_equal(json_string_value(json_object_get(f->params[1], "seed")), hex);
	assert_string_equal(json_string_value(json_object_get(f->params[1], "exit")), f->exit_name);
	assert_int_equal(json_integer_value(json_object_get(f->params[1], "attempt")), 7);
	assert_string_equal(json_string_value(json_object_get(f->params[0], "auth")), "token");
	for (unsigned i = 0; i < f->calls; i++) { /* the daemon sees the seed alone */
		char *text = json_dumps(f->params[i], 0);
		assert_null(strstr(text, token));
		free(text);
	}
}

static void cli_derives_the_seed(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(RUN(f, "--up", "--exit", f->exit_name, "--token", SECRET), CLI_DONE);
	check_seed(f, SECRET);
}

static void cli_reads_the_first_line_of_a_file(void **state)
{
	struct fixture *f = *state;
	char path[80];
	snprintf(path, sizeof(path), "%s/token", f->dir);
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs(SECRET "\r\nsecond line\n", out);
	fclose(out);
	assert_int_equal(RUN(f, "--up", "--exit", f->exit_name, "--token-file", path), CLI_DONE);
	check_seed(f, SECRET);
}

static void cli_refuses_bad_token_lines(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {{"", 0}, {"\n", 1}, {"\r\n", 2}, {"ab\0cd\n", 6}, {"\0\n", 2}};
	struct fixture *f = *state;
	char path[80], lots[TOKEN_MAX_BYTES + 1];
	snprintf(path, sizeof(path), "%s/token", f->dir);
	memset(lots, 'x', sizeof(lots));
	for (unsigned i = 0; i <= sizeof(rows) / sizeof(rows[0]); i++) {
		bool last = i == sizeof(rows) / sizeof(rows[0]);
		FILE *out = fopen(path, "w");
		assert_non_null(out);
		fwrite(last ? lots : rows[i].bytes, 1, last ? sizeof(lots) : rows[i].n, out);
		fclose(out);
		assert_int_equal(RUN(f, "--up", "--exit", f->exit_name, "--token-file", path),
				 CLI_USAGE);
		assert_int_equal(f->calls, 0);
	}
}

/* A socket that is listened at and never answered: the program waits there, and all can look at its
 * arguments. */
static void cli_wipes_the_token_from_its_arguments(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char kept[60], path[60], line[1024];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), out[2], err[2], status;
	strcpy(kept, f->path);
	snprintf(f->path, sizeof(f->path), "%s/mute", f->dir);
	strcpy(sun.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 1), 0);
	const char *const both[2][8] = {{"--up", "--token", SECRET, "--exit", f->exit_name, NULL},
					{"--up", "--exit", f->exit_name, "--token=" SECRET, NULL}};
	for (unsigned i = 0; i < 2; i++) {
		int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
		pid_t pid = start(f, both[i], in, out, err);
		close(in);
		int daemon = accept(fd, NULL, NULL);
		assert_true(daemon >= 0);
		snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
		int proc = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(proc, line, sizeof(line));
		assert_true(n > 0);
		assert_non_null(memmem(line, (size_t)n, f->exit_name, strlen(f->exit_name)));
		assert_null(memmem(line, (size_t)n, "horse", 5));
		assert_null(memmem(line, (size_t)n, "staple", 6));
		close(proc);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		close(daemon);
		close(out[0]);
		close(err[0]);
	}
	close(fd);
	unlink(f->path);
	strcpy(f->path, kept);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(cli_refuses_bad_lines),
		TEST(cli_says_that_no_daemon_is_there),
		TEST(cli_knows_every_error_word),
		TEST(cli_asks_for_what_was_said),
		TEST(cli_shows_status_and_exits),
		TEST(cli_derives_the_seed),
		TEST(cli_reads_the_first_line_of_a_file),
		TEST(cli_refuses_bad_token_lines),
		TEST(cli_wipes_the_token_from_its_arguments),
	};
	unsetenv("SISPOPNET_SOCKET");
	unsetenv("CREDENTIALS_DIRECTORY");
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
