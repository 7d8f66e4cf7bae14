/* routing/netinfo.h - questions about the host's network. Changes nothing, needs no capability. Any
 * thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "routing/error.h"

#define NETINFO_PREFIXES_MAX 1024

/* The networks of all addresses on all links but `except` (may be NULL), v4 and v6, loopback
 * included, in no order. Writes at most max to ret; *ret_n gets how many. -ENOSPC when there are
 * more; other -errno. A lease that overlaps one is to be refused. */
int netinfo_local_prefixes(const char *except, struct prefix *ret, size_t max, size_t *ret_n,
			   char *err) __attribute__((warn_unused_result));
/* What is reached beside a tunnel: the same networks, *ret_nlocal of them, and behind them, *ret_n
 * in all, the destinations of the main table's unicast routes that lead through other links than
 * `except`, without those that lie in one listed before. Not listed are routes that halve the
 * internet or the like, as another VPN's 0.0.0.0/1: IPv4 shorter than /8, and IPv6 shorter than
 * /16 outside of fc00::/7. A router may have more routes than max: those that find no room are
 * left out without an error; -ENOSPC is only for the networks of addresses. A resolver or a lease
 * in one is to be refused. */
int netinfo_direct_prefixes(const char *except, struct prefix *ret, size_t max, size_t *ret_nlocal,
			    size_t *ret_n, char *err) __attribute__((warn_unused_result));
/* 1 when the main table has a default route of that family (4 or 6) that leads somewhere, 0 when
 * not; -errno. */
int netinfo_has_default_route(uint8_t family, char *err) __attribute__((warn_unused_result));
/* 1 when a link of that name exists, 0 when not; -errno. */
int netinfo_has_link(const char *ifname, char *err) __attribute__((warn_unused_result));

/* Hear of changes: a descriptor that becomes readable when a link, an address or a route of the
 * host changed. The caller polls it, calls _drain, and then asks the questions above anew: events
 * are a hint, never the state. */
struct netinfo_watch;
int netinfo_watch_open(struct netinfo_watch **ret, char *err) __attribute__((warn_unused_result));
void netinfo_watch_close(struct netinfo_watch *w);
int netinfo_watch_fd(const struct netinfo_watch *w);
/* Read all that waits. True when something changed on a link other than `except` (may be NULL) or
 * events were lost (the kernel's buffer was full). */
bool netinfo_watch_drain(struct netinfo_watch *w, const char *except);
