#ifndef HF_RESULT_H
#define HF_RESULT_H
#include <errno.h>

/// What a system call returned, or minus its errno.
static inline long result(long value) { return value < 0 ? -(long)errno : value; }
#endif
