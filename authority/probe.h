/* authority/probe.h - one link handshake with a relay, as far as an authority needs it (PROTOCOL.md
 * section 4): INIT under role 3, a COOKIE answered, RESP opened. Nothing is sent afterwards, so the
 * relay keeps no link. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "crypto/cookie.h"
#include "crypto/handshake.h"
#include "directory/descriptor.h"
#include "onion/wire.h"

enum probe_answer {
	PROBE_NOTHING, /* not for this probe, or it does not verify */
	PROBE_RESEND,  /* a cookie: p->datagram now carries mac2, send it once more */
	PROBE_ALIVE,   /* the relay with this ID and onion key answered from here */
	PROBE_REFUSED  /* it answered that it will not: p->status */
};

struct probe {
	uint8_t id[32];
	uint32_t link_id; /* ours, never 0 */
	struct hs hs;
	uint8_t datagram[LINK_INIT_BYTES];
	bool has_cookie; /* one cookie a datagram */
	uint8_t status;	 /* enum link_status, after PROBE_REFUSED */
};

/* Make the INIT. 0, or -EPROTO when the key is no key. */
int probe_start(struct probe *p, const uint8_t id[32], const struct onion_key *key, uint32_t net_id,
		uint64_t now_s, const struct rng *rng) __attribute__((warn_unused_result));
/* Judge a datagram that came from the probed address. */
enum probe_answer probe_on_datagram(struct probe *p, const uint8_t *d, size_t n);
void probe_done(struct probe *p);
