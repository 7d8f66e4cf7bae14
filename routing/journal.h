/* routing/journal.h - the undo journal: each change of the host is written down before it is made.
 *
 * One file, JSON lines. {"journal":1,"boot":…,"netns":…}, then for each change
 * {"id":N,"kind":…,"keep":bool, "what":{…}}, {"done":N} when it was made, {"undoing":N},
 * {"undone":N}. A change without "done" was maybe made. A last line that is cut short was not
 * written: the change it names was not begun. When nothing is left to undo the file is removed.
 *
 * What lives in the kernel dies with the boot or the network namespace, so a journal of another
 * boot or namespace keeps only the entries with "keep" (files on disk). Those are written with
 * fsync; put the journal on a disk if they shall outlive a power cut. The others need none: kill -9
 * loses no written byte. The file is locked (flock): one process at a time. Control thread only.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "routing/error.h"

struct journal;

/* One entry as the undo function sees it. */
struct journal_entry {
	uint64_t id;
	const char *kind;
	const json_t *what;
	bool certain;  /* the change was made; false: maybe */
	bool resuming; /* an earlier undo of it was begun and not finished */
};

/* Take one change back. 0: taken back, or it was not there (idempotent). 1: left alone because
 * somebody else changed it meanwhile, with a sentence in err. -errno with a sentence in err: could
 * not, try again later. */
typedef int journal_undo_fn(void *arg, const struct journal_entry *e, char *err);
/* Hear one sentence, to be logged by the daemon. */
typedef void journal_say_fn(void *arg, const char *sentence);

/* Open or make the journal at `path` (0600; its folder must exist) and lock it. Entries of a dead
 * process are there at once: journal_count(). 0; -EBUSY another process has it; -EBADMSG a line in
 * the middle is damaged; -EPERM the file belongs to another user or can be written by others; other
 * -errno. */
int journal_open(const char *path, struct journal **ret, char *err)
	__attribute__((warn_unused_result));
/* Close; what is left stays in the file for the next start. An empty journal's file is removed.
 * Takes NULL. */
void journal_close(struct journal *j);
/* Changes not yet taken back. */
size_t journal_count(const struct journal *j);
/* The id that the next change will get; journal_undo() down to it takes back what came after now.
 */
uint64_t journal_mark(const struct journal *j);

/* Write down a change before making it; `keep` as above. Takes the reference to `what` in every
 * case. -errno: nothing was written, and the change must not be made. */
int journal_begin(struct journal *j, const char *kind, bool keep, json_t *what, uint64_t *ret_id,
		  char *err) __attribute__((warn_unused_result));
/* The change was made. (When this cannot be written the entry stays "maybe made", which undo can
 * handle.) */
void journal_done(struct journal *j, uint64_t id);
/* The change was refused or is taken back: drop the entry. */
void journal_forget(struct journal *j, uint64_t id);

/* Take back every change with id >= from (0: all), newest first, by `undo`; each sentence about
 * something left alone goes to say (may be NULL). Goes on after a failure; the entry stays. 0, or
 * the first -errno. */
int journal_undo(struct journal *j, uint64_t from, journal_undo_fn *undo, void *arg,
		 journal_say_fn *say, void *say_arg, char *err) __attribute__((warn_unused_result));
/* Walk the entries not yet taken back, oldest first; false from `fn` stops. */
void journal_each(const struct journal *j, bool (*fn)(void *arg, const struct journal_entry *e),
		  void *arg);

/* For tests: call fn right before (odd n) and right after (even n, from 2) each line that goes to
 * the file, so that a driver can die there. */
void journal_on_line(struct journal *j, void (*fn)(void *arg, unsigned n), void *arg);
