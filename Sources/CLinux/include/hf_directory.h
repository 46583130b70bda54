#ifndef HF_DIRECTORY_H
#define HF_DIRECTORY_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern const unsigned HF_RENAME_NOREPLACE, HF_RENAME_EXCHANGE;

/// getdents64(2): fills the buffer with linux_dirent64 records; 0 at the end.
long hf_getdents64(int directory, void *_Nonnull buffer, size_t size);
long hf_mkdirat(int directory, const char *_Nonnull name, unsigned mode);
long hf_unlinkat(int directory, const char *_Nonnull name);
long hf_rmdirat(int directory, const char *_Nonnull name);
long hf_renameat2(int from, const char *_Nonnull name, int to, const char *_Nonnull new_name, unsigned flags);
long hf_symlinkat(const char *_Nonnull target, int directory, const char *_Nonnull name);
long hf_readlinkat(int directory, const char *_Nonnull name, char *_Nonnull buffer, size_t size);
/// A new name for a file, a symbolic link itself included.
long hf_linkat(int from, const char *_Nonnull name, int to, const char *_Nonnull new_name);
/// A new name for what a descriptor (O_PATH and O_TMPFILE included) refers to.
long hf_link_descriptor(int descriptor, int to, const char *_Nonnull new_name);
/// `device` is major << 32 | minor; `mode` has the kind of file in it.
long hf_mknodat(int directory, const char *_Nonnull name, unsigned mode, uint64_t device);

/// How many bytes stand before the terminator, at most `limit`.
static inline long hf_name_length(const void *_Nonnull name, long limit) {
    return (long)strnlen((const char *)name, (size_t)limit);
}
/// The order of two terminated names by their bytes.
static inline int hf_name_order(const void *_Nonnull a, const void *_Nonnull b) {
    return strcmp((const char *)a, (const char *)b);
}
/// The order of two pieces of memory.
static inline int hf_memory_order(const void *_Nonnull a, const void *_Nonnull b, size_t size) {
    return memcmp(a, b, size);
}
#endif
