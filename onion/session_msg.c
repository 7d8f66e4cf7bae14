/* onion/session_msg.c - the exit session's messages as bytes. See session_msg.h; PROTOCOL.md
 * section 7. */
#include "onion/session_msg.h"
#include <string.h>
#include "base/bytes.h"
#include "crypto/kdf.h"

#define AUTH_LABEL    "sispop1 auth"
#define BIND_LABEL    "bind"
#define SESSION_LABEL "session"
#define AUTH_HEAD     (1 + 1 + 1 + 32) /* method, wants, padding, token_pk: what comes before sig */
#define WANTS_ALL     (WANT_V4 | WANT_V6 | WANT_DNS)
#define DNS_MOST      3

/* Bytes written, or 0 when something did not fit. */
static size_t written(const struct writer *w)
{
	return w->bad ? 0 : w->used;
}

static bool is_session_type(uint8_t type)
{
	return type >= SESSION_AUTH && type <= SESSION_CLOSE;
}

bool session_head_parse(const uint8_t *plain, size_t n, struct session_head *ret,
			const uint8_t **ret_body)
{
	struct reader r;
	reader_init(&r, plain, n);
	uint8_t kind = reader_u8(&r);
	struct session_head h;
	h.type = reader_u8(&r);
	h.len = reader_u16(&r);
	h.seq = reader_u32(&r);
	const uint8_t *body = reader_take(&r, h.len);
	if (r.bad || kind != PLAIN_CONTROL || !is_session_type(h.type))
		return false;
	*ret = h;
	*ret_body = body;
	return true;
}

size_t session_write(uint8_t *plain, size_t room, uint8_t type, uint32_t seq, const void *body,
		     size_t body_bytes)
{
	if (body_bytes > UINT16_MAX)
		return 0;
	struct writer w;
	writer_init(&w, plain, room);
	writer_u8(&w, PLAIN_CONTROL);
	writer_u8(&w, type);
	writer_u16(&w, (uint16_t)body_bytes);
	writer_u32(&w, seq);
	if (body_bytes > 0)
		writer_put(&w, body, body_bytes);
	return written(&w);
}

bool msg_auth_parse(const uint8_t *b, size_t n, struct msg_auth *ret)
{
	struct reader r;
	reader_init(&r, b, n);
	struct msg_auth m;
	m.method = reader_u8(&r);
	m.wants = reader_u8(&r);
	m.padding = reader_u8(&r);
	reader_copy(&r, m.token_pk, sizeof(m.token_pk));
	reader_copy(&r, m.sig, sizeof(m.sig));
	if (!reader_done(&r) || m.method > AUTH_TOKEN || m.wants & ~WANTS_ALL ||
	    m.padding > PAD_FULL)
		return false;
	*ret = m;
	return true;
}

size_t msg_auth_write(uint8_t *b, size_t room, const struct msg_auth *m)
{
	struct writer w;
	writer_init(&w, b, room);
	writer_u8(&w, m->method);
	writer_u8(&w, m->wants);
	writer_u8(&w, m->padding);
	writer_put(&w, m->token_pk, sizeof(m->token_pk));
	writer_put(&w, m->sig, sizeof(m->sig));
	return written(&w);
}

/* A lease of 4 or 16 bytes; all zero is none. */
static struct addr read_lease(struct reader *r, size_t n)
{
	static const uint8_t none[16];
	uint8_t ip[16];
	reader_copy(r, ip, n);
	if (memcmp(ip, none, n) == 0)
		return (struct addr){0};
	return addr_from_ip(ip, n, 0);
}

static void write_lease(struct writer *w, const struct addr *lease, uint8_t family, size_t n)
{
	if (lease->family == family)
		writer_put(w, lease->ip, n);
	else
		writer_zero(w, n);
}

/* An address in mapped form; none at all turns the reader bad. */
static struct addr read_mapped(struct reader *r)
{
	uint8_t ip[16];
	reader_copy(r, ip, sizeof(ip));
	struct addr a = addr_from_mapped(ip, 0);
	if (a.family == 0)
		reader_fail(r);
	return a;
}

static void write_mapped(struct writer *w, const struct addr *a)
{
	uint8_t ip[16];
	addr_to_mapped(a, ip);
	writer_put(w, ip, sizeof(ip));
}

static void read_dns(struct reader *r, struct msg_grant *m)
{
	m->ndns = reader_u8(r);
	if (m->ndns > DNS_MOST) {
		reader_fail(r);
		return;
	}
	for (unsigned i = 0; i < m->ndns; i++)
		m->dns[i] = read_mapped(r);
}

bool msg_grant_parse(const uint8_t *b, size_t n, struct msg_grant *ret)
{
	struct reader r;
	reader_init(&r, b, n);
	struct msg_grant m = {0};
	reader_copy(&r, m.session_id, sizeof(m.session_id));
	m.lease4 = read_lease(&r, 4);
	m.lease6 = read_lease(&r, 16);
	read_dns(&r, &m);
	m.mtu = reader_u16(&r);
	m.up_kbps = reader_u32(&r);
	m.down_kbps = reader_u32(&r);
	m.quota_left = reader_u64(&r);
	m.idle_s = reader_u32(&r);
	m.expires_s = reader_u32(&r);
	m.max_paths = reader_u8(&r);
	reader_copy(&r, m.policy_hash, sizeof(m.policy_hash));
	if (!reader_done(&r))
		return false;
	*ret = m;
	return true;
}

size_t msg_grant_write(uint8_t *b, size_t room, const struct msg_grant *m)
{
	if (m->ndns > DNS_MOST)
		return 0;
	struct writer w;
	writer_init(&w, b, room);
	writer_put(&w, m->session_id, sizeof(m->session_id));
	write_lease(&w, &m->lease4, 4, 4);
	write_lease(&w, &m->lease6, 6, 16);
	writer_u8(&w, m->ndns);
	for (unsigned i = 0; i < m->ndns; i++)
		write_mapped(&w, &m->dns[i]);
	writer_u16(&w, m->mtu);
	writer_u32(&w, m->up_kbps);
	writer_u32(&w, m->down_kbps);
	writer_u64(&w, m->quota_left);
	writer_u32(&w, m->idle_s);
	writer_u32(&w, m->expires_s);
	writer_u8(&w, m->max_paths);
	writer_put(&w, m->policy_hash, sizeof(m->policy_hash));
	return written(&w);
}

bool msg_deny_parse(const uint8_t *b, size_t n, struct msg_deny *ret)
{
	struct reader r;
	reader_init(&r, b, n);
	struct msg_deny m;
	m.reason = reader_u8(&r);
	m.retry_s = reader_u32(&r);
	if (!reader_done(&r) || m.reason < DENY_BAD_TOKEN || m.reason > DENY_VERSION)
		return false;
	*ret = m;
	return true;
}

size_t msg_deny_write(uint8_t *b, size_t room, const struct msg_deny *m)
{
	struct writer w;
	writer_init(&w, b, room);
	writer_u8(&w, m->reason);
	writer_u32(&w, m->retry_s);
	return written(&w);
}

bool msg_bind_parse(const uint8_t *b, size_t n, struct msg_bind *ret)
{
	struct reader r;
	reader_init(&r, b, n);
	struct msg_bind m;
	reader_copy(&r, m.session_id, sizeof(m.session_id));
	m.prio = reader_u32(&r);
	reader_copy(&r, m.mac, sizeof(m.mac));
	if (!reader_done(&r))
		return false;
	*ret = m;
	return true;
}

size_t msg_bind_write(uint8_t *b, size_t room, const struct msg_bind *m)
{
	struct writer w;
	writer_init(&w, b, room);
	writer_put(&w, m->session_id, sizeof(m->session_id));
	writer_u32(&w, m->prio);
	writer_put(&w, m->mac, sizeof(m->mac));
	return written(&w);
}

bool msg_bound_parse(const uint8_t *b, size_t n, struct msg_bound *ret)
{
	struct reader r;
	reader_init(&r, b, n);
	struct msg_bound m;
	m.status = reader_u8(&r);
	m.prio = reader_u32(&r);
	if (!reader_done(&r) || m.status > 1)
		return false;
	*ret = m;
	return true;
}

size_t msg_bound_write(uint8_t *b, size_t room, const struct msg_bound *m)
{
	struct writer w;
	writer_init(&w, b, room);
	writer_u8(&w, m->status);
	writer_u32(&w, m->prio);
	return written(&w);
}

bool msg_refused_parse(const uint8_t *b, size_t n, struct msg_refused *ret)
{
	struct reader r;
	reader_init(&r, b, n);
	struct msg_refused m;
	m.protocol = reader_u8(&r);
	m.addr = read_mapped(&r);
	m.addr.port = reader_u16(&r);
	if (!reader_done(&r))
		return false;
	*ret = m;
	return true;
}

size_t msg_refused_write(uint8_t *b, size_t room, const struct msg_refused *m)
{
	struct writer w;
	writer_init(&w, b, room);
	writer_u8(&w, m->protocol);
	write_mapped(&w, &m->addr);
	writer_u16(&w, m->addr.port);
	return written(&w);
}

/* What AUTH signs behind its label: ID of the exit | h | the body up to sig. */
static void auth_signed_bytes(const struct msg_auth *m, const uint8_t exit_id[32],
			      const uint8_t h[32], uint8_t out[32 + 32 + AUTH_HEAD])
{
	struct writer w;
	writer_init(&w, out, 32 + 32 + AUTH_HEAD);
	writer_put(&w, exit_id, 32);
	writer_put(&w, h, 32);
	writer_u8(&w, m->method);
	writer_u8(&w, m->wants);
	writer_u8(&w, m->padding);
	writer_put(&w, m->token_pk, sizeof(m->token_pk));
}

int msg_auth_sign(struct msg_auth *m, const struct sign_keypair *token, const uint8_t exit_id[32],
		  const uint8_t h[32])
{
	uint8_t text[32 + 32 + AUTH_HEAD];
	memcpy(m->token_pk, token->public_key, sizeof(m->token_pk));
	auth_signed_bytes(m, exit_id, h, text);
	return sign_message(m->sig, token, AUTH_LABEL, text, sizeof(text));
}

bool msg_auth_verify(const struct msg_auth *m, const uint8_t exit_id[32], const uint8_t h[32])
{
	uint8_t text[32 + 32 + AUTH_HEAD];
	auth_signed_bytes(m, exit_id, h, text);
	return sign_verify(m->sig, m->token_pk, AUTH_LABEL, text, sizeof(text));
}

void session_secret(const uint8_t res[32], const uint8_t session_id[SESSION_ID_BYTES],
		    uint8_t ret_rs[32])
{
	kdf(ret_rs, 32, res, SESSION_LABEL, session_id, SESSION_ID_BYTES);
}

void msg_bind_mac(const uint8_t rs[32], const uint8_t exit_id[32], const uint8_t h[32],
		  uint32_t seq, uint32_t prio, uint8_t ret[32])
{
	uint8_t numbers[4 + 4];
	store_be32(numbers, seq);
	store_be32(numbers + 4, prio);
	const struct hash_part parts[] = {
		{BIND_LABEL, sizeof(BIND_LABEL) - 1},
		{exit_id, 32},
		{h, 32},
		{numbers, sizeof(numbers)},
	};
	mac_parts(ret, 32, rs, 32, parts, sizeof(parts) / sizeof(parts[0]));
}
