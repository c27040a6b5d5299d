/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names and numbers that need no object. */
#include <asock/asock.h>

#include "proto/errors.h"

const char *asock_version(void)
{
    return PACKAGE_VERSION;
}

const char *asock_strerror(int error)
{
    return asock_error_to_text(error < 0 ? ERR_COUNT : (unsigned int)error);
}

const char *asock_error_name(int error)
{
    return asock_error_to_name(error < 0 ? ERR_COUNT : (unsigned int)error);
}

int asock_error_errno(int error)
{
    return asock_error_to_errno(error < 0 ? ERR_COUNT : (unsigned int)error);
}
