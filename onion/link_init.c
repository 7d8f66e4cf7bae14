/* onion/link_init.c - handshake datagrams of links. See link_init.h; PROTOCOL.md section 4. */
#include "onion/link_init.h"
#include <string.h>
#include "base/bytes.h"

#define REQ_ZERO (LINK_REQ_BYTES - 4 - 4 - 2 - 1)
#define REP_ZERO (LINK_REP_BYTES - 1 - 1 - 2 - 8 - 16 - 2 - 8 - 4 - 4 - 4)

bool link_init_parse(const uint8_t *d, size_t n, struct link_init *ret)
{
	struct reader r;
	reader_init(&r, d, n);
	struct link_init m;
	reader_zero(&r, LINK_ID_BYTES);
	uint8_t type = reader_u8(&r);
	m.version = reader_u8(&r);
	m.keyid = reader_u16(&r);
	m.sender_id = reader_u32(&r);
	reader_copy(&r, m.x, sizeof(m.x));
	reader_copy(&r, m.ct, sizeof(m.ct));
	reader_take(&r, MAC_BYTES + MAC_BYTES);
	if (!reader_done(&r) || type != LINK_TYPE_INIT || m.sender_id == 0)
		return false;
	*ret = m;
	return true;
}

void link_init_write(uint8_t d[LINK_INIT_BYTES], const struct link_init *m, const uint8_t id[32])
{
	struct writer w;
	writer_init(&w, d, LINK_INIT_BYTES);
	writer_u32(&w, 0);
	writer_u8(&w, LINK_TYPE_INIT);
	writer_u8(&w, m->version);
	writer_u16(&w, m->keyid);
	writer_u32(&w, m->sender_id);
	writer_put(&w, m->x, sizeof(m->x));
	writer_put(&w, m->ct, sizeof(m->ct));
	writer_zero(&w, MAC_BYTES + MAC_BYTES);
	mac1_make(d + LINK_MAC1_OFFSET, id, d, LINK_MAC1_OFFSET);
}

bool link_resp_parse(const uint8_t *d, size_t n, struct link_resp *ret)
{
	struct reader r;
	reader_init(&r, d, n);
	struct link_resp m;
	m.receiver_id = reader_u32(&r);
	uint8_t type = reader_u8(&r);
	m.version = reader_u8(&r);
	reader_zero(&r, 2);
	m.sender_id = reader_u32(&r);
	reader_copy(&r, m.y, sizeof(m.y));
	reader_copy(&r, m.rt, sizeof(m.rt));
	reader_take(&r, MAC_BYTES);
	reader_zero(&r, MAC_BYTES);
	if (!reader_done(&r) || type != LINK_TYPE_RESP || m.receiver_id == 0 || m.sender_id == 0)
		return false;
	*ret = m;
	return true;
}

void link_resp_write(uint8_t d[LINK_RESP_BYTES], const struct link_resp *m, const uint8_t id[32])
{
	struct writer w;
	writer_init(&w, d, LINK_RESP_BYTES);
	writer_u32(&w, m->receiver_id);
	writer_u8(&w, LINK_TYPE_RESP);
	writer_u8(&w, m->version);
	writer_zero(&w, 2);
	writer_u32(&w, m->sender_id);
	writer_put(&w, m->y, sizeof(m->y));
	writer_put(&w, m->rt, sizeof(m->rt));
	writer_zero(&w, MAC_BYTES + MAC_BYTES);
	mac1_make(d + LINK_MAC1_OFFSET, id, d, LINK_MAC1_OFFSET);
}

bool link_cookie_parse(const uint8_t *d, size_t n, struct link_cookie *ret)
{
	struct reader r;
	reader_init(&r, d, n);
	struct link_cookie m;
	m.receiver_id = reader_u32(&r);
	uint8_t type = reader_u8(&r);
	reader_zero(&r, 3);
	reader_copy(&r, m.nonce, sizeof(m.nonce));
	reader_copy(&r, m.sealed, sizeof(m.sealed));
	if (!reader_done(&r) || type != LINK_TYPE_COOKIE || m.receiver_id == 0)
		return false;
	*ret = m;
	return true;
}

void link_cookie_write(uint8_t d[LINK_COOKIE_BYTES], const struct link_cookie *m)
{
	struct writer w;
	writer_init(&w, d, LINK_COOKIE_BYTES);
	writer_u32(&w, m->receiver_id);
	writer_u8(&w, LINK_TYPE_COOKIE);
	writer_zero(&w, 3);
	writer_put(&w, m->nonce, sizeof(m->nonce));
	writer_put(&w, m->sealed, sizeof(m->sealed));
}

bool link_req_parse(const uint8_t plain[LINK_REQ_BYTES], struct link_req *ret)
{
	struct reader r;
	reader_init(&r, plain, LINK_REQ_BYTES);
	struct link_req m;
	m.net_id = reader_u32(&r);
	m.time_min = reader_u32(&r);
	m.max_dgram = reader_u16(&r);
	uint8_t role = reader_u8(&r);
	reader_zero(&r, REQ_ZERO);
	if (!reader_done(&r) || m.max_dgram < DATAGRAM_FULL_LEAST || role < ROLE_CLIENT ||
	    role > ROLE_AUTHORITY)
		return false;
	m.role = (enum link_role)role;
	*ret = m;
	return true;
}

void link_req_write(uint8_t plain[LINK_REQ_BYTES], const struct link_req *m)
{
	struct writer w;
	writer_init(&w, plain, LINK_REQ_BYTES);
	writer_u32(&w, m->net_id);
	writer_u32(&w, m->time_min);
	writer_u16(&w, m->max_dgram);
	writer_u8(&w, (uint8_t)m->role);
	writer_zero(&w, REQ_ZERO);
}

bool link_rep_parse(const uint8_t plain[LINK_REP_BYTES], struct link_rep *ret)
{
	struct reader r;
	reader_init(&r, plain, LINK_REP_BYTES);
	struct link_rep m;
	uint8_t status = reader_u8(&r);
	m.version_most = reader_u8(&r);
	m.max_dgram = reader_u16(&r);
	m.time_s = reader_u64(&r);
	uint8_t ip[16];
	reader_copy(&r, ip, sizeof(ip));
	m.observed = addr_from_mapped(ip, reader_u16(&r));
	m.serial = reader_u64(&r);
	m.circuits_limit = reader_u32(&r);
	m.init_id = reader_u32(&r);
	m.resp_id = reader_u32(&r);
	reader_zero(&r, REP_ZERO);
	if (!reader_done(&r) || status > LINK_VERSION || m.max_dgram < DATAGRAM_FULL_LEAST)
		return false;
	m.status = (enum link_status)status;
	*ret = m;
	return true;
}

void link_rep_write(uint8_t plain[LINK_REP_BYTES], const struct link_rep *m)
{
	uint8_t ip[16];
	addr_to_mapped(&m->observed, ip);
	struct writer w;
	writer_init(&w, plain, LINK_REP_BYTES);
	writer_u8(&w, (uint8_t)m->status);
	writer_u8(&w, m->version_most);
	writer_u16(&w, m->max_dgram);
	writer_u64(&w, m->time_s);
	writer_put(&w, ip, sizeof(ip));
	writer_u16(&w, m->observed.port);
	writer_u64(&w, m->serial);
	writer_u32(&w, m->circuits_limit);
	writer_u32(&w, m->init_id);
	writer_u32(&w, m->resp_id);
	writer_zero(&w, REP_ZERO);
}
