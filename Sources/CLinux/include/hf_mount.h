#ifndef HF_MOUNT_H
#define HF_MOUNT_H

/// Mounts a file system for this process alone, read-only and nowhere in the tree of names; `option` is set to `value`.
/// The mount goes with its descriptor. Linux 5.2.
long hf_mount_detached(const char *_Nonnull type, const char *_Nonnull source, const char *_Nonnull option,
                       const char *_Nonnull value);
#endif
