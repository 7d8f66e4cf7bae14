/* exit/accounts.c - see accounts.h: the accounts of the open file, by prepared statements. */
#include "exit/accounts.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "exit/accounts_db.h"

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
				       : accounts_code(a, rc);

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
	return code ? code : accounts_code(a, rc);
}

static int bad_name(const char *name, char *err)
{
	return accounts_fail(
		err, -EINVAL,
		"\"%.40s\" cannot name an account: give 1 to %d letters, digits or - _ . @", name,
		ACCOUNT_NAME_BYTES - 1);
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
		return accounts_fail(
			err, -EINVAL,
			"a number of the account \"%s\" is too large: give one below 2^63",
			acc->name);
	}
	rc = sqlite3_step(q);
	done(q);
	if (rc == SQLITE_DONE)
		return 0;
	if (rc == SQLITE_CONSTRAINT_PRIMARYKEY)
		return accounts_fail(err, -EEXIST,
				     "there is an account \"%s\" already: choose another name",
				     acc->name);
	if (rc == SQLITE_CONSTRAINT_UNIQUE)
		return accounts_fail(err, -EEXIST,
				     "another account has that token already: make a new token");
	return accounts_fail_sqlite(a, rc, err);
}

int accounts_revoke(struct accounts *a, const char *name, uint64_t now_unix,
		    char err[ACCOUNT_ERROR_BYTES])
{
	sqlite3_stmt *q = a->query[REVOKE];
	int rc;

	if (!now_unix || now_unix > INT64_MAX)
		return accounts_fail(err, -EINVAL, "the clock says %llu: set it right",
				     (unsigned long long)now_unix);
	sqlite3_bind_int64(q, 1, (int64_t)now_unix);
	sqlite3_bind_text(q, 2, name, -1, SQLITE_STATIC);
	rc = sqlite3_step(q);
	done(q);
	if (rc != SQLITE_DONE)
		return accounts_fail_sqlite(a, rc, err);
	if (!sqlite3_changes(a->db))
		return accounts_fail(
			err, -ENOENT,
			"there is no account \"%.64s\": see `sispopnet-relay token list`", name);
	return 0;
}

bool accounts_changed(struct accounts *a)
{
	int64_t now = 0;

	if (accounts_read_number(a->query[DATA_VERSION], &now) != SQLITE_OK ||
	    now == a->data_version)
		return false;
	a->data_version = now;
	return true;
}
