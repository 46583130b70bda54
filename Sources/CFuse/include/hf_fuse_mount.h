#ifndef HF_FUSE_MOUNT_H
#define HF_FUSE_MOUNT_H
#include <stddef.h>
#include <sys/types.h>

/// Mounts as root, without a helper: read-only, nosuid, nodev. Returns the descriptor to be served.
long hf_fuse_mount(const char *_Nonnull directory, int allows_others);

/// Lets `helper` (fusermount3) mount. Returns the descriptor to be served; `link` becomes the connection on which the helper
/// sees this process end, and unmounts then. What the helper says is written to `words`, which has `room` bytes, and ends with
/// a zero byte.
long hf_fuse_mount_by(const char *_Nonnull helper, const char *_Nonnull directory, const char *_Nonnull options,
                      int *_Nonnull link, char *_Nonnull words, size_t room);

/// Takes the file system out of the tree of names, also when it is in use; who has it open goes on until the process ends.
long hf_fuse_unmount(const char *_Nonnull directory);
long hf_fuse_unmount_by(const char *_Nonnull helper, const char *_Nonnull directory);

/// How much the kernel reads ahead on the file system that `directory` is the top of, in KiB. For root only.
long hf_fuse_read_ahead(const char *_Nonnull directory, unsigned kibibytes);

/// Starts a program with its standard streams and one further descriptor, which is 3 there. Returns its process.
long hf_start_with(const char *_Nonnull program, char *_Nullable const *_Nonnull arguments, int descriptor);
int hf_is_pipe(int descriptor);
/// Leaves the session and terminal of whoever started this process; standard streams lead nowhere from now on.
long hf_leave_terminal(void);
/// Waits for a process: its status, or 128 and the signal that ended it.
long hf_wait_process(pid_t process);

/// A line in the system's log. `is_warning`: of level warning, else notice.
void hf_log_line(int is_warning, const char *_Nonnull text);
#endif
