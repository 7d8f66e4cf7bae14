/* crypto/keyfile.c - see keyfile.h.
 *
 * Every step goes by the folder's descriptor, so that a name cannot be led elsewhere between two
 * steps. A folder may be reached through a symbolic link (systemd makes such for its services), the
 * file itself may not be one.
 */
#include "crypto/keyfile.h"
#include "crypto/kdf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOSE_BITS  077
#define SECRET_MODE 0600
#define FOLDER_MODE 0700
#define SECRET_TEMP                                                                                \
	".keyfile.tmp" /* one name a folder: a write takes away what a killed one left */
#define NAME_MAX_FOR_TEMP 200

/* A path cut in two, and its folder held open. */
struct place {
	const char *path;
	char folder[PATH_MAX];
	char name[NAME_MAX + 1];
	int fd; /* of the folder; -1 when not open */
};

__attribute__((format(printf, 3, 4))) static int fail(char *err, int rc, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err, KEYFILE_ERROR_BYTES, fmt, ap);
	va_end(ap);
	return rc;
}

static const char *mend_of(int e)
{
	switch (e) {
	case ENOENT:
	case ENOTDIR:
		return "check the path, or make it";
	case EACCES:
	case EPERM:
		return "check who owns it and its folders, and their modes";
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return "make room on that file system or raise the limit";
	case EROFS:
		return "make that file system writable or give another path";
	default:
		return "see whether that file system is in order";
	}
}

/* One sentence for a system call that failed. */
static int fail_errno(char *err, const char *what, const char *path)
{
	int e = errno;
	return fail(err, -e, "cannot %s %s: %s; %s", what, path, strerror(e), mend_of(e));
}

static int place_split(struct place *p, const char *path, char *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t folder_bytes = slash ? (size_t)(slash - path) : 0;
	p->path = path;
	p->fd = -1;
	if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    strlen(name) > NAME_MAX_FOR_TEMP || folder_bytes >= sizeof(p->folder))
		return fail(err, -EINVAL, "%s: is no name of a file; give the path of a file",
			    path);
	strcpy(p->name, name);
	if (!slash)
		strcpy(p->folder, ".");
	else if (folder_bytes == 0)
		strcpy(p->folder, "/");
	else
		snprintf(p->folder, sizeof(p->folder), "%.*s", (int)folder_bytes, path);
	return 0;
}

static int place_open(struct place *p, char *err)
{
	p->fd = open(p->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return p->fd < 0 ? fail_errno(err, "open the folder", p->folder) : 0;
}

static void place_done(struct place *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

static int check_folder(const struct place *p, char *err)
{
	struct stat st;
	if (fstat(p->fd, &st) < 0)
		return fail_errno(err, "examine the folder", p->folder);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return fail(
			err, -EINVAL,
			"%s: the folder belongs to uid %u; it must belong to uid %u or to root: chown it",
			p->folder, st.st_uid, geteuid());
	if (st.st_mode & LOOSE_BITS)
		return fail(
			err, -EACCES,
			"%s: the folder is open to group or others (mode %04o); run: chmod 700 %s",
			p->folder, st.st_mode & 07777, p->folder);
	return 0;
}

static int check_owner(const struct stat *st, const char *path, char *err)
{
	if (!S_ISREG(st->st_mode))
		return fail(err, -EINVAL, "%s: is no regular file; put a file there", path);
	if (st->st_uid != geteuid())
		return fail(err, -EINVAL,
			    "%s: belongs to uid %u, not to uid %u that runs this; chown it", path,
			    st->st_uid, geteuid());
	return 0;
}

/* Open the file without following a link and without waiting for a FIFO's other end. */
static int open_file(const struct place *p, int flags, struct stat *ret_st, char *err)
{
	int fd = openat(p->fd, p->name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO))
		return fail(err, -EINVAL, "%s: is no regular file; put a file there", p->path);
	if (fd < 0)
		return fail_errno(err, "open", p->path);
	struct stat st;
	int rc = fstat(fd, &st) < 0 ? fail_errno(err, "examine", p->path)
				    : check_owner(&st, p->path, err);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_st = st;
	return fd;
}

/* Read up to max + 1 bytes, so that a file that grew meanwhile is seen. Bytes read, or -errno. */
static ssize_t read_all(int fd, uint8_t *to, size_t max)
{
	size_t n = 0;
	while (n < max) {
		ssize_t got = read(fd, to + n, max - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

/* Read the open file into a buffer of its own; hand it over only when its length lies in min..max.
 */
static int read_checked(int fd, const struct place *p, size_t min, size_t max, void *to,
			size_t *ret_n, char *err)
{
	uint8_t *buf = malloc(max + 1);
	if (!buf)
		return fail(err, -ENOMEM, "%s: no memory to read it; free some", p->path);
	ssize_t got = read_all(fd, buf, max + 1);
	int rc = 0;
	if (got < 0) {
		errno = (int)-got;
		rc = fail_errno(err, "read", p->path);
	} else if ((size_t)got > max || (size_t)got < min) {
		rc = fail(
			err, -EINVAL,
			"%s: has not the length of such a key (%zu to %zu bytes); restore or make it anew",
			p->path, min, max);
	} else {
		memcpy(to, buf, (size_t)got);
		*ret_n = (size_t)got;
	}
	wipe(buf, max + 1);
	free(buf);
	return rc;
}

static int read_between(const char *path, size_t min, size_t max, void *to, size_t *ret_n,
			char *err)
{
	struct place p;
	struct stat st;
	int fd = -1, rc = place_split(&p, path, err);
	if (rc < 0)
		return rc;
	rc = place_open(&p, err);
	if (rc < 0)
		goto out;
	rc = check_folder(&p, err);
	if (rc < 0)
		goto out;
	rc = fd = open_file(&p, O_RDONLY, &st, err);
	if (rc < 0)
		goto out;
	if (st.st_mode & LOOSE_BITS)
		rc = fail(err, -EACCES,
			  "%s: is open to group or others (mode %04o); run: chmod 600 %s", path,
			  st.st_mode & 07777, path);
	else
		rc = read_checked(fd, &p, min, max, to, ret_n, err);
out:
	if (fd >= 0)
		close(fd);
	place_done(&p);
	return rc;
}

int keyfile_read(const char *path, void *to, size_t n, char *err)
{
	size_t got;
	return read_between(path, n, n, to, &got, err);
}

int keyfile_read_some(const char *path, void *to, size_t max, size_t *ret_n, char *err)
{
	return read_between(path, 0, max, to, ret_n, err);
}

static int write_all(int fd, const uint8_t *from, size_t n)
{
	while (n > 0) {
		ssize_t put = write(fd, from, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		from += put;
		n -= (size_t)put;
	}
	return 0;
}

static int close_checked(int fd)
{
	return close(fd) < 0 && errno != EINTR ? -1 : 0;
}

/* Make the temporary and fill it. A leftover of a killed process is in the way of O_EXCL: take it
 * away. */
static int write_temp(const struct place *p, const char *temp, const void *from, size_t n,
		      mode_t mode)
{
	if (unlinkat(p->fd, temp, 0) < 0 && errno != ENOENT)
		return -1;
	int fd = openat(p->fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			SECRET_MODE);
	if (fd < 0)
		return -1;
	if (write_all(fd, from, n) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0) {
		int e = errno;
		close(fd);
		errno = e;
		return -1;
	}
	return close_checked(fd);
}

/* Temporary, rename, fsync of the folder. The temporary never outlives a failure. */
static int replace(const struct place *p, const char *temp, const void *from, size_t n, mode_t mode,
		   char *err)
{
	if (write_temp(p, temp, from, n, mode) < 0 || renameat(p->fd, temp, p->fd, p->name) < 0) {
		int rc = fail_errno(err, "write", p->path);
		unlinkat(p->fd, temp, 0);
		return rc;
	}
	return fsync(p->fd) < 0 ? fail_errno(err, "sync the folder of", p->path) : 0;
}

/* Open the folder; make it 0700 when it is missing, and let that survive a crash. */
static int open_or_make_folder(struct place *p, char *err)
{
	int rc = place_open(p, err);
	if (rc != -ENOENT)
		return rc;
	if (mkdir(p->folder, FOLDER_MODE) < 0 && errno != EEXIST)
		return fail_errno(err, "make the folder", p->folder);
	rc = place_open(p, err);
	if (rc < 0)
		return rc;
	int parent = openat(p->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0 || fsync(parent) < 0)
		rc = fail_errno(err, "sync the parent of", p->folder);
	if (parent >= 0)
		close(parent);
	return rc;
}

int keyfile_write(const char *path, const void *from, size_t n, char *err)
{
	struct place p;
	int rc = place_split(&p, path, err);
	if (rc < 0)
		return rc;
	rc = open_or_make_folder(&p, err);
	if (rc == 0)
		rc = check_folder(&p, err);
	/* One writer at a time, for all use one temporary. Nobody else can hold a lock on a 0700
	 * folder. */
	if (rc == 0 && flock(p.fd, LOCK_EX) < 0)
		rc = fail_errno(err, "lock the folder", p.folder);
	if (rc == 0)
		rc = replace(&p, SECRET_TEMP, from, n, SECRET_MODE, err);
	place_done(&p);
	return rc;
}

static int zero_out(int fd, off_t bytes)
{
	static const uint8_t zeroes[512];
	while (bytes > 0) {
		size_t n = bytes < (off_t)sizeof(zeroes) ? (size_t)bytes : sizeof(zeroes);
		if (write_all(fd, zeroes, n) < 0)
			return -1;
		bytes -= (off_t)n;
	}
	return fsync(fd);
}

int keyfile_erase(const char *path, char *err)
{
	struct place p;
	struct stat st;
	int fd = -1, rc = place_split(&p, path, err);
	if (rc < 0)
		return rc;
	rc = place_open(&p, err);
	if (rc == 0)
		rc = fd = open_file(&p, O_WRONLY, &st, err);
	if (rc >= 0) {
		rc = zero_out(fd, st.st_size) < 0 ? fail_errno(err, "overwrite", path) : 0;
		if (unlinkat(p.fd, p.name, 0) < 0 || fsync(p.fd) < 0)
			rc = fail_errno(err, "remove", path);
	}
	if (fd >= 0)
		close(fd);
	place_done(&p);
	return rc == -ENOENT ? 0 : rc;
}

int file_write_atomic(const char *path, const void *from, size_t n, unsigned mode, char *err)
{
	struct place p;
	char temp[NAME_MAX + 1];
	int rc = place_split(&p, path, err);
	if (rc < 0)
		return rc;
	/* Others may write in this folder: the process's number keeps the temporaries apart. */
	snprintf(temp, sizeof(temp), ".%.200s.%ld.tmp", p.name, (long)getpid());
	rc = place_open(&p, err);
	if (rc == 0)
		rc = replace(&p, temp, from, n, (mode_t)mode & 07777, err);
	place_done(&p);
	return rc;
}
