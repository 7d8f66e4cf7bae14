/* authority/store.c - state on disk, written whole or not at all, and the consensus that is served.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "authority/authority.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/keyfile.h"

#define SIGNED_MAGIC "SPA1"
#define SIGNED_BYTES (4 + 8 + 32)

/* All of a file of at most `max` bytes. NULL with *ret_e 0 when it is not there. */
static uint8_t *read_file(const char *path, size_t max, size_t *ret_n, int *ret_e)
{
	FILE *f = fopen(path, "re");
	*ret_e = f || errno == ENOENT ? 0 : -errno;
	if (!f)
		return NULL;
	struct stat st;
	uint8_t *p = NULL;
	if (fstat(fileno(f), &st) < 0)
		*ret_e = -errno;
	else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max)
		*ret_e = -EFBIG;
	else if (!(p = malloc((size_t)st.st_size + 1)))
		*ret_e = -ENOMEM;
	if (p && fread(p, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
		*ret_e = -EIO;
		free(p);
		p = NULL;
	}
	*ret_n = p ? (size_t)st.st_size : 0;
	fclose(f);
	return p;
}

static void write_file(struct authority *a, const char *name, const void *p, size_t n)
{
	char path[AUTHORITY_FILE_BYTES], err[KEYFILE_ERROR_BYTES];
	if (file_write_atomic(authority_file(&a->config, name, path), p, n, 0644, err))
		log_error("%s; it is still served from memory", err);
}

/* Serve d from now on; the old one goes. */
static int swap(struct authority *a, struct directory *d)
{
	struct http_body *c = http_body_new(d->consensus->bytes, d->consensus->nbytes);
	struct http_body *all = http_body_new(d->blob, d->nblob);
	if (!c || !all) {
		http_body_unref(c);
		http_body_unref(all);
		return -ENOMEM;
	}
	directory_free(a->current);
	http_body_unref(a->consensus_body);
	http_body_unref(a->descriptors_body);
	a->current = d;
	a->consensus_body = c;
	a->descriptors_body = all;
	return 0;
}

/* Join c with all descriptors at hand and serve it. Takes c over. */
static enum dir_result join(struct authority *a, struct consensus *c, const uint8_t *more,
			    size_t nmore)
{
	uint8_t *blob;
	size_t n;
	struct directory *d;
	if (relays_write(&a->relays, &blob, &n)) {
		consensus_free(c);
		return DIR_NO_MEMORY;
	}
	uint8_t *both = realloc(blob, n + nmore + 1);
	if (!both) {
		free(blob);
		consensus_free(c);
		return DIR_NO_MEMORY;
	}
	if (nmore)
		memcpy(both + n, more, nmore);
	enum dir_result result = directory_new(c, &a->net.params, both, n + nmore, a->current, &d);
	free(both);
	if (result != DIR_OK) {
		consensus_free(c);
		return result;
	}
	if (swap(a, d)) {
		directory_free(d);
		return DIR_NO_MEMORY;
	}
	return DIR_OK;
}

enum dir_result store_take_consensus(struct authority *a, const uint8_t *p, size_t n)
{
	struct consensus *c;
	enum dir_result result = consensus_accept(
		&a->net, a->current ? a->current->consensus : NULL, clock_unix_seconds(), p, n, &c);
	if (result == DIR_OK)
		result = join(a, c, NULL, 0);
	if (result != DIR_OK)
		return result;
	write_file(a, FILE_CONSENSUS, p, n);
	log_info("consensus %llu: %u relays, %u signatures, %zu descriptors missing",
		 (unsigned long long)a->current->consensus->serial,
		 (unsigned)a->current->consensus->nrelays, a->current->consensus->nsignatures,
		 a->current->missing);
	return DIR_OK;
}

void store_resigned(struct authority *a, const uint8_t *p, size_t n)
{
	struct http_body *body = http_body_new(p, n);
	if (!body)
		return;
	http_body_unref(a->consensus_body);
	a->consensus_body = body;
	write_file(a, FILE_CONSENSUS, p, n);
}

void store_take_descriptors(struct authority *a, const uint8_t *p, size_t n)
{
	struct consensus *c;
	if (!a->current || !a->current->missing)
		return;
	size_t before = a->current->missing;
	const struct consensus *have = a->current->consensus;
	if (consensus_parse(have->bytes, have->nbytes, &c) != DIR_OK ||
	    join(a, c, p, n) != DIR_OK) /* the old one stays */
		return;
	if (a->current->missing < before)
		log_info("%zu descriptors came from another authority",
			 before - a->current->missing);
}

void store_save_descriptors(struct authority *a)
{
	uint8_t *p;
	size_t n;
	if (relays_write(&a->relays, &p, &n)) {
		log_error("there is no memory to save the descriptors; they are kept in memory");
		return;
	}
	write_file(a, FILE_DESCRIPTORS, p, n);
	free(p);
}

int store_may_sign(struct authority *a, uint64_t serial, const uint8_t hash[32])
{
	char path[AUTHORITY_FILE_BYTES], err[KEYFILE_ERROR_BYTES];
	uint8_t bytes[SIGNED_BYTES];
	bool same = serial == a->signed_serial && !memcmp(hash, a->signed_hash, 32);
	if (serial < a->signed_serial || (serial == a->signed_serial && !same))
		return -EPERM;
	if (same)
		return 0;
	struct writer w;
	writer_init(&w, bytes, sizeof(bytes));
	writer_put(&w, SIGNED_MAGIC, 4);
	writer_u64(&w, serial);
	writer_put(&w, hash, 32);
	int e = file_write_atomic(authority_file(&a->config, FILE_SIGNED, path), bytes,
				  sizeof(bytes), 0600, err);
	if (e) {
		log_error("%s; nothing is signed until it can be remembered there", err);
		return e;
	}
	a->signed_serial = serial;
	memcpy(a->signed_hash, hash, 32);
	return 0;
}

/* What was signed must be known, or two bodies could get one serial. */
static int load_signed(struct authority *a, char *err)
{
	char path[AUTHORITY_FILE_BYTES];
	size_t n;
	int e;
	uint8_t *p = read_file(authority_file(&a->config, FILE_SIGNED, path), SIGNED_BYTES, &n, &e);
	if (!p && !e)
		return 0;
	if (e || n != SIGNED_BYTES || memcmp(p, SIGNED_MAGIC, 4)) {
		snprintf(err, CONFIG_ERROR_BYTES,
			 "%.300s cannot be read (%s): it says what was signed last; restore it, or "
			 "remove it and wait one consensus-interval before the next start",
			 path, e ? strerror(-e) : "not its format");
		free(p);
		return -EINVAL;
	}
	a->signed_serial = load_be64(p + 4);
	memcpy(a->signed_hash, p + 12, 32);
	free(p);
	return 0;
}

static void load_descriptors(struct authority *a)
{
	char path[AUTHORITY_FILE_BYTES];
	size_t n, taken = 0;
	int e;
	uint8_t *p = read_file(authority_file(&a->config, FILE_DESCRIPTORS, path),
			       a->config.max_relays * DESCRIPTORS_KEPT * (2 + DESCRIPTOR_MAX_BYTES),
			       &n, &e);
	struct reader r;
	reader_init(&r, p, n);
	while (p && r.left && !r.bad) {
		size_t len = reader_u16(&r);
		const uint8_t *d = reader_take(&r, len);
		if (d)
			taken += relays_take(&a->relays, d, len, clock_unix_seconds(), NULL) ==
				 TAKE_NEW;
	}
	if (e || (p && r.bad))
		log_warn("%s is damaged; the relays will post their descriptors again", path);
	if (taken)
		log_info("%zu descriptors were kept from before", taken);
	free(p);
}

static void load_consensus(struct authority *a)
{
	char path[AUTHORITY_FILE_BYTES];
	size_t n;
	int e;
	struct consensus *c;
	uint8_t *p = read_file(authority_file(&a->config, FILE_CONSENSUS, path),
			       CONSENSUS_MAX_BYTES, &n, &e);
	if (!p && !e)
		return;
	enum dir_result result =
		p ? consensus_accept(&a->net, NULL, CONSENSUS_NO_CLOCK, p, n, &c) : DIR_CUT;
	if (result == DIR_OK)
		result = join(a, c, NULL, 0);
	if (result != DIR_OK)
		log_warn("%s is not used: %s", path, dir_result_text(result));
	free(p);
}

int store_open(struct authority *a, char *err)
{
	int e = load_signed(a, err);
	if (e)
		return e;
	load_descriptors(a);
	load_consensus(a);
	return 0;
}

void store_close(struct authority *a)
{
	directory_free(a->current);
	http_body_unref(a->consensus_body);
	http_body_unref(a->descriptors_body);
	a->current = NULL;
	a->consensus_body = a->descriptors_body = NULL;
}
