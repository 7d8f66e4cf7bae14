/* base/log.c - one line a fact to stderr, written by one write(2) so that threads do not mix. See
 * log.h. */
#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 1024 /* longer lines are cut */

static const char *const words[] = {
	[LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};
#define WORDS (sizeof(words) / sizeof(words[0]))

static _Atomic int shown = LOG_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&shown, (int)level, memory_order_relaxed);
}

int log_level_parse(const char *word, enum log_level *ret)
{
	for (size_t i = 0; i < WORDS; i++) {
		if (strcmp(word, words[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* "2026-01-31T12:00:00.123Z info " */
static size_t write_prefix(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	size_t n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	const char *word = (unsigned)level < WORDS ? words[level] : "error";
	return n + (size_t)snprintf(line + n, size - n, ".%03ldZ %s ", now.tv_nsec / 1000000, word);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	if ((int)level > atomic_load_explicit(&shown, memory_order_relaxed))
		return;
	int kept_errno = errno;
	char line[LINE_BYTES];
	size_t start = write_prefix(line, sizeof(line), level);
	va_list args;
	va_start(args, fmt);
	int want = vsnprintf(line + start, sizeof(line) - start, fmt, args);
	va_end(args);
	size_t n = start + (want > 0 ? (size_t)want : 0);
	if (n > sizeof(line) - 1)
		n = sizeof(line) - 1;
	for (size_t i = start; i < n; i++) /* a stranger's words must not look like lines of ours */
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[n] = '\n';
	ssize_t done;
	do
		done = write(STDERR_FILENO, line, n + 1);
	while (done < 0 && errno == EINTR);
	errno = kept_errno; /* a line that cannot be written has nowhere to be reported */
}
