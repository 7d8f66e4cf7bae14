/* directory/descriptor.c - relay descriptors: decode, check each limit, verify; encode and sign.
 * Layout: PROTOCOL.md section 8. */
#include "directory/descriptor.h"
#include <errno.h>
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"

#define LABEL	    "sispop1 desc"
#define MAGIC	    "SPD1"
#define MAGIC_BYTES 4

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			return false;
	return true;
}

/* u8 length and that many bytes of printable ASCII; `max` does not count the NUL. */
static void read_text(struct reader *r, char *to, size_t max)
{
	size_t n = reader_u8(r);
	const uint8_t *p = n <= max ? reader_take(r, n) : NULL;
	if (!p) {
		reader_fail(r);
		return;
	}
	memcpy(to, p, n);
	to[n] = '\0';
	if (strlen(to) != n || !is_printable(to))
		reader_fail(r);
}

static void write_text(struct writer *w, const char *text)
{
	writer_u8(w, (uint8_t)strlen(text));
	writer_put(w, text, strlen(text));
}

/* A v4 address in v6 clothes would pass by the rules on IPv4 networks. */
static bool embeds_v4(const uint8_t ip[16])
{
	static const uint8_t zero[10];
	return memcmp(ip, zero, 10) == 0 &&
	       ((ip[10] == 0 && ip[11] == 0) || (ip[10] == 0xff && ip[11] == 0xff));
}

static void read_addr(struct reader *r, size_t ip_bytes, struct addr *ret)
{
	static const uint8_t zero[16];
	uint8_t ip[16];
	reader_copy(r, ip, ip_bytes);
	uint16_t port = reader_u16(r);
	*ret = (struct addr){0};
	bool has_ip = memcmp(ip, zero, ip_bytes) != 0;
	if (has_ip != (port != 0) || (has_ip && ip_bytes == 16 && embeds_v4(ip)))
		reader_fail(r);
	else if (has_ip)
		*ret = addr_from_ip(ip, ip_bytes, port);
}

static void write_addr(struct writer *w, size_t ip_bytes, const struct addr *a)
{
	writer_put(w, a->ip, ip_bytes);
	writer_u16(w, a->family ? a->port : 0);
}

static void read_keys(struct reader *r, struct descriptor *d)
{
	d->nkeys = reader_u8(r);
	if (d->nkeys < 1 || d->nkeys > DESCRIPTOR_KEYS_MAX) {
		d->nkeys = 0;
		reader_fail(r);
		return;
	}
	for (unsigned i = 0; i < d->nkeys; i++) {
		struct onion_key *k = &d->key[i];
		k->keyid = reader_u16(r);
		reader_copy(r, k->public_key, sizeof(k->public_key));
		k->from = reader_u64(r);
		k->to = reader_u64(r);
	}
}

static void write_keys(struct writer *w, const struct descriptor *d)
{
	writer_u8(w, d->nkeys);
	for (unsigned i = 0; i < d->nkeys; i++) {
		const struct onion_key *k = &d->key[i];
		writer_u16(w, k->keyid);
		writer_put(w, k->public_key, sizeof(k->public_key));
		writer_u64(w, k->from);
		writer_u64(w, k->to);
	}
}

static bool keys_are_good(const struct descriptor *d)
{
	for (unsigned i = 0; i < d->nkeys; i++) {
		if (d->key[i].from >= d->key[i].to)
			return false;
		for (unsigned j = 0; j < i; j++)
			if (d->key[j].keyid == d->key[i].keyid)
				return false;
	}
	return d->nkeys >= 1 && d->nkeys <= DESCRIPTOR_KEYS_MAX;
}

static bool addrs_are_good(const struct descriptor *d)
{
	if (!d->v4.family && !d->v6.family)
		return false;
	if (d->v4.family && (d->v4.family != 4 || !d->v4.port))
		return false;
	return !d->v6.family || (d->v6.family == 6 && d->v6.port && !embeds_v4(d->v6.ip));
}

/* The limits that hold for what is read and for what is written alike. */
static bool is_good(const struct descriptor *d)
{
	return d->published < d->valid_until &&
	       d->valid_until - d->published <= DESCRIPTOR_VALID_MAX_SECONDS && keys_are_good(d) &&
	       addrs_are_good(d) && d->max_dgram >= DESCRIPTOR_DGRAM_MIN &&
	       d->max_dgram <= DESCRIPTOR_DGRAM_MAX && d->policy.n <= POLICY_RULES_MAX &&
	       is_printable(d->nickname) && is_printable(d->contact);
}

static void read_fields(struct reader *r, struct descriptor *d)
{
	uint8_t magic[MAGIC_BYTES];
	reader_copy(r, magic, sizeof(magic));
	if (memcmp(magic, MAGIC, MAGIC_BYTES))
		reader_fail(r);
	reader_copy(r, d->id, sizeof(d->id));
	d->published = reader_u64(r);
	d->valid_until = reader_u64(r);
	read_keys(r, d);
	d->flags = reader_u32(r);
	read_addr(r, 4, &d->v4);
	read_addr(r, 16, &d->v6);
	d->dir_port = reader_u16(r);
	d->max_dgram = reader_u16(r);
	d->mbit = reader_u32(r);
	reader_copy(r, d->family, sizeof(d->family));
	policy_read(r, &d->policy);
	read_text(r, d->nickname, DESCRIPTOR_NICKNAME_MAX);
	read_text(r, d->contact, DESCRIPTOR_CONTACT_MAX);
}

static int parse(const uint8_t *p, size_t n, bool verify, struct descriptor *ret)
{
	if (n > DESCRIPTOR_MAX_BYTES || n < SIGN_BYTES)
		return -EBADMSG;
	struct descriptor d = {0};
	struct reader r;
	reader_init(&r, p, n - SIGN_BYTES);
	read_fields(&r, &d);
	if (!reader_done(&r) || !is_good(&d))
		return -EBADMSG;
	if (verify && !sign_verify(p + n - SIGN_BYTES, d.id, LABEL, p, n - SIGN_BYTES))
		return -EKEYREJECTED;
	*ret = d;
	return 0;
}

int descriptor_parse(const uint8_t *p, size_t n, struct descriptor *ret)
{
	return parse(p, n, true, ret);
}

int descriptor_parse_known(const uint8_t *p, size_t n, struct descriptor *ret)
{
	return parse(p, n, false, ret);
}

static void write_fields(struct writer *w, const struct descriptor *d, const uint8_t id[32])
{
	writer_put(w, MAGIC, MAGIC_BYTES);
	writer_put(w, id, 32);
	writer_u64(w, d->published);
	writer_u64(w, d->valid_until);
	write_keys(w, d);
	writer_u32(w, d->flags);
	write_addr(w, 4, &d->v4);
	write_addr(w, 16, &d->v6);
	writer_u16(w, d->dir_port);
	writer_u16(w, d->max_dgram);
	writer_u32(w, d->mbit);
	writer_put(w, d->family, sizeof(d->family));
	policy_write(w, &d->policy);
	write_text(w, d->nickname);
	write_text(w, d->contact);
}

int descriptor_write(const struct descriptor *d, const struct sign_keypair *id, uint8_t *out,
		     size_t room, size_t *ret_n)
{
	if (!is_good(d))
		return -EINVAL;
	struct writer w;
	writer_init(&w, out, room < DESCRIPTOR_MAX_BYTES ? room : DESCRIPTOR_MAX_BYTES);
	write_fields(&w, d, id->public_key);
	size_t signed_bytes = w.used;
	uint8_t *sig = writer_reserve(&w, SIGN_BYTES);
	if (w.bad || !sig)
		return -EMSGSIZE;
	int e = sign_message(sig, id, LABEL, out, signed_bytes);
	if (e)
		return e;
	*ret_n = w.used;
	return 0;
}

void descriptor_hash(const uint8_t *p, size_t n, uint8_t out[32])
{
	hash(out, p, n);
}

bool descriptor_is_valid_at(const struct descriptor *d, uint64_t now_s)
{
	return d->published <= now_s + DESCRIPTOR_SKEW_SECONDS && now_s < d->valid_until;
}

const struct onion_key *onion_key_current(const struct onion_key *key, size_t n, uint64_t now_s)
{
	const struct onion_key *best = NULL;
	for (size_t i = 0; i < n; i++)
		if (key[i].from <= now_s && now_s < key[i].to &&
		    (!best || key[i].from > best->from))
			best = &key[i];
	return best;
}

const struct onion_key *descriptor_onion_key(const struct descriptor *d, uint64_t now_s)
{
	return onion_key_current(d->key, d->nkeys, now_s);
}
