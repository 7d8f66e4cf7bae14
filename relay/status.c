/* relay/status.c - the relay's control socket RUN/relay.sock: method "status", for `sispopnet-relay
 * status`. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/offload.h"
#include "base/zbase32.h"
#include "net/control.h"
#include "relay/relay.h"
#include "relay/relay_internal.h"

struct status {
	struct relayd *relay;
	struct control *control;
};

static json_t *drops_json(const struct relayd *r)
{
	uint64_t n[DROP_COUNT];
	json_t *o = json_object();

	engine_drops(r->engine, n);
	for (unsigned d = 1; d < DROP_COUNT; d++)
		if (n[d])
			json_object_set_new(o, drop_name((enum drop)d),
					    json_integer((json_int_t)n[d]));
	return o;
}

static json_t *status_json(const struct relayd *r)
{
	nsec_t now = clock_now();
	const struct directory *d = dirsync_current(r->dirsync, now);
	char name[NAME_BYTES], a4[ADDR_TEXT_BYTES], a6[ADDR_TEXT_BYTES];
	char offloads[OFFLOADS_TEXT_BYTES];
	json_t *o;

	name_from_id(r->keys.identity.public_key, name);
	o = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:s,s:I,s:I,s:i,s:s,s:o}", "schema",
		      1, "name", name, "role", r->exit ? "exit" : "relay", "state",
		      r->draining ? "draining" : "running", "address4",
		      addr_text(&r->config.address4, a4), "address6",
		      addr_text(&r->config.address6, a6), "links",
		      (json_int_t)links_count(r->links), "half_open",
		      (json_int_t)links_half_open(r->links), "circuits",
		      (json_int_t)circuits_count(r->circuits), "pending",
		      (json_int_t)circuits_pending(r->circuits), "uptime_s",
		      (json_int_t)((now - r->started) / NSEC_PER_SEC), "engine", aead_engine_name(),
		      "consensus", (json_int_t)(d ? d->consensus->serial : 0), "relays",
		      (json_int_t)(d ? d->n : 0), "workers", (int)engine_workers(r->engine),
		      "offloads", offloads_text(engine_offloads(r->engine), offloads), "drops",
		      drops_json(r));
	if (o && r->exit)
		json_object_set_new(o, "exit", exit_status(r->exit));
	return o;
}

static void handle(void *arg, struct control_request *q, const char *method, json_t *params)
{
	struct status *s = arg;

	(void)params;
	if (strcmp(method, "status"))
		control_reply_error(q, "unknown-method",
				    "there is no method of that name: only status");
	else
		control_reply(q, status_json(s->relay));
}

int status_open(struct relayd *r, struct status **ret, char *err)
{
	struct status *s = calloc(1, sizeof(*s));
	char path[200];
	int e = -ENOMEM;

	snprintf(path, sizeof(path), "%s/relay.sock", r->config.run);
	if (s) {
		struct control_config c = {
			.path = path, .group = "sispopnet", .handle = handle, .arg = s};

		s->relay = r;
		e = control_open(r->base, &c, &s->control);
		if (e == -EPERM) { /* an unprivileged relay is no member of the group: then for its
				      own user and root */
			c.group = NULL;
			e = control_open(r->base, &c, &s->control);
		}
	}
	if (e) {
		snprintf(
			err, RELAY_ERROR_BYTES, "the control socket %s could not be opened: %s%s",
			path, strerror(-e),
			e == -EADDRINUSE
				? "; another relay runs with this `run` folder: give each one of its own"
				: "");
		free(s);
		return e;
	}
	*ret = s;
	return 0;
}

void status_close(struct status *s)
{
	if (!s)
		return;
	control_close(s->control);
	free(s);
}
