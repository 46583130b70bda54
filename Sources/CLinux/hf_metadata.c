#include "hf_metadata.h"
#include "result.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

long hf_fchownat(int directory, const char *name, uint32_t uid, uint32_t gid) {
    int flags = name[0] == 0 ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW;
    return result(fchownat(directory, name, uid, gid, flags));
}

long hf_fchown(int descriptor, uint32_t uid, uint32_t gid) { return result(fchown(descriptor, uid, gid)); }

long hf_fchmodat(int directory, const char *name, unsigned mode) {
    // The system call since Linux 6.6. The C library does the same through an O_PATH descriptor and /proc.
    long outcome = result(syscall(SYS_fchmodat2, directory, name, mode, AT_SYMLINK_NOFOLLOW));
    if (outcome != -ENOSYS && outcome != -EPERM) return outcome;
    return result(fchmodat(directory, name, mode, AT_SYMLINK_NOFOLLOW));
}

long hf_fchmod(int descriptor, unsigned mode) { return result(fchmod(descriptor, mode)); }

static struct timespec moment(int64_t seconds, uint32_t nanoseconds) {
    struct timespec t = {.tv_sec = seconds, .tv_nsec = nanoseconds == UINT32_MAX ? UTIME_OMIT : (long)nanoseconds};
    return t;
}

long hf_utimensat(int directory, const char *name, int64_t atime_s, uint32_t atime_ns, int64_t mtime_s,
                  uint32_t mtime_ns) {
    struct timespec times[2] = {moment(atime_s, atime_ns), moment(mtime_s, mtime_ns)};
    if (name[0] == 0) {
        long outcome = result(syscall(SYS_utimensat, directory, NULL, times, 0));
        // O_PATH descriptors need AT_EMPTY_PATH, which older kernels lack here.
        return outcome == -EBADF ? result(syscall(SYS_utimensat, directory, "", times, AT_EMPTY_PATH)) : outcome;
    }
    return result(utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW));
}
