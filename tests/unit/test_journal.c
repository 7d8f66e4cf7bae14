/* tests/unit/test_journal.c - routing/journal.h: what is written down survives a kill at any byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "routing/journal.h"

static char folder[] = "/tmp/sp-journal-XXXXXX";
static char path[64];
static char err[ROUTING_ERROR_BYTES];

/* A host of counted things: what undo is to take back. */
struct world {
	bool there[64];
	int left_alone, failing; /* number of a thing that undo leaves, or fails at; -1 none */
	int calls, order[64];
	bool certain[64], resuming[64];
	char said[ROUTING_ERROR_BYTES];
};

static int undo(void *arg, const struct journal_entry *e, char *text)
{
	struct world *w = arg;
	int n = (int)json_integer_value(json_object_get(e->what, "n"));
	w->order[w->calls++] = n;
	w->certain[n] = e->certain;
	w->resuming[n] = e->resuming;
	if (n == w->failing)
		return routing_fail(text, -EIO, "thing %d fails", n);
	if (n == w->left_alone) {
		routing_fail(text, 0, "thing %d is another's now", n);
		return 1;
	}
	w->there[n] = false;
	return 0;
}

static void say(void *arg, const char *sentence)
{
	struct world *w = arg;
	snprintf(w->said, sizeof(w->said), "%s", sentence);
}

static struct world new_world(void)
{
	struct world w;
	memset(&w, 0, sizeof(w));
	w.left_alone = w.failing = -1;
	return w;
}

static struct journal *must_open(void)
{
	struct journal *j = NULL;
	if (journal_open(path, &j, err) != 0)
		fail_msg("%s", err);
	return j;
}

static uint64_t change(struct journal *j, int n, bool keep)
{
	uint64_t id = 0;
	assert_int_equal(journal_begin(j, "thing", keep, json_pack("{s:i}", "n", n), &id, err), 0);
	return id;
}

static size_t slurp(char *to, size_t room)
{
	FILE *f = fopen(path, "r");
	if (!f)
		return 0;
	size_t n = fread(to, 1, room, f);
	fclose(f);
	return n;
}

static void spill(const char *from, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, from, n), (ssize_t)n);
	close(fd);
}

static void journal_undoes_newest_first_and_goes(void **state)
{
	(void)state;
	struct world w = new_world();
	struct journal *j = must_open();
	for (int n = 0; n < 5; n++) {
		uint64_t id = change(j, n, false);
		if (n != 4)
			journal_done(j, id);
	}
	assert_int_equal(journal_count(j), 5);
	assert_int_equal(journal_undo(j, 0, undo, &w, say, &w, err), 0);
	for (int n = 0; n < 5; n++) {
		assert_int_equal(w.order[n], 4 - n);
		assert_int_equal(w.certain[n], n != 4);
	}
	assert_int_equal(journal_count(j), 0);
	journal_close(j);
	assert_int_equal(access(path, F_OK), -1);
}

static void journal_is_there_for_the_next_process(void **state)
{
	(void)state;
	struct world w = new_world();
	struct journal *j = must_open();
	journal_done(j, change(j, 0, false));
	journal_forget(j, change(j, 1, false));
	uint64_t mark = journal_mark(j);
	change(j, 2, true);
	assert_int_equal(journal_undo(j, mark, undo, &w, NULL, NULL, err), 0);
	change(j, 3, false);
	journal_close(j);
	j = must_open();
	assert_int_equal(journal_count(j), 2);
	w = new_world();
	assert_int_equal(journal_undo(j, 0, undo, &w, say, &w, err), 0);
	assert_int_equal(w.calls, 2);
	assert_int_equal(w.order[0], 3);
	assert_false(w.certain[3]);
	assert_true(w.certain[0]);
	journal_close(j);
}

static void journal_keeps_what_fails_and_says_what_is_left(void **state)
{
	(void)state;
	struct world w = new_world();
	struct journal *j = must_open();
	for (int n = 0; n < 4; n++)
		journal_done(j, change(j, n, n == 1));
	w.failing = 1;
	w.left_alone = 2;
	assert_int_equal(journal_undo(j, 0, undo, &w, say, &w, err), -EIO);
	assert_string_equal(err, "thing 1 fails");
	assert_int_equal(w.calls, 4);
	assert_int_equal(journal_count(j), 1);
	journal_close(j);
	j = must_open();
	w = new_world();
	w.left_alone = 1;
	assert_int_equal(journal_undo(j, 0, undo, &w, say, &w, err), 0);
	assert_string_equal(w.said, "thing 1 is another's now");
	assert_true(w.resuming[1]);
	assert_int_equal(journal_count(j), 0);
	journal_close(j);
}

/* Cut the file at every byte: it opens, and every change whose line was whole before the cut is
 * known. */
static void journal_survives_a_cut_at_any_byte(void **state)
{
	(void)state;
	static char text[4096], line[4096];
	struct journal *j = must_open();
	for (int n = 0; n < 3; n++)
		journal_done(j, change(j, n, n == 1));
	journal_forget(j, 2);
	size_t whole = slurp(text, sizeof(text));
	journal_close(j);
	assert_in_range(whole, 200, sizeof(text) - 1);
	for (size_t cut = 0; cut <= whole; cut++) {
		size_t expected = 0;
		memcpy(line, text, cut);
		line[cut] = '\0';
		for (char *at = line, *end; (end = strchr(at, '\n')); at = end + 1) {
			*end = '\0';
			expected += strstr(at, "\"kind\"") != NULL;
			expected -= strstr(at, "\"undone\"") != NULL;
		}
		spill(text, cut);
		struct world w = new_world();
		j = must_open();
		assert_int_equal(journal_count(j), expected);
		/* and it can be gone on with, behind the torn line */
		change(j, 9, false);
		journal_close(j);
		j = must_open();
		assert_int_equal(journal_count(j), expected + 1);
		assert_int_equal(journal_undo(j, 0, undo, &w, NULL, NULL, err), 0);
		assert_int_equal(w.order[0], 9);
		journal_close(j);
	}
}

static void journal_refuses_damage_in_the_middle(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"rubbish\n",
		"[]\n",
		"{\"journal\":2,\"boot\":\"x\",\"netns\":1}\n",
		"{\"id\":0,\"kind\":\"a\",\"keep\":false,\"what\":{}}\n",
		"{\"id\":1,\"kind\":\"a\",\"keep\":false}\n",
		("{\"id\":1,\"kind\":\"a\",\"keep\":false,\"what\":{}}\n"
		 "{\"id\":1,\"kind\":\"a\",\"keep\":false,\"what\":{}}\n"),
		"{\"redone\":1}\n",
		"{\"done\":\"1\"}\n",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct journal *j = NULL;
		spill(bad[i], strlen(bad[i]));
		assert_int_equal(journal_open(path, &j, err), -EBADMSG);
		assert_non_null(strstr(err, path));
		assert_null(j);
	}
	unlink(path);
}

/* After another boot, and in another namespace, only what is on disk is still there. */
static void journal_drops_what_another_boot_made(void **state)
{
	(void)state;
	static char text[4096], other[4096];
	struct journal *j = must_open();
	journal_done(j, change(j, 0, false));
	journal_done(j, change(j, 1, true));
	text[slurp(text, sizeof(text) - 1)] = '\0';
	journal_close(j);
	for (int i = 0; i < 2; i++) {
		char *at = strstr(strcpy(other, text), i ? "\"netns\":" : "\"boot\":\"");
		assert_non_null(at);
		at += strlen(i ? "\"netns\":" : "\"boot\":\"");
		*at = *at == '1' ? '2' : '1';
		spill(other, strlen(other));
		j = must_open();
		assert_int_equal(journal_count(j), 1);
		change(j, 2, false);
		journal_close(j);
		j = must_open();
		assert_int_equal(journal_count(j), 2);
		struct world w = new_world();
		assert_int_equal(journal_undo(j, 0, undo, &w, NULL, NULL, err), 0);
		assert_int_equal(w.order[0], 2);
		assert_int_equal(w.order[1], 1);
		journal_close(j);
	}
}

/* A full disk: nothing is begun, and what was there before stays readable. */
static void journal_refuses_to_begin_when_it_cannot_write(void **state)
{
	(void)state;
	uint64_t id = 77;
	struct rlimit old, tight;
	struct journal *j = must_open();
	change(j, 0, false);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	for (rlim_t room = 0; room < 40; room += 13) {
		tight = old;
		tight.rlim_cur = (rlim_t)st.st_size + room;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
		int rc = journal_begin(j, "thing", false, json_pack("{s:i}", "n", 1), &id, err);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(rc, -EFBIG);
		assert_int_equal(id, 77);
		assert_non_null(strstr(err, path));
		assert_int_equal(journal_count(j), 1);
	}
	change(j, 2, false);
	journal_close(j);
	j = must_open();
	assert_int_equal(journal_count(j), 2);
	struct world w = new_world();
	assert_int_equal(journal_undo(j, 0, undo, &w, NULL, NULL, err), 0);
	journal_close(j);
}

/* Whoever makes the daemon change the host again and again (a hostile exit) does not make a journal
 * that the next start refuses. */
static void journal_never_outgrows_its_next_reader(void **state)
{
	(void)state;
	enum { BLOB = 60000, CHANGES = 300 };
	static char blob[BLOB];
	struct world w = new_world();
	struct journal *j = must_open();
	int rc = 0;
	(void)change(j, 1, false); /* so that it is never empty */
	memset(blob, 'x', sizeof(blob) - 1);
	for (int i = 0; i < CHANGES && rc == 0; i++) {
		uint64_t id;
		rc = journal_begin(j, "thing", false, json_pack("{s:i, s:s}", "n", 2, "b", blob),
				   &id, err);
		if (rc == 0)
			journal_forget(j, id);
	}
	assert_int_equal(rc, -EFBIG);
	assert_int_equal(journal_count(j), 1);
	journal_close(j);
	j = must_open();
	w.there[1] = true;
	assert_int_equal(journal_undo(j, 0, undo, &w, say, &w, err), 0);
	assert_false(w.there[1]);
	(void)change(j, 3, false); /* and there is room again */
	assert_int_equal(journal_undo(j, 0, undo, &w, say, &w, err), 0);
	journal_close(j);
}

static void journal_belongs_to_one_process_and_user(void **state)
{
	(void)state;
	struct journal *j = must_open(), *second = NULL;
	assert_int_equal(journal_open(path, &second, err), -EBUSY);
	assert_null(second);
	journal_close(j);
	spill("", 0);
	assert_int_equal(chmod(path, 0622), 0);
	assert_int_equal(journal_open(path, &second, err), -EPERM);
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(journal_open(path, &second, err), -ELOOP);
	unlink(path);
	assert_int_equal(journal_open("/no/such/folder/journal", &second, err), -ENOENT);
	j = must_open();
	struct stat st;
	change(j, 0, false);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	journal_forget(j, 1);
	journal_close(j);
}

/* Against a plain model: random changes, undos and restarts. */
static void journal_agrees_with_a_model(void **state)
{
	(void)state;
	struct world w = new_world();
	uint64_t ids[64] = {0};
	struct journal *j = must_open();
	srandom(3);
	for (int round = 0; round < 1000; round++) {
		int n = (int)(random() % 64);
		if (random() % 50 == 0) {
			journal_close(j);
			j = must_open();
		} else if (random() % 80 == 0) {
			w.calls = 0;
			assert_int_equal(journal_undo(j, 0, undo, &w, NULL, NULL, err), 0);
			for (int i = 0; i < 64; i++)
				assert_false(w.there[i]);
		} else if (!w.there[n]) {
			ids[n] = change(j, n, random() % 2);
			w.there[n] = true;
			if (random() % 2)
				journal_done(j, ids[n]);
		} else if (random() % 3 == 0) {
			journal_forget(j, ids[n]);
			w.there[n] = false;
		}
		size_t there = 0;
		for (int i = 0; i < 64; i++)
			there += w.there[i];
		assert_int_equal(journal_count(j), there);
	}
	w.calls = 0;
	assert_int_equal(journal_undo(j, 0, undo, &w, NULL, NULL, err), 0);
	journal_close(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(journal_undoes_newest_first_and_goes),
		cmocka_unit_test(journal_is_there_for_the_next_process),
		cmocka_unit_test(journal_keeps_what_fails_and_says_what_is_left),
		cmocka_unit_test(journal_survives_a_cut_at_any_byte),
		cmocka_unit_test(journal_refuses_damage_in_the_middle),
		cmocka_unit_test(journal_drops_what_another_boot_made),
		cmocka_unit_test(journal_refuses_to_begin_when_it_cannot_write),
		cmocka_unit_test(journal_never_outgrows_its_next_reader),
		cmocka_unit_test(journal_belongs_to_one_process_and_user),
		cmocka_unit_test(journal_agrees_with_a_model),
	};
	if (!mkdtemp(folder))
		return 1;
	snprintf(path, sizeof(path), "%s/journal", folder);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(folder);
	return failed;
}
