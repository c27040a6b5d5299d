/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/outcome.h"

#include <asock/asock.h>

#include <stdlib.h>

int exit_status_of(int error)
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
