/* tests/unit/test_dirsync.c - a daemon's directory, fetched from authorities on loopback that lie
 * as wanted. */
#include "daemon/dirsync.h"
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "net/http.h"
#include "unit/directory_sample.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define GIVE_UP_NS  (5 * NSEC_PER_SEC)
#define RETRY_MS    60
#define AUTHORITIES 2
#define RELAYS	    8

struct document {
	uint8_t *bytes;
	size_t n;
};

struct server {
	struct http_server *http;
	struct document consensus, descriptors;
	int status; /* of what it answers; 200 */
	unsigned asked;
};

struct fixture {
	struct sample *sample;
	char state[40];
	struct event_base *base;
	struct dirsync *sync;
	struct server server[AUTHORITIES];
	int silent_fd; /* listens and never answers */
	unsigned directories, failures;
	const char *device;
};

static void on_directory(void *arg, const struct directory *d, nsec_t now)
{
	struct fixture *f = arg;
	(void)now;
	assert_non_null(d);
	f->directories++;
}

static void on_failure(void *arg, nsec_t now)
{
	struct fixture *f = arg;
	(void)now;
	f->failures++;
}

static const char *tunnel(void *arg, const struct addr *to)
{
	struct fixture *f = arg;
	(void)to;
	return f->device;
}

static void answer(struct server *s, struct http_request *q, const struct document *d)
{
	if (s->status == 200)
		http_reply(q, 200, "application/octet-stream", d->bytes, d->n);
	else
		http_reply_text(q, s->status, "no");
}

static void on_get_consensus(void *arg, struct http_request *q)
{
	struct server *s = arg;
	s->asked++;
	answer(s, q, &s->consensus);
}

static void on_get_descriptors(void *arg, struct http_request *q)
{
	struct server *s = arg;
	answer(s, q, &s->descriptors);
}

static void open_server(struct fixture *f, unsigned i)
{
	struct http_server_config c = {0};
	assert_int_equal(addr_parse_ip("127.0.0.1", &c.bind), 0);
	struct server *s = &f->server[i];
	s->status = 200;
	assert_int_equal(http_server_open(f->base, &c, &s->http), 0);
	assert_int_equal(
		http_server_add(s->http, HTTP_GET, "/sispop/1/consensus", on_get_consensus, s), 0);
	assert_int_equal(
		http_server_add(s->http, HTTP_GET, "/sispop/1/descriptors", on_get_descriptors, s),
		0);
	f->sample->net.authority[i].addr = http_server_addr(s->http);
}

static void set(struct document *d, const void *bytes, size_t n)
{
	free(d->bytes);
	d->bytes = malloc(n + 1);
	assert_non_null(d->bytes);
	if (n)
		memcpy(d->bytes, bytes, n);
	d->n = n;
}

static void serve_blob(struct fixture *f, const void *blob, size_t n)
{
	for (unsigned i = 0; i < AUTHORITIES; i++)
		set(&f->server[i].descriptors, blob, n);
}

/* All authorities have a consensus valid after `when`, signed by those whose bits stand in `who`.
 */
static void serve_consensus(struct fixture *f, uint64_t when, unsigned who, uint32_t net_id)
{
	struct consensus *body = sample_body(f->sample, when);
	size_t n;
	body->net_id = net_id;
	uint8_t *bytes = sample_encode(f->sample, body, who, &n);
	for (unsigned i = 0; i < AUTHORITIES; i++)
		set(&f->server[i].consensus, bytes, n);
	free(bytes);
	consensus_free(body);
}

static void serve_good(struct fixture *f, uint64_t when)
{
	size_t n;
	uint8_t *blob = sample_blob(f->sample, &n);
	serve_consensus(f, when, 3, f->sample->net.net_id);
	serve_blob(f, blob, n);
	free(blob);
}

static struct dirsync *start(struct fixture *f)
{
	const struct dirsync_config c = {.base = f->base,
					 .net = &f->sample->net,
					 .state = f->state,
					 .rng = &rng_system,
					 .retry_least_ms = RETRY_MS,
					 .ops = {f, on_directory, on_failure, NULL, tunnel}};
	nsec_t now = clock_now();
	f->sync = dirsync_new(&c, now);
	assert_non_null(f->sync);
	dirsync_start(f->sync, now);
	return f->sync;
}

static void stop(struct fixture *f)
{
	dirsync_free(f->sync);
	f->sync = NULL;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	f->sample = calloc(1, sizeof(*f->sample));
	assert_non_null(f->sample);
	sample_init(f->sample, 1, AUTHORITIES, AUTHORITIES, RELAYS, 2);
	strcpy(f->state, "/tmp/test_dirsync.XXXXXX");
	assert_non_null(mkdtemp(f->state));
	f->base = event_base_new();
	f->silent_fd = -1;
	assert_non_null(f->base);
	for (unsigned i = 0; i < AUTHORITIES; i++)
		open_server(f, i);
	*state = f;
	return 0;
}

static void path_of(const struct fixture *f, const char *name, char out[80])
{
	snprintf(out, 80, "%s/%s", f->state, name);
}

static int tear_down(void **state)
{
	static const char *const names[] = {"consensus", "descriptors", ".keyfile.tmp"};
	struct fixture *f = *state;
	char path[80];
	stop(f);
	for (unsigned i = 0; i < AUTHORITIES; i++) {
		http_server_close(f->server[i].http);
		free(f->server[i].consensus.bytes);
		free(f->server[i].descriptors.bytes);
	}
	if (f->silent_fd >= 0)
		close(f->silent_fd);
	event_base_free(f->base);
	for (unsigned i = 0; i < 3; i++) {
		path_of(f, names[i], path);
		unlink(path);
	}
	assert_int_equal(rmdir(f->state), 0); /* nothing else was left there */
	free(f->sample);
	free(f);
	return 0;
}

static void on_guard(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Turn the loop until *what reaches `least`. */
static void run_until(struct fixture *f, const unsigned *what, unsigned least)
{
	const struct timeval most = {GIVE_UP_NS / NSEC_PER_SEC, 0};
	bool late = false;
	struct event *guard = evtimer_new(f->base, on_guard, &late);
	assert_int_equal(evtimer_add(guard, &most), 0);
	while (*what < least && !late)
		event_base_loop(f->base, EVLOOP_ONCE);
	event_free(guard);
	assert_false(late);
}

static void refresh_until_failure(struct fixture *f)
{
	dirsync_refresh(f->sync, clock_now());
	run_until(f, &f->failures, f->failures + 1);
}

static uint64_t serial(struct fixture *f)
{
	const struct directory *d = dirsync_current(f->sync, clock_now());
	return d ? d->consensus->serial : 0;
}

static void check_file(const struct fixture *f, const char *name, const struct document *d)
{
	char path[80];
	uint8_t *got = malloc(d->n + 1);
	path_of(f, name, path);
	FILE *in = fopen(path, "rb");
	assert_non_null(in);
	assert_int_equal(fread(got, 1, d->n + 1, in), d->n);
	assert_memory_equal(got, d->bytes, d->n);
	fclose(in);
	free(got);
}

static void dirsync_fetches_and_keeps_a_cache(void **state)
{
	struct fixture *f = *state;
	uint64_t when = clock_unix_seconds() - 60;
	serve_good(f, when);
	start(f);
	assert_null(dirsync_current(f->sync, clock_now()));
	assert_non_null(strstr(dirsync_error(f->sync), "no directory was fetched yet"));
	run_until(f, &f->directories, 1);
	assert_int_equal(serial(f), when);
	assert_int_equal(dirsync_current(f->sync, clock_now())->n, RELAYS);
	assert_int_equal(dirsync_result(f->sync), DIR_OK);
	check_file(f, "consensus", &f->server[0].consensus);
	check_file(f, "descriptors", &f->server[0].descriptors);
	size_t n;
	assert_memory_equal(dirsync_consensus_bytes(f->sync, &n), f->server[0].consensus.bytes,
			    f->server[0].consensus.n);
	assert_int_equal(n, f->server[0].consensus.n);
	stop(f);

	f->server[0].asked = f->server[1].asked = 0;
	start(f); /* another process, later: at once, and nobody is asked */
	assert_int_equal(f->directories, 2);
	assert_int_equal(serial(f), when);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(f->server[0].asked + f->server[1].asked, 0);
}

static void dirsync_keeps_the_one_before(void **state)
{
	struct fixture *f = *state;
	uint64_t when = clock_unix_seconds() - 60;
	serve_good(f, when);
	start(f);
	run_until(f, &f->directories, 1);
	assert_null(dirsync_previous(f->sync, clock_now()));
	serve_good(f, when + 30);
	dirsync_refresh(f->sync, clock_now());
	run_until(f, &f->directories, 2);
	assert_int_equal(serial(f), when + 30);
	const struct directory *before = dirsync_previous(f->sync, clock_now());
	assert_non_null(before);
	assert_int_equal(before->consensus->serial, when);
	assert_null(dirsync_previous(f->sync, clock_now() + 3601 * NSEC_PER_SEC));
}

/* What a hostile carrier may try, against a client that holds a good consensus. */
enum lie {
	LIE_STALE,
	LIE_FORGED,
	LIE_SHORT_SIGNED,
	LIE_ROLLED_BACK,
	LIE_CUT,
	LIE_FOREIGN,
	LIE_NOISE,
	LIE_EMPTY,
	LIES
};

static void lie(struct fixture *f, enum lie what, uint64_t when)
{
	uint32_t net_id = f->sample->net.net_id;
	struct document *d = &f->server[0].consensus;
	serve_consensus(f, when + 10, 3, net_id);
	if (what == LIE_STALE)
		serve_consensus(f, when - 90000, 3, net_id);
	if (what == LIE_SHORT_SIGNED)
		serve_consensus(f, when + 10, 1, net_id);
	if (what == LIE_ROLLED_BACK)
		serve_consensus(f, when - 10, 3, net_id);
	if (what == LIE_FOREIGN)
		serve_consensus(f, when + 10, 3, net_id + 1);
	if (what == LIE_FORGED)
		d->bytes[60] ^= 1; /* in the first relay's ID or behind: signed, whatever it is */
	if (what == LIE_CUT)
		d->n -= 1;
	if (what == LIE_NOISE)
		memset(d->bytes, 0xa5, d->n);
	if (what == LIE_EMPTY)
		d->n = 0;
	set(&f->server[1].consensus, d->bytes, d->n);
}

static void dirsync_refuses_what_is_not_good(void **state)
{
	static const enum dir_result expected[LIES] = {
		[LIE_STALE] = DIR_ROLLED_BACK,
		[LIE_FORGED] = DIR_FORGED,
		[LIE_SHORT_SIGNED] = DIR_SHORT_SIGNED,
		[LIE_ROLLED_BACK] = DIR_ROLLED_BACK,
		[LIE_CUT] = DIR_CUT,
		[LIE_FOREIGN] = DIR_FOREIGN_NET,
		[LIE_NOISE] = DIR_MALFORMED,
		[LIE_EMPTY] = DIR_CUT,
	};
	struct fixture *f = *state;
	uint64_t when = clock_unix_seconds() - 60;
	serve_good(f, when);
	start(f);
	run_until(f, &f->directories, 1);
	for (enum lie l = 0; l < LIES; l++) {
		lie(f, l, when);
		refresh_until_failure(f);
		if (dirsync_result(f->sync) != expected[l])
			fail_msg("lie %d: %s", l, dir_result_code(dirsync_result(f->sync)));
		assert_non_null(strstr(dirsync_error(f->sync), "127.0.0.1:")); /* who */
		assert_int_equal(serial(f), when);
		assert_int_equal(f->directories, 1);
	}
	serve_good(f, when + 10);
	dirsync_refresh(f->sync, clock_now());
	run_until(f, &f->directories, 2);
	check_file(f, "consensus", &f->server[0].consensus);
}

static void dirsync_refuses_a_stale_one_without_any(void **state)
{
	struct fixture *f = *state;
	serve_good(f, clock_unix_seconds() - 90000);
	start(f);
	run_until(f, &f->failures, 1);
	assert_int_equal(dirsync_result(f->sync), DIR_STALE);
	assert_null(dirsync_current(f->sync, clock_now()));
	assert_int_equal(f->directories, 0);
	assert_int_equal(f->server[0].asked + f->server[1].asked,
			 2); /* each was given its chance */
}

static void listen_in_silence(struct fixture *f, unsigned i)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);
	struct addr a;
	assert_int_equal(addr_parse_ip("127.0.0.1", &a), 0);
	f->silent_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(f->silent_fd >= 0);
	n = addr_to_sockaddr(&a, &ss);
	assert_int_equal(bind(f->silent_fd, (struct sockaddr *)&ss, n), 0);
	assert_int_equal(listen(f->silent_fd, 4), 0);
	assert_int_equal(getsockname(f->silent_fd, (struct sockaddr *)&ss, &n), 0);
	f->sample->net.authority[i].addr = addr_from_sockaddr((struct sockaddr *)&ss);
}

static void dirsync_first_asks_two_at_once(void **state)
{
	struct fixture *f = *state;
	serve_good(f, clock_unix_seconds() - 60);
	for (unsigned dead = 0; dead < AUTHORITIES; dead++) {
		struct addr kept = f->sample->net.authority[dead].addr;
		listen_in_silence(f, dead);
		nsec_t began = clock_now();
		start(f);
		run_until(f, &f->directories, dead + 1);
		assert_true(clock_now() - began <
			    2 * NSEC_PER_SEC); /* not after the silent one's 8 s */
		stop(f);
		char path[80];
		path_of(f, "consensus", path);
		assert_int_equal(unlink(path), 0);
		f->sample->net.authority[dead].addr = kept;
		close(f->silent_fd);
		f->silent_fd = -1;
	}
}

static void dirsync_tries_again_after_a_while(void **state)
{
	struct fixture *f = *state;
	serve_good(f, clock_unix_seconds() - 60);
	f->server[0].status = f->server[1].status = 503;
	start(f);
	run_until(f, &f->failures, 1);
	nsec_t failed = clock_now();
	assert_non_null(strstr(dirsync_error(f->sync), "no consensus yet"));
	f->server[0].status = f->server[1].status = 200;
	run_until(f, &f->directories, 1);
	nsec_t waited = clock_now() - failed;
	assert_true(waited >= (RETRY_MS - 10) * NSEC_PER_MSEC);
	assert_true(waited < NSEC_PER_SEC);
}

static void dirsync_goes_by_the_consensus_when_our_clock_is_behind(void **state)
{
	struct fixture *f = *state;
	uint64_t when = clock_unix_seconds() + 7200;
	serve_good(f, when);
	start(f);
	run_until(f, &f->directories, 1);
	assert_int_equal(serial(f), when);
	nsec_t now = clock_now();
	assert_true(dirsync_unix_seconds(f->sync, now) - when <= 1);
	assert_true(dirsync_unix_seconds(f->sync, now + 100 * NSEC_PER_SEC) - when - 100 <= 1);
}

static void dirsync_does_not_go_by_an_old_cache(void **state)
{
	struct fixture *f = *state;
	uint64_t when = clock_unix_seconds() - 60;
	/* A cache of yesterday: fetched when our clock said so. */
	struct sample *s = f->sample;
	serve_good(f, when - 90000);
	char path[80];
	const struct document *d[2] = {&f->server[0].consensus, &f->server[0].descriptors};
	static const char *const names[2] = {"consensus", "descriptors"};
	for (unsigned i = 0; i < 2; i++) {
		path_of(f, names[i], path);
		FILE *out = fopen(path, "wb");
		assert_non_null(out);
		assert_int_equal(fwrite(d[i]->bytes, 1, d[i]->n, out), d[i]->n);
		assert_int_equal(fclose(out), 0);
	}
	struct addr kept[2] = {s->net.authority[0].addr, s->net.authority[1].addr};
	s->net.authority[0].addr.port = s->net.authority[1].addr.port = 1; /* nobody there */
	start(f);
	assert_null(dirsync_current(f->sync, clock_now()));
	assert_int_equal(dirsync_result(f->sync), DIR_STALE);
	run_until(f, &f->failures, 1);
	assert_null(dirsync_current(f->sync, clock_now()));
	s->net.authority[0].addr = kept[0];
	s->net.authority[1].addr = kept[1];
	refresh_until_failure(f); /* the same again, from the network: still past its time */
	assert_int_equal(dirsync_result(f->sync), DIR_STALE);
	serve_good(f, when);
	unsigned before = f->directories;
	dirsync_refresh(f->sync, clock_now());
	run_until(f, &f->directories, before + 1);
	assert_int_equal(serial(f), when);
}

/* The blob without the first n descriptors. */
static void keep_back(struct fixture *f, unsigned n)
{
	struct writer w;
	static uint8_t blob[RELAYS * (2 + DESCRIPTOR_MAX_BYTES)];
	writer_init(&w, blob, sizeof(blob));
	for (unsigned i = n; i < RELAYS; i++) {
		writer_u16(&w, (uint16_t)f->sample->nbytes[i]);
		writer_put(&w, f->sample->bytes[i], f->sample->nbytes[i]);
	}
	serve_blob(f, blob, w.used);
}

static void dirsync_refuses_a_directory_with_many_relays_kept_back(void **state)
{
	struct fixture *f = *state;
	serve_good(f, clock_unix_seconds() - 60);
	keep_back(f, 3); /* of 8 */
	start(f);
	run_until(f, &f->failures, 1);
	assert_null(dirsync_current(f->sync, clock_now()));
	assert_non_null(strstr(dirsync_error(f->sync), "keeps back"));
	assert_int_equal(dirsync_result(f->sync), DIR_CUT);
}

static void dirsync_asks_on_for_few_missing_descriptors(void **state)
{
	struct fixture *f = *state;
	uint64_t when = clock_unix_seconds() - 60;
	serve_good(f, when);
	keep_back(f, 2);
	start(f);
	run_until(f, &f->directories, 1);
	assert_int_equal(dirsync_current(f->sync, clock_now())->n, RELAYS - 2);
	serve_good(f, when);
	run_until(f, &f->directories,
		  2); /* by itself, and not only when the next consensus is due */
	assert_int_equal(dirsync_current(f->sync, clock_now())->n, RELAYS);
	assert_int_equal(serial(f), when);
	assert_null(dirsync_previous(f->sync, clock_now()));
}

static void dirsync_leaves_the_tunnel_after_three_failures(void **state)
{
	struct fixture *f = *state;
	serve_good(f, clock_unix_seconds() - 60);
	f->device = "sp-none0"; /* binding to it fails */
	start(f);
	run_until(f, &f->failures, 1);
	for (unsigned i = 1; i < DIRSYNC_DIRECT_AFTER; i++) {
		assert_int_equal(f->server[0].asked + f->server[1].asked, 0);
		refresh_until_failure(f);
	}
	dirsync_refresh(f->sync, clock_now());
	run_until(f, &f->directories, 1);
	assert_true(f->server[0].asked + f->server[1].asked > 0);
}

static void dirsync_direct_failures_do_not_count_for_the_tunnel(void **state)
{
	struct fixture *f = *state;
	serve_good(f, clock_unix_seconds() - 60);
	f->server[0].status = f->server[1].status = 503;
	start(f);
	run_until(f, &f->failures, 1);
	for (unsigned i = 0; i < DIRSYNC_DIRECT_AFTER; i++)
		refresh_until_failure(f);
	f->server[0].status = f->server[1].status = 200;
	f->server[0].asked = f->server[1].asked = 0;
	f->device = "sp-none0"; /* now it is up: not beside the tunnel */
	refresh_until_failure(f);
	assert_int_equal(f->server[0].asked + f->server[1].asked, 0);
}

static void dirsync_goes_on_when_the_cache_cannot_be_written(void **state)
{
	struct fixture *f = *state;
	char kept[40];
	serve_good(f, clock_unix_seconds() - 60);
	strcpy(kept, f->state);
	strcpy(f->state, "/tmp/no-such-folder-here");
	start(f);
	run_until(f, &f->directories, 1);
	assert_non_null(dirsync_current(f->sync, clock_now()));
	strcpy(f->state, kept);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(dirsync_fetches_and_keeps_a_cache),
		TEST(dirsync_keeps_the_one_before),
		TEST(dirsync_refuses_what_is_not_good),
		TEST(dirsync_refuses_a_stale_one_without_any),
		TEST(dirsync_first_asks_two_at_once),
		TEST(dirsync_tries_again_after_a_while),
		TEST(dirsync_goes_by_the_consensus_when_our_clock_is_behind),
		TEST(dirsync_does_not_go_by_an_old_cache),
		TEST(dirsync_refuses_a_directory_with_many_relays_kept_back),
		TEST(dirsync_asks_on_for_few_missing_descriptors),
		TEST(dirsync_leaves_the_tunnel_after_three_failures),
		TEST(dirsync_direct_failures_do_not_count_for_the_tunnel),
		TEST(dirsync_goes_on_when_the_cache_cannot_be_written),
	};
	log_set_level(LOG_ERROR);
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
