#ifndef HF_ATTRIBUTE_H
#define HF_ATTRIBUTE_H
#include <stddef.h>

// Extended attributes of a name in a directory. Links are never followed, files are not opened. Since Linux 6.13 there
// are system calls for it; before, the same is had through /proc/self/fd/DIRECTORY/NAME.
// An empty name means the descriptor itself, which may be O_PATH.

long hf_listxattr(int directory, const char *_Nonnull name, char *_Nullable buffer, size_t size);
long hf_getxattr(int directory, const char *_Nonnull name, const char *_Nonnull attribute, void *_Nullable value,
                 size_t size);
long hf_setxattr(int directory, const char *_Nonnull name, const char *_Nonnull attribute,
                 const void *_Nullable value, size_t size);
long hf_removexattr(int directory, const char *_Nonnull name, const char *_Nonnull attribute);
/// For tests: 1 makes everything go through /proc, 0 lets the kernel decide again.
void hf_xattr_use_proc(int always);
#endif
