#ifndef CLINUX_H
#define CLINUX_H
int hf_placeholder(void);
#endif
