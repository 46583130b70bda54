#include "hf_fanotify.h"
#include "result.h"
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>

// Constants newer than the headers of the oldest system this is built on.
#ifndef FAN_RENAME
#define FAN_RENAME 0x10000000
#endif
#ifndef FAN_REPORT_TARGET_FID
#define FAN_REPORT_TARGET_FID 0x00001000
#endif
#ifndef FAN_MARK_IGNORE
#define FAN_MARK_IGNORE 0x00000400
#endif

const uint64_t HF_FAN_CREATE = FAN_CREATE, HF_FAN_DELETE = FAN_DELETE, HF_FAN_RENAME = FAN_RENAME;
const uint64_t HF_FAN_MOVED_FROM = FAN_MOVED_FROM, HF_FAN_MOVED_TO = FAN_MOVED_TO, HF_FAN_MODIFY = FAN_MODIFY;
const uint64_t HF_FAN_CLOSE_WRITE = FAN_CLOSE_WRITE, HF_FAN_ATTRIB = FAN_ATTRIB, HF_FAN_ONDIR = FAN_ONDIR;
const uint64_t HF_FAN_EVENT_ON_CHILD = FAN_EVENT_ON_CHILD, HF_FAN_Q_OVERFLOW = FAN_Q_OVERFLOW;
const uint8_t HF_FAN_METADATA_VERSION = FANOTIFY_METADATA_VERSION;
const uint8_t HF_FAN_INFO_FID = 1, HF_FAN_INFO_DFID_NAME = 2, HF_FAN_INFO_DFID = 3, HF_FAN_INFO_OLD_DFID_NAME = 10;
const uint8_t HF_FAN_INFO_NEW_DFID_NAME = 12;

long hf_fanotify_init(int target) {
    unsigned flags = FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC | FAN_REPORT_FID | FAN_REPORT_DFID_NAME;
    return result(fanotify_init(target ? flags | FAN_REPORT_TARGET_FID : flags, O_RDONLY | O_LARGEFILE));
}

long hf_fanotify_watch(int group, uint64_t mask, int directory, const char *path) {
    return result(fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask, directory, path));
}

long hf_fanotify_unwatch(int group, uint64_t mask, int directory, const char *path) {
    return result(fanotify_mark(group, FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM, mask, directory, path));
}

long hf_fanotify_ignore(int group, uint64_t mask, int directory, const char *path) {
    unsigned flags = FAN_MARK_ADD | FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_ONLYDIR;
    return result(fanotify_mark(group, flags, mask, directory, path));
}

long hf_fanotify_flush(int group) {
    return result(fanotify_mark(group, FAN_MARK_FLUSH | FAN_MARK_FILESYSTEM, 0, AT_FDCWD, NULL));
}

// A handle with room for the longest there is, aligned as the kernel wants it.
union handle {
    struct file_handle header;
    unsigned char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

long hf_handle_of(int descriptor, void *buffer, size_t size) {
    union handle handle;
    int mount;
    handle.header.handle_bytes = MAX_HANDLE_SZ;
    long outcome = result(name_to_handle_at(descriptor, "", &handle.header, &mount, AT_EMPTY_PATH));
    if (outcome < 0) return outcome;
    size_t length = sizeof(struct file_handle) + handle.header.handle_bytes;
    if (length > size) return -EOVERFLOW;
    memcpy(buffer, handle.bytes, length);
    return (long)length;
}

long hf_open_handle(int mount, const void *bytes, size_t size, int flags) {
    union handle handle;
    if (size < sizeof(struct file_handle) || size > sizeof handle.bytes) return -EINVAL;
    memcpy(handle.bytes, bytes, size);
    if (handle.header.handle_bytes != size - sizeof(struct file_handle)) return -EINVAL;
    return result(open_by_handle_at(mount, &handle.header, flags));
}
