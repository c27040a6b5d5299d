/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the policy is loaded as a daemon would, the question is read, and judged by a view of
 * its own.
 * Failures: a file that is refused, a question that is none: one line on standard error.
 */
#include "daemon/judge_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "daemon/identity/subids.h"
#include "daemon/names/services.h"
#include "daemon/policy/policy.h"
#include "daemon/server/admin_record.h"
#include "daemon/server/question.h"
#include "daemon/server/verdict.h"

static void print_record(const struct record *record)
{
    for (size_t i = 0; i < record->count; i++) {
        const struct field *field = &record->fields[i];

        printf("%s%c%c", field->name, '\0', field->text ? 'T' : 'N');
        if (field->text)
            printf("%c%s%c", '\0', field->text, '\0');
        else
            printf("%c%" PRId64 "%c", '\0', field->number, '\0');
    }
    putchar('\0');
}

static bool is_number(const char *name)
{
    return strcmp(name, "uid") == 0 || strcmp(name, "gid") == 0 || strcmp(name, "pid") == 0;
}

static bool is_restriction(const char *text)
{
    return strncmp(text, "restriction=", 12) == 0;
}

static bool take_field(struct question *q, const char *text)
{
    const char *equals = strchr(text, '=');
    struct field field = {0};
    char name[16];
    uint64_t number;

    if (is_restriction(text))
        return true;
    if (!equals || (size_t)(equals - text) >= sizeof(name))
        return question_refuse(q, "\"%.40s\" is not name=value", text);
    snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
    field.name = name;
    field.text = equals + 1;
    if (!is_number(name))
        return question_take(q, &field);
    if (asock_conf_number(field.text, 0, UINT32_MAX, &number) < 0)
        return question_refuse(q, "%s=%.40s is not a number", name, field.text);
    field.text = NULL;
    field.number = (int64_t)number;
    return question_take(q, &field);
}

static bool take_restrictions(struct question *q, struct policy_view *view, char *const *fields)
{
    char error[POLICY_ERROR_MAX];

    for (; *fields; fields++) {
        const char *text = *fields + 12;

        if (is_restriction(*fields) && policy_view_restrict(view, text, strlen(text), error) < 0)
            return question_refuse(q, "%s", error);
    }
    return true;
}

static bool answer(struct question *q, struct policy_view *view, struct services *services)
{
    struct judged judged = {.view = view, .sees_files = true};
    struct record record;
    struct destination to;

    if (!question_read(q, services, view, &to))
        return false;
    record_init(&record);
    verdict_record(&judged, &to, &record);
    print_record(&record);
    for (uint64_t i = 0; policy_view_restrictions(view) == 0; i++) {
        record_init(&record);
        verdict_also(&judged, q, &to, i, &record);
        if (record.count == 0)
            break;
        print_record(&record);
    }
    return true;
}

static bool judge(struct question *q, struct policy *policy, char *const *fields)
{
    struct subids *subids = subids_new("/etc/subuid", "/etc/passwd");
    struct services *services = NULL;
    struct policy_view *view = NULL;
    bool is_done = false;

    if (subids && services_new(NULL, &services) == 0) {
        subids_mark(subids, &q->identity);
        view = policy_view_new(policy, &q->identity, q->listener);
    }
    if (view)
        is_done = take_restrictions(q, view, fields) && answer(q, view, services);
    else
        question_no_memory(q);
    policy_view_free(view);
    services_free(services);
    subids_free(subids);
    return is_done;
}

int judge_files(const struct policy_source *source, char *const *fields)
{
    char error[INSPECT_TEXT_MAX] = "", why[POLICY_ERROR_MAX];
    struct policy *policy = NULL;
    struct question q;
    bool is_done = true;

    question_init(&q, error);
    for (char *const *at = fields; *at && is_done; at++)
        is_done = take_field(&q, *at);
    is_done = is_done && question_settle_client(&q);
    if (is_done && policy_load(source, why, &policy) < 0)
        is_done = question_refuse(&q, "%s", why);
    is_done = is_done && judge(&q, policy, fields);
    if (!is_done)
        fprintf(stderr, "%s\n", error);
    policy_unref(policy);
    question_deinit(&q);
    return is_done && fflush(stdout) == 0 ? 0 : -1;
}
