/* tests/fuzz/fuzz_inner_ip.c - a plain of section 6 from a stranger: the first byte is its type. */
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "tun/checksum.h"
#include "tun/device.h"
#include "tun/icmp.h"
#include "tun/plain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
	if (!holds)
		abort();
}

/* Everything that is done with a view must stay within the packet. */
static void use(uint8_t *p, const struct ip_view *v)
{
	uint8_t out[ICMP_ANSWER_BYTES_MAX];
	struct addr from = v->dst;
	struct ip_view again;
	check(ip_parse(p, v->len, &again) == 0 && memcmp(&again, v, sizeof(again)) == 0);
	check(v->l4_offset <= v->len && (!v->has_ports || v->l4_offset + 8 <= v->len));
	size_t n = icmp_prohibited(p, v, &from, out);
	check(n <= sizeof(out) && (n == 0 || ip_parse(out, n, &again) == 0));
	n = icmp_too_big(p, v, 1280, &from, out);
	check(n <= sizeof(out) && (n == 0 || ip_parse(out, n, &again) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t room[PKT_HEADROOM + PKT_ROOM];
	struct pkt k = {.room = room, .room_bytes = sizeof(room)};
	struct ip_view v, back;
	if (size > PKT_ROOM)
		return 0;
	uint8_t *exact = malloc(size + 1); /* so that a read behind the end is seen */
	memcpy(exact, data, size);
	if (size > 0 && ip_parse(exact + 1, size - 1, &v) == 0)
		use(exact + 1, &v);
	free(exact);
	k.data = k.room + PKT_HEADROOM;
	k.len = (uint32_t)size;
	memcpy(k.data, data, size);
	if (plain_to_packet(&k, &v) < 0)
		return 0;
	check(k.len == v.len && k.len + 1 <= size);
	uint32_t flags = k.flags;
	plain_from_packet(&k, &v);
	check(k.len == 1u + v.len && memcmp(k.data, data, k.len) == 0);
	check((k.data[0] == PLAIN_PACKET_OPEN) == ((flags & TUN_PKT_CSUM_OPEN) != 0));
	check(plain_to_packet(&k, &back) == 0 && memcmp(&back, &v, sizeof(v)) == 0);
	return 0;
}
