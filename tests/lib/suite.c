/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static struct suite_entry *entries, **last = &entries;

void suite_add(struct suite_entry *entry)
{
    *last = entry;
    last = &entry->next;
}

static bool is_wanted(const char *test)
{
    const char *only = getenv("ASOCK_TEST_ONLY");
    size_t len = strlen(test);

    for (const char *at = only; at && (at = strstr(at, test)); at += len)
        if ((at == only || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    return !only;
}

static TCase *new_case(Suite *suite, const struct suite_entry *fixture)
{
    TCase *tcase = tcase_create(program_invocation_short_name);

    if (fixture)
        tcase_add_checked_fixture(tcase, fixture->before, fixture->after);
    if (fixture && fixture->seconds > 0)
        tcase_set_timeout(tcase, fixture->seconds);
    suite_add_tcase(suite, tcase);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create(program_invocation_short_name);
    TCase *tcase = NULL;
    SRunner *runner;
    int failed;

    for (const struct suite_entry *entry = entries; entry; entry = entry->next) {
        if (!entry->test)
            tcase = new_case(suite, entry);
        else if (is_wanted(entry->test->name)) {
            if (!tcase)
                tcase = new_case(suite, NULL);
            tcase_add_loop_test(tcase, entry->test, entry->first, entry->end);
        }
    }
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
