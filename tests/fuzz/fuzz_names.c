/* tests/fuzz/fuzz_names.c - any text as a name, a key, an address, a prefix: what is taken has one
 * spelling. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"
#include "base/zbase32.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void expect(bool fact)
{
	if (!fact)
		abort();
}

static void try_name(const char *text)
{
	uint8_t id[32];
	char name[NAME_BYTES];
	if (name_to_id(text, id) == 0) {
		name_from_id(id, name);
		expect(strcmp(name, text) == 0);
	}
	if (zbase32_decode_key(text, id) == 0) {
		zbase32_encode_key(id, name);
		expect(memcmp(name, text, ZBASE32_KEY_CHARS) == 0);
	}
}

static void try_address(const char *text)
{
	char buf[ADDR_TEXT_BYTES];
	struct addr a;
	struct addr b;
	if (addr_parse(text, &a) == 0)
		expect(addr_parse(addr_text(&a, buf), &b) == 0 && addr_equal(&a, &b));
	if (addr_parse_ip(text, &a) == 0) {
		expect(addr_parse_ip(addr_ip_text(&a, buf), &b) == 0 && addr_equal(&a, &b));
		uint8_t mapped[16];
		addr_to_mapped(&a, mapped);
		b = addr_from_mapped(mapped, 0);
		bool all_zero = b.family == 0; /* "::" is how the wire says none */
		expect(all_zero || addr_equal(&a, &b));
		expect(!all_zero || addr_is_special(&a));
	}
}

static void try_prefix(const char *text)
{
	char buf[ADDR_TEXT_BYTES];
	struct prefix p;
	struct prefix q;
	if (prefix_parse(text, &p) != 0)
		return;
	expect(prefix_parse(prefix_text(&p, buf), &q) == 0);
	expect(p.len == q.len && addr_equal(&p.addr, &q.addr) && prefix_overlaps(&p, &q));
	expect(prefix_has(&p, &p.addr));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *text = malloc(n + 1);
	if (!text)
		return 0;
	memcpy(text, bytes, n);
	text[n] = '\0';
	try_name(text);
	try_address(text);
	try_prefix(text);
	free(text);
	return 0;
}
