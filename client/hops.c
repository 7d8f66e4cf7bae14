/* client/hops.c - which relays the next path goes through: directory/choice with this client's
 * guards and memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "client/client.h"
#include "crypto/keyfile.h"

static void guards_path(const struct client *c, char out[200])
{
	snprintf(out, 200, "%s/guards", c->config.state);
}

void hops_load_guards(struct client *c)
{
	char path[200], err[KEYFILE_ERROR_BYTES], text[GUARDS_TEXT_MAX_BYTES];
	size_t n = 0;
	int r;

	guards_init(&c->guards);
	guards_path(c, path);
	r = keyfile_read_some(path, text, sizeof(text), &n, err);
	if (r == -ENOENT)
		return;
	if (!r && guards_read(text, n, &c->guards)) {
		snprintf(err, sizeof(err), "it is damaged");
		r = -EINVAL;
	}
	if (r)
		log_warn("%s is not used, new guards are chosen: %s", path, err);
}

void hops_store_guards(struct client *c)
{
	char path[200], err[KEYFILE_ERROR_BYTES], text[GUARDS_TEXT_MAX_BYTES];
	size_t n;

	if (!c->guards.changed)
		return;
	guards_path(c, path);
	n = guards_write(&c->guards, text, sizeof(text));
	if (keyfile_write(path, text, n, err))
		log_warn("the guards are not stored, a restart chooses new ones: %s", err);
}

static void path_ids(const struct path *p, struct choice_path *ret)
{
	ret->hops = path_hops(p);
	for (unsigned i = 0; i < ret->hops; i++)
		memcpy(ret->id[i], path_hop(p, i)->target.id, 32);
}

static size_t failed_now(const struct client *c, nsec_t now, uint8_t ret[FAILED_MOST][32])
{
	size_t n = 0;

	for (unsigned i = 0; i < FAILED_MOST; i++)
		if (c->failed[i].until > now)
			memcpy(ret[n++], c->failed[i].id, 32);
	return n;
}

/* Paths of both carriers count as live, so that a swap keeps each relay in its place too. */
static size_t live_paths(const struct client *c, const struct path_query *q,
			 struct choice_path *ret, size_t most)
{
	const struct carrier *k[2] = {c->carrier, c->next};
	size_t n = 0;

	for (unsigned i = 0; i < q->count && n < most; i++)
		path_ids(q->live[i], &ret[n++]);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned j = 0; k[i] && k[i]->paths && n < most; j++) {
			const struct path *p = path_set_path(k[i]->paths, j);
			if (!p)
				break;
			path_ids(p, &ret[n++]);
		}
	return n;
}

static void take(const struct choice *chosen, struct path_hop *ret, unsigned *ret_n)
{
	for (unsigned i = 0; i < chosen->hops; i++) {
		struct link_target *t = &ret[i].target;
		memcpy(t->id, chosen->hop[i].relay->id, 32);
		memcpy(t->onion_key, chosen->hop[i].key->public_key, 32);
		t->keyid = chosen->hop[i].key->keyid;
		t->addr = chosen->hop[i].addr;
	}
	*ret_n = chosen->hops;
}

int hops_choose(struct client *c, const struct carrier *k, const struct path_query *q,
		struct path_hop *ret, unsigned *ret_n, char *why)
{
	struct choice_path live[2 * PATH_SET_PATHS_MOST + 4], primary;
	uint8_t failed[FAILED_MOST][32];
	nsec_t now = clock_now();
	struct choice chosen;
	enum choice_result r;
	struct choice_request cr = {
		.directory = dirsync_current(c->dirsync, now),
		.now_s = dirsync_unix_seconds(c->dirsync, now),
		.hops = k->hops,
		.exit_id = k->id,
		.have_v4 = c->config.underlay4,
		.have_v6 = c->config.underlay6,
		.live = live,
		.failed = (const uint8_t(*)[32])failed,
	};

	if (!cr.directory) { /* it ran out, perhaps while the machine slept */
		snprintf(why, SENTENCE_BYTES, "there is no valid directory: %s",
			 dirsync_error(c->dirsync));
		dirsync_refresh(c->dirsync, now);
		return -ENODATA;
	}
	cr.nlive = live_paths(c, q, live, sizeof(live) / sizeof(live[0]));
	cr.nfailed = failed_now(c, now, failed);
	if (q->role == PATH_STANDBY && q->count) {
		path_ids(q->live[0], &primary);
		cr.differ_from = &primary;
	}
	guards_tick(&c->guards, cr.now_s);
	r = choice_make(&cr, &c->guards, &rng_system, &chosen);
	if (r == CHOICE_EXIT_LIVE && k == c->next) {
		/* A path of the exit that is left uses the new one as middle. It goes with that
		 * exit. */
		cr.nlive = q->count;
		r = choice_make(&cr, &c->guards, &rng_system, &chosen);
	}
	if (r == CHOICE_FAILED || r == CHOICE_RULES || r == CHOICE_GUARDS || r == CHOICE_LIVE) {
		/* In a small network better a relay that failed a moment ago than none. */
		cr.nfailed = 0;
		r = choice_make(&cr, &c->guards, &rng_system, &chosen);
	}
	hops_store_guards(c);
	if (r != CHOICE_OK) {
		snprintf(why, SENTENCE_BYTES, "%s", choice_result_text(r));
		return r == CHOICE_NO_EXIT || r == CHOICE_NOT_AN_EXIT || r == CHOICE_REVOKED
			       ? -ENOENT
			       : -EHOSTUNREACH;
	}
	take(&chosen, ret, ret_n);
	return 0;
}

void hops_on_built(struct client *c, const struct path *p)
{
	if (path_hops(p) > 1)
		guards_on_build(&c->guards, path_hop(p, 0)->target.id, true);
	hops_store_guards(c);
}

static void remember_failed(struct client *c, const uint8_t id[32], nsec_t now)
{
	struct failed_relay *oldest = &c->failed[0];

	for (unsigned i = 0; i < FAILED_MOST; i++) {
		if (!memcmp(c->failed[i].id, id, 32)) {
			oldest = &c->failed[i];
			break;
		}
		if (c->failed[i].until < oldest->until)
			oldest = &c->failed[i];
	}
	memcpy(oldest->id, id, 32);
	oldest->until = now + FAILED_SECONDS * NSEC_PER_SEC;
}

/* `hop` said no (or the one after it was down): avoid it for a while. When nobody knows who was
 * silent, any hop but the exit may be it; each is avoided. Never the exit: the user named it. A
 * guard that answers is not the one that fell out of a path that worked: without it the next
 * standby would run through the other path's guard. */
void hops_on_failed(struct client *c, const struct path *p, int hop, nsec_t now)
{
	unsigned n = path_hops(p), first = 0, last = n - 1;

	if (hop >= 0) {
		first = (unsigned)hop;
		last = (unsigned)hop + 2;
	}
	if (hop < 0 && path_ready_at(p) && path_guard_answers(p, now))
		first = 1;
	for (unsigned i = first; i < last && i + 1 < n; i++)
		remember_failed(c, path_hop(p, i)->target.id, now);
	if (n > 1 && hop <= 0)
		guards_on_build(&c->guards, path_hop(p, 0)->target.id, false);
	hops_store_guards(c);
}
