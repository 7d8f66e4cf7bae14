/* authority/show.c - sispopnet-authority show: the consensus in the state folder, for people and as
 * JSON. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "authority/authority.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/zbase32.h"

#define TIME_BYTES  32
#define SHOW_SCHEMA 1

static int say(int status, const char *sentence)
{
	fprintf(stderr, "sispopnet-authority: %s\n", sentence);
	return status;
}

static const char *time_text(uint64_t seconds, char buf[TIME_BYTES])
{
	time_t t = (time_t)seconds;
	struct tm tm;
	if (!gmtime_r(&t, &tm) || !strftime(buf, TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(buf, TIME_BYTES, "?");
	return buf;
}

static const char *state_text(const struct consensus *c, uint64_t now_s)
{
	if (!consensus_is_valid(c, now_s))
		return "expired";
	return consensus_is_fresh(c, now_s) ? "fresh" : "valid";
}

static json_t *relay_json(const struct consensus_relay *r, const struct relay *known)
{
	char name[NAME_BYTES], a4[ADDR_TEXT_BYTES], a6[ADDR_TEXT_BYTES];
	name_from_id(r->id, name);
	json_t *o = json_pack("{s:s, s:I, s:b, s:b}", "name", name, "weight", (json_int_t)r->weight,
			      "guard", (r->flags & RELAY_FLAG_GUARD) != 0, "exit",
			      (r->flags & RELAY_FLAG_EXIT) != 0);
	if (!o || !known)
		return o;
	json_t *more = json_pack("{s:s, s:s?, s:s?}", "nickname", known->nickname, "address4",
				 known->v4.family ? addr_text(&known->v4, a4) : NULL, "address6",
				 known->v6.family ? addr_text(&known->v6, a6) : NULL);
	if (!more || json_object_update(o, more)) {
		json_decref(more);
		json_decref(o);
		return NULL;
	}
	json_decref(more);
	return o;
}

static json_t *signers_json(const struct consensus *c, const struct netconf *net)
{
	json_t *list = json_array();
	char key[ZBASE32_KEY_CHARS + 1];
	for (unsigned i = 0; list && i < c->nsignatures; i++) {
		const struct consensus_signature *s = &c->signature[i];
		if (s->authority >= net->n ||
		    !consensus_verify(c->body_hash, net->authority[s->authority].key, s->sig))
			continue;
		zbase32_encode_key(net->authority[s->authority].key, key);
		if (json_array_append_new(list, json_string(key))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int show_json(const struct directory *d, const struct netconf *net)
{
	const struct consensus *c = d->consensus;
	json_t *relays = json_array(), *signers = signers_json(c, net);
	for (unsigned i = 0; relays && i < c->nrelays; i++)
		if (json_array_append_new(
			    relays, relay_json(&c->relay[i], directory_find(d, c->relay[i].id)))) {
			json_decref(relays);
			relays = NULL;
		}
	json_t *o = json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:s, s:i, s:i, s:o, s:o}", "schema",
			      SHOW_SCHEMA, "net_id", (json_int_t)c->net_id, "serial",
			      (json_int_t)c->serial, "valid_after", (json_int_t)c->valid_after,
			      "fresh_until", (json_int_t)c->fresh_until, "valid_until",
			      (json_int_t)c->valid_until, "state",
			      state_text(c, clock_unix_seconds()), "k", (int)net->k, "authorities",
			      (int)net->n, "signatures", signers, "relays", relays);
	if (!o)
		return say(1, "there is no memory to show the consensus");
	int e = json_dumpf(o, stdout, JSON_INDENT(2));
	json_decref(o);
	putchar('\n');
	return e || fflush(stdout) ? say(1, "standard output cannot be written") : 0;
}

static int show_text(const struct directory *d, const struct netconf *net)
{
	const struct consensus *c = d->consensus;
	char t1[TIME_BYTES], t2[TIME_BYTES], t3[TIME_BYTES], name[NAME_BYTES], a[ADDR_TEXT_BYTES];
	printf("consensus %llu of network %u: %s\n", (unsigned long long)c->serial, c->net_id,
	       state_text(c, clock_unix_seconds()));
	printf("valid after %s, fresh until %s, valid until %s\n", time_text(c->valid_after, t1),
	       time_text(c->fresh_until, t2), time_text(c->valid_until, t3));
	printf("signed by %u of %u authorities, %u needed\n", consensus_signed_by(c, net, NULL),
	       net->n, net->k);
	for (unsigned i = 0; i < c->nrelays; i++) {
		const struct consensus_relay *r = &c->relay[i];
		const struct relay *known = directory_find(d, r->id);
		name_from_id(r->id, name);
		printf("%s  %c%c  weight %u", name, r->flags & RELAY_FLAG_GUARD ? 'G' : '-',
		       r->flags & RELAY_FLAG_EXIT ? 'E' : '-', r->weight);
		if (known && known->v4.family)
			printf("  %s", addr_text(&known->v4, a));
		if (known && known->v6.family)
			printf("  %s", addr_text(&known->v6, a));
		printf("%s%s\n", known && *known->nickname ? "  " : "",
		       known ? known->nickname : "");
	}
	printf("%u relays; G may be a first hop, E is an exit\n", c->nrelays);
	return fflush(stdout) ? say(1, "standard output cannot be written") : 0;
}

int authority_show(const char *config, bool json)
{
	char err[CONFIG_ERROR_BYTES];
	struct authority *a = calloc(1, sizeof(*a));
	int status;
	if (!a)
		return say(1, "there is no memory");
	log_set_level(LOG_WARN);
	if (authority_config_load(config, &a->config, err) ||
	    netconf_load(a->config.network, &a->net, err)) {
		status = say(2, err);
	} else if (relays_init(&a->relays, a->config.max_relays) || store_open(a, err)) {
		status =
			say(1, "the state folder cannot be read: run this as the authority's user");
	} else if (!a->current) {
		snprintf(err, sizeof(err),
			 "there is no consensus in %.200s: look whether `run` says that "
			 "relays answer",
			 a->config.state);
		status = say(1, err);
	} else {
		status = json ? show_json(a->current, &a->net) : show_text(a->current, &a->net);
	}
	store_close(a);
	relays_done(&a->relays);
	free(a);
	return status;
}
