/* tests/fuzz/fuzz_config.c - any text as a config file: read or refused with one sentence. */
#include "base/config.h"
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

struct sample {
	char name[8];
	char path[16];
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	uint64_t seconds;
	bool flag;
	struct addr addr;
	struct addr ip;
	struct prefix prefix;
};

#define AT(field) offsetof(struct sample, field)
static const struct config_range range = {2, 300};
static const struct config_row rows[] = {
	{"a", "name", config_string, AT(name), (const void *)8, true, false},
	{"a", "path", config_path, AT(path), (const void *)16, false, true},
	{"a", "u16", config_u16, AT(u16), NULL, false, true},
	{"a", "u32", config_u32, AT(u32), &range, false, true},
	{"a", "u64", config_u64, AT(u64), NULL, false, true},
	{"b", "seconds", config_seconds, AT(seconds), &range, false, true},
	{"b", "flag", config_bool, AT(flag), NULL, false, true},
	{"b", "addr", config_addr, AT(addr), NULL, false, true},
	{"b", "ip", config_ip, AT(ip), NULL, false, true},
	{"b", "prefix", config_prefix, AT(prefix), NULL, false, false},
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *text = malloc(n + 1);
	if (!text)
		return 0;
	memcpy(text, bytes, n);
	text[n] = '\0';
	struct sample s = {.u32 = 2, .seconds = 2};
	char err[CONFIG_ERROR_BYTES] = "";
	int result = config_load_text("file", text, rows, sizeof(rows) / sizeof(rows[0]), &s, err);
	if ((result == 0) != (err[0] == '\0') || strchr(err, '\n'))
		abort();
	if (s.u32 < 2 || s.u32 > 300 || s.seconds < 2 || s.seconds > 300)
		abort();
	if (strnlen(s.name, 8) == 8 || strnlen(s.path, 16) == 16)
		abort();
	free(text);
	return 0;
}
