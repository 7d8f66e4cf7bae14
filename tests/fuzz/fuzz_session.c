/* tests/fuzz/fuzz_session.c - any plain as a session message: what is taken is written back the
 * same. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "onion/session_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void expect(bool fact)
{
	if (!fact)
		abort();
}

#define TRY(name)                                                                                  \
	do {                                                                                       \
		struct msg_##name m;                                                               \
		if (msg_##name##_parse(body, len, &m)) {                                           \
			used = msg_##name##_write(again, sizeof(again), &m);                       \
			expect(used == len && memcmp(again, body, len) == 0);                      \
		}                                                                                  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct session_head h;
	const uint8_t *body;
	if (!session_head_parse(bytes, n, &h, &body))
		return 0;
	static uint8_t again[65536 + 8];
	size_t used = session_write(again, sizeof(again), h.type, h.seq, body, h.len);
	expect(used == (size_t)SESSION_HEAD_BYTES + h.len && memcmp(again, bytes, used) == 0);
	size_t len = h.len;
	TRY(auth);
	TRY(grant);
	TRY(deny);
	TRY(bind);
	TRY(bound);
	TRY(refused);
	return 0;
}
