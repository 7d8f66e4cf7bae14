/* directory/policy.h - exit policies: ordered rules, the first match wins, the end rejects. Plain
 * values. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/bytes.h"

#define POLICY_RULES_MAX      200
#define POLICY_RULE_MAX_BYTES (1 + 1 + 1 + 1 + 16 + 2 + 2)
#define POLICY_MAX_BYTES      (2 + POLICY_RULES_MAX * POLICY_RULE_MAX_BYTES)
#define POLICY_ERROR_BYTES    160
#define POLICY_TEXT_BYTES     96

struct policy_rule {
	bool accept;
	uint8_t proto;	      /* IP protocol number; 0: any */
	struct prefix prefix; /* family 4 or 6, host bits zero */
	uint16_t lo, hi;      /* ports, lo <= hi; 0..65535: any, also for what has no ports */
};

struct policy {
	uint16_t n;
	struct policy_rule rule[POLICY_RULES_MAX];
};

/* May this leave? `proto` is the IP protocol number; the port is dst->port, 0 for a protocol
 * without ports (a rule whose range starts above 0 then does not match). */
bool policy_allows(const struct policy *p, uint8_t proto, const struct addr *dst);
/* Read u16 n {rule}; turns r bad at what the format forbids. */
void policy_read(struct reader *r, struct policy *ret);
void policy_write(struct writer *w, const struct policy *p);
/* H over the wire form, as GRANT carries it. */
void policy_hash(const struct policy *p, uint8_t out[32]);

/* Add the rules of one line of text to p: "accept|reject [tcp|udp|icmp|any] WHERE", where WHERE is
 * ADDR, ADDR/LEN, [V6], [V6]/LEN, *, *4 or *6, each with ":PORT", ":LO-HI", ":*" or nothing; no
 * protocol word means any; "*" and "icmp" become two rules where they mean both families. 0; or
 * -EINVAL (with a sentence part "expected …" in err[POLICY_ERROR_BYTES]), -ENOSPC when the rules
 * are full. Untouched after a failure. */
int policy_add_text(struct policy *p, const char *line, char *err)
	__attribute__((warn_unused_result));
/* One rule as such a line in buf[POLICY_TEXT_BYTES]; returns buf. */
const char *policy_rule_text(const struct policy_rule *r, char *buf);
