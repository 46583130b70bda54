#include "hf_names.h"
#include "result.h"
#include <elf.h>
#include <link.h>
#include <nss.h>
#include <sys/auxv.h>

/// A program that was linked statically names no loader.
static int is_static(void) {
    const ElfW(Phdr) *headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    unsigned long count = getauxval(AT_PHNUM);
    for (unsigned long i = 0; headers && i < count; i++) {
        if (headers[i].p_type == PT_INTERP) return 0;
    }
    return headers != NULL;
}

long hf_names_confine(void) {
    if (!is_static()) return 0;
    // /etc/nsswitch.conf may name modules (systemd, sss, mdns4_minimal and others) that come with another C library than the
    // one in the program. From glibc 2.34 on "files" and "dns" are part of it.
    static const char *const services[][2] = {
        {"hosts", "files dns"}, {"networks", "files"}, {"passwd", "files"},   {"group", "files"}, {"initgroups", "files"},
        {"shadow", "files"},    {"services", "files"}, {"protocols", "files"}};
    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        if (__nss_configure_lookup(services[i][0], services[i][1]) < 0) return -(long)errno;
    }
    return 1;
}
