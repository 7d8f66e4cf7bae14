/* exit/exit_host.c - see exit.h: what an exit changes of its host, through the undo journal of
 * routing/host.h. */
#include <stdio.h>
#include "base/log.h"
#include "base/offload.h"
#include "exit/exit_state.h"
#include "routing/host.h"
#include "tun/device.h"

#define TABLE_NAME_BYTES sizeof(((struct exit_settings *)0)->interface)

static void say(void *arg, const char *sentence)
{
	(void)arg;
	log_warn("%s", sentence);
}

/* What a dead exit left comes first: its table or address would look like somebody else's. */
static int open_host(struct exit *x, char *err)
{
	int e = host_open(x->settings.journal, &x->host, err);

	if (e || !host_changes(x->host))
		return e;
	log_warn(
		"an exit before this one ended without taking back %zu changes of this host: done now",
		host_changes(x->host));
	return host_undo(x->host, say, NULL, err);
}

static void table_name(const struct exit *x, char name[TABLE_NAME_BYTES])
{
	snprintf(name, TABLE_NAME_BYTES, "%s", x->settings.interface);
	for (char *p = name; *p; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') &&
		    !(*p >= '0' && *p <= '9'))
			*p = '_';
}

int exit_host_up(struct exit *x, unsigned queues, char err[EXIT_ERROR_BYTES])
{
	char name[TABLE_NAME_BYTES];
	const struct addr none = {.family = 0};
	const struct host_exit h = {
		.name = name,
		.ifname = x->settings.interface,
		.mtu = EXIT_DEFAULT_MTU,
		.address4 = leases_own(x->leases, 4),
		.address6 = leases_own(x->leases, 6),
		.range4 = x->settings.lease4,
		.range6 = x->settings.lease6,
		.relay4 = x->settings.notrack ? x->settings.relay4 : none,
		.relay6 = x->settings.notrack ? x->settings.relay6 : none,
	};
	int e = open_host(x, err);

	table_name(x, name);
	if (!e)
		e = host_exit_check(x->host, &h, err);
	if (!e)
		e = tun_open(x->settings.interface, queues, OFFLOAD_ALL & ~x->settings.offloads_off, &x->tun, err);
	if (!e)
		e = host_exit_up(x->host, &h, err);
	if (e)
		exit_host_down(x);
	return e;
}

void exit_host_down(struct exit *x)
{
	char err[ROUTING_ERROR_BYTES];

	if (x->host && host_undo(x->host, say, NULL, err))
		log_error("the host is not as it was: %s The next start tries again.", err);
	tun_close(x->tun);
	host_close(x->host);
	x->tun = NULL;
	x->host = NULL;
}
