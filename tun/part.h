/* tun/part.h - one TCP or UDP packet as a part of a larger one: what tun/coalesce.h asks about it.
 * Pure. */
#pragma once
#include "tun/frame.h"

/* A view of a packet for as long as its bytes stay; lengths from ip_parse(). */
struct part {
	uint8_t *p;	  /* its first byte */
	uint16_t l4;	  /* where its TCP or UDP header starts */
	uint16_t header;  /* bytes before its payload */
	uint16_t payload; /* bytes of it */
	uint8_t protocol; /* IP_TCP or IP_UDP */
	bool csum_open;
};

enum part_role {
	PART_ALONE, /* never in a larger packet */
	PART_LAST,  /* may end one */
	PART_ANY,   /* may begin one, stand in it, end it */
};

enum { PART_TCP_FIN = 0x01, PART_TCP_PSH = 0x08, PART_TCP_CWR = 0x80 };

/* The packet at p with the view v, which has ports and is no fragment. */
struct part part_of(uint8_t *p, const struct ip_view *v, bool csum_open);
/* What the packet's own headers permit, by the rules in tun/coalesce.h. All but part_of() and this
 * are only for packets that it does not call PART_ALONE. */
enum part_role part_role(const struct part *k, const struct ip_view *v);

/* Bytes of TCP or UDP flags; 0 for UDP. */
uint8_t part_tcp_flags(const struct part *k);
/* Do both have the same headers, but for lengths, checksums, ID, sequence number, PSH and FIN, and
 * has k no CWR? The caller saw that they are of one flow. */
bool part_fits(const struct part *first, const struct part *k);
/* How much further k's sequence number (TCP only) or ID (IPv4, else 0) is than first's. */
uint32_t part_seq_step(const struct part *first, const struct part *k);
uint16_t part_id_step(const struct part *first, const struct part *k);
/* IPv4 with DF set, or IPv6: nobody looks at IDs. */
bool part_has_df(const struct part *k);
/* Are the checksums those that a sender computes: of the IPv4 header, and of the whole unless it is
 * left open? */
bool part_sums_are_right(const struct part *k);

/* Where the TCP or UDP checksum stands, from the packet's first byte. */
uint16_t part_checksum_at(const struct part *k);
/* Write the pseudo-header's sum for `bytes` of TCP or UDP into it: "needs checksum". */
void part_leave_open(const struct part *k, uint32_t bytes);
/* Make the headers those of a packet of `bytes`, all headers counted, with these TCP flags set too.
 * The checksum is left open. */
void part_become(const struct part *k, uint32_t bytes, uint8_t flags);
