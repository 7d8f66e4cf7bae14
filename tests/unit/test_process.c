/* tests/unit/test_process.c - what a daemon does to itself, each in a child that then looks at
 * /proc. What needs root is skipped without. */
#include "daemon/process.h"
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define NET_ADMIN 0x1000u

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

/* Run fn in a child; it returns 0 when all is well, else the number of what is not. */
static void in_child(int (*fn)(void))
{
	int status;
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A hexadecimal or decimal field of /proc/self/status. */
static unsigned long long field(const char *name, int base)
{
	char line[256];
	unsigned long long v = ~0ull;
	FILE *in = fopen("/proc/self/status", "r");
	while (in && fgets(line, sizeof(line), in))
		if (!strncmp(line, name, strlen(name)))
			v = strtoull(line + strlen(name), NULL, base);
	if (in)
		fclose(in);
	return v;
}

static int harden(void)
{
	struct rlimit core;
	if (process_harden())
		return 1;
	if (getrlimit(RLIMIT_CORE, &core) || core.rlim_cur || core.rlim_max)
		return 2;
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 3;
	if (umask(0) != 077)
		return 4;
	return signal(SIGPIPE, SIG_DFL) == SIG_IGN ? 0 : 5;
}

static void process_hardens(void **state)
{
	(void)state;
	in_child(harden);
}

static int check_capabilities(unsigned long long left)
{
	static const char *const sets[] = {"CapEff:", "CapPrm:", "CapBnd:"};
	for (unsigned i = 0; i < 3; i++)
		if (field(sets[i], 16) != left)
			return 10 + (int)i;
	if (field("CapInh:", 16) || field("CapAmb:", 16))
		return 13;
	if (field("NoNewPrivs:", 10) != 1)
		return 14;
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 15;
}

static int drop_all(void)
{
	char err[PROCESS_ERROR_BYTES];
	if (process_drop(NULL, false, err))
		return 1;
	return process_has_net_admin() ? 2 : check_capabilities(0);
}

static int keep_one(void)
{
	char err[PROCESS_ERROR_BYTES];
	if (!process_has_net_admin())
		return 1;
	if (process_drop("", true, err))
		return 2;
	return process_has_net_admin() ? check_capabilities(NET_ADMIN) : 3;
}

static int become(bool keep)
{
	const struct passwd *pw = getpwnam("nobody");
	char err[PROCESS_ERROR_BYTES];
	uid_t r, e, s;
	gid_t rg, eg, sg;
	if (!pw)
		return 1;
	if (process_drop("nobody", keep, err))
		return 2;
	if (getresuid(&r, &e, &s) || r != pw->pw_uid || e != r || s != r)
		return 3;
	if (getresgid(&rg, &eg, &sg) || rg != pw->pw_gid || eg != rg || sg != rg)
		return 4;
	if (setuid(0) == 0 || seteuid(0) == 0)
		return 5;
	return check_capabilities(keep ? NET_ADMIN : 0);
}

static int become_nobody(void)
{
	return become(false);
}

static int become_nobody_with_net_admin(void)
{
	return become(true);
}

static int nothing_to_keep(void)
{
	char err[PROCESS_ERROR_BYTES];
	if (process_drop("nobody", false, err) || process_drop(NULL, true, err))
		return 1;
	return check_capabilities(0); /* what is gone does not come back */
}

static void process_drops_capabilities(void **state)
{
	(void)state;
	need_root();
	in_child(drop_all);
	in_child(keep_one);
}

static void process_becomes_a_user(void **state)
{
	(void)state;
	need_root();
	in_child(become_nobody);
	in_child(become_nobody_with_net_admin);
	in_child(nothing_to_keep);
}

static int unknown_user(void)
{
	char err[PROCESS_ERROR_BYTES] = "";
	if (process_drop("no-such-user-here", false, err) != -ENOENT)
		return 1;
	return strstr(err, "no-such-user-here") && strstr(err, "adduser") ? 0 : 2;
}

static void process_names_an_unknown_user(void **state)
{
	(void)state;
	need_root();
	in_child(unknown_user);
}

/* --- folders --- */

static void process_makes_folders(void **state)
{
	char dir[] = "/tmp/test_process.XXXXXX", path[80], parent[80],
	     err[PROCESS_ERROR_BYTES] = "";
	struct stat st;
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(parent, sizeof(parent), "%s/a", dir);
	snprintf(path, sizeof(path), "%s/a/b", dir);
	mode_t kept = umask(0777); /* whatever the umask */
	assert_int_equal(process_make_folder(path, 0700, NULL, err), 0);
	umask(kept);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(parent, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(process_make_folder(path, 0755, "", err),
			 0); /* it is there: left as it is */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	if (geteuid() == 0) {
		const struct passwd *pw = getpwnam("nobody");
		assert_int_equal(process_make_folder(path, 0700, "nobody", err), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_uid, pw->pw_uid);
		assert_int_equal(process_make_folder(path, 0700, "no-such-user-here", err),
				 -ENOENT);
	}
	assert_int_equal(rmdir(path), 0);
	FILE *out = fopen(path, "w"); /* a file in its place */
	assert_non_null(out);
	fclose(out);
	assert_int_equal(process_make_folder(path, 0700, NULL, err), -ENOTDIR);
	assert_non_null(strstr(err, path));
	snprintf(path, sizeof(path), "%s/x/y/z", dir); /* two parents are missing */
	assert_int_equal(process_make_folder(path, 0700, NULL, err), -ENOENT);
	assert_non_null(strstr(err, path));
	snprintf(path, sizeof(path), "%s/a/b", dir);
	unlink(path);
	rmdir(parent);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(process_hardens),
		cmocka_unit_test(process_drops_capabilities),
		cmocka_unit_test(process_becomes_a_user),
		cmocka_unit_test(process_names_an_unknown_user),
		cmocka_unit_test(process_makes_folders),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
