/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/names/resolv_conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address_port.h"
#include "base/conf.h"

/* More of the file is not looked at: it has a dozen lines. */
#define FILE_BYTES_MAX 16384u
/* What the C library makes of larger ones, resolv.conf(5). */
#define TIMEOUT_MAX 30
#define ATTEMPTS_MAX 5
#define SPACE " \t\r"

static bool set_address(const char *text, uint16_t port, union resolver_address *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, text, &ret->in.sin_addr) == 1) {
        ret->in.sin_family = AF_INET;
        ret->in.sin_port = htons(port);
        return true;
    }
    memset(ret, 0, sizeof(*ret));
    ret->in6.sin6_family = AF_INET6;
    ret->in6.sin6_port = htons(port);
    return inet_pton(AF_INET6, text, &ret->in6.sin6_addr) == 1;
}

bool resolv_conf_server(const char *text, uint16_t default_port, union resolver_address *ret)
{
    struct sockaddr_storage address;
    struct address_port parts;
    uint16_t port;

    if (set_address(text, default_port, ret))
        return true;
    if (!asock_address_port_split(text, strlen(text), &parts) ||
        !asock_address_port_number(&parts, 1, &port) ||
        !asock_address_port_numeric(&parts, port, &address))
        return false;
    memcpy(ret, &address, sizeof(*ret));
    return true;
}

int resolv_conf_servers(const char *text, uint16_t default_port, struct dns_settings *ret)
{
    char copy[CONF_LINE_MAX + 1], *rest = copy, *one;

    if (strlen(text) >= sizeof(copy))
        return -EINVAL;
    strcpy(copy, text);
    ret->server_count = 0;
    while ((one = strsep(&rest, ","))) {
        if (ret->server_count == DNS_SERVERS_MAX)
            return -E2BIG;
        if (!resolv_conf_server(one, default_port, &ret->servers[ret->server_count]))
            return -EINVAL;
        ret->server_count++;
    }
    return 0;
}

/* "timeout:3": true and 3, most at the most. */
static bool take_number(const char *option, const char *name, int most, int *ret)
{
    size_t len = strlen(name);
    uint64_t number;

    if (strncmp(option, name, len) != 0 ||
        asock_conf_number(option + len, 1, UINT32_MAX, &number) < 0)
        return false;
    *ret = number > (uint64_t)most ? most : (int)number;
    return true;
}

static void take_option(const char *option, struct dns_settings *ret)
{
    int seconds;

    if (take_number(option, "timeout:", TIMEOUT_MAX, &seconds))
        ret->timeout_ms = seconds * 1000;
    else if (strcmp(option, "rotate") == 0)
        ret->rotates = true;
    else
        take_number(option, "attempts:", ATTEMPTS_MAX, &ret->tries);
}

static void take_line(char *line, uint16_t port, struct dns_settings *ret)
{
    char *save = NULL, *key = strtok_r(line, SPACE, &save), *word;

    if (!key || *key == '#' || *key == ';')
        return;
    word = strtok_r(NULL, SPACE, &save);
    if (strcmp(key, "nameserver") == 0 && word && ret->server_count < DNS_SERVERS_MAX &&
        set_address(word, port, &ret->servers[ret->server_count]))
        ret->server_count++;
    for (; word && strcmp(key, "options") == 0; word = strtok_r(NULL, SPACE, &save))
        take_option(word, ret);
}

static ssize_t read_text(const char *path, char text[static FILE_BYTES_MAX + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, text, FILE_BYTES_MAX);
    close(fd);
    return n < 0 ? 0 : n;
}

int resolv_conf_read(const char *path, uint16_t port, struct dns_settings *ret)
{
    char text[FILE_BYTES_MAX + 1], *rest = text, *line;
    ssize_t n = read_text(path, text);

    if (n == -EMFILE || n == -ENFILE || n == -ENOMEM)
        return (int)n;
    text[n < 0 ? 0 : n] = '\0';
    ret->server_count = 0;
    while ((line = strsep(&rest, "\n")))
        take_line(line, port, ret);
    if (ret->server_count == 0 && set_address("127.0.0.1", port, &ret->servers[0]))
        ret->server_count = 1;
    return 0;
}
