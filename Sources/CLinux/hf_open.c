#include "hf_open.h"
#include "result.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

const int HF_O_RDONLY = O_RDONLY, HF_O_WRONLY = O_WRONLY, HF_O_RDWR = O_RDWR, HF_O_CREAT = O_CREAT;
const int HF_O_EXCL = O_EXCL, HF_O_TRUNC = O_TRUNC, HF_O_APPEND = O_APPEND, HF_O_NONBLOCK = O_NONBLOCK;
const int HF_O_NOCTTY = O_NOCTTY, HF_O_NOFOLLOW = O_NOFOLLOW, HF_O_DIRECTORY = O_DIRECTORY;
const int HF_O_CLOEXEC = O_CLOEXEC, HF_O_NOATIME = O_NOATIME, HF_O_PATH = O_PATH, HF_O_TMPFILE = O_TMPFILE;
const int HF_O_DIRECT = O_DIRECT, HF_O_SYNC = O_SYNC;
const int HF_AT_FDCWD = AT_FDCWD;
const uint64_t HF_RESOLVE_BENEATH = RESOLVE_BENEATH, HF_RESOLVE_NO_SYMLINKS = RESOLVE_NO_SYMLINKS;
const uint64_t HF_RESOLVE_NO_MAGICLINKS = RESOLVE_NO_MAGICLINKS, HF_RESOLVE_NO_XDEV = RESOLVE_NO_XDEV;

long hf_openat(int directory, const char *name, int flags, unsigned mode) {
    return result(openat(directory, name, flags, mode));
}

long hf_openat2(int directory, const char *path, int flags, unsigned mode, uint64_t resolve) {
    // Unlike openat, openat2 refuses a mode where nothing is created.
    int creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    struct open_how how = {.flags = (uint64_t)(unsigned)flags, .mode = creates ? mode : 0, .resolve = resolve};
    return result(syscall(SYS_openat2, directory, path, &how, sizeof how));
}

long hf_close(int descriptor) { return result(close(descriptor)); }
long hf_duplicate(int descriptor) { return result(fcntl(descriptor, F_DUPFD_CLOEXEC, 3)); }
long hf_pipe(int *ends) { return result(pipe2(ends, O_CLOEXEC)); }
