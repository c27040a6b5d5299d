/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>

/*
 * Runs a target over its kept corpus, one line of TAP per input. NAME.test replays
 * fuzz/corpus/NAME; with arguments, the files named there: how to look at an input that libFuzzer
 * has found, in a debugger, with any compiler.
 */

static uint8_t *read_file(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "rbe");
    uint8_t *data = NULL;
    long len;

    if (!file)
        return NULL;
    if (fseek(file, 0, SEEK_END) == 0 && (len = ftell(file)) >= 0 &&
        fseek(file, 0, SEEK_SET) == 0) {
        data = malloc(len ? (size_t)len : 1); /* of its very length, for the sanitizer */
        if (data && fread(data, 1, (size_t)len, file) != (size_t)len) {
            free(data);
            data = NULL;
        }
        *ret_len = (size_t)len;
    }
    fclose(file);
    return data;
}

static int replay(int number, const char *path)
{
    size_t len = 0;
    uint8_t *data = read_file(path, &len);
    const char *slash = strrchr(path, '/');

    if (data)
        LLVMFuzzerTestOneInput(data, len); /* does not return from what must not be */
    printf("%s %d - %s\n", data ? "ok" : "not ok", number, slash ? slash + 1 : path);
    fflush(stdout);
    free(data);
    return data ? 0 : 1;
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int replay_folder(const char *folder)
{
    struct dirent **entries = NULL;
    char path[PATH_MAX + NAME_MAX + 2];
    int count = scandir(folder, &entries, is_input, alphasort), failed = 0, i;

    if (count <= 0) {
        printf("1..1\nnot ok 1 - %s is empty or not there\n", folder);
        free(entries);
        return 1;
    }
    printf("1..%d\n", count);
    for (i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        failed |= replay(i + 1, path);
        free(entries[i]);
    }
    free(entries);
    return failed;
}

int main(int argc, char **argv)
{
    const char *top = getenv("ASOCK_TEST_SRCDIR"), *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    char folder[PATH_MAX];
    int failed = 0, i;

    if (argc == 1) {
        snprintf(folder, sizeof(folder), "%s/fuzz/corpus/%.*s", top ? top : ".",
                 (int)strcspn(name, "."), name);
        return replay_folder(folder);
    }
    printf("1..%d\n", argc - 1);
    for (i = 1; i < argc; i++)
        failed |= replay(i, argv[i]);
    return failed;
}
