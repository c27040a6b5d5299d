/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/names/host.h"
#include "daemon/names/services.h"
#include "fuzz/fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * The destination that a client asks for: the first line is a host, the second a service, the rest
 * the file of services. A host that is read as an address must be that address; a host that is read
 * as a name must not be an address to any other reader.
 */

static void check_address(const struct host *host)
{
    static const struct in6_addr unspecified = IN6ADDR_ANY_INIT;
    char text[INET6_ADDRSTRLEN];
    bool is_v4 = host->address.any.sa_family == AF_INET;
    struct host again;

    MUST(is_v4 || host->address.any.sa_family == AF_INET6);
    if (is_v4)
        MUST(host->address.in.sin_addr.s_addr != INADDR_ANY);
    else
        MUST(memcmp(&host->address.in6.sin6_addr, &unspecified, sizeof(unspecified)) != 0);
    inet_ntop(host->address.any.sa_family,
              is_v4 ? (const void *)&host->address.in.sin_addr
                    : (const void *)&host->address.in6.sin6_addr,
              text, sizeof(text));
    MUST(host_parse(text, &again) == 0 && again.kind == HOST_ADDRESS);
    again.address.in6.sin6_scope_id = host->address.in6.sin6_scope_id;
    MUST(memcmp(&again.address, &host->address, sizeof(again.address)) == 0);
}

static void check_name(const struct host *host)
{
    struct in_addr in;
    const char *p;

    MUST(host->name[0] && strlen(host->name) <= HOST_TEXT_MAX);
    for (p = host->name; *p; p++)
        MUST(*p > ' ' && *p < 0x7f && !strchr("/:%@[]\"'\\", *p));
    MUST(inet_aton(host->name, &in) == 0);
}

static void check_host(const char *text)
{
    struct host host;
    int r = host_parse(text, &host);

    MUST(r == 0 || r == -EINVAL);
    if (r == 0 && host.kind == HOST_ADDRESS)
        check_address(&host);
    else if (r == 0)
        check_name(&host);
}

static void check_service(const char *service, const char *table, size_t len)
{
    char path[64];
    struct services *services;
    uint16_t port = 0;
    int fd = memfd_create("services", MFD_CLOEXEC), r;

    MUST(fd >= 0 && write(fd, table, len) == (ssize_t)len);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    MUST(services_new(path, &services) == 0);
    r = services_port(services, service, &port);
    services_free(services);
    MUST(r == -EINVAL || r == -ENOENT || (r == 0 && port != 0));
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *service, *rest;

    MUST(text);
    memcpy(text, data, size);
    text[size] = '\0';
    rest = text;
    strsep(&rest, "\n");
    service = strsep(&rest, "\n");
    check_host(text);
    if (service)
        check_service(service, rest ? rest : "", rest ? size - (size_t)(rest - text) : 0);
    free(text);
    return 0;
}
