/* tests/sim/sealed.h - remembers every (key, nonce) that seals, and cries when one seals twice.
 *
 * Link with -Wl,--wrap=aead_seal,--wrap=aead_seal_batch,--wrap=chapoly_seal (CMake: watch_seals(TARGET)): all data
 * layers, and CTRL bodies sealed in onion/, pass through here on their way to the real functions. Any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Forget all (between tests). */
void sealed_reset(void);
/* Do not look at what seals until told again: a test's own forgeries. No other thread may seal meanwhile. */
void sealed_pause(bool pause);
/* Seals seen since the last reset. */
size_t sealed_count(void);
/* How many of them used a (key, nonce) that had sealed before. Must be 0. */
size_t sealed_twice(void);
