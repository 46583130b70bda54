#include "hf_flags.h"
#include "result.h"
#include <linux/fs.h>
#include <sys/ioctl.h>

// The kernel reads and writes an int here, whatever the type in the request's number says.

long hf_get_flags(int descriptor, uint32_t *flags) {
    int value = 0;
    long outcome = result(ioctl(descriptor, FS_IOC_GETFLAGS, &value));
    *flags = (uint32_t)value;
    return outcome;
}

long hf_set_flags(int descriptor, uint32_t flags) {
    int value = (int)flags;
    return result(ioctl(descriptor, FS_IOC_SETFLAGS, &value));
}
