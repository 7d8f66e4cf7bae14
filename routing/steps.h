/* routing/steps.h - private to routing/: one change of the host each, journalled before it is made,
 * and its undo.
 *
 * step_X() writes the entry, makes the change, marks it done. It returns 0, or -errno with a
 * sentence; an entry that is still there then is taken back with the others of that set-up.
 * undo_X() is its journal_undo_fn.
 */
#pragma once
#include "routing/host.h"
#include "routing/journal.h"
#include "routing/netlink.h"
#include "routing/nft.h"
#include "routing/steer.h"

struct host {
	struct journal *journal;
	struct nl_sock *nl;
	bool has_ipv6; /* of the running kernel */
	bool client_is_up;
	struct host_client client; /* as it is set up now; ifname points to client_ifname */
	char client_ifname[16];
	struct steer steer; /* what was made of it; its client points to the one above */
};

/* Link: MTU, no link-local address, up. Undo: down, while it is the same link. */
int step_link(struct host *h, const char *ifname, unsigned mtu, char *err);
int step_addr(struct host *h, const char *ifname, const struct addr *a, uint8_t len, char *err);
int step_route(struct host *h, const char *ifname, const struct netlink_route *r, char *err);
int step_rule(struct host *h, const struct netlink_rule *r, char *err);
int step_nft(struct host *h, const struct nft_table *t, char *err);
/* Set a sysctl unless it has that value. -ENOENT (not said) when there is no such. */
int step_sysctl(struct host *h, const char *name, const char *value, char *err);
/* A sysctl that a later step changes as a side effect: undo finds it as `after` and makes it `old`
 * again. */
int step_sysctl_side(struct host *h, const char *name, const char *old, const char *after,
		     char *err);

/* Take back by hand, outside the journal's order: the newest entry of this kind whose `what` equals
 * the given one (takes the reference). 0, also without such an entry. */
int unstep(struct host *h, const char *kind, json_t *what, char *err);
json_t *what_addr(const char *ifname, const struct addr *a, uint8_t len);
json_t *what_route(const char *ifname, const struct netlink_route *r);
json_t *what_rule(const struct netlink_rule *r);

/* Undo of every kind there is. */
journal_undo_fn steps_undo;
/* Take back what came since the mark, after a failed set-up whose sentence is in err (kept). */
void steps_roll_back(struct host *h, uint64_t mark);
