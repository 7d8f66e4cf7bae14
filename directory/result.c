/* directory/result.c - names and sentences of directory/result.h. */
#include "directory/result.h"
#include <stddef.h>

static const struct {
	const char *code, *text;
} rows[DIR_RESULT_COUNT] = {
#define X(id, code, text) [DIR_##id] = {code, text},
	DIR_RESULT_LIST(X)
#undef X
};

const char *dir_result_code(enum dir_result r)
{
	return (size_t)r < DIR_RESULT_COUNT ? rows[r].code : "unknown";
}

const char *dir_result_text(enum dir_result r)
{
	return (size_t)r < DIR_RESULT_COUNT ? rows[r].text : "unknown result";
}
