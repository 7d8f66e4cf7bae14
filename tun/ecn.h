/* tun/ecn.h - explicit congestion notification of inner packets (RFC 3168). Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tun/ip.h"

/* Mark the packet at p, of which v is the view: what says that it knows ECN (ECT(0), ECT(1)) gets CE, and an IPv4
 * header checksum that fits. True when it carries CE now; false, with nothing changed, when its flow does not know
 * ECN. */
bool ecn_mark(uint8_t *p, const struct ip_view *v);
