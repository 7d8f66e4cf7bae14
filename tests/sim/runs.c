/* tests/sim/runs.c - see runs.h. */
#include "sim/runs.h"

#include "base/bytes.h"
#include "onion/wire.h"

static bool run_around(const uint8_t *a, size_t a_bytes, size_t i, const uint8_t *b, size_t b_bytes,
		       size_t j)
{
	size_t run = 8;
	for (size_t k = 1; k <= i && k <= j && a[i - k] == b[j - k]; k++)
		run++;
	for (size_t k = 8; i + k < a_bytes && j + k < b_bytes && a[i + k] == b[j + k]; k++)
		run++;
	return run >= 16;
}

/* A run of 16 bytes holds a word of a that begins at a multiple of 8: those are hashed, then every
 * place of b is looked up. */
bool share_run16(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes)
{
	uint16_t first[512] = {0}, next[DATAGRAM_MAX / 8 + 1];
	for (size_t i = 0; i + 8 <= a_bytes && i < DATAGRAM_MAX; i += 8) {
		uint64_t h = load_be64(a + i) * UINT64_C(0x9e3779b97f4a7c15) >> 55;
		next[i / 8] = first[h];
		first[h] = (uint16_t)(i / 8 + 1);
	}
	for (size_t j = 0; j + 8 <= b_bytes; j++) {
		uint64_t word = load_be64(b + j);
		for (unsigned at = first[word * UINT64_C(0x9e3779b97f4a7c15) >> 55]; at != 0;
		     at = next[at - 1]) {
			size_t i = (size_t)(at - 1) * 8;
			if (load_be64(a + i) == word && run_around(a, a_bytes, i, b, b_bytes, j))
				return true;
		}
	}
	return false;
}
