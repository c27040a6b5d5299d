/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/names/services.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE " \t\r\n"

static int parse_port(const char *text, uint16_t *ret)
{
    unsigned long port = 0;
    size_t len = strlen(text);

    if (len == 0 || len > 5)
        return -EINVAL;
    port = strtoul(text, NULL, 10);
    if (port == 0 || port > UINT16_MAX)
        return -EINVAL;
    *ret = (uint16_t)port;
    return 0;
}

static bool is_decimal(const char *text)
{
    return text[strspn(text, "0123456789")] == '\0';
}

/* "name port/protocol alias…"; true when this line is about that TCP service and can be read. */
static bool match_line(char *line, const char *service, uint16_t *ret)
{
    char *save = NULL, *name, *port, *protocol;
    bool is_match;

    line[strcspn(line, "#")] = '\0';
    name = strtok_r(line, SPACE, &save);
    port = strtok_r(NULL, SPACE, &save);
    if (!name || !port)
        return false;
    protocol = strchr(port, '/');
    if (!protocol || strcmp(protocol + 1, "tcp") != 0)
        return false;
    *protocol = '\0';
    is_match = strcmp(name, service) == 0;
    while (!is_match && (name = strtok_r(NULL, SPACE, &save)) != NULL)
        is_match = strcmp(name, service) == 0;
    return is_match && is_decimal(port) && parse_port(port, ret) == 0;
}

static int find_name(FILE *file, const char *service, uint16_t *ret)
{
    char *line = NULL;
    size_t cap = 0;
    int r = -ENOENT;

    while (r == -ENOENT && getline(&line, &cap, file) >= 0) {
        if (match_line(line, service, ret))
            r = 0;
    }
    free(line);
    return r;
}

int services_port(const char *service, const char *path, uint16_t *ret)
{
    FILE *file;
    int r;

    if (is_decimal(service)) /* the empty text too */
        return parse_port(service, ret);
    file = fopen(path ? path : "/etc/services", "re");
    if (!file)
        return -ENOENT;
    r = find_name(file, service, ret);
    fclose(file);
    return r;
}
