/* engine/fq.h - what came from the TUN waits here for its turn: flow queues, the next by deficit
 * round robin, each held short by controlled delay (RFC 8290). Pure; one thread's.
 *
 * A flow that sends little goes first, so that a ping or a key stroke does not wait behind a
 * download. All flows together hold at most so many frames and bytes: then the longest queue loses
 * its oldest frame.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/drop.h"
#include "engine/codel.h"
#include "tun/frame.h"

#define FQ_FLOWS 1024

struct fq;

/* Room for `frames` frames of at most `room` bytes each and `bytes` in all (allocated now, touched when
 * used). `seed` keeps others from choosing flows that share a queue. NULL without memory. */
struct fq *fq_new(size_t frames, size_t room, size_t bytes, uint64_t seed, struct drops *drops);
void fq_free(struct fq *q);
/* Where the next frame is to be read: `room` bytes. It is the same until fq_put(). */
uint8_t *fq_room(struct fq *q);
/* The frame f, whose bytes are in fq_room(), joins its flow's queue. */
void fq_put(struct fq *q, const struct tun_frame *f, nsec_t now);
/* Take the next frame; its bytes stay until the next call of fq_get(). False when none waits. What waited too long
 * loses its first packet (counted QUEUE_LATE), or says so by ECN where the flow knows it. */
bool fq_get(struct fq *q, nsec_t now, struct tun_frame *ret) __attribute__((warn_unused_result));
/* Frames that wait. */
size_t fq_count(const struct fq *q);
