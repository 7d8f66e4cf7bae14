/* exit/rules.h - where inner packets may go: the effective policy and the addresses that are never reached from
 * inside, made by the control thread into one immutable object that workers read. Pure; nothing is allocated by
 * rules_judge().
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/random.h"
#include "directory/policy.h"
#include "tun/ip.h"

struct rules;

enum rules_verdict {
	RULES_PASS,
	RULES_OWN,    /* to the exit's own inner address */
	RULES_CLOSED, /* to a lease, this host, a relay, or what is special */
	RULES_POLICY, /* the operator said no */
};

struct rules_config {
	const struct policy *policy; /* exit_effective_policy() */
	struct prefix lease4, lease6;
	struct addr own4, own6;      /* the exit's own inner addresses */
	const struct addr *closed;   /* this host's and the relays'; ports do not matter */
	size_t nclosed;
};

/* Copies all it needs. NULL without memory. */
struct rules *rules_new(const struct rules_config *c, const struct rng *rng);
void rules_free(void *r);
/* May the packet go on? By where it goes and by its protocol and port.
 *
 * A fragment other than the first has no port. It passes unless all of that address is rejected to its protocol
 * before a rule accepts some port there. That is safe: the first fragment, which ip_parse() lets through only with its
 * whole TCP or UDP header, is judged by its port; no later fragment that ip_parse() accepts lies over that header (RFC
 * 1858, RFC 3128); without the first the others are worthless; and the kernel, which masquerades, puts packets
 * together before it sends them, so they do not even leave. */
enum rules_verdict rules_judge(const struct rules *r, const struct ip_view *v);
