/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the texts of all files are saved. Where the next process has an invalid policy, it
 * builds one from the texts instead.
 * Failures: too many bytes; texts that this version cannot read, or no memory. Then the invalid
 * policy stays, which denies everything.
 */
#include "daemon/state/policy.h"

#include "base/log.h"
#include "daemon/policy/kept.h"

void state_save_policy(const struct policy *policy, struct state_policy *room,
                       Asockd__State__Daemon *to)
{
    size_t count = policy_file_count(policy), bytes = 0;

    if (policy_is_invalid(policy) || policy_is_built_in(policy))
        return;
    for (size_t i = 0; i < count; i++) {
        struct policy_kept kept = policy_keep(policy, i);
        Asockd__State__PolicyFile *file = &room->files[i];

        asockd__state__policy_file__init(file);
        file->path = (char *)(uintptr_t)kept.path;
        file->modified = kept.modified;
        file->text = (ProtobufCBinaryData){kept.len, (uint8_t *)(uintptr_t)kept.text};
        room->at[i] = file;
        bytes += kept.len;
    }
    if (bytes > STATE_POLICY_BYTES_MAX) {
        log_warning(
            "the policy files are too large (%zu bytes) to be passed on to the next process",
            bytes);
        return;
    }
    asockd__state__policy__init(&room->policy);
    room->policy.files = room->at;
    room->policy.n_files = count;
    room->policy.loaded = policy_loaded(policy);
    to->policy = &room->policy;
}

static void use(struct worker *w, const Asockd__State__Policy *from)
{
    struct policy_kept files[POLICY_FILES_MAX];
    char error[POLICY_ERROR_MAX];
    struct policy *policy = NULL;

    for (size_t i = 0; i < from->n_files && i < POLICY_FILES_MAX; i++) {
        const Asockd__State__PolicyFile *file = from->files[i];

        files[i] = (struct policy_kept){file->path, (const char *)file->text.data, file->text.len,
                                        file->modified};
    }
    if (policy_load_kept(w->policy, files, from->n_files, from->loaded, error, &policy) < 0) {
        log_error("the policy of the previous process cannot be used: %s", error);
        return;
    }
    policy_unref(w->policy);
    w->policy = policy;
    log_warning("the policy of the previous process stays in force until a reload succeeds");
}

void state_restore_policy(struct worker *w, const Asockd__State__Daemon *from)
{
    if (from->policy && policy_is_invalid(w->policy))
        use(w, from->policy);
}
