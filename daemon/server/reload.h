/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_RELOAD_H
#define ASOCKD_RELOAD_H

/*
 * Reads configuration and policy again while everything runs. All or nothing: until every file has
 * been read and found good nothing changes, and from then on nothing can fail. The loop waits for
 * none of it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"
#include "daemon/core/loop.h"
#include "daemon/policy/policy.h"
#include "daemon/server/loader.h"

struct listeners;
struct notifier;
struct resolver_options;
struct server_config;

/* Where the configuration comes from. */
struct reload_source {
    /* The files as they are now; what it gives lives until the next call. -errno with a text. */
    int (*read)(void *data, const struct server_config **ret,
                char ret_error[static CONF_ERROR_MAX]);
    /* What was read last is in force; may be NULL. */
    void (*taken)(void *data);
    void *data;
};

#define RELOAD_RESTART_MAX 256u /* bytes of all their names */

struct reload_report {
    char error[CONF_ERROR_MAX];       /* of a failure: "path:line: what is wrong" */
    char restart[RELOAD_RESTART_MAX]; /* settings that changed, and need a restart; "": none */
    uint32_t cancelled;               /* connects in progress that lost their name or an attempt */
    uint32_t denied;              /* connections that would not be allowed any more, and live on */
    uint32_t closed;              /* those that were ended */
    uint32_t lost;                /* listeners that no client can reach */
    char problem[CONF_ERROR_MAX]; /* of the first of them; "": none */
};

struct reload {
    struct worker *worker;
    struct notifier *notifier; /* NULL: none */
    struct reload_source source;
    const struct server_config *began; /* with which the daemon was started; NULL: not known */
    struct listeners *listeners;       /* NULL: none are checked or added */
    /* Who reads the files; NULL: that is done at once. */
    void (*ask)(struct loader *loader, struct loader_job *job);
    struct loader *loader;
    char error[CONF_ERROR_MAX]; /* of the last one; "": it was taken, or there was none */
    int result;                 /* of the last one */
    struct reload_report report;
    struct list waiting, wanting; /* ops that wait for the one that runs; for the one behind it */
    bool is_running, is_closing;  /* one is; and ends connections */
    bool is_wanted, is_closing_wanted; /* another one behind it, which does */
    struct task next;
    struct reload_files *files; /* of the one that runs */
    struct share share;         /* what follows is judged in its steps */
    struct walk walk;           /* through the sessions */
    uint64_t session, place;    /* the one that it is at, and the place of its next socket */
    struct policy *before;      /* kept while it is in use; NULL: nothing is being judged */
};

/* Policy of a configuration. 0, or -errno with a text. */
int reload_load_policy(const struct server_config *config, char ret_error[static POLICY_ERROR_MAX],
                       struct policy **ret);

/* The resolver of a configuration. Its texts live as long. */
struct resolver_options reload_resolver_options(const struct server_config *config);

/* To the log: what is in force. */
void reload_tell_policy(const struct policy_source *source, const struct policy *policy);

/* Its worker's. With loader and notifier to be set, or not. */
void reload_init(struct reload *reload, struct worker *w, const struct reload_source *source);
/* Behind the loader, and with no session left. Accepts one that is all zeros. */
void reload_deinit(struct reload *reload);
/*
 * Soon, or behind the one that runs, once for all that ask meanwhile. close: end the connections
 * that would not be allowed any more. waiting: of an op that gets the result (admin_reloaded()); it
 * may leave before. NULL: of none.
 */
void reload_begin(struct reload *reload, bool close, struct list *waiting);

#endif
