/* tests/bench/network.h - a network on paper for the load generator: an authority's key, relays
 * with descriptors, a signed consensus; and the folder of the one relay among them that is real.
 *
 * The relay reads identity, onion keys and directory from its state folder, so no authority needs
 * to run. All others are members: the generator has their keys and plays them.
 */
#pragma once
#include "base/addr.h"
#include "crypto/handshake.h"
#include "crypto/sign.h"
#include "onion/links.h"

#define NETWORK_ERROR_BYTES  512
#define NETWORK_MEMBERS_MOST 4096
#define MEMBER_KEYID	     1

struct member {
	struct sign_keypair id;
	struct onion_keypair onion;
	struct addr addr; /* loopback, an IP of its own */
};

struct network {
	char folder[40]; /* under /tmp; all below is in it */
	char config[64]; /* relay.ini */
	char log[64];	 /* what the relay says */
	char socket[64]; /* its control socket */
	uint32_t net_id;
	struct link_target relay; /* the real one, as its neighbours know it */
	struct member *member;
	unsigned n;
};

/* Make the folder: network.conf, relay.ini with this many workers (0: one a core) and this engine,
 * the relay's keys, and a directory of the relay and `members` others (1..NETWORK_MEMBERS_MOST)
 * that is valid for a day. 0, or -errno with a sentence in err[NETWORK_ERROR_BYTES]; network_done()
 * either way. */
int network_new(struct network *n, unsigned members, unsigned workers, const char *engine,
		char *err) __attribute__((warn_unused_result));
/* Remove the folder, wipe the keys. */
void network_done(struct network *n);
