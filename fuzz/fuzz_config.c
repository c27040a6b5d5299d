/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/config.h"
#include "daemon/core/limits.h"
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * asockd.conf: whatever it says, it is refused with a line of it, or leaves limits that the daemon
 * can work with; read again on top of the same command line it says the same.
 */

static void check_limits(const struct limits *limits)
{
    MUST(limits->sockets >= LIMIT_SOCKETS_MIN && limits->sockets <= LIMIT_SOCKETS_MAX);
    MUST(limits->ops >= LIMIT_OPS_MIN && limits->ops <= LIMIT_OPS_MAX);
    MUST(limits->socket_ops >= LIMIT_SOCKET_OPS_MIN && limits->socket_ops <= limits->ops);
    MUST(limits->queued_max >= LIMIT_WINDOW_MIN && limits->queued_max <= LIMIT_QUEUED_MAX);
    MUST(limits->send_window >= LIMIT_WINDOW_MIN && limits->send_window <= limits->queued_max);
}

static void check_taken(const struct config *config)
{
    check_limits(&config->server.limits);
    MUST(config->server.clients >= 1 && config->server.clients <= LIMIT_CLIENTS_MAX);
    MUST(config->server.listener_count <= LISTENERS_MAX);
    MUST(!config->server.servers || *config->server.servers);
}

static int read_config(const char *path, struct config *config, char *error)
{
    int r;

    config_init(config);
    config->file = path;
    *error = '\0';
    r = config_read_file(config, error);
    if (r == 0)
        check_taken(config);
    else
        MUST(strncmp(error, path, strlen(path)) == 0 && strlen(error) > strlen(path));
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], first_error[CONF_ERROR_MAX], second_error[CONF_ERROR_MAX];
    static struct config first, second;
    int fd = memfd_create("config", MFD_CLOEXEC), r;

    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    MUST(fchmod(fd, 0600) == 0); /* a memfd may be written to by everybody */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    r = read_config(path, &first, first_error);
    MUST(read_config(path, &second, second_error) == r);
    MUST(strcmp(first_error, second_error) == 0);
    MUST(memcmp(&first.server.limits, &second.server.limits, sizeof(first.server.limits)) == 0);
    close(fd);
    return 0;
}
