/* directory/vote.c - votes and signatures on their way between authorities. Layouts:
 * directory/vote.h. */
#include "directory/vote.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"
#include "directory/consensus_wire.h"

#define VOTE_LABEL	"sispop1 vote"
#define VOTE_MAGIC	"SPV1"
#define SIGNATURE_MAGIC "SPS1"

void vote_free(struct vote *v)
{
	if (!v)
		return;
	free(v->param);
	free(v->relay);
	free(v->revoked);
	free(v);
}

/* What both documents begin with: magic, network, serial, authority. */
static enum dir_result read_head(struct wire *w, const char *magic, const struct netconf *net,
				 uint64_t *ret_serial, uint8_t *ret_authority)
{
	wire_magic(w, magic);
	uint32_t net_id = reader_u32(&w->r);
	*ret_serial = reader_u64(&w->r);
	*ret_authority = reader_u8(&w->r);
	if (w->r.bad)
		return wire_result(w);
	if (net_id != net->net_id)
		return DIR_FOREIGN_NET;
	return *ret_authority < net->n ? DIR_OK : DIR_UNKNOWN_KEY;
}

static enum dir_result read_lists(struct wire *w, struct vote *v)
{
	v->param = wire_params(w, &v->nparams);
	v->relay = wire_relays(w, &v->nrelays);
	v->revoked = wire_ids(w, CONSENSUS_REVOKED_MAX, &v->nrevoked);
	return wire_result(w);
}

/* Signature before lists: what a stranger made up costs one hash and no memory. */
static enum dir_result read_vote(const struct netconf *net, const uint8_t *p, size_t n,
				 struct vote *v)
{
	if (n > VOTE_MAX_BYTES)
		return DIR_MALFORMED;
	if (n < SIGN_BYTES)
		return DIR_CUT;
	struct wire w = {0};
	reader_init(&w.r, p, n - SIGN_BYTES);
	enum dir_result result = read_head(&w, VOTE_MAGIC, net, &v->serial, &v->authority);
	if (result != DIR_OK)
		return result;
	hash(v->hash, p, n - SIGN_BYTES);
	if (!sign_verify(p + n - SIGN_BYTES, net->authority[v->authority].key, VOTE_LABEL, v->hash,
			 sizeof(v->hash)))
		return DIR_FORGED;
	return read_lists(&w, v);
}

enum dir_result vote_parse(const struct netconf *net, const uint8_t *p, size_t n, struct vote **ret)
{
	struct vote *v = calloc(1, sizeof(*v));
	if (!v)
		return DIR_NO_MEMORY;
	enum dir_result result = read_vote(net, p, n, v);
	if (result == DIR_OK)
		*ret = v;
	else
		vote_free(v);
	return result;
}

static void write_head(struct writer *w, const char *magic, const struct netconf *net,
		       uint64_t serial, uint8_t authority)
{
	writer_put(w, magic, 4);
	writer_u32(w, net->net_id);
	writer_u64(w, serial);
	writer_u8(w, authority);
}

/* Fields and signature into w; sets v->hash. */
static int write_vote(struct writer *w, struct vote *v, const struct netconf *net,
		      const struct sign_keypair *key)
{
	write_head(w, VOTE_MAGIC, net, v->serial, v->authority);
	if (!wire_put_params(w, v->param, v->nparams) ||
	    !wire_put_relays(w, v->relay, v->nrelays) ||
	    !wire_put_ids(w, v->revoked, v->nrevoked) || w->bad)
		return -EINVAL;
	hash(v->hash, w->start, w->used);
	uint8_t *sig = writer_reserve(w, SIGN_BYTES);
	return sig ? sign_message(sig, key, VOTE_LABEL, v->hash, sizeof(v->hash)) : -EINVAL;
}

int vote_write(struct vote *v, const struct netconf *net, const struct sign_keypair *key,
	       uint8_t **ret, size_t *ret_n)
{
	size_t room = 4 + 4 + 8 + 1 + 2 + (size_t)v->nparams * 6 + 2 +
		      (size_t)v->nrelays * CONSENSUS_RELAY_BYTES + 2 + (size_t)v->nrevoked * 32 +
		      SIGN_BYTES;
	uint8_t *out = malloc(room);
	if (!out)
		return -ENOMEM;
	struct writer w;
	writer_init(&w, out, room);
	int e = write_vote(&w, v, net, key);
	if (e) {
		free(out);
		return e;
	}
	*ret = out;
	*ret_n = w.used;
	return 0;
}

enum dir_result vote_signature_parse(const struct netconf *net, const uint8_t *p, size_t n,
				     struct vote_signature *ret)
{
	struct vote_signature s;
	struct wire w = {0};
	reader_init(&w.r, p, n);
	enum dir_result result = read_head(&w, SIGNATURE_MAGIC, net, &s.serial, &s.authority);
	if (result != DIR_OK)
		return result;
	reader_copy(&w.r, s.body_hash, sizeof(s.body_hash));
	reader_copy(&w.r, s.sig, sizeof(s.sig));
	result = wire_result(&w);
	if (result != DIR_OK)
		return result;
	if (!consensus_verify(s.body_hash, net->authority[s.authority].key, s.sig))
		return DIR_FORGED;
	*ret = s;
	return DIR_OK;
}

void vote_signature_write(const struct vote_signature *s, const struct netconf *net,
			  uint8_t out[VOTE_SIGNATURE_BYTES])
{
	struct writer w;
	writer_init(&w, out, VOTE_SIGNATURE_BYTES);
	write_head(&w, SIGNATURE_MAGIC, net, s->serial, s->authority);
	writer_put(&w, s->body_hash, sizeof(s->body_hash));
	writer_put(&w, s->sig, sizeof(s->sig));
}
