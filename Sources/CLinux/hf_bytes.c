#include "hf_bytes.h"
#include <string.h>

long hf_find(const void *bytes, size_t length, const void *needle, size_t needle_length) {
    const char *place = memmem(bytes, length, needle, needle_length);
    return place ? place - (const char *)bytes : -1;
}
