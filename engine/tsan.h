/* engine/tsan.h - tells ThreadSanitizer what liburcu (which it cannot see into) orders: a reader's
 * quiescent state comes before the reclaim of what it read, and so does what the retiring thread
 * wrote. Empty in every other build. */
#pragma once

#if defined(__SANITIZE_THREAD__)
#define TSAN_RCU 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN_RCU 1
#endif
#endif

#ifdef TSAN_RCU
extern char tsan_rcu_tag;
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
static inline void tsan_release_rcu(void)
{
	__tsan_release(&tsan_rcu_tag);
}
static inline void tsan_acquire_rcu(void)
{
	__tsan_acquire(&tsan_rcu_tag);
}
#else
static inline void tsan_release_rcu(void)
{
}
static inline void tsan_acquire_rcu(void)
{
}
#endif
