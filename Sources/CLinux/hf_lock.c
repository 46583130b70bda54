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
