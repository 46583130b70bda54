#ifndef HF_TERMINAL_H
#define HF_TERMINAL_H
#include <stddef.h>

/// 1 for a terminal, 0 otherwise.
int hf_is_terminal(int descriptor);
/// Columns of a terminal.
long hf_terminal_width(int descriptor);
/// Writes the prompt to a terminal and reads one line, without echo unless `shown`; puts the echo back also when a signal
/// ends the wait. Returns the length without the newline; -EINTR when a signal asked to stop (see `hf_signals_install`),
/// on whichever thread it was handled; -EOVERFLOW when the line does not fit.
long hf_read_line(int terminal, const char *_Nonnull prompt, char *_Nonnull buffer, size_t size, int shown);
/// Overwrites memory in a way that the compiler keeps.
void hf_erase(void *_Nonnull memory, size_t size);
#endif
