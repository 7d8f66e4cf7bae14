/* tests/sim/runs.h - does one packet show on two links? */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True when a and b share a run of 16 bytes at any places. Datagrams of at most DATAGRAM_MAX bytes. */
bool share_run16(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes);
