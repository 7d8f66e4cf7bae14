/* tests/fuzz/fuzz_http_answer.c - any bytes as an HTTP answer, in any pieces: the same comes of
 * them as when they come at once, and no more is kept than is allowed. The first byte chooses the
 * pieces. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "net/http_answer.h"

#define BODY_MOST 300

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void expect(bool fact)
{
	if (!fact)
		abort();
}

/* What take() said, or end(). */
static int feed(struct http_answer *a, const uint8_t *bytes, size_t n, size_t piece)
{
	expect(http_answer_init(a, BODY_MOST) == 0);
	while (n > 0) {
		size_t k = piece < n ? piece : n;
		int rc = http_answer_take(a, bytes, k);
		expect(a->n <= BODY_MOST && a->size <= BODY_MOST && a->n <= a->size);
		expect((rc < 0) == (a->state == ANSWER_REFUSED));
		if (rc < 0)
			return rc;
		bytes += k;
		n -= k;
	}
	int rc = http_answer_end(a);
	expect((rc == 0) == (a->state == ANSWER_WHOLE));
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct http_answer a, b;
	if (n == 0)
		return 0;
	int rc = feed(&a, bytes + 1, n - 1, n);
	expect(feed(&b, bytes + 1, n - 1, 1 + bytes[0] % 16) == rc);
	if (rc == 0) {
		expect(a.status >= 200 && a.status <= 599);
		expect(a.status == b.status && a.n == b.n);
		expect(a.n == 0 || memcmp(a.body, b.body, a.n) == 0);
	}
	http_answer_done(&a);
	http_answer_done(&b);
	return 0;
}
