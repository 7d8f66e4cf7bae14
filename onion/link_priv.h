/* onion/link_priv.h - what the files of links share: links.c (the set and its tables), link_open.c
 * (who sends INIT), link_accept.c (who answers it), link_ctrl.c (frames, roaming), link_timer.c
 * (liveness, idleness, age).
 *
 *  OPENING  we sent INIT            own id reserved, not published; found in `opening` chains
 *  HALF     we sent RESP            published; not counted against limits
 *  UP       RESP or a CTRL verified published
 *  DEAD     out of every table      lives on while circuits hold it
 */
#pragma once
#include <sys/queue.h>
#include "onion/ctrl.h"
#include "onion/link_init.h"
#include "onion/link_seen.h"
#include "onion/link_source.h"
#include "onion/link_wheel.h"
#include "onion/links.h"

#define LINK_CHAINS	  1024
#define INIT_TRIES	  4 /* at 0, 1, 2 and 4 s */
#define INIT_GIVE_UP_NSEC (6 * NSEC_PER_SEC)
/* How often what workers sent and got is looked at. */
#define LINK_POLL_NSEC (250 * NSEC_PER_MSEC)
/* The side that answered waits so much longer before it ends a link. */
#define LINK_EARLY_NSEC (10 * NSEC_PER_SEC)
/* A half-open link has its place so long, however full the table is. */
#define HALF_OPEN_KEEP_NSEC (1 * NSEC_PER_SEC)
/* One PING to a new address of a link in this time. */
#define ROAM_PING_NSEC (1 * NSEC_PER_SEC)
#define PINGS_KEPT	8 /* whose PONGs still tell a round trip */

enum link_state { LINK_OPENING, LINK_HALF, LINK_UP, LINK_DEAD };

/* What the initiator keeps until the RESP. Every try may still be answered: on a slow path the
 * answer to one comes after the next was sent. */
struct link_opening {
	struct link_target target;
	nsec_t started;
	unsigned tries;
	struct hs hs[INIT_TRIES];
	nsec_t sent_at[INIT_TRIES];
	uint8_t mac1[INIT_TRIES][MAC_BYTES];
	uint8_t init[LINK_INIT_BYTES]; /* the last one, as sent */
	bool cookie_used;	       /* init was sent again with a mac2 */
	uint8_t cookie[COOKIE_BYTES];
	nsec_t cookie_until; /* 0: we have none */
};

/* One direction's CTRL key. */
struct ctrl_key {
	uint8_t key[32];
	uint8_t iv[12];
};

struct link {
	TAILQ_ENTRY(link) all;
	TAILQ_ENTRY(link) idle;	     /* is_idle: a client's link without circuits */
	TAILQ_ENTRY(link) grave;     /* is_buried */
	TAILQ_ENTRY(link) half;	     /* HALF */
	LIST_ENTRY(link) by_link_id; /* OPENING */
	LIST_ENTRY(link) by_id;	     /* initiator, OPENING and UP */
	struct links *set;
	struct link_data *data;	      /* ours until retired with the link */
	struct link_opening *opening; /* OPENING only */
	enum link_state state;
	bool initiator, relay, is_idle, is_buried, source_taken;
	uint8_t id[32]; /* of the other side, when relay */
	struct addr remote, observed;
	uint64_t peer_serial;
	uint32_t circuits_limit;
	unsigned circuits;
	void *user;
	struct link_timer timer;
	nsec_t since;	   /* HALF, UP: when that began */
	nsec_t idle_since; /* when the last circuit ended */
	struct ctrl_key tx, rx;
	uint64_t tx_ctr;
	struct replay rx_window;
	/* liveness */
	nsec_t unanswered; /* sent at this time and nothing verified since; 0: nothing */
	unsigned series;   /* PINGs of the series so far */
	nsec_t series_next;
	uint64_t ping_first;	    /* opaque of the first PING, random; the others count up */
	uint64_t pings;		    /* sent so far */
	nsec_t ping_at[PINGS_KEPT]; /* of the last ones, by number */
	nsec_t rtt;
	/* roaming */
	struct addr roam_to;
	nsec_t roam_at; /* last PING to a new address; 0 never */
	uint64_t roam_opaque;
};

TAILQ_HEAD(link_list, link);
LIST_HEAD(link_chain, link);

struct links {
	struct links_config c;
	nsec_t now; /* of the last call */
	unsigned depth;
	struct link_wheel wheel;
	struct link_list all, idle, graves;
	struct link_list half; /* HALF, oldest first */
	struct link_chain by_link_id[LINK_CHAINS], by_id[LINK_CHAINS];
	uint32_t count, opening, half_open;
	/* frames on their way out, of one link at a time */
	struct link *out_link;
	struct ctrl_list out;
	/* responders */
	struct link_seen *seen;
	struct link_sources *sources;
	struct cookie_secret cookie;
	nsec_t next_init; /* load: when the next is due at an even pace of inits_per_s_busy */
};

/* links.c. What happens between enter and leave goes out together, and nothing is freed before
 * leave. */
void links_enter(struct links *s, nsec_t now);
void links_leave(struct links *s);
void links_drop(struct links *s, enum drop why);
/* A link in state OPENING or HALF with its link_data and a reserved id. 0, -ENOSPC, -ENOMEM. */
int link_new(struct links *s, enum link_state state, const struct addr *remote, struct link **ret);
/* Read both directions' keys off the handshake. */
void link_take_keys(struct link *l, const struct hs *hs);
/* It is UP from now. */
void link_set_up(struct link *l, nsec_t now);
/* Out of every table; on_dead when it was up, on_failed(why) when it was opening. Within enter and
 * leave. */
void link_end(struct link *l, int why, nsec_t now);
/* Forget one that nobody was told of yet. */
void link_discard(struct link *l);
struct link *links_find_opening(struct links *s, uint32_t link_id);
struct link *links_find_published(struct links *s, uint32_t link_id);
/* Room for one more link that counts? `relay`: up to the limit; others to 90 % of it. When `evict`,
 * the client's link that has been idle longest makes room; else it is enough that it could. */
bool links_make_room(struct links *s, bool relay, bool evict, nsec_t now);

/* link_open.c */
void link_opening_free(struct link_opening *o);
void link_on_resp(struct links *s, const struct addr *from, unsigned worker, const uint8_t *d,
		  size_t n, nsec_t now);
void link_on_cookie(struct links *s, const struct addr *from, const uint8_t *d, size_t n,
		    nsec_t now);
nsec_t link_opening_deadline(const struct link *l);
void link_opening_run(struct link *l, nsec_t now);

/* link_accept.c */
void link_on_init(struct links *s, const struct addr *from, unsigned worker, const uint8_t *d,
		  size_t n, nsec_t now);
/* The first CTRL of a HALF link verified. False when limits refuse it: it is ended. */
bool link_confirm(struct link *l, nsec_t now);

/* link_ctrl.c */
void links_flush(struct links *s);
void link_put_frame(struct link *l, enum frame_type type, const void *data, size_t n);
/* Send a PING and expect its PONG. */
void link_ping(struct link *l, nsec_t now);

/* link_timer.c */
void link_arm(struct link *l, nsec_t now);
