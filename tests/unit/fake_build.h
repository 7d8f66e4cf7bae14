/* tests/unit/fake_build.h - BUILDs by hand around one relay: party 0 is its client, party 1 the relay that is tested,
 * the others are whoever the test plays. */
#pragma once
#include "unit/fake_net.h"

#define BACK_ID 0x0b0b0001u

struct fake_build {
	struct build_client client;
	uint8_t frame[FRAME_BUILD_BYTES];
};

struct around {
	struct fake_net *n;
	struct fake_party *relay; /* party 1 */
	struct link *in;          /* the relay's end of the client's link */
};

/* Party 1 is a relay with this config (NULL: the usual), with a link from party 0. */
struct around around_new(unsigned parties, const struct circuits_config *c);
struct around around_new_with(unsigned parties, void (*change)(struct circuits_config *c));

/* An onion through these parties, the first of which is party 1. */
void fake_onion(struct around *a, struct fake_build *b, const unsigned *parties, unsigned hops, uint32_t back_id,
		uint16_t lifetime_s, int minutes_off);
/* The usual: through parties 1, 2, 3 ... hops. */
void fake_onion_through(struct around *a, struct fake_build *b, unsigned hops, uint32_t back_id);
void fake_give_build(struct link *in, const struct fake_build *b);
/* Take one frame, which must go to this party and be of this type, into *ret. */
void fake_expect(struct around *a, unsigned party, enum frame_type type, struct fake_frame *ret);
void fake_expect_nothing(struct around *a);
void fake_expect_close(struct around *a, unsigned party, uint32_t id, enum close_reason why);
void fake_give_close(struct link *l, uint32_t id, uint8_t why);
/* Play the hops behind the relay: open the BUILD that party `p` got, as the last of it all, and answer it. */
void fake_play_hop(struct around *a, unsigned p, const struct fake_frame *build, enum build_status status,
		   uint32_t forward_id);
/* Open the next frame, a BUILD_REPLY to the client; the answer must verify. Returns the forward id. */
uint32_t fake_expect_reply(struct around *a, struct fake_build *b, struct build_answer *ret);
/* The same and it must be a failure of the relay itself, with forward id 0. */
void fake_expect_refusal(struct around *a, struct fake_build *b, enum build_status status);
/* A circuit through 1 and 2 that stands: BUILD, link, reply, all. Returns its forward id; its BUILD is still kept. */
struct circuit *fake_live(struct around *a, struct fake_build *b, uint32_t back_id, uint32_t next_forward_id);
