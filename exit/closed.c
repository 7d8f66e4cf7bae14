/* exit/closed.c - see closed.h. */
#include "exit/closed.h"
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

static int copy(struct addr **at, size_t *at_n, const struct addr *from, size_t n)
{
	struct addr *to = calloc(n + 1, sizeof(*to));

	if (!to)
		return -ENOMEM;
	if (n)
		memcpy(to, from, n * sizeof(*to));
	free(*at);
	*at = to;
	*at_n = n;
	return 0;
}

int closed_set_own(struct closed *c, const struct addr *own, size_t n)
{
	return copy(&c->own, &c->nown, own, n);
}

int closed_set_relays(struct closed *c, const struct addr *relays, size_t n)
{
	return copy(&c->relays, &c->nrelays, relays, n);
}

static size_t list_host(const struct ifaddrs *list, struct addr *to)
{
	size_t n = 0;

	for (; list && n < CLOSED_HOST_MOST; list = list->ifa_next) {
		if (list->ifa_addr)
			to[n] = addr_from_sockaddr(list->ifa_addr);
		if (list->ifa_addr && to[n].family)
			n++;
	}
	return n;
}

int closed_refresh(struct closed *c)
{
	struct addr *all = calloc(c->nown + c->nrelays + CLOSED_HOST_MOST, sizeof(*all));
	struct ifaddrs *list;
	size_t n = 0;
	int e;

	if (!all)
		return -ENOMEM;
	if (getifaddrs(&list) < 0) {
		e = -errno;
		free(all);
		return e;
	}
	for (size_t i = 0; i < c->nown; i++)
		all[n++] = c->own[i];
	for (size_t i = 0; i < c->nrelays; i++)
		all[n++] = c->relays[i];
	n += list_host(list, all + n);
	freeifaddrs(list);
	free(c->all);
	c->all = all;
	c->n = n;
	return 0;
}

void closed_done(struct closed *c)
{
	free(c->own);
	free(c->relays);
	free(c->all);
	memset(c, 0, sizeof(*c));
}
