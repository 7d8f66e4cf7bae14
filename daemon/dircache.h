/* daemon/dircache.h - the directory on disk: STATE/consensus and STATE/descriptors, each written
 * whole or not at all. */
#pragma once
#include "directory/directory.h"

/* The directory that is cached, its times not judged: DIR_OK with *ret, the caller's; DIR_CUT when
 * there is none or a file of it is cut; another reason. *ret_any says whether there is a file. */
enum dir_result dircache_read(const char *state, const struct netconf *net, struct directory **ret,
			      bool *ret_any) __attribute__((warn_unused_result));
/* 0 or -errno with a sentence in err[KEYFILE_ERROR_BYTES]; each file is then the old or the new. */
int dircache_write(const char *state, const struct directory *d, char *err)
	__attribute__((warn_unused_result));
