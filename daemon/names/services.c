/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/names/services.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/names/file_table.h"

#define SPACE " \t\r"

struct services {
    struct file_table *table;
};

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

/* "name port/protocol alias…" */
static void take_line(struct file_table_names *names, char *line)
{
    char *save = NULL, *name = strtok_r(line, SPACE, &save), *port = strtok_r(NULL, SPACE, &save);
    union file_table_value value;
    char *protocol;

    memset(&value, 0, sizeof(value));
    if (!name || !port)
        return;
    protocol = strchr(port, '/');
    if (!protocol || strcmp(protocol + 1, "tcp") != 0)
        return;
    *protocol = '\0';
    if (!is_decimal(port) || parse_port(port, &value.port) < 0)
        return;
    for (; name; name = strtok_r(NULL, SPACE, &save))
        file_table_add(names, name, &value);
}

int services_new(const char *path, struct services **ret)
{
    struct services *services = mem_zalloc(1, sizeof(*services));
    int r;

    if (!services)
        return -ENOMEM;
    r = file_table_new(path ? path : "/etc/services", take_line, &services->table);
    if (r < 0) {
        mem_free(services);
        return r;
    }
    *ret = services;
    return 0;
}

struct services *services_free(struct services *services)
{
    if (!services)
        return NULL;
    file_table_free(services->table);
    return mem_free(services);
}

const char *services_problem(const struct services *services)
{
    if (services && file_table_is_empty(services->table))
        return "/etc/services is missing or empty: install netbase, or give the port as a number";
    return "there is no such service in /etc/services: give the port as a number";
}

int services_port(struct services *services, const char *service, uint16_t *ret)
{
    const union file_table_value *value;

    if (is_decimal(service)) /* the empty text too */
        return parse_port(service, ret);
    if (!services)
        return -ENOENT;
    /*
     * A file of one step, as they are, is known at once; the steps of a larger one are shared out.
     */
    if (!file_table_is_current(services->table))
        file_table_step(services->table);
    value = file_table_find(services->table, service, NULL);
    if (!value)
        return -ENOENT;
    *ret = value->port;
    return 0;
}
