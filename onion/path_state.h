/* onion/path_state.h - what path.c and path_reply.c share; nobody else includes it. */
#pragma once
#include <sys/queue.h>
#include "onion/path.h"

struct path {
	TAILQ_ENTRY(path) all;
	struct paths *paths;
	enum path_state state;
	struct path_hop hops[HOPS_MAX];
	unsigned nhops;
	uint32_t number;
	void *user;
	struct link *link;    /* held from path_build() to path_free() */
	uint32_t backward_id; /* ours */
	uint32_t forward_id;  /* the guard's; 0 before its reply */
	bool closed_afar;     /* no CIRCUIT_CLOSE needed */
	struct build_client build;
	uint8_t frame[FRAME_BUILD_BYTES];
	unsigned resends;
	nsec_t built_at; /* BUILD sent */
	nsec_t ready_at;
	nsec_t deadline;
	uint32_t lifetime_s; /* asked; then granted */
	uint16_t max_dgram;
	struct path_data *data;
	uint8_t h[32], resume[32];
};

TAILQ_HEAD(path_list, path);

struct paths {
	struct paths_config cfg;
	struct path_list all;
	uint32_t numbers;
};

/* path.c */
void path_drop(const struct paths *s, enum drop why);
void path_set_state(struct path *p, enum path_state to);
/* Close and tell on_gone, which may free p. */
void path_gone(struct path *p, int hop, enum build_status status, nsec_t now);
nsec_t path_lifetime_end(const struct path *p);

/* path_reply.c */
void path_on_reply(struct path *p, const uint8_t *data, nsec_t now);
void path_free_data(void *object); /* a struct path_data, after its grace period */
