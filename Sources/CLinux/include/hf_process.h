#ifndef HF_PROCESS_H
#define HF_PROCESS_H
#include <stdint.h>

extern const int HF_SIGINT, HF_SIGTERM, HF_SIGHUP, HF_SIGPIPE;

/// Installs the handler for SIGINT, SIGTERM and SIGHUP, and ignores SIGPIPE.
long hf_signals_install(void);
/// The signal that arrived first, or 0.
int hf_signals_received(void);
/// A descriptor that becomes readable when a signal arrives, or -1 before installation.
int hf_signals_descriptor(void);
/// Forgets signals received so far.
void hf_signals_reset(void);
/// Raises the limit of open files to the hard limit; returns the limit now in force.
long hf_raise_open_files(void);
/// Peak resident memory of this process in bytes.
long hf_peak_memory(void);
/// Nanoseconds of a clock: 0 wall, 1 monotonic, 2 monotonic with time asleep, 3 CPU time of this process,
/// 4 the wall clock in the steps in which times of files go.
int64_t hf_clock(int which);
/// CPUs this process may run on.
long hf_cpu_count(void);
/// Puts this process at the lowest priority: nice 19 and the idle class for input and output.
long hf_lower_priority(void);
/// Puts the calling thread, and those it starts, behind what people wait for: a lower weight for processor and disk.
long hf_give_way(void);
/// Returns freed memory to the system.
void hf_trim_memory(void);
/* Keeps the heap from holding on to large freed buffers; call before other threads start. */
void hf_bound_memory(void);
#endif
