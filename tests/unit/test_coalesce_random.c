/* tests/unit/test_coalesce_random.c - tun/coalesce.h with random streams: against a slow one, and
 * with tun/split.h behind or before it.
 *
 * The slow one does not compare fields: a packet joins when it is, byte for byte and sums and all,
 * what a sender that cuts up one long packet would have sent next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/offload.h"
#include "base/plain_type.h"
#include "tun/coalesce.h"
#include "tun/split.h"
#include "unit/slow_packets.h"

#define PACKETS_MAX 400
#define ARENA_BYTES (4u << 20)
#define BYTES_MAX   (SLOW_HEADER_MAX + SLOW_PACKET_MAX)
#define FLOWS	    24

/* A packet of the stream. `given` is what is put and changed there, `sent` what its sender sent. */
struct packet {
	uint8_t *given, *sent;
	size_t n;
	bool open;
};

static struct packet packets[PACKETS_MAX];
static size_t npackets;
static uint8_t arena[ARENA_BYTES];
static size_t arena_used;

static uint8_t *store(const uint8_t *p, size_t n)
{
	assert_true(arena_used + n <= sizeof(arena));
	uint8_t *at = arena + arena_used;
	memcpy(at, p, n);
	arena_used += n;
	return at;
}

static void add_packet(const uint8_t *p, size_t n, bool open)
{
	struct packet *k = &packets[npackets++];
	assert_true(npackets <= PACKETS_MAX);
	*k = (struct packet){store(p, n), store(p, n), n, open};
	if (open) { /* whatever stood there, it stands for the right sum */
		slow_sum_upper(k->sent, n);
		put16(k->given + slow_checksum_at(p), 0x1234);
	}
}

/* An item: packets by number, and the bytes and header that are written. */
struct out {
	size_t packet[COALESCE_PACKETS_MAX];
	unsigned count;
	struct virtio_net_hdr h;
	uint8_t *bytes;
	size_t n;
};

struct outs {
	struct out item[PACKETS_MAX];
	size_t count;
};

static struct outs fast, slow;

/* --- the fast one --- */

static size_t packet_at(const uint8_t *p)
{
	for (size_t i = 0; i < npackets; i++)
		if (p >= packets[i].given && p < packets[i].given + packets[i].n)
			return i;
	fail_msg("these bytes are no packet's");
	return 0;
}

static void take(void *arg, const struct virtio_net_hdr *h, struct iovec *iov, unsigned n)
{
	static uint8_t all[BYTES_MAX];
	struct outs *to = arg;
	struct out *o = &to->item[to->count++];
	assert_true(to->count <= PACKETS_MAX && n >= 2 && n - 1 <= COALESCE_PACKETS_MAX);
	*o = (struct out){.count = n - 1, .h = *h};
	for (unsigned i = 1; i < n; i++) {
		o->packet[i - 1] = packet_at(iov[i].iov_base);
		assert_true(o->n + iov[i].iov_len <= sizeof(all));
		memcpy(all + o->n, iov[i].iov_base, iov[i].iov_len);
		o->n += iov[i].iov_len;
	}
	o->bytes = store(all, o->n);
}

static void run_fast(void)
{
	struct coalesce *c = coalesce_new(OFFLOAD_ALL, take, &fast);
	assert_non_null(c);
	fast.count = 0;
	for (size_t i = 0; i < npackets; i++) {
		struct ip_view v;
		assert_int_equal(ip_parse(packets[i].given, packets[i].n, &v), 0);
		coalesce_put(c, packets[i].given, &v, packets[i].open);
	}
	coalesce_flush(c);
	coalesce_free(c);
}

/* --- the slow one --- */

struct slow_item {
	size_t packet[COALESCE_PACKETS_MAX];
	unsigned count;
	bool fixed_id;
};

static struct slow_item open_items[COALESCE_FLOWS];
static size_t nopen;

static bool is_fragment(const uint8_t *p)
{
	return p[0] / 16 == 4 && get16(p + 6) % 0x4000 != 0;
}

static bool has_ports(const uint8_t *p)
{
	int protocol;
	slow_l4(p, &protocol);
	return (protocol == TCP || protocol == UDP) && !is_fragment(p);
}

static bool same_hosts(const uint8_t *a, const uint8_t *b)
{
	if (a[0] / 16 != b[0] / 16)
		return false;
	return a[0] / 16 == 4 ? memcmp(a + 12, b + 12, 8) == 0 : memcmp(a + 8, b + 8, 32) == 0;
}

static bool same_flow(const uint8_t *a, const uint8_t *b)
{
	int pa, pb;
	size_t la = slow_l4(a, &pa), lb = slow_l4(b, &pb);
	return same_hosts(a, b) && pa == pb && memcmp(a + la, b + lb, 4) == 0;
}

/* Are its sums those that its sender would have written? */
static bool sums_are_right(const struct packet *k)
{
	static uint8_t copy[BYTES_MAX];
	memcpy(copy, k->sent, k->n);
	slow_sum_ip(copy);
	slow_sum_upper(copy, k->n);
	return memcmp(copy, k->sent, k->n) == 0;
}

static bool may_begin(const struct packet *k)
{
	const uint8_t *p = k->sent;
	int protocol;
	size_t l4 = slow_l4(p, &protocol);
	if (l4 != (p[0] / 16 == 4 ? 20 : 40) || k->n == slow_header(p))
		return false;
	if (p[0] / 16 == 4 && get16(p + 6) != 0 && get16(p + 6) != 0x4000)
		return false;
	if (protocol == UDP)
		return get16(p + l4 + 4) == k->n - l4 && get16(p + l4 + 6) != 0;
	return (p[l4 + 13] | ACK | ECE | CWR) == (ACK | ECE | CWR);
}

/* What the item's sender would send as its next packet, with this payload and these last flags. */
static size_t next_packet(const struct slow_item *it, bool fixed, const uint8_t *payload,
			  size_t bytes, int flags, uint8_t *to)
{
	const uint8_t *first = packets[it->packet[0]].sent;
	size_t header = slow_header(first), before = 0;
	int protocol;
	uint8_t *l4 = to + slow_l4(first, &protocol);
	for (unsigned i = 0; i < it->count; i++)
		before += packets[it->packet[i]].n - header;
	memcpy(to, first, header);
	memcpy(to + header, payload, bytes);
	if (first[0] / 16 == 4) {
		put16(to + 2, (unsigned)(header + bytes));
		put16(to + 4, (get16(first + 4) + (fixed ? 0 : it->count)) & 0xffff);
	} else {
		put16(to + 4, (unsigned)(header - 40 + bytes));
	}
	if (protocol == UDP) {
		put16(l4 + 4, (unsigned)(8 + bytes));
	} else {
		put32(l4 + 4, (uint32_t)(get32(l4 + 4) + before));
		l4[13] = (uint8_t)((l4[13] & (ACK | ECE)) | flags);
	}
	slow_sum_ip(to);
	slow_sum_upper(to, header + bytes);
	return header + bytes;
}

static int last_flags(const uint8_t *p)
{
	int protocol;
	size_t l4 = slow_l4(p, &protocol);
	return protocol == TCP ? p[l4 + 13] & (FIN | PSH) : 0;
}

static bool is_next(const struct slow_item *it, bool fixed, const struct packet *k)
{
	static uint8_t want[2 * BYTES_MAX];
	size_t header = slow_header(k->sent);
	size_t n =
		next_packet(it, fixed, k->sent + header, k->n - header, last_flags(k->sent), want);
	return n == k->n && memcmp(want, k->sent, n) == 0;
}

static size_t total(const struct slow_item *it)
{
	size_t n = slow_header(packets[it->packet[0]].sent);
	for (unsigned i = 0; i < it->count; i++)
		n += packets[it->packet[i]].n - slow_header(packets[it->packet[i]].sent);
	return n;
}

static bool joins(struct slow_item *it, const struct packet *k)
{
	const struct packet *first = &packets[it->packet[0]];
	size_t bytes = k->n - slow_header(k->sent);
	bool df = first->sent[0] / 16 == 6 || first->sent[6] & 0x40;
	if (bytes == 0 || k->n > first->n || it->count == COALESCE_PACKETS_MAX ||
	    total(it) + bytes > 65535 || !sums_are_right(first))
		return false;
	if (it->count == 1)
		it->fixed_id = df && is_next(it, true, k);
	return is_next(it, it->fixed_id, k);
}

static void slow_header_of(const struct out *o, struct virtio_net_hdr *h)
{
	int protocol;
	size_t l4 = slow_l4(o->bytes, &protocol);
	const struct packet *first = &packets[o->packet[0]];
	memset(h, 0, sizeof(*h));
	if (o->count == 1 && !first->open)
		return;
	h->flags = 1;
	h->csum_start = (uint16_t)l4;
	h->csum_offset = protocol == TCP ? 16 : 6;
	if (o->count == 1)
		return;
	h->hdr_len = (uint16_t)slow_header(o->bytes);
	h->gso_size = (uint16_t)(first->n - h->hdr_len);
	h->gso_type = protocol == UDP ? 5 : o->bytes[0] / 16 == 4 ? 1 : 4;
	if (protocol == TCP && first->sent[l4 + 13] & CWR)
		h->gso_type += 0x80;
}

/* The whole as one packet: what its sender would have cut up. */
static void slow_emit(const struct slow_item *it)
{
	static uint8_t all[BYTES_MAX];
	struct out *o = &slow.item[slow.count++];
	const struct packet *last = &packets[it->packet[it->count - 1]];
	*o = (struct out){.count = it->count};
	for (unsigned i = 0; i < it->count; i++) {
		const struct packet *k = &packets[it->packet[i]];
		size_t skip = i == 0 ? 0 : slow_header(k->sent);
		memcpy(all + o->n, k->sent + skip, k->n - skip);
		o->n += k->n - skip;
		o->packet[i] = it->packet[i];
	}
	if (it->count > 1) {
		int protocol;
		size_t l4 = slow_l4(all, &protocol);
		put16(all + (all[0] / 16 == 4 ? 2 : 4),
		      (unsigned)(all[0] / 16 == 4 ? o->n : o->n - 40));
		if (protocol == TCP)
			all[l4 + 13] = (uint8_t)(all[l4 + 13] | last_flags(last->sent));
		else
			put16(all + l4 + 4, (unsigned)(o->n - l4));
		slow_sum_ip(all);
	}
	if (it->count > 1 || last->open)
		put16(all + slow_checksum_at(all), slow_pseudo(all, o->n));
	o->bytes = store(all, o->n);
	slow_header_of(o, &o->h);
}

static void slow_close(size_t place)
{
	struct slow_item it = open_items[place];
	nopen--;
	for (size_t i = place; i < nopen; i++)
		open_items[i] = open_items[i + 1];
	slow_emit(&it);
}

static void slow_put(size_t number)
{
	const struct packet *k = &packets[number];
	struct slow_item alone = {.packet = {number}, .count = 1};
	bool ports = has_ports(k->sent);
	for (size_t i = 0; i < nopen;) {
		struct slow_item *it = &open_items[i];
		const struct packet *first = &packets[it->packet[0]];
		if (!(ports ? same_flow : same_hosts)(first->sent, k->sent)) {
			i++;
			continue;
		}
		if (ports && joins(it, k)) {
			it->packet[it->count++] = number;
			if (k->n < first->n || last_flags(k->sent))
				slow_close(i);
			return;
		}
		slow_close(i);
	}
	if (!ports || !may_begin(k)) {
		slow_emit(&alone);
		return;
	}
	if (nopen == COALESCE_FLOWS)
		slow_close(0);
	open_items[nopen++] = alone;
}

static void run_slow(void)
{
	slow.count = nopen = 0;
	for (size_t i = 0; i < npackets; i++)
		slow_put(i);
	while (nopen > 0)
		slow_close(0);
}

/* --- random streams --- */

static void next_of(struct slow *s)
{
	s->seq += (uint32_t)s->payload;
	s->id = (uint16_t)(s->id + (s->urgent != 1)); /* see random_flow() */
	s->payload_byte = (uint8_t)(s->payload_byte + 7 * s->payload);
}

/* A flow with few irregularities. An urgent pointer of 1 marks one whose IDs stay the same. */
static struct slow random_flow(struct seeded *r, uint32_t most)
{
	struct slow s = slow_usual(once_in(r, 2) ? 4 : 6, once_in(r, 3) ? UDP : TCP);
	s.host = (uint8_t)upto(r, 3);
	s.src_port = (uint16_t)(4000 + upto(r, 4));
	s.tos = (uint8_t)upto(r, 4);
	s.id = (uint16_t)(65500 + upto(r, 60));
	s.fragment = once_in(r, 3) ? 0 : 0x4000;
	s.seq = (uint32_t)seeded_u64(r);
	s.flags = once_in(r, 4) ? ACK | ECE : ACK;
	s.urgent = once_in(r, 3);
	s.tcp_options = s.protocol == TCP ? 4 * upto(r, 4) : 0;
	s.payload = 1 + upto(r, most);
	s.ip_options = s.version == 4 && once_in(r, 20) ? 4 : 0;
	s.ext_headers = s.version == 6 && once_in(r, 20);
	return s;
}

/* Make the packet differ from what its flow would send; s is this packet's own. */
static void disturb(struct slow *s, struct seeded *r)
{
	static const int flags[] = {PSH, PSH, PSH, FIN, SYN, RST, URG, CWR, CWR, ECE, ACK};
	switch (upto(r, 16)) {
	case 0:
		s->tos ^= 1;
		break;
	case 1:
		s->ttl--;
		break;
	case 2:
		s->label ^= 1;
		break;
	case 3:
		s->id = (uint16_t)(s->id + upto(r, 3));
		break;
	case 4:
		s->fragment ^= once_in(r, 2) ? 0x4000 : 0x8000;
		break;
	case 5:
		s->seq += upto(r, 3);
		break;
	case 6:
		s->ack++;
		break;
	case 7:
		s->window++;
		break;
	case 8:
		s->option_byte ^= 1;
		break;
	case 9:
		s->payload = upto(r, (uint32_t)s->payload + 2);
		break;
	case 10:
		s->protocol = s->version == 4 ? ICMP : 58;
		s->payload += 8;
		break;
	case 11:
		s->fragment = 0x00b9;
		break;
	default:
		s->flags ^= flags[upto(r, sizeof(flags) / sizeof(flags[0]))];
	}
}

/* Spoil the bytes of a whole packet. */
static void spoil(uint8_t *p, size_t n, struct seeded *r)
{
	int protocol;
	size_t l4 = slow_l4(p, &protocol), at = slow_checksum_at(p);
	uint32_t kind = upto(r, 5);
	if (kind == 0)
		put16(p + at, 0);
	if (kind == 1)
		put16(p + at, 0xffff);
	if (kind == 2)
		p[at] ^= (uint8_t)(1 << upto(r, 8));
	if (kind == 3 && p[0] / 16 == 4)
		p[10] ^= (uint8_t)(1 << upto(r, 8));
	if (kind == 4 && protocol == UDP && n > l4 + 8) {
		put16(p + l4 + 4, get16(p + l4 + 4) - 1);
		slow_sum_upper(p, n);
	}
}

static void random_stream(struct seeded *r, size_t count, uint32_t most)
{
	static uint8_t p[BYTES_MAX];
	struct slow flow[FLOWS];
	uint32_t flows = 1 + upto(r, FLOWS), at = 0;
	npackets = arena_used = 0;
	for (uint32_t i = 0; i < flows; i++)
		flow[i] = random_flow(r, most);
	while (npackets < count) {
		if (once_in(r, 4))
			at = upto(r, flows);
		struct slow k = flow[at];
		bool open = once_in(r, 2);
		if (once_in(r, 10))
			disturb(&k, r);
		size_t n = slow_build(&k, p);
		if (!has_ports(p) || k.payload == 0)
			open = false;
		if (has_ports(p) && !open && once_in(r, 30))
			spoil(p, n, r);
		add_packet(p, n, open && k.ext_headers == 0);
		if (!once_in(r, 50)) { /* else the same once more */
			flow[at].payload = k.payload;
			next_of(&flow[at]);
			flow[at].payload = once_in(r, 40) ? 1 + upto(r, most) : flow[at].payload;
			if (k.payload == 0 || !has_ports(p))
				flow[at].payload = 1 + upto(r, most);
		}
	}
}

/* --- the tests --- */

static void check_same(size_t i)
{
	const struct out *a = &fast.item[i], *b = &slow.item[i];
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->packet, b->packet, a->count * sizeof(a->packet[0]));
	assert_int_equal(a->n, b->n);
	assert_memory_equal(a->bytes, b->bytes, a->n);
	assert_memory_equal(&a->h, &b->h, sizeof(a->h));
}

static size_t joined, fixed_ids; /* so that we know that something was tested */

/* Cut the item up again: the packets that went in. */
static void check_split(const struct out *o)
{
	struct tun_frame f;
	assert_int_equal(frame_parse(&o->h, o->bytes, o->n, &f), 0);
	assert_int_equal(f.packets, o->count);
	for (unsigned i = 0; i < o->count; i++) {
		static uint8_t plain[1 + BYTES_MAX];
		const struct packet *k = &packets[o->packet[i]], *first = &packets[o->packet[0]];
		assert_int_equal(frame_plain(&f, i, plain), 1 + k->n);
		if (plain[0] == PLAIN_PACKET_OPEN)
			slow_sum_upper(plain + 1, k->n);
		else
			assert_int_equal(plain[0], PLAIN_PACKET);
		if (k->sent[0] / 16 == 4 && get16(plain + 5) != get16(k->sent + 4)) {
			assert_true(k->sent[6] & 0x40); /* DF, and all had the first one's */
			assert_int_equal(get16(k->sent + 4), get16(first->sent + 4));
			assert_int_equal(get16(plain + 5), (get16(first->sent + 4) + i) & 0xffff);
			put16(plain + 5, get16(k->sent + 4));
			slow_sum_ip(plain + 1);
			fixed_ids++;
		}
		assert_memory_equal(plain + 1, k->sent, k->n);
		joined += i > 0;
	}
}

/* Each packet once, and in each flow in the order in which they came. */
static void check_order(void)
{
	static size_t order[PACKETS_MAX];
	size_t n = 0;
	for (size_t i = 0; i < fast.count; i++)
		for (unsigned j = 0; j < fast.item[i].count; j++)
			order[n++] = fast.item[i].packet[j];
	assert_int_equal(n, npackets);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = i + 1; j < n; j++) {
			const uint8_t *a = packets[order[i]].sent, *b = packets[order[j]].sent;
			assert_int_not_equal(order[i], order[j]);
			bool ports = has_ports(a) && has_ports(b);
			if (order[i] > order[j] && (ports ? same_flow : same_hosts)(a, b))
				fail_msg("packet %zu overtook packet %zu", order[i], order[j]);
		}
	}
}

static void check_stream(void)
{
	run_fast();
	run_slow();
	assert_int_equal(fast.count, slow.count);
	for (size_t i = 0; i < fast.count; i++) {
		check_same(i);
		check_split(&fast.item[i]);
	}
	check_order();
}

static void coalesce_agrees_with_a_slow_one(void **state)
{
	(void)state;
	struct seeded r = {.state = 7};
	joined = fixed_ids = 0;
	for (int i = 0; i < 400; i++) {
		random_stream(&r, 150, 40);
		check_stream();
	}
	assert_true(joined > 20000);
	assert_true(fixed_ids > 1000);
	for (int i = 0; i < 15; i++) {
		random_stream(&r, 100, 9000);
		check_stream();
	}
}

/* One flow without faults, in sizes with which both limits are met. */
static void coalesce_meets_its_limits_like_the_slow_one(void **state)
{
	(void)state;
	static const size_t sizes[] = {1, 1319, 1023, 1024, 1025, 5037, 9000, 32741, 32742, 60000};
	for (size_t i = 0; i < 4 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		static uint8_t p[BYTES_MAX];
		struct slow s = slow_usual(i % 2 ? 4 : 6, i & 2 ? UDP : TCP);
		s.payload = sizes[i / 4];
		npackets = arena_used = 0;
		for (size_t bytes = 0; npackets < 150 && bytes < 200000; bytes += s.payload) {
			size_t n = slow_build(&s, p);
			add_packet(p, n, npackets % 3);
			next_of(&s);
		}
		check_stream();
		assert_true(fast.count < npackets || s.payload > 32000);
	}
}

static bool may_be_one_item(const struct slow *s, unsigned count)
{
	if (s->ip_options || s->ext_headers || count > COALESCE_PACKETS_MAX)
		return false;
	return s->protocol == UDP || !(s->flags & (SYN | RST | URG));
}

/* A frame of the kernel's, cut up and put together: the same frame where the rules permit it. */
static bool check_frame(struct seeded *r, size_t most, uint32_t most_packets)
{
	static uint8_t p[BYTES_MAX], plain[1 + BYTES_MAX];
	struct slow s = slow_random(r, most);
	size_t n = slow_open(&s, p), size = 1 + s.payload / (1 + upto(r, most_packets));
	if (size >= s.payload)
		size = s.payload - 1;
	struct virtio_net_hdr h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				   .gso_size = (uint16_t)size,
				   .hdr_len = (uint16_t)slow_header(p)};
	int protocol;
	size_t l4 = slow_l4(p, &protocol);
	h.csum_start = (uint16_t)l4;
	h.csum_offset = (uint16_t)(slow_checksum_at(p) - l4);
	h.gso_type = protocol == UDP ? 5 : s.version == 4 ? 1 : 4;
	if (protocol == TCP && s.flags & CWR)
		h.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	struct tun_frame f;
	assert_int_equal(frame_parse(&h, p, n, &f), 0);
	npackets = arena_used = 0;
	for (unsigned i = 0; i < f.packets && i < PACKETS_MAX; i++) {
		size_t bytes = frame_plain(&f, i, plain);
		add_packet(plain + 1, bytes - 1, plain[0] == PLAIN_PACKET_OPEN);
	}
	run_fast();
	check_order();
	for (size_t i = 0; i < fast.count; i++)
		check_split(&fast.item[i]);
	if (!may_be_one_item(&s, f.packets))
		return false;
	assert_int_equal(fast.count, 1);
	assert_int_equal(fast.item[0].n, n);
	assert_memory_equal(fast.item[0].bytes, p, n);
	assert_memory_equal(&fast.item[0].h, &h, sizeof(h));
	return true;
}

static void coalesce_undoes_a_split(void **state)
{
	(void)state;
	struct seeded r = {.state = 8};
	size_t same = 0;
	for (int i = 0; i < 12000; i++)
		same += check_frame(&r, 60, 20);
	for (int i = 0; i < 300; i++)
		same += check_frame(&r, 2000, 100);
	for (int i = 0; i < 30; i++)
		same += check_frame(&r, SLOW_PACKET_MAX, 70);
	assert_true(same > 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(coalesce_agrees_with_a_slow_one),
		cmocka_unit_test(coalesce_meets_its_limits_like_the_slow_one),
		cmocka_unit_test(coalesce_undoes_a_split),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
