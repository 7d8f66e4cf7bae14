/* tests/bench/modes.c - what the load generator can be asked to measure. See load.h.
 *
 * Rates are told twice: by the clock, which others on the machine disturb, and per second of CPU
 * that the relay had, which they hardly do.
 */
#include "onion/circuits.h"
#include "tests/bench/load.h"

#define WARM_UP_NSEC   (300 * NSEC_PER_MSEC)
#define ANSWER_NSEC    (500 * NSEC_PER_MSEC) /* what was not answered by then pends */
#define PENDING_NSEC   (10 * NSEC_PER_SEC)   /* the relay has refused it by then */
#define WARM_UP_BUILDS 64		     /* for each neighbour, so that all links stand */
#define CLIENT_PER_S   80
#define CLIENT_BUILDS  240
#define RELAY_PER_S    3000
#define RELAY_BUILDS   9000
#define TOLERANCE_S    0.5 /* the relay may look at its clock so much earlier or later */

static nsec_t window_nsec(const struct load *l)
{
	return (nsec_t)(l->o.seconds * NSEC_PER_SEC);
}

/* o.windows windows of what runs now. */
static json_t *data_windows(struct load *l)
{
	json_t *list = json_array();
	struct look a, b;
	load_for(l, WARM_UP_NSEC);
	for (unsigned i = 0; i < l->o.windows; i++) {
		look(l, &a);
		load_for(l, window_nsec(l));
		look(l, &b);
		json_array_append_new(list, looks_data(&a, &b));
	}
	return list;
}

static bool has_none_pending(struct load *l)
{
	load_for(l, ANSWER_NSEC);
	json_t *s = relay_process_status(&l->relay);
	bool none = s && !status_number(s, "pending");
	json_decref(s);
	return none;
}

/* Until the relay answered all that it took, if by a refusal because an answer from behind found
 * its ring full. */
static void wait_for_answers(struct load *l)
{
	CHECK(l, load_until(l, has_none_pending, PENDING_NSEC), "BUILDs pend for ever");
	load_for(l, ANSWER_NSEC);
}

static json_t *data_over(struct load *l, unsigned first, unsigned n)
{
	load_streams_begin(l, first, n);
	json_t *list = data_windows(l);
	load_streams_end(l, false);
	return list;
}

void mode_forward(struct load *l)
{
	load_link_all(l);
	unsigned first = load_build(l, l->o.circuits);
	json_object_set_new(l->report, "windows", data_over(l, first, l->o.circuits));
	load_check_status(l, NULL);
}

/* --- circuits --- */

static void set_bytes(struct load *l, const char *name, uint64_t bytes)
{
	json_object_set_new(l->report, name, json_integer((json_int_t)bytes));
}

void mode_circuits(struct load *l)
{
	load_link_all(l);
	load_build(l, 1);
	json_object_set_new(l->report, "one", data_over(l, 0, 1));
	uint64_t before = relay_process_rss(&l->relay);
	load_build(l, l->o.circuits - 1);
	uint64_t after = relay_process_rss(&l->relay);
	load_for(l, l->o.settle_s * NSEC_PER_SEC);
	uint64_t settled = relay_process_rss(&l->relay);
	load_check_status(l, NULL);
	json_object_set_new(l->report, "spread", data_over(l, 0, l->o.circuits));
	unsigned run = l->o.data.run;
	l->o.data.run = l->o.data.burst; /* as traffic is: what comes together is of one path */
	json_object_set_new(l->report, "spread_bursts", data_over(l, 0, l->o.circuits));
	l->o.data.run = run;
	json_object_set_new(l->report, "one_again", data_over(l, 0, 1));
	load_check_status(l, NULL);
	set_bytes(l, "circuits", l->o.circuits);
	set_bytes(l, "rss_before", before);
	set_bytes(l, "rss_after", after);
	set_bytes(l, "rss_settled", settled);
	set_bytes(l, "bytes_each", (after - before) / l->o.circuits);
	set_bytes(l, "bytes_each_settled", (settled - before) / l->o.circuits);
}

/* --- builds --- */

static bool are_answered(struct load *l)
{
	return load_paths_are_answered(&l->paths);
}

/* How many BUILDs a second the relay's core could answer if there were nothing but Diffie-Hellman:
 * measured there, while the relay has nothing to do. */
static double dh_bound(struct load *l)
{
	sched_setaffinity(0, sizeof(l->o.relay_cpus), &l->o.relay_cpus);
	double bound = 1 / load_paths_dh_seconds();
	sched_setaffinity(0, sizeof(l->o.own_cpus), &l->o.own_cpus);
	return bound;
}

void mode_builds(struct load *l)
{
	struct look a, b;
	load_link_all(l);
	load_build(l, WARM_UP_BUILDS * l->o.neighbours);
	double bound = dh_bound(l);
	CHECK(l, load_paths_make(&l->paths, l->o.builds) == 0, "BUILDs could not be made");
	l->building = true;
	look(l, &a);
	bool all = load_until(l, are_answered, (nsec_t)l->o.builds * NSEC_PER_MSEC + NSEC_PER_SEC);
	look(l, &b);
	l->building = false;
	double again = dh_bound(l);
	CHECK(l, all, "%llu of %u BUILDs were answered", (unsigned long long)l->paths.answered,
	      l->o.builds);
	uint64_t arrived = l->paths.arrived;
	load_paths_verify(&l->paths);
	CHECK(l,
	      !l->paths.bad && arrived == l->o.builds && l->paths.status[BUILD_OK] == l->o.builds,
	      "of %u BUILDs %llu came through, %llu made a circuit, %llu were broken", l->o.builds,
	      (unsigned long long)arrived, (unsigned long long)l->paths.status[BUILD_OK],
	      (unsigned long long)l->paths.bad);
	load_check_status(l, NULL);
	json_object_set_new(l->report, "window", looks_builds(&a, &b));
	json_object_set_new(l->report, "dh_bound_per_core_s",
			    json_real(bound > again ? bound : again));
}

/* --- flood --- */

/* Windows of data while BUILDs come at a rate that does not ask whether the relay keeps up. */
static void flood(struct load *l)
{
	struct look a, b;
	l->paths.per_s = l->o.flood_per_s;
	l->building = true;
	look(l, &a);
	json_object_set_new(l->report, "flooded", data_windows(l));
	look(l, &b);
	l->building = false;
	json_object_set_new(l->report, "flood", looks_builds(&a, &b));
	json_object_set_new(l->report, "flood_sent",
			    json_integer((json_int_t)(l->paths.sent - l->paths.first)));
}

void mode_flood(struct load *l)
{
	static const char *const drops[] = {"ring-full", "build-rate", "build-pending-full",
					    "queue-late", NULL};
	double time = l->o.seconds * l->o.windows + 1;
	load_link_all(l);
	unsigned first = load_build(l, l->o.circuits);
	load_build(l, l->o.neighbours); /* so that all links stand */
	CHECK(l, load_paths_make(&l->paths, (unsigned)(time * l->o.flood_per_s)) == 0,
	      "BUILDs could not be made");
	load_streams_begin(l, first, l->o.circuits);
	json_object_set_new(l->report, "alone", data_windows(l));
	flood(l);
	wait_for_answers(l);
	json_object_set_new(l->report, "alone_again", data_windows(l));
	load_streams_end(
		l, true); /* a flood fills the relay's sockets, when its core is busy elsewhere */
	load_paths_verify(&l->paths);
	CHECK(l, !l->paths.bad, "%llu BUILDs were broken", (unsigned long long)l->paths.bad);
	load_check_status(l, drops);
}

/* --- limits --- */

static bool is_sent(struct load *l)
{
	return load_paths_are_sent(&l->paths);
}

static bool is_up(struct load *l)
{
	return l->paths.only->up != NULL;
}

/* What the relay counted while one link sent more than it may. */
struct counted {
	uint64_t rate, per_link, ring, late;
};

static struct counted counted(struct load *l)
{
	json_t *s = relay_process_status(&l->relay);
	CHECK(l, s, "the relay tells no status");
	struct counted c = {status_drop(s, "build-rate"), status_drop(s, "circuits-per-link"),
			    status_drop(s, "ring-full"), status_drop(s, "queue-late")};
	json_decref(s);
	return c;
}

/* Send n BUILDs at per_s on p's link alone, of which the relay takes `least` at once and then as
 * many a second. */
static double press(struct load *l, struct neighbour *p, unsigned n, double per_s)
{
	l->paths.only = p;
	l->paths.per_s = per_s;
	if (!p->up) {
		CHECK(l, neighbour_link(p) == 0, "a link could not be begun");
		CHECK(l, load_until(l, is_up, 5 * NSEC_PER_SEC), "a link did not come up");
	}
	CHECK(l, load_paths_make(&l->paths, n) == 0, "BUILDs could not be made");
	l->building = true;
	CHECK(l, load_until(l, is_sent, 60 * NSEC_PER_SEC), "BUILDs could not be sent");
	double took = (double)(clock_now() - l->paths.started) / NSEC_PER_SEC;
	l->building = false;
	wait_for_answers(l);
	load_paths_verify(&l->paths);
	l->paths.only = NULL;
	l->paths.per_s = 0;
	return took;
}

static json_t *limit_row(const struct load_paths *s, unsigned n, const struct counted *a,
			 const struct counted *b, double most)
{
	return json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:f}", "sent", (int)n, "answered",
			 (json_int_t)s->answered, "live", (json_int_t)s->status[BUILD_OK],
			 "refused_rate", (json_int_t)(b->rate - a->rate), "refused_per_link",
			 (json_int_t)(b->per_link - a->per_link), "ring_full",
			 (json_int_t)(b->ring - a->ring), "most", most);
}

/* One link sends more than its limit: what the relay answered and what it counted as refused is all
 * that was sent, and neither less nor more was answered than the limit says. */
static void press_and_judge(struct load *l, const char *name, struct neighbour *p, unsigned n,
			    double per_s, double limit, unsigned circuits)
{
	struct counted before = counted(l);
	double took = press(l, p, n, per_s), most = limit + limit * took;
	struct counted after = counted(l);
	const struct load_paths *s = &l->paths;
	uint64_t rate = after.rate - before.rate, ring = after.ring - before.ring;
	uint64_t lost = ring + after.late - before.late,
		 per_link = after.per_link - before.per_link;
	CHECK(l, s->bad == 0, "%s: %llu BUILDs were broken", name, (unsigned long long)s->bad);
	CHECK(l, s->answered + rate + ring <= n && s->answered + rate + lost >= n,
	      "%s: %u sent, %llu answered, %llu refused", name, n, (unsigned long long)s->answered,
	      (unsigned long long)(after.rate - before.rate));
	CHECK(l,
	      (double)s->answered <= most + limit * TOLERANCE_S &&
		      (double)(s->answered + lost) >= most - limit * TOLERANCE_S,
	      "%s: %llu answered, the limit is %.0f", name, (unsigned long long)s->answered, most);
	/* An answer from behind that the relay lost is a refusal of its own, after it took a place.
	 */
	uint64_t down = s->status[BUILD_NEXT_DOWN], took_place = s->status[BUILD_OK] + down;
	CHECK(l,
	      s->status[BUILD_OK] <= circuits && down <= lost &&
		      took_place >= (s->answered < circuits ? s->answered : circuits) &&
		      s->status[BUILD_OVERLOAD] == per_link && took_place + per_link == s->answered,
	      "%s: %llu circuits, %llu refused for there are %u", name,
	      (unsigned long long)s->status[BUILD_OK], (unsigned long long)per_link, circuits);
	json_object_set_new(l->report, name, limit_row(s, n, &before, &after, most));
}

static const char *const limit_drops[] = {"build-rate", "circuits-per-link", "ring-full",
					  "queue-late", NULL};

void mode_limits(struct load *l)
{
	load_link_all(l);
	load_build(l, l->o.neighbours);
	press_and_judge(l, "client", neighbour_find(&l->around, NEIGHBOUR_CLIENT, 0), CLIENT_BUILDS,
			CLIENT_PER_S, BUILDS_PER_S_CLIENT_LINK, CIRCUITS_PER_CLIENT_LINK);
	press_and_judge(l, "liar", neighbour_find(&l->around, NEIGHBOUR_LIAR, 0), CLIENT_BUILDS,
			CLIENT_PER_S, BUILDS_PER_S_CLIENT_LINK, CIRCUITS_PER_CLIENT_LINK);
	load_check_status(l, limit_drops);
}

/* Needs a core that does RELAY_PER_S handshakes a second: else its ring is full first. */
void mode_relay_limit(struct load *l)
{
	load_link_all(l);
	load_build(l, l->o.neighbours);
	press_and_judge(l, "relay", neighbour_find(&l->around, NEIGHBOUR_PREVIOUS, 0), RELAY_BUILDS,
			RELAY_PER_S, BUILDS_PER_S_RELAY_LINK, CIRCUITS_MOST);
	load_check_status(l, limit_drops);
}
