/* tests/unit/test_hops.c - the client's choice of hops: its guards on disk, relays that failed,
 * live paths. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "client/client.h"
#include "unit/directory_sample.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define RELAYS 14
#define EXITS  3

/* --- what hops.c asks of other parts --- */

struct path {
	unsigned n;
	nsec_t ready_at;
	bool guard_answers;
	struct path_hop hop[HOPS_MAX];
};

struct path_set {
	struct path *path[4];
};

static const struct directory *current;
static unsigned refreshed;

const struct directory *dirsync_current(struct dirsync *s, nsec_t now)
{
	(void)s;
	(void)now;
	return current;
}

uint64_t dirsync_unix_seconds(struct dirsync *s, nsec_t now)
{
	(void)s;
	(void)now;
	return SAMPLE_NOW;
}

void dirsync_refresh(struct dirsync *s, nsec_t now)
{
	(void)s;
	(void)now;
	refreshed++;
}

const char *dirsync_error(const struct dirsync *s)
{
	(void)s;
	return "nobody has one";
}

unsigned path_hops(const struct path *p)
{
	return p->n;
}

const struct path_hop *path_hop(const struct path *p, unsigned i)
{
	return &p->hop[i];
}

nsec_t path_ready_at(const struct path *p)
{
	return p->ready_at;
}

bool path_guard_answers(const struct path *p, nsec_t now)
{
	(void)now;
	return p->guard_answers;
}

struct path *path_set_path(const struct path_set *s, unsigned i)
{
	return i < 4 ? s->path[i] : NULL;
}

/* --- the fixture --- */

struct fixture {
	struct sample sample;
	struct directory *directory;
	struct client c;
	struct carrier k;
	struct path_set set;
	char why[SENTENCE_BYTES];
};

static struct client fresh(const struct fixture *f)
{
	struct client c = {.config = {.underlay4 = true}};
	snprintf(c.config.state, sizeof(c.config.state), "%s", f->c.config.state);
	hops_load_guards(&c);
	return c;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	sample_init(&f->sample, 3, 1, 1, RELAYS, EXITS);
	f->directory = sample_directory(&f->sample);
	current = f->directory;
	refreshed = 0;
	strcpy(f->c.config.state, "/tmp/test_hops.XXXXXX");
	assert_non_null(mkdtemp(f->c.config.state));
	f->c = fresh(f);
	f->k = (struct carrier){.client = &f->c, .hops = 3, .paths = &f->set};
	memcpy(f->k.id, f->sample.id[RELAYS - 1].public_key, 32);
	*state = f;
	return 0;
}

static void guards_path(const struct fixture *f, char out[200])
{
	snprintf(out, 200, "%s/guards", f->c.config.state);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char path[200];
	guards_path(f, path);
	unlink(path);
	snprintf(path, sizeof(path), "%s/.keyfile.tmp", f->c.config.state);
	unlink(path);
	assert_int_equal(rmdir(f->c.config.state), 0);
	directory_free(f->directory);
	free(f);
	return 0;
}

static struct path choose(struct fixture *f, const struct path_query *q)
{
	struct path p = {0};
	f->why[0] = 0;
	int r = hops_choose(&f->c, &f->k, q, p.hop, &p.n, f->why);
	if (r)
		fail_msg("%d: %s", r, f->why);
	return p;
}

static const struct path_query any = {.role = PATH_PRIMARY};

static bool has(const struct path *p, const uint8_t id[32])
{
	for (unsigned i = 0; i < p->n; i++)
		if (!memcmp(p->hop[i].target.id, id, 32))
			return true;
	return false;
}

static void hops_lead_to_the_exit(void **state)
{
	struct fixture *f = *state;
	for (unsigned hops = 1; hops <= 8; hops++) {
		f->k.hops = hops;
		struct path p = choose(f, &any);
		assert_int_equal(p.n, hops);
		assert_memory_equal(p.hop[hops - 1].target.id, f->k.id, 32);
		for (unsigned i = 0; i < hops; i++) {
			const struct link_target *t = &p.hop[i].target;
			const struct relay *r = directory_find(f->directory, t->id);
			assert_non_null(r);
			assert_memory_equal(t->onion_key, r->key[0].public_key, 32);
			assert_int_equal(t->keyid, r->key[0].keyid);
			assert_true(addr_equal(&t->addr, &r->v4));
		}
		assert_int_equal(guards_has(&f->c.guards, p.hop[0].target.id), hops > 1);
	}
}

static void hops_keep_their_guards_over_restarts(void **state)
{
	struct fixture *f = *state;
	char path[200];
	struct stat st;
	choose(f, &any);
	struct guards before = f->c.guards;
	assert_true(before.n > 0 && before.n <= GUARDS_SAMPLED_MAX);
	guards_path(f, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	for (unsigned i = 0; i < 30; i++) {
		f->c = fresh(f);
		struct path p = choose(f, &any);
		assert_true(guards_has(&before, p.hop[0].target.id));
	}
	assert_int_equal(f->c.guards.n, before.n);
}

static void hops_do_without_a_bad_guard_file(void **state)
{
	struct fixture *f = *state;
	char path[200];
	choose(f, &any);
	guards_path(f, path);
	assert_int_equal(chmod(path, 0644), 0); /* others could have read it, or written */
	f->c = fresh(f);
	assert_int_equal(f->c.guards.n, 0);
	choose(f, &any);
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs("guard nonsense\n", out);
	fclose(out);
	f->c = fresh(f);
	assert_int_equal(f->c.guards.n, 0);
	choose(f, &any);
	f->c = fresh(f);
	assert_true(f->c.guards.n > 0); /* a good one again */
}

static void hops_avoid_relays_that_failed(void **state)
{
	struct fixture *f = *state;
	struct path bad = choose(f, &any);
	nsec_t now = clock_now();
	hops_on_failed(&f->c, &bad, 1, now); /* the middle was overloaded */
	for (unsigned i = 0; i < 100; i++) {
		struct path p = choose(f, &any);
		assert_false(has(&p, bad.hop[1].target.id));
		assert_true(has(&p, f->k.id)); /* never the exit: the user named it */
	}
	for (unsigned i = 0; i < FAILED_MOST; i++)
		f->c.failed[i].until = now - 1; /* its time is over */
	bool again = false;
	for (unsigned i = 0; i < 500 && !again; i++) {
		struct path p = choose(f, &any);
		again = has(&p, bad.hop[1].target.id);
	}
	assert_true(again);
}

static unsigned failed(const struct client *c, const uint8_t id[32])
{
	unsigned n = 0;
	for (unsigned i = 0; i < FAILED_MOST; i++)
		n += c->failed[i].until && !memcmp(c->failed[i].id, id, 32);
	return n;
}

/* Which relays of a path of 4 are avoided when this hop told of a failure. */
static void hops_know_whom_to_blame(void **state)
{
	static const struct {
		int hop;
		bool blamed[4], guard;
	} rows[] = {
		{-1, {true, true, true, false}, true}, /* nobody knows: each may be it */
		{0, {true, true, false, false}, true},	  {1, {false, true, true, false}, false},
		{2, {false, false, true, false}, false},  {3, {false, false, false, false}, false},
		{7, {false, false, false, false}, false}, /* no such hop */
	};
	struct fixture *f = *state;
	f->k.hops = 4;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct path p = choose(f, &any);
		memset(f->c.failed, 0, sizeof(f->c.failed));
		unsigned builds = f->c.guards.guard[0].nbuilds + f->c.guards.guard[1].nbuilds;
		hops_on_failed(&f->c, &p, rows[i].hop, clock_now());
		hops_on_failed(&f->c, &p, rows[i].hop, clock_now()); /* again: no second entry */
		for (unsigned j = 0; j < 4; j++)
			assert_int_equal(failed(&f->c, p.hop[j].target.id), rows[i].blamed[j]);
		assert_int_equal(f->c.guards.guard[0].nbuilds + f->c.guards.guard[1].nbuilds >
					 builds,
				 rows[i].guard);
	}
	struct path served =
		choose(f, &any); /* it worked, then fell silent, and its guard still answers */
	memset(f->c.failed, 0, sizeof(f->c.failed));
	served.ready_at = 1;
	served.guard_answers = true;
	hops_on_failed(&f->c, &served, -1, clock_now());
	assert_int_equal(failed(&f->c, served.hop[0].target.id), 0);
	assert_int_equal(failed(&f->c, served.hop[1].target.id), 1);
	struct path one = {.n = 1};
	memcpy(one.hop[0].target.id, f->k.id, 32);
	memset(f->c.failed, 0, sizeof(f->c.failed));
	hops_on_failed(&f->c, &one, 0, clock_now());
	hops_on_failed(&f->c, &one, -1, clock_now());
	assert_int_equal(failed(&f->c, f->k.id), 0);
}

/* Better a relay that failed a moment ago than none. */
static void hops_take_failed_relays_when_there_are_no_others(void **state)
{
	struct fixture *f = *state;
	choose(f, &any);
	for (unsigned i = 0; i < RELAYS; i++) {
		memcpy(f->c.failed[i].id, f->sample.id[i].public_key, 32);
		f->c.failed[i].until = clock_now() + 100 * NSEC_PER_SEC;
	}
	struct path p = choose(f, &any);
	assert_int_equal(p.n, 3);
}

static void hops_forget_the_oldest_failure_first(void **state)
{
	struct fixture *f = *state;
	nsec_t now = clock_now();
	struct path p = {.n = 2};
	memcpy(p.hop[1].target.id, f->k.id, 32);
	for (unsigned i = 0; i < FAILED_MOST + 5; i++) {
		memset(p.hop[0].target.id, (int)i + 1, 32);
		hops_on_failed(&f->c, &p, 0, now + i);
	}
	for (unsigned i = 0; i < FAILED_MOST + 5; i++) {
		memset(p.hop[0].target.id, (int)i + 1, 32);
		assert_int_equal(failed(&f->c, p.hop[0].target.id), i >= 5);
	}
}

/* A relay that a live path has in one place is in no other place of a new one; both carriers' paths
 * count. */
static void hops_keep_each_relay_in_its_place(void **state)
{
	struct fixture *f = *state;
	struct carrier other = {.client = &f->c, .hops = 3};
	struct path_set others = {0};
	struct path live = choose(f, &any);
	others.path[0] = &live;
	other.paths = &others;
	f->c.carrier = &other;
	f->c.next = &f->k;
	memcpy(f->k.id, f->sample.id[RELAYS - 2].public_key, 32); /* another exit: a swap */
	for (unsigned i = 0; i < 200; i++) {
		struct path p = choose(f, &any);
		assert_false(has(&p, live.hop[2].target.id));
		assert_true(memcmp(p.hop[0].target.id, live.hop[1].target.id, 32));
		assert_true(memcmp(p.hop[1].target.id, live.hop[0].target.id, 32));
	}
	f->c.carrier = f->c.next = NULL;
}

static void hops_of_a_standby_differ(void **state)
{
	struct fixture *f = *state;
	struct path primary = choose(f, &any);
	struct path_query q = {.role = PATH_STANDBY, .count = 1, .live = {&primary}};
	for (unsigned i = 0; i < 50; i++) {
		struct path p = choose(f, &q);
		assert_true(memcmp(p.hop[0].target.id, primary.hop[0].target.id, 32));
		assert_true(memcmp(p.hop[1].target.id, primary.hop[1].target.id, 32));
	}
}

static void hops_say_why_there_are_none(void **state)
{
	struct fixture *f = *state;
	struct path p = {0};
	memset(f->k.id, 9, 32);
	assert_int_equal(hops_choose(&f->c, &f->k, &any, p.hop, &p.n, f->why), -ENOENT);
	assert_non_null(strstr(f->why, "not in the directory"));
	memcpy(f->k.id, f->sample.id[0].public_key, 32); /* a relay */
	assert_int_equal(hops_choose(&f->c, &f->k, &any, p.hop, &p.n, f->why), -ENOENT);
	assert_non_null(strstr(f->why, "not as an exit"));
	memcpy(f->k.id, f->sample.id[RELAYS - 1].public_key, 32);
	f->c.config.underlay4 = false;
	assert_int_equal(hops_choose(&f->c, &f->k, &any, p.hop, &p.n, f->why), -EHOSTUNREACH);
	assert_int_equal(refreshed, 0);
	current = NULL;
	assert_int_equal(hops_choose(&f->c, &f->k, &any, p.hop, &p.n, f->why), -ENODATA);
	assert_non_null(strstr(f->why, "nobody has one"));
	assert_int_equal(refreshed, 1); /* it ran out while the machine slept: asked for at once */
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(hops_lead_to_the_exit),
		TEST(hops_keep_their_guards_over_restarts),
		TEST(hops_do_without_a_bad_guard_file),
		TEST(hops_avoid_relays_that_failed),
		TEST(hops_know_whom_to_blame),
		TEST(hops_take_failed_relays_when_there_are_no_others),
		TEST(hops_forget_the_oldest_failure_first),
		TEST(hops_keep_each_relay_in_its_place),
		TEST(hops_of_a_standby_differ),
		TEST(hops_say_why_there_are_none),
	};
	log_set_level(LOG_ERROR);
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
