#ifndef HF_SOCKET_H
#define HF_SOCKET_H
#include <stdint.h>

/// Who is at the other end of a connected local socket, as it was when they connected.
long hf_peer(int socket, uint32_t *uid, uint32_t *gid);
/// Their further groups, at most `room` of them; answers how many there are.
long hf_peer_groups(int socket, uint32_t *groups, long room);
#endif
