/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/config_listener.h"

#include <errno.h>
#include <string.h>

#include "daemon/names/userdb.h"
#include "daemon/config.h"
#include "daemon/server/listener_spec.h"

enum listener_key { KEY_NAME, KEY_DIRECTORY, KEY_MODE, KEY_GROUP };

static const char *const key_names[CONFIG_LISTENER_KEYS] = {"Name", "Directory", "Mode", "Group"};

static int apply_name(const struct config *config, struct listener_spec *spec,
                      struct conf_reader *reader, const char *value)
{
    if (!listener_name_is_valid(value))
        return asock_conf_refuse(reader, "Name=%s is not a valid listener name", value);
    for (unsigned int i = 0; i < config->server.listener_count; i++) {
        if (strcmp(config->listeners[i].name, value) == 0)
            return asock_conf_refuse(reader, "Name=%s is given twice", value);
    }
    strcpy(spec->name, value);
    return 0;
}

static int apply_directory(const struct config *config, struct listener_spec *spec,
                           struct conf_reader *reader, const char *value)
{
    size_t len = strlen(value);

    if (value[0] != '/' || value[len - 1] == '/')
        return asock_conf_refuse(reader, "Directory=%s is not an absolute path, or ends with '/'",
                                 value);
    if (len >= sizeof(spec->directory))
        return asock_conf_refuse(reader, "Directory=%s is too long for a socket", value);
    for (unsigned int i = 0; i < config->server.listener_count; i++) {
        if (strcmp(config->listeners[i].directory, value) == 0)
            return asock_conf_refuse(reader, "Directory=%s is given twice", value);
    }
    strcpy(spec->directory, value);
    return 0;
}

static int apply_mode(struct listener_spec *spec, struct conf_reader *reader, const char *value)
{
    size_t digits = strspn(value, "01234567");
    unsigned int mode = 0;

    for (const char *at = value; *at >= '0' && *at <= '7' && mode <= 0777; at++)
        mode = mode * 8 + (unsigned int)(*at - '0');
    if (digits < 3 || digits > 4 || value[digits] != '\0' || mode > 0777)
        return asock_conf_refuse(reader, "Mode=%s is not an octal number from 000 to 0777", value);
    spec->mode = mode;
    spec->has_mode = true;
    return 0;
}

static int apply_group(struct listener_spec *spec, struct conf_reader *reader, const char *value)
{
    int r = userdb_find_group(value, &spec->group);

    if (r == -ENOENT || r == -EINVAL)
        return asock_conf_refuse(reader, "Group=%s is neither a number nor a group in /etc/group",
                                 value);
    if (r < 0)
        return asock_conf_refuse(reader, "Group=%s: /etc/group: %s", value, strerror(-r));
    spec->has_group = true;
    return 0;
}

static int apply_key(const struct config *config, struct listener_spec *spec,
                     struct conf_reader *reader, enum listener_key key, const char *value)
{
    switch (key) {
    case KEY_NAME:
        return apply_name(config, spec, reader, value);
    case KEY_DIRECTORY:
        return apply_directory(config, spec, reader, value);
    case KEY_MODE:
        return apply_mode(spec, reader, value);
    case KEY_GROUP:
        break;
    }
    return apply_group(spec, reader, value);
}

static int take_key(const struct config *config, struct listener_section *section,
                    struct conf_reader *reader, const struct conf_item *item)
{
    unsigned int key = 0;

    while (key < CONFIG_LISTENER_KEYS && strcmp(key_names[key], item->key) != 0)
        key++;
    if (key == CONFIG_LISTENER_KEYS)
        return asock_conf_refuse(reader, "unknown key %s= in [%s]", item->key, item->section);
    if (section->seen[key])
        return asock_conf_refuse(reader, "%s= is given twice", item->key);
    section->seen[key] = true;
    return apply_key(config, section->spec, reader, (enum listener_key)key, item->value);
}

int config_listener_end(struct listener_section *section, struct conf_reader *reader)
{
    if (!section->spec || section->spec->name[0])
        return 0;
    reader->line = section->line;
    return asock_conf_refuse(reader, "[Listener] has no Name=");
}

static int begin(struct config *config, struct listener_section *section,
                 struct conf_reader *reader)
{
    if (config->server.listener_count == LISTENERS_MAX - 1) /* and the control listener */
        return asock_conf_refuse(reader, "more than %u listeners", LISTENERS_MAX - 1);
    *section = (struct listener_section){
        .spec = &config->listeners[config->server.listener_count++],
        .line = reader->line,
    };
    config->server.listeners = config->listeners;
    return 1;
}

int config_listener_item(struct config *config, struct listener_section *section,
                         struct conf_reader *reader, const struct conf_item *item)
{
    int r;

    if (item->key) {
        r = section->spec ? take_key(config, section, reader, item) : 0;
        return r == 0 && section->spec ? 1 : r;
    }
    r = config_listener_end(section, reader);
    section->spec = NULL;
    if (r < 0 || strcmp(item->section, "Listener") != 0)
        return r;
    return begin(config, section, reader);
}
