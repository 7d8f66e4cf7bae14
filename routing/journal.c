/* routing/journal.c - see routing/journal.h. The file is only ever appended to, or emptied when
 * nothing is left. */
#include "routing/journal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL_VERSION	   1
#define JOURNAL_BYTES_MAX  (8 << 20)
#define JOURNAL_BYTES_FULL (JOURNAL_BYTES_MAX / 2) /* the rest is for what undoing writes */
#define JOURNAL_OPEN_TRIES 16
#define BOOT_ID_BYTES	   40

struct entry {
	uint64_t id;
	char *kind;
	json_t *what;
	bool keep, certain, resuming;
};

struct journal {
	char *path;
	int fd;
	off_t size; /* of the good lines; what is written beyond it is cut off again */
	bool has_header;
	char boot[BOOT_ID_BYTES];
	uint64_t netns;
	struct entry *entries; /* by id */
	size_t n, room;
	uint64_t next_id;
	void (*on_line)(void *arg, unsigned n);
	void *on_line_arg;
	unsigned lines;
};

static void drop_at(struct journal *j, size_t i)
{
	free(j->entries[i].kind);
	json_decref(j->entries[i].what);
	memmove(&j->entries[i], &j->entries[i + 1], (j->n - i - 1) * sizeof(*j->entries));
	j->n--;
}

static struct entry *find(struct journal *j, uint64_t id)
{
	for (size_t i = 0; i < j->n; i++) {
		if (j->entries[i].id == id)
			return &j->entries[i];
	}
	return NULL;
}

/* Put an entry at the end of the list; takes `what` when it returns 0. */
static int remember(struct journal *j, uint64_t id, const char *kind, bool keep, json_t *what)
{
	if (j->n == j->room) {
		size_t room = j->room ? j->room * 2 : 32;
		struct entry *more = reallocarray(j->entries, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		j->entries = more;
		j->room = room;
	}
	char *copy = strdup(kind);
	if (!copy)
		return -ENOMEM;
	j->entries[j->n++] = (struct entry){.id = id, .kind = copy, .what = what, .keep = keep};
	if (id >= j->next_id)
		j->next_id = id + 1;
	return 0;
}

static void step_hook(struct journal *j)
{
	if (j->on_line)
		j->on_line(j->on_line_arg, ++j->lines);
}

static int write_all(int fd, const char *text, size_t n, off_t at)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, text, n, at);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		text += done;
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

/* Append one line, all of it or nothing. Takes the reference to line. */
static int append(struct journal *j, json_t *line, bool sync)
{
	char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	json_decref(line);
	if (!text)
		return -ENOMEM;
	size_t n = strlen(text);
	text[n] = '\n'; /* in the place of the NUL */
	step_hook(j);
	int rc = write_all(j->fd, text, n + 1, j->size);
	if (rc == 0 && sync && fdatasync(j->fd) < 0 && errno != EINVAL)
		rc = -errno;
	free(text);
	if (rc == 0)
		j->size += (off_t)n + 1;
	else if (ftruncate(j->fd, j->size) < 0)
		rc = -EIO; /* the torn line stays; loading ignores it */
	step_hook(j);
	return rc;
}

static int append_header(struct journal *j)
{
	int rc = append(j,
			json_pack("{s:i, s:s, s:I}", "journal", JOURNAL_VERSION, "boot", j->boot,
				  "netns", (json_int_t)j->netns),
			false);
	j->has_header = rc == 0;
	return rc;
}

static void note(struct journal *j, const char *word, uint64_t id, bool sync)
{
	(void)append(j, json_pack("{s:I}", word, (json_int_t)id), sync);
}

/* Nothing is left to undo: begin anew, so that the file does not grow for ever. */
static void empty_when_done(struct journal *j)
{
	if (j->n > 0 || j->size == 0)
		return;
	if (ftruncate(j->fd, 0) == 0) {
		j->size = 0;
		j->has_header = false;
	}
}

static void drop_not_kept(struct journal *j)
{
	for (size_t i = j->n; i-- > 0;) {
		if (!j->entries[i].keep)
			drop_at(j, i);
	}
}

static bool load_header(struct journal *j, const json_t *line)
{
	int version = 0;
	const char *boot = NULL;
	json_int_t netns = 0;
	if (json_unpack((json_t *)line, "{s:i, s:s, s:I}", "journal", &version, "boot", &boot,
			"netns", &netns) < 0 ||
	    version != JOURNAL_VERSION)
		return false;
	/* Each header but the first tells that the machine or the namespace is another now. */
	j->has_header = strcmp(boot, j->boot) == 0 && (uint64_t)netns == j->netns;
	drop_not_kept(j);
	return true;
}

static bool load_change(struct journal *j, const json_t *line)
{
	json_int_t id = 0;
	const char *kind = NULL;
	int keep = 0;
	json_t *what = NULL;
	if (json_unpack((json_t *)line, "{s:I, s:s, s:b, s:o}", "id", &id, "kind", &kind, "keep",
			&keep, "what", &what) < 0 ||
	    id <= 0 || (uint64_t)id < j->next_id)
		return false;
	if (remember(j, (uint64_t)id, kind, keep != 0, json_incref(what)) == 0)
		return true;
	json_decref(what);
	return false;
}

static bool load_mark(struct journal *j, const char *word, const json_t *value)
{
	struct entry *e = find(j, (uint64_t)json_integer_value(value));
	if (strcmp(word, "done") && strcmp(word, "undoing") && strcmp(word, "undone"))
		return false;
	if (!e) /* of another boot, and dropped since */
		return true;
	if (strcmp(word, "done") == 0)
		e->certain = true;
	else if (strcmp(word, "undoing") == 0)
		e->resuming = true;
	else
		drop_at(j, (size_t)(e - j->entries));
	return true;
}

static bool load_line(struct journal *j, const char *text, size_t n)
{
	json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	bool ok = false;
	if (json_is_object(line) && json_object_get(line, "journal"))
		ok = load_header(j, line);
	else if (json_is_object(line) && json_object_get(line, "id"))
		ok = load_change(j, line);
	else if (json_is_object(line) && json_object_size(line) == 1) {
		void *it = json_object_iter(line);
		ok = json_is_integer(json_object_iter_value(it)) &&
		     load_mark(j, json_object_iter_key(it), json_object_iter_value(it));
	}
	json_decref(line);
	return ok;
}

/* Take in the lines of the file; what follows the last newline was never finished and is cut off.
 */
static int load_text(struct journal *j, const char *text, size_t n, char *err)
{
	const char *at = text;
	unsigned number = 0;
	for (const char *end; (end = memchr(at, '\n', n - (size_t)(at - text))); at = end + 1) {
		number++;
		if (!load_line(j, at, (size_t)(end - at)))
			return routing_fail(
				err, -EBADMSG,
				"%s:%u: the undo journal is damaged; take back by hand what "
				"it names, then remove it.",
				j->path, number);
	}
	j->size = at - text;
	if (j->size < (off_t)n && ftruncate(j->fd, j->size) < 0)
		return routing_fail(err, -errno, "%s cannot be written: %s.", j->path,
				    strerror(errno));
	return 0;
}

static int load(struct journal *j, char *err)
{
	struct stat st;
	if (fstat(j->fd, &st) < 0)
		return routing_fail(err, -errno, "%s cannot be read: %s.", j->path,
				    strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return routing_fail(
			err, -EPERM,
			"%s is no file of this user's own, or others may write it: remove it, "
			"or set another path for the undo journal.",
			j->path);
	if (st.st_size > JOURNAL_BYTES_MAX)
		return routing_fail(err, -EFBIG, "%s is too long for an undo journal.", j->path);
	size_t n = (size_t)st.st_size;
	char *text = malloc(n + 1);
	if (!text)
		return routing_fail(err, -ENOMEM, "There is no memory to read %s.", j->path);
	ssize_t got = pread(j->fd, text, n, 0);
	int rc = got == (ssize_t)n ? load_text(j, text, n, err)
				   : routing_fail(err, -EIO, "%s cannot be read: %s.", j->path,
						  strerror(errno));
	free(text);
	return rc;
}

/* The boot and the namespace that we are in. */
static int identify(struct journal *j, char *err)
{
	struct stat st;
	if (stat("/proc/self/ns/net", &st) < 0)
		return routing_fail(err, -errno,
				    "/proc/self/ns/net cannot be read: %s: mount /proc.",
				    strerror(errno));
	j->netns = st.st_ino;
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	char *line = f ? fgets(j->boot, sizeof(j->boot), f) : NULL;
	if (f)
		fclose(f);
	if (!line)
		return routing_fail(err, -EIO,
				    "/proc/sys/kernel/random/boot_id cannot be read: mount "
				    "/proc.");
	j->boot[strcspn(j->boot, "\n")] = '\0';
	return 0;
}

/* Open and lock. A dying holder removes the file, so the one that was locked must still be the one
 * at path. */
static int open_locked(struct journal *j, char *err)
{
	for (int i = 0; i < JOURNAL_OPEN_TRIES; i++) {
		struct stat mine, there;
		j->fd = open(j->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
		if (j->fd < 0)
			return routing_fail(
				err, -errno,
				"The undo journal %s cannot be opened: %s: make its folder "
				"and let this user write there.",
				j->path, strerror(errno));
		if (flock(j->fd, LOCK_EX | LOCK_NB) < 0)
			return routing_fail(
				err, errno == EWOULDBLOCK ? -EBUSY : -errno,
				"The undo journal %s is in use by another daemon: stop that "
				"one, or set another path.",
				j->path);
		if (fstat(j->fd, &mine) == 0 && stat(j->path, &there) == 0 &&
		    mine.st_ino == there.st_ino && mine.st_dev == there.st_dev)
			return 0;
		close(j->fd);
		j->fd = -1;
	}
	return routing_fail(err, -EBUSY, "The undo journal %s keeps vanishing.", j->path);
}

static void release(struct journal *j)
{
	if (j->fd >= 0)
		close(j->fd);
	while (j->n > 0)
		drop_at(j, j->n - 1);
	free(j->entries);
	free(j->path);
	free(j);
}

int journal_open(const char *path, struct journal **ret, char *err)
{
	struct journal *j = calloc(1, sizeof(*j));
	if (!j)
		return routing_fail(err, -ENOMEM, "There is no memory for the undo journal.");
	j->fd = -1;
	j->next_id = 1;
	j->path = strdup(path);
	int rc = j->path ? identify(j, err) : routing_fail(err, -ENOMEM, "There is no memory.");
	if (rc == 0)
		rc = open_locked(j, err);
	if (rc == 0)
		rc = load(j, err);
	if (rc < 0) {
		release(j);
		return rc;
	}
	if (!j->has_header)
		drop_not_kept(j);
	empty_when_done(j);
	*ret = j;
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	if (j->n == 0)
		(void)unlink(j->path);
	release(j);
}

size_t journal_count(const struct journal *j)
{
	return j->n;
}

uint64_t journal_mark(const struct journal *j)
{
	return j->next_id;
}

int journal_begin(struct journal *j, const char *kind, bool keep, json_t *what, uint64_t *ret_id,
		  char *err)
{
	if (!what)
		return routing_fail(err, -ENOMEM, "There is no memory for the undo journal.");
	if (j->size > JOURNAL_BYTES_FULL) {
		json_decref(what);
		return routing_fail(err, -EFBIG,
				    "The undo journal %s has grown too long: take the tunnel down "
				    "once, which empties it; nothing was changed.",
				    j->path);
	}
	uint64_t id = j->next_id;
	int rc = remember(j, id, kind, keep, what);
	if (rc < 0) {
		json_decref(what);
		return routing_fail(err, rc, "There is no memory for the undo journal.");
	}
	if (!j->has_header)
		rc = append_header(j);
	if (rc == 0)
		rc = append(j,
			    json_pack("{s:I, s:s, s:b, s:O}", "id", (json_int_t)id, "kind", kind,
				      "keep", (int)keep, "what", what),
			    keep);
	if (rc < 0) {
		drop_at(j, j->n - 1);
		return routing_fail(
			err, rc,
			"The undo journal %s cannot be written: %s: make room there; nothing "
			"was changed.",
			j->path, strerror(-rc));
	}
	*ret_id = id;
	return 0;
}

void journal_done(struct journal *j, uint64_t id)
{
	struct entry *e = find(j, id);
	if (!e)
		return;
	e->certain = true;
	note(j, "done", id, false);
}

void journal_forget(struct journal *j, uint64_t id)
{
	struct entry *e = find(j, id);
	if (!e)
		return;
	bool keep = e->keep;
	note(j, "undone", id, keep);
	drop_at(j, (size_t)(e - j->entries));
	empty_when_done(j);
}

static struct journal_entry entry_view(const struct entry *e)
{
	return (struct journal_entry){e->id, e->kind, e->what, e->certain, e->resuming};
}

int journal_undo(struct journal *j, uint64_t from, journal_undo_fn *undo, void *arg,
		 journal_say_fn *say, void *say_arg, char *err)
{
	int first = 0;
	for (size_t i = j->n; i-- > 0 && j->entries[i].id >= from;) {
		char text[ROUTING_ERROR_BYTES] = "";
		uint64_t id = j->entries[i].id;
		if (j->entries[i].keep)
			note(j, "undoing", id, true);
		struct journal_entry view = entry_view(&j->entries[i]);
		int rc = undo(arg, &view, text);
		j->entries[i].resuming = true;
		if (rc != 0 && say)
			say(say_arg, text);
		if (rc >= 0)
			journal_forget(j, id);
		else if (first == 0)
			first = routing_fail(err, rc, "%s", text);
	}
	return first;
}

void journal_each(const struct journal *j, bool (*fn)(void *arg, const struct journal_entry *e),
		  void *arg)
{
	for (size_t i = 0; i < j->n; i++) {
		struct journal_entry view = entry_view(&j->entries[i]);
		if (!fn(arg, &view))
			return;
	}
}

void journal_on_line(struct journal *j, void (*fn)(void *arg, unsigned n), void *arg)
{
	j->on_line = fn;
	j->on_line_arg = arg;
	j->lines = 0;
}
