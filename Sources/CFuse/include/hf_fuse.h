#ifndef HF_FUSE_H
#define HF_FUSE_H
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/// One request of the kernel. Every request gets one reply, from any thread.
typedef struct fuse_req *hf_request;

/// What stat(2) says of a file.
struct hf_fuse_attributes {
    uint64_t inode, size, blocks;
    /// Kind and permissions.
    uint32_t mode;
    uint32_t links, user, group, major, minor;
    /// The modification time; no other is known.
    int64_t seconds;
    uint32_t nanoseconds;
};

/// A name that was found.
struct hf_fuse_entry {
    /// By which the kernel calls it from now on; 0: there is nothing of that name.
    uint64_t node;
    struct hf_fuse_attributes attributes;
    /// For how many seconds the kernel need not ask for the name and the attributes again.
    double name_seconds, attribute_seconds;
};

/// Who does the work. `context` is what the session was made with. Names end with a zero byte.
struct hf_fuse_operations {
    void (*_Nonnull lookup)(void *_Nonnull context, hf_request _Nonnull request, uint64_t parent, const char *_Nonnull name);
    /// The kernel has forgotten a node that it was told of `count` times.
    void (*_Nonnull forget)(void *_Nonnull context, uint64_t node, uint64_t count);
    void (*_Nonnull attributes)(void *_Nonnull context, hf_request _Nonnull request, uint64_t node);
    void (*_Nonnull target)(void *_Nonnull context, hf_request _Nonnull request, uint64_t node);
    void (*_Nonnull open)(void *_Nonnull context, hf_request _Nonnull request, uint64_t node);
    void (*_Nonnull read)(void *_Nonnull context, hf_request _Nonnull request, uint64_t handle, uint64_t offset, size_t size);
    /// `holes`: the next hole at or after `offset`, else the next data.
    void (*_Nonnull seek)(void *_Nonnull context, hf_request _Nonnull request, uint64_t handle, uint64_t offset, int holes);
    void (*_Nonnull close)(void *_Nonnull context, uint64_t handle);
    void (*_Nonnull open_directory)(void *_Nonnull context, hf_request _Nonnull request, uint64_t node);
    /// `plus`: with the attributes of each entry.
    void (*_Nonnull list)(void *_Nonnull context, hf_request _Nonnull request, uint64_t handle, uint64_t offset, size_t size,
                          int plus);
    void (*_Nonnull close_directory)(void *_Nonnull context, uint64_t handle);
    void (*_Nonnull get_attribute)(void *_Nonnull context, hf_request _Nonnull request, uint64_t node, const char *_Nonnull name,
                                   size_t size);
    void (*_Nonnull list_attributes)(void *_Nonnull context, hf_request _Nonnull request, uint64_t node, size_t size);
};

struct hf_fuse_session;

/// A session that is not connected to the kernel yet; NULL without memory. `operations` is copied.
/// - `enforces_acls`: the kernel looks at access control lists where it looks at permissions.
struct hf_fuse_session *_Nullable hf_fuse_make(const struct hf_fuse_operations *_Nonnull operations, void *_Nonnull context,
                                               int enforces_acls);
/// Takes over a descriptor of /dev/fuse that is mounted.
long hf_fuse_attach(struct hf_fuse_session *_Nonnull session, int descriptor);
/// Answers requests until the file system is unmounted (0) or something fails (minus an errno). For several threads at once.
long hf_fuse_serve(struct hf_fuse_session *_Nonnull session);
void hf_fuse_free(struct hf_fuse_session *_Nonnull session);

// Replies. Those that tell the kernel of a node say -ENOENT when it was not told, because the request is gone.

long hf_fuse_reply_error(hf_request _Nonnull request, int error);
long hf_fuse_reply_entry(hf_request _Nonnull request, const struct hf_fuse_entry *_Nonnull entry);
long hf_fuse_reply_attributes(hf_request _Nonnull request, const struct hf_fuse_attributes *_Nonnull attributes, double seconds);
long hf_fuse_reply_target(hf_request _Nonnull request, const char *_Nonnull target);
/// `keeps`: what the kernel has in its cache of it stays right.
long hf_fuse_reply_open(hf_request _Nonnull request, uint64_t handle, int keeps, int is_directory);
long hf_fuse_reply_bytes(hf_request _Nonnull request, const void *_Nullable bytes, size_t count);
long hf_fuse_reply_pieces(hf_request _Nonnull request, const struct iovec *_Nonnull pieces, int count);
long hf_fuse_reply_offset(hf_request _Nonnull request, uint64_t offset);
/// How long an extended attribute, or the list of them, is.
long hf_fuse_reply_length(hf_request _Nonnull request, size_t length);

/// Appends an entry to a listing. Returns how many bytes it takes; when that is more than `room` nothing was written.
size_t hf_fuse_add_name(hf_request _Nonnull request, char *_Nonnull buffer, size_t room, const char *_Nonnull name, uint64_t inode,
                        uint32_t mode, uint64_t next);
size_t hf_fuse_add_entry(hf_request _Nonnull request, char *_Nonnull buffer, size_t room, const char *_Nonnull name,
                         const struct hf_fuse_entry *_Nonnull entry, uint64_t next);
#endif
