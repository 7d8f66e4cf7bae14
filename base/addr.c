/* base/addr.c - addresses and prefixes: text, kernel form, wire form, and what kind they are. See
 * addr.h. */
#include "base/addr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/bytes.h"

static const uint8_t mapped_start[12] = {[10] = 0xff, [11] = 0xff};

size_t addr_ip_bytes(const struct addr *a)
{
	return a->family == 4 ? 4 : a->family == 6 ? 16 : 0;
}

struct addr addr_from_ip(const uint8_t *ip, size_t n, uint16_t port)
{
	struct addr a = {0};
	if (n != 4 && n != 16)
		return a;
	a.family = n == 4 ? 4 : 6;
	a.port = port;
	memcpy(a.ip, ip, n);
	return a;
}

/* Read up to `digits` decimal digits and nothing else; -1 for anything else. */
static long parse_number(const char *text, size_t digits, long max)
{
	size_t n = strnlen(text, digits + 1);
	if (n == 0 || n > digits)
		return -1;
	long v = 0;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		v = v * 10 + (text[i] - '0');
	}
	return v <= max ? v : -1;
}

/* Parse without turning mapped addresses into IPv4. */
static int parse_literal(const char *text, struct addr *ret)
{
	uint8_t ip[16];
	if (inet_pton(AF_INET, text, ip) == 1)
		*ret = addr_from_ip(ip, 4, 0);
	else if (inet_pton(AF_INET6, text, ip) == 1)
		*ret = addr_from_ip(ip, 16, 0);
	else
		return -EINVAL;
	return 0;
}

int addr_parse_ip(const char *text, struct addr *ret)
{
	struct addr a;
	if (parse_literal(text, &a) < 0)
		return -EINVAL;
	if (a.family == 6 && memcmp(a.ip, mapped_start, sizeof(mapped_start)) == 0)
		a = addr_from_ip(a.ip + sizeof(mapped_start), 4, 0);
	*ret = a;
	return 0;
}

int addr_parse(const char *text, struct addr *ret)
{
	char host[INET6_ADDRSTRLEN];
	bool bracketed = text[0] == '[';
	const char *start = text + (bracketed ? 1 : 0);
	const char *end = strchr(start, bracketed ? ']' : ':');
	if (!end || (size_t)(end - start) >= sizeof(host))
		return -EINVAL;
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	if (bracketed && *++end != ':')
		return -EINVAL;
	if (bracketed != (strchr(host, ':') != NULL))
		return -EINVAL;
	long port = parse_number(end + 1, 5, UINT16_MAX);
	struct addr a;
	if (port < 0 || addr_parse_ip(host, &a) < 0)
		return -EINVAL;
	a.port = (uint16_t)port;
	*ret = a;
	return 0;
}

/* True when the first `bits` bits of both are equal. */
static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	if (memcmp(a, b, bits / 8) != 0)
		return false;
	if (bits % 8 == 0)
		return true;
	uint8_t mask = (uint8_t)(0xff << (8 - bits % 8));
	return ((a[bits / 8] ^ b[bits / 8]) & mask) == 0;
}

static bool host_bits_are_zero(const struct prefix *p)
{
	uint8_t net[16] = {0};
	size_t n = addr_ip_bytes(&p->addr);
	for (unsigned bit = 0; bit < p->len; bit++)
		net[bit / 8] |= (uint8_t)(p->addr.ip[bit / 8] & (0x80 >> bit % 8));
	return memcmp(net, p->addr.ip, n) == 0;
}

int prefix_parse(const char *text, struct prefix *ret)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strnlen(text, sizeof(host));
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	struct prefix p;
	if (parse_literal(host, &p.addr) < 0)
		return -EINVAL;
	long max = (long)addr_ip_bytes(&p.addr) * 8;
	long len = slash ? parse_number(slash + 1, 3, max) : max;
	if (len < 0)
		return -EINVAL;
	p.len = (uint8_t)len;
	if (!host_bits_are_zero(&p))
		return -EINVAL;
	*ret = p;
	return 0;
}

const char *addr_ip_text(const struct addr *a, char *buf)
{
	int family = a->family == 4 ? AF_INET : AF_INET6;
	if (addr_ip_bytes(a) == 0)
		memcpy(buf, "none", sizeof("none"));
	else
		inet_ntop(family, a->ip, buf, ADDR_TEXT_BYTES);
	return buf;
}

const char *addr_text(const struct addr *a, char *buf)
{
	char ip[ADDR_TEXT_BYTES];
	addr_ip_text(a, ip);
	if (a->family == 4)
		snprintf(buf, ADDR_TEXT_BYTES, "%.*s:%u", INET6_ADDRSTRLEN, ip, a->port);
	else if (a->family == 6)
		snprintf(buf, ADDR_TEXT_BYTES, "[%.*s]:%u", INET6_ADDRSTRLEN, ip, a->port);
	else
		memcpy(buf, "none", sizeof("none"));
	return buf;
}

const char *prefix_text(const struct prefix *p, char *buf)
{
	char ip[ADDR_TEXT_BYTES];
	addr_ip_text(&p->addr, ip);
	if (addr_ip_bytes(&p->addr) == 0)
		memcpy(buf, "none", sizeof("none"));
	else
		snprintf(buf, ADDR_TEXT_BYTES, "%.*s/%u", INET6_ADDRSTRLEN, ip, p->len);
	return buf;
}

void addr_to_mapped(const struct addr *a, uint8_t out[16])
{
	memset(out, 0, 16);
	if (a->family == 6) {
		memcpy(out, a->ip, 16);
	} else if (a->family == 4) {
		memcpy(out, mapped_start, sizeof(mapped_start));
		memcpy(out + sizeof(mapped_start), a->ip, 4);
	}
}

struct addr addr_from_mapped(const uint8_t in[16], uint16_t port)
{
	static const uint8_t none[16];
	if (memcmp(in, none, sizeof(none)) == 0)
		return (struct addr){0};
	if (memcmp(in, mapped_start, sizeof(mapped_start)) == 0)
		return addr_from_ip(in + sizeof(mapped_start), 4, port);
	return addr_from_ip(in, 16, port);
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (a->family == 4) {
		struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(a->port)};
		memcpy(&sin.sin_addr, a->ip, 4);
		memcpy(ret, &sin, sizeof(sin));
		return sizeof(sin);
	}
	if (a->family == 6) {
		struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
		memcpy(&sin6.sin6_addr, a->ip, 16);
		memcpy(ret, &sin6, sizeof(sin6));
		return sizeof(sin6);
	}
	return 0;
}

struct addr addr_from_sockaddr(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in sin;
		memcpy(&sin, sa, sizeof(sin));
		return addr_from_ip((const uint8_t *)&sin.sin_addr, 4, ntohs(sin.sin_port));
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 sin6;
		memcpy(&sin6, sa, sizeof(sin6));
		const uint8_t *ip = sin6.sin6_addr.s6_addr;
		uint16_t port = ntohs(sin6.sin6_port);
		if (memcmp(ip, mapped_start, sizeof(mapped_start)) == 0)
			return addr_from_ip(ip + sizeof(mapped_start), 4, port);
		return addr_from_ip(ip, 16, port);
	}
	return (struct addr){0};
}

bool addr_equal_ip(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, addr_ip_bytes(a)) == 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->port == b->port && addr_equal_ip(a, b);
}

bool addr_same_subnet(const struct addr *a, const struct addr *b, unsigned bits)
{
	if (a->family != b->family || bits > addr_ip_bytes(a) * 8)
		return false;
	return same_bits(a->ip, b->ip, bits);
}

bool prefix_has(const struct prefix *p, const struct addr *a)
{
	return addr_ip_bytes(a) != 0 && addr_same_subnet(&p->addr, a, p->len);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	return prefix_has(a->len < b->len ? a : b, a->len < b->len ? &b->addr : &a->addr);
}

/* One row of a registry: the first len bits of an address. */
struct block {
	uint8_t ip[6];
	uint8_t len;
};

static bool is_in(const struct block *blocks, size_t n, const uint8_t *ip)
{
	for (size_t i = 0; i < n; i++)
		if (same_bits(blocks[i].ip, ip, blocks[i].len))
			return true;
	return false;
}

static bool is_special4(const uint8_t *ip)
{
	static const struct block blocks[] = {
		{{0}, 8},	      /* this network */
		{{10}, 8},	      /* private */
		{{100, 64}, 10},      /* shared, RFC 6598 */
		{{127}, 8},	      /* loopback */
		{{169, 254}, 16},     /* link local */
		{{172, 16}, 12},      /* private */
		{{192, 0, 0}, 24},    /* IETF protocol assignments */
		{{192, 0, 2}, 24},    /* documentation */
		{{192, 88, 99}, 24},  /* 6to4 relays, withdrawn */
		{{192, 168}, 16},     /* private */
		{{198, 18}, 15},      /* benchmarking */
		{{198, 51, 100}, 24}, /* documentation */
		{{203, 0, 113}, 24},  /* documentation */
		{{224}, 4},	      /* multicast */
		{{240}, 4},	      /* reserved, broadcast */
	};
	return is_in(blocks, sizeof(blocks) / sizeof(blocks[0]), ip);
}

/* Everything outside 2000::/3 is special but NAT64, and these inside it. */
static bool is_special6(const uint8_t *ip)
{
	static const struct block blocks[] = {
		{{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
		{{0x3f, 0xff, 0x00}, 20},	/* documentation, RFC 9637 */
		{{0x20, 0x01, 0x00}, 23},	/* IETF protocol assignments */
	};
	static const struct block reachable[] = {
		{{0x20, 0x01, 0x00, 0x03}, 32},		    /* AMT */
		{{0x20, 0x01, 0x00, 0x04, 0x01, 0x12}, 48}, /* AS112 */
	};
	static const struct block global = {{0x20}, 3};
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};

	if (memcmp(ip, nat64, sizeof(nat64)) == 0)
		return is_special4(ip + 12);
	if (!same_bits(global.ip, ip, global.len))
		return true;
	if (load_be16(ip) == 0x2002) /* 6to4 */
		return is_special4(ip + 2);
	if (load_be32(ip) == 0x20010000) { /* Teredo: server, and the client's address inverted */
		uint8_t inner[4];
		store_be32(inner, ~load_be32(ip + 12));
		return is_special4(ip + 4) || is_special4(inner);
	}
	if (is_in(reachable, sizeof(reachable) / sizeof(reachable[0]), ip))
		return false;
	return is_in(blocks, sizeof(blocks) / sizeof(blocks[0]), ip);
}

bool addr_is_special(const struct addr *a)
{
	if (a->family == 4)
		return is_special4(a->ip);
	return a->family != 6 || is_special6(a->ip);
}
