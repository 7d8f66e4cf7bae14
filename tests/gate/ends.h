/* tests/gate/ends.h - the two ends' own code: client/inner.c and exit/inner.c, which have a struct
 * inner each and so cannot be told about in one file. */
#pragma once
#include "base/random.h"
#include "engine/engine.h"
#include "onion/session_exit.h"

/* An exit with its usual policy that lends one lease. rng must outlive it. */
void exit_end_init(const struct rng *rng);
void exit_end_done(void);
struct engine_inner_ops exit_end_ops(void);
struct session_data *exit_end_session(void);

void client_end_init(void);
void client_end_done(void);
struct engine_inner_ops client_end_ops(void);
/* What it needs to send and receive: a path, and the lease that the exit lent. */
void client_end_join(const struct onion_env *env, struct path_data *p,
		     const struct session_data *lease);
