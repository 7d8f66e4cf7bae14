/* tun/ecn.c - see tun/ecn.h. */
#include "tun/ecn.h"
#include "base/bytes.h"

enum { NOT_ECT, ECT1, ECT0, CE, ECN_MASK = 3 };

/* HC' = ~(~HC + ~m + m') (RFC 1624) for the header's first word, in which only the last bits grow.
 */
static void mark4(uint8_t *p)
{
	uint16_t added = (uint16_t)(CE - (p[1] & ECN_MASK));
	uint32_t sum = (uint16_t)~load_be16(p + 10) + (uint32_t)added;

	p[1] |= CE;
	store_be16(p + 10, (uint16_t) ~((sum & 0xffff) + (sum >> 16)));
}

bool ecn_mark(uint8_t *p, const struct ip_view *v)
{
	unsigned ecn = v->version == 4 ? p[1] & ECN_MASK : p[1] >> 4 & ECN_MASK;

	if (ecn == NOT_ECT)
		return false;
	if (ecn == CE)
		return true;
	if (v->version == 4)
		mark4(p);
	else
		p[1] |= CE << 4;
	return true;
}
