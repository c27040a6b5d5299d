/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/outcome.h"

#include <asock/asock.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int outcome_exit_status(int error)
{
    switch (error) {
    case ASOCK_SUCCESS:
        return EXIT_SUCCESS;
    case ASOCK_ACCESS_DENIED:
        return EXIT_DENIED;
    case ASOCK_CONNECTION_REFUSED:
        return EXIT_REFUSED;
    case ASOCK_HOST_NOT_FOUND:
    case ASOCK_NO_DATA:
        return EXIT_NO_NAME;
    case ASOCK_TIMED_OUT:
    case ASOCK_TRY_AGAIN:
        return EXIT_TIMED_OUT;
    default:
        return EXIT_FAILURE;
    }
}

void outcome_describe(const char *host, int error, const char *text, char out[static OUTCOME_MAX])
{
    const char *words = asock_strerror(error);
    size_t len = strlen(host);

    if (text && strncmp(text, host, len) == 0 && strncmp(text + len, ": ", 2) == 0 &&
        !strchr(text, ';'))
        text += len + 2;
    if (!text || !text[0])
        snprintf(out, OUTCOME_MAX, "%s", words);
    else if (strstr(text, words))
        snprintf(out, OUTCOME_MAX, "%s", text);
    else
        snprintf(out, OUTCOME_MAX, "%s (%s)", words, text);
}
