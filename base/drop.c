/* base/drop.c - the names of the drop reasons. See drop.h. */
#include "base/drop.h"

const char *drop_name(enum drop d)
{
	static const char *const names[] = {
#define X(id, text) [DROP_##id] = text,
		DROP_LIST(X)
#undef X
	};
	return (unsigned)d < DROP_COUNT ? names[d] : "unknown";
}
