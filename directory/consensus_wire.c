/* directory/consensus_wire.c - sorted lists on the wire: parameters, relays, IDs. */
#include "directory/consensus_wire.h"
#include <stdlib.h>
#include <string.h>

#define PARAM_BYTES (2 + 4)

void wire_break(struct wire *w)
{
	if (!w->r.bad)
		w->broken = true;
	reader_fail(&w->r);
}

enum dir_result wire_result(const struct wire *w)
{
	if (w->no_memory)
		return DIR_NO_MEMORY;
	if (w->broken)
		return DIR_MALFORMED;
	if (w->r.bad)
		return DIR_CUT;
	return w->r.left ? DIR_MALFORMED : DIR_OK;
}

void wire_magic(struct wire *w, const char *magic)
{
	uint8_t got[4];
	reader_copy(&w->r, got, sizeof(got));
	if (!w->r.bad && memcmp(got, magic, sizeof(got)))
		wire_break(w);
}

/* Read a count of things of `bytes` each, look whether they are there, and only then allocate room
 * for them. */
static void *new_list(struct wire *w, size_t bytes, size_t max, size_t room, uint16_t *ret_n)
{
	uint16_t n = reader_u16(&w->r);
	*ret_n = 0;
	if (n > max)
		wire_break(w);
	else if (w->r.left < n * bytes)
		reader_fail(&w->r);
	if (w->r.bad || !n)
		return NULL;
	void *list = calloc(n, room);
	if (!list) {
		w->no_memory = true;
		reader_fail(&w->r);
		return NULL;
	}
	*ret_n = n;
	return list;
}

struct consensus_param *wire_params(struct wire *w, uint16_t *ret_n)
{
	struct consensus_param *p =
		new_list(w, PARAM_BYTES, CONSENSUS_PARAMS_MAX, sizeof(*p), ret_n);
	for (unsigned i = 0; i < *ret_n; i++) {
		p[i].id = reader_u16(&w->r);
		p[i].value = reader_u32(&w->r);
		if (i && p[i].id <= p[i - 1].id)
			wire_break(w);
	}
	return p;
}

struct consensus_relay *wire_relays(struct wire *w, uint16_t *ret_n)
{
	struct consensus_relay *p =
		new_list(w, CONSENSUS_RELAY_BYTES, CONSENSUS_RELAYS_MAX, sizeof(*p), ret_n);
	for (unsigned i = 0; i < *ret_n; i++) {
		reader_copy(&w->r, p[i].id, sizeof(p[i].id));
		reader_copy(&w->r, p[i].hash, sizeof(p[i].hash));
		p[i].flags = reader_u32(&w->r);
		p[i].weight = reader_u32(&w->r);
		if (i && memcmp(p[i].id, p[i - 1].id, sizeof(p[i].id)) <= 0)
			wire_break(w);
	}
	return p;
}

uint8_t (*wire_ids(struct wire *w, size_t max, uint16_t *ret_n))[32]
{
	uint8_t(*p)[32] = new_list(w, sizeof(*p), max, sizeof(*p), ret_n);
	for (unsigned i = 0; i < *ret_n; i++) {
		reader_copy(&w->r, p[i], sizeof(p[i]));
		if (i && memcmp(p[i], p[i - 1], sizeof(p[i])) <= 0)
			wire_break(w);
	}
	return p;
}

bool wire_put_params(struct writer *w, const struct consensus_param *p, uint16_t n)
{
	writer_u16(w, n);
	for (unsigned i = 0; i < n; i++) {
		if (i && p[i].id <= p[i - 1].id)
			return false;
		writer_u16(w, p[i].id);
		writer_u32(w, p[i].value);
	}
	return n <= CONSENSUS_PARAMS_MAX;
}

bool wire_put_relays(struct writer *w, const struct consensus_relay *p, uint16_t n)
{
	writer_u16(w, n);
	for (unsigned i = 0; i < n; i++) {
		if (i && memcmp(p[i].id, p[i - 1].id, sizeof(p[i].id)) <= 0)
			return false;
		writer_put(w, p[i].id, sizeof(p[i].id));
		writer_put(w, p[i].hash, sizeof(p[i].hash));
		writer_u32(w, p[i].flags);
		writer_u32(w, p[i].weight);
	}
	return true;
}

bool wire_put_ids(struct writer *w, uint8_t (*const p)[32], uint16_t n)
{
	writer_u16(w, n);
	for (unsigned i = 0; i < n; i++) {
		if (i && memcmp(p[i], p[i - 1], sizeof(p[i])) <= 0)
			return false;
		writer_put(w, p[i], sizeof(p[i]));
	}
	return n <= CONSENSUS_REVOKED_MAX;
}
