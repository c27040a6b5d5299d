/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * asockd.conf(5), on top of what the command line said.
 * Failures: what is doubtful is refused with file and line; nothing is guessed.
 */
#include "daemon/config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "daemon/config_listener.h"
#include "daemon/core/limits.h"
#include "daemon/names/resolv_conf.h"

void config_init(struct config *config)
{
    *config = (struct config){
        .server.runtime_dir = "/run/asockd",
        .server.clients = LIMIT_CLIENTS_DEFAULT,
        .server.hellos = LIMIT_HELLOS_DEFAULT,
        .server.hello_seconds = LIMIT_HELLO_SECONDS_DEFAULT,
        .server.total_ops = LIMIT_TOTAL_OPS_DEFAULT,
        .server.total_kernel = LIMIT_TOTAL_KERNEL_DEFAULT,
        .server.limits = limits_default,
        .server.audit = {.mode = POLICY_AUDIT_YES, .journal = AUDIT_JOURNAL},
        .log_level = LOG_LEVEL_NOTICE,
    };
}

int config_parse_level(const char *text, enum log_level *ret)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {
        {"error", LOG_LEVEL_ERROR}, {"warning", LOG_LEVEL_WARNING}, {"notice", LOG_LEVEL_NOTICE},
        {"info", LOG_LEVEL_INFO},   {"debug", LOG_LEVEL_DEBUG},
    };

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(text, levels[i].name) == 0) {
            *ret = levels[i].level;
            return 0;
        }
    }
    return -EINVAL;
}

enum key_type { KEY_NUMBER, KEY_SIZE, KEY_SERVERS, KEY_NAT64, KEY_LEVEL, KEY_AUDIT, KEY_FILE };

struct key {
    const char *section, *name;
    enum key_type type;
    uint64_t min, max;
    size_t offset; /* of a number or size in struct config */
    size_t width;  /* bytes of it */
};

#define NUMBER_KEY(key_section, key_name, key_type, member, key_min, key_max)                      \
    {                                                                                              \
        .section = key_section, .name = key_name, .type = key_type, .min = key_min,                \
        .max = key_max, .offset = offsetof(struct config, server.member),                          \
        .width = sizeof(((struct config *)0)->server.member)                                       \
    }

#define LIMIT_KEY(key_name, key_type, member, key_min, key_max)                                    \
    NUMBER_KEY("Limits", key_name, key_type, member, key_min, key_max)

static const struct key keys[] = {
    LIMIT_KEY("Clients", KEY_NUMBER, clients, 1, LIMIT_CLIENTS_MAX),
    LIMIT_KEY("Sockets", KEY_NUMBER, limits.sockets, LIMIT_SOCKETS_MIN, LIMIT_SOCKETS_MAX),
    LIMIT_KEY("Ops", KEY_NUMBER, limits.ops, LIMIT_OPS_MIN, LIMIT_OPS_MAX),
    LIMIT_KEY("SocketOps", KEY_NUMBER, limits.socket_ops, LIMIT_SOCKET_OPS_MIN, LIMIT_OPS_MAX),
    LIMIT_KEY("SendWindow", KEY_SIZE, limits.send_window, LIMIT_WINDOW_MIN, LIMIT_WINDOW_MAX),
    LIMIT_KEY("Queued", KEY_SIZE, limits.queued_max, LIMIT_WINDOW_MIN, LIMIT_QUEUED_MAX),
    LIMIT_KEY("KernelBuffers", KEY_SIZE, limits.kernel_max, 0, LIMIT_TOTAL_BYTES_MAX),
    LIMIT_KEY("TotalKernelBuffers", KEY_SIZE, total_kernel, 0, LIMIT_TOTAL_BYTES_MAX),
    LIMIT_KEY("LingerMax", KEY_NUMBER, limits.lingers, 0, LIMIT_SOCKETS_MAX),
    LIMIT_KEY("Resolutions", KEY_NUMBER, limits.lookups, 1, LIMIT_LOOKUPS_MAX),
    LIMIT_KEY("ConnectsPerSecond", KEY_NUMBER, limits.connects_per_second, 1, LIMIT_CONNECTS_MAX),
    LIMIT_KEY("HelloMax", KEY_NUMBER, hellos, 1, LIMIT_CLIENTS_MAX),
    LIMIT_KEY("HelloTimeout", KEY_NUMBER, hello_seconds, 1, LIMIT_HELLO_SECONDS_MAX),
    LIMIT_KEY("TotalSockets", KEY_NUMBER, total_sockets, LIMIT_SOCKETS_MIN, UINT32_MAX),
    LIMIT_KEY("TotalOps", KEY_NUMBER, total_ops, LIMIT_OPS_MIN, LIMIT_TOTAL_OPS_MAX),
    LIMIT_KEY("TotalMemory", KEY_SIZE, total_memory, LIMIT_WINDOW_MIN, LIMIT_TOTAL_BYTES_MAX),
    LIMIT_KEY("TotalSharedMemory", KEY_SIZE, total_shared, LIMIT_WINDOW_MIN, LIMIT_TOTAL_BYTES_MAX),
    LIMIT_KEY("SharedMemory", KEY_SIZE, limits.shared_max, 0, LIMIT_SHARED_MAX),
    LIMIT_KEY("TotalBuffers", KEY_NUMBER, total_buffers, 1, LIMIT_TOTAL_BUFFERS_MAX),
    LIMIT_KEY("Buffers", KEY_NUMBER, limits.buffers, 0, LIMIT_BUFFERS),
    {.section = "Resolver", .name = "Servers", .type = KEY_SERVERS},
    NUMBER_KEY("Resolver", "Timeout", KEY_NUMBER, resolver_timeout, 1, RESOLVER_SECONDS_MAX),
    NUMBER_KEY("Resolver", "Tries", KEY_NUMBER, resolver_tries, 1, RESOLVER_TRIES_MAX),
    NUMBER_KEY("Resolver", "TotalTimeout", KEY_NUMBER, resolver_total, 1, RESOLVER_SECONDS_MAX),
    {.section = "Policy", .name = "Nat64Prefix", .type = KEY_NAT64},
    {.section = "Audit", .name = "Audit", .type = KEY_AUDIT},
    {.section = "Audit", .name = "File", .type = KEY_FILE},
    {.section = "Log", .name = "Level", .type = KEY_LEVEL},
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static bool has_section(const char *section)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(keys[i].section, section) == 0)
            return true;
    }
    return false;
}

static const struct key *find_key(const struct conf_item *item)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(keys[i].section, item->section) == 0 && strcmp(keys[i].name, item->key) == 0)
            return &keys[i];
    }
    return NULL;
}

static void store(struct config *config, const struct key *key, uint64_t value)
{
    char *to = (char *)config + key->offset;
    uint32_t narrow = (uint32_t)value;

    if (key->width == sizeof(narrow))
        memcpy(to, &narrow, sizeof(narrow));
    else
        memcpy(to, &value, sizeof(value));
}

static int apply_number(struct config *config, const struct key *key, struct conf_reader *reader,
                        const char *text)
{
    uint64_t value = 0;
    int r = key->type == KEY_SIZE ? asock_conf_size(text, key->min, key->max, &value)
                                  : asock_conf_number(text, key->min, key->max, &value);

    if (r == -ERANGE)
        return asock_conf_refuse(reader, "%s=%s is out of range (%" PRIu64 " to %" PRIu64 ")",
                                 key->name, text, key->min, key->max);
    if (r < 0)
        return asock_conf_refuse(reader, "%s=%s is not a %s", key->name, text,
                                 key->type == KEY_SIZE ? "size (digits, then K, M, G or nothing)"
                                                       : "number");
    store(config, key, value);
    return 0;
}

static int apply_audit(struct config *config, struct conf_reader *reader, const char *text)
{
    enum policy_audit *mode = &config->server.audit.mode;

    if (strcmp(text, "no") == 0)
        *mode = POLICY_AUDIT_NO;
    else if (strcmp(text, "yes") == 0)
        *mode = POLICY_AUDIT_YES;
    else if (strcmp(text, "required") == 0)
        *mode = POLICY_AUDIT_REQUIRED;
    else
        return asock_conf_refuse(reader, "Audit=%s: must be no, yes or required", text);
    return 0;
}

static int apply_file(struct config *config, struct conf_reader *reader, const char *path)
{
    if (*path != '/')
        return asock_conf_refuse(reader, "File=%s does not begin with /", path);
    strcpy(config->audit_file, path);
    config->server.audit.file = config->audit_file;
    return 0;
}

static int apply_servers(struct config *config, struct conf_reader *reader, const char *value)
{
    struct dns_settings settings;

    int r = resolv_conf_servers(value, 53, &settings);

    if (r == -E2BIG)
        return asock_conf_refuse(reader, "Servers= has more than the allowed %u addresses",
                                 DNS_SERVERS_MAX);
    if (r < 0)
        return asock_conf_refuse(reader,
                                 "Servers=%s: not a list of address[:port] separated by "
                                 "commas",
                                 value);
    strcpy(config->servers, value);
    config->server.servers = config->servers;
    return 0;
}

static int apply_nat64(struct config *config, struct conf_reader *reader, const char *value)
{
    int r = policy_nat64_parse(value, &config->server.policy.nat64);

    if (r == -E2BIG)
        return asock_conf_refuse(reader, "Nat64Prefix= has more than the allowed %u prefixes",
                                 POLICY_NAT64_MAX);
    if (r < 0)
        return asock_conf_refuse(reader,
                                 "Nat64Prefix=%s: not IPv6 prefixes of 32, 40, 48, 56, 64 or 96 "
                                 "bits, separated by commas",
                                 value);
    return 0;
}

static int apply_key(struct config *config, const struct key *key, struct conf_reader *reader,
                     const char *value)
{
    enum log_level level;

    switch (key->type) {
    case KEY_SERVERS:
        return apply_servers(config, reader, value);
    case KEY_NAT64:
        return apply_nat64(config, reader, value);
    case KEY_LEVEL:
        if (config_parse_level(value, &level) < 0)
            return asock_conf_refuse(reader, "%s=%s is not error, warning, notice, info or debug",
                                     key->name, value);
        if (!config->is_log_level_given)
            config->log_level = level;
        return 0;
    case KEY_AUDIT:
        return apply_audit(config, reader, value);
    case KEY_FILE:
        return apply_file(config, reader, value);
    case KEY_NUMBER:
    case KEY_SIZE:
        break;
    }
    return apply_number(config, key, reader, value);
}

struct progress {
    bool seen[KEY_COUNT];
    struct listener_section listener;
};

static int apply_item(struct config *config, struct conf_reader *reader,
                      const struct conf_item *item, struct progress *progress)
{
    int r = config_listener_item(config, &progress->listener, reader, item);
    const struct key *key;

    if (r != 0)
        return r < 0 ? r : 0;
    if (!has_section(item->section))
        return asock_conf_refuse(reader, "unknown section [%s]", item->section);
    if (!item->key)
        return 0;
    key = find_key(item);
    if (!key)
        return asock_conf_refuse(reader, "unknown key %s= in [%s]", item->key, item->section);
    if (progress->seen[key - keys])
        return asock_conf_refuse(reader, "%s= is given twice", item->key);
    progress->seen[key - keys] = true;
    return apply_key(config, key, reader, item->value);
}

static bool was_set(const struct progress *progress, const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(keys[i].name, name) == 0)
            return progress->seen[i];
    return false;
}

/*
 * More sockets need more ops: a pending receive is one, and a client whose idle connections have
 * used them up would wait without end. A part cannot be more than the whole, whichever of the two
 * was set.
 */
static void settle(struct limits *limits, const struct progress *progress)
{
    if (!was_set(progress, "Ops") && limits->ops < limits->sockets * LIMIT_OPS_PER_SOCKET)
        limits->ops = limits->sockets * LIMIT_OPS_PER_SOCKET;
    if (limits->socket_ops > limits->ops)
        limits->socket_ops = limits->ops;
    if (limits->send_window > limits->queued_max)
        limits->send_window = limits->queued_max;
}

/* 0: the reader is open, and refers to path; -ENOENT: there is no file, and none has to be. */
static int open_first(const struct config *config, struct conf_reader *reader,
                      char path[static PATH_MAX])
{
    static const char *const paths[CONFIG_DIR_COUNT] = CONFIG_DIRS;
    int r = -ENOENT;

    if (config->file)
        return asock_conf_open(reader, config->file);
    if (config->dir) {
        snprintf(path, PATH_MAX, "%s/" CONFIG_NAME, config->dir);
        return asock_conf_open(reader, path);
    }
    for (unsigned int i = 0; r == -ENOENT && i < CONFIG_DIR_COUNT; i++) {
        snprintf(path, PATH_MAX, "%s/" CONFIG_NAME, paths[i]);
        r = asock_conf_open(reader, path);
    }
    return r;
}

int config_read_file(struct config *config, char ret_error[static CONF_ERROR_MAX])
{
    struct progress progress = {0};
    struct conf_reader reader;
    struct conf_item item;
    char path[PATH_MAX];
    int r = open_first(config, &reader, path);

    if (r == -ENOENT && !config->file)
        return 0;
    while (r >= 0 && (r = asock_conf_next(&reader, &item)) > 0)
        r = apply_item(config, &reader, &item, &progress);
    if (r == 0)
        r = config_listener_end(&progress.listener, &reader);
    memcpy(ret_error, reader.error, CONF_ERROR_MAX);
    asock_conf_close(&reader);
    if (r == 0)
        settle(&config->server.limits, &progress);
    return r;
}
