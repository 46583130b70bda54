#ifndef HF_FANOTIFY_H
#define HF_FANOTIFY_H
#include <stddef.h>
#include <stdint.h>

// fanotify(7) with events that name a directory by its handle and what is in it by its name.

extern const uint64_t HF_FAN_CREATE, HF_FAN_DELETE, HF_FAN_RENAME, HF_FAN_MOVED_FROM, HF_FAN_MOVED_TO, HF_FAN_MODIFY;
extern const uint64_t HF_FAN_CLOSE_WRITE, HF_FAN_ATTRIB, HF_FAN_ONDIR, HF_FAN_EVENT_ON_CHILD, HF_FAN_Q_OVERFLOW;
extern const uint8_t HF_FAN_METADATA_VERSION;
extern const uint8_t HF_FAN_INFO_FID, HF_FAN_INFO_DFID_NAME, HF_FAN_INFO_DFID, HF_FAN_INFO_OLD_DFID_NAME;
extern const uint8_t HF_FAN_INFO_NEW_DFID_NAME;

/// A group whose queue has the system's limit, not blocking, closed on exec. With `target` events also name what was
/// created, deleted or renamed (Linux 5.17); -EINVAL where the kernel does not know a flag.
long hf_fanotify_init(int target);
/// Marks the whole file system on which `path` lies for the events of `mask`.
long hf_fanotify_watch(int group, uint64_t mask, int directory, const char *_Nonnull path);
/// Takes back `hf_fanotify_watch`.
long hf_fanotify_unwatch(int group, uint64_t mask, int directory, const char *_Nonnull path);
/// No events for what lies directly in a directory. -EINVAL before Linux 6.0.
long hf_fanotify_ignore(int group, uint64_t mask, int directory, const char *_Nonnull path);
/// Takes away all marks on file systems.
long hf_fanotify_flush(int group);

/// The handle of an open file (a `struct file_handle`) into `buffer`; its length.
long hf_handle_of(int descriptor, void *_Nonnull buffer, size_t size);
/// Opens what a handle of `size` bytes refers to; `mount` is any descriptor on its file system. -ESTALE when it is gone.
long hf_open_handle(int mount, const void *_Nonnull handle, size_t size, int flags);
#endif
