#ifndef HF_IO_H
#define HF_IO_H
#include <stddef.h>
#include <stdint.h>

extern const int HF_SEEK_SET, HF_SEEK_CUR, HF_SEEK_END, HF_SEEK_DATA, HF_SEEK_HOLE;
extern const int HF_FADV_NORMAL, HF_FADV_SEQUENTIAL, HF_FADV_WILLNEED, HF_FADV_DONTNEED;
extern const unsigned HF_SYNC_FILE_RANGE_WRITE;

long hf_read(int descriptor, void *_Nullable buffer, size_t count);
long hf_write(int descriptor, const void *_Nullable buffer, size_t count);
long hf_pread(int descriptor, void *_Nullable buffer, size_t count, int64_t offset);
long hf_pwrite(int descriptor, const void *_Nullable buffer, size_t count, int64_t offset);
long hf_lseek(int descriptor, int64_t offset, int whence);
long hf_ftruncate(int descriptor, int64_t size);
long hf_fsync(int descriptor);
long hf_fdatasync(int descriptor);
long hf_syncfs(int descriptor);
long hf_sync_file_range(int descriptor, int64_t offset, int64_t count, unsigned flags);
long hf_fadvise(int descriptor, int64_t offset, int64_t count, int advice);
/// Reserves room without changing the size.
long hf_reserve(int descriptor, int64_t offset, int64_t count);
/// Turns a range into a hole without changing the size.
long hf_punch_hole(int descriptor, int64_t offset, int64_t count);
long hf_copy_file_range(int from, int64_t from_offset, int to, int64_t to_offset, size_t count);
/// FICLONE: `to` shares the blocks of `from`.
long hf_clone(int from, int to);
/// Waits at most `milliseconds` (-1: for ever) until the descriptor can be read; 1 when it can, 0 when time is up.
long hf_wait_readable(int descriptor, int milliseconds);
#endif
