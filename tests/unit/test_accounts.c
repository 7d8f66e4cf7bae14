/* tests/unit/test_accounts.c - exit/accounts.c: what is kept, who may open it, two handles at once,
 * damage, a disk that is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "exit/accounts.h"

#define PATH_BYTES 96

struct folder {
	char dir[64];
	char db[PATH_BYTES];
};

static int set_up(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/test_accounts.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->db, sizeof(f->db), "%s/accounts.db", f->dir);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
	struct folder *f = *state;
	char path[PATH_BYTES + 16];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s%s", f->db, ends[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static struct accounts *open_db(const struct folder *f)
{
	char err[ACCOUNT_ERROR_BYTES] = "";
	struct accounts *a = NULL;

	if (accounts_open(f->db, &a, err))
		fail_msg("%s", err);
	return a;
}

/* It cannot be opened: the code, and words of the sentence. */
static void refused(const struct folder *f, int code, const char *words)
{
	char err[ACCOUNT_ERROR_BYTES] = "";
	struct accounts *a = NULL;

	assert_int_equal(accounts_open(f->db, &a, err), code);
	assert_null(a);
	if (!strstr(err, words) || !strstr(err, f->db))
		fail_msg("no \"%s\" or path in: %s", words, err);
}

static struct account sample(const char *name, unsigned number)
{
	struct account acc = {.created = 1700000000 + number};

	snprintf(acc.name, sizeof(acc.name), "%s", name);
	for (unsigned i = 0; i < 32; i++)
		acc.public_key[i] = (uint8_t)(number >> (i % 4 * 8)) ^ (uint8_t)i;
	return acc;
}

static void add(struct accounts *a, const struct account *acc)
{
	char err[ACCOUNT_ERROR_BYTES];
	if (accounts_add(a, acc, err))
		fail_msg("%s", err);
}

static void same_account(const struct account *a, const struct account *b)
{
	assert_string_equal(a->name, b->name);
	assert_memory_equal(a->public_key, b->public_key, 32);
	assert_int_equal(a->created, b->created);
	assert_int_equal(a->expires, b->expires);
	assert_int_equal(a->revoked, b->revoked);
	assert_int_equal(a->max_sessions, b->max_sessions);
	assert_int_equal(a->up_kbps, b->up_kbps);
	assert_int_equal(a->down_kbps, b->down_kbps);
	assert_int_equal(a->quota_bytes, b->quota_bytes);
}

static void accounts_keeps_every_field_over_a_restart(void **state)
{
	struct accounts *a = open_db(*state);
	struct account acc = sample("Ann-1_b.c@d", 1), got;

	acc.expires = INT64_MAX;
	acc.max_sessions = UINT32_MAX;
	acc.up_kbps = 8000;
	acc.down_kbps = 9000;
	acc.quota_bytes = UINT64_C(1) << 60;
	add(a, &acc);
	accounts_close(a);
	a = open_db(*state);
	assert_int_equal(accounts_find_key(a, acc.public_key, &got), 0);
	same_account(&got, &acc);
	memset(&got, 0xee, sizeof(got));
	assert_int_equal(accounts_find_name(a, acc.name, &got), 0);
	same_account(&got, &acc);
	acc.public_key[31] ^= 1;
	memset(&got, 0xee, sizeof(got));
	assert_int_equal(accounts_find_key(a, acc.public_key, &got), -ENOENT);
	assert_int_equal(accounts_find_name(a, "ann-1_b.c@d", &got), -ENOENT);
	assert_int_equal(got.created, UINT64_C(0xeeeeeeeeeeeeeeee));
	accounts_close(a);
}

static void accounts_refuses_bad_names_numbers_and_doubles(void **state)
{
	static const char *const bad[] = {"", " ", "a b", "a/b", "a'b", "ä", "a\n", "a;b", "a\\b"};
	struct accounts *a = open_db(*state);
	char err[ACCOUNT_ERROR_BYTES];
	struct account acc = sample("x", 1), longest = sample("", 2), other;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct account b = sample(bad[i], 3);
		assert_int_equal(accounts_add(a, &b, err), -EINVAL);
	}
	memset(longest.name, 'a', sizeof(longest.name));
	assert_int_equal(accounts_add(a, &longest, err), -EINVAL);
	longest.name[64] = '\0';
	add(a, &longest);
	acc.quota_bytes = UINT64_MAX;
	assert_int_equal(accounts_add(a, &acc, err), -EINVAL);
	acc.quota_bytes = 0;
	add(a, &acc);
	other = sample("x", 4);
	assert_int_equal(accounts_add(a, &other, err), -EEXIST);
	assert_non_null(strstr(err, "\"x\""));
	other = sample("y", 1);
	assert_int_equal(accounts_add(a, &other, err), -EEXIST);
	assert_int_equal(accounts_find_name(a, "y", &other), -ENOENT);
	accounts_close(a);
}

static void accounts_revokes_once_and_for_all(void **state)
{
	struct accounts *a = open_db(*state);
	struct account one = sample("one", 1), two = sample("two", 2), got;
	char err[ACCOUNT_ERROR_BYTES];

	add(a, &one);
	add(a, &two);
	assert_int_equal(accounts_revoke(a, "one", 1800000000, err), 0);
	assert_int_equal(accounts_revoke(a, "one", 1900000000, err), 0);
	assert_int_equal(accounts_find_key(a, one.public_key, &got), 0);
	assert_int_equal(got.revoked, 1800000000);
	assert_int_equal(accounts_find_name(a, "two", &got), 0);
	assert_int_equal(got.revoked, 0);
	assert_int_equal(accounts_revoke(a, "three", 1800000000, err), -ENOENT);
	assert_int_equal(accounts_revoke(a, "one' OR '1'='1", 1800000000, err), -ENOENT);
	assert_int_equal(accounts_revoke(a, "two", 0, err), -EINVAL); /* would mean "not revoked" */
	accounts_close(a);
}

struct seen {
	unsigned n, most;
	char names[8][ACCOUNT_NAME_BYTES];
};

static bool see(void *arg, const struct account *acc)
{
	struct seen *s = arg;
	strcpy(s->names[s->n++], acc->name);
	return s->n < s->most;
}

static void accounts_each_goes_by_name_and_stops_when_told(void **state)
{
	struct accounts *a = open_db(*state);
	const char *const names[] = {"m", "z", "a", "M"};
	struct seen all = {.most = 8}, two = {.most = 2};

	for (unsigned i = 0; i < 4; i++) {
		struct account acc = sample(names[i], i);
		add(a, &acc);
	}
	assert_int_equal(accounts_each(a, see, &all), 0);
	assert_int_equal(all.n, 4);
	assert_string_equal(all.names[0], "M");
	assert_string_equal(all.names[1], "a");
	assert_string_equal(all.names[3], "z");
	assert_int_equal(accounts_each(a, see, &two), 0);
	assert_int_equal(two.n, 2);
	accounts_close(a);
}

/* The running exit and the command; a third process writes too. */
static void accounts_changed_tells_of_other_writers_only(void **state)
{
	struct accounts *daemon = open_db(*state), *command = open_db(*state);
	struct account one = sample("one", 1), two = sample("two", 2), got;
	char err[ACCOUNT_ERROR_BYTES];
	int status;
	pid_t child;

	assert_false(accounts_changed(daemon));
	add(command, &one);
	assert_true(accounts_changed(daemon));
	assert_false(accounts_changed(daemon));
	assert_int_equal(accounts_find_key(daemon, one.public_key, &got), 0);
	assert_int_equal(accounts_revoke(command, "one", 1800000000, err), 0);
	assert_true(accounts_changed(daemon));
	assert_int_equal(accounts_find_key(daemon, one.public_key, &got), 0);
	assert_int_equal(got.revoked, 1800000000);
	add(daemon, &two);
	assert_false(accounts_changed(daemon));
	accounts_close(command);
	child = fork();
	if (!child) {
		struct accounts *a = NULL;
		struct account three = sample("three", 3);
		_exit(accounts_open(((struct folder *)*state)->db, &a, err) ||
		      accounts_add(a, &three, err));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(accounts_changed(daemon));
	assert_int_equal(accounts_find_name(daemon, "three", &got), 0);
	accounts_close(daemon);
}

/* Many commands make the file and add to it at the same moment. */
static void accounts_opens_for_many_at_once(void **state)
{
	struct accounts *a;
	struct seen all = {.most = 8};
	int status;

	for (unsigned i = 0; i < 6; i++) {
		if (!fork()) {
			struct account acc = sample("", i);
			char err[ACCOUNT_ERROR_BYTES] = "";
			int e = accounts_open(((struct folder *)*state)->db, &a, err);
			snprintf(acc.name, sizeof(acc.name), "n%u", i);
			e = e ? e : accounts_add(a, &acc, err);
			fputs(err, stderr);
			if (!e)
				accounts_close(a);
			_exit(!!e);
		}
	}
	for (unsigned i = 0; i < 6; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	a = open_db(*state);
	assert_int_equal(accounts_each(a, see, &all), 0);
	assert_int_equal(all.n, 6);
	accounts_close(a);
}

static void accounts_file_is_closed_to_others(void **state)
{
	struct folder *f = *state;
	mode_t was = umask(0);
	struct accounts *a = open_db(f);
	static const char *const ends[] = {"", "-wal", "-shm"};
	struct account acc = sample("x", 1);
	char path[PATH_BYTES + 16];
	struct stat st;

	add(a, &acc);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s%s", f->db, ends[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
	}
	accounts_close(a);
	unlink(f->db);
	umask(0277); /* takes our own bits away */
	accounts_close(open_db(f));
	umask(was);
	assert_int_equal(stat(f->db, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chmod(f->db, 0640), 0);
	refused(f, -EACCES, "chmod 600");
	assert_int_equal(chmod(f->db, 0602), 0);
	refused(f, -EACCES, "chmod 600");
	assert_int_equal(chmod(f->db, 0600), 0);
	accounts_close(open_db(f));
	/* neither a link, nor a folder */
	snprintf(path, sizeof(path), "%s/real", f->dir);
	assert_int_equal(rename(f->db, path), 0);
	assert_int_equal(symlink(path, f->db), 0);
	refused(f, -EINVAL, "regular");
	assert_int_equal(unlink(f->db), 0);
	assert_int_equal(mkdir(f->db, 0700), 0);
	refused(f, -EINVAL, "regular");
	assert_int_equal(rmdir(f->db), 0);
	assert_int_equal(unlink(path), 0);
}

static void run(const struct folder *f, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(chmod(f->db, 0600), 0);
}

static void overwrite(const struct folder *f, off_t at, size_t n)
{
	int fd = open(f->db, O_WRONLY | O_CREAT, 0600);
	uint8_t junk[8192];

	memset(junk, 0xa5, sizeof(junk));
	assert_true(fd >= 0 && n <= sizeof(junk));
	assert_int_equal(pwrite(fd, junk, n, at), (ssize_t)n);
	close(fd);
}

static void accounts_says_what_is_damaged_or_foreign(void **state)
{
	struct folder *f = *state;
	struct accounts *a;

	overwrite(f, 0, 5000);
	refused(f, -EBADMSG, "damaged");
	unlink(f->db);
	run(f, "CREATE TABLE song (x)");
	refused(f, -EBADMSG, "another program");
	unlink(f->db);
	accounts_close(open_db(f));
	run(f, "PRAGMA user_version = 2");
	refused(f, -EBADMSG, "another version");
	unlink(f->db);
	a = open_db(f);
	for (unsigned i = 0; i < 60; i++) {
		struct account acc = sample("", i);
		snprintf(acc.name, sizeof(acc.name), "name%u", i);
		add(a, &acc);
	}
	accounts_close(a);
	overwrite(f, 4096, 4096);
	refused(f, -EBADMSG, "damaged");
}

/* A value that we would not have written is no account. */
static void accounts_refuses_rows_that_are_none(void **state)
{
	static const char *const rows[] = {"'a b', zeroblob(32), 1, 0, 0, 0",
					   "'a', zeroblob(32), -1, 0, 0, 0",
					   "'a', zeroblob(32), 1, 0, 0, 4294967296",
					   "printf('%065d', 0), zeroblob(32), 1, 0, 0, 0"};
	struct seen all = {.most = 8};

	for (unsigned i = 0; i < 4; i++) {
		struct accounts *a = open_db(*state);
		char sql[256];

		accounts_close(a);
		snprintf(
			sql, sizeof(sql),
			"DELETE FROM account; INSERT INTO account (name, public_key, created, expires, revoked, "
			"max_sessions) VALUES (%s)",
			rows[i]);
		run(*state, sql);
		a = open_db(*state);
		assert_int_equal(accounts_each(a, see, &all), -EBADMSG);
		assert_int_equal(all.n, 0);
		accounts_close(a);
	}
}

/* RLIMIT_FSIZE stands for a full disk: the file cannot grow. */
static void accounts_writes_whole_or_not_at_all(void **state)
{
	struct accounts *a = open_db(*state);
	struct rlimit was, tiny;
	struct account acc = sample("kept", 1), lost = sample("lost", 2), got;
	char err[ACCOUNT_ERROR_BYTES] = "";

	add(a, &acc);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, SIG_IGN);
	tiny = (struct rlimit){1024, was.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
	int code = accounts_add(a, &lost, err);
	int revoked = accounts_revoke(a, "kept", 1800000000, err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_true(code < 0 && revoked < 0);
	assert_non_null(strstr(err, "disk"));
	assert_int_equal(accounts_find_name(a, "lost", &got), -ENOENT);
	accounts_close(a);
	a = open_db(*state);
	assert_int_equal(accounts_find_name(a, "lost", &got), -ENOENT);
	assert_int_equal(accounts_find_name(a, "kept", &got), 0);
	same_account(&got, &acc);
	add(a, &lost);
	accounts_close(a);
}

static void accounts_says_where_it_cannot_be(void **state)
{
	struct folder far = {.db = "/nonexistent/folder/accounts.db"};

	(void)state;
	refused(&far, -ENOENT, "folder");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(accounts_keeps_every_field_over_a_restart),
		TEST(accounts_refuses_bad_names_numbers_and_doubles),
		TEST(accounts_revokes_once_and_for_all),
		TEST(accounts_each_goes_by_name_and_stops_when_told),
		TEST(accounts_changed_tells_of_other_writers_only),
		TEST(accounts_opens_for_many_at_once),
		TEST(accounts_file_is_closed_to_others),
		TEST(accounts_says_what_is_damaged_or_foreign),
		TEST(accounts_refuses_rows_that_are_none),
		TEST(accounts_writes_whole_or_not_at_all),
		cmocka_unit_test(accounts_says_where_it_cannot_be),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
