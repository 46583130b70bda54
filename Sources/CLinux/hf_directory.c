#include "hf_directory.h"
#include "result.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

const unsigned HF_RENAME_NOREPLACE = RENAME_NOREPLACE, HF_RENAME_EXCHANGE = RENAME_EXCHANGE;

long hf_getdents64(int directory, void *buffer, size_t size) {
    return result(syscall(SYS_getdents64, directory, buffer, size));
}

long hf_mkdirat(int directory, const char *name, unsigned mode) { return result(mkdirat(directory, name, mode)); }
long hf_unlinkat(int directory, const char *name) { return result(unlinkat(directory, name, 0)); }
long hf_rmdirat(int directory, const char *name) { return result(unlinkat(directory, name, AT_REMOVEDIR)); }

long hf_renameat2(int from, const char *name, int to, const char *new_name, unsigned flags) {
    return result(flags == 0 ? renameat(from, name, to, new_name) : renameat2(from, name, to, new_name, flags));
}

long hf_symlinkat(const char *target, int directory, const char *name) {
    return result(symlinkat(target, directory, name));
}

long hf_readlinkat(int directory, const char *name, char *buffer, size_t size) {
    return result(readlinkat(directory, name, buffer, size));
}

long hf_linkat(int from, const char *name, int to, const char *new_name) {
    return result(linkat(from, name, to, new_name, 0));
}

long hf_link_descriptor(int descriptor, int to, const char *new_name) {
    // AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH on older kernels (it answers ENOENT without); /proc does not.
    if (linkat(descriptor, "", to, new_name, AT_EMPTY_PATH) == 0) return 0;
    if (errno != ENOENT && errno != EPERM) return -(long)errno;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    return result(linkat(AT_FDCWD, path, to, new_name, AT_SYMLINK_FOLLOW));
}

long hf_mknodat(int directory, const char *name, unsigned mode, uint64_t device) {
    dev_t number = makedev((unsigned)(device >> 32), (unsigned)(device & 0xFFFFFFFFu));
    return result(mknodat(directory, name, mode, number));
}
