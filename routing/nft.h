/* routing/nft.h - private to routing/: a whole nftables table of family inet as data, made in one
 * atomic batch.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

#define NFT_TABLE_NAME_BYTES 64
#define NFT_MATCHES_MAX	     4

enum nft_match_kind {
	MATCH_END, /* no more matches */
	MATCH_IIF_IS,
	MATCH_IIF_NOT,
	MATCH_OIF_IS,
	MATCH_OIF_NOT,
	MATCH_SRC_IN,
	MATCH_DST_IN,
	MATCH_DST_HERE, /* an address of this host's own; in PREROUTING */
	MATCH_CT_MARK,
	MATCH_META_MARK,
	MATCH_CT_ANSWER, /* ct state established,related */
	MATCH_ICMP_TYPE, /* `number` of the given family */
	MATCH_UDP,
	MATCH_UDP_SPORT, /* `number`, a port */
	MATCH_UDP_DPORT,
	MATCH_UDP_SPORT_BELOW,
};

struct nft_match {
	enum nft_match_kind kind;
	const char *ifname;	     /* MATCH_IIF_.., MATCH_OIF_.. */
	const struct prefix *prefix; /* MATCH_SRC_IN, MATCH_DST_IN */
	uint32_t number;	     /* a mark, an ICMP type, a port */
	uint8_t family;		     /* MATCH_ICMP_TYPE, MATCH_UDP..: 4 or 6; of UDP also 0, both */
};

enum nft_verdict {
	DO_ACCEPT,
	DO_DROP,
	DO_MASQUERADE,
	DO_SET_META_MARK,
	DO_SET_CT_MARK,
	DO_NOTRACK, /* the packet goes on, unseen by the connection tracker */
};

struct nft_rule {
	const char *chain;
	struct nft_match match[NFT_MATCHES_MAX];
	enum nft_verdict verdict;
	uint32_t mark;		     /* for the two that set one */
	uint16_t port_min, port_max; /* DO_MASQUERADE: source ports to choose from; 0: any */
};

struct nft_chain {
	const char *name;
	const char *type; /* "filter" or "nat"; policy accept */
	uint32_t hook;	  /* NF_INET_... */
	int32_t priority;
};

struct nft_table {
	const char *name;
	const struct nft_chain *chains;
	size_t nchains;
	const struct nft_rule *rules;
	size_t nrules;
};

/* Make the table; `replace` takes the one of that name away in the same batch, else it must not
 * exist. Read back and compared by its number of rules. A kernel without a connection tracker, or
 * without what MATCH_DST_HERE asks (CONFIG_NFT_FIB_INET), gets it without the rules that say
 * DO_NOTRACK or MATCH_DST_HERE. 0; -errno with the host as before. */
int nft_table_make(const struct nft_table *t, bool replace) __attribute__((warn_unused_result));
/* 0, also when there is none; -errno. */
int nft_table_remove(const char *name) __attribute__((warn_unused_result));
/* 1, 0, -errno. */
int nft_table_exists(const char *name) __attribute__((warn_unused_result));
