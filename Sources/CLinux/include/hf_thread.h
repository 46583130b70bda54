#ifndef HF_THREAD_H
#define HF_THREAD_H
#include <stddef.h>
#include <stdint.h>

/// Starts a joinable thread with a stack of at least `stack` bytes; stores its handle.
/// All signals are blocked in it, so that handlers run on threads that expect them.
long hf_thread_start(uintptr_t *_Nonnull handle, size_t stack, const char *_Nonnull name,
                     void (*_Nonnull body)(void *_Nonnull), void *_Nonnull context);
long hf_thread_join(uintptr_t handle);
/// Nobody will join it: its stack goes when it ends.
void hf_thread_detach(uintptr_t handle);

/// A mutex with two conditions, for the queue.
struct hf_gate;
struct hf_gate *_Nonnull hf_gate_make(void);
void hf_gate_free(struct hf_gate *_Nonnull gate);
void hf_gate_lock(struct hf_gate *_Nonnull gate);
void hf_gate_unlock(struct hf_gate *_Nonnull gate);
/// `which` is 0 or 1. Waits by the monotonic clock; `nanoseconds` < 0 waits for ever. 1 when woken, 0 when time is up.
int hf_gate_wait(struct hf_gate *_Nonnull gate, int which, int64_t nanoseconds);
void hf_gate_signal(struct hf_gate *_Nonnull gate, int which);
void hf_gate_broadcast(struct hf_gate *_Nonnull gate, int which);
#endif
