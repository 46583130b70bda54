#include "hf_mount.h"
#include "result.h"
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

static long configure(int context, const char *source, const char *option, const char *value) {
    long outcome = result(fsconfig(context, FSCONFIG_SET_STRING, "source", source, 0));
    if (outcome >= 0) outcome = result(fsconfig(context, FSCONFIG_SET_STRING, option, value, 0));
    if (outcome >= 0) outcome = result(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    return outcome;
}

/// What fsmount(2) returns is only a reference; handles are opened through a directory that is really open.
static long top(int mount) {
    long outcome = result(openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    close(mount);
    return outcome;
}

long hf_mount_detached(const char *type, const char *source, const char *option, const char *value) {
    int context = fsopen(type, FSOPEN_CLOEXEC);
    if (context < 0) return -(long)errno;
    long outcome = configure(context, source, option, value);
    if (outcome >= 0) {
        unsigned attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        outcome = result(fsmount(context, FSMOUNT_CLOEXEC, attributes | MOUNT_ATTR_NOATIME));
        if (outcome >= 0) outcome = top(outcome);
    }
    close(context);
    return outcome;
}
