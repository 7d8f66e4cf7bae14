/* routing/dns_undo.h - private to routing/: what steps.c needs of dns.c. */
#pragma once
#include "routing/journal.h"

#define DNS_KIND "resolv"

/* Restore the file of the entry while it is still ours. As journal_undo_fn. */
int dns_undo(const struct journal_entry *e, char *err);
