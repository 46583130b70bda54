#include "hf_poll.h"
#include "result.h"
#include <poll.h>
#include <stddef.h>
#include <sys/eventfd.h>

const int16_t HF_POLLIN = POLLIN, HF_POLLPRI = POLLPRI, HF_POLLERR = POLLERR;

_Static_assert(sizeof(struct hf_poll_item) == sizeof(struct pollfd) &&
                   offsetof(struct hf_poll_item, happened) == offsetof(struct pollfd, revents),
               "an item is a pollfd");

long hf_poll(struct hf_poll_item *items, unsigned count, int milliseconds) {
    return result(poll((struct pollfd *)items, count, milliseconds));
}

long hf_eventfd(void) { return result(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }
