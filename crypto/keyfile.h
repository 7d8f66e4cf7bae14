/* crypto/keyfile.h - secrets on disk: 0600 files in 0700 folders, written whole or not at all. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define KEYFILE_ERROR_BYTES 256

/* Read exactly n bytes. Refused with a sentence in err[KEYFILE_ERROR_BYTES] that names the file and the mend when
 * the file or its folder is open to group or others (-EACCES), belongs to another user, is no regular file, has
 * another length (-EINVAL), is not there (-ENOENT). */
int keyfile_read(const char *path, void *to, size_t n, char *err) __attribute__((warn_unused_result));
/* As keyfile_read for up to max bytes; *ret_n says how many. */
int keyfile_read_some(const char *path, void *to, size_t max, size_t *ret_n, char *err)
	__attribute__((warn_unused_result));
/* Write n bytes: a temporary file 0600 in the same folder, fsync, rename, fsync of the folder. Makes the folder
 * (0700) when its parent exists. After a failure the old file stands, and no
 * temporary is left; only when the fsync of the folder fails may the new one stand. Writers in one folder wait for each
 * other; what a killed one left is taken away by the next. */
int keyfile_write(const char *path, const void *from, size_t n, char *err) __attribute__((warn_unused_result));
/* Overwrite with zeroes, fsync, unlink. 0 also when it was not there. Refused as keyfile_read, loose modes aside. */
int keyfile_erase(const char *path, char *err) __attribute__((warn_unused_result));
/* The same atomic write for files that are no secrets (mode, for example 0644, whatever the umask). The folder must be
 * there, and is not judged. */
int file_write_atomic(const char *path, const void *from, size_t n, unsigned mode, char *err)
	__attribute__((warn_unused_result));
