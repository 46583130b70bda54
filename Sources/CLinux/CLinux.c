#include "CLinux.h"
int hf_placeholder(void) { return 0; }
