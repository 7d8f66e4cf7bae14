/* tests/unit/test_keyfile.c - crypto/keyfile.c in a folder of its own, with every way to
 * be refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "crypto/kdf.h"
#include "crypto/keyfile.h"

static char root[64], folder[80], file[96], err[KEYFILE_ERROR_BYTES];
static const uint8_t old_key[32] = {1, 2, 3}, new_key[32] = {4, 5, 6};

static int setup(void **state)
{
	(void)state;
	/* In memory where there is such a place: a disk's fsync would take most of the time. */
	bool shm = access("/dev/shm", W_OK | X_OK) == 0;
	snprintf(root, sizeof(root), "%s/test_keyfile.XXXXXX", shm ? "/dev/shm" : "/tmp");
	if (!mkdtemp(root))
		return -1;
	snprintf(folder, sizeof(folder), "%s/keys", root);
	snprintf(file, sizeof(file), "%s/id.key", folder);
	err[0] = '\0';
	return keyfile_write(file, old_key, 32, err);
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static void assert_file_is(const uint8_t *expected)
{
	uint8_t got[32];
	assert_int_equal(keyfile_read(file, got, 32, err), 0);
	assert_memory_equal(got, expected, 32);
}

/* The failure is what it should be, and is told with the path and a mend. */
static void assert_refused(int rc, int expected, const char *path, const char *mend)
{
	assert_int_equal(rc, expected);
	if (!strstr(err, path) || !strstr(err, mend))
		fail_msg("\"%s\" lacks \"%s\" or \"%s\"", err, path, mend);
	err[0] = '\0';
}

static size_t files_in(const char *path)
{
	DIR *d = opendir(path);
	assert_non_null(d);
	size_t n = 0;
	for (struct dirent *e; (e = readdir(d));)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static void keyfile_writes_0600_in_0700(void **state)
{
	(void)state;
	struct stat st;
	assert_file_is(old_key);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, 32);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	ino_t before = st.st_ino;
	mode_t mask = umask(0);
	assert_int_equal(keyfile_write(file, new_key, 32, err), 0);
	umask(mask);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_ino, before);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_file_is(new_key);
	assert_int_equal(files_in(folder), 1);
}

static void keyfile_loose_permissions_are_refused(void **state)
{
	(void)state;
	uint8_t got[32] = {9}, untouched[32] = {9};
	for (int bit = 0; bit < 6; bit++) {
		assert_int_equal(chmod(file, 0600 | 1 << bit), 0);
		assert_refused(keyfile_read(file, got, 32, err), -EACCES, file, "chmod 600");
		assert_int_equal(chmod(file, 0600), 0);
		assert_int_equal(chmod(folder, 0700 | 1 << bit), 0);
		assert_refused(keyfile_read(file, got, 32, err), -EACCES, folder, "chmod 700");
		assert_refused(keyfile_write(file, new_key, 32, err), -EACCES, folder, "chmod 700");
		assert_int_equal(chmod(folder, 0700), 0);
	}
	assert_memory_equal(got, untouched, 32);
	assert_int_equal(chmod(file, 0400), 0);
	assert_file_is(old_key);
}

static void keyfile_other_owner_is_refused(void **state)
{
	(void)state;
	uint8_t got[32];
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(file, 12345, 12345), 0);
	assert_refused(keyfile_read(file, got, 32, err), -EINVAL, file, "chown");
	assert_refused(keyfile_erase(file, err), -EINVAL, file, "chown");
	assert_int_equal(chown(file, 0, 0), 0);
	assert_int_equal(chown(folder, 12345, 12345), 0);
	assert_refused(keyfile_read(file, got, 32, err), -EINVAL, folder, "chown");
	assert_refused(keyfile_write(file, new_key, 32, err), -EINVAL, folder, "chown");
}

static void keyfile_no_regular_file_is_refused(void **state)
{
	(void)state;
	uint8_t got[32];
	char other[128];
	snprintf(other, sizeof(other), "%s/link", folder);
	assert_int_equal(symlink(file, other), 0);
	assert_refused(keyfile_read(other, got, 32, err), -EINVAL, other, "regular");
	assert_refused(keyfile_erase(other, err), -EINVAL, other, "regular");
	assert_int_equal(unlink(other), 0);
	assert_int_equal(mkfifo(other, 0600), 0);
	assert_refused(keyfile_read(other, got, 32, err), -EINVAL, other,
		       "regular"); /* no waiting */
	assert_refused(keyfile_erase(other, err), -EINVAL, other, "regular");
	assert_int_equal(unlink(other), 0);
	assert_int_equal(mkdir(other, 0700), 0);
	assert_refused(keyfile_read(other, got, 32, err), -EINVAL, other, "regular");
	assert_refused(keyfile_erase(other, err), -EINVAL, other, "regular");
	assert_refused(keyfile_write(other, new_key, 32, err), -EISDIR, other, "; ");
	assert_int_equal(files_in(folder), 2); /* no temporary stayed */
	assert_file_is(old_key);
}

/* A link at the file's place is replaced, not followed. */
static void keyfile_write_does_not_follow_a_link(void **state)
{
	(void)state;
	char target[128];
	snprintf(target, sizeof(target), "%s/target", root);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(symlink(target, file), 0);
	assert_int_equal(keyfile_write(file, new_key, 32, err), 0);
	assert_int_equal(access(target, F_OK), -1);
	assert_file_is(new_key);
	snprintf(target, sizeof(target), "%s/.keyfile.tmp", folder);
	assert_int_equal(symlink(file, target), 0);
	assert_int_equal(keyfile_write(file, old_key, 32, err), 0);
	assert_int_equal(files_in(folder), 1);
	assert_file_is(old_key);
}

static void keyfile_other_length_is_refused(void **state)
{
	(void)state;
	uint8_t got[64];
	size_t n = 99;
	assert_refused(keyfile_read(file, got, 31, err), -EINVAL, file, "length");
	assert_refused(keyfile_read(file, got, 33, err), -EINVAL, file, "length");
	assert_refused(keyfile_read_some(file, got, 31, &n, err), -EINVAL, file, "length");
	assert_int_equal(n, 99);
	assert_int_equal(keyfile_read_some(file, got, 64, &n, err), 0);
	assert_int_equal(n, 32);
	assert_memory_equal(got, old_key, 32);
	assert_int_equal(keyfile_write(file, "", 0, err), 0);
	assert_int_equal(keyfile_read_some(file, got, 64, &n, err), 0);
	assert_int_equal(n, 0);
}

static void keyfile_missing_is_enoent(void **state)
{
	(void)state;
	uint8_t got[32];
	char other[128];
	snprintf(other, sizeof(other), "%s/nothing", folder);
	assert_refused(keyfile_read(other, got, 32, err), -ENOENT, other, "No such file");
	assert_int_equal(keyfile_erase(other, err), 0);
	snprintf(other, sizeof(other), "%s/a/b", root);
	assert_refused(keyfile_read(other, got, 32, err), -ENOENT, "/a", "No such file");
	assert_int_equal(keyfile_erase(other, err), 0);
	snprintf(other, sizeof(other), "%s/a/b/c", root); /* the parent is missing: not made */
	assert_refused(keyfile_write(other, new_key, 32, err), -ENOENT, "/a/b", "make it");
}

static void keyfile_odd_paths_are_refused(void **state)
{
	(void)state;
	static const char *const paths[] = {"", "/", "/tmp/", ".", "..", "/tmp/.", "/tmp/.."};
	uint8_t got[32];
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_refused(keyfile_read(paths[i], got, 32, err), -EINVAL, paths[i], "file");
		assert_refused(keyfile_write(paths[i], got, 32, err), -EINVAL, paths[i], "file");
		assert_refused(keyfile_erase(paths[i], err), -EINVAL, paths[i], "file");
	}
	char longer[5000];
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(keyfile_read(longer, got, 32, err), -EINVAL);
	longer[4500] = '/';
	longer[4510] = '\0';
	assert_int_equal(keyfile_read(longer, got, 32, err), -EINVAL);
}

static void keyfile_works_with_a_bare_name(void **state)
{
	(void)state;
	int here = open(".", O_RDONLY | O_DIRECTORY);
	uint8_t got[32];
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(keyfile_write("bare", new_key, 32, err), 0);
	assert_int_equal(keyfile_read("bare", got, 32, err), 0);
	assert_memory_equal(got, new_key, 32);
	assert_int_equal(fchdir(here), 0);
	close(here);
}

/* A write that is cut short (as by a full disk) leaves the old file and nothing else. */
static void keyfile_cut_write_leaves_the_old(void **state)
{
	(void)state;
	static uint8_t big[100000];
	struct rlimit old_limit, limit;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
	limit = (struct rlimit){5000, old_limit.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	int rc = keyfile_write(file, big, sizeof(big), err);
	int rc_plain = file_write_atomic(file, big, sizeof(big), 0644, err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_refused(rc, -EFBIG, file, "make room");
	assert_int_equal(rc_plain, -EFBIG);
	assert_file_is(old_key);
	assert_int_equal(files_in(folder), 1);
}

static void keyfile_killed_writer_leaves_nothing_for_long(void **state)
{
	(void)state;
	char temp[128];
	snprintf(temp, sizeof(temp), "%s/.keyfile.tmp", folder);
	int fd = open(temp, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, old_key, 10), 10);
	close(fd);
	assert_int_equal(keyfile_write(file, new_key, 32, err), 0);
	assert_int_equal(files_in(folder), 1);
	assert_file_is(new_key);
}

/* Four processes write at once; a reader sees one whole file or another, never a mixture. */
static void keyfile_writers_do_not_mix(void **state)
{
	(void)state;
	pid_t pids[4];
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			uint8_t mine[32];
			int bad = 0;
			memset(mine, i, sizeof(mine));
			for (int round = 0; round < 150; round++)
				bad |= keyfile_write(file, mine, 32, err);
			_exit(bad != 0);
		}
	}
	for (int round = 0; round < 50; round++) {
		uint8_t got[32];
		assert_int_equal(keyfile_read(file, got, 32, err), 0);
		uint8_t uniform[32];
		memset(uniform, got[0], sizeof(uniform));
		if (memcmp(got, old_key, 32) != 0)
			assert_memory_equal(got, uniform, 32);
	}
	for (int i = 0; i < 4; i++) {
		int status;
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(files_in(folder), 1);
}

/* A second name of the same file shows that its bytes were overwritten, not only unlinked. */
static void keyfile_erase_overwrites(void **state)
{
	(void)state;
	char second[128];
	uint8_t got[32];
	const uint8_t zero[32] = {0};
	snprintf(second, sizeof(second), "%s/second", folder);
	assert_int_equal(link(file, second), 0);
	assert_int_equal(keyfile_erase(file, err), 0);
	assert_int_equal(access(file, F_OK), -1);
	assert_int_equal(keyfile_read(second, got, 32, err), 0);
	assert_memory_equal(got, zero, 32);
}

static void keyfile_plain_files_have_their_mode(void **state)
{
	(void)state;
	struct stat st;
	char text[128];
	snprintf(text, sizeof(text), "%s/plain", root);
	assert_int_equal(chmod(root, 0755), 0);
	mode_t mask = umask(077);
	assert_int_equal(file_write_atomic(text, "hello", 5, 0644, err), 0);
	umask(mask);
	assert_int_equal(stat(text, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_int_equal(st.st_size, 5);
	assert_int_equal(file_write_atomic(text, "bye", 3, 0600, err), 0);
	assert_int_equal(stat(text, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(files_in(root), 2);
	snprintf(text, sizeof(text), "%s/missing/plain", root);
	assert_refused(file_write_atomic(text, "x", 1, 0644, err), -ENOENT, "missing", "make it");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(keyfile_writes_0600_in_0700),
		TEST(keyfile_loose_permissions_are_refused),
		TEST(keyfile_other_owner_is_refused),
		TEST(keyfile_no_regular_file_is_refused),
		TEST(keyfile_write_does_not_follow_a_link),
		TEST(keyfile_other_length_is_refused),
		TEST(keyfile_missing_is_enoent),
		TEST(keyfile_odd_paths_are_refused),
		TEST(keyfile_works_with_a_bare_name),
		TEST(keyfile_cut_write_leaves_the_old),
		TEST(keyfile_killed_writer_leaves_nothing_for_long),
		TEST(keyfile_writers_do_not_mix),
		TEST(keyfile_erase_overwrites),
		TEST(keyfile_plain_files_have_their_mode),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
