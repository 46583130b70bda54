#include "hf_terminal.h"
#include "hf_process.h"
#include "result.h"
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

int hf_is_terminal(int descriptor) { return isatty(descriptor); }

long hf_terminal_width(int descriptor) {
    struct winsize size;
    if (ioctl(descriptor, TIOCGWINSZ, &size) < 0) return -(long)errno;
    return size.ws_col;
}

/// Waits until something was typed. A signal may be handled on another thread: its pipe is waited for, too.
static long wait_typed(int terminal) {
    for (;;) {
        struct pollfd places[2] = {{terminal, POLLIN, 0}, {hf_signals_descriptor(), POLLIN, 0}};
        long ready = result(poll(places, places[1].fd < 0 ? 1 : 2, -1));
        if (hf_signals_received() != 0) return -EINTR;
        if (ready < 0 && ready != -EINTR) return ready;
        if (ready > 0 && places[0].revents != 0) return 0;
    }
}

long hf_read_line(int terminal, const char *prompt, char *buffer, size_t size, int shown) {
    struct termios before;
    if (tcgetattr(terminal, &before) < 0) return -(long)errno;
    struct termios silent = before;
    if (!shown) silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    silent.c_lflag |= ICANON;
    // TCSAFLUSH drops what was typed before the prompt.
    if (tcsetattr(terminal, TCSAFLUSH, &silent) < 0) return -(long)errno;

    size_t length = 0;
    long outcome = write(terminal, prompt, strlen(prompt)) < 0 ? -(long)errno : 0;
    while (outcome == 0) {
        char byte;
        outcome = wait_typed(terminal);
        if (outcome < 0) break;
        long got = result(read(terminal, &byte, 1));
        if (got == -EINTR && hf_signals_received() == 0) continue;
        if (got < 0) outcome = got;
        else if (got == 0) outcome = length == 0 ? -ENODATA : (long)length;
        else if (byte == '\n' || byte == '\r') break;
        else if (length == size) outcome = -EOVERFLOW;
        else buffer[length++] = byte;
        if (got == 0 && outcome >= 0) break;
    }
    if (outcome == -EOVERFLOW) tcflush(terminal, TCIFLUSH);
    tcsetattr(terminal, TCSAFLUSH, &before);
    // The newline the user typed was not echoed.
    if ((!shown || outcome < 0) && write(terminal, "\n", 1) < 0 && outcome == 0) outcome = -(long)errno;
    if (outcome < 0) hf_erase(buffer, size);
    return outcome < 0 ? outcome : (long)length;
}

void hf_erase(void *memory, size_t size) { explicit_bzero(memory, size); }
