#define FUSE_USE_VERSION 312
#include "hf_fuse.h"
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct hf_fuse_session {
    struct fuse_session *session;
    struct hf_fuse_operations operations;
    void *context;
    int enforces_acls;
};

static struct hf_fuse_session *of(fuse_req_t request) { return fuse_req_userdata(request); }

// What the kernel asks.

static void on_start(void *data, struct fuse_conn_info *connection) {
    struct hf_fuse_session *self = data;
    unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO;
    if (self->enforces_acls) wanted |= FUSE_CAP_POSIX_ACL;
    // Contents never change: nothing has to be looked at again, and replies come from memory.
    unsigned unwanted = FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_SPLICE_READ;
    connection->want = (connection->want & ~unwanted) | (wanted & connection->capable);
    connection->max_readahead = 1 << 20;
    connection->max_background = 64;
    connection->congestion_threshold = 48;
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    of(request)->operations.lookup(of(request)->context, request, parent, name);
}

static void on_forget(fuse_req_t request, fuse_ino_t node, uint64_t count) {
    of(request)->operations.forget(of(request)->context, node, count);
    fuse_reply_none(request);
}

static void on_forget_many(fuse_req_t request, size_t count, struct fuse_forget_data *nodes) {
    struct hf_fuse_session *self = of(request);
    for (size_t i = 0; i < count; i++) self->operations.forget(self->context, nodes[i].ino, nodes[i].nlookup);
    fuse_reply_none(request);
}

static void on_attributes(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    of(request)->operations.attributes(of(request)->context, request, node);
}

static void on_target(fuse_req_t request, fuse_ino_t node) {
    of(request)->operations.target(of(request)->context, request, node);
}

static void on_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    of(request)->operations.open(of(request)->context, request, node);
}

static void on_read(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info) {
    of(request)->operations.read(of(request)->context, request, info->fh, offset < 0 ? 0 : (uint64_t)offset, size);
}

static void on_seek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *info) {
    if (offset < 0) {
        fuse_reply_err(request, ENXIO);
    } else if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        fuse_reply_err(request, EINVAL);
    } else {
        of(request)->operations.seek(of(request)->context, request, info->fh, (uint64_t)offset, whence == SEEK_HOLE);
    }
}

static void on_close(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    of(request)->operations.close(of(request)->context, info->fh);
    fuse_reply_err(request, 0);
}

static void on_open_directory(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    of(request)->operations.open_directory(of(request)->context, request, node);
}

static void on_list(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info) {
    of(request)->operations.list(of(request)->context, request, info->fh, (uint64_t)offset, size, 0);
}

static void on_list_plus(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info) {
    of(request)->operations.list(of(request)->context, request, info->fh, (uint64_t)offset, size, 1);
}

static void on_close_directory(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
    of(request)->operations.close_directory(of(request)->context, info->fh);
    fuse_reply_err(request, 0);
}

static void on_get_attribute(fuse_req_t request, fuse_ino_t node, const char *name, size_t size) {
    of(request)->operations.get_attribute(of(request)->context, request, node, name, size);
}

static void on_list_attributes(fuse_req_t request, fuse_ino_t node, size_t size) {
    of(request)->operations.list_attributes(of(request)->context, request, node, size);
}

/// Sizes of a vault mean nothing here: as on other file systems that are made up, all is zero but the limits.
static void on_space(fuse_req_t request, fuse_ino_t node) {
    struct statvfs space;
    memset(&space, 0, sizeof space);
    space.f_bsize = space.f_frsize = 4096;
    space.f_namemax = 255;
    fuse_reply_statfs(request, &space);
}

/// Everything worth a line is said where it is noticed.
static void no_log(enum fuse_log_level level, const char *format, va_list arguments) {}

struct hf_fuse_session *hf_fuse_make(const struct hf_fuse_operations *operations, void *context, int enforces_acls) {
    static const struct fuse_lowlevel_ops table = {
        .init = on_start,
        .lookup = on_lookup,
        .forget = on_forget,
        .forget_multi = on_forget_many,
        .getattr = on_attributes,
        .readlink = on_target,
        .open = on_open,
        .read = on_read,
        .lseek = on_seek,
        .release = on_close,
        .opendir = on_open_directory,
        .readdir = on_list,
        .readdirplus = on_list_plus,
        .releasedir = on_close_directory,
        .getxattr = on_get_attribute,
        .listxattr = on_list_attributes,
        .statfs = on_space,
    };
    struct hf_fuse_session *self = calloc(1, sizeof *self);
    if (!self) return NULL;
    self->operations = *operations;
    self->context = context;
    self->enforces_acls = enforces_acls;
    fuse_set_log_func(no_log);
    struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
    if (fuse_opt_add_arg(&arguments, "holdfast") == 0) {
        self->session = fuse_session_new(&arguments, &table, sizeof table, self);
    }
    fuse_opt_free_args(&arguments);
    if (self->session) return self;
    free(self);
    return NULL;
}

long hf_fuse_attach(struct hf_fuse_session *self, int descriptor) {
    // A name that libfuse takes for a descriptor that is mounted already.
    char name[32];
    snprintf(name, sizeof name, "/dev/fd/%d", descriptor);
    return fuse_session_mount(self->session, name) == 0 ? 0 : -EIO;
}

long hf_fuse_serve(struct hf_fuse_session *self) {
    struct fuse_buf buffer;
    memset(&buffer, 0, sizeof buffer);
    long outcome = 0;
    while (!fuse_session_exited(self->session)) {
        int got = fuse_session_receive_buf(self->session, &buffer);
        if (got == -EINTR || got == -EAGAIN) continue;
        if (got <= 0) {
            outcome = got;
            break;
        }
        fuse_session_process_buf(self->session, &buffer);
    }
    free(buffer.mem);
    return outcome;
}

void hf_fuse_free(struct hf_fuse_session *self) {
    fuse_session_destroy(self->session);
    free(self);
}

// Replies.

static struct stat status(const struct hf_fuse_attributes *from) {
    struct stat to;
    memset(&to, 0, sizeof to);
    to.st_ino = from->inode;
    to.st_mode = from->mode;
    to.st_nlink = from->links;
    to.st_uid = from->user;
    to.st_gid = from->group;
    to.st_rdev = makedev(from->major, from->minor);
    to.st_size = (off_t)from->size;
    to.st_blocks = (blkcnt_t)from->blocks;
    to.st_blksize = 128 << 10;
    to.st_mtim.tv_sec = from->seconds;
    to.st_mtim.tv_nsec = from->nanoseconds;
    to.st_atim = to.st_ctim = to.st_mtim;
    return to;
}

static struct fuse_entry_param parameters(const struct hf_fuse_entry *from) {
    struct fuse_entry_param to;
    memset(&to, 0, sizeof to);
    to.ino = from->node;
    to.attr = status(&from->attributes);
    to.entry_timeout = from->name_seconds;
    to.attr_timeout = from->attribute_seconds;
    return to;
}

long hf_fuse_reply_error(hf_request request, int error) { return fuse_reply_err(request, error); }

long hf_fuse_reply_entry(hf_request request, const struct hf_fuse_entry *entry) {
    struct fuse_entry_param found = parameters(entry);
    return fuse_reply_entry(request, &found);
}

long hf_fuse_reply_attributes(hf_request request, const struct hf_fuse_attributes *attributes, double seconds) {
    struct stat found = status(attributes);
    return fuse_reply_attr(request, &found, seconds);
}

long hf_fuse_reply_target(hf_request request, const char *target) { return fuse_reply_readlink(request, target); }

long hf_fuse_reply_open(hf_request request, uint64_t handle, int keeps, int is_directory) {
    struct fuse_file_info info;
    memset(&info, 0, sizeof info);
    info.fh = handle;
    info.keep_cache = keeps ? 1 : 0;
    info.cache_readdir = keeps && is_directory ? 1 : 0;
    return fuse_reply_open(request, &info);
}

long hf_fuse_reply_bytes(hf_request request, const void *bytes, size_t count) {
    return fuse_reply_buf(request, bytes, count);
}

long hf_fuse_reply_pieces(hf_request request, const struct iovec *pieces, int count) {
    return fuse_reply_iov(request, pieces, count);
}

long hf_fuse_reply_offset(hf_request request, uint64_t offset) { return fuse_reply_lseek(request, (off_t)offset); }
long hf_fuse_reply_length(hf_request request, size_t length) { return fuse_reply_xattr(request, length); }

size_t hf_fuse_add_name(hf_request request, char *buffer, size_t room, const char *name, uint64_t inode, uint32_t mode,
                        uint64_t next) {
    struct stat found;
    memset(&found, 0, sizeof found);
    found.st_ino = inode;
    found.st_mode = mode;
    return fuse_add_direntry(request, buffer, room, name, &found, (off_t)next);
}

size_t hf_fuse_add_entry(hf_request request, char *buffer, size_t room, const char *name, const struct hf_fuse_entry *entry,
                         uint64_t next) {
    struct fuse_entry_param found = parameters(entry);
    return fuse_add_direntry_plus(request, buffer, room, name, &found, (off_t)next);
}
