/* onion/build.c - see build.h. PROTOCOL.md section 5.
 *
 * The onion is made in place from the inside out: onion_i begins 82 bytes (keyid, X, req) behind
 * onion_{i-1}, and each layer's tag lands right behind the ones before, so nothing is moved.
 */
#include "onion/build.h"
#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ONION_CLEAR_BYTES (2 + X25519_LEN) /* keyid | X */
#define ONION_STEP	  (ONION_CLEAR_BYTES + ONION_REQ_BYTES)
#define FILL_MOST	  (HOPS_MAX - 1)

static bool onion_len_ok(uint16_t onion_len)
{
	return onion_len >= ONION_HOP_BYTES && onion_len <= HOPS_MAX * ONION_HOP_BYTES &&
	       onion_len % ONION_HOP_BYTES == 0;
}

struct path_asks {
	uint16_t lifetime_s;
	uint32_t time_min;
};

/* req of hop i (0-based) of n. */
static void write_req(uint8_t req[ONION_REQ_BYTES], const struct build_hop *hops, unsigned i,
		      unsigned n, const struct path_asks *asks)
{
	bool last = i + 1 == n;
	struct writer w;
	writer_init(&w, req, ONION_REQ_BYTES);
	writer_u8(&w, last ? ONION_FLAG_LAST : 0);
	writer_u8(&w, (uint8_t)(tag_slots(n) - (n - i)));
	writer_u16(&w, asks->lifetime_s);
	writer_u32(&w, asks->time_min);
	if (last)
		writer_zero(&w, 32);
	else
		writer_put(&w, hops[i + 1].id, 32);
	writer_u16(&w, (uint16_t)((n - i - 1) * ONION_HOP_BYTES));
	writer_zero(&w, 2 + 4);
	assert(!w.bad && w.used == ONION_REQ_BYTES);
}

int build_onion(struct build_client *b, const struct build_hop *hops, unsigned n,
		uint16_t lifetime_s, uint32_t time_min, const struct rng *rng,
		uint8_t field[ONION_FIELD_BYTES], uint16_t *ret_len)
{
	if (n < 1 || n > HOPS_MAX)
		return -EINVAL;
	const struct path_asks asks = {lifetime_s, time_min};
	memset(b, 0, sizeof(*b));
	b->hops = n;
	for (unsigned i = n; i-- > 0;) {
		uint8_t *at = field + i * ONION_STEP;
		int err = hs_start(&b->hs[i], HS_PATH, hops[i].id, hops[i].onion_key, rng, at + 2);
		if (err < 0) {
			build_client_done(b);
			return err;
		}
		store_be16(at, hops[i].keyid);
		uint8_t *plain = at + ONION_CLEAR_BYTES;
		write_req(plain, hops, i, n, &asks);
		hs_seal_request(&b->hs[i], plain,
				ONION_REQ_BYTES + (size_t)(n - i - 1) * ONION_HOP_BYTES, plain);
	}
	uint16_t len = (uint16_t)(n * ONION_HOP_BYTES);
	rng_bytes(rng, field + len, ONION_FIELD_BYTES - len);
	*ret_len = len;
	return 0;
}

/* u8 status | u8 0 | u16 max_dgram | u32 lifetime_s | u64 0, of hop i. */
static bool read_rep(struct build_answer *a, unsigned i, const uint8_t rep[ONION_REP_BYTES])
{
	struct reader r;
	reader_init(&r, rep, ONION_REP_BYTES);
	uint8_t status = reader_u8(&r);
	reader_zero(&r, 1);
	uint16_t max_dgram = reader_u16(&r);
	uint32_t lifetime_s = reader_u32(&r);
	reader_zero(&r, 8);
	if (!reader_done(&r) || status > BUILD_PROTOCOL)
		return false;
	a->status = (enum build_status)status;
	a->max_dgram[i] = max_dgram;
	a->lifetime_s[i] = lifetime_s;
	return true;
}

/* Open the layers one in the other, in place, until a hop says no. All in copies: see
 * build_open_reply(). */
static bool open_layers(struct build_client *b, uint8_t field[REPLY_FIELD_BYTES],
			struct build_answer *a)
{
	uint8_t *at = field;
	if (b->hops < 1 || b->hops > HOPS_MAX)
		return false;
	for (unsigned i = 0; i < b->hops; i++) {
		size_t n = ONION_REP_BYTES + (size_t)(b->hops - i - 1) * REPLY_HOP_BYTES;
		uint8_t *rt = at + X25519_LEN;
		if (!hs_finish(&b->hs[i], at, rt, n, rt) || !read_rep(a, i, rt))
			return false;
		if (a->status != BUILD_OK) {
			a->failed_hop = i;
			return true;
		}
		hs_path_keys(&b->hs[i], &a->keys[i]);
		at = rt + ONION_REP_BYTES;
	}
	a->failed_hop = b->hops;
	memcpy(a->h_last, b->hs[b->hops - 1].h, 32);
	return true;
}

bool build_open_reply(struct build_client *b, const uint8_t field[REPLY_FIELD_BYTES],
		      struct build_answer *ret)
{
	/* An outer layer that verifies around a broken inner one must not spend the outer
	 * handshake: the true reply may still come. */
	struct build_client copy = *b;
	struct build_answer a = {0};
	uint8_t work[REPLY_FIELD_BYTES];
	memcpy(work, field, sizeof(work));
	bool ok = open_layers(&copy, work, &a);
	if (ok) {
		*b = copy;
		*ret = a;
	}
	wipe(work, sizeof(work));
	build_answer_done(&a);
	build_client_done(&copy);
	return ok;
}

void build_client_done(struct build_client *b)
{
	wipe(b, sizeof(*b));
}

void build_answer_done(struct build_answer *a)
{
	wipe(a, sizeof(*a));
}

bool build_peek(const uint8_t field[ONION_FIELD_BYTES], uint16_t onion_len, uint16_t *ret_keyid,
		uint8_t ret_x[32])
{
	if (!onion_len_ok(onion_len))
		return false;
	*ret_keyid = load_be16(field);
	memcpy(ret_x, field + 2, X25519_LEN);
	return true;
}

/* True when the fields of a req agree with each other and with the hops that onion_len leaves. */
static bool read_req(struct build_request *ret, const uint8_t req[ONION_REQ_BYTES],
		     uint16_t onion_len)
{
	struct reader r;
	reader_init(&r, req, ONION_REQ_BYTES);
	uint8_t flags = reader_u8(&r);
	ret->fill = reader_u8(&r);
	ret->lifetime_s = reader_u16(&r);
	ret->time_min = reader_u32(&r);
	reader_copy(&r, ret->id_next, 32);
	ret->inner_len = reader_u16(&r);
	reader_zero(&r, 2 + 4);
	ret->last = flags == ONION_FLAG_LAST;
	if (!reader_done(&r) || (flags & ~ONION_FLAG_LAST) != 0)
		return false;
	/* S = fill_i + hops left is the same at every hop: 3..8 */
	unsigned slots = ret->fill + onion_len / ONION_HOP_BYTES;
	return ret->inner_len == onion_len - ONION_HOP_BYTES &&
	       ret->last == (ret->inner_len == 0) && ret->fill <= FILL_MOST &&
	       slots >= TAG_SLOTS_LEAST && slots <= HOPS_MAX;
}

enum peel build_peel(struct hs *hs, const uint8_t id[32], const struct onion_keypair *key,
		     const uint8_t field[ONION_FIELD_BYTES], uint16_t onion_len,
		     const struct rng *rng, struct build_request *ret)
{
	if (!onion_len_ok(onion_len))
		return PEEL_OPEN;
	if (!key)
		return PEEL_KEYID;
	memcpy(ret->x, field + 2, X25519_LEN);
	uint8_t plain[HOPS_MAX * ONION_HOP_BYTES];
	size_t n = (size_t)onion_len - ONION_CLEAR_BYTES - AEAD_TAG;
	if (!hs_accept(hs, HS_PATH, id, key, ret->x, field + ONION_CLEAR_BYTES, n, plain))
		return PEEL_OPEN;
	enum peel verdict = read_req(ret, plain, onion_len) ? PEEL_OK : PEEL_FORMAT;
	if (verdict == PEEL_OK) {
		memcpy(ret->field, plain + ONION_REQ_BYTES, ret->inner_len);
		rng_bytes(rng, ret->field + ret->inner_len, ONION_FIELD_BYTES - ret->inner_len);
	}
	wipe(plain, sizeof(plain));
	return verdict;
}

void build_seal_reply(struct hs *hs, const uint8_t y[32], enum build_status status,
		      uint16_t max_dgram, uint32_t lifetime_s, const uint8_t *inner,
		      unsigned hops_left, const struct rng *rng, uint8_t field[REPLY_FIELD_BYTES])
{
	assert(hops_left >= 1 && hops_left <= HOPS_MAX);
	size_t inner_bytes = (size_t)(hops_left - 1) * REPLY_HOP_BYTES;
	uint8_t *rt = field + X25519_LEN, *end = field + hops_left * REPLY_HOP_BYTES;
	if (inner) /* first: it may lie in field */
		memmove(rt + ONION_REP_BYTES, inner, inner_bytes);
	else
		rng_bytes(rng, rt + ONION_REP_BYTES, inner_bytes);
	memcpy(field, y, X25519_LEN);
	struct writer w;
	writer_init(&w, rt, ONION_REP_BYTES);
	writer_u8(&w, (uint8_t)status);
	writer_zero(&w, 1);
	writer_u16(&w, max_dgram);
	writer_u32(&w, lifetime_s);
	writer_zero(&w, 8);
	hs_reply_seal(hs, rt, ONION_REP_BYTES + inner_bytes, rt);
	rng_bytes(rng, end, (size_t)(field + REPLY_FIELD_BYTES - end));
}
