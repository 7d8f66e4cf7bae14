/* routing/dns.c - see routing/dns.h.
 *
 * The journal's entry: {path, temp, inplace, was: "file"|"link"|"none", target, mode, uid, gid,
 * old, new, before}. old, new and before are contents in hex: as found, as we write it, and as we
 * wrote it the last time (when dns_set() is called again). In place, a kill can leave the file
 * empty or with the first part of a content: whatever is the start of one of ours counts as ours,
 * and of the old one too once its restoring had begun.
 */
#include "routing/dns.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "routing/dns_undo.h"
#include "routing/host.h"
#include "routing/steps.h"

#define RESOLV_MODE 0644

struct content {
	char *bytes; /* malloc */
	size_t n;
};

enum kind { WAS_NONE, WAS_FILE, WAS_LINK };
static const char *const kind_names[] = {"none", "file", "link"};

/* What stands at the path. */
struct found {
	enum kind kind;
	bool inplace; /* a mount of its own: cannot be renamed over */
	struct content content;
	char target[PATH_MAX];
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

static char *to_hex(const char *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(2 * n + 1);
	if (!text)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		text[2 * i] = digits[(unsigned char)bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	text[2 * n] = '\0';
	return text;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Content from the entry; bytes NULL when there is none or no memory. */
static struct content from_hex(const json_t *what, const char *key)
{
	struct content c = {NULL, 0};
	const char *text = json_string_value(json_object_get(what, key));
	size_t n = text ? strlen(text) : 0;
	c.bytes = text && n % 2 == 0 ? malloc(n / 2 + 1) : NULL;
	for (size_t i = 0; c.bytes && i < n; i += 2) {
		int high = digit(text[i]), low = digit(text[i + 1]);
		if (high < 0 || low < 0) {
			free(c.bytes);
			return (struct content){NULL, 0};
		}
		c.bytes[c.n++] = (char)(high << 4 | low);
	}
	return c;
}

static bool is_mount_point(const char *path)
{
	struct statx sx;
	return statx(AT_FDCWD, path, 0, STATX_TYPE, &sx) == 0 &&
	       (sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
	       (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static int read_content(int fd, struct content *ret)
{
	char *bytes = malloc(DNS_FILE_BYTES_MAX + 1);
	size_t n = 0;
	if (!bytes)
		return -ENOMEM;
	for (;;) {
		ssize_t got = read(fd, bytes + n, DNS_FILE_BYTES_MAX + 1 - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 || n + (size_t)got > DNS_FILE_BYTES_MAX) {
			int rc = got < 0 ? -errno : -EFBIG;
			free(bytes);
			return rc;
		}
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*ret = (struct content){bytes, n};
	return 0;
}

static int read_file(const char *path, struct found *f)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (f->inplace ? 0 : O_NOFOLLOW));
	if (fd < 0)
		return -errno;
	int rc = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EISDIR;
	if (rc == 0)
		rc = read_content(fd, &f->content);
	close(fd);
	if (rc < 0)
		return rc;
	f->kind = WAS_FILE;
	f->mode = st.st_mode & 07777;
	f->uid = st.st_uid;
	f->gid = st.st_gid;
	return 0;
}

/* Look at the path. A link whose target is a mount ("ip netns exec" where /etc/resolv.conf is a
 * link) is written through: its folder belongs to other namespaces as well. Free content.bytes. */
static int look(const char *path, struct found *f)
{
	struct stat st;
	memset(f, 0, sizeof(*f));
	f->inplace = is_mount_point(path);
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISLNK(st.st_mode) || f->inplace)
		return read_file(path, f);
	ssize_t n = readlink(path, f->target, sizeof(f->target) - 1);
	if (n < 0)
		return -errno;
	f->target[n] = '\0';
	f->kind = WAS_LINK;
	return 0;
}

static int write_bytes(int fd, const struct content *c)
{
	for (size_t n = 0; n < c->n;) {
		ssize_t done = write(fd, c->bytes + n, c->n - n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		n += (size_t)done;
	}
	return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

static int write_inplace(const char *path, const struct content *c)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = write_bytes(fd, c);
	close(fd);
	return rc;
}

/* Make what the rename carries to its place. */
static int write_temp(const char *temp, const struct found *like, const struct content *c)
{
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int rc = 0;
	if ((like->uid != geteuid() || like->gid != getegid()) &&
	    fchown(fd, like->uid, like->gid) < 0)
		rc = -errno;
	if (rc == 0 && fchmod(fd, like->mode) < 0)
		rc = -errno;
	if (rc == 0)
		rc = write_bytes(fd, c);
	close(fd);
	return rc;
}

static void sync_folder(const char *path)
{
	char copy[PATH_MAX];
	snprintf(copy, sizeof(copy), "%s", path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return; /* only hastens what the kernel does anyway */
	(void)fsync(fd);
	close(fd);
}

/* Put a file or a link at path: by rename, in place where that is impossible. */
static int put(const char *path, const char *temp, bool inplace, const struct found *like,
	       const struct content *c)
{
	if (inplace)
		return write_inplace(path, c);
	(void)unlink(temp);
	int rc = like->kind == WAS_LINK ? (symlink(like->target, temp) < 0 ? -errno : 0)
					: write_temp(temp, like, c);
	if (rc == 0 && rename(temp, path) < 0)
		rc = -errno;
	if (rc == 0)
		sync_folder(path);
	else
		(void)unlink(temp);
	if (rc == -EBUSY && like->kind == WAS_FILE)
		return write_inplace(path, c);
	return rc;
}

static bool same(const struct content *a, const struct content *b)
{
	return a->bytes && b->bytes && a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0;
}

static bool starts(const struct content *whole, const struct content *part)
{
	return whole->bytes && part->bytes && part->n <= whole->n &&
	       memcmp(whole->bytes, part->bytes, part->n) == 0;
}

/* The contents that an entry knows. */
struct known {
	struct content old, new, before;
};

static void known_load(const json_t *what, struct known *k)
{
	k->old = from_hex(what, "old");
	k->new = from_hex(what, "new");
	k->before = from_hex(what, "before");
}

static void known_free(struct known *k)
{
	free(k->old.bytes);
	free(k->new.bytes);
	free(k->before.bytes);
}

static bool is_ours(const struct found *f, const struct known *k, bool resuming)
{
	if (f->kind != WAS_FILE)
		return false;
	if (same(&f->content, &k->new) || same(&f->content, &k->before))
		return true;
	if (!f->inplace)
		return false;
	return starts(&k->new, &f->content) || starts(&k->before, &f->content) ||
	       (resuming && starts(&k->old, &f->content));
}

static void was_load(const json_t *what, struct found *f)
{
	const char *was = json_string_value(json_object_get(what, "was"));
	const char *target = json_string_value(json_object_get(what, "target"));
	memset(f, 0, sizeof(*f));
	for (int i = WAS_NONE; i <= WAS_LINK; i++) {
		if (was && strcmp(was, kind_names[i]) == 0)
			f->kind = (enum kind)i;
	}
	snprintf(f->target, sizeof(f->target), "%s", target ? target : "");
	f->mode = (mode_t)json_integer_value(json_object_get(what, "mode")) & 07777;
	f->uid = (uid_t)json_integer_value(json_object_get(what, "uid"));
	f->gid = (gid_t)json_integer_value(json_object_get(what, "gid"));
}

static bool is_original(const struct found *now, const struct found *was, const struct known *k)
{
	if (now->kind != was->kind)
		return false;
	if (now->kind == WAS_LINK)
		return strcmp(now->target, was->target) == 0;
	return now->kind == WAS_NONE || same(&now->content, &k->old);
}

/* Make the path what it was. */
static int restore(const char *path, const char *temp, bool inplace, const struct found *was,
		   const struct known *k)
{
	if (was->kind == WAS_NONE)
		return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	if (was->kind == WAS_FILE && !k->old.bytes)
		return -ENOMEM;
	return put(path, temp, inplace, was, &k->old);
}

int dns_undo(const struct journal_entry *e, char *err)
{
	const char *path = json_string_value(json_object_get(e->what, "path"));
	const char *temp = json_string_value(json_object_get(e->what, "temp"));
	if (!path || !temp) {
		routing_fail(
			err, 0,
			"An entry of the undo journal about resolv.conf is not complete: left.");
		return 1;
	}
	(void)unlink(temp); /* ours by its name, and left by a kill */
	struct found now, was;
	struct known k;
	was_load(e->what, &was);
	known_load(e->what, &k);
	int rc = look(path, &now);
	if (rc == 0 && !is_original(&now, &was, &k)) {
		if (is_ours(&now, &k, e->resuming)) {
			rc = restore(path, temp, now.inplace, &was, &k);
		} else {
			routing_fail(err, 0,
				     "%s was changed by another program meanwhile: left as it is.",
				     path);
			rc = 1;
		}
	}
	known_free(&k);
	free(now.content.bytes);
	if (rc < 0)
		return routing_fail(err, rc, "%s cannot be restored: %s.", path, strerror(-rc));
	return rc;
}

/* The text that we write. */
static struct content compose(const struct addr *servers, size_t n)
{
	char text[ADDR_TEXT_BYTES];
	struct content c = {
		malloc(sizeof(DNS_MARKER) + n * (ADDR_TEXT_BYTES + sizeof("nameserver \n"))), 0};
	if (!c.bytes)
		return c;
	c.n = (size_t)sprintf(c.bytes, "%s", DNS_MARKER);
	for (size_t i = 0; i < n; i++)
		c.n += (size_t)sprintf(c.bytes + c.n, "nameserver %s\n",
				       addr_ip_text(&servers[i], text));
	return c;
}

struct search {
	const char *path;
	uint64_t id;
	const json_t *what;
};

static bool find_entry(void *arg, const struct journal_entry *e)
{
	struct search *s = arg;
	const char *path = json_string_value(json_object_get(e->what, "path"));
	if (strcmp(e->kind, DNS_KIND) == 0 && path && strcmp(path, s->path) == 0) {
		s->id = e->id;
		s->what = e->what;
	}
	return true;
}

static int set_hex(json_t *what, const char *key, const struct content *c)
{
	char *hex = c->bytes ? to_hex(c->bytes, c->n) : NULL;
	int rc = hex ? json_object_set_new(what, key, json_string(hex)) : 0;
	free(hex);
	return c->bytes && !hex ? -1 : rc;
}

/* The entry for a first dns_set(): everything about what was found. */
static json_t *describe(const char *path, const struct found *f, const struct content *ours)
{
	char copy[PATH_MAX], temp[PATH_MAX];
	snprintf(copy, sizeof(copy), "%s", path);
	/* A name of this process alone: namespaces may share the folder. */
	int n = snprintf(temp, sizeof(temp), "%s/.resolv.conf.sispopnet.%ld", dirname(copy),
			 (long)getpid());
	if (n < 0 || (size_t)n >= sizeof(temp))
		return NULL;
	json_t *what = json_pack("{s:s, s:s, s:s, s:i, s:I, s:I}", "path", path, "temp", temp,
				 "was", kind_names[f->kind], "mode", (int)f->mode, "uid",
				 (json_int_t)f->uid, "gid", (json_int_t)f->gid);
	if (!what)
		return NULL;
	if (set_hex(what, "new", ours) < 0 || set_hex(what, "old", &f->content) < 0 ||
	    (f->kind == WAS_LINK &&
	     json_object_set_new(what, "target", json_string(f->target)) < 0)) {
		json_decref(what);
		return NULL;
	}
	return what;
}

/* The entry for another dns_set(): the original of the first one stays. */
static json_t *describe_again(const json_t *what, const struct content *ours)
{
	json_t *next = json_deep_copy(what);
	json_t *last = json_object_get(next, "new");
	if (next && last && json_object_set(next, "before", last) == 0 &&
	    set_hex(next, "new", ours) == 0)
		return next;
	json_decref(next);
	return NULL;
}

static int check_values(const struct addr *servers, size_t n, char *err)
{
	if (n < 1 || n > DNS_SERVERS_MAX)
		return routing_fail(err, -EINVAL, "%zu DNS servers: resolv.conf takes 1 to %d.", n,
				    DNS_SERVERS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (servers[i].family == 0)
			return routing_fail(err, -EINVAL, "A DNS server has no address.");
	}
	return 0;
}

/* Journal the change to `ours`, then make it. */
static int change(struct host *h, const char *path, const struct found *f,
		  const struct content *ours, char *err)
{
	struct search s = {.path = path};
	uint64_t id;
	journal_each(h->journal, find_entry, &s);
	struct known k = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
	if (s.what)
		known_load(s.what, &k);
	bool again = s.what && is_ours(f, &k, false);
	known_free(&k);
	json_t *what = again ? describe_again(s.what, ours) : describe(path, f, ours);
	const char *temp = json_string_value(json_object_get(what, "temp"));
	int rc = journal_begin(h->journal, DNS_KIND, true, what, &id, err);
	if (rc < 0)
		return rc;
	if (s.id)
		journal_forget(h->journal, s.id); /* the new entry knows all that matters */
	struct found like = {
		.kind = WAS_FILE, .mode = RESOLV_MODE, .uid = geteuid(), .gid = getegid()};
	if (f->kind == WAS_FILE)
		like = *f;
	rc = put(path, temp, f->inplace, &like, ours);
	if (rc == 0) {
		journal_done(h->journal, id);
		return 0;
	}
	if (!again)
		steps_roll_back(h, id);
	return routing_fail(err, rc,
			    "%s cannot be written: %s: the DNS servers of the exit are not in use.",
			    path, strerror(-rc));
}

int dns_set(struct host *h, const char *path, const struct addr *servers, size_t n, char *err)
{
	struct found f;
	int rc = check_values(servers, n, err);
	if (rc < 0)
		return rc;
	rc = look(path, &f);
	if (rc < 0)
		return routing_fail(err, rc,
				    "%s cannot be read, so it cannot be restored later: %s.", path,
				    strerror(-rc));
	struct content ours = compose(servers, n);
	rc = ours.bytes ? change(h, path, &f, &ours, err)
			: routing_fail(err, -ENOMEM, "There is no memory for %s.", path);
	free(ours.bytes);
	free(f.content.bytes);
	return rc;
}

int dns_unset(struct host *h, const char *path, char *err)
{
	struct search s = {.path = path};
	journal_each(h->journal, find_entry, &s);
	return s.what ? unstep(h, DNS_KIND, json_incref((json_t *)s.what), err) : 0;
}

bool dns_is_ours(struct host *h, const char *path)
{
	struct search s = {.path = path};
	struct found f;
	journal_each(h->journal, find_entry, &s);
	if (!s.what || look(path, &f) < 0)
		return false;
	struct content new = from_hex(s.what, "new");
	bool ours = f.kind == WAS_FILE && same(&f.content, &new);
	free(new.bytes);
	free(f.content.bytes);
	return ours;
}
