/* base/zbase32.c - z-base-32 of 32-byte keys. See zbase32.h.
 *
 * Source: P. O'Whielacronx, "human-oriented base-32 encoding": five bits a character, most
 * significant first. 256 bits are 51 characters and one bit; the other four bits of the last
 * character are zero.
 */
#include "base/zbase32.h"
#include <errno.h>
#include <string.h>

#define KEY_BYTES 32

static const char alphabet[] = "ybndrfg8ejkmcpqxot1uwisza345h769";

void zbase32_encode_key(const uint8_t key[32], char out[ZBASE32_KEY_CHARS + 1])
{
	unsigned held = 0; /* bits not yet written, in the low `bits` bits */
	unsigned bits = 0;
	size_t next = 0;
	for (size_t i = 0; i < ZBASE32_KEY_CHARS; i++) {
		if (bits < 5) {
			held = held << 8 | (next < KEY_BYTES ? key[next] : 0);
			next++;
			bits += 8;
		}
		bits -= 5;
		out[i] = alphabet[held >> bits & 31];
		held &= (1u << bits) - 1;
	}
	out[ZBASE32_KEY_CHARS] = '\0';
}

/* The five bits of a character, or -1. */
static int value_of(char c)
{
	const char *at = c ? strchr(alphabet, c) : NULL;
	return at ? (int)(at - alphabet) : -1;
}

int zbase32_decode_key(const char *text, uint8_t ret_key[32])
{
	uint8_t key[KEY_BYTES];
	unsigned held = 0;
	unsigned bits = 0;
	size_t done = 0;
	for (size_t i = 0; i < ZBASE32_KEY_CHARS; i++) {
		int v = value_of(text[i]); /* stops at the NUL of a text that is too short */
		if (v < 0)
			return -EINVAL;
		held = held << 5 | (unsigned)v;
		bits += 5;
		if (bits >= 8 && done < KEY_BYTES) {
			bits -= 8;
			key[done++] = (uint8_t)(held >> bits);
			held &= (1u << bits) - 1;
		}
	}
	if (held != 0)
		return -EINVAL;
	memcpy(ret_key, key, KEY_BYTES);
	return 0;
}

void name_from_id(const uint8_t id[32], char out[NAME_BYTES])
{
	zbase32_encode_key(id, out);
	memcpy(out + ZBASE32_KEY_CHARS, NAME_SUFFIX, sizeof(NAME_SUFFIX));
}

int name_to_id(const char *name, uint8_t ret_id[32])
{
	if (strnlen(name, NAME_BYTES) != NAME_BYTES - 1)
		return -EINVAL;
	if (strcmp(name + ZBASE32_KEY_CHARS, NAME_SUFFIX) != 0)
		return -EINVAL;
	return zbase32_decode_key(name, ret_id);
}
