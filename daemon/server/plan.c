/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: raise the limit of descriptors -> take off what the daemon itself needs, and what
 * waits in front of sessions -> at most half of the rest for sessions, what is left for sockets ->
 * limits for all users together, from that and the machine's memory.
 * Failures: too few descriptors even for four clients.
 */
#include "daemon/server/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/core/limits.h"
#include "daemon/core/quota.h"
#include "daemon/names/resolver.h"
#include "daemon/server/gate.h"
#include "daemon/wire/shm_buffer.h"

/* ---- descriptors ---- */

#define FDS_KEPT (FDS_RESERVED + FDS_PER_SESSION * LIMIT_CONTROL_SESSIONS)
/* Of four sessions, for their connections and as many sockets; and one that waits. */
#define FDS_MIN (FDS_KEPT + 4 * FDS_PER_SESSION + 1)
#define FDS_WAITING_PART 16u /* for those that wait, until there may not be more */
/* 8 bytes of the kernel's memory for each. */
#define DESCRIPTOR_TABLE 16384u

int plan_share_descriptors(uint64_t limit, uint32_t clients, struct descriptor_shares *ret)
{
    if (limit < FDS_MIN)
        return -EMFILE;
    limit -= FDS_KEPT;
    ret->waiting = GATES_CLIENTS_MAX;
    if (limit / FDS_WAITING_PART < GATES_CLIENTS_MAX)
        ret->waiting = (uint32_t)(limit / FDS_WAITING_PART) + 1;
    limit -= ret->waiting;
    ret->clients = clients;
    /* Sessions without a descriptor left for their sockets would be of no use. */
    if (clients > limit / 2 / FDS_PER_SESSION)
        ret->clients = (uint32_t)(limit / 2 / FDS_PER_SESSION);
    limit -= (uint64_t)FDS_PER_SESSION * ret->clients;
    ret->sockets = limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
    return 0;
}

uint64_t plan_raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t before = limit.rlim_cur;

        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            log_warning("cannot raise RLIMIT_NOFILE above %llu: %s", (unsigned long long)before,
                        strerror(errno));
            limit.rlim_cur = before;
        }
    }
    return limit.rlim_cur;
}

void plan_widen_descriptor_table(uint64_t limit)
{
    int last = (int)(limit < DESCRIPTOR_TABLE ? limit : DESCRIPTOR_TABLE) - 1;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), wide = fcntl(fd, F_DUPFD_CLOEXEC, last);

    if (wide >= 0)
        close(wide);
    if (fd >= 0)
        close(fd);
}

/* What is left when the listeners have theirs. */
int plan_descriptors(const struct server_config *config, uint64_t used, uint64_t limit,
                     struct descriptor_shares *ret)
{
    int r = plan_share_descriptors(limit > used ? limit - used : 0, config->clients, ret);

    if (r < 0) {
        log_error("asockd: RLIMIT_NOFILE is %llu, but at least %llu descriptors are needed (raise "
                  "LimitNOFILE= or ulimit -n)",
                  (unsigned long long)limit, (unsigned long long)(FDS_MIN + used));
        return r;
    }
    if (ret->clients < config->clients)
        log_notice("RLIMIT_NOFILE is %llu, which is enough for only %u clients (raise LimitNOFILE= "
                   "or ulimit -n)",
                   (unsigned long long)limit, (unsigned int)ret->clients);
    return 0;
}

/* ---- quotas ---- */

/* A quarter of the machine's memory. As much may be shared with clients: it keeps a half. */
static uint64_t memory_share(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 4 : 0;
}

static uint64_t at_least(uint64_t value, uint64_t least)
{
    return value < least ? least : value;
}

/* The kernel's own limit holds for what is configured, too. */
static uint64_t buffers_of(const struct server_config *config,
                           const struct descriptor_shares *shares)
{
    uint64_t mappings = shm_buffer_count_most();
    uint64_t buffers = at_least(shares->sockets / 16, LIMIT_TOTAL_BUFFERS_MIN);

    if (config->total_buffers)
        buffers = config->total_buffers;
    return buffers > mappings ? mappings : buffers;
}

void plan_quotas(struct worker *w, const struct server_config *config,
                 const struct descriptor_shares *shares)
{
    /*
     * An eighth of the descriptors is kept for sockets without an id: attempts and lingering
     * closes.
     */
    uint64_t kept = shares->sockets / 8;
    uint64_t attempts = at_least(kept / 4, LIMIT_TOTAL_ATTEMPTS_MIN);
    uint64_t lingers = at_least(kept - kept / 4, LIMIT_TOTAL_LINGERS_MIN);
    uint64_t buffers = buffers_of(config, shares);
    uint64_t rest = shares->sockets - kept > buffers ? shares->sockets - kept - buffers : 0;
    uint64_t sockets = at_least(rest, LIMIT_TOTAL_SOCKETS_MIN);
    uint64_t memory = at_least(memory_share(), LIMIT_TOTAL_MEMORY_MIN);

    quota_limit(w->quota, QUOTA_CLIENTS, shares->clients);
    quota_limit(w->quota, QUOTA_HELLOS, config->hellos);
    quota_limit(w->quota, QUOTA_SOCKETS, config->total_sockets ? config->total_sockets : sockets);
    quota_limit(w->quota, QUOTA_BUFFERS, buffers);
    quota_limit(w->quota, QUOTA_LINGERS, lingers);
    quota_limit(w->quota, QUOTA_ATTEMPTS, attempts);
    quota_limit(w->quota, QUOTA_LOOKUPS, RESOLVER_LOOKUPS_MAX);
    quota_limit(w->quota, QUOTA_AUDIT, AUDIT_QUEUE_BYTES);
    quota_limit(w->quota, QUOTA_OPS, config->total_ops);
    quota_limit(w->quota, QUOTA_KERNEL, config->total_kernel);
    quota_limit(w->quota, QUOTA_MEMORY, config->total_memory ? config->total_memory : memory);
    quota_limit(w->quota, QUOTA_SHARED, config->total_shared ? config->total_shared : memory);
}
