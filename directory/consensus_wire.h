/* directory/consensus_wire.h - the lists that consensus and vote share. Only for directory/. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/bytes.h"
#include "directory/consensus.h"

/* A reader that also knows why it stopped: `broken` is a breach of the format, r.bad alone is an
 * early end. */
struct wire {
	struct reader r;
	bool broken;
	bool no_memory;
};

/* Note a breach; nothing is read after it. */
void wire_break(struct wire *w);
/* DIR_OK when all was read to the last byte, else why not. */
enum dir_result wire_result(const struct wire *w);
/* Read four bytes that must be `magic`. */
void wire_magic(struct wire *w, const char *magic);
/* Read u16 n {…} into a new array (the caller's; NULL when n is 0 or reading failed), strictly
 * ascending. */
struct consensus_param *wire_params(struct wire *w, uint16_t *ret_n);
struct consensus_relay *wire_relays(struct wire *w, uint16_t *ret_n);
uint8_t (*wire_ids(struct wire *w, size_t max, uint16_t *ret_n))[32];

/* Write them; false when they are not strictly ascending or more than a document may hold. */
bool wire_put_params(struct writer *w, const struct consensus_param *p, uint16_t n);
bool wire_put_relays(struct writer *w, const struct consensus_relay *p, uint16_t n);
bool wire_put_ids(struct writer *w, uint8_t (*const p)[32], uint16_t n);
