/* tests/unit/test_methods.c - the client daemon's methods on a real control socket, and the status
 * that it tells: docs/CONTROL.md. */
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"
#include "base/zbase32.h"
#include "unit/fake_client.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define GIVE_UP_S 5
#define TALKS	  3

/* A program at the control socket. Lines go out at once; answers are read as the loop turns. */
struct talk {
	int fd;
	char in[65536];
	size_t n;
};

struct fixture {
	char dir[40], name[NAME_BYTES];
	struct talk talk[TALKS];
	bool late;
};

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char err[SENTENCE_BYTES];
	assert_non_null(f);
	fake_client_new();
	strcpy(f->dir, "/tmp/test_methods.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(fake->c.config.socket, sizeof(fake->c.config.socket), "%s/s", f->dir);
	fake->c.base = event_base_new();
	assert_int_equal(methods_open(&fake->c, err), 0);
	name_from_id(fake_exit(0), f->name);
	for (unsigned i = 0; i < TALKS; i++)
		f->talk[i].fd = -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char path[80];
	for (unsigned i = 0; i < TALKS; i++)
		if (f->talk[i].fd >= 0)
			close(f->talk[i].fd);
	control_close(fake->c.control);
	event_base_free(fake->c.base);
	fake->c.control = NULL;
	fake_client_free();
	snprintf(path, sizeof(path), "%s/s.lock", f->dir);
	unlink(path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void say(struct fixture *f, unsigned i, const char *line)
{
	struct talk *t = &f->talk[i];
	if (t->fd < 0) {
		struct sockaddr_un sun = {.sun_family = AF_UNIX};
		strcpy(sun.sun_path, fake->c.config.socket);
		t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_int_equal(connect(t->fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	}
	size_t n = strlen(line);
	assert_int_equal(write(t->fd, line, n), n);
	assert_int_equal(write(t->fd, "\n", 1), 1);
}

/* The next line that comes to talk i; the caller's. */
static json_t *hear(struct fixture *f, unsigned i)
{
	const struct timeval most = {GIVE_UP_S, 0}, soon = {0, 1000};
	struct talk *t = &f->talk[i];
	struct event *guard = evtimer_new(fake->c.base, on_late, &f->late);
	struct event *turn = event_new(fake->c.base, -1, EV_PERSIST, on_late, &(bool){false});
	char *end;
	evtimer_add(guard, &most);
	event_add(turn, &soon);
	while (!(end = memchr(t->in, '\n', t->n)) && !f->late) {
		ssize_t n = read(t->fd, t->in + t->n, sizeof(t->in) - t->n);
		assert_int_not_equal(n, 0);
		if (n > 0)
			t->n += (size_t)n;
		else
			event_base_loop(fake->c.base, EVLOOP_ONCE);
		fake_turn();
	}
	assert_false(f->late);
	event_free(guard);
	event_free(turn);
	json_t *o = json_loadb(t->in, (size_t)(end - t->in), 0, NULL);
	assert_non_null(o);
	t->n -= (size_t)(end + 1 - t->in);
	memmove(t->in, end + 1, t->n);
	return o;
}

static json_t *ask(struct fixture *f, unsigned i, const char *line)
{
	say(f, i, line);
	return hear(f, i);
}

static const char *code_of(json_t *answer)
{
	return json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
}

static void expect_error(struct fixture *f, const char *line, const char *code)
{
	json_t *o = ask(f, 0, line);
	if (!code_of(o) || strcmp(code_of(o), code))
		fail_msg("%s: %s", line, json_dumps(o, 0));
	assert_true(strlen(json_string_value(
			    json_object_get(json_object_get(o, "error"), "message"))) > 8);
	json_decref(o);
}

static json_t *result(json_t *answer)
{
	json_t *r = json_object_get(answer, "result");
	if (!r)
		fail_msg("%s", json_dumps(answer, 0));
	return r;
}

static json_int_t up(struct fixture *f, unsigned i, unsigned exit)
{
	char name[NAME_BYTES], line[256];
	name_from_id(fake_exit(exit), name);
	snprintf(line, sizeof(line),
		 "{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"token\"}}",
		 name);
	json_t *o = ask(f, i, line);
	json_int_t attempt = json_integer_value(json_object_get(result(o), "attempt"));
	json_decref(o);
	return attempt;
}

static void wait_for(struct fixture *f, unsigned i, json_int_t attempt)
{
	char line[128];
	snprintf(line, sizeof(line), "{\"id\":3,\"method\":\"wait\",\"params\":{\"attempt\":%lld}}",
		 (long long)attempt);
	say(f, i, line);
}

static json_t *token(struct fixture *f, unsigned i, json_int_t attempt, unsigned exit)
{
	char name[NAME_BYTES], line[300];
	name_from_id(fake_exit(exit), name);
	snprintf(
		line, sizeof(line),
		"{\"id\":2,\"method\":\"token\",\"params\":{\"attempt\":%lld,\"exit\":\"%s\",\"seed\":"
		"\"0102030405060708091011121314151617181920212223242526272829303132\"}}",
		(long long)attempt, name);
	return ask(f, i, line);
}

static void finish_up(unsigned lease)
{
	struct msg_grant g = fake_grant_of(lease);
	fake_built(fake->c.next);
	assert_true(fake_grant(fake->c.next, &g));
	fake_verified(true);
}

/* --- requests that are none --- */

static void methods_refuse_bad_parameters(void **state)
{
	static const char *const bad[] = {
		"{\"id\":1,\"method\":\"up\"}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[],\"auth\":\"open\"}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":\"%s\",\"auth\":\"open\"}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"]}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"none\"}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"hops\":0}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"hops\":9}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"hops\":4294967299}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"hops\":-4294967293}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"hops\":\"3\"}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"hops\":3.0}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"timeout_s\":0}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"timeout_s\":601}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"timeout_s\":true}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"ranges\":[\"x\"]}}",
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\",\"colour\":1}}",
		"{\"id\":1,\"method\":\"down\",\"params\":{\"now\":true}}",
		"{\"id\":1,\"method\":\"token\",\"params\":{\"exit\":\"%s\",\"seed\":\"00\"}}",
		"{\"id\":1,\"method\":\"token\",\"params\":{\"exit\":\"%s\"}}",
		"{\"id\":1,\"method\":\"token\",\"params\":{\"seed\":"
		"\"0102030405060708091011121314151617181920212223242526272829303132\"}}",
		"{\"id\":1,\"method\":\"token\",\"params\":{\"exit\":\"%s\",\"seed\":"
		"\"0x02030405060708091011121314151617181920212223242526272829303132\"}}",
	};
	struct fixture *f = *state;
	char line[512];
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *at = strstr(bad[i], "%s");
		size_t head = at ? (size_t)(at - bad[i]) : strlen(bad[i]);
		snprintf(line, sizeof(line), "%.*s%s%s", (int)head, bad[i], at ? f->name : "",
			 at ? at + 2 : "");
		expect_error(f, line, "bad-request");
	}
	expect_error(
		f,
		"{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"x.sispop\"],\"auth\":\"open\"}}",
		"bad-name");
	expect_error(f, "{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[7],\"auth\":\"open\"}}",
		     "bad-name");
	expect_error(f, "{\"id\":1,\"method\":\"fly\"}", "unknown-method");
	expect_error(f, "{\"id\":1,\"method\":\"wait\",\"params\":{\"attempt\":1}}", "cancelled");
	expect_error(f, "{\"id\":1,\"method\":\"wait\"}", "cancelled");
	assert_int_equal(fake->c.attempt, 0);
	assert_int_equal(fake->c.state, CLIENT_OFF);
}

/* --- status --- */

static void methods_tell_the_status_when_off(void **state)
{
	struct fixture *f = *state;
	json_t *o = ask(f, 0, "{\"id\":5,\"method\":\"status\"}"), *s = result(o);
	assert_int_equal(json_integer_value(json_object_get(s, "schema")), 1);
	assert_string_equal(json_string_value(json_object_get(s, "state")), "off");
	assert_true(json_is_null(json_object_get(s, "exit")));
	assert_true(json_is_null(json_object_get(s, "lease")));
	assert_true(json_is_array(json_object_get(s, "paths")));
	assert_int_equal(json_array_size(json_object_get(s, "paths")), 0);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(s, "bytes"), "up")), 0);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(s, "bytes"), "down")),
			 0);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(s, "drops"), "inner-source")),
		3);
	assert_int_equal(json_object_size(json_object_get(s, "drops")), 1); /* only what happened */
	assert_true(json_is_true(json_object_get(json_object_get(s, "directory"), "valid")));
	assert_string_equal(json_string_value(json_object_get(s, "engine")), "openssl");
	assert_null(json_object_get(s, "why"));
	json_decref(o);
	fake->directory = NULL;
	o = ask(f, 0, "{\"id\":5,\"method\":\"status\"}");
	json_t *d = json_object_get(result(o), "directory");
	assert_true(json_is_false(json_object_get(d, "valid")));
	assert_string_equal(json_string_value(json_object_get(d, "why")), "authority 1 is silent");
	json_decref(o);
}

static void methods_tell_the_status_when_up(void **state)
{
	struct fixture *f = *state;
	fake_up(0, 9);
	json_t *o = ask(f, 0, "{\"id\":5,\"method\":\"status\"}"), *s = result(o), *v;
	assert_string_equal(json_string_value(json_object_get(s, "state")), "up");
	v = json_object_get(s, "exit");
	assert_string_equal(json_string_value(json_object_get(v, "name")), f->name);
	struct addr a;
	assert_int_equal(addr_parse_ip(json_string_value(json_object_get(v, "address")), &a),
			 0); /* no port */
	v = json_object_get(s, "lease");
	assert_string_equal(json_string_value(json_object_get(v, "ipv4")), "10.73.0.9");
	assert_string_equal(json_string_value(json_object_get(v, "ipv6")), "fd53::9");
	assert_string_equal(json_string_value(json_array_get(json_object_get(v, "dns"), 1)),
			    "9.9.9.9");
	assert_int_equal(json_integer_value(json_object_get(v, "mtu")), 1371);
	v = json_array_get(json_object_get(s, "paths"), 0);
	assert_string_equal(json_string_value(json_object_get(v, "role")), "primary");
	assert_true(json_real_value(json_object_get(v, "rtt_ms")) == 12.0);
	assert_true(json_real_value(json_object_get(v, "built_in_ms")) == 7.0);
	assert_true(json_is_real(json_object_get(v, "age_s")));
	assert_int_equal(json_array_size(json_object_get(v, "hops")), 3);
	json_t *hop = json_array_get(json_object_get(v, "hops"), 2);
	assert_string_equal(json_string_value(json_object_get(hop, "address")), "192.0.2.3");
	assert_int_equal(strlen(json_string_value(json_object_get(hop, "name"))), NAME_BYTES - 1);
	assert_true(json_is_real(json_object_get(s, "up_s")));
	json_decref(o);
	fake_closed(fake->c.carrier, DENY_EXPIRED);
	o = ask(f, 0, "{\"id\":5,\"method\":\"status\"}");
	assert_string_equal(json_string_value(json_object_get(result(o), "state")), "blocked");
	assert_non_null(strstr(json_string_value(json_object_get(result(o), "why")), "expired"));
	json_decref(o);
}

static void methods_list_exits(void **state)
{
	struct fixture *f = *state;
	json_t *o = ask(f, 0, "{\"id\":5,\"method\":\"exits\"}");
	json_t *list = json_object_get(result(o), "exits");
	assert_int_equal(json_array_size(list), 3);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")),
			    f->name);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "mbit")), 100);
	json_decref(o);
	fake->directory = NULL;
	expect_error(f, "{\"id\":5,\"method\":\"exits\"}", "no-directory");
}

/* --- an attempt --- */

static void methods_bring_up(void **state)
{
	struct fixture *f = *state;
	json_t *o = ask(f, 1, "{\"id\":1,\"method\":\"watch\"}");
	json_decref(o);
	json_int_t attempt = up(f, 0, 0);
	assert_int_equal(attempt, 1);
	o = token(f, 0, attempt, 0);
	assert_int_equal(json_object_size(result(o)), 0);
	json_decref(o);
	assert_int_equal(fake->c.next->paths->seed[31], 0x32);
	wait_for(f, 0, attempt);
	finish_up(9);
	o = hear(f, 0);
	assert_int_equal(json_integer_value(json_object_get(o, "id")), 3);
	assert_string_equal(json_string_value(json_object_get(result(o), "state")), "up");
	json_decref(o);

	/* Who watched saw each step once, in order, between the states. */
	static const char *const expected[] = {"connecting", "directory", "guard",    "path",
					       "session",    "tun",	  "verified", "up"};
	for (unsigned i = 0; i < 8; i++) {
		o = hear(f, 1);
		json_t *data = json_object_get(o, "data");
		bool step = !strcmp(json_string_value(json_object_get(o, "event")), "step");
		assert_string_equal(
			json_string_value(json_object_get(data, step ? "step" : "state")),
			expected[i]);
		if (step) {
			assert_int_equal(json_integer_value(json_object_get(data, "attempt")), 1);
			assert_true(json_is_real(json_object_get(data, "after_ms")));
			assert_true(json_is_string(json_object_get(data, "text")));
		}
		json_decref(o);
	}

	char line[256]; /* up while up is a success */
	snprintf(line, sizeof(line),
		 "{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"token\"}}",
		 f->name);
	o = ask(f, 0, line);
	assert_true(json_is_true(json_object_get(result(o), "already")));
	json_decref(o);
	assert_int_equal(fake->c.attempt, 1);
	wait_for(f, 0, 1); /* late, but of the newest attempt */
	o = hear(f, 0);
	result(o);
	json_decref(o);
	o = ask(f, 0, "{\"id\":1,\"method\":\"down\"}");
	assert_string_equal(json_string_value(json_object_get(result(o), "state")), "off");
	json_decref(o);
}

static void methods_tell_why_not(void **state)
{
	struct fixture *f = *state;
	json_int_t attempt = up(f, 0, 0);
	wait_for(f, 0, attempt);
	json_decref(
		ask(f, 1, "{\"id\":1,\"method\":\"status\"}")); /* by then the request was read */
	fake_built(fake->c.next);
	fake_deny(fake->c.next, DENY_BAD_TOKEN);
	json_t *o = hear(f, 0);
	assert_string_equal(code_of(o), "auth-bad");
	json_decref(o);
	wait_for(f, 0, attempt); /* who asks later is told the same */
	o = hear(f, 0);
	assert_string_equal(code_of(o), "auth-bad");
	json_decref(o);
	fake->fail_check = -1;
	char line[256];
	snprintf(line, sizeof(line),
		 "{\"id\":1,\"method\":\"up\",\"params\":{\"exits\":[\"%s\"],\"auth\":\"open\"}}",
		 f->name);
	expect_error(f, line, "host-failed");
}

static void methods_second_up_ends_the_first(void **state)
{
	struct fixture *f = *state;
	json_int_t first = up(f, 0, 0);
	wait_for(f, 0, first);
	json_int_t second = up(f, 1, 0); /* the same exit, another program, another token */
	assert_int_equal(second, first + 1);
	json_t *o = hear(f, 0);
	assert_string_equal(code_of(o), "cancelled");
	json_decref(o);
	o = token(f, 0, first, 0); /* its token must not become the second one's */
	assert_string_equal(code_of(o), "cancelled");
	json_decref(o);
	assert_false(fake->c.next->paths->has_token);
	json_decref(token(f, 1, second, 0));
	assert_true(fake->c.next->paths->has_token);
	wait_for(f, 1, second);
	finish_up(9);
	o = hear(f, 1);
	assert_string_equal(json_string_value(json_object_get(result(o), "state")), "up");
	json_decref(o);
}

static void methods_down_ends_an_up_that_waits(void **state)
{
	struct fixture *f = *state;
	json_int_t attempt = up(f, 0, 0);
	wait_for(f, 0, attempt);
	json_t *o = ask(f, 1, "{\"id\":1,\"method\":\"down\"}");
	assert_string_equal(json_string_value(json_object_get(result(o), "state")), "off");
	json_decref(o);
	o = hear(f, 0); /* at once */
	assert_string_equal(code_of(o), "cancelled");
	json_decref(o);
	fake_up(0, 9);
	fake->fail_undo = -1;
	expect_error(f, "{\"id\":1,\"method\":\"down\"}", "host-failed");
}

static void methods_limit_those_who_wait(void **state)
{
	struct fixture *f = *state;
	json_int_t attempt = up(f, 0, 0);
	for (unsigned i = 0; i < WAITERS_MOST; i++)
		wait_for(f, i % 2, attempt);
	wait_for(f, 2, attempt);
	json_t *o = hear(f, 2);
	assert_string_equal(code_of(o), "busy");
	json_decref(o);
	close(f->talk[1].fd); /* half of them go away: their places are free again */
	f->talk[1].fd = -1;
	for (unsigned tries = 0;; tries++) {
		unsigned waiting = 0;
		for (unsigned i = 0; i < WAITERS_MOST; i++)
			waiting += fake->c.waiter[i] != NULL;
		if (waiting == WAITERS_MOST / 2)
			break;
		assert_true(tries < 100);
		event_base_loop(fake->c.base, EVLOOP_ONCE);
	}
	wait_for(f, 2, attempt);
	json_decref(ask(f, 0, "{\"id\":9,\"method\":\"status\"}"));
	fake_built(fake->c.next);
	fake_deny(fake->c.next, DENY_FULL);
	for (unsigned i = 0; i < WAITERS_MOST / 2; i++) {
		o = hear(f, 0);
		assert_string_equal(code_of(o), "auth-full");
		json_decref(o);
	}
	o = hear(f, 2);
	assert_string_equal(code_of(o), "auth-full");
	json_decref(o);
}

static void methods_every_fault_has_a_word(void **state)
{
	(void)state;
	for (enum fault a = 0; a < FAULT_COUNT; a++) {
		assert_string_not_equal(fault_word(a), "unknown");
		for (enum fault b = 0; b < a; b++)
			assert_string_not_equal(fault_word(a), fault_word(b));
	}
	assert_string_equal(fault_word(FAULT_COUNT), "unknown");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(methods_refuse_bad_parameters),
		TEST(methods_tell_the_status_when_off),
		TEST(methods_tell_the_status_when_up),
		TEST(methods_list_exits),
		TEST(methods_bring_up),
		TEST(methods_tell_why_not),
		TEST(methods_second_up_ends_the_first),
		TEST(methods_down_ends_an_up_that_waits),
		TEST(methods_limit_those_who_wait),
		cmocka_unit_test(methods_every_fault_has_a_word),
	};
	log_set_level(LOG_ERROR);
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
