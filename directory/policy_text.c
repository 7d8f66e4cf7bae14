/* directory/policy_text.c - exit policies as an operator writes them and as `show` prints them.
 *
 * The words are Tor's (accept, reject, *, ADDR/LEN:LO-HI) with an optional protocol word in
 * between.
 */
#include "directory/policy.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 128

struct line {
	bool accept;
	uint8_t proto;
	bool v4, v6;	      /* families that it speaks of */
	struct prefix prefix; /* family 0: all of those families */
	uint16_t lo, hi;
};

static int expected(char *err, const char *what)
{
	snprintf(err, POLICY_ERROR_BYTES, "expected %s", what);
	return -EINVAL;
}

static int read_port(const char *text, char **end, uint16_t *ret)
{
	if (*text < '0' || *text > '9')
		return -EINVAL;
	unsigned long v = strtoul(text, end, 10);
	if (v > 65535)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

/* "80", "80-90" or "*" */
static int read_ports(const char *text, struct line *l, char *err)
{
	char *end;
	if (!strcmp(text, "*"))
		return 0;
	if (read_port(text, &end, &l->lo))
		return expected(err, "a port from 0 to 65535, a range such as 80-90, or *");
	l->hi = l->lo;
	if (*end == '-' && read_port(end + 1, &end, &l->hi))
		return expected(err, "a port from 0 to 65535 after the -");
	if (*end || l->lo > l->hi)
		return expected(err, "a port, or a range from a smaller to a larger port");
	return 0;
}

static int read_where(const char *where, struct line *l, char *err)
{
	l->v4 = !strcmp(where, "*") || !strcmp(where, "*4");
	l->v6 = !strcmp(where, "*") || !strcmp(where, "*6");
	if (l->v4 || l->v6)
		return 0;
	if (prefix_parse(where, &l->prefix))
		return expected(err, "*, *4, *6, ADDR, ADDR/LEN with zero host bits, or [V6]/LEN");
	l->v4 = l->prefix.addr.family == 4;
	l->v6 = l->prefix.addr.family == 6;
	return 0;
}

/* Split "[V6]/LEN:PORT" and "V4/LEN:PORT" in place: *ret_ports is NULL when none are named. A bare
 * V6 without brackets has no ports. */
static int split_where(char *where, char **ret_ports, char *err)
{
	*ret_ports = NULL;
	if (*where == '[') {
		char *close = strchr(where, ']');
		if (!close)
			return expected(err, "a ] after the IPv6 address");
		memmove(where, where + 1, (size_t)(close - where) - 1);
		memmove(close - 1, close + 1, strlen(close + 1) + 1);
		where = close - 1; /* what follows has no colon but that of the ports */
	} else if (strchr(where, ':') != strrchr(where, ':')) {
		return 0;
	}
	char *colon = strchr(where, ':');
	if (colon) {
		*colon = '\0';
		*ret_ports = colon + 1;
	}
	return 0;
}

static bool is_proto_word(const char *word, uint8_t *ret)
{
	static const struct {
		const char *word;
		uint8_t proto;
	} words[] = {
		{"any", 0}, {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"icmp", IPPROTO_ICMP}};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(word, words[i].word)) {
			*ret = words[i].proto;
			return true;
		}
	}
	return false;
}

static int read_line(const char *text, struct line *l, char *err)
{
	char copy[LINE_BYTES];
	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
		return expected(err, "a rule of at most 127 characters");
	*l = (struct line){.hi = 65535};
	char *rest, *ports;
	char *verb = strtok_r(copy, " \t", &rest);
	if (!verb || (strcmp(verb, "accept") && strcmp(verb, "reject")))
		return expected(err, "accept or reject first, as in: accept tcp *:443");
	l->accept = *verb == 'a';
	char *where = strtok_r(NULL, " \t", &rest);
	if (where && is_proto_word(where, &l->proto))
		where = strtok_r(NULL, " \t", &rest);
	if (!where || strtok_r(NULL, " \t", &rest))
		return expected(err, "one destination at the end, as in: accept tcp *:443");
	int e = split_where(where, &ports, err);
	if (!e)
		e = read_where(where, l, err);
	if (!e && ports)
		e = read_ports(ports, l, err);
	return e;
}

static void add_rule(struct policy *p, const struct line *l, uint8_t family)
{
	struct policy_rule *r = &p->rule[p->n++];
	*r = (struct policy_rule){.accept = l->accept,
				  .proto = l->proto,
				  .prefix = l->prefix,
				  .lo = l->lo,
				  .hi = l->hi};
	r->prefix.addr.family = family;
	if (family == 6 && l->proto == IPPROTO_ICMP)
		r->proto = IPPROTO_ICMPV6;
}

int policy_add_text(struct policy *p, const char *text, char *err)
{
	struct line l;
	int e = read_line(text, &l, err);
	if (e)
		return e;
	if (p->n + l.v4 + l.v6 > POLICY_RULES_MAX) {
		snprintf(err, POLICY_ERROR_BYTES, "expected at most %d rules", POLICY_RULES_MAX);
		return -ENOSPC;
	}
	if (l.v4)
		add_rule(p, &l, 4);
	if (l.v6)
		add_rule(p, &l, 6);
	return 0;
}

static const char *proto_text(uint8_t proto, char buf[8])
{
	switch (proto) {
	case 0:
		return "";
	case IPPROTO_TCP:
		return "tcp ";
	case IPPROTO_UDP:
		return "udp ";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return "icmp ";
	default:
		snprintf(buf, 8, "%u ", proto);
		return buf;
	}
}

const char *policy_rule_text(const struct policy_rule *r, char *buf)
{
	char number[8], where[ADDR_TEXT_BYTES], ports[16] = "";
	const char *text = r->prefix.addr.family == 4 ? "*4" : "*6";
	if (r->prefix.len)
		text = prefix_text(&r->prefix, where);
	if (r->lo == r->hi)
		snprintf(ports, sizeof(ports), ":%u", r->lo);
	else if (r->lo != 0 || r->hi != 65535)
		snprintf(ports, sizeof(ports), ":%u-%u", r->lo, r->hi);
	const char *verb = r->accept ? "accept" : "reject";
	const char *proto = proto_text(r->proto, number);
	char *slash = r->prefix.len && r->prefix.addr.family == 6 ? strchr(where, '/') : NULL;
	if (slash) {
		*slash = '\0';
		snprintf(buf, POLICY_TEXT_BYTES, "%s %s[%s]/%u%s", verb, proto, where,
			 r->prefix.len, ports);
	} else {
		snprintf(buf, POLICY_TEXT_BYTES, "%s %s%s%s", verb, proto, text, ports);
	}
	return buf;
}
