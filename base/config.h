/* base/config.h - config files: inih underneath, one table of keys a program, errors with file and line.
 *
 * A program describes its file as rows {section, key, how to read the value, where it goes}. An unknown
 * section or key, a value that does not parse, a key given twice that may stand once, a required key that
 * is missing: each is one sentence "FILE:LINE: what, and how to mend it".
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_ERROR_BYTES 512

/* Reads one value into `to`. Returns NULL, or what was expected ("a number from 1 to 8"). `to` may gather
 * several values when the row says `many`. */
typedef const char *config_read_fn(const char *value, void *to, const void *arg);

struct config_row {
	const char *section;
	const char *key;
	config_read_fn *read;
	size_t offset;   /* of the field in the program's struct */
	const void *arg; /* for read: a range, a size, a list of words */
	bool required;
	bool many; /* may be given more than once */
};

struct config_range {
	uint64_t min, max;
};

/* Ready-made readers. _string: char[arg as size_t] or an error when too long; _path: the same, must be
 * absolute; _u32/_u64 with struct config_range; _bool: yes/no; _seconds: "90", "90s", "15m", "2h", "1d" into a
 * uint64_t of seconds, with struct config_range. Without a range (arg NULL) every number that fits is right.
 * _addr: with a port, into a struct addr; _ip: without one; _prefix into a struct prefix.
 * A value goes on to the end of its line; " ;" starts a comment; a line holds about 190 characters. */
config_read_fn config_string, config_path, config_u16, config_u32, config_u64, config_bool, config_seconds,
	config_addr, config_ip, config_prefix;

/* Read `path` by `rows` (n of them) into `to`, which holds the defaults. 0; or -EINVAL / -errno with one
 * sentence in err[CONFIG_ERROR_BYTES]. `to` may be partly written after a failure: read into a copy. */
int config_load(const char *path, const struct config_row *rows, size_t n, void *to, char *err)
	__attribute__((warn_unused_result));
/* The same over text already in memory; `name` stands for the file in errors. For tests and the fuzzer. */
int config_load_text(const char *name, const char *text, const struct config_row *rows, size_t n, void *to,
		     char *err) __attribute__((warn_unused_result));
