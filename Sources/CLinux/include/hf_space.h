#ifndef HF_SPACE_H
#define HF_SPACE_H
#include <stdint.h>

/// What statfs(2) says; sizes in bytes.
struct hf_space {
    uint64_t type, total, free, available, inodes, inodes_free, identity;
    uint32_t block_size, name_limit;
    uint8_t read_only;
};
long hf_fstatfs(int descriptor, struct hf_space *_Nonnull space);
#endif
