/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/errors.h"

#include <errno.h>
#include <stdlib.h>

enum asock_wire_error asock_error_from_errno(int err)
{
    err = abs(err);
    /* Several errnos, one error; and those whose table entry means the resolver. */
    switch (err) {
    case EAGAIN:
    case ENOENT:
    case ENODATA:
    case ENOTRECOVERABLE:
    case EIO:
        return ERR_SOCKET_ERROR;
    case EPERM:
        return ERR_ACCESS_DENIED; /* netfilter's answer to a forbidden packet */
    case ENOMEM:
        return ERR_NO_BUFFER_SPACE;
    case ENFILE:
        return ERR_TOO_MANY_OPEN_SOCKETS;
    case EINPROGRESS:
        return ERR_ALREADY_IN_PROGRESS;
    case ENONET:
        return ERR_NETWORK_UNREACHABLE;
    case EPFNOSUPPORT:
        return ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
    default:
        break;
    }
#define X(wire, name, dotnet, number, text)                                                        \
    if (err == (number))                                                                           \
        return ERR_##name;
    ASOCK_ERRORS(X)
#undef X
    return ERR_SOCKET_ERROR;
}

int asock_error_to_errno(unsigned int error)
{
    switch (error) {
#define X(wire, name, dotnet, number, text)                                                        \
    case wire:                                                                                     \
        return number;
        ASOCK_ERRORS(X)
#undef X
    default:
        return EIO;
    }
}

const char *asock_error_to_name(unsigned int error)
{
    switch (error) {
#define X(wire, name, dotnet, number, text)                                                        \
    case wire:                                                                                     \
        return dotnet;
        ASOCK_ERRORS(X)
#undef X
    default:
        return "Unknown";
    }
}

const char *asock_error_to_text(unsigned int error)
{
    switch (error) {
#define X(wire, name, dotnet, number, text)                                                        \
    case wire:                                                                                     \
        return text;
        ASOCK_ERRORS(X)
#undef X
    default:
        return "unknown error";
    }
}
