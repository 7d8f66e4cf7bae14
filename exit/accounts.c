/* exit/accounts.c - see accounts.h. SQLite in WAL mode: the running exit reads while a command
 * writes, and neither waits for the other's disk. What is written is synced before the call
 * returns, or it was not written.
 *
 * PRAGMA application_id and user_version say whose file it is and in which form; the columns of
 * quotas stand already.
 */
#include "exit/accounts.h"
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x73785441 /* "sxTA" */
#define SCHEMA_VERSION 1
#define BUSY_MSEC      5000 /* a command waits that long for another one's write */
#define SHOWN_CHARS    120  /* of a path in a sentence */
#define TEXT_(x)       #x
#define TEXT(x)	       TEXT_(x)

static const char schema_sql[] =
	"CREATE TABLE account ("
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
	"PRAGMA application_id = " TEXT(APPLICATION_ID) ";"
							"PRAGMA user_version = " TEXT(
								SCHEMA_VERSION) ";";

#define COLUMNS                                                                                    \
	"name, public_key, created, expires, revoked, max_sessions, up_kbps, down_kbps, quota_bytes"

enum query { FIND_KEY, FIND_NAME, EACH, ADD, REVOKE, DATA_VERSION, QUERIES };

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

struct accounts {
	int folder; /* locked while the file is opened and closed */
	sqlite3 *db;
	sqlite3_stmt *query[QUERIES];
	int64_t data_version;
	char path[SHOWN_CHARS + 1]; /* for sentences */
};

static int __attribute__((format(printf, 3, 4))) fail(char *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, ACCOUNT_ERROR_BYTES, fmt, ap);
	va_end(ap);
	return code;
}

/* --- what SQLite says --- */

static int code_of(const struct accounts *a, int rc)
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

static int fail_sqlite(const struct accounts *a, int rc, char *err)
{
	int code = code_of(a, rc);
	return fail(err, code, "accounts %s: %s", a->path, mend_of(code));
}

static int run_sql(struct accounts *a, const char *sql)
{
	return sqlite3_exec(a->db, sql, NULL, NULL, NULL);
}

/* The number in the first column of the first row. */
static int read_number(sqlite3_stmt *q, int64_t *ret)
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
		rc = read_number(q, ret);
	sqlite3_finalize(q);
	return rc;
}

/* --- open --- */

static int judge_file(const char *path, char *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return fail(err, -errno, "accounts %.*s: cannot be looked at: %s; check the path",
			    SHOWN_CHARS, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(err, -EINVAL, "accounts %.*s: is no regular file; move it away",
			    SHOWN_CHARS, path);
	if (geteuid() != 0 && st.st_uid != geteuid())
		return fail(err, -EACCES,
			    "accounts %.*s: belongs to another user; give it to this one (chown)",
			    SHOWN_CHARS, path);
	if (st.st_mode & 077)
		return fail(err, -EACCES,
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
			       : fail(err, -e,
				      "accounts %.*s: cannot be made: %s; check its folder and the disk",
				      SHOWN_CHARS, path, strerror(e));
	e = fchmod(fd, 0600) < 0 ? errno : 0; /* whatever the umask */
	close(fd);
	return e ? fail(err, -e,
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
		return fail(err, -EBADMSG, "accounts %s: belongs to another program; move it away",
			    a->path);
	else if (rc == SQLITE_OK && version != SCHEMA_VERSION)
		return fail(err, -EBADMSG,
			    "accounts %s: was written by another version (%lld); install that one",
			    a->path, (long long)version);
	return rc == SQLITE_OK ? 0 : fail_sqlite(a, rc, err);
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
	return rc == SQLITE_OK ? 0 : fail_sqlite(a, rc, err);
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
		return fail_sqlite(a, rc, err);
	code = check_schema(a, err);
	rc = run_sql(a, code ? "ROLLBACK" : "COMMIT");
	if (code)
		return code;
	return rc == SQLITE_OK ? check_pages(a, err) : fail_sqlite(a, rc, err);
}

static int prepare(struct accounts *a, char *err)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; i < QUERIES && rc == SQLITE_OK; i++)
		rc = sqlite3_prepare_v3(a->db, query_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					&a->query[i], NULL);
	if (rc == SQLITE_OK)
		rc = read_number(a->query[DATA_VERSION], &a->data_version);
	return rc == SQLITE_OK ? 0 : fail_sqlite(a, rc, err);
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
	code = rc == SQLITE_OK ? set_up(a, err) : fail_sqlite(a, rc, err);
	return code ? code : prepare(a, err);
}

int accounts_open(const char *path, struct accounts **ret, char err[ACCOUNT_ERROR_BYTES])
{
	struct accounts *a = calloc(1, sizeof(*a));
	int code;

	if (!a)
		return fail(err, -ENOMEM, "accounts %.*s: no memory to open them", SHOWN_CHARS,
			    path);
	snprintf(a->path, sizeof(a->path), "%.*s", SHOWN_CHARS, path);
	a->folder = -1;
	code = lock_folder(path, &a->folder);
	if (code)
		fail(err, code, "accounts %s: their folder cannot be opened: %s; check the path",
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

/* --- one account --- */

static bool name_is_ok(const char *name)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@";
	size_t n = strspn(name, allowed);

	return n > 0 && n < ACCOUNT_NAME_BYTES && !name[n];
}

static bool read_u32(sqlite3_stmt *q, int column, uint32_t *ret)
{
	int64_t v = sqlite3_column_int64(q, column);

	*ret = (uint32_t)v;
	return v >= 0 && v <= UINT32_MAX;
}

static bool read_u64(sqlite3_stmt *q, int column, uint64_t *ret)
{
	int64_t v = sqlite3_column_int64(q, column);

	*ret = (uint64_t)v;
	return v >= 0;
}

/* The row that q stands on. -EBADMSG for what accounts_add() would not have written. */
static int read_row(sqlite3_stmt *q, struct account *ret)
{
	struct account acc = {0};
	const char *name = (const char *)sqlite3_column_text(q, 0);
	const void *key = sqlite3_column_blob(q, 1);

	if (!name || !name_is_ok(name) || !key ||
	    sqlite3_column_bytes(q, 1) != sizeof(acc.public_key))
		return -EBADMSG;
	strcpy(acc.name, name);
	memcpy(acc.public_key, key, sizeof(acc.public_key));
	if (!read_u64(q, 2, &acc.created) || !read_u64(q, 3, &acc.expires) ||
	    !read_u64(q, 4, &acc.revoked) || !read_u32(q, 5, &acc.max_sessions) ||
	    !read_u32(q, 6, &acc.up_kbps) || !read_u32(q, 7, &acc.down_kbps) ||
	    !read_u64(q, 8, &acc.quota_bytes))
		return -EBADMSG;
	*ret = acc;
	return 0;
}

static void done(sqlite3_stmt *q)
{
	sqlite3_reset(q);
	sqlite3_clear_bindings(q);
}

static int find(const struct accounts *a, sqlite3_stmt *q, struct account *ret)
{
	int rc = sqlite3_step(q);
	int code = rc == SQLITE_ROW    ? read_row(q, ret)
		   : rc == SQLITE_DONE ? -ENOENT
				       : code_of(a, rc);

	done(q);
	return code;
}

int accounts_find_key(struct accounts *a, const uint8_t key[32], struct account *ret)
{
	sqlite3_bind_blob(a->query[FIND_KEY], 1, key, 32, SQLITE_STATIC);
	return find(a, a->query[FIND_KEY], ret);
}

int accounts_find_name(struct accounts *a, const char *name, struct account *ret)
{
	sqlite3_bind_text(a->query[FIND_NAME], 1, name, -1, SQLITE_STATIC);
	return find(a, a->query[FIND_NAME], ret);
}

int accounts_each(struct accounts *a, bool (*fn)(void *arg, const struct account *acc), void *arg)
{
	sqlite3_stmt *q = a->query[EACH];
	struct account acc;
	int rc = SQLITE_DONE, code = 0;

	while (!code && (rc = sqlite3_step(q)) == SQLITE_ROW) {
		code = read_row(q, &acc);
		if (!code && !fn(arg, &acc))
			break;
	}
	done(q);
	return code ? code : code_of(a, rc);
}

static int bad_name(const char *name, char *err)
{
	return fail(err, -EINVAL,
		    "\"%.40s\" cannot name an account: give 1 to %d letters, digits or - _ . @",
		    name, ACCOUNT_NAME_BYTES - 1);
}

static int bind_account(sqlite3_stmt *q, const struct account *acc)
{
	const uint64_t number[] = {acc->created, acc->expires,	 acc->revoked,	  acc->max_sessions,
				   acc->up_kbps, acc->down_kbps, acc->quota_bytes};

	sqlite3_bind_text(q, 1, acc->name, -1, SQLITE_STATIC);
	sqlite3_bind_blob(q, 2, acc->public_key, sizeof(acc->public_key), SQLITE_STATIC);
	for (int i = 0; i < (int)(sizeof(number) / sizeof(number[0])); i++) {
		if (number[i] > INT64_MAX)
			return -EINVAL;
		sqlite3_bind_int64(q, 3 + i, (int64_t)number[i]);
	}
	return 0;
}

int accounts_add(struct accounts *a, const struct account *acc, char err[ACCOUNT_ERROR_BYTES])
{
	sqlite3_stmt *q = a->query[ADD];
	int rc;

	if (!memchr(acc->name, 0, sizeof(acc->name)) || !name_is_ok(acc->name))
		return bad_name(acc->name, err);
	if (bind_account(q, acc)) {
		done(q);
		return fail(err, -EINVAL,
			    "a number of the account \"%s\" is too large: give one below 2^63",
			    acc->name);
	}
	rc = sqlite3_step(q);
	done(q);
	if (rc == SQLITE_DONE)
		return 0;
	if (rc == SQLITE_CONSTRAINT_PRIMARYKEY)
		return fail(err, -EEXIST, "there is an account \"%s\" already: choose another name",
			    acc->name);
	if (rc == SQLITE_CONSTRAINT_UNIQUE)
		return fail(err, -EEXIST,
			    "another account has that token already: make a new token");
	return fail_sqlite(a, rc, err);
}

int accounts_revoke(struct accounts *a, const char *name, uint64_t now_unix,
		    char err[ACCOUNT_ERROR_BYTES])
{
	sqlite3_stmt *q = a->query[REVOKE];
	int rc;

	if (!now_unix || now_unix > INT64_MAX)
		return fail(err, -EINVAL, "the clock says %llu: set it right",
			    (unsigned long long)now_unix);
	sqlite3_bind_int64(q, 1, (int64_t)now_unix);
	sqlite3_bind_text(q, 2, name, -1, SQLITE_STATIC);
	rc = sqlite3_step(q);
	done(q);
	if (rc != SQLITE_DONE)
		return fail_sqlite(a, rc, err);
	if (!sqlite3_changes(a->db))
		return fail(err, -ENOENT,
			    "there is no account \"%.64s\": see `sispopnet-relay token list`",
			    name);
	return 0;
}

bool accounts_changed(struct accounts *a)
{
	int64_t now = 0;

	if (read_number(a->query[DATA_VERSION], &now) != SQLITE_OK || now == a->data_version)
		return false;
	a->data_version = now;
	return true;
}
