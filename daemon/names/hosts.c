/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/names/hosts.h"

#include <arpa/inet.h>
#include <string.h>

#include "daemon/names/host.h"

#define SPACE " \t\r"

/* "address name alias…"; an address with a zone is none here, as for glibc. */
static void take_line(struct file_table_names *names, char *line)
{
    char *save = NULL, *address = strtok_r(line, SPACE, &save), *name;
    union file_table_value value;

    memset(&value, 0, sizeof(value));
    if (!address)
        return;
    value.address.family = strchr(address, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(value.address.family, address, value.address.bytes) != 1)
        return;
    while ((name = strtok_r(NULL, SPACE, &save))) {
        host_lower(name);
        file_table_add(names, name, &value);
    }
}

int hosts_new(const char *path, struct file_table **ret)
{
    return file_table_new(path ? path : "/etc/hosts", take_line, ret);
}

static void add_address(struct resolver_result *result, const union file_table_value *value)
{
    union resolver_address *to = &result->addresses[result->count];

    if (result->count == RESOLVER_ADDRESSES_MAX)
        return;
    memset(to, 0, sizeof(*to));
    to->any.sa_family = value->address.family;
    if (value->address.family == AF_INET)
        memcpy(&to->in.sin_addr, value->address.bytes, sizeof(to->in.sin_addr));
    else
        memcpy(&to->in6.sin6_addr, value->address.bytes, sizeof(to->in6.sin6_addr));
    result->count++;
}

bool hosts_find(const struct file_table *hosts, const char *name, int family,
                struct resolver_result *ret)
{
    const union file_table_value *value = file_table_find(hosts, name, NULL);

    if (!value)
        return false;
    ret->count = 0;
    ret->source = RESOLVER_HOSTS;
    /* A name may stand in each line of a large file. */
    for (; value && ret->count < RESOLVER_ADDRESSES_MAX;
         value = file_table_find(hosts, name, value))
        if (family == AF_UNSPEC || family == value->address.family)
            add_address(ret, value);
    ret->error = ret->count > 0 ? ERR_SUCCESS : ERR_NO_DATA;
    return true;
}
