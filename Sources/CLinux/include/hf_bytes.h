#ifndef HF_BYTES_H
#define HF_BYTES_H
#include <stddef.h>
/// Where `needle` begins in `bytes`; -1 when it is not there. Swift does not see `memmem`.
long hf_find(const void *bytes, size_t length, const void *needle, size_t needle_length);
#endif
