#ifndef CFUSE_H
#define CFUSE_H
// What is used of libfuse: its low-level interface with plain types, and how a file system gets into the tree of names.
#include "hf_fuse.h"
#include "hf_fuse_mount.h"
#endif
