#include "hf_space.h"
#include "result.h"
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

long hf_fstatfs(int descriptor, struct hf_space *space) {
    struct statfs s;
    if (fstatfs(descriptor, &s) < 0) return -(long)errno;
    uint64_t unit = s.f_frsize > 0 ? (uint64_t)s.f_frsize : (uint64_t)s.f_bsize;
    space->type = (uint64_t)(unsigned long)s.f_type;
    space->total = s.f_blocks * unit;
    space->free = s.f_bfree * unit;
    space->available = s.f_bavail * unit;
    space->inodes = s.f_files;
    space->inodes_free = s.f_ffree;
    space->identity = 0;
    memcpy(&space->identity, &s.f_fsid, sizeof s.f_fsid < 8 ? sizeof s.f_fsid : 8);
    space->block_size = (uint32_t)s.f_bsize;
    space->name_limit = (uint32_t)s.f_namelen;
    space->read_only = (s.f_flags & ST_RDONLY) != 0;
    return 0;
}
