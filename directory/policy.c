/* directory/policy.c - exit policies on the wire, and the match (PROTOCOL.md section 8). */
#include "directory/policy.h"
#include <string.h>
#include "crypto/kdf.h"

bool policy_allows(const struct policy *p, uint8_t proto, const struct addr *dst)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct policy_rule *r = &p->rule[i];
		if (r->proto && r->proto != proto)
			continue;
		if (dst->port < r->lo || dst->port > r->hi || !prefix_has(&r->prefix, dst))
			continue;
		return r->accept;
	}
	return false;
}

static size_t prefix_bytes(uint8_t len)
{
	return (len + 7u) / 8u;
}

static bool host_bits_are_zero(const uint8_t *ip, uint8_t len)
{
	return len % 8 == 0 || (ip[len / 8] & (0xff >> len % 8)) == 0;
}

static void read_rule(struct reader *r, struct policy_rule *ret)
{
	*ret = (struct policy_rule){0};
	uint8_t accept = reader_u8(r);
	uint8_t family = reader_u8(r);
	ret->proto = reader_u8(r);
	uint8_t len = reader_u8(r);
	if (accept > 1 || (family != 4 && family != 6) || len > (family == 4 ? 32 : 128)) {
		reader_fail(r);
		return;
	}
	ret->accept = accept;
	ret->prefix.addr.family = family;
	ret->prefix.len = len;
	reader_copy(r, ret->prefix.addr.ip, prefix_bytes(len));
	ret->lo = reader_u16(r);
	ret->hi = reader_u16(r);
	if (!host_bits_are_zero(ret->prefix.addr.ip, len) || ret->lo > ret->hi)
		reader_fail(r);
}

void policy_read(struct reader *r, struct policy *ret)
{
	ret->n = 0;
	uint16_t n = reader_u16(r);
	if (n > POLICY_RULES_MAX) {
		reader_fail(r);
		return;
	}
	for (unsigned i = 0; i < n && !r->bad; i++)
		read_rule(r, &ret->rule[i]);
	ret->n = r->bad ? 0 : n;
}

void policy_write(struct writer *w, const struct policy *p)
{
	writer_u16(w, p->n);
	for (unsigned i = 0; i < p->n; i++) {
		const struct policy_rule *r = &p->rule[i];
		writer_u8(w, r->accept);
		writer_u8(w, r->prefix.addr.family);
		writer_u8(w, r->proto);
		writer_u8(w, r->prefix.len);
		writer_put(w, r->prefix.addr.ip, prefix_bytes(r->prefix.len));
		writer_u16(w, r->lo);
		writer_u16(w, r->hi);
	}
}

void policy_hash(const struct policy *p, uint8_t out[32])
{
	uint8_t bytes[POLICY_MAX_BYTES];
	struct writer w;
	writer_init(&w, bytes, sizeof(bytes));
	policy_write(&w, p);
	hash(out, bytes, w.used);
}
