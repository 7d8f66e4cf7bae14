/* onion/ctrl.h - what a CTRL datagram holds: a list of frames, type u8 | len u16 | data.
 * PROTOCOL.md section 4.
 *
 * ctrl_check() judges a whole list before anything acts on it; then ctrl_next() walks. FRAME_PAD
 * ends a list.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/bytes.h"
#include "onion/wire.h"

struct ctrl_frame {
	enum frame_type type;
	const uint8_t *data; /* within the plain */
	size_t n;	     /* the type's exact length */
};

/* The exact length of a frame's data; 0 for an unknown type (and for PAD, which has none). */
size_t ctrl_frame_bytes(unsigned type);
/* True when n is one of the two sizes and every frame has a known type and its exact length. */
bool ctrl_check(const uint8_t *plain, size_t n) __attribute__((warn_unused_result));
/* The next frame of a list that ctrl_check() passed; false at its end. Start with reader_init()
 * over it. */
bool ctrl_next(struct reader *r, struct ctrl_frame *ret) __attribute__((warn_unused_result));

/* A list on its way out. */
struct ctrl_list {
	size_t used;
	uint8_t plain[CTRL_PLAIN_LARGE];
};

/* Append one frame; false when it does not fit behind the others (send those first). n must be the
 * type's. */
bool ctrl_put(struct ctrl_list *l, enum frame_type type, const void *data, size_t n)
	__attribute__((warn_unused_result));
/* Fill up with PAD to the smaller size that holds it, and return that size. */
size_t ctrl_pad(struct ctrl_list *l);
