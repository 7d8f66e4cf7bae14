/* routing/host.c - see routing/host.h: open, undo, close. The set-ups stand in client.c and exit.c.
 */
#include "routing/host.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "routing/steps.h"

int host_open(const char *journal_path, struct host **ret, char *err)
{
	struct host *h = calloc(1, sizeof(*h));
	if (!h)
		return routing_fail(err, -ENOMEM, "There is no memory for the host's settings.");
	h->has_ipv6 = access("/proc/sys/net/ipv6/conf", F_OK) == 0;
	int rc = journal_open(journal_path, &h->journal, err);
	if (rc == 0) {
		rc = netlink_open(&h->nl);
		if (rc < 0)
			routing_fail(err, rc, "A netlink socket cannot be opened: %s.",
				     strerror(-rc));
	}
	if (rc < 0) {
		host_close(h);
		return rc;
	}
	*ret = h;
	return 0;
}

void host_close(struct host *h)
{
	if (!h)
		return;
	if (h->nl)
		netlink_close(h->nl);
	journal_close(h->journal);
	free(h);
}

size_t host_changes(const struct host *h)
{
	return journal_count(h->journal);
}

int host_undo(struct host *h, host_say_fn *say, void *arg, char *err)
{
	h->client_is_up = false;
	return journal_undo(h->journal, 0, steps_undo, h, say, arg, err);
}

struct journal *host_journal(struct host *h)
{
	return h->journal;
}
