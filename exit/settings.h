/* exit/settings.h - private to exit/: the policy that the settings make. Pure.
 *
 * The effective policy is one ordered list, the same that is published, hashed into GRANT and enforced:
 *   1. special ranges that can be opened (documentation, benchmarking, protocol assignments, NAT64): an operator's
 *      rule that accepts a prefix lying wholly inside one opens that much of it. In an opened range the operator's
 *      rules count in their order, but a wider rule can only reject there ("accept *" opens nothing). The rest of
 *      each range is rejected.
 *   2. always rejected, whatever the settings say: this network, loopback, link-local, multicast, reserved, and in
 *      IPv6 all that is neither global unicast nor unique local.
 *   3. private (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7): rejected unless allow-private.
 *   4. the operator's rules, or "reject *:25" and "accept *"; the end rejects.
 * Not in the list, but refused all the same (exit/rules.h): the lease ranges, this host's and all relays' addresses.
 */
#pragma once
#include "directory/policy.h"
#include "exit/exit.h"

/* What one policy may need on the wire: a descriptor has 2,048 bytes for everything. */
#define EXIT_POLICY_BYTES_MOST 1400

/* 0; -ENOSPC when the list gets too long, for POLICY_RULES_MAX or EXIT_POLICY_BYTES_MOST. */
int exit_effective_policy(const struct exit_settings *s, struct policy *ret) __attribute__((warn_unused_result));
