/* directory/params.h - periods and limits of a network: one table of wire number, word, range,
 * default.
 *
 * Defaults are PROTOCOL.md's. network.conf may set each by its word (directory/netconf.h); a
 * consensus may set those that are not marked FILE by number, and then wins. A value outside its
 * range is refused in network.conf and ignored in a consensus, as are numbers that this version
 * does not know.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, number, word, least, most, default, unit, who may set it */
/* clang-format off */
#define PARAM_LIST(X)                                                                      \
	X(PATH_LIFETIME,       1, "path-lifetime",       6,    1200,    600, SECONDS, ANY) \
	X(PATH_GRACE,          2, "path-grace",          1,     300,     30, SECONDS, ANY) \
	X(LINK_RENEW,          3, "link-renew",          5,   86400,   3000, SECONDS, ANY) \
	X(LINK_IDLE,           4, "link-idle",           2,   86400,    300, SECONDS, ANY) \
	X(ONION_KEY_PERIOD,    5, "onion-key-period",    5,  604800,  86400, SECONDS, ANY) \
	X(ONION_KEY_VALID,     6, "onion-key-valid",    10, 1209600, 172800, SECONDS, ANY) \
	X(CONSENSUS_INTERVAL,  7, "consensus-interval",  2,   86400,   3600, SECONDS, ANY) \
	X(CONSENSUS_FRESH,     8, "consensus-fresh",     2,   86400,   3600, SECONDS, ANY) \
	X(CONSENSUS_VALID,     9, "consensus-valid",     4,  604800,  86400, SECONDS, ANY) \
	X(CONSENSUS_PREVIOUS, 10, "consensus-previous",  2,   86400,   3600, SECONDS, ANY) \
	X(DESCRIPTOR_PERIOD,  11, "descriptor-period",   1,   86400,   3600, SECONDS, ANY) \
	X(DESCRIPTOR_VALID,   12, "descriptor-valid",    4,  604800,  86400, SECONDS, ANY) \
	X(SUBNET_RULE,        13, "subnet-rule",         0,       1,      1, BOOL, FILE)
/* clang-format on */

/* PATH_LIFETIME: what a client asks for (1,200 is the most that a relay grants). PATH_GRACE: what
 * both ends add. LINK_RENEW: age after which new circuits use a successor. LINK_IDLE: a link
 * without circuits closes. ONION_KEY_PERIOD: a relay makes a new onion key so often; each is valid
 * ONION_KEY_VALID. CONSENSUS_INTERVAL: authorities sign so often (at multiples of it since 1970).
 * CONSENSUS_PREVIOUS: a relay still links to relays of the consensus before this one so long.
 * DESCRIPTOR_PERIOD: a relay publishes so often at least; each is valid DESCRIPTOR_VALID.
 * SUBNET_RULE: no two hops in one IPv4 /16 or IPv6 /32; the network file alone may clear it. */

enum param {
#define X(name, id, word, least, most, def, unit, who) PARAM_##name,
	PARAM_LIST(X)
#undef X
		PARAM_COUNT
};

enum param_unit { PARAM_SECONDS, PARAM_BOOL };

struct param_row {
	uint16_t id; /* on the wire */
	const char *word;
	uint32_t least, most, standard;
	enum param_unit unit;
	bool file_only;
};

extern const struct param_row param_rows[PARAM_COUNT];

struct params {
	uint32_t v[PARAM_COUNT];
	bool set[PARAM_COUNT]; /* network.conf or a consensus said so; false: the default */
};

/* All defaults. */
void params_init(struct params *p);
/* The parameter with this wire number; PARAM_COUNT when there is none. */
enum param param_find(uint16_t id);
/* Take one value of a consensus; false, and nothing done, when it is unknown, FILE or out of range.
 */
bool params_take(struct params *p, uint16_t id, uint32_t value);
/* Periods that contradict each other (a consensus that dies before the next one). NULL, or a
 * sentence. */
const char *params_check(const struct params *p);
