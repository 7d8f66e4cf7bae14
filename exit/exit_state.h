/* exit/exit_state.h - private to exit.c and exit_host.c. */
#pragma once
#include "exit/accounts.h"
#include "exit/closed.h"
#include "exit/exit.h"
#include "exit/inner.h"
#include "exit/leases.h"
#include "onion/session_exit.h"

struct host;
struct tun;

struct exit {
	struct exit_settings settings;
	uint8_t id[32];
	struct policy policy; /* effective */
	struct accounts *accounts;
	struct leases *leases;
	struct inner inner;
	struct closed closed;
	struct host *host;
	struct tun *tun;
	/* Between exit_start and exit_stop: */
	struct engine *engine;
	struct circuits *circuits;
	struct exit_sessions *sessions;
	const uint8_t
		*judged; /* whose AUTH is being answered: judge and lease are asked in one go */
	uint8_t judged_key[32];
	uint64_t bytes_up, bytes_down; /* of sessions that ended */
	nsec_t next_check, next_addresses, next_complaint;
};
