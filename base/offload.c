/* base/offload.c - see offload.h. */
#include "base/offload.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	unsigned bits;
} words[] = {
	{"gso", OFFLOAD_GSO}, {"gro", OFFLOAD_GRO}, {"csum", OFFLOAD_CSUM},
	{"tso", OFFLOAD_TSO}, {"uso", OFFLOAD_USO}, {"all", OFFLOAD_ALL},
	{"none", 0},
};
#define WORDS	  (sizeof(words) / sizeof(words[0]))
#define SEPARATOR ", \t"

static int find(const char *word, size_t n)
{
	for (size_t i = 0; i < WORDS; i++)
		if (strlen(words[i].name) == n && !strncmp(words[i].name, word, n))
			return (int)i;
	return -1;
}

int offloads_parse(const char *names, unsigned *ret)
{
	unsigned mask = 0;

	for (names += strspn(names, SEPARATOR); *names; names += strspn(names, SEPARATOR)) {
		size_t n = strcspn(names, SEPARATOR);
		int i = find(names, n);

		if (i < 0)
			return -EINVAL;
		mask |= words[i].bits;
		names += n;
	}
	*ret = mask;
	return 0;
}

const char *offloads_text(unsigned mask, char out[OFFLOADS_TEXT_BYTES])
{
	size_t at = 0;

	snprintf(out, OFFLOADS_TEXT_BYTES, "none");
	for (size_t i = 0; words[i].bits != OFFLOAD_ALL; i++)
		if (mask & words[i].bits)
			at += (size_t)snprintf(out + at, OFFLOADS_TEXT_BYTES - at, "%s%s",
					       at ? " " : "", words[i].name);
	return out;
}

int offloads_from_env(unsigned *off, char *err, size_t n)
{
	const char *names = getenv(OFFLOADS_ENV);
	unsigned more = 0;

	if (!names)
		return 0;
	if (offloads_parse(names, &more)) {
		snprintf(err, n,
			 "the environment's " OFFLOADS_ENV
			 " is \"%.60s\": it names " OFFLOADS_EXPECTED,
			 names);
		return -EINVAL;
	}
	*off |= more;
	return 0;
}
