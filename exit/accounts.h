/* exit/accounts.h - token accounts in SQLite: name, public key, created, expires, revoked. Never the token.
 *
 * The running exit and `sispopnet-relay token …` open the same file; the exit sees changes at once (it asks on each
 * AUTH, and looks for revocations of granted ones every second by the file's data version).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCOUNT_NAME_BYTES  65 /* 1..64 of letters, digits, - _ . @ */
#define ACCOUNT_ERROR_BYTES 256

struct accounts;

struct account {
	char name[ACCOUNT_NAME_BYTES];
	uint8_t public_key[32];
	uint64_t created; /* seconds since 1970 */
	uint64_t expires; /* 0: never */
	uint64_t revoked; /* 0: not */
	uint32_t max_sessions; /* 0: the default */
	uint32_t up_kbps, down_kbps; /* 0: none */
	uint64_t quota_bytes; /* 0: none; kept, not yet enforced */
};

/* Open or make the file (0600). */
int accounts_open(const char *path, struct accounts **ret, char err[ACCOUNT_ERROR_BYTES]) __attribute__((warn_unused_result));
void accounts_close(struct accounts *a);
/* -EEXIST when the name is taken, -EINVAL for a bad name. */
int accounts_add(struct accounts *a, const struct account *acc, char err[ACCOUNT_ERROR_BYTES]) __attribute__((warn_unused_result));
int accounts_find_key(struct accounts *a, const uint8_t key[32], struct account *ret) __attribute__((warn_unused_result));
int accounts_find_name(struct accounts *a, const char *name, struct account *ret) __attribute__((warn_unused_result));
/* -ENOENT when there is no such name; revoking twice is fine. */
int accounts_revoke(struct accounts *a, const char *name, uint64_t now_unix, char err[ACCOUNT_ERROR_BYTES])
	__attribute__((warn_unused_result));
/* Call fn for each, by name; stops when it returns false. */
int accounts_each(struct accounts *a, bool (*fn)(void *arg, const struct account *acc), void *arg) __attribute__((warn_unused_result));
/* True when the file changed since the last call (another process wrote). */
bool accounts_changed(struct accounts *a);
