#ifndef HF_NAMES_H
#define HF_NAMES_H

/// Has names of hosts, users and groups looked up by what is built into the program when it is linked statically: loading
/// the system's modules for them would end it. Call first thing. 1 when it is linked so, 0 when nothing was to do.
long hf_names_confine(void);
#endif
