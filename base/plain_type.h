/* base/plain_type.h - the first byte of a plain (PROTOCOL.md section 6): read by the onion layer and by tun/. */
#pragma once

enum plain_type {
	PLAIN_DUMMY,       /* nothing; padding for its own sake */
	PLAIN_CONTROL,     /* a session message (onion/session_msg.h) */
	PLAIN_PACKET,      /* an IP packet, its own length field ends it */
	PLAIN_PACKET_OPEN, /* an unfragmented TCP or UDP packet whose checksum field is 0 */
};
