#ifndef HF_LOCK_H
#define HF_LOCK_H
#include <stdint.h>

/// An open-file-description lock on the whole file, without waiting; -EAGAIN when somebody else holds it.
long hf_lock(int descriptor, int exclusive);
/// Waits until nobody else holds a lock, then locks exclusively.
long hf_lock_wait(int descriptor);
long hf_unlock(int descriptor);
/// 1 when somebody else holds a lock that stands against this one, else 0.
long hf_lock_test(int descriptor, int exclusive);
/// Locks a range of bytes against writing (1) or unlocks it (0), for the open file description and without waiting; -EAGAIN
/// when somebody has locked it for writing.
long hf_lock_range(int descriptor, int64_t start, int64_t length, int shared);
/// How somebody else has locked a part of a range: 0 not at all, 1 for reading, 2 for writing, 3 for
/// reading by a lock of the open file and not of a process. With `writing` 0 only locks
/// for writing count.
long hf_lock_range_test(int descriptor, int64_t start, int64_t length, int writing);
#endif
