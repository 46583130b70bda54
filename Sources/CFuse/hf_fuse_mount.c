#include "hf_fuse_mount.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

extern char **environ;

long hf_fuse_mount(const char *directory, int allows_others) {
    struct stat top;
    if (stat(directory, &top) < 0) return -(long)errno;
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device < 0) return -(long)errno;
    char options[160];
    snprintf(options, sizeof options, "fd=%d,rootmode=%o,user_id=%u,group_id=%u%s", device, top.st_mode & S_IFMT,
             (unsigned)getuid(), (unsigned)getgid(), allows_others ? ",default_permissions,allow_other" : "");
    if (mount("holdfast", directory, "fuse.holdfast", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0) {
        long error = -(long)errno;
        close(device);
        return error;
    }
    return device;
}

/// The helper is found by the descriptor that this names.
static char *const *environment_with(const char *setting, char ***made) {
    size_t count = 0;
    while (environ[count]) count++;
    char **list = calloc(count + 2, sizeof *list);
    if (!list) return NULL;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], "_FUSE_COMMFD", 12) != 0) list[at++] = environ[i];
    }
    list[at] = (char *)setting;
    *made = list;
    return list;
}

/// The descriptor that a program gets beside its standard streams.
enum { given = 3 };

/// Starts a program with nothing blocked, whatever this thread has blocked, and without the descriptors of this process, those that
/// it has inherited itself included: somebody may wait for their end, and what is started here goes on for days. A descriptor
/// below 0 is left out.
static long start(const char *program, char *const *arguments, char *const *environment, int descriptor, int words) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (words >= 0) posix_spawn_file_actions_adddup2(&actions, words, 2);
    if (descriptor >= 0) posix_spawn_file_actions_adddup2(&actions, descriptor, given);
    posix_spawn_file_actions_addclosefrom_np(&actions, descriptor >= 0 ? given + 1 : given);
    pid_t process = 0;
    int failure = posix_spawnp(&process, program, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failure ? -(long)failure : process;
}

/// The descriptor that comes over a connection; -EIO when it ends without one.
static long receive(int connection) {
    char byte;
    struct iovec piece = {&byte, 1};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got;
    do got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0) return -(long)errno;
    struct cmsghdr *head = got == 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) return -EIO;
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(head), sizeof descriptor);
    return descriptor;
}

static void read_words(int pipe, char *words, size_t room) {
    size_t length = 0;
    while (length + 1 < room) {
        ssize_t got = read(pipe, words + length, room - 1 - length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        length += (size_t)got;
    }
    words[length] = 0;
}

long hf_fuse_mount_by(const char *helper, const char *directory, const char *options, int *link, char *words, size_t room) {
    words[0] = 0;
    int sockets[2], pipes[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) return -(long)errno;
    if (pipe2(pipes, O_CLOEXEC) < 0) {
        long error = -(long)errno;
        close(sockets[0]);
        close(sockets[1]);
        return error;
    }
    char *const arguments[] = {"fusermount3", "-o", (char *)options, "--", (char *)directory, NULL};
    char **made = NULL;
    char *const *environment = environment_with("_FUSE_COMMFD=3", &made);
    long process = environment ? start(helper, arguments, environment, sockets[0], pipes[1]) : -ENOMEM;
    free(made);
    close(sockets[0]);
    close(pipes[1]);
    long outcome = process < 0 ? process : receive(sockets[1]);
    if (outcome < 0) {
        if (process > 0) {
            read_words(pipes[0], words, room);
            waitpid((pid_t)process, NULL, 0);
        }
        close(sockets[1]);
    } else {
        *link = sockets[1];
        // When this process is killed, the kernel lets go of the highest descriptor first. The helper must see the connection end
        // after the file system has: it unmounts only what is dead by then.
        int above = fcntl((int)outcome, F_DUPFD_CLOEXEC, sockets[1] + 1);
        if (above >= 0) {
            close((int)outcome);
            outcome = above;
        }
    }
    close(pipes[0]);
    return outcome;
}

long hf_fuse_unmount(const char *directory) {
    return umount2(directory, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -(long)errno : 0;
}

long hf_fuse_unmount_by(const char *helper, const char *directory) {
    char *const arguments[] = {"fusermount3", "-u", "-q", "-z", "--", (char *)directory, NULL};
    long process = start(helper, arguments, environ, -1, -1);
    if (process < 0) return process;
    return hf_wait_process((pid_t)process) == 0 ? 0 : -EIO;
}

long hf_fuse_read_ahead(const char *directory, unsigned kibibytes) {
    struct stat top;
    if (stat(directory, &top) < 0) return -(long)errno;
    char path[96], text[16];
    snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major(top.st_dev), minor(top.st_dev));
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -(long)errno;
    int length = snprintf(text, sizeof text, "%u\n", kibibytes);
    long outcome = write(file, text, (size_t)length) < 0 ? -(long)errno : 0;
    close(file);
    return outcome;
}

long hf_start_with(const char *program, char *const *arguments, int descriptor) {
    return start(program, arguments, environ, descriptor, -1);
}

int hf_is_pipe(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISFIFO(status.st_mode);
}

long hf_leave_terminal(void) {
    if (setsid() < 0) return -(long)errno;
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0) return -(long)errno;
    for (int stream = 0; stream < 3; stream++) {
        if (dup2(nowhere, stream) < 0) return -(long)errno;
    }
    close(nowhere);
    return 0;
}

long hf_wait_process(pid_t process) {
    int status;
    while (waitpid(process, &status, 0) < 0) {
        if (errno != EINTR) return -(long)errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void hf_log_line(int is_warning, const char *text) {
    openlog("holdfast", LOG_PID, LOG_DAEMON);
    syslog(is_warning ? LOG_WARNING : LOG_NOTICE, "%s", text);
}
