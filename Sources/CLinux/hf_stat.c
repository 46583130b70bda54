#include "hf_stat.h"
#include "result.h"
#include <fcntl.h>
#include <sys/stat.h>

const uint64_t HF_STATX_ATTR_COMPRESSED = STATX_ATTR_COMPRESSED, HF_STATX_ATTR_IMMUTABLE = STATX_ATTR_IMMUTABLE;
const uint64_t HF_STATX_ATTR_APPEND = STATX_ATTR_APPEND, HF_STATX_ATTR_NODUMP = STATX_ATTR_NODUMP;
const uint64_t HF_STATX_ATTR_ENCRYPTED = STATX_ATTR_ENCRYPTED, HF_STATX_ATTR_AUTOMOUNT = STATX_ATTR_AUTOMOUNT;
const uint64_t HF_STATX_ATTR_MOUNT_ROOT = STATX_ATTR_MOUNT_ROOT, HF_STATX_ATTR_VERITY = STATX_ATTR_VERITY;

static long query(int directory, const char *name, int flags, struct hf_status *out) {
    struct statx s;
    // A name of no bytes stands for the descriptor itself.
    if (name[0] == 0) flags |= AT_EMPTY_PATH;
    if (statx(directory, name, flags | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &s) < 0) {
        return -(long)errno;
    }
    out->inode = s.stx_ino;
    out->size = s.stx_size;
    out->blocks = s.stx_blocks;
    out->device = (uint64_t)s.stx_dev_major << 32 | s.stx_dev_minor;
    out->special_device = (uint64_t)s.stx_rdev_major << 32 | s.stx_rdev_minor;
    out->mount = s.stx_mnt_id;
    out->attributes = s.stx_attributes;
    out->attributes_mask = s.stx_attributes_mask;
    out->mtime_s = s.stx_mtime.tv_sec;
    out->mtime_ns = s.stx_mtime.tv_nsec;
    out->ctime_s = s.stx_ctime.tv_sec;
    out->ctime_ns = s.stx_ctime.tv_nsec;
    out->atime_s = s.stx_atime.tv_sec;
    out->atime_ns = s.stx_atime.tv_nsec;
    out->btime_s = s.stx_btime.tv_sec;
    out->btime_ns = s.stx_btime.tv_nsec;
    out->mode = s.stx_mode;
    out->uid = s.stx_uid;
    out->gid = s.stx_gid;
    out->links = s.stx_nlink;
    out->block_size = s.stx_blksize;
    out->has_btime = (s.stx_mask & STATX_BTIME) != 0;
    out->has_mount = (s.stx_mask & STATX_MNT_ID) != 0;
    return 0;
}

long hf_statx(int directory, const char *name, struct hf_status *status) {
    return query(directory, name, AT_SYMLINK_NOFOLLOW, status);
}

long hf_statx_following(int directory, const char *name, struct hf_status *status) {
    return query(directory, name, 0, status);
}
