#ifndef HF_OPEN_H
#define HF_OPEN_H
#include <stdint.h>

extern const int HF_O_RDONLY, HF_O_WRONLY, HF_O_RDWR, HF_O_CREAT, HF_O_EXCL, HF_O_TRUNC, HF_O_APPEND, HF_O_NONBLOCK;
extern const int HF_O_NOCTTY, HF_O_NOFOLLOW, HF_O_DIRECTORY, HF_O_CLOEXEC, HF_O_NOATIME, HF_O_PATH, HF_O_TMPFILE;
extern const int HF_O_DIRECT, HF_O_SYNC;
extern const int HF_AT_FDCWD;
extern const uint64_t HF_RESOLVE_BENEATH, HF_RESOLVE_NO_SYMLINKS, HF_RESOLVE_NO_MAGICLINKS, HF_RESOLVE_NO_XDEV;

long hf_openat(int directory, const char *_Nonnull name, int flags, unsigned mode);
/// openat2(2); -ENOSYS where the kernel lacks it.
long hf_openat2(int directory, const char *_Nonnull path, int flags, unsigned mode, uint64_t resolve);
/// close(2), which is never repeated: after EINTR the descriptor is gone all the same.
long hf_close(int descriptor);
/// A copy of a descriptor that is closed on exec.
long hf_duplicate(int descriptor);
long hf_pipe(int *_Nonnull ends);
#endif
