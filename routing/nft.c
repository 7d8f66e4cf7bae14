/* routing/nft.c - see routing/nft.h. The expressions are those that `nft --debug=netlink` shows for
 * the rule. */
#include "routing/nft.h"
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define BATCH_BYTES	     (64 * 1024)
#define REPLY_BYTES	     (16 * 1024)
#define REPLY_WAIT_SECONDS   5
#define CT_ESTABLISHED_STATE 2u /* NF_CT_STATE_BIT(IP_CT_ESTABLISHED) and (IP_CT_RELATED) */
#define CT_RELATED_STATE     4u

struct batch {
	struct mnl_nlmsg_batch *mnl;
	char *buf;
	uint32_t first, seq; /* sequence numbers: of the batch's begin, of the next message */
	unsigned acks;	     /* answers that we wait for */
	bool bad;	     /* out of memory or room */
};

static bool add_expr(struct nftnl_rule *r, struct nftnl_expr *e)
{
	if (e)
		nftnl_rule_add_expr(r, e);
	return e != NULL;
}

static bool load_meta(struct nftnl_rule *r, uint32_t key)
{
	struct nftnl_expr *e = nftnl_expr_alloc("meta");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
		nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
	}
	return add_expr(r, e);
}

static bool load_ct(struct nftnl_rule *r, uint32_t key)
{
	struct nftnl_expr *e = nftnl_expr_alloc("ct");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, key);
		nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	}
	return add_expr(r, e);
}

static bool load_payload(struct nftnl_rule *r, uint32_t base, uint32_t offset, uint32_t len)
{
	struct nftnl_expr *e = nftnl_expr_alloc("payload");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
	}
	return add_expr(r, e);
}

static bool mask(struct nftnl_rule *r, const void *bits, uint32_t n)
{
	static const uint8_t zero[16];
	struct nftnl_expr *e = nftnl_expr_alloc("bitwise");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, n);
		nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, bits, n);
		nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, zero, n);
	}
	return add_expr(r, e);
}

static bool compare_by(struct nftnl_rule *r, uint32_t op, const void *value, uint32_t n)
{
	struct nftnl_expr *e = nftnl_expr_alloc("cmp");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
		nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, value, n);
	}
	return add_expr(r, e);
}

static bool compare(struct nftnl_rule *r, bool equal, const void *value, uint32_t n)
{
	return compare_by(r, equal ? NFT_CMP_EQ : NFT_CMP_NEQ, value, n);
}

static bool match_ifname(struct nftnl_rule *r, uint32_t key, bool equal, const char *ifname)
{
	char name[IFNAMSIZ] = "";
	memcpy(name, ifname, strnlen(ifname, IFNAMSIZ - 1));
	return load_meta(r, key) && compare(r, equal, name, sizeof(name));
}

static bool match_family(struct nftnl_rule *r, uint8_t family)
{
	uint8_t nfproto = family == 6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	return load_meta(r, NFT_META_NFPROTO) && compare(r, true, &nfproto, 1);
}

static bool match_prefix(struct nftnl_rule *r, bool source, const struct prefix *p)
{
	uint32_t n = (uint32_t)addr_ip_bytes(&p->addr);
	uint32_t offset = n == 4 ? (source ? 12 : 16) : (source ? 8 : 24);
	uint8_t bits[16] = {0};
	for (unsigned i = 0; i < p->len; i++)
		bits[i / 8] |= (uint8_t)(0x80 >> (i % 8));
	if (!match_family(r, p->addr.family) ||
	    !load_payload(r, NFT_PAYLOAD_NETWORK_HEADER, offset, n))
		return false;
	if (p->len < n * 8 && !mask(r, bits, n))
		return false;
	return compare(r, true, p->addr.ip, n);
}

static bool match_here(struct nftnl_rule *r)
{
	uint32_t here = RTN_LOCAL;
	struct nftnl_expr *e = nftnl_expr_alloc("fib");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
		nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR);
		nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_DREG, NFT_REG_1);
	}
	return add_expr(r, e) && compare(r, true, &here, sizeof(here));
}

static bool match_icmp(struct nftnl_rule *r, uint8_t family, uint8_t type)
{
	uint8_t proto = family == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	return match_family(r, family) && load_meta(r, NFT_META_L4PROTO) &&
	       compare(r, true, &proto, 1) && load_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1) &&
	       compare(r, true, &type, 1);
}

static bool match_udp(struct nftnl_rule *r, uint8_t family)
{
	uint8_t proto = IPPROTO_UDP;
	return (family == 0 || match_family(r, family)) && load_meta(r, NFT_META_L4PROTO) &&
	       compare(r, true, &proto, 1);
}

static bool match_udp_port(struct nftnl_rule *r, const struct nft_match *m)
{
	uint16_t port = htons((uint16_t)m->number);
	uint32_t offset = m->kind == MATCH_UDP_DPORT ? 2 : 0;
	return match_udp(r, m->family) &&
	       load_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof(port)) &&
	       compare_by(r, m->kind == MATCH_UDP_SPORT_BELOW ? NFT_CMP_LT : NFT_CMP_EQ, &port,
			  sizeof(port));
}

static bool match_answer(struct nftnl_rule *r)
{
	uint32_t states = CT_ESTABLISHED_STATE | CT_RELATED_STATE, none = 0;
	return load_ct(r, NFT_CT_STATE) && mask(r, &states, sizeof(states)) &&
	       compare(r, false, &none, sizeof(none));
}

static bool add_match(struct nftnl_rule *r, const struct nft_match *m)
{
	switch (m->kind) {
	case MATCH_END:
		return true;
	case MATCH_IIF_IS:
	case MATCH_IIF_NOT:
		return match_ifname(r, NFT_META_IIFNAME, m->kind == MATCH_IIF_IS, m->ifname);
	case MATCH_OIF_IS:
	case MATCH_OIF_NOT:
		return match_ifname(r, NFT_META_OIFNAME, m->kind == MATCH_OIF_IS, m->ifname);
	case MATCH_SRC_IN:
	case MATCH_DST_IN:
		return match_prefix(r, m->kind == MATCH_SRC_IN, m->prefix);
	case MATCH_DST_HERE:
		return match_here(r);
	case MATCH_CT_MARK:
		return load_ct(r, NFT_CT_MARK) && compare(r, true, &m->number, 4);
	case MATCH_META_MARK:
		return load_meta(r, NFT_META_MARK) && compare(r, true, &m->number, 4);
	case MATCH_CT_ANSWER:
		return match_answer(r);
	case MATCH_ICMP_TYPE:
		return match_icmp(r, m->family, (uint8_t)m->number);
	case MATCH_UDP:
		return match_udp(r, m->family);
	case MATCH_UDP_SPORT:
	case MATCH_UDP_DPORT:
	case MATCH_UDP_SPORT_BELOW:
		return match_udp_port(r, m);
	}
	return false;
}

static bool add_immediate_verdict(struct nftnl_rule *r, uint32_t verdict)
{
	struct nftnl_expr *e = nftnl_expr_alloc("immediate");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
		nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, verdict);
	}
	return add_expr(r, e);
}

static bool load_value(struct nftnl_rule *r, uint32_t reg, const void *value, uint32_t n)
{
	struct nftnl_expr *e = nftnl_expr_alloc("immediate");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, reg);
		nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, value, n);
	}
	return add_expr(r, e);
}

/* Put `mark` into the packet's mark or its connection's. */
static bool add_set_mark(struct nftnl_rule *r, bool of_ct, uint32_t mark)
{
	if (!load_value(r, NFT_REG_1, &mark, sizeof(mark)))
		return false;
	struct nftnl_expr *set = nftnl_expr_alloc(of_ct ? "ct" : "meta");
	if (set && of_ct) {
		nftnl_expr_set_u32(set, NFTNL_EXPR_CT_KEY, NFT_CT_MARK);
		nftnl_expr_set_u32(set, NFTNL_EXPR_CT_SREG, NFT_REG_1);
	} else if (set) {
		nftnl_expr_set_u32(set, NFTNL_EXPR_META_KEY, NFT_META_MARK);
		nftnl_expr_set_u32(set, NFTNL_EXPR_META_SREG, NFT_REG_1);
	}
	return add_expr(r, set);
}

static bool add_masquerade(struct nftnl_rule *r, uint16_t port_min, uint16_t port_max)
{
	uint16_t min = htons(port_min), max = htons(port_max);
	if (port_min == 0)
		return add_expr(r, nftnl_expr_alloc("masq"));
	if (!load_value(r, NFT_REG_1, &min, sizeof(min)) ||
	    !load_value(r, NFT_REG_2, &max, sizeof(max)))
		return false;
	struct nftnl_expr *e = nftnl_expr_alloc("masq");
	if (e) {
		nftnl_expr_set_u32(e, NFTNL_EXPR_MASQ_REG_PROTO_MIN, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_MASQ_REG_PROTO_MAX, NFT_REG_2);
		nftnl_expr_set_u32(e, NFTNL_EXPR_MASQ_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
	}
	return add_expr(r, e);
}

static bool add_verdict(struct nftnl_rule *r, const struct nft_rule *rule)
{
	switch (rule->verdict) {
	case DO_ACCEPT:
		return add_immediate_verdict(r, NF_ACCEPT);
	case DO_DROP:
		return add_immediate_verdict(r, NF_DROP);
	case DO_MASQUERADE:
		return add_masquerade(r, rule->port_min, rule->port_max);
	case DO_SET_META_MARK:
	case DO_SET_CT_MARK:
		return add_set_mark(r, rule->verdict == DO_SET_CT_MARK, rule->mark);
	case DO_NOTRACK:
		return add_expr(r, nftnl_expr_alloc("notrack"));
	}
	return false;
}

static struct nlmsghdr *start_message(struct batch *b, uint16_t type, uint16_t flags)
{
	b->acks++;
	return nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(b->mnl), type, NFPROTO_INET,
				     flags | NLM_F_ACK, b->seq++);
}

static void end_message(struct batch *b)
{
	if (!mnl_nlmsg_batch_next(b->mnl))
		b->bad = true;
}

static void put_table(struct batch *b, const char *name, uint16_t type, uint16_t flags)
{
	struct nftnl_table *t = nftnl_table_alloc();
	if (!t) {
		b->bad = true;
		return;
	}
	nftnl_table_set_u32(t, NFTNL_TABLE_FAMILY, NFPROTO_INET);
	if (nftnl_table_set_str(t, NFTNL_TABLE_NAME, name) < 0)
		b->bad = true;
	nftnl_table_nlmsg_build_payload(start_message(b, type, flags), t);
	end_message(b);
	nftnl_table_free(t);
}

static void put_chain(struct batch *b, const char *table, const struct nft_chain *chain)
{
	struct nftnl_chain *c = nftnl_chain_alloc();
	if (!c) {
		b->bad = true;
		return;
	}
	nftnl_chain_set_u32(c, NFTNL_CHAIN_FAMILY, NFPROTO_INET);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, chain->hook);
	nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, chain->priority);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
	if (nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, table) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain->name) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, chain->type) < 0)
		b->bad = true;
	nftnl_chain_nlmsg_build_payload(start_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE), c);
	end_message(b);
	nftnl_chain_free(c);
}

static void put_rule(struct batch *b, const char *table, const struct nft_rule *rule)
{
	struct nftnl_rule *r = nftnl_rule_alloc();
	if (!r) {
		b->bad = true;
		return;
	}
	nftnl_rule_set_u32(r, NFTNL_RULE_FAMILY, NFPROTO_INET);
	bool ok = nftnl_rule_set_str(r, NFTNL_RULE_TABLE, table) == 0 &&
		  nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, rule->chain) == 0;
	for (size_t i = 0; i < NFT_MATCHES_MAX; i++)
		ok = ok && add_match(r, &rule->match[i]);
	if (!ok || !add_verdict(r, rule))
		b->bad = true;
	nftnl_rule_nlmsg_build_payload(
		start_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND), r);
	end_message(b);
	nftnl_rule_free(r);
}

static struct mnl_socket *open_socket(void)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	struct timeval wait = {.tv_sec = REPLY_WAIT_SECONDS};
	if (!s)
		return NULL;
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0) {
		int e = errno;
		mnl_socket_close(s);
		errno = e;
		return NULL;
	}
	return s;
}

static bool batch_begin(struct batch *b)
{
	memset(b, 0, sizeof(*b));
	b->buf = malloc(BATCH_BYTES * 2); /* libmnl wants room for one message beyond the limit */
	b->mnl = b->buf ? mnl_nlmsg_batch_start(b->buf, BATCH_BYTES) : NULL;
	if (!b->mnl) {
		free(b->buf);
		return false;
	}
	b->first = b->seq = (uint32_t)time(NULL);
	nftnl_batch_begin(mnl_nlmsg_batch_current(b->mnl), b->seq++);
	end_message(b);
	return true;
}

/* Read answers until each message had its own. An error to the batch's begin stands for all. */
static int read_answers(struct mnl_socket *s, const struct batch *b)
{
	char buf[REPLY_BYTES];
	int first = 0;
	for (unsigned seen = 0; seen < b->acks;) {
		ssize_t n = mnl_socket_recvfrom(s, buf, sizeof(buf));
		if (n < 0)
			return first ? first : -errno;
		int left = (int)n;
		for (const struct nlmsghdr *h = (const void *)buf; mnl_nlmsg_ok(h, left);
		     h = mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
			if (e->error != 0 && first == 0)
				first = e->error;
			if (h->nlmsg_seq == b->first && e->error != 0)
				return first;
			seen++;
		}
	}
	return first;
}

/* Send it all at once; the kernel takes all or nothing. Frees b. */
static int batch_commit(struct batch *b)
{
	nftnl_batch_end(mnl_nlmsg_batch_current(b->mnl), b->seq++);
	end_message(b);
	int rc = b->bad ? -ENOMEM : 0;
	struct mnl_socket *s = rc == 0 ? open_socket() : NULL;
	if (rc == 0 && !s)
		rc = -errno;
	if (rc == 0 &&
	    mnl_socket_sendto(s, mnl_nlmsg_batch_head(b->mnl), mnl_nlmsg_batch_size(b->mnl)) < 0)
		rc = -errno;
	if (rc == 0)
		rc = read_answers(s, b);
	if (s)
		mnl_socket_close(s);
	mnl_nlmsg_batch_stop(b->mnl);
	free(b->buf);
	return rc;
}

static int count_message(const struct nlmsghdr *h, void *arg)
{
	if (NFNL_MSG_TYPE(h->nlmsg_type) == NFT_MSG_NEWRULE ||
	    NFNL_MSG_TYPE(h->nlmsg_type) == NFT_MSG_NEWTABLE)
		(*(size_t *)arg)++;
	return MNL_CB_OK;
}

/* Send the request in buf and count what comes back until its end. */
static int ask(char *buf, struct nlmsghdr *h, size_t *ret_n)
{
	size_t n = 0;
	uint32_t seq = h->nlmsg_seq;
	struct mnl_socket *s = open_socket();
	if (!s)
		return -errno;
	int rc = mnl_socket_sendto(s, h, h->nlmsg_len) < 0 ? -1 : 1;
	unsigned port = mnl_socket_get_portid(s);
	while (rc > 0) {
		ssize_t got = mnl_socket_recvfrom(s, buf, REPLY_BYTES);
		rc = got <= 0 ? -1 : mnl_cb_run(buf, (size_t)got, seq, port, count_message, &n);
	}
	rc = rc < 0 ? -errno : 0;
	mnl_socket_close(s);
	if (rc == 0)
		*ret_n = n;
	return rc;
}

static int count_rules(const char *table, size_t *ret_n)
{
	char buf[REPLY_BYTES];
	struct nftnl_rule *r = nftnl_rule_alloc();
	if (!r)
		return -ENOMEM;
	struct nlmsghdr *h =
		nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETRULE, NFPROTO_INET, NLM_F_DUMP, 1);
	int rc = nftnl_rule_set_str(r, NFTNL_RULE_TABLE, table) < 0 ? -ENOMEM : 0;
	if (rc == 0) {
		nftnl_rule_nlmsg_build_payload(h, r);
		rc = ask(buf, h, ret_n);
	}
	nftnl_rule_free(r);
	return rc;
}

int nft_table_exists(const char *name)
{
	char buf[REPLY_BYTES];
	size_t n = 0;
	struct nftnl_table *t = nftnl_table_alloc();
	if (!t)
		return -ENOMEM;
	struct nlmsghdr *h =
		nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETTABLE, NFPROTO_INET, NLM_F_ACK, 1);
	int rc = nftnl_table_set_str(t, NFTNL_TABLE_NAME, name) < 0 ? -ENOMEM : 0;
	if (rc == 0) {
		nftnl_table_nlmsg_build_payload(h, t);
		rc = ask(buf, h, &n);
	}
	nftnl_table_free(t);
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : n > 0;
}

int nft_table_remove(const char *name)
{
	struct batch b;
	if (!batch_begin(&b))
		return -ENOMEM;
	put_table(&b, name, NFT_MSG_DELTABLE, 0);
	int rc = batch_commit(&b);
	return rc == -ENOENT ? 0 : rc;
}

/* Is it one that some kernels cannot have, and that nothing else stands on? */
static bool may_lack(const struct nft_rule *rule)
{
	bool lacks = rule->verdict == DO_NOTRACK;
	for (size_t i = 0; i < NFT_MATCHES_MAX; i++)
		lacks |= rule->match[i].kind == MATCH_DST_HERE;
	return lacks;
}

static int make(const struct nft_table *t, bool replace, bool has_all)
{
	struct batch b;
	size_t want = 0;
	if (!batch_begin(&b))
		return -ENOMEM;
	if (replace) { /* add, then delete: works whether it is there or not */
		put_table(&b, t->name, NFT_MSG_NEWTABLE, NLM_F_CREATE);
		put_table(&b, t->name, NFT_MSG_DELTABLE, 0);
	}
	put_table(&b, t->name, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
	for (size_t i = 0; i < t->nchains; i++)
		put_chain(&b, t->name, &t->chains[i]);
	for (size_t i = 0; i < t->nrules; i++) {
		if (!has_all && may_lack(&t->rules[i]))
			continue;
		put_rule(&b, t->name, &t->rules[i]);
		want++;
	}
	int rc = batch_commit(&b);
	size_t n = 0;
	if (rc == 0)
		rc = count_rules(t->name, &n);
	if (rc == 0 && n != want)
		rc = -EIO;
	return rc;
}

static bool any_may_lack(const struct nft_table *t)
{
	for (size_t i = 0; i < t->nrules; i++)
		if (may_lack(&t->rules[i]))
			return true;
	return false;
}

int nft_table_make(const struct nft_table *t, bool replace)
{
	int rc = make(t, replace, true);
	if ((rc == -ENOENT || rc == -EOPNOTSUPP) &&
	    any_may_lack(t)) /* there is no such expression */
		rc = make(t, replace, false);
	return rc;
}
