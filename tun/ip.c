/* tun/ip.c - see tun/ip.h. */
#include "tun/ip.h"
#include <errno.h>
#include <string.h>
#include "base/bytes.h"

#define IPV4_HEADER_BYTES   20
#define IPV6_HEADER_BYTES   40
#define TCP_HEADER_BYTES    20
#define UDP_HEADER_BYTES    8
#define ICMP_HEADER_BYTES   8
#define IP_BYTES_MAX	    65535

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK    0x1fff

enum { IPV4_OPT_END = 0, IPV4_OPT_NOP = 1, IPV4_OPT_LSRR = 131, IPV4_OPT_SSRR = 137 };

enum {
	EXT_HOP_BY_HOP = 0,
	EXT_ROUTING = 43,
	EXT_FRAGMENT = 44,
	EXT_AUTH = 51,
	EXT_NONE = 59,
	EXT_DESTINATION = 60,
	EXT_MOBILITY = 135,
	EXT_HIP = 139,
	EXT_SHIM6 = 140,
};

/* TCP's data offset must cover its header and stay within the packet; only whole packets show that.
 */
static bool tcp_is_whole(const uint8_t *l4, size_t n, bool is_fragment)
{
	if (n < TCP_HEADER_BYTES)
		return false;
	size_t header = (size_t)(l4[12] >> 4) * 4;
	return header >= TCP_HEADER_BYTES && (is_fragment || header <= n);
}

static bool udp_is_whole(const uint8_t *l4, size_t n, bool is_fragment)
{
	if (n < UDP_HEADER_BYTES)
		return false;
	size_t len = load_be16(l4 + 4);
	return len >= UDP_HEADER_BYTES && (is_fragment || len <= n);
}

/* Check the upper-layer header and take the ports. Later fragments have none. */
static bool parse_upper(const uint8_t *p, struct ip_view *v)
{
	const uint8_t *l4 = p + v->l4_offset;
	size_t n = (size_t)(v->len - v->l4_offset);
	if (v->fragment_offset != 0) /* RFC 3128: may not rewrite a TCP header */
		return v->protocol != IP_TCP || v->fragment_offset >= TCP_HEADER_BYTES;
	if (v->protocol == IP_ICMP || v->protocol == IP_ICMPV6)
		return n >= ICMP_HEADER_BYTES;
	if (v->protocol != IP_TCP && v->protocol != IP_UDP)
		return true;
	if (v->protocol == IP_TCP ? !tcp_is_whole(l4, n, v->is_fragment)
				  : !udp_is_whole(l4, n, v->is_fragment))
		return false;
	v->src_port = load_be16(l4);
	v->dst_port = load_be16(l4 + 2);
	v->has_ports = true;
	return true;
}

/* Walk the options of an IPv4 header: each well formed, no source route. */
static bool ipv4_options_ok(const uint8_t *opt, size_t n)
{
	struct reader r;
	reader_init(&r, opt, n);
	while (r.left > 0) {
		uint8_t kind = reader_u8(&r);
		if (kind == IPV4_OPT_END)
			return true;
		if (kind == IPV4_OPT_NOP)
			continue;
		uint8_t len = reader_u8(&r);
		if (kind == IPV4_OPT_LSRR || kind == IPV4_OPT_SSRR || len < 2)
			return false;
		reader_take(&r, len - 2u);
		if (r.bad)
			return false;
	}
	return true;
}

/* addr_from_ip() in line, into what is zero. */
static void take_addr(struct addr *a, uint8_t family, const uint8_t *ip, size_t n)
{
	a->family = family;
	memcpy(a->ip, ip, n);
}

static bool parse_ipv4(const uint8_t *p, size_t n, struct ip_view *v)
{
	if (n < IPV4_HEADER_BYTES)
		return false;
	size_t header = (size_t)(p[0] & 15) * 4;
	size_t len = load_be16(p + 2);
	if (header < IPV4_HEADER_BYTES || len < header || len > n)
		return false;
	if (!ipv4_options_ok(p + IPV4_HEADER_BYTES, header - IPV4_HEADER_BYTES))
		return false;
	uint16_t frag = load_be16(p + 6);
	v->version = 4;
	v->len = (uint16_t)len;
	v->l4_offset = (uint16_t)header;
	v->ttl = p[8];
	v->protocol = p[9];
	v->is_fragment = (frag & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK)) != 0;
	v->fragment_offset = (uint16_t)((frag & IPV4_OFFSET_MASK) * 8u);
	take_addr(&v->src, 4, p + 12, 4);
	take_addr(&v->dst, 4, p + 16, 4);
	if (v->fragment_offset + (len - header) > IP_BYTES_MAX)
		return false;
	if ((frag & IPV4_MORE_FRAGMENTS) && (len - header) % 8 != 0)
		return false;
	return parse_upper(p, v);
}

/* One fragment header (8 bytes after its next-header byte was read). False: not to be passed on. */
static bool parse_fragment(struct reader *r, struct ip_view *v)
{
	reader_u8(r);
	uint16_t frag = reader_u16(r);
	reader_u32(r);
	if (r->bad || v->is_fragment)
		return false;
	v->is_fragment = true;
	v->fragment_offset = frag & 0xfff8;
	if (v->fragment_offset + r->left > IP_BYTES_MAX)
		return false;
	return !(frag & 1) || r->left % 8 == 0;
}

/* One option-like header: read to its end. A routing header must have been used up. */
static bool parse_option_header(struct reader *r, uint8_t kind)
{
	uint8_t words = reader_u8(r);
	size_t rest = kind == EXT_AUTH ? (words + 2u) * 4 - 2 : (words + 1u) * 8 - 2;
	const uint8_t *body = reader_take(r, rest);
	if (!body)
		return false;
	return kind != EXT_ROUTING || body[1] == 0;
}

static bool is_ext_header(uint8_t kind)
{
	switch (kind) {
	case EXT_HOP_BY_HOP:
	case EXT_ROUTING:
	case EXT_FRAGMENT:
	case EXT_AUTH:
	case EXT_DESTINATION:
	case EXT_MOBILITY:
	case EXT_HIP:
	case EXT_SHIM6:
		return true;
	default:
		return false;
	}
}

/* Walk the chain from `kind` on; r stands behind the fixed header. What follows a later fragment's
 * header is data, whatever its next-header byte says. */
static bool parse_chain(struct reader *r, uint8_t kind, struct ip_view *v)
{
	unsigned headers = 0;
	while (is_ext_header(kind) && v->fragment_offset == 0) {
		if (headers++ == IP_EXT_HEADERS_MAX || (kind == EXT_HOP_BY_HOP && headers != 1))
			return false;
		uint8_t next = reader_u8(r);
		if (!(kind == EXT_FRAGMENT ? parse_fragment(r, v) : parse_option_header(r, kind)))
			return false;
		kind = next;
	}
	v->has_ext_headers = headers != 0;
	v->protocol = kind;
	return true;
}

static bool parse_ipv6(const uint8_t *p, size_t n, struct ip_view *v)
{
	if (n < IPV6_HEADER_BYTES)
		return false;
	size_t payload = load_be16(p + 4);
	if (payload > n - IPV6_HEADER_BYTES || payload + IPV6_HEADER_BYTES > IP_BYTES_MAX)
		return false;
	if (payload == 0 &&
	    p[6] != EXT_NONE) /* a jumbogram, or nothing where something is announced */
		return false;
	v->version = 6;
	v->len = (uint16_t)(payload + IPV6_HEADER_BYTES);
	v->ttl = p[7];
	take_addr(&v->src, 6, p + 8, 16);
	take_addr(&v->dst, 6, p + 24, 16);
	struct reader r;
	reader_init(&r, p + IPV6_HEADER_BYTES, payload);
	if (!parse_chain(&r, p[6], v))
		return false;
	v->l4_offset = (uint16_t)(v->len - r.left);
	return parse_upper(p, v);
}

int ip_parse(const uint8_t *p, size_t n, struct ip_view *ret)
{
	struct ip_view v;
	memset(&v, 0, sizeof(v));
	if (n == 0)
		return -EBADMSG;
	bool ok = false;
	if (p[0] >> 4 == 4)
		ok = parse_ipv4(p, n, &v);
	else if (p[0] >> 4 == 6)
		ok = parse_ipv6(p, n, &v);
	if (!ok)
		return -EBADMSG;
	*ret = v;
	return 0;
}

size_t ip_open_checksum_at(const struct ip_view *v)
{
	if (!v->has_ports || v->is_fragment || v->has_ext_headers)
		return 0;
	return v->l4_offset + (v->protocol == IP_TCP ? 16u : 6u);
}
