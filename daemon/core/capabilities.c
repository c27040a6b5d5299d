/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/capabilities.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORDS _LINUX_CAPABILITY_U32S_3

/* Each of its sets has this one at most. */
static bool has_only(const struct __user_cap_data_struct data[static WORDS],
                     unsigned int capability)
{
    for (unsigned int i = 0; i < WORDS; i++) {
        uint32_t bit = capability / 32 == i ? UINT32_C(1) << capability % 32 : 0;

        if ((data[i].permitted | data[i].effective | data[i].inheritable) & ~bit)
            return false;
    }
    return true;
}

int capabilities_drop(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[WORDS] = {{0}};
    int had = 0;

    if (syscall(SYS_capget, &head, data) < 0)
        return -errno;
    for (unsigned int i = 0; i < WORDS; i++)
        had |= (data[i].permitted | data[i].effective | data[i].inheritable) != 0;
    /* Nothing to give up. The filter of the shipped unit does not even allow the call. */
    if (!had)
        return 0;
    /*
     * Given alone, it was given on purpose: low ports, for clients whom the policy lets listen
     * there.
     */
    if (has_only(data, CAP_NET_BIND_SERVICE))
        return 0;
    /*
     * Without CAP_SETPCAP the bounding set stays; no new privileges (hardening.c) make it
     * worthless.
     */
    for (unsigned long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0;
         capability++)
        ;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    memset(data, 0, sizeof(data));
    if (syscall(SYS_capset, &head, data) < 0)
        return -errno;
    return 1;
}
