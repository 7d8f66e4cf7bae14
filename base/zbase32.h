/* base/zbase32.h - z-base-32 (P. O'Whielacronx) of 32-byte keys and of the names made from them. */
#pragma once
#include <stdint.h>

#define ZBASE32_KEY_CHARS 52
#define NAME_SUFFIX       ".sispop"
#define NAME_BYTES        (ZBASE32_KEY_CHARS + sizeof(NAME_SUFFIX)) /* with the NUL */

/* Write the 52 characters of key and a NUL. */
void zbase32_encode_key(const uint8_t key[32], char out[ZBASE32_KEY_CHARS + 1]);
/* Read exactly 52 characters (text may go on after them); -EINVAL for a foreign character or a last one that
 * is not `y` or `o` (4 spare bits must be zero). */
int zbase32_decode_key(const char *text, uint8_t ret_key[32]) __attribute__((warn_unused_result));
/* "<52 characters>.sispop" both ways; exact, lower case. -EINVAL else. */
void name_from_id(const uint8_t id[32], char out[NAME_BYTES]);
int name_to_id(const char *name, uint8_t ret_id[32]) __attribute__((warn_unused_result));
