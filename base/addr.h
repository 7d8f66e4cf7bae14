/* base/addr.h - an IP address with a port, a prefix, and what kind of address it is. Plain values. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDR_TEXT_BYTES 64 /* holds "[v6]:port" and "v6/len" with the NUL */

struct addr {
	uint8_t family; /* 0 none, 4, 6 */
	uint16_t port;  /* host order; 0 where a port has no meaning */
	uint8_t ip[16]; /* network order; IPv4 in the first 4, the rest zero */
};

struct prefix {
	struct addr addr; /* port 0, host bits zero */
	uint8_t len;      /* 0..32 or 0..128 */
};

/* Parse "192.0.2.1" or "2001:db8::1" (no port). 0, or -EINVAL with *ret untouched. */
int addr_parse_ip(const char *text, struct addr *ret) __attribute__((warn_unused_result));
/* Parse "192.0.2.1:443" or "[2001:db8::1]:443". 0 or -EINVAL. */
int addr_parse(const char *text, struct addr *ret) __attribute__((warn_unused_result));
/* Parse "10.0.0.0/8" or "fd00::/8"; host bits must be zero. A bare address is /32 or /128. 0 or -EINVAL. */
int prefix_parse(const char *text, struct prefix *ret) __attribute__((warn_unused_result));
/* Write as text into buf[ADDR_TEXT_BYTES]; returns buf. _ip leaves the port out. "none" for family 0. */
const char *addr_text(const struct addr *a, char *buf);
const char *addr_ip_text(const struct addr *a, char *buf);
const char *prefix_text(const struct prefix *p, char *buf);

/* An addr from 4 or 16 bytes in network order; any other n gives family 0. */
struct addr addr_from_ip(const uint8_t *ip, size_t n, uint16_t port);
/* v6-mapped form (::ffff:a.b.c.d for IPv4, all zero for none) and back: how PROTOCOL.md carries addresses. */
void addr_to_mapped(const struct addr *a, uint8_t out[16]);
struct addr addr_from_mapped(const uint8_t in[16], uint16_t port);
/* To and from the kernel's form. A v4-mapped IPv6 address becomes family 4. from: family 0 when unknown. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret);
struct addr addr_from_sockaddr(const struct sockaddr *sa);

/* Address and port equal. */
bool addr_equal(const struct addr *a, const struct addr *b);
/* Address equal, whatever the port. */
bool addr_equal_ip(const struct addr *a, const struct addr *b);
/* Bytes of ip that count: 4, 16 or 0. */
size_t addr_ip_bytes(const struct addr *a);
/* True when a lies in p (families must agree). */
bool prefix_has(const struct prefix *p, const struct addr *a);
/* True when the two share an address. */
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);
/* True when the first `bits` bits of both agree and families too. */
bool addr_same_subnet(const struct addr *a, const struct addr *b, unsigned bits);
/* True for everything that no exit may send to and no client take from the internet: unspecified,
 * loopback, private, shared (100.64/10), link local, multicast, broadcast, reserved, documentation,
 * benchmarking, ULA, v4-mapped, 6to4/Teredo/NAT64 forms that embed such. Source: the IANA
 * special-purpose registries (RFC 6890 and updates). */
bool addr_is_special(const struct addr *a);
