/* exit/exit.c - see exit.h: glue between accounts, leases, the sessions' state machine, the host
 * and the workers.
 *
 * Control thread only. Logs say that something happened to a session, never whose and never where
 * to.
 */
#include "exit/exit.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "exit/exit_state.h"
#include "exit/rules.h"
#include "exit/settings.h"

#define CHECK_NSEC     NSEC_PER_SEC	   /* revocations are looked for */
#define ADDRESSES_NSEC (30 * NSEC_PER_SEC) /* this host's addresses are looked at */
#define COMPLAINT_NSEC (60 * NSEC_PER_SEC) /* the same failure is logged again */
#define BUSY_RETRY_S   60

static int __attribute__((format(printf, 3, 4))) fail(char *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, EXIT_ERROR_BYTES, fmt, ap);
	va_end(ap);
	return code;
}

/* --- life --- */

static int no_memory(char *err)
{
	return fail(err, -ENOMEM, "no memory for the exit's tables");
}

int exit_new(const struct exit_settings *s, const uint8_t id[32], struct exit **ret,
	     char err[EXIT_ERROR_BYTES])
{
	struct exit *x;
	int e = exit_settings_check(s, err);

	if (e)
		return e;
	x = calloc(1, sizeof(*x));
	if (!x)
		return no_memory(err);
	x->settings = *s;
	memcpy(x->id, id, sizeof(x->id));
	e = exit_effective_policy(s, &x->policy);
	if (e)
		fail(err, e,
		     "[exit]: the policy is too long for a descriptor: use fewer or wider policy rules");
	if (!e)
		e = accounts_open(s->accounts, &x->accounts, err);
	if (!e) {
		x->leases = leases_new(&s->lease4, &s->lease6, &rng_system);
		if (!x->leases || inner_init(&x->inner, x->leases))
			e = no_memory(err);
	}
	if (e) {
		exit_free(x);
		return e;
	}
	*ret = x;
	return 0;
}

void exit_free(struct exit *x)
{
	if (!x)
		return;
	exit_host_down(x);
	inner_done(&x->inner);
	leases_free(x->leases);
	accounts_close(x->accounts);
	closed_done(&x->closed);
	free(x);
}

struct engine_inner_ops exit_inner(struct exit *x)
{
	return (struct engine_inner_ops){&x->inner, inner_from_onion, inner_from_tun};
}

/* --- what sessions ask --- */

static void complain(struct exit *x, const char *what, int code)
{
	nsec_t now = clock_now();

	if (now < x->next_complaint)
		return;
	x->next_complaint = now + COMPLAINT_NSEC;
	log_error("%s: %s", what, strerror(-code));
}

static uint8_t verdict_of(const struct account *a, uint64_t now_unix)
{
	if (a->revoked)
		return DENY_BAD_TOKEN; /* the wire knows no other word for it */
	return a->expires && a->expires <= now_unix ? DENY_EXPIRED : 0;
}

/* An AUTH without token looks up a key too, that nobody has: the same work. */
static void judge(void *arg, const uint8_t *token_pk, struct token_verdict *ret)
{
	static const uint8_t nobody[32];
	struct exit *x = arg;
	struct account a = {0};
	int e = accounts_find_key(x->accounts, token_pk ? token_pk : nobody, &a);

	*ret = (struct token_verdict){.quota_left = UINT64_MAX};
	x->judged = NULL;
	if (!token_pk) {
		ret->deny = x->settings.open ? 0 : DENY_POLICY;
		return;
	}
	if (e && e != -ENOENT) {
		complain(x, "accounts cannot be read, clients are told to try later", e);
		ret->deny = DENY_FULL;
		ret->retry_s = BUSY_RETRY_S;
		return;
	}
	ret->deny = e ? DENY_BAD_TOKEN : verdict_of(&a, clock_unix_seconds());
	if (ret->deny)
		return;
	ret->max_sessions = a.max_sessions;
	ret->expires_unix = a.expires;
	ret->up_kbps = a.up_kbps;
	ret->down_kbps = a.down_kbps;
	memcpy(x->judged_key, token_pk, sizeof(x->judged_key));
	x->judged = x->judged_key;
}

static int lease(void *arg, struct session_data *s, uint8_t wants)
{
	struct exit *x = arg;
	return leases_take(x->leases, s, wants, x->judged);
}

static void lease_drop(void *arg, struct session_data *s)
{
	struct exit *x = arg;

	x->bytes_up += atomic_load_explicit(&s->bytes_up, memory_order_relaxed);
	x->bytes_down += atomic_load_explicit(&s->bytes_down, memory_order_relaxed);
	leases_put(x->leases, s);
}

static uint64_t unix_seconds(void *arg)
{
	(void)arg;
	return clock_unix_seconds();
}

/* --- the rules that workers read --- */

static void publish(struct exit *x, struct rules *r)
{
	struct rules *old = atomic_exchange_explicit(&x->inner.rules, r, memory_order_acq_rel);
	const struct onion_env *env = engine_env(x->engine);

	if (old)
		env->retire(env->arg, old, rules_free);
}

static int renew_rules(struct exit *x, const struct policy *p)
{
	struct rules_config c = {
		.policy = p,
		.lease4 = x->settings.lease4,
		.lease6 = x->settings.lease6,
		.own4 = x->inner.own[0],
		.own6 = x->inner.own[1],
	};
	struct rules *r;
	int e = closed_refresh(&x->closed);

	if (e)
		return e;
	c.closed = x->closed.all;
	c.nclosed = x->closed.n;
	r = rules_new(&c, &rng_system);
	if (!r)
		return -ENOMEM;
	publish(x, r);
	return 0;
}

int exit_set_relays(struct exit *x, const struct addr *relays, size_t n)
{
	int e = closed_set_relays(&x->closed, relays, n);
	return e || !x->engine ? e : renew_rules(x, &x->policy);
}

const struct policy *exit_policy(const struct exit *x)
{
	return &x->policy;
}

/* --- start, stop, reload --- */

static struct exit_sessions *new_sessions(struct exit *x, nsec_t now)
{
	struct exit_sessions_config c = {
		.env = engine_env(x->engine),
		.circuits = x->circuits,
		.ops = {x, judge, lease, lease_drop, unix_seconds},
		.ndns = (uint8_t)x->settings.ndns,
		.sessions_most = x->settings.sessions_most,
		.idle_s = (uint32_t)x->settings.idle_s,
	};

	memcpy(c.id, x->id, sizeof(c.id));
	memcpy(c.dns, x->settings.dns, sizeof(c.dns));
	policy_hash(&x->policy, c.policy_hash);
	return exit_sessions_new(&c, now);
}

int exit_start(struct exit *x, struct engine *e, struct circuits *c, const struct addr *addresses,
	       size_t n, nsec_t now, char err[EXIT_ERROR_BYTES])
{
	int code = closed_set_own(&x->closed, addresses, n);

	x->engine = e;
	x->circuits = c;
	if (!code)
		code = renew_rules(x, &x->policy);
	if (code)
		return fail(err, code, "this host's addresses cannot be listed: %s",
			    strerror(-code));
	x->sessions = new_sessions(x, now);
	if (!x->sessions)
		return no_memory(err);
	x->next_addresses = now + ADDRESSES_NSEC;
	code = engine_attach_tun(e, x->tun);
	if (code)
		return fail(err, code, "the workers cannot serve the interface %s: %s",
			    x->settings.interface, strerror(-code));
	return 0;
}

void exit_stop(struct exit *x, nsec_t now)
{
	if (!x->engine)
		return;
	engine_detach_tun(x->engine);
	if (x->sessions)
		exit_sessions_close_all(x->sessions, now);
	exit_sessions_free(x->sessions);
	publish(x, NULL);
	x->sessions = NULL;
	x->circuits = NULL;
	x->engine = NULL;
}

static bool same_prefix(const struct prefix *a, const struct prefix *b)
{
	return a->len == b->len && addr_equal_ip(&a->addr, &b->addr);
}

static bool same_dns(const struct exit_settings *a, const struct exit_settings *b)
{
	for (unsigned i = 0; i < a->ndns && a->ndns == b->ndns; i++)
		if (!addr_equal_ip(&a->dns[i], &b->dns[i]))
			return false;
	return a->ndns == b->ndns;
}

static const char *needs_restart(const struct exit_settings *a, const struct exit_settings *b)
{
	if (strcmp(a->interface, b->interface))
		return "interface";
	if (!same_prefix(&a->lease4, &b->lease4))
		return "lease4";
	if (!same_prefix(&a->lease6, &b->lease6))
		return "lease6";
	if (!same_dns(a, b)) /* this one and the next two: the sessions' state machine has its own
				copy */
		return "dns";
	if (a->sessions_most != b->sessions_most)
		return "sessions";
	if (a->idle_s != b->idle_s)
		return "idle";
	if (a->notrack != b->notrack)
		return "notrack";
	if (strcmp(a->journal, b->journal))
		return "the run folder";
	return strcmp(a->accounts, b->accounts) ? "the state folder" : NULL;
}

int exit_reload(struct exit *x, const struct exit_settings *s, char err[EXIT_ERROR_BYTES])
{
	const char *what = needs_restart(&x->settings, s);
	struct policy p;
	int e = exit_settings_check(s, err);

	if (e)
		return e;
	if (what)
		return fail(err, -ENOTSUP, "[exit]: %s changed, which needs a restart", what);
	e = exit_effective_policy(s, &p);
	if (!e && x->engine)
		e = renew_rules(x, &p);
	if (e)
		return fail(err, e, "[exit]: the new policy cannot be put in force: %s",
			    strerror(-e));
	x->policy = p;
	x->settings = *s;
	return 0;
}

/* --- what the relay passes on --- */

bool exit_on_end(struct exit *x, struct circuit *c, const uint8_t h[32], const uint8_t res[32],
		 nsec_t now)
{
	return x->sessions && exit_sessions_on_end(x->sessions, c, h, res, now);
}

void exit_on_end_gone(struct exit *x, struct circuit *c, nsec_t now)
{
	if (x->sessions)
		exit_sessions_on_end_gone(x->sessions, c, now);
}

void exit_on_plain(struct exit *x, struct circuit *c, const uint8_t *plain, size_t n,
		   size_t datagram, nsec_t now)
{
	if (x->sessions)
		exit_sessions_on_plain(x->sessions, c, plain, n, datagram, now);
}

void exit_on_note(struct exit *x, const uint8_t *note, size_t n, nsec_t now)
{
	const struct hop_dir *end;
	struct inner_note m;

	if (!x->sessions || n != sizeof(m))
		return;
	memcpy(&m, note, sizeof(m));
	end = (const struct hop_dir *)slots_find(engine_env(x->engine)->circuits, m.circuit_id);
	if (end && end->kind == HOP_END_FORWARD) /* else it went while the note waited */
		exit_sessions_refuse(x->sessions, end->owner,
				     &(struct msg_refused){.protocol = m.protocol, .addr = m.addr},
				     now);
}

/* --- time --- */

struct revoking {
	struct exit *exit;
	uint64_t now_unix;
	nsec_t now;
};

static bool revoke_one(void *arg, const struct account *a)
{
	const struct revoking *r = arg;
	uint8_t why = verdict_of(a, r->now_unix);

	if (why)
		exit_sessions_revoke(r->exit->sessions, a->public_key, (enum deny_reason)why,
				     r->now);
	return true;
}

static void check_accounts(struct exit *x, nsec_t now)
{
	struct revoking r = {x, clock_unix_seconds(), now};
	int e;

	if (!accounts_changed(x->accounts))
		return;
	e = accounts_each(x->accounts, revoke_one, &r);
	if (e)
		complain(x, "accounts cannot be read, so revoked ones may go on", e);
}

/* Without sessions nothing is to be done, and the daemon sleeps. */
nsec_t exit_next_deadline(const struct exit *x)
{
	if (!x->sessions || !exit_sessions_count(x->sessions))
		return NSEC_NEVER;
	return nsec_min(exit_sessions_next_deadline(x->sessions), x->next_check);
}

void exit_on_timer(struct exit *x, nsec_t now)
{
	int e = 0;

	if (!x->sessions)
		return;
	exit_sessions_on_timer(x->sessions, now);
	if (now < x->next_check || !exit_sessions_count(x->sessions))
		return;
	x->next_check = now + CHECK_NSEC;
	check_accounts(x, now);
	if (now < x->next_addresses)
		return;
	x->next_addresses = now + ADDRESSES_NSEC;
	e = renew_rules(x, &x->policy);
	if (e)
		complain(x,
			 "this host's addresses cannot be listed, those known before stay closed",
			 e);
}

/* --- status --- */

json_t *exit_status(const struct exit *x)
{
	uint64_t up = x->bytes_up, down = x->bytes_down;
	const struct session_data *s;
	uint32_t cursor = 0;

	while ((s = leases_next(x->leases, &cursor))) {
		up += atomic_load_explicit(&s->bytes_up, memory_order_relaxed);
		down += atomic_load_explicit(&s->bytes_down, memory_order_relaxed);
	}
	return json_pack("{s:I,s:I,s:I,s:s,s:b,s:i,s:{s:I,s:I}}", "sessions",
			 (json_int_t)(x->sessions ? exit_sessions_count(x->sessions) : 0), "leases",
			 (json_int_t)leases_used(x->leases), "leases_most",
			 (json_int_t)leases_capacity(x->leases), "interface", x->settings.interface,
			 "open", (int)x->settings.open, "policy_rules", (int)x->policy.n, "bytes",
			 "up", (json_int_t)up, "down", (json_int_t)down);
}
