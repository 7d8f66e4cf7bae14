/* tests/gate/end_client.c - see ends.h: a client in a home network, with two DNS servers granted.
 */
#include "client/client.h"
#include "tests/gate/ends.h"
#include "tests/gate/kernel.h"

static struct inner *inner;

void client_end_init(void)
{
	inner = inner_new();
	must(inner != NULL);
}

void client_end_done(void)
{
	inner_free(inner);
}

struct engine_inner_ops client_end_ops(void)
{
	return inner_ops(inner);
}

void client_end_join(const struct onion_env *env, struct path_data *p,
		     const struct session_data *lease)
{
	struct msg_grant g = {.lease4 = lease->lease4, .lease6 = lease->lease6, .ndns = 2};
	struct prefix local[2];

	must(!addr_parse_ip("203.0.113.10", &g.dns[0]) &&
	     !addr_parse_ip("2001:db8:113::10", &g.dns[1]));
	must(!prefix_parse("192.168.1.0/24", &local[0]) &&
	     !prefix_parse("2001:db8:100::/64", &local[1]));
	must(!inner_set_lease(inner, env, &g, local, 2));
	inner_set_active(inner, p);
}
