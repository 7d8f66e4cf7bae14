/* tests/unit/test_resolvconf.c - routing/dns.h on files in a folder of its own (mounts:
 * tests/netns/host_client.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "routing/dns.h"
#include "routing/host.h"

static char folder[] = "/tmp/sp-resolv-XXXXXX";
static char path[64], journal[64], target[64];
static char err[ROUTING_ERROR_BYTES], said[ROUTING_ERROR_BYTES];
static struct addr servers[3];

static void say(void *arg, const char *sentence)
{
	(void)arg;
	snprintf(said, sizeof(said), "%s", sentence);
}

static void put(const char *at, const char *text, mode_t mode)
{
	FILE *f = fopen(at, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(at, mode), 0);
}

static void holds(const char *at, const char *text)
{
	char got[1024] = "";
	FILE *f = fopen(at, "r");
	assert_non_null(f);
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	fclose(f);
	assert_string_equal(got, text);
}

static struct host *must_open(void)
{
	struct host *h = NULL;
	if (host_open(journal, &h, err) != 0)
		fail_msg("%s", err);
	return h;
}

static void must_set(struct host *h, size_t n)
{
	if (dns_set(h, path, servers, n, err) != 0)
		fail_msg("%s", err);
}

static void must_undo(struct host *h)
{
	said[0] = '\0';
	if (host_undo(h, say, NULL, err) != 0)
		fail_msg("%s", err);
	assert_int_equal(host_changes(h), 0);
}

/* Set, then end as told: undo at once, or after a death. */
static void through(bool dies)
{
	struct host *h = must_open();
	must_set(h, 2);
	holds(path, DNS_MARKER "nameserver 10.99.0.53\nnameserver fd00:99::53\n");
	assert_true(dns_is_ours(h, path));
	must_set(h, 1);
	must_set(h, 1);
	holds(path, DNS_MARKER "nameserver 10.99.0.53\n");
	assert_int_equal(host_changes(h), 1);
	if (dies) {
		host_close(h);
		h = must_open();
		assert_int_equal(host_changes(h), 1);
	}
	must_undo(h);
	assert_string_equal(said, "");
	host_close(h);
}

static void resolvconf_restores_a_file(void **state)
{
	(void)state;
	struct stat st;
	for (int dies = 0; dies < 2; dies++) {
		put(path, "search home\nnameserver 192.168.1.1\n", 0604);
		through(dies);
		holds(path, "search home\nnameserver 192.168.1.1\n");
		assert_int_equal(lstat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0604);
	}
}

static void resolvconf_restores_a_link(void **state)
{
	(void)state;
	char got[64] = "";
	for (int dies = 0; dies < 2; dies++) {
		put(target, "nameserver 127.0.0.53\n", 0644);
		unlink(path);
		assert_int_equal(symlink("stub", path), 0);
		through(dies);
		assert_int_equal(readlink(path, got, sizeof(got)), 4);
		assert_string_equal(got, "stub");
		holds(target, "nameserver 127.0.0.53\n");
	}
}

static void resolvconf_removes_what_was_not_there(void **state)
{
	(void)state;
	for (int dies = 0; dies < 2; dies++) {
		unlink(path);
		through(dies);
		assert_int_equal(access(path, F_OK), -1);
	}
}

static void resolvconf_leaves_another_programs_file(void **state)
{
	(void)state;
	put(path, "nameserver 192.168.1.1\n", 0644);
	struct host *h = must_open();
	must_set(h, 1);
	put(path, "nameserver 192.168.1.2\n", 0644);
	assert_false(dns_is_ours(h, path));
	must_undo(h);
	assert_non_null(strstr(said, path));
	holds(path, "nameserver 192.168.1.2\n");
	/* set again after a change: that change is the new original */
	must_set(h, 1);
	put(path, "nameserver 192.168.1.3\n", 0644);
	must_set(h, 2);
	assert_true(dns_is_ours(h, path));
	must_undo(h);
	assert_string_equal(said, "");
	holds(path, "nameserver 192.168.1.3\n");
	host_close(h);
}

/* Any bytes at all, NUL and invalid UTF-8 among them. */
static void resolvconf_restores_strange_bytes(void **state)
{
	(void)state;
	static char bytes[5000], got[5001];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 31 + (i >> 8));
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, sizeof(bytes), f), sizeof(bytes));
	fclose(f);
	through(true);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fread(got, 1, sizeof(got), f), sizeof(bytes));
	fclose(f);
	assert_memory_equal(bytes, got, sizeof(bytes));
}

static void resolvconf_refuses(void **state)
{
	(void)state;
	struct host *h = must_open();
	struct addr none = {.family = 0};
	put(path, "nameserver 192.168.1.1\n", 0644);
	assert_int_equal(dns_set(h, path, servers, 0, err), -EINVAL);
	assert_int_equal(dns_set(h, path, servers, DNS_SERVERS_MAX + 1, err), -EINVAL);
	assert_int_equal(dns_set(h, path, &none, 1, err), -EINVAL);
	assert_int_equal(dns_set(h, folder, servers, 1, err), -EISDIR);
	assert_int_equal(dns_set(h, "/no/such/folder/resolv.conf", servers, 1, err), -ENOENT);
	assert_non_null(strstr(err, "/no/such/folder/resolv.conf"));
	assert_int_equal(host_changes(h), 0);
	assert_false(dns_is_ours(h, path));
	host_close(h);
	holds(path, "nameserver 192.168.1.1\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolvconf_restores_a_file),
		cmocka_unit_test(resolvconf_restores_a_link),
		cmocka_unit_test(resolvconf_removes_what_was_not_there),
		cmocka_unit_test(resolvconf_leaves_another_programs_file),
		cmocka_unit_test(resolvconf_restores_strange_bytes),
		cmocka_unit_test(resolvconf_refuses),
	};
	if (!mkdtemp(folder) || addr_parse_ip("10.99.0.53", &servers[0]) < 0 ||
	    addr_parse_ip("fd00:99::53", &servers[1]) < 0 ||
	    addr_parse_ip("10.99.0.54", &servers[2]) < 0)
		return 1;
	snprintf(path, sizeof(path), "%s/resolv.conf", folder);
	snprintf(journal, sizeof(journal), "%s/journal", folder);
	snprintf(target, sizeof(target), "%s/stub", folder);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	unlink(target);
	return failed || rmdir(folder) != 0; /* nothing else may be left there */
}
