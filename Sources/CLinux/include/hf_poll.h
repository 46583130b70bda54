#ifndef HF_POLL_H
#define HF_POLL_H
#include <stdint.h>

extern const int16_t HF_POLLIN, HF_POLLPRI, HF_POLLERR;

/// A descriptor to wait for: what is waited for, and what happened.
struct hf_poll_item {
    int descriptor;
    int16_t wanted, happened;
};

/// Waits at most `milliseconds` (-1: for ever); how many items something happened to, 0 when time is up.
long hf_poll(struct hf_poll_item *_Nonnull items, unsigned count, int milliseconds);
/// A counter to wake a poll with: not blocking, closed on exec.
long hf_eventfd(void);
#endif
