/* daemon/dircache.c - see dircache.h. */
#include "daemon/dircache.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "crypto/keyfile.h"

static void cache_path(const char *state, const char *name, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s", state, name);
}

/* All of a regular file of 1 to `most` bytes; NULL else. */
static uint8_t *read_whole(const char *path, size_t most, size_t *ret_n)
{
	struct stat st;
	uint8_t *p = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0 && (size_t)st.st_size <= most)
		p = malloc((size_t)st.st_size);
	if (p && read(fd, p, (size_t)st.st_size) != (ssize_t)st.st_size) {
		free(p);
		p = NULL;
	}
	close(fd);
	if (p)
		*ret_n = (size_t)st.st_size;
	return p;
}

static enum dir_result join(const char *state, const struct netconf *net, struct consensus *c,
			    struct directory **ret)
{
	char path[PATH_MAX];
	size_t n = 0;
	uint8_t *p;
	enum dir_result r;

	cache_path(state, "descriptors", path);
	p = read_whole(path, directory_descriptors_max(c), &n);
	if (!p && c->nrelays)
		return DIR_CUT;
	r = directory_new(c, &net->params, p, n, NULL, ret);
	free(p);
	return r;
}

enum dir_result dircache_read(const char *state, const struct netconf *net, struct directory **ret,
			      bool *ret_any)
{
	char path[PATH_MAX];
	struct consensus *c = NULL;
	size_t n = 0;
	uint8_t *p;
	enum dir_result r;

	cache_path(state, "consensus", path);
	*ret_any = access(path, F_OK) == 0;
	p = read_whole(path, CONSENSUS_MAX_BYTES, &n);
	if (!p)
		return DIR_CUT;
	r = consensus_accept(net, NULL, CONSENSUS_NO_CLOCK, p, n, &c);
	free(p);
	if (r != DIR_OK)
		return r;
	r = join(state, net, c, ret);
	if (r != DIR_OK)
		consensus_free(c);
	return r;
}

int dircache_write(const char *state, const struct directory *d, char *err)
{
	char path[PATH_MAX];
	int r;

	/* Descriptors first: what a crash leaves in between is the older consensus, which may miss
	 * some of them and is then fetched anew. */
	cache_path(state, "descriptors", path);
	r = file_write_atomic(path, d->blob, d->nblob, 0644, err);
	if (r)
		return r;
	cache_path(state, "consensus", path);
	return file_write_atomic(path, d->consensus->bytes, d->consensus->nbytes, 0644, err);
}
