#ifndef HF_STAT_H
#define HF_STAT_H
#include <stdint.h>

/// What statx(2) says, without padding and bit masks. Devices are major << 32 | minor.
struct hf_status {
    uint64_t inode, size, blocks, device, special_device, mount, attributes, attributes_mask;
    int64_t mtime_s, ctime_s, btime_s, atime_s;
    uint32_t mtime_ns, ctime_ns, btime_ns, atime_ns;
    uint32_t mode, uid, gid, links, block_size;
    uint8_t has_btime, has_mount;
};

extern const uint64_t HF_STATX_ATTR_COMPRESSED, HF_STATX_ATTR_IMMUTABLE, HF_STATX_ATTR_APPEND, HF_STATX_ATTR_NODUMP;
extern const uint64_t HF_STATX_ATTR_ENCRYPTED, HF_STATX_ATTR_AUTOMOUNT, HF_STATX_ATTR_MOUNT_ROOT, HF_STATX_ATTR_VERITY;

/// The status of a name, the last component never followed. An empty name means `directory` itself.
long hf_statx(int directory, const char *_Nonnull name, struct hf_status *_Nonnull status);
/// As `hf_statx`, but a symbolic link is followed.
long hf_statx_following(int directory, const char *_Nonnull name, struct hf_status *_Nonnull status);
#endif
