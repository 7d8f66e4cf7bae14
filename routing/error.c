/* routing/error.c - see routing/error.h. */
#include "routing/error.h"
#include <stdarg.h>
#include <stdio.h>

int routing_fail(char *err, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err, ROUTING_ERROR_BYTES, fmt, ap);
	va_end(ap);
	return code;
}
