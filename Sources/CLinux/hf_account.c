#include "hf_account.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

// Directory services may need much room for a group with many members; more than this is an error of theirs.
enum { FIRST_ROOM = 4096, MOST_ROOM = 64 << 20 };

enum { USER_BY_NUMBER, GROUP_BY_NUMBER, USER_BY_NAME, GROUP_BY_NAME };

/// Looks an account up; `name` and `number` are what is known or receive what is found. 1 found, 0 not.
static long look_up(int kind, const char *known_name, uint32_t known_number, char *name, size_t size, uint32_t *number) {
    long outcome = -ENOMEM;
    for (size_t room = FIRST_ROOM; room <= MOST_ROOM; room *= 4) {
        char *memory = malloc(room);
        if (memory == NULL) return -ENOMEM;
        struct passwd user, *found_user = NULL;
        struct group group, *found_group = NULL;
        int error = 0;
        switch (kind) {
        case USER_BY_NUMBER: error = getpwuid_r(known_number, &user, memory, room, &found_user); break;
        case GROUP_BY_NUMBER: error = getgrgid_r(known_number, &group, memory, room, &found_group); break;
        case USER_BY_NAME: error = getpwnam_r(known_name, &user, memory, room, &found_user); break;
        default: error = getgrnam_r(known_name, &group, memory, room, &found_group); break;
        }
        if (error == ERANGE || error == EINTR) {
            free(memory);
            if (error == EINTR) room /= 4;
            continue;
        }
        // Several errors mean only that there is no such account.
        if (error == ENOENT || error == ESRCH || error == EBADF || error == EPERM) error = 0;
        outcome = -(long)error;
        if (found_user != NULL || found_group != NULL) {
            const char *found = found_user != NULL ? found_user->pw_name : found_group->gr_name;
            if (number != NULL) *number = found_user != NULL ? found_user->pw_uid : found_group->gr_gid;
            outcome = 1;
            if (name != NULL) {
                size_t length = strlen(found);
                outcome = length < size ? (long)length : -ERANGE;
                if (outcome >= 0) memcpy(name, found, length + 1);
            }
        }
        free(memory);
        return outcome;
    }
    return outcome;
}

long hf_user_name(uint32_t uid, char *buffer, size_t size) {
    return look_up(USER_BY_NUMBER, NULL, uid, buffer, size, NULL);
}

long hf_group_name(uint32_t gid, char *buffer, size_t size) {
    return look_up(GROUP_BY_NUMBER, NULL, gid, buffer, size, NULL);
}

long hf_user_number(const char *name, uint32_t *uid) { return look_up(USER_BY_NAME, name, 0, NULL, 0, uid); }
long hf_group_number(const char *name, uint32_t *gid) { return look_up(GROUP_BY_NAME, name, 0, NULL, 0, gid); }
