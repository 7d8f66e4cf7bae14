/* tun/icmp.c - see tun/icmp.h. */
#include "tun/icmp.h"
#include <string.h>
#include "base/bytes.h"
#include "tun/checksum.h"

#define IPV4_HEADER_BYTES    20
#define IPV6_HEADER_BYTES    40
#define ICMP_HEADER_BYTES    8
#define IPV4_ANSWER_BYTES    576 /* RFC 1812 4.3.2.3 */
#define IPV4_MTU_LEAST	     68
#define IPV6_MTU_LEAST	     1280
#define ANSWER_HOP_LIMIT     64
#define ICMP4_UNREACHABLE    3
#define ICMP4_NEEDS_FRAGMENT 4
#define ICMP4_PROHIBITED     13
#define ICMP6_UNREACHABLE    1
#define ICMP6_TOO_BIG	     2
#define ICMP6_PROHIBITED     1

/* What goes into the 8 bytes of an ICMP header besides the checksum. */
struct message {
	uint8_t type;
	uint8_t code;
	uint32_t word; /* unused, or the MTU */
};

/* ICMPv4 messages that ask or answer something; all others are errors or unknown. */
static bool icmp4_is_query(uint8_t type)
{
	switch (type) {
	case 0:	 /* echo reply */
	case 8:	 /* echo */
	case 13: /* timestamp and its reply */
	case 14:
	case 15: /* information request and reply, address mask request and reply */
	case 16:
	case 17:
	case 18:
		return true;
	default:
		return false;
	}
}

/* May not stand at either end of a packet that gets an answer. */
static bool is_not_one_host(const struct addr *a)
{
	static const uint8_t zero[16];
	size_t n = addr_ip_bytes(a);
	if (memcmp(a->ip, zero, n) == 0)
		return true;
	if (a->family == 4) /* 0/8, loopback, multicast, reserved and broadcast */
		return a->ip[0] == 0 || a->ip[0] == 127 || a->ip[0] >= 224;
	return a->ip[0] == 0xff || (memcmp(a->ip, zero, 15) == 0 && a->ip[15] == 1);
}

static bool may_answer(const uint8_t *p, const struct ip_view *v, const struct addr *from)
{
	if (from->family != v->version || v->fragment_offset != 0)
		return false;
	if (is_not_one_host(&v->src) || is_not_one_host(&v->dst))
		return false;
	if (v->version == 4 && v->protocol == IP_ICMP)
		return icmp4_is_query(p[v->l4_offset]);
	if (v->version == 6 && v->protocol == IP_ICMPV6) /* errors are those below 128 */
		return p[v->l4_offset] >= 128;
	return true;
}

/* Put the ICMP header and the quote of p at out + header, return the length of both. */
static size_t write_message(const struct message *m, const uint8_t *p, size_t quote, uint8_t *out)
{
	struct writer w;
	writer_init(&w, out, ICMP_HEADER_BYTES + quote);
	writer_u8(&w, m->type);
	writer_u8(&w, m->code);
	writer_u16(&w, 0);
	writer_u32(&w, m->word);
	writer_put(&w, p, quote);
	return w.used;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t answer_ipv4(const struct message *m, const uint8_t *p, const struct ip_view *v,
			  const struct addr *from, uint8_t *out)
{
	uint8_t *icmp = out + IPV4_HEADER_BYTES;
	size_t room = IPV4_ANSWER_BYTES - IPV4_HEADER_BYTES - ICMP_HEADER_BYTES;
	size_t n = write_message(m, p, smaller(v->len, room), icmp);
	store_be16(icmp + 2, (uint16_t)~checksum_fold(checksum_add(0, icmp, n)));
	struct writer w;
	writer_init(&w, out, IPV4_HEADER_BYTES);
	writer_u8(&w, 0x45);
	writer_u8(&w, 0xc0); /* precedence "internetwork control", RFC 1812 4.3.2.5 */
	writer_u16(&w, (uint16_t)(IPV4_HEADER_BYTES + n));
	writer_u16(&w, 0); /* id: none where DF stands (RFC 6864 4.1) */
	writer_u16(&w, 0x4000);
	writer_u8(&w, ANSWER_HOP_LIMIT);
	writer_u8(&w, IP_ICMP);
	writer_u16(&w, 0);
	writer_put(&w, from->ip, 4);
	writer_put(&w, v->src.ip, 4);
	store_be16(out + 10, (uint16_t)~checksum_fold(checksum_add(0, out, IPV4_HEADER_BYTES)));
	return IPV4_HEADER_BYTES + n;
}

static size_t answer_ipv6(const struct message *m, const uint8_t *p, const struct ip_view *v,
			  const struct addr *from, uint8_t *out)
{
	uint8_t *icmp = out + IPV6_HEADER_BYTES;
	size_t room = ICMP_ANSWER_BYTES_MAX - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES;
	size_t n = write_message(m, p, smaller(v->len, room), icmp);
	struct writer w;
	writer_init(&w, out, IPV6_HEADER_BYTES);
	writer_u32(&w, 0x60000000);
	writer_u16(&w, (uint16_t)n);
	writer_u8(&w, IP_ICMPV6);
	writer_u8(&w, ANSWER_HOP_LIMIT);
	writer_put(&w, from->ip, 16);
	writer_put(&w, v->src.ip, 16);
	uint64_t sum = checksum_add(0, out + 8, 32) + n + IP_ICMPV6; /* the pseudo-header */
	store_be16(icmp + 2, (uint16_t)~checksum_fold(checksum_add(sum, icmp, n)));
	return IPV6_HEADER_BYTES + n;
}

static size_t answer(const struct message *m4, const struct message *m6, const uint8_t *p,
		     const struct ip_view *v, const struct addr *from, uint8_t *out)
{
	if (!may_answer(p, v, from))
		return 0;
	if (v->version == 4)
		return answer_ipv4(m4, p, v, from, out);
	return answer_ipv6(m6, p, v, from, out);
}

size_t icmp_prohibited(const uint8_t *p, const struct ip_view *v, const struct addr *from,
		       uint8_t *out)
{
	static const struct message m4 = {ICMP4_UNREACHABLE, ICMP4_PROHIBITED, 0};
	static const struct message m6 = {ICMP6_UNREACHABLE, ICMP6_PROHIBITED, 0};
	return answer(&m4, &m6, p, v, from, out);
}

size_t icmp_no_route(const uint8_t *p, const struct ip_view *v, const struct addr *from,
		     uint8_t *out)
{
	static const struct message m4 = {ICMP4_UNREACHABLE, 0, 0};
	static const struct message m6 = {ICMP6_UNREACHABLE, 0, 0};
	return answer(&m4, &m6, p, v, from, out);
}

size_t icmp_too_big(const uint8_t *p, const struct ip_view *v, uint16_t mtu,
		    const struct addr *from, uint8_t *out)
{
	uint16_t mtu4 = mtu < IPV4_MTU_LEAST ? IPV4_MTU_LEAST : mtu;
	uint16_t mtu6 = mtu < IPV6_MTU_LEAST ? IPV6_MTU_LEAST : mtu;
	struct message m4 = {ICMP4_UNREACHABLE, ICMP4_NEEDS_FRAGMENT, mtu4};
	struct message m6 = {ICMP6_TOO_BIG, 0, mtu6};
	return answer(&m4, &m6, p, v, from, out);
}
