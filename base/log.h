/* base/log.h - one line a fact to stderr. Never a destination, an inner address, a name asked for or a secret. */
#pragma once

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Show lines up to this level (default LOG_INFO). */
void log_set_level(enum log_level level);
/* -EINVAL for a word that is not error, warn, info or debug. */
int log_level_parse(const char *word, enum log_level *ret) __attribute__((warn_unused_result));
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
