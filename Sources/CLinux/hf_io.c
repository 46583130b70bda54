#include "hf_io.h"
#include "result.h"
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

const int HF_SEEK_SET = SEEK_SET, HF_SEEK_CUR = SEEK_CUR, HF_SEEK_END = SEEK_END;
const int HF_SEEK_DATA = SEEK_DATA, HF_SEEK_HOLE = SEEK_HOLE;
const int HF_FADV_NORMAL = POSIX_FADV_NORMAL, HF_FADV_SEQUENTIAL = POSIX_FADV_SEQUENTIAL;
const int HF_FADV_WILLNEED = POSIX_FADV_WILLNEED, HF_FADV_DONTNEED = POSIX_FADV_DONTNEED;
const unsigned HF_SYNC_FILE_RANGE_WRITE = SYNC_FILE_RANGE_WRITE;

long hf_read(int descriptor, void *buffer, size_t count) { return result(read(descriptor, buffer, count)); }
long hf_write(int descriptor, const void *buffer, size_t count) { return result(write(descriptor, buffer, count)); }

long hf_pread(int descriptor, void *buffer, size_t count, int64_t offset) {
    return result(pread(descriptor, buffer, count, offset));
}

long hf_pwrite(int descriptor, const void *buffer, size_t count, int64_t offset) {
    return result(pwrite(descriptor, buffer, count, offset));
}

long hf_lseek(int descriptor, int64_t offset, int whence) { return result(lseek(descriptor, offset, whence)); }
long hf_ftruncate(int descriptor, int64_t size) { return result(ftruncate(descriptor, size)); }
long hf_fsync(int descriptor) { return result(fsync(descriptor)); }
long hf_fdatasync(int descriptor) { return result(fdatasync(descriptor)); }
long hf_syncfs(int descriptor) { return result(syncfs(descriptor)); }

long hf_sync_file_range(int descriptor, int64_t offset, int64_t count, unsigned flags) {
    return result(sync_file_range(descriptor, offset, count, flags));
}

// posix_fadvise returns its error instead of setting errno.
long hf_fadvise(int descriptor, int64_t offset, int64_t count, int advice) {
    return -(long)posix_fadvise(descriptor, offset, count, advice);
}

long hf_reserve(int descriptor, int64_t offset, int64_t count) {
    return result(fallocate(descriptor, FALLOC_FL_KEEP_SIZE, offset, count));
}

long hf_punch_hole(int descriptor, int64_t offset, int64_t count) {
    return result(fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, count));
}

long hf_copy_file_range(int from, int64_t from_offset, int to, int64_t to_offset, size_t count) {
    off64_t in = from_offset, out = to_offset;
    return result(copy_file_range(from, &in, to, &out, count, 0));
}

long hf_clone(int from, int to) { return result(ioctl(to, FICLONE, from)); }

long hf_wait_readable(int descriptor, int milliseconds) {
    struct pollfd item = {.fd = descriptor, .events = POLLIN};
    long ready = result(poll(&item, 1, milliseconds));
    return ready > 0 ? 1 : ready;
}
