#include "hf_error.h"
#include <string.h>

const char *hf_error_name(int code) { return strerrorname_np(code); }
const char *hf_error_text(int code) { return strerrordesc_np(code); }
