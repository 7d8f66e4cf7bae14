/* client/tunnel.c - the client's state machine: off, connecting, up, blocked; one attempt at a
 * time.
 *
 * An attempt goes: directory, paths to the exit, session, grant, host, verified. The host is
 * untouched until the exit granted; whatever fails takes back what was done. What fails inside a
 * callback of path_set is ended from the event loop (c->deferred), because the path set must not be
 * freed under its own feet. Paths: tunnel_carrier.c; grant and host: tunnel_host.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "client/tunnel_state.h"
#include "crypto/kdf.h"

static void begin_exit(struct client *c, nsec_t now);

void tunnel_set_state(struct client *c, enum client_state s)
{
	if (c->state == s)
		return;
	c->state = s;
	methods_state_changed(c);
}

bool tunnel_tries(const struct client *c, const struct carrier *k)
{
	return !c->attempt_over && (k == c->next || (!c->next && k == c->carrier && !k->verified));
}

/* --- how an attempt ends --- */

void tunnel_fail(struct client *c, enum fault f, const char *fmt, ...)
{
	va_list ap;

	if (c->must_end_attempt || c->attempt_over)
		return;
	va_start(ap, fmt);
	vsnprintf(c->sentence, sizeof(c->sentence), fmt, ap);
	va_end(ap);
	c->fault = f;
	c->must_end_attempt = true;
	client_defer(c);
}

/* The routes stay, so that nothing leaves beside the tunnel until the user says so. */
void tunnel_block(struct client *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->blocked_why, sizeof(c->blocked_why), fmt, ap);
	va_end(ap);
	log_warn("blocked: %s", c->blocked_why);
	c->carrier->shut = true;
	inner_set_active(c->inner, NULL);
	tunnel_set_state(c, CLIENT_BLOCKED);
}

static void attempt_over(struct client *c, enum fault f)
{
	c->fault = f;
	c->attempt_over = true;
	c->must_end_attempt = false;
	c->waits_for_directory = false;
	wipe(c->wish.exit, sizeof(c->wish.exit));
	methods_attempt_over(c);
}

/* No exit in use, the host as it was. */
static int carrier_down(struct client *c, nsec_t now, char *err)
{
	int r;

	verify_cancel(c->verify);
	c->verify = NULL;
	if (c->carrier)
		path_set_goodbye(c->carrier->paths, now);
	r = tunnel_host_down(c, err);
	inner_set_active(c->inner, NULL);
	carrier_free(c->carrier, now);
	c->carrier = NULL;
	return r;
}

/* Forget the exit that is tried. What the tunnel was before the attempt stays, or nothing. */
static void drop_tried(struct client *c, nsec_t now)
{
	char err[ROUTING_ERROR_BYTES];

	carrier_free(c->next, now);
	c->next = NULL;
	verify_cancel(c->verify);
	c->verify = NULL;
	if (!c->up_since) {
		if (carrier_down(c, now, err))
			log_error("the host was not taken back whole: %s", err);
	} else if (c->host_is_anothers && tunnel_host_restore(c, c->carrier, err)) {
		tunnel_block(c, "the host could not be given back to the exit before: %s", err);
	}
}

static bool has_next_exit(const struct client *c, nsec_t now)
{
	return c->wish_exit + 1 < c->wish.exits && now < c->attempt_deadline &&
	       c->fault != FAULT_HOST && c->fault != FAULT_NO_DIRECTORY;
}

/* The attempt failed: try the wish's next exit, else everything back to what was before it. */
static void end_failed_attempt(struct client *c, nsec_t now)
{
	c->must_end_attempt = false;
	drop_tried(c, now);
	if (has_next_exit(c, now)) {
		log_info("%s; trying the next exit", c->sentence);
		c->wish_exit++;
		begin_exit(c, now);
		return;
	}
	/* The host's sentence may name a range: where the user goes stands in no log. */
	log_warn("not up: %s",
		 c->fault == FAULT_HOST && c->wish.ranges.n ? fault_word(c->fault) : c->sentence);
	attempt_over(c, c->fault);
	if (!c->up_since) {
		links_close_all(c->links, CLOSE_DONE, now);
		tunnel_set_state(c, CLIENT_OFF);
	} else if (!c->carrier->verified && c->state != CLIENT_BLOCKED) {
		tunnel_block(c, "the move to another exit failed after it had granted: %s",
			     c->sentence);
	}
}

void tunnel_deferred(struct client *c, nsec_t now)
{
	if (c->must_end_attempt)
		end_failed_attempt(c, now);
	client_rearm(c, now);
}

void tunnel_verified(struct client *c, bool ok, nsec_t now)
{
	if (!ok) {
		tunnel_fail(
			c, FAULT_NO_FORWARD,
			"the exit granted a session, but no packet came back through it in 3 s: it does not forward; "
			"tell its operator or use another exit");
		return;
	}
	if (c->must_end_attempt || c->attempt_over)
		return;
	c->carrier->verified = true;
	c->up_since = c->up_since ? c->up_since : now;
	methods_step(c, STEP_VERIFIED, "a packet came back", now);
	tunnel_set_state(c, CLIENT_UP);
	log_info("up");
	attempt_over(c, FAULT_NONE);
}

/* --- the attempt --- */

static void give_seed(struct client *c, nsec_t now)
{
	unsigned i = c->wish_exit;

	if (!c->next || !(c->wish.open || c->wish.exit[i].has_seed))
		return;
	if (path_set_token(c->next->paths, c->wish.open ? NULL : c->wish.exit[i].seed, now) ==
	    -ENOMEM)
		tunnel_fail(c, FAULT_HOST, "no memory for the session");
}

/* Begin with the wish's current exit, as soon as there is a directory. */
static void begin_exit(struct client *c, nsec_t now)
{
	const struct directory *d = dirsync_current(c->dirsync, now);
	const uint8_t *id = c->wish.exit[c->wish_exit].id;
	const struct relay *exit;
	bool is_listed;

	exit = d ? directory_find(d, id) : NULL;
	is_listed = exit && exit->flags & RELAY_FLAG_EXIT;
	/* A directory that does not know the exit may be older than the exit: once more, but not
	 * twice. */
	c->waits_for_directory = !d || (!is_listed && !c->asked_anew);
	if (c->waits_for_directory) {
		c->asked_anew = d != NULL;
		dirsync_refresh(c->dirsync, now);
		return; /* tunnel_on_directory() goes on */
	}
	methods_step(c, STEP_DIRECTORY, "valid", now);
	if (!is_listed) {
		tunnel_fail(c, FAULT_NO_EXIT, "%s",
			    choice_result_text(exit ? CHOICE_NOT_AN_EXIT : CHOICE_NO_EXIT));
		return;
	}
	c->next = carrier_new(c, id, c->wish.hops, now);
	if (!c->next) {
		tunnel_fail(c, FAULT_HOST, "no memory for the paths");
		return;
	}
	c->next->ranges = c->wish.ranges;
	c->next->address4 = exit->v4;
	c->next->address6 = exit->v6;
	give_seed(c, now);
	path_set_start(c->next->paths, now);
}

/* Another --up ends the attempt that runs. */
static void cancel_attempt(struct client *c, const char *why, nsec_t now)
{
	if (c->attempt_over)
		return;
	snprintf(c->sentence, sizeof(c->sentence), "%s", why);
	drop_tried(c, now);
	attempt_over(c, FAULT_CANCELLED);
}

/* Nothing of ours may be in the way, and nothing of others. */
static int check_host(struct client *c, const struct ranges *ranges, char *err)
{
	const struct msg_grant none = {.lease4 = {.family = 0}};
	struct host_client h = tunnel_host_settings(c, ranges, &none, 1280);

	if (c->tun)
		return 0;
	if (host_changes(c->host) && tunnel_host_down(c, err)) /* left by a --down that failed */
		return -EIO;
	return host_client_check(c->host, &h, err);
}

static void new_attempt(struct client *c, const struct wish *w, nsec_t now)
{
	c->wish = *w;
	c->wish_exit = 0;
	c->attempt++;
	c->attempt_over = false;
	c->fault = FAULT_NONE;
	c->attempt_started = now;
	c->attempt_deadline = now + w->timeout;
	c->directory_failures = 0;
	c->asked_anew = false;
	memset(c->step_done, 0, sizeof(c->step_done));
	if (!c->carrier) {
		c->up_since = 0;
		inner_reset_bytes(c->inner);
		tunnel_set_state(c, CLIENT_CONNECTING);
	}
}

enum fault tunnel_up(struct client *c, const struct wish *w, nsec_t now, char *err)
{
	cancel_attempt(c, "another --up took over", now);
	if (check_host(c, &w->ranges, err)) {
		if (!c->carrier)
			tunnel_set_state(c, CLIENT_OFF);
		return FAULT_HOST;
	}
	new_attempt(c, w, now);
	begin_exit(c, now);
	client_rearm(c, now);
	return FAULT_NONE;
}

int tunnel_seed(struct client *c, const uint8_t exit_id[32], const uint8_t seed[32], nsec_t now)
{
	bool found = false;

	for (unsigned i = 0; i < c->wish.exits && !c->attempt_over; i++) {
		if (memcmp(c->wish.exit[i].id, exit_id, 32))
			continue;
		memcpy(c->wish.exit[i].seed, seed, 32);
		c->wish.exit[i].has_seed = found = true;
		if (i == c->wish_exit)
			give_seed(c, now);
	}
	client_rearm(c, now);
	return found ? 0 : -ENOENT;
}

int tunnel_down(struct client *c, nsec_t now, char *err)
{
	int r;

	carrier_free(c->next, now);
	c->next = NULL;
	r = carrier_down(c, now, err);
	c->up_since = 0;
	if (!c->attempt_over) {
		snprintf(c->sentence, sizeof(c->sentence), "it was taken down");
		attempt_over(c, FAULT_CANCELLED);
	}
	links_close_all(c->links, CLOSE_DONE, now);
	tunnel_set_state(c, CLIENT_OFF);
	client_rearm(c, now);
	return r;
}

/* --- what comes from outside --- */

void tunnel_on_directory(struct client *c, nsec_t now)
{
	if (c->waits_for_directory && !c->must_end_attempt && dirsync_current(c->dirsync, now))
		begin_exit(c, now);
	client_rearm(c, now);
}

/* A document that was refused is said at once; a source that is silent gets a second chance. */
void tunnel_on_directory_failure(struct client *c, nsec_t now)
{
	if (!c->waits_for_directory)
		return;
	if (dirsync_current(c->dirsync, now)) { /* only one that lists the exit was wanted */
		tunnel_on_directory(c, now);
		return;
	}
	if (++c->directory_failures >= 2 || dirsync_result(c->dirsync) != DIR_CUT)
		tunnel_fail(c, FAULT_NO_DIRECTORY, "there is no valid directory: %s",
			    dirsync_error(c->dirsync));
}

static void on_attempt_timeout(struct client *c)
{
	const struct carrier *k = c->next;

	if (c->waits_for_directory)
		tunnel_fail(c, FAULT_NO_DIRECTORY, "there is no valid directory: %s",
			    dirsync_error(c->dirsync));
	else if (k && k->failures)
		tunnel_fail(c, FAULT_NO_PATH, "no path could be built in time: %s",
			    k->last_failure);
	else if (k && !c->step_done[STEP_PATH])
		tunnel_fail(
			c, FAULT_TIMEOUT,
			"timed out while the path was being built: is the guard reachable from here?");
	else if (k && !c->wish.open && !c->wish.exit[c->wish_exit].has_seed)
		tunnel_fail(c, FAULT_TIMEOUT,
			    "timed out: the program that asked did not hand over the token's key");
	else
		tunnel_fail(c, FAULT_TIMEOUT, "timed out: the exit did not answer");
}

void tunnel_on_timer(struct client *c, nsec_t now)
{
	if (c->carrier)
		path_set_on_timer(c->carrier->paths, now);
	if (c->next)
		path_set_on_timer(c->next->paths, now);
	if (!c->attempt_over && now >= c->attempt_deadline)
		on_attempt_timeout(c);
}

nsec_t tunnel_next_deadline(const struct client *c)
{
	nsec_t next = NSEC_NEVER;

	if (c->carrier)
		next = path_set_next_deadline(c->carrier->paths);
	if (c->next)
		next = nsec_min(next, path_set_next_deadline(c->next->paths));
	if (!c->attempt_over && !c->must_end_attempt)
		next = nsec_min(next, c->attempt_deadline);
	return next;
}
