#include "hf_process.h"
#include "result.h"
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

const int HF_SIGINT = SIGINT, HF_SIGTERM = SIGTERM, HF_SIGHUP = SIGHUP, HF_SIGPIPE = SIGPIPE;

static _Atomic int received;
static int wake[2] = {-1, -1};

static void handle(int signal) {
    int saved = errno, none = 0;
    atomic_compare_exchange_strong(&received, &none, signal);
    char byte = 1;
    // Full or broken: nothing a handler could do, and the flag is set.
    if (write(wake[1], &byte, 1) < 0) errno = saved;
    errno = saved;
}

long hf_signals_install(void) {
    if (wake[0] < 0 && pipe2(wake, O_CLOEXEC | O_NONBLOCK) < 0) return -(long)errno;
    // Without SA_RESTART, so that a wait for input ends.
    struct sigaction action = {.sa_handler = handle};
    sigemptyset(&action.sa_mask);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    if (sigaction(SIGINT, &action, NULL) < 0 || sigaction(SIGTERM, &action, NULL) < 0) return -(long)errno;
    // A process started with nohup goes on when the terminal goes away.
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) < 0) return -(long)errno;
    if (hangup.sa_handler != SIG_IGN && sigaction(SIGHUP, &action, NULL) < 0) return -(long)errno;
    // Whoever has started this program may have had them blocked, and what is blocked is inherited.
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, SIGINT);
    sigaddset(&own, SIGTERM);
    sigaddset(&own, SIGHUP);
    pthread_sigmask(SIG_UNBLOCK, &own, NULL);
    return result(sigaction(SIGPIPE, &ignore, NULL));
}

int hf_signals_received(void) { return atomic_load_explicit(&received, memory_order_relaxed); }
int hf_signals_descriptor(void) { return wake[0]; }

void hf_signals_reset(void) {
    atomic_store(&received, 0);
    char bytes[64];
    while (wake[0] >= 0 && read(wake[0], bytes, sizeof bytes) > 0) {
    }
}

long hf_raise_open_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -(long)errno;
    if (limit.rlim_cur != limit.rlim_max) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) limit.rlim_cur = before;
    }
    return limit.rlim_cur > 0x7FFFFFFF ? 0x7FFFFFFF : (long)limit.rlim_cur;
}

long hf_peak_memory(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) < 0) return -(long)errno;
    return usage.ru_maxrss * 1024;
}

int64_t hf_clock(int which) {
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID,
                                       CLOCK_REALTIME_COARSE};
    struct timespec t;
    clock_gettime(clocks[which], &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

long hf_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    // More CPUs than the set has room for.
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? count : 1;
}

long hf_lower_priority(void) {
    if (setpriority(PRIO_PROCESS, 0, 19) < 0) return -(long)errno;
    // IOPRIO_WHO_PROCESS 1, IOPRIO_CLASS_IDLE 3; the C library has no names for them.
    return result(syscall(SYS_ioprio_set, 1, 0, 3 << 13));
}

long hf_give_way(void) {
    // Of this thread only, and of those that it starts; never back up from what a unit or a user has set lower.
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, 0);
    if (nice == -1 && errno != 0) return -(long)errno;
    if (nice < 10 && setpriority(PRIO_PROCESS, 0, 10) < 0) return -(long)errno;
    // IOPRIO_CLASS_BE 2 at its lowest, unless it is idle by now; and no thread that wakes up takes the processor from others.
    long now = syscall(SYS_ioprio_get, 1, 0);
    if (now < 0 || now >> 13 != 3) syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 7);
    struct sched_param none = {0};
    if (sched_getscheduler(0) == SCHED_OTHER) sched_setscheduler(0, SCHED_BATCH, &none);
    return 0;
}

void hf_bound_memory(void) {
    // A fixed threshold: buffers of packs and slabs are given back to the system when they are freed, instead of leaving
    // holes in the heap; glibc would otherwise raise it to 32 MiB at the first such free.
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_ARENA_MAX, 2);
}

void hf_trim_memory(void) { malloc_trim(0); }
