#ifndef HF_ERROR_H
#define HF_ERROR_H
// Every function of this module returns a value of 0 or more, or minus an errno, and leaves `errno` to itself.

/// The symbol of an error, for example "EACCES", or NULL when the C library does not know it.
const char *_Nullable hf_error_name(int code);
/// What the error means in English, or NULL when the C library does not know it.
const char *_Nullable hf_error_text(int code);
#endif
