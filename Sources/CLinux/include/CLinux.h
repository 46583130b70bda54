#ifndef CLINUX_H
#define CLINUX_H
// What Linux offers and Swift's Glibc module hides: one small pair of files per subject. Functions return a value of 0 or
// more, or minus an errno; macros that Swift cannot import are exported as constants.
#include "hf_account.h"
#include "hf_bytes.h"
#include "hf_attribute.h"
#include "hf_directory.h"
#include "hf_error.h"
#include "hf_fanotify.h"
#include "hf_flags.h"
#include "hf_io.h"
#include "hf_lock.h"
#include "hf_metadata.h"
#include "hf_mount.h"
#include "hf_names.h"
#include "hf_open.h"
#include "hf_poll.h"
#include "hf_process.h"
#include "hf_socket.h"
#include "hf_space.h"
#include "hf_stat.h"
#include "hf_terminal.h"
#include "hf_thread.h"
#endif
