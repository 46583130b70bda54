#include "hf_attribute.h"
#include "result.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

// The same numbers on every architecture.
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#define SYS_removexattrat 466
#endif

/// struct xattr_args of <linux/xattr.h>, which older headers lack.
struct arguments {
    uint64_t value __attribute__((aligned(8)));
    uint32_t size, flags;
};

// 0 not known yet, 1 the system calls work, 2 they do not. A race costs one more probe.
static _Atomic int support;

void hf_xattr_use_proc(int always) { atomic_store(&support, always ? 2 : 0); }

static int direct(void) {
    int known = atomic_load_explicit(&support, memory_order_relaxed);
    if (known == 0) {
        // Filters of containers answer EPERM or ENOSYS for calls they do not know.
        long outcome = result(syscall(SYS_listxattrat, AT_FDCWD, "/", AT_SYMLINK_NOFOLLOW, NULL, (size_t)0));
        known = outcome == -ENOSYS || outcome == -EPERM ? 2 : 1;
        atomic_store_explicit(&support, known, memory_order_relaxed);
    }
    return known == 1;
}

/// /proc/self/fd/DIRECTORY/NAME, or /proc/self/fd/DIRECTORY for an empty name. 0 when it fits.
static int proc_path(char *path, size_t size, int directory, const char *name) {
    int length;
    if (directory == AT_FDCWD || name[0] == '/') {
        length = snprintf(path, size, "%s", name[0] == 0 ? "." : name);
    } else {
        length = snprintf(path, size, "/proc/self/fd/%d%s%s", directory, name[0] == 0 ? "" : "/", name);
    }
    return length < 0 || (size_t)length >= size;
}

#define PROC_PATH                                                                                                     \
    char path[4096];                                                                                                  \
    if (proc_path(path, sizeof path, directory, name)) return -ENAMETOOLONG;                                          \
    int itself = name[0] == 0

// The link in /proc leads to what the descriptor stands for, a symbolic link included: it is followed, once.

long hf_listxattr(int directory, const char *name, char *buffer, size_t size) {
    if (name[0] != 0 && direct()) {
        return result(syscall(SYS_listxattrat, directory, name, AT_SYMLINK_NOFOLLOW, buffer, size));
    }
    if (name[0] == 0) {
        long outcome = result(flistxattr(directory, buffer, size));
        if (outcome != -EBADF) return outcome;
    }
    PROC_PATH;
    return result(itself ? listxattr(path, buffer, size) : llistxattr(path, buffer, size));
}

long hf_getxattr(int directory, const char *name, const char *attribute, void *value, size_t size) {
    if (name[0] != 0 && direct()) {
        struct arguments a = {.value = (uintptr_t)value, .size = (uint32_t)size};
        return result(syscall(SYS_getxattrat, directory, name, AT_SYMLINK_NOFOLLOW, attribute, &a, sizeof a));
    }
    if (name[0] == 0) {
        long outcome = result(fgetxattr(directory, attribute, value, size));
        if (outcome != -EBADF) return outcome;
    }
    PROC_PATH;
    return result(itself ? getxattr(path, attribute, value, size) : lgetxattr(path, attribute, value, size));
}

long hf_setxattr(int directory, const char *name, const char *attribute, const void *value, size_t size) {
    if (name[0] != 0 && direct()) {
        struct arguments a = {.value = (uintptr_t)value, .size = (uint32_t)size};
        return result(syscall(SYS_setxattrat, directory, name, AT_SYMLINK_NOFOLLOW, attribute, &a, sizeof a));
    }
    if (name[0] == 0) {
        long outcome = result(fsetxattr(directory, attribute, value, size, 0));
        if (outcome != -EBADF) return outcome;
    }
    PROC_PATH;
    return result(itself ? setxattr(path, attribute, value, size, 0) : lsetxattr(path, attribute, value, size, 0));
}

long hf_removexattr(int directory, const char *name, const char *attribute) {
    if (name[0] != 0 && direct()) {
        return result(syscall(SYS_removexattrat, directory, name, AT_SYMLINK_NOFOLLOW, attribute));
    }
    if (name[0] == 0) {
        long outcome = result(fremovexattr(directory, attribute));
        if (outcome != -EBADF) return outcome;
    }
    PROC_PATH;
    return result(itself ? removexattr(path, attribute) : lremovexattr(path, attribute));
}
