/* exit/accounts_db.h - private to accounts.c and accounts_open.c: the open file and how SQLite's failures are told. */
#pragma once
#include <sqlite3.h>
#include "exit/accounts.h"

#define ACCOUNTS_SHOWN_CHARS 120 /* of a path in a sentence */

enum accounts_query { FIND_KEY, FIND_NAME, EACH, ADD, REVOKE, DATA_VERSION, QUERIES };

struct accounts {
	int folder; /* locked while the file is opened and closed */
	sqlite3 *db;
	sqlite3_stmt *query[QUERIES];
	int64_t data_version;
	char path[ACCOUNTS_SHOWN_CHARS + 1]; /* for sentences */
};

/* Write the sentence and return code. */
int accounts_fail(char *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* What SQLite returned, as 0 or -errno. */
int accounts_code(const struct accounts *a, int rc);
/* Both: what SQLite returned, as a sentence with the mend. */
int accounts_fail_sqlite(const struct accounts *a, int rc, char *err);
/* The number in the first column of the first row; resets q. An SQLite result. */
int accounts_read_number(sqlite3_stmt *q, int64_t *ret);
