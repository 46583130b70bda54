#ifndef HF_TERMINAL_H
#define HF_TERMINAL_H
#include <stddef.h>

/// 1 for a terminal, 0 otherwise.
int hf_is_terminal(int descriptor);
/// Columns of a terminal.
long hf_terminal_width(int descriptor);
/// Writes the prompt to a terminal, reads one line without echo, and puts the echo back also when a signal ends the wait.
/// Returns the length without the newline; -EINTR when SIGINT arrived; -EOVERFLOW when the line does not fit.
long hf_read_secret(int terminal, const char *_Nonnull prompt, char *_Nonnull buffer, size_t size);
/// Overwrites memory in a way that the compiler keeps.
void hf_erase(void *_Nonnull memory, size_t size);
#endif
