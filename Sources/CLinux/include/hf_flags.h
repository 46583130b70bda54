#ifndef HF_FLAGS_H
#define HF_FLAGS_H
#include <stdint.h>

/// FS_IOC_GETFLAGS.
long hf_get_flags(int descriptor, uint32_t *_Nonnull flags);
/// FS_IOC_SETFLAGS.
long hf_set_flags(int descriptor, uint32_t flags);
#endif
