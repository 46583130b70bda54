#ifndef HF_ACCOUNT_H
#define HF_ACCOUNT_H
#include <stddef.h>
#include <stdint.h>

/// The name of a user or group into `buffer` with a terminator; its length, 0 when there is none.
long hf_user_name(uint32_t uid, char *_Nonnull buffer, size_t size);
long hf_group_name(uint32_t gid, char *_Nonnull buffer, size_t size);
/// The number of a name: 1 and stored when there is one, 0 when there is none.
long hf_user_number(const char *_Nonnull name, uint32_t *_Nonnull uid);
long hf_group_number(const char *_Nonnull name, uint32_t *_Nonnull gid);
#endif
