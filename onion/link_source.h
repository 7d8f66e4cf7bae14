/* onion/link_source.h - what one source address may ask of us: INITs a second, and links.
 * PROTOCOL.md section 9.
 *
 * A source is an IPv4 /32 or an IPv6 /56. Sources that hold links are kept; of the others at most
 * LINK_SOURCES_IDLE_MOST, the one that was quiet longest goes first, and none while its rate still
 * counts. An address can be forged: what proved it by a cookie is counted apart, so that nobody uses
 * up another's rate.
 */
#pragma once
#include <stdbool.h>
#include "base/addr.h"
#include "base/clock.h"
#include "base/random.h"

#define LINK_SOURCES_IDLE_MOST 8192

struct link_sources;

struct link_sources *link_sources_new(const struct rng *rng);
void link_sources_free(struct link_sources *t);
/* Count one INIT; `proven`: it came with a cookie. False above INIT_PER_SOURCE_PER_S of its kind
 * (bursts of as many), or when the table is full. */
bool link_source_init(struct link_sources *t, const struct addr *a, bool proven, nsec_t now)
	__attribute__((warn_unused_result));
/* Links that it holds. */
unsigned link_source_links(const struct link_sources *t, const struct addr *a);
/* One link more: false at LINKS_PER_SOURCE_MOST, or without memory. One less: after a take that was
 * granted. */
bool link_source_take(struct link_sources *t, const struct addr *a)
	__attribute__((warn_unused_result));
void link_source_give(struct link_sources *t, const struct addr *a);
/* Sources in the table. */
unsigned link_sources_count(const struct link_sources *t);
