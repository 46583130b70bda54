#ifndef HF_METADATA_H
#define HF_METADATA_H
#include <stdint.h>

/// Owner and group of a name, the last component never followed; UINT32_MAX leaves one as it is.
long hf_fchownat(int directory, const char *_Nonnull name, uint32_t uid, uint32_t gid);
long hf_fchown(int descriptor, uint32_t uid, uint32_t gid);
/// Permission bits of a name, the last component never followed: -EOPNOTSUPP for a symbolic link.
long hf_fchmodat(int directory, const char *_Nonnull name, unsigned mode);
long hf_fchmod(int descriptor, unsigned mode);
/// Modification and access time of a name, the last component never followed; empty name: the descriptor itself.
/// Nanoseconds of UINT32_MAX leave a time as it is.
long hf_utimensat(int directory, const char *_Nonnull name, int64_t atime_s, uint32_t atime_ns, int64_t mtime_s,
                  uint32_t mtime_ns);
#endif
