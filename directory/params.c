/* directory/params.c - the table of directory/params.h and its rules. */
#include "directory/params.h"

#define UNIT_SECONDS PARAM_SECONDS
#define UNIT_BOOL    PARAM_BOOL
#define WHO_ANY	     false
#define WHO_FILE     true

const struct param_row param_rows[PARAM_COUNT] = {
#define X(name, id, word, least, most, def, unit, who)                                             \
	[PARAM_##name] = {id, word, least, most, def, UNIT_##unit, WHO_##who},
	PARAM_LIST(X)
#undef X
};

void params_init(struct params *p)
{
	*p = (struct params){0};
	for (int i = 0; i < PARAM_COUNT; i++)
		p->v[i] = param_rows[i].standard;
}

enum param param_find(uint16_t id)
{
	int i = 0;
	while (i < PARAM_COUNT && param_rows[i].id != id)
		i++;
	return (enum param)i;
}

bool params_take(struct params *p, uint16_t id, uint32_t value)
{
	enum param i = param_find(id);
	if (i == PARAM_COUNT || param_rows[i].file_only || value < param_rows[i].least ||
	    value > param_rows[i].most)
		return false;
	p->v[i] = value;
	p->set[i] = true;
	return true;
}

/* Rows of periods of which the first must not be longer than the second. */
static const struct {
	enum param shorter, longer;
	const char *sentence;
} orders[] = {
	{PARAM_CONSENSUS_FRESH, PARAM_CONSENSUS_VALID,
	 "consensus-fresh is longer than consensus-valid: set it to at most that"},
	{PARAM_CONSENSUS_INTERVAL, PARAM_CONSENSUS_VALID,
	 "consensus-interval is longer than consensus-valid, so that a consensus ends before the "
	 "next one: set it to at most half of that"},
	{PARAM_ONION_KEY_PERIOD, PARAM_ONION_KEY_VALID,
	 "onion-key-period is longer than onion-key-valid, so that a key ends before the next one: "
	 "set it to at most half of that"},
	{PARAM_DESCRIPTOR_PERIOD, PARAM_DESCRIPTOR_VALID,
	 "descriptor-period is longer than descriptor-valid, so that a descriptor ends before the "
	 "next one: set it to at most half of that"},
};

const char *params_check(const struct params *p)
{
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		if (p->v[orders[i].shorter] > p->v[orders[i].longer])
			return orders[i].sentence;
	return NULL;
}
