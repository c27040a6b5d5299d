/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/conf.h"
#include "fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Configuration files. What the reader takes out of a file, written down plainly, must be read as
 * the same items again; what it refuses must be reported with file and line. Numbers and sizes:
 * what is taken is in range and is what the digits say.
 */

#define ITEMS_MAX 4096

struct items {
    size_t count;
    int result; /* of the last call of the reader */
};

static void path_of(int fd, char path[64])
{
    snprintf(path, 64, "/proc/self/fd/%d", fd);
}

static void check_numbers(const char *text)
{
    uint64_t number = 7, size = 7, low = 0;

    if (asock_conf_number(text, 0, UINT64_MAX, &number) == 0) {
        MUST(strtoull(text, NULL, 10) == number);
        MUST(asock_conf_size(text, 0, UINT64_MAX, &size) == 0 && size == number);
        MUST(number == 0 || asock_conf_number(text, 0, number - 1, &low) == -ERANGE);
    } else if (asock_conf_size(text, 0, UINT64_MAX, &size) == 0) {
        MUST(strchr("KMG", text[strlen(text) - 1]) && size % 1024 == 0);
    }
}

static void check_item(const struct conf_item *item)
{
    MUST(item->section[0] && strlen(item->section) <= CONF_NAME_MAX);
    if (!item->key)
        return;
    MUST(item->key[0] && strlen(item->key) <= CONF_NAME_MAX);
    MUST(strlen(item->value) <= CONF_LINE_MAX);
    MUST(item->value[0] != ' ' && !strpbrk(item->value, "\t\n\r"));
    MUST(!item->value[0] || item->value[strlen(item->value) - 1] != ' ');
    check_numbers(item->value);
}

static void check_error(const struct conf_reader *reader)
{
    char where[128];

    snprintf(where, sizeof(where), "%s:%u: ", reader->path, reader->line);
    MUST(strncmp(reader->error, where, strlen(where)) == 0);
    MUST(reader->error[strlen(where)]);
}

/* Reads the file behind fd and writes what it says to a plain one. */
static struct items read_items(int fd, char **ret_text, size_t *ret_len)
{
    FILE *plain = open_memstream(ret_text, ret_len);
    struct items items = {0};
    struct conf_reader reader;
    struct conf_item item;
    char path[64];

    MUST(plain);
    path_of(fd, path);
    MUST(asock_conf_open(&reader, path) == 0);
    while ((items.result = asock_conf_next(&reader, &item)) > 0 && items.count < ITEMS_MAX) {
        items.count++;
        check_item(&item);
        if (item.key)
            fprintf(plain, "%s=%s\n", item.key, item.value);
        else
            fprintf(plain, "[%s]\n", item.section);
    }
    if (items.result < 0) {
        MUST(items.result == -EBADMSG);
        check_error(&reader);
        MUST(asock_conf_next(&reader, &item) == 0);
    }
    asock_conf_close(&reader);
    fclose(plain);
    return items;
}

static int file_with(const void *data, size_t size)
{
    int fd = memfd_create("conf", MFD_CLOEXEC);

    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    MUST(fchmod(fd, 0600) == 0); /* a memfd has mode 0777, which is refused */
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *first = NULL, *second = NULL;
    size_t first_len = 0, second_len = 0;
    struct items a, b;
    int fd;

    if (size > CONF_FILE_MAX)
        return 0;
    fd = file_with(data, size);
    a = read_items(fd, &first, &first_len);
    close(fd);

    fd = file_with(first, first_len);
    b = read_items(fd, &second, &second_len);
    close(fd);
    MUST(b.result >= 0 && b.count == a.count);
    MUST(first_len == second_len && memcmp(first, second, first_len) == 0);
    free(first);
    free(second);
    return 0;
}
