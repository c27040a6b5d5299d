/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy/nat64.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/conf.h"

bool policy_nat64_has(const struct policy_nat64_prefix *prefix, const struct policy_address *addr)
{
    return policy_address_within(addr, AF_INET6, prefix->net, prefix->length);
}

bool policy_nat64_contains(const struct policy_nat64 *nat64, const struct policy_address *addr)
{
    for (unsigned int i = 0; i < nat64->count; i++) {
        if (policy_nat64_has(&nat64->prefixes[i], addr))
            return true;
    }
    return false;
}

/* RFC 6052, section 2.2: it follows the prefix, but bits 64 to 71 are skipped. */
void policy_nat64_extract(const uint8_t *bytes, unsigned int length, struct policy_address *ret)
{
    unsigned int at = length / 8;

    *ret = (struct policy_address){.family = AF_INET};
    for (unsigned int i = 0; i < 4; i++) {
        if (at == 8)
            at++;
        ret->bytes[i] = bytes[at++];
    }
}

static bool has_host_bits(const struct policy_nat64_prefix *prefix)
{
    for (unsigned int i = prefix->length / 8u; i < sizeof(prefix->net); i++) {
        if (prefix->net[i] != 0)
            return true;
    }
    return false;
}

static bool parse_one(const char *text, struct policy_nat64_prefix *ret)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    uint64_t length = 0;

    if (!slash || (size_t)(slash - text) >= sizeof(address))
        return false;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    if (inet_pton(AF_INET6, address, ret->net) != 1 ||
        asock_conf_number(slash + 1, 32, 96, &length) < 0)
        return false;
    ret->length = (uint8_t)length;
    return length % 8 == 0 && (length <= 64 || length == 96) && !has_host_bits(ret);
}

int policy_nat64_parse(const char *text, struct policy_nat64 *ret)
{
    char item[INET6_ADDRSTRLEN + 4];
    size_t len;

    ret->count = 0;
    for (;; text += len + 1) {
        len = strcspn(text, ",");
        if (len >= sizeof(item))
            return -EINVAL;
        if (ret->count == POLICY_NAT64_MAX)
            return -E2BIG;
        memcpy(item, text, len);
        item[len] = '\0';
        if (!parse_one(item, &ret->prefixes[ret->count]))
            return -EINVAL;
        ret->count++;
        if (text[len] == '\0')
            return 0;
    }
}
