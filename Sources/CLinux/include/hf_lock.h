#ifndef HF_LOCK_H
#define HF_LOCK_H
/// An open-file-description lock on the whole file, without waiting; -EAGAIN when somebody else holds it.
long hf_lock(int descriptor, int exclusive);
/// Waits until nobody else holds a lock, then locks exclusively.
long hf_lock_wait(int descriptor);
long hf_unlock(int descriptor);
/// 1 when somebody else holds a lock that stands against this one, else 0.
long hf_lock_test(int descriptor, int exclusive);
#endif
