/* exit/accounts_open.c - see accounts.h: the account file and what may be wrong with it. SQLite in
 * WAL mode: the running exit reads while a command writes, and neither waits for the other's disk.
 * What is written is synced before the call returns, or it was not written.
 *
 * PRAGMA application_id and user_version say whose file it is and in which form; the columns of
 * quotas stand already.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "exit/accounts_db.h"

#define APPLICATION_ID 0x73785441 /* "sxTA"; both stand in schema_sql too */
#define SCHEMA_VERSION 1
#define BUSY_MSEC      5000 /* a command waits that long for another one's write */
#define SHOWN_CHARS    ACCOUNTS_SHOWN_CHARS

static const char schema_sql[] = "CREATE TABLE account ("
				 "name TEXT PRIMARY KEY NOT NULL,"
				 "public_key BLOB NOT NULL UNIQUE CHECK (length(public_key) = 32),"
				 "created INTEGER NOT NULL,"
				 "expires INTEGER NOT NULL DEFAULT 0," /* 0: never */
				 "revoked INTEGER NOT NULL DEFAULT 0," /* 0: not */
				 "max_sessions INTEGER NOT NULL DEFAULT 0,"
				 "up_kbps INTEGER NOT NULL DEFAULT 0,"
				 "down_kbps INTEGER NOT NULL DEFAULT 0,"
				 "quota_bytes INTEGER NOT NULL DEFAULT 0,"
				 "used_bytes INTEGER NOT NULL DEFAULT 0"
				 ") STRICT;"
				 "PRAGMA application_id = 0x73785441;"
				 "PRAGMA user_version = 1;";

#define COLUMNS                                                                                    \
	"name, public_key, created, expires, revoked, max_sessions, up_kbps, down_kbps, quota_bytes"

static const char *const query_sql[QUERIES] = {
	[FIND_KEY] = "SELECT " COLUMNS " FROM account WHERE public_key = ?",
	[FIND_NAME] = "SELECT " COLUMNS " FROM account WHERE name = ?",
	[EACH] = "SELECT " COLUMNS " FROM account ORDER BY name",
	[ADD] = "INSERT INTO account (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
	/* The first revocation's time stays. */
	[REVOKE] =
		"UPDATE account SET revoked = CASE revoked WHEN 0 THEN ? ELSE revoked END WHERE name = ?",
	[DATA_VERSION] = "PRAGMA data_version",
};

int accounts_fail(char *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, ACCOUNT_ERROR_BYTES, fmt, ap);
	va_end(ap);
	return code;
}

/* --- what SQLite says --- */

int accounts_code(const struct accounts *a, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_MISMATCH:
		return -EBADMSG;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
	case SQLITE_CANTOPEN:
	case SQLITE_AUTH:
		return -EACCES;
	default: /* a full disk shows as an I/O error where a shared memory file grows */
		return a->db && sqlite3_system_errno(a->db) == ENOSPC ? -ENOSPC : -EIO;
	}
}

static const char *mend_of(int code)
{
	switch (code) {
	case -ENOSPC:
		return "the disk is full and nothing was written: make room on that file system";
	case -EBUSY:
		return "another program holds it: end that program and try again";
	case -EBADMSG:
		return "it is damaged or no account file: put back a copy, or move it away and add the tokens anew";
	case -ENOMEM:
		return "no memory";
	case -EROFS:
	case -EACCES:
		return "it cannot be written: check the owner and mode of the file and its folder";
	default:
		return "the disk failed to read or write: see whether that file system is in order";
	}
}

int accounts_fail_sqlite(const struct accounts *a, int rc, char *err)
{
	int code = accounts_code(a, rc);
	return accounts_fail(err, code, "accounts %s: %s", a->path, mend_of(code));
}

static int run_sql(struct accounts *a, const char *sql)
{
	return sqlite3_exec(a->db, sql, NULL, NULL, NULL);
}

int accounts_read_number(sqlite3_stmt *q, int64_t *ret)
{
	int rc = sqlite3_step(q);

	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(q, 0);
	sqlite3_reset(q);
	return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
}

static int ask_number(struct accounts *a, const char *sql, int64_t *ret)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(a->db, sql, -1, &q, NULL);

	if (rc == SQLITE_OK)
		rc = accounts_read_number(q, ret);
	sqlite3_finalize(q);
	return rc;
}

/* --- open --- */

static int judge_file(const char *path, char *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return accounts_fail(err, -errno,
				     "accounts %.*s: cannot be looked at: %s; check the path",
				     SHOWN_CHARS, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return accounts_fail(err, -EINVAL,
				     "accounts %.*s: is no regular file; move it away", SHOWN_CHARS,
				     path);
	if (geteuid() != 0 && st.st_uid != geteuid())
		return accounts_fail(
			err, -EACCES,
			"accounts %.*s: belongs to another user; give it to this one (chown)",
			SHOWN_CHARS, path);
	if (st.st_mode & 077)
		return accounts_fail(
			err, -EACCES,
			"accounts %.*s: is open to other users; close it: chmod 600 %.*s",
			SHOWN_CHARS / 2, path, SHOWN_CHARS / 2, path);
	return 0;
}

/* An empty file 0600 where there is none. A file that is there is only looked at, never opened and
 * closed by hand: POSIX would drop the locks of another handle in this process. */
static int make_file(const char *path, char *err)
{
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
	int e = errno;

	if (fd < 0)
		return e == EEXIST
			       ? judge_file(path, err)
			       : accounts_fail(
					 err, -e,
					 "accounts %.*s: cannot be made: %s; check its folder and the disk",
					 SHOWN_CHARS, path, strerror(e));
	e = fchmod(fd, 0600) < 0 ? errno : 0; /* whatever the umask */
	close(fd);
	return e ? accounts_fail(
			   err, -e,
			   "accounts %.*s: cannot be closed to others: %s; check its file system",
			   SHOWN_CHARS, path, strerror(e))
		 : 0;
}

/* In the transaction: make the table in an empty file, refuse what is not ours. */
static int check_schema(struct accounts *a, char *err)
{
	int64_t id = 0, version = 0, tables = 0;
	int rc = ask_number(a, "PRAGMA application_id", &id);

	if (rc == SQLITE_OK)
		rc = ask_number(a, "PRAGMA user_version", &version);
	if (rc == SQLITE_OK)
		rc = ask_number(a, "SELECT count(*) FROM sqlite_schema", &tables);
	if (rc == SQLITE_OK && !id && !version && !tables)
		rc = run_sql(a, schema_sql);
	else if (rc == SQLITE_OK && id != APPLICATION_ID)
		return accounts_fail(err, -EBADMSG,
				     "accounts %s: belongs to another program; move it away",
				     a->path);
	else if (rc == SQLITE_OK && version != SCHEMA_VERSION)
		return accounts_fail(
			err, -EBADMSG,
			"accounts %s: was written by another version (%lld); install that one",
			a->path, (long long)version);
	return rc == SQLITE_OK ? 0 : accounts_fail_sqlite(a, rc, err);
}

static int check_pages(struct accounts *a, char *err)
{
	sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(a->db, "PRAGMA quick_check(1)", -1, &q, NULL);
	const char *word;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(q);
	word = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 0) : NULL;
	if (rc == SQLITE_ROW)
		rc = word && !strcmp(word, "ok") ? SQLITE_OK : SQLITE_CORRUPT;
	sqlite3_finalize(q);
	return rc == SQLITE_OK ? 0 : accounts_fail_sqlite(a, rc, err);
}

/* An open file may be a stranger's: SQLite trusts nothing in its schema, and is told so. */
static int set_up(struct accounts *a, char *err)
{
	int rc, code;

	sqlite3_busy_timeout(a->db, BUSY_MSEC);
	sqlite3_db_config(a->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(a->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	rc = run_sql(
		a,
		"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON;"
		"BEGIN IMMEDIATE");
	if (rc != SQLITE_OK)
		return accounts_fail_sqlite(a, rc, err);
	code = check_schema(a, err);
	rc = run_sql(a, code ? "ROLLBACK" : "COMMIT");
	if (code)
		return code;
	return rc == SQLITE_OK ? check_pages(a, err) : accounts_fail_sqlite(a, rc, err);
}

static int prepare(struct accounts *a, char *err)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; i < QUERIES && rc == SQLITE_OK; i++)
		rc = sqlite3_prepare_v3(a->db, query_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					&a->query[i], NULL);
	if (rc == SQLITE_OK)
		rc = accounts_read_number(a->query[DATA_VERSION], &a->data_version);
	return rc == SQLITE_OK ? 0 : accounts_fail_sqlite(a, rc, err);
}

/* To switch to WAL, and to fold the log back at the end, SQLite needs the file for itself and does
 * not wait for it: those who open and close wait here for each other. */
static int lock_folder(const char *path, int *ret_fd)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd, e;

	if (!folder)
		return -ENOMEM;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	e = errno;
	free(folder);
	if (fd < 0)
		return -e;
	while (flock(fd, LOCK_EX) < 0) {
		e = errno;
		if (e != EINTR) {
			close(fd);
			return -e;
		}
	}
	*ret_fd = fd;
	return 0;
}

static int open_locked(struct accounts *a, const char *path, char *err)
{
	int code = make_file(path, err), rc;

	if (code)
		return code;
	rc = sqlite3_open_v2(path, &a->db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
			     NULL);
	code = rc == SQLITE_OK ? set_up(a, err) : accounts_fail_sqlite(a, rc, err);
	return code ? code : prepare(a, err);
}

int accounts_open(const char *path, struct accounts **ret, char err[ACCOUNT_ERROR_BYTES])
{
	struct accounts *a = calloc(1, sizeof(*a));
	int code;

	if (!a)
		return accounts_fail(err, -ENOMEM, "accounts %.*s: no memory to open them",
				     SHOWN_CHARS, path);
	snprintf(a->path, sizeof(a->path), "%.*s", SHOWN_CHARS, path);
	a->folder = -1;
	code = lock_folder(path, &a->folder);
	if (code)
		accounts_fail(err, code,
			      "accounts %s: their folder cannot be opened: %s; check the path",
			      a->path, strerror(-code));
	else
		code = open_locked(a, path, err);
	if (code) {
		accounts_close(a);
		return code;
	}
	flock(a->folder, LOCK_UN);
	*ret = a;
	return 0;
}

void accounts_close(struct accounts *a)
{
	if (!a)
		return;
	if (a->folder >= 0)
		flock(a->folder, LOCK_EX); /* has it already after a failed open */
	for (unsigned i = 0; i < QUERIES; i++)
		sqlite3_finalize(a->query[i]);
	sqlite3_close(a->db);
	if (a->folder >= 0)
		close(a->folder);
	free(a);
}
