/* tun/part.c - see tun/part.h. */
#include "tun/part.h"
#include <string.h>
#include "base/bytes.h"
#include "tun/checksum.h"

#define IPV4_HEADER_BYTES 20
#define IPV6_HEADER_BYTES 40
#define TCP_HEADER_BYTES  20
#define UDP_HEADER_BYTES  8
#define IPV4_NO_OPTIONS	  0x45 /* the first byte */
#define IPV4_DF		  0x4000

/* Where fields stand in their header. */
enum { IPV4_TOS = 1, IPV4_LENGTH = 2, IPV4_ID = 4, IPV4_FRAGMENT = 6, IPV4_TTL = 8 };
enum { IPV4_CHECKSUM = 10, IPV4_ENDS = 12, IPV4_ENDS_BYTES = 8 };
enum { IPV6_LENGTH = 4, IPV6_HOP_LIMIT = 7, IPV6_ENDS = 8, IPV6_ENDS_BYTES = 32 };
enum { TCP_SEQ = 4, TCP_ACKNOWLEDGED = 8, TCP_OFFSET = 12, TCP_FLAGS = 13, TCP_CHECKSUM = 16 };
enum { TCP_URGENT = 18 };
enum { UDP_LENGTH = 4, UDP_CHECKSUM = 6 };
enum { TCP_SYN = 0x02, TCP_RST = 0x04, TCP_URG = 0x20 };

/* For comparing only: in the machine's own order. */
static uint16_t word16(const uint8_t *p)
{
	uint16_t w;
	memcpy(&w, p, sizeof(w));
	return w;
}

static uint32_t word32(const uint8_t *p)
{
	uint32_t w;
	memcpy(&w, p, sizeof(w));
	return w;
}

/* Of those that have a role, only these two occur. */
static bool is_ipv4(const struct part *k)
{
	return k->l4 == IPV4_HEADER_BYTES;
}

struct part part_of(uint8_t *p, const struct ip_view *v, bool csum_open)
{
	size_t upper = UDP_HEADER_BYTES;
	if (v->protocol == IP_TCP)
		upper = (size_t)(p[v->l4_offset + TCP_OFFSET] >> 4) * 4;
	return (struct part){
		.p = p,
		.l4 = v->l4_offset,
		.header = (uint16_t)(v->l4_offset + upper),
		.payload = (uint16_t)(v->len - v->l4_offset - upper),
		.protocol = v->protocol,
		.csum_open = csum_open,
	};
}

/* No options, no extension headers, and in IPv4 no flag but DF. */
static bool ip_header_is_plain(const uint8_t *p, const struct ip_view *v)
{
	if (v->version == 6)
		return !v->has_ext_headers;
	return p[0] == IPV4_NO_OPTIONS && (load_be16(p + IPV4_FRAGMENT) & ~IPV4_DF) == 0;
}

enum part_role part_role(const struct part *k, const struct ip_view *v)
{
	const uint8_t *l4 = k->p + k->l4;
	if (k->payload == 0 || !ip_header_is_plain(k->p, v))
		return PART_ALONE;
	if (k->protocol == IP_UDP) {
		bool has_sum = k->csum_open || word16(l4 + UDP_CHECKSUM) != 0;
		bool whole = load_be16(l4 + UDP_LENGTH) == UDP_HEADER_BYTES + k->payload;
		return has_sum && whole ? PART_ANY : PART_ALONE;
	}
	if (l4[TCP_FLAGS] & (TCP_SYN | TCP_RST | TCP_URG))
		return PART_ALONE;
	return l4[TCP_FLAGS] & (PART_TCP_FIN | PART_TCP_PSH) ? PART_LAST : PART_ANY;
}

uint8_t part_tcp_flags(const struct part *k)
{
	return k->protocol == IP_TCP ? k->p[k->l4 + TCP_FLAGS] : 0;
}

static bool same_ip(const struct part *first, const struct part *k)
{
	const uint8_t *a = first->p, *b = k->p;
	if (!is_ipv4(k)) /* version, traffic class and flow label; hop limit */
		return ((word32(a) ^ word32(b)) |
			(uint32_t)(a[IPV6_HOP_LIMIT] ^ b[IPV6_HOP_LIMIT])) == 0;
	return ((a[IPV4_TOS] ^ b[IPV4_TOS]) | (a[IPV4_TTL] ^ b[IPV4_TTL]) |
		(word16(a + IPV4_FRAGMENT) ^ word16(b + IPV4_FRAGMENT))) == 0;
}

/* Both headers have the same length. */
static bool same_tcp(const struct part *first, const struct part *k)
{
	const uint8_t *a = first->p + first->l4, *b = k->p + k->l4;
	const uint8_t may_differ = PART_TCP_FIN | PART_TCP_PSH | PART_TCP_CWR;
	const uint8_t mask[4] = {[TCP_FLAGS - TCP_OFFSET] = may_differ};
	uint32_t differ = word32(a + TCP_OFFSET) ^ word32(b + TCP_OFFSET); /* and the window */
	differ &= ~word32(mask);
	differ |= word32(a + TCP_ACKNOWLEDGED) ^ word32(b + TCP_ACKNOWLEDGED);
	differ |= (uint32_t)(word16(a + TCP_URGENT) ^ word16(b + TCP_URGENT));
	for (size_t at = TCP_HEADER_BYTES; at < (size_t)(k->header - k->l4); at += 4)
		differ |= word32(a + at) ^ word32(b + at);
	return differ == 0;
}

bool part_fits(const struct part *first, const struct part *k)
{
	if (first->l4 != k->l4 || first->header != k->header || !same_ip(first, k))
		return false;
	if (k->protocol == IP_UDP)
		return true;
	return !(part_tcp_flags(k) & PART_TCP_CWR) && same_tcp(first, k);
}

uint32_t part_seq_step(const struct part *first, const struct part *k)
{
	return load_be32(k->p + k->l4 + TCP_SEQ) - load_be32(first->p + first->l4 + TCP_SEQ);
}

uint16_t part_id_step(const struct part *first, const struct part *k)
{
	if (!is_ipv4(k))
		return 0;
	return (uint16_t)(load_be16(k->p + IPV4_ID) - load_be16(first->p + IPV4_ID));
}

bool part_has_df(const struct part *k)
{
	return !is_ipv4(k) || (load_be16(k->p + IPV4_FRAGMENT) & IPV4_DF) != 0;
}

/* --- sums --- */

uint16_t part_checksum_at(const struct part *k)
{
	return (uint16_t)(k->l4 + (k->protocol == IP_TCP ? TCP_CHECKSUM : UDP_CHECKSUM));
}

/* Sum of the pseudo-header for n bytes of TCP or UDP. */
static uint64_t pseudo_sum(const struct part *k, uint32_t n)
{
	uint64_t sum = is_ipv4(k) ? checksum_words(k->p + IPV4_ENDS, IPV4_ENDS_BYTES)
				  : checksum_words(k->p + IPV6_ENDS, IPV6_ENDS_BYTES);
	return sum + k->protocol + n;
}

/* Zero and all ones are the same number; a sender writes one of them only. */
static bool ipv4_sum_is_right(const struct part *k)
{
	return checksum_ipv4(k->p) == 0xffff && word16(k->p + IPV4_CHECKSUM) != 0xffff;
}

bool part_sums_are_right(const struct part *k)
{
	if (is_ipv4(k) && !ipv4_sum_is_right(k))
		return false;
	if (k->csum_open)
		return true;
	if (k->protocol == IP_TCP && word16(k->p + part_checksum_at(k)) == 0xffff)
		return false;
	size_t n = (size_t)(k->header - k->l4 + k->payload);
	return checksum_fold(checksum_add(pseudo_sum(k, (uint32_t)n), k->p + k->l4, n)) == 0xffff;
}

void part_leave_open(const struct part *k, uint32_t bytes)
{
	store_be16(k->p + part_checksum_at(k), checksum_fold(pseudo_sum(k, bytes)));
}

void part_become(const struct part *k, uint32_t bytes, uint8_t flags)
{
	uint8_t *ip = k->p, *l4 = k->p + k->l4;
	if (is_ipv4(k)) {
		store_be16(ip + IPV4_LENGTH, (uint16_t)bytes);
		store_be16(ip + IPV4_CHECKSUM, 0);
		store_be16(ip + IPV4_CHECKSUM, (uint16_t)~checksum_ipv4(ip));
	} else {
		store_be16(ip + IPV6_LENGTH, (uint16_t)(bytes - IPV6_HEADER_BYTES));
	}
	if (k->protocol == IP_UDP)
		store_be16(l4 + UDP_LENGTH, (uint16_t)(bytes - k->l4));
	else
		l4[TCP_FLAGS] |= flags;
	part_leave_open(k, bytes - k->l4);
}
