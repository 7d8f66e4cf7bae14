/* tests/fuzz/fuzz_http.c - any bytes as the head of an HTTP request. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void expect(bool fact)
{
	if (!fact)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct http_head head;
	struct http_head again;
	int result = http_head_parse(bytes, n, &head);
	if (result == 0) {
		expect(head.head_bytes >= 4 && head.head_bytes <= n);
		expect(head.head_bytes <= HTTP_HEAD_BYTES_MAX);
		expect(memcmp(bytes + head.head_bytes - 4, "\r\n\r\n", 4) == 0);
		expect(head.path[0] == '/' &&
		       strnlen(head.path, HTTP_PATH_BYTES) < HTTP_PATH_BYTES);
		/* what follows the head changes nothing, and a shorter one is not whole */
		expect(http_head_parse(bytes, head.head_bytes, &again) == 0);
		expect(again.body_bytes == head.body_bytes && again.method == head.method);
		expect(http_head_parse(bytes, head.head_bytes - 1, &again) == -EAGAIN);
	} else {
		expect(result == -EAGAIN || (result <= -400 && result >= -505));
	}
	return 0;
}
