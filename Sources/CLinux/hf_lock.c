#include "hf_lock.h"
#include "result.h"
#include <fcntl.h>

static long apply(int descriptor, int command, short type, struct flock *lock) {
    *lock = (struct flock){.l_type = type, .l_whence = SEEK_SET};
    return result(fcntl(descriptor, command, lock));
}

long hf_lock(int descriptor, int exclusive) {
    struct flock lock;
    long outcome = apply(descriptor, F_OFD_SETLK, exclusive ? F_WRLCK : F_RDLCK, &lock);
    return outcome == -EACCES ? -EAGAIN : outcome;
}

long hf_lock_wait(int descriptor) {
    struct flock lock;
    return apply(descriptor, F_OFD_SETLKW, F_WRLCK, &lock);
}

long hf_unlock(int descriptor) {
    struct flock lock;
    return apply(descriptor, F_OFD_SETLK, F_UNLCK, &lock);
}

long hf_lock_test(int descriptor, int exclusive) {
    struct flock lock;
    long outcome = apply(descriptor, F_OFD_GETLK, exclusive ? F_WRLCK : F_RDLCK, &lock);
    return outcome < 0 ? outcome : lock.l_type != F_UNLCK;
}

long hf_lock_range(int descriptor, int64_t start, int64_t length, int shared) {
    struct flock lock = {
        .l_type = shared ? F_RDLCK : F_UNLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    long outcome = result(fcntl(descriptor, F_OFD_SETLK, &lock));
    return outcome == -EACCES ? -EAGAIN : outcome;
}

long hf_lock_range_test(int descriptor, int64_t start, int64_t length, int writing) {
    struct flock lock = {
        .l_type = writing ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    long outcome = result(fcntl(descriptor, F_OFD_GETLK, &lock));
    if (outcome < 0) return outcome;
    if (lock.l_type == F_UNLCK) return 0;
    if (lock.l_type == F_WRLCK) return 2;
    // Locks of an open file are nobody's: they have this number.
    return lock.l_pid == -1 ? 3 : 1;
}
