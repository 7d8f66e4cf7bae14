/* base/config.c - config files by a table of keys. See config.h. inih splits lines, we judge them.
 *
 * inih does not tell its handler the line, so lines are counted where they are handed to it.
 * Leading blanks are stripped there too: inih would take an indented line for a continuation of the
 * value above.
 */
#include "base/config.h"
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/addr.h"

#define FILE_BYTES_MAX (1024 * 1024)
#define SHOWN_CHARS    60  /* of a stranger's word in an error */
#define EXPECTED_BYTES 100 /* a reader's sentence with numbers in it */

struct parse {
	const char *name;
	const char *at; /* the rest of the text */
	const struct config_row *rows;
	size_t n;
	unsigned char *seen; /* by row */
	void *to;
	char *err;
	unsigned line; /* of what was handed to inih last */
	bool failed;
};

/* A reader's sentence that has numbers in it; good until the thread's next one. */
static const char *expected_range(const char *what, const struct config_range *range)
{
	static _Thread_local char text[EXPECTED_BYTES];
	snprintf(text, sizeof(text), "%s from %llu to %llu", what, (unsigned long long)range->min,
		 (unsigned long long)range->max);
	return text;
}

/* Read decimal digits at *at and step over them. False when there are none or the number is too
 * large. */
static bool read_digits(const char **at, uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	if (p == *at)
		return false;
	*at = p;
	*ret = v;
	return true;
}

/* Read a number within arg's range, which is cut to `max`. */
static const char *read_number(const char *value, uint64_t max, const void *arg, uint64_t *ret)
{
	struct config_range range = {0, max};
	if (arg)
		range = *(const struct config_range *)arg;
	if (range.max > max)
		range.max = max;
	uint64_t v;
	if (!read_digits(&value, &v) || *value != '\0' || v < range.min || v > range.max)
		return expected_range("a number", &range);
	*ret = v;
	return NULL;
}

const char *config_u16(const char *value, void *to, const void *arg)
{
	uint64_t v;
	const char *expected = read_number(value, UINT16_MAX, arg, &v);
	if (!expected)
		*(uint16_t *)to = (uint16_t)v;
	return expected;
}

const char *config_u32(const char *value, void *to, const void *arg)
{
	uint64_t v;
	const char *expected = read_number(value, UINT32_MAX, arg, &v);
	if (!expected)
		*(uint32_t *)to = (uint32_t)v;
	return expected;
}

const char *config_u64(const char *value, void *to, const void *arg)
{
	return read_number(value, UINT64_MAX, arg, to);
}

const char *config_bool(const char *value, void *to, const void *arg)
{
	(void)arg;
	bool yes = strcmp(value, "yes") == 0;
	if (!yes && strcmp(value, "no") != 0)
		return "yes or no";
	*(bool *)to = yes;
	return NULL;
}

/* Seconds in one of a unit; 0 for no such unit. */
static uint64_t unit_seconds(const char *unit)
{
	if (unit[0] != '\0' && unit[1] != '\0')
		return 0;
	switch (unit[0]) {
	case '\0':
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 60 * 60;
	case 'd':
		return 24 * 60 * 60;
	default:
		return 0;
	}
}

const char *config_seconds(const char *value, void *to, const void *arg)
{
	struct config_range range = {0, UINT64_MAX};
	if (arg)
		range = *(const struct config_range *)arg;
	uint64_t v;
	uint64_t unit = 0;
	if (read_digits(&value, &v))
		unit = unit_seconds(value);
	if (unit == 0 || __builtin_mul_overflow(v, unit, &v) || v < range.min || v > range.max)
		return expected_range("a time such as 90s, 15m, 2h or 1d, in seconds", &range);
	*(uint64_t *)to = v;
	return NULL;
}

const char *config_string(const char *value, void *to, const void *arg)
{
	static _Thread_local char text[EXPECTED_BYTES];
	size_t size = (size_t)arg;
	size_t n = strlen(value);
	if (n >= size) {
		snprintf(text, sizeof(text), "at most %zu characters", size - 1);
		return text;
	}
	memcpy(to, value, n + 1);
	return NULL;
}

const char *config_path(const char *value, void *to, const void *arg)
{
	if (value[0] != '/')
		return "an absolute path (one that starts with /)";
	return config_string(value, to, arg);
}

const char *config_addr(const char *value, void *to, const void *arg)
{
	(void)arg;
	return addr_parse(value, to) < 0
		       ? "an address with a port, such as 192.0.2.1:443 or [2001:db8::1]:443"
		       : NULL;
}

const char *config_ip(const char *value, void *to, const void *arg)
{
	(void)arg;
	return addr_parse_ip(value, to) < 0
		       ? "an address without a port, such as 192.0.2.1 or 2001:db8::1"
		       : NULL;
}

const char *config_prefix(const char *value, void *to, const void *arg)
{
	(void)arg;
	return prefix_parse(value, to) < 0
		       ? "a prefix whose host bits are zero, such as 192.0.2.0/24 or 2001:db8::/32"
		       : NULL;
}

/* Copy a stranger's word into buf[SHOWN_CHARS + 1], cut, with what is not printable as '?'. */
static const char *shown(const char *word, char *buf)
{
	size_t n = strnlen(word, SHOWN_CHARS);
	for (size_t i = 0; i < n; i++)
		buf[i] = word[i] >= ' ' && word[i] < 0x7f ? word[i] : '?';
	buf[n] = '\0';
	return buf;
}

/* Keep the first failure: FILE:LINE and the rest of the sentence. */
static void __attribute__((format(printf, 2, 3))) fail(struct parse *p, const char *fmt, ...)
{
	if (p->failed)
		return;
	p->failed = true;
	int n = snprintf(p->err, CONFIG_ERROR_BYTES, "%.200s:%u: ", p->name, p->line);
	va_list args;
	va_start(args, fmt);
	vsnprintf(p->err + n, CONFIG_ERROR_BYTES - (size_t)n, fmt, args);
	va_end(args);
}

static const struct config_row *row_find(const struct parse *p, const char *section,
					 const char *key, bool *ret_has_section)
{
	*ret_has_section = false;
	for (size_t i = 0; i < p->n; i++) {
		if (strcmp(p->rows[i].section, section) != 0)
			continue;
		*ret_has_section = true;
		if (strcmp(p->rows[i].key, key) == 0)
			return &p->rows[i];
	}
	return NULL;
}

static void report_unknown(struct parse *p, const char *section, const char *key, bool has_section)
{
	char a[SHOWN_CHARS + 1];
	char b[SHOWN_CHARS + 1];
	if (has_section)
		fail(p, "[%s] has no key \"%s\"; correct its spelling or remove the line",
		     shown(section, a), shown(key, b));
	else if (section[0] == '\0')
		fail(p, "\"%s\" stands before any section; put it under a [section] line",
		     shown(key, b));
	else
		fail(p, "there is no section [%s]; correct its spelling or remove it",
		     shown(section, a));
}

/* inih's handler. Returns 1 always: failures are kept in p, and feed_line then ends the text. */
static int on_value(void *arg, const char *section, const char *key, const char *value)
{
	struct parse *p = arg;
	if (p->failed)
		return 1;
	bool has_section;
	const struct config_row *row = row_find(p, section, key, &has_section);
	if (!row) {
		report_unknown(p, section, key, has_section);
		return 1;
	}
	size_t i = (size_t)(row - p->rows);
	if (p->seen[i] && !row->many) {
		fail(p, "\"%s\" is given twice in [%s]; keep one of the lines", key, section);
		return 1;
	}
	p->seen[i] = 1;
	const char *expected = row->read(value, (char *)p->to + row->offset, row->arg);
	char v[SHOWN_CHARS + 1];
	if (expected)
		fail(p, "\"%s\" cannot be \"%s\"; give %s", key, shown(value, v), expected);
	return 1;
}

/* inih's reader: the next line into buf, as fgets does it; NULL at the end or after a failure. */
static char *feed_line(char *buf, int size, void *arg)
{
	struct parse *p = arg;
	if (p->failed || *p->at == '\0')
		return NULL;
	p->line++;
	size_t n = strcspn(p->at, "\n");
	const char *line = p->at;
	p->at += n + (p->at[n] == '\n');
	while (n > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		n--;
	}
	if (n + 2 > (size_t)size) {
		fail(p, "the line is too long; keep it under %d characters", size - 1);
		return NULL;
	}
	memcpy(buf, line, n);
	buf[n] = '\n';
	buf[n + 1] = '\0';
	return buf;
}

static void check_required(struct parse *p)
{
	for (size_t i = 0; i < p->n && !p->failed; i++) {
		const struct config_row *row = &p->rows[i];
		if (row->required && !p->seen[i])
			fail(p,
			     "the file ends and [%s] lacks \"%s\"; add the line \"%s = ...\" there",
			     row->section, row->key, row->key);
	}
}

int config_load_text(const char *name, const char *text, const struct config_row *rows, size_t n,
		     void *to, char *err)
{
	struct parse p = {.name = name, .at = text, .rows = rows, .n = n, .to = to, .err = err};
	p.seen = calloc(n ? n : 1, 1);
	if (!p.seen) {
		snprintf(err, CONFIG_ERROR_BYTES, "%.200s: cannot be read: out of memory", name);
		return -ENOMEM;
	}
	int bad_line = ini_parse_stream(feed_line, &p, on_value, &p);
	if (bad_line > 0 && (!p.failed || (unsigned)bad_line < p.line)) {
		p.failed = false; /* inih goes on after a bad line: what it saw first counts */
		p.line = (unsigned)bad_line;
		fail(&p, "this is neither \"[section]\" nor \"key = value\"; correct or remove it");
	} else if (bad_line < 0 && !p.failed) {
		fail(&p, "the line cannot be taken in: out of memory");
	}
	if (p.line == 0)
		p.line = 1; /* an empty file lacks its keys in line 1 */
	check_required(&p);
	free(p.seen);
	return p.failed ? -EINVAL : 0;
}

/* Read all of an open file, with a NUL after it. NULL and a negative *ret_err when it cannot be. */
static char *read_all(int fd, int *ret_err)
{
	char *text = malloc(FILE_BYTES_MAX + 1);
	if (!text) {
		*ret_err = -ENOMEM;
		return NULL;
	}
	size_t n = 0;
	ssize_t got;
	do {
		got = read(fd, text + n, FILE_BYTES_MAX + 1 - n);
		n += got > 0 ? (size_t)got : 0;
	} while ((got > 0 && n <= FILE_BYTES_MAX) || (got < 0 && errno == EINTR));
	*ret_err = got < 0 ? -errno : n > FILE_BYTES_MAX ? -EFBIG : 0;
	if (*ret_err == 0 && memchr(text, '\0', n))
		*ret_err = -EILSEQ;
	if (*ret_err < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static const char *read_failure_text(int err)
{
	if (err == -EFBIG)
		return "it is larger than 1 MiB";
	if (err == -EILSEQ)
		return "it is not a text file";
	return strerror(-err);
}

int config_load(const char *path, const struct config_row *rows, size_t n, void *to, char *err)
{
	int failure = 0;
	char *text = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		failure = -errno;
	else
		text = read_all(fd, &failure);
	if (fd >= 0)
		close(fd);
	if (!text) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "%.200s: cannot be read: %s; create it or name another file", path,
			 read_failure_text(failure));
		return failure;
	}
	int result = config_load_text(path, text, rows, n, to, err);
	free(text);
	return result;
}
