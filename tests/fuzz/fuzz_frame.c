/* tests/fuzz/fuzz_frame.c - tun/split.h and tun/coalesce.h with any bytes.
 *
 *   0  1  which offloads may be used to put packets together, and with bit 7 set
 *   1  .. packets: {u8 bit 0 the checksum is open | u16 length | bytes}...
 * else one frame: virtio header of 10 bytes | bytes. It is cut up, and its packets go the same way
 * as those: what is put together and cut up again must be what went in, in its order.
 */
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "base/plain_type.h"
#include "tun/checksum.h"
#include "tun/coalesce.h"
#include "tun/split.h"

#define PACKETS_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct packet {
	uint8_t *given;	 /* exactly as long, so that a read behind the end is seen */
	uint8_t *before; /* the same, as it was, with its checksum completed if open */
	struct ip_view v;
	bool open, seen;
};

static struct packet packets[PACKETS_MAX];
static size_t npackets;

static void check(int holds)
{
	if (!holds)
		abort();
}

static uint8_t *copy_of(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	check(copy != NULL);
	memcpy(copy, p, n);
	return copy;
}

static void add_packet(const uint8_t *p, size_t n, bool open)
{
	struct packet k = {.open = open};
	uint8_t *exact = copy_of(p, n);
	int bad = ip_parse(exact, n, &k.v);
	free(exact);
	if (bad || npackets == PACKETS_MAX || (open && ip_open_checksum_at(&k.v) == 0))
		return;
	k.given = copy_of(p, k.v.len);
	k.before = copy_of(p, k.v.len);
	if (open)
		checksum_complete(k.before, &k.v);
	packets[npackets++] = k;
}

static bool same_flow(const struct ip_view *a, const struct ip_view *b)
{
	if (!addr_equal_ip(&a->src, &b->src) || !addr_equal_ip(&a->dst, &b->dst))
		return false;
	bool ports = a->has_ports && !a->is_fragment && b->has_ports && !b->is_fragment;
	return !ports || (a->protocol == b->protocol && a->src_port == b->src_port &&
			  a->dst_port == b->dst_port);
}

static struct packet *packet_at(const uint8_t *p)
{
	for (size_t i = 0; i < npackets; i++)
		if (p >= packets[i].given && p < packets[i].given + packets[i].v.len)
			return &packets[i];
	abort();
}

/* Each one once, and none before an earlier one of its flow. */
static void check_turn(struct packet *k)
{
	check(!k->seen);
	k->seen = true;
	for (const struct packet *earlier = packets; earlier < k; earlier++)
		check(earlier->seen || !same_flow(&earlier->v, &k->v));
}

/* The plain that came out again is k. */
static void check_plain(uint8_t *plain, size_t n, const struct packet *k)
{
	struct ip_view v;
	uint8_t *p = plain + 1;
	check(n == 1u + k->v.len && ip_parse(p, n - 1, &v) == 0 && v.len == n - 1);
	if (plain[0] == PLAIN_PACKET_OPEN) {
		check(load_be16(p + ip_open_checksum_at(&v)) == 0);
		checksum_complete(p, &v);
	}
	if (v.version == 4 && memcmp(p + 4, k->before + 4, 2) != 0) {
		check(p[6] & 0x40); /* IDs that were the same with DF count up now */
		memcpy(p + 4, k->before + 4, 2);
		memcpy(p + 10, k->before + 10, 2);
	}
	check(memcmp(p, k->before, n - 1) == 0);
}

static void check_item(void *arg, const struct virtio_net_hdr *h, struct iovec *iov, unsigned n)
{
	static uint8_t all[FRAME_BYTES_MAX], plain[1 + FRAME_BYTES_MAX];
	struct tun_frame f;
	size_t len = 0;
	(void)arg;
	check(n >= 2 && n - 1 <= COALESCE_PACKETS_MAX);
	for (unsigned i = 1; i < n; i++) {
		check(len + iov[i].iov_len <= sizeof(all));
		memcpy(all + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	struct packet *first = packet_at(iov[1].iov_base);
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE && !first->open) {
		check(n == 2 && len == first->v.len && memcmp(all, first->before, len) == 0);
		check_turn(first);
		return;
	}
	check(frame_parse(h, all, len, &f) == 0 && f.packets == n - 1 && f.csum_open);
	for (unsigned i = 1; i < n; i++) {
		struct packet *k = packet_at(iov[i].iov_base);
		check_turn(k);
		check_plain(plain, frame_plain(&f, i - 1, plain), k);
	}
}

static void put_together(unsigned offloads)
{
	struct coalesce *c = coalesce_new(offloads, check_item, NULL);
	check(c != NULL);
	for (size_t i = 0; i < npackets; i++)
		coalesce_put(c, packets[i].given, &packets[i].v, packets[i].open);
	coalesce_flush(c);
	coalesce_free(c);
	for (size_t i = 0; i < npackets; i++) {
		check(packets[i].seen);
		free(packets[i].given);
		free(packets[i].before);
	}
	npackets = 0;
}

static void cut_up(const uint8_t *data, size_t size)
{
	struct virtio_net_hdr h;
	struct tun_frame f;
	if (size < sizeof(h))
		return;
	memcpy(&h, data, sizeof(h));
	uint8_t *p = copy_of(data + sizeof(h), size - sizeof(h));
	if (frame_parse(&h, p, size - sizeof(h), &f) == 0) {
		size_t payload = 0, bytes = 0;
		check(f.data == p && f.len <= size - sizeof(h) && f.packets >= 1);
		check(f.packets == 1 || (f.payload > 0 && f.header < f.len));
		for (unsigned i = 0; i < f.packets && bytes < 1 << 20; i++) {
			size_t n = frame_packet_bytes(&f, i);
			uint8_t *plain = malloc(1 + n);
			check(plain && frame_plain(&f, i, plain) == 1 + n);
			struct ip_view v;
			check(ip_parse(plain + 1, n, &v) == 0 && v.len == n);
			bool open = plain[0] == PLAIN_PACKET_OPEN;
			check(open == f.csum_open && (open || plain[0] == PLAIN_PACKET));
			add_packet(plain + 1, n, open);
			free(plain);
			payload += n - f.header;
			bytes += n;
		}
		check(bytes >= 1 << 20 || payload + f.header == f.len);
	}
	free(p);
}

static void read_packets(const uint8_t *data, size_t size)
{
	struct reader r;
	reader_init(&r, data, size);
	while (r.left > 0) {
		bool open = reader_u8(&r) & 1;
		size_t n = reader_u16(&r);
		const uint8_t *p = reader_take(&r, n);
		if (p)
			add_packet(p, n, open);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] & 0x80)
		read_packets(data + 1, size - 1);
	else
		cut_up(data + 1, size - 1);
	put_together(data[0]);
	return 0;
}
