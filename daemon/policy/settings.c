/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/limits.h"
#include "daemon/policy/address.h"
#include "daemon/policy/file.h"

/* ---- [Limits] ---- */

#define IDLE_SECONDS_MAX 604800u /* a week: the wheel's deadlines are in 32 bits of milliseconds */
#define KEEP_ALIVE_SECONDS_MAX 32767u /* what TCP_KEEPIDLE takes */

static const struct limit_key {
    const char *name;
    enum { COUNTED, SIZED, TIMED } kind;
    uint64_t min, max;
} limit_keys[POLICY_LIMIT_COUNT] = {
    [POLICY_LIMIT_CLIENTS] = {"Clients", COUNTED, 1, LIMIT_CLIENTS_MAX},
    [POLICY_LIMIT_SOCKETS] = {"Sockets", COUNTED, LIMIT_SOCKETS_MIN, LIMIT_SOCKETS_MAX},
    [POLICY_LIMIT_OPS] = {"Ops", COUNTED, LIMIT_OPS_MIN, LIMIT_OPS_MAX},
    [POLICY_LIMIT_SOCKET_OPS] = {"SocketOps", COUNTED, LIMIT_SOCKET_OPS_MIN, LIMIT_OPS_MAX},
    [POLICY_LIMIT_SEND_WINDOW] = {"SendWindow", SIZED, LIMIT_WINDOW_MIN, LIMIT_WINDOW_MAX},
    [POLICY_LIMIT_QUEUED] = {"Queued", SIZED, LIMIT_WINDOW_MIN, LIMIT_QUEUED_MAX},
    [POLICY_LIMIT_SHARED_MEMORY] = {"SharedMemory", SIZED, 0, UINT64_C(1) << 40},
    [POLICY_LIMIT_BUFFERS] = {"Buffers", COUNTED, 0, LIMIT_BUFFERS},
    [POLICY_LIMIT_KERNEL_BUFFERS] = {"KernelBuffers", SIZED, 0, UINT64_C(1) << 40},
    [POLICY_LIMIT_CONNECTS_PER_SECOND] = {"ConnectsPerSecond", COUNTED, 1, 1000000},
    [POLICY_LIMIT_RESOLUTIONS] = {"Resolutions", COUNTED, 1, 65536},
    [POLICY_LIMIT_LINGER] = {"LingerMax", COUNTED, 0, LIMIT_SOCKETS_MAX},
    [POLICY_LIMIT_IDLE_TIMEOUT] = {"IdleTimeout", TIMED, 1, IDLE_SECONDS_MAX},
    [POLICY_LIMIT_KEEP_ALIVE] = {"KeepAlive", TIMED, 1, KEEP_ALIVE_SECONDS_MAX},
};

/* What a value of each kind is. */
static const char *const limit_kinds[] = {
    [COUNTED] = "number",
    [SIZED] = "size (digits, then K, M, G or nothing)",
    [TIMED] = "number of seconds",
};

static int parse_limit(struct policy_limits *limits, struct conf_reader *reader,
                       const struct conf_item *item)
{
    const struct limit_key *key;
    unsigned int i = 0;
    int r;

    while (i < POLICY_LIMIT_COUNT && strcmp(limit_keys[i].name, item->key) != 0)
        i++;
    if (i == POLICY_LIMIT_COUNT)
        return asock_conf_refuse(reader, "unknown key %s= in [Limits]", item->key);
    if (limits->set & 1u << i)
        return asock_conf_refuse(reader, "%s= is given twice", item->key);
    key = &limit_keys[i];
    r = key->kind == SIZED ? asock_conf_size(item->value, key->min, key->max, &limits->value[i])
                           : asock_conf_number(item->value, key->min, key->max, &limits->value[i]);
    if (r == -ERANGE)
        return asock_conf_refuse(reader, "%s=%s is out of range (%" PRIu64 " to %" PRIu64 ")",
                                 key->name, item->value, key->min, key->max);
    if (r < 0)
        return asock_conf_refuse(reader, "%s=%s is not a %s", key->name, item->value,
                                 limit_kinds[key->kind]);
    limits->set |= 1u << i;
    return 0;
}

/* ---- [Audit] ---- */

static const char *const audit_values[] = {
    [POLICY_AUDIT_NO] = "no",
    [POLICY_AUDIT_YES] = "yes",
    [POLICY_AUDIT_REQUIRED] = "required",
};

static int parse_audit(enum policy_audit *audit, struct conf_reader *reader,
                       const struct conf_item *item)
{
    if (strcmp(item->key, "Audit") != 0)
        return asock_conf_refuse(reader, "unknown key %s= in [Audit]", item->key);
    if (*audit != POLICY_AUDIT_UNSET)
        return asock_conf_refuse(reader, "Audit= is given twice");
    for (enum policy_audit i = POLICY_AUDIT_NO; i <= POLICY_AUDIT_REQUIRED; i++) {
        if (strcmp(item->value, audit_values[i]) == 0)
            *audit = i;
    }
    if (*audit == POLICY_AUDIT_UNSET)
        return asock_conf_refuse(reader, "Audit=%s: must be no, yes or required", item->value);
    return 0;
}

/* ---- [Egress] ---- */

static bool has_v4(const struct policy_egress *egress)
{
    return egress->source4.s_addr != INADDR_ANY;
}

static bool has_v6(const struct policy_egress *egress)
{
    return !IN6_IS_ADDR_UNSPECIFIED(&egress->source6);
}

/* What an interface may have, and what can be bound to without saying which interface's it is. */
static bool can_be_source(int family, const void *bytes, unsigned int len)
{
    struct policy_address addr = {.family = family};
    uint8_t class;

    memcpy(addr.bytes, bytes, len);
    class = policy_address_class(&addr);
    return class != POLICY_NEVER && !(family == AF_INET6 && class == POLICY_LINKLOCAL);
}

static int add_source(struct policy_egress *egress, struct conf_reader *reader, const char *text)
{
    struct in6_addr in6;
    struct in_addr in;

    if (inet_pton(AF_INET, text, &in) == 1 && can_be_source(AF_INET, &in, 4) && !has_v4(egress)) {
        egress->source4 = in;
        return 0;
    }
    if (inet_pton(AF_INET6, text, &in6) == 1 && can_be_source(AF_INET6, &in6, 16) &&
        !IN6_IS_ADDR_V4MAPPED(&in6) && !has_v6(egress)) {
        egress->source6 = in6;
        return 0;
    }
    return asock_conf_refuse(
        reader, "\"%s\": Source= takes one address of each family, without a scope", text);
}

static int parse_source(struct policy_egress *egress, struct conf_reader *reader, const char *value)
{
    char text[CONF_LINE_MAX + 1], *save = NULL, *token;
    int r = 0;

    if (egress->has_source)
        return asock_conf_refuse(reader, "Source= is given twice");
    strcpy(text, value);
    for (token = strtok_r(text, " ", &save); token && r == 0; token = strtok_r(NULL, " ", &save))
        r = add_source(egress, reader, token);
    egress->has_source = true;
    return r;
}

static int parse_device(struct policy_egress *egress, struct conf_reader *reader, const char *value)
{
    if (egress->device[0])
        return asock_conf_refuse(reader, "Device= is given twice");
    if (strlen(value) >= sizeof(egress->device) || strpbrk(value, " /:") ||
        strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
        return asock_conf_refuse(reader, "\"%s\" is not a valid device name", value);
    strcpy(egress->device, value);
    return 0;
}

static const struct {
    const char *name;
    uint8_t option;
} client_options[] = {
    {"TrafficClass", POLICY_TRAFFIC_CLASS},
    {"HopLimit", POLICY_HOP_LIMIT},
    {"Broadcast", POLICY_BROADCAST},
};

#define CLIENT_OPTIONS (sizeof(client_options) / sizeof(client_options[0]))

static int add_option(struct policy_egress *egress, struct conf_reader *reader, const char *text)
{
    uint8_t option = 0;

    for (size_t i = 0; i < CLIENT_OPTIONS; i++)
        if (strcmp(text, client_options[i].name) == 0)
            option = client_options[i].option;
    if (option == 0)
        return asock_conf_refuse(
            reader, "Options=%s is not one of TrafficClass, HopLimit and Broadcast", text);
    if (egress->options & option)
        return asock_conf_refuse(reader, "%s is given twice", text);
    egress->options |= option;
    return 0;
}

static int parse_options(struct policy_egress *egress, struct conf_reader *reader,
                         const char *value)
{
    char text[CONF_LINE_MAX + 1], *save = NULL, *token;
    int r = 0;

    if (egress->has_options)
        return asock_conf_refuse(reader, "Options= is given twice");
    egress->has_options = true;
    if (strcmp(value, "none") == 0)
        return 0;
    strcpy(text, value);
    for (token = strtok_r(text, " ", &save); token && r == 0; token = strtok_r(NULL, " ", &save))
        r = add_option(egress, reader, token);
    return r;
}

static int parse_egress(struct policy_egress *egress, struct conf_reader *reader,
                        const struct conf_item *item)
{
    if (strcmp(item->key, "Source") == 0)
        return parse_source(egress, reader, item->value);
    if (strcmp(item->key, "Device") == 0)
        return parse_device(egress, reader, item->value);
    if (strcmp(item->key, "Options") == 0)
        return parse_options(egress, reader, item->value);
    return asock_conf_refuse(reader, "unknown key %s= in [Egress]", item->key);
}

/* ---- as text ---- */

static void limit_text(const struct policy_limits *limits, unsigned int i, char *ret)
{
    static const char *const units[] = {"", "K", "M", "G"};
    uint64_t value = limits->value[i];
    unsigned int unit = 0;

    for (; limit_keys[i].kind == SIZED && value > 0 && value % 1024 == 0 && unit < 3; unit++)
        value /= 1024;
    snprintf(ret, POLICY_SETTING_MAX, "[Limits] %s=%" PRIu64 "%s", limit_keys[i].name, value,
             units[unit]);
}

static void source_text(const struct policy_egress *egress, char *ret)
{
    char v4[INET_ADDRSTRLEN] = "", v6[INET6_ADDRSTRLEN] = "";

    if (has_v4(egress))
        inet_ntop(AF_INET, &egress->source4, v4, sizeof(v4));
    if (has_v6(egress))
        inet_ntop(AF_INET6, &egress->source6, v6, sizeof(v6));
    snprintf(ret, POLICY_SETTING_MAX, "[Egress] Source=%s%s%s", v4, *v4 && *v6 ? " " : "", v6);
}

static void options_text(const struct policy_egress *egress, char *ret)
{
    size_t len = (size_t)snprintf(ret, POLICY_SETTING_MAX, "[Egress] Options=");
    const char *separator = "";

    for (size_t i = 0; i < CLIENT_OPTIONS; i++)
        if (egress->options & client_options[i].option) {
            len += (size_t)snprintf(ret + len, POLICY_SETTING_MAX - len, "%s%s", separator,
                                    client_options[i].name);
            separator = " ";
        }
    if (!*separator)
        snprintf(ret + len, POLICY_SETTING_MAX - len, "none");
}

bool policy_settings_text(const struct policy_settings *settings, unsigned int number,
                          char ret[static POLICY_SETTING_MAX])
{
    for (unsigned int i = 0; i < POLICY_LIMIT_COUNT; i++) {
        if (!(settings->limits.set & 1u << i) || number-- > 0)
            continue;
        limit_text(&settings->limits, i, ret);
        return true;
    }
    if (settings->audit != POLICY_AUDIT_UNSET && number-- == 0)
        snprintf(ret, POLICY_SETTING_MAX, "[Audit] Audit=%s", audit_values[settings->audit]);
    else if (settings->egress.has_source && number-- == 0)
        source_text(&settings->egress, ret);
    else if (settings->egress.device[0] && number-- == 0)
        snprintf(ret, POLICY_SETTING_MAX, "[Egress] Device=%s", settings->egress.device);
    else if (settings->egress.has_options && number == 0)
        options_text(&settings->egress, ret);
    else
        return false;
    return true;
}

/* ---- all three ---- */

int policy_settings_parse(struct policy_settings *settings, struct conf_reader *reader,
                          const struct conf_item *item)
{
    if (strcmp(item->section, "Limits") == 0)
        return parse_limit(&settings->limits, reader, item);
    if (strcmp(item->section, "Audit") == 0)
        return parse_audit(&settings->audit, reader, item);
    return parse_egress(&settings->egress, reader, item);
}

static void merge_limits(struct policy_limits *limits, const struct policy_limits *more)
{
    for (unsigned int i = 0; i < POLICY_LIMIT_COUNT; i++) {
        if (!(more->set & ~limits->set & 1u << i))
            continue;
        limits->set |= 1u << i;
        limits->value[i] = more->value[i];
    }
}

void policy_settings_merge(struct policy_settings *settings, const struct policy_settings *more)
{
    merge_limits(&settings->limits, &more->limits);
    if (settings->audit == POLICY_AUDIT_UNSET)
        settings->audit = more->audit;
    if (!settings->egress.device[0])
        memcpy(settings->egress.device, more->egress.device, sizeof(more->egress.device));
    if (!settings->egress.has_options && more->egress.has_options) {
        settings->egress.has_options = true;
        settings->egress.options = more->egress.options;
    }
    if (!settings->egress.has_source && more->egress.has_source) {
        settings->egress.has_source = true;
        settings->egress.source4 = more->egress.source4;
        settings->egress.source6 = more->egress.source6;
    }
}
