#include "hf_socket.h"
#include "result.h"
#include <sys/socket.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

long hf_peer(int socket, uint32_t *uid, uint32_t *gid) {
    struct ucred who;
    socklen_t length = sizeof who;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &length) < 0) return -(long)errno;
    *uid = who.uid;
    *gid = who.gid;
    return 0;
}

long hf_peer_groups(int socket, uint32_t *groups, long room) {
    socklen_t length = room * sizeof *groups;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &length) < 0) return -(long)errno;
    return length / sizeof *groups;
}
