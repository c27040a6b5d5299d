/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-client: one measurement of one system, its result as a line of JSON.
 *
 *   bench-client --way plain|asock|lent|lender --test TEST --server PORT [--proxy PORT
 *   [--socks]] [--path SOCKET] [--host ADDRESS] ...
 *
 * A test runs a fixed number of units to warm up and to learn its speed, then as many as fill the
 * time. The CPU time of the processes --pids names, and of their children, is read before and after
 * those: a proxy's children live as long as the connections, and these stay open.
 */
#include <dirent.h>
#include <errno.h>
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/client.h"

/* By then the kernel and all processes have done what they still had to do for a connection. */
#define REST_NS 1500000

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void times_add(struct times *times, uint64_t began_ns, uint64_t ended_ns)
{
    if (times->count < times->most)
        times->ns[times->count++] = (uint32_t)(ended_ns - began_ns);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* ---- CPU time, in ns ---- */

static uint64_t own_cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t read_number(const char *path)
{
    unsigned long long n = 0;
    FILE *file = fopen(path, "re");

    if (file != NULL) {
        if (fscanf(file, "%llu", &n) != 1)
            n = 0;
        fclose(file);
    }
    return n;
}

static uint64_t process_cpu(long pid);

static uint64_t children_cpu(const char *task)
{
    char path[128];
    uint64_t sum = 0;
    FILE *file;
    long child;

    snprintf(path, sizeof path, "%s/children", task);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (fscanf(file, "%ld", &child) == 1)
        sum += process_cpu(child);
    fclose(file);
    return sum;
}

/* All threads, and all descendants that live. */
static uint64_t process_cpu(long pid)
{
    char folder[64], task[96], path[128];
    struct dirent *entry;
    uint64_t sum = 0;
    DIR *dir;

    snprintf(folder, sizeof folder, "/proc/%ld/task", pid);
    dir = opendir(folder);
    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(task, sizeof task, "%s/%.16s", folder, entry->d_name);
        snprintf(path, sizeof path, "%s/schedstat", task);
        sum += read_number(path) + children_cpu(task);
    }
    closedir(dir);
    return sum;
}

static uint64_t others_cpu(const char *pids)
{
    uint64_t sum = 0;
    char *end;

    for (; pids != NULL && *pids != '\0'; pids = *end == ',' ? end + 1 : end) {
        sum += process_cpu(strtol(pids, &end, 10));
        if (*end != ',' && *end != '\0')
            fail("--pids: %s", pids);
    }
    return sum;
}

/* ---- the driver's side of it ---- */

static void tell_and_wait(const char *text)
{
    char line[16];

    printf("%s\n", text);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(0);
}

void idle_begin(void)
{
    tell_and_wait("begin");
}

void idle_ready(unsigned int connections)
{
    char text[32];

    snprintf(text, sizeof text, "ready %u", connections);
    tell_and_wait(text);
}

static void print_result(struct client *c, long units, uint64_t ns, uint64_t own, uint64_t others)
{
    struct times *t = &c->times;

    printf("{\"units\": %ld, \"bytes\": %llu, \"seconds\": %.9f, \"cpu_client\": %.9f, "
           "\"cpu_others\": %.9f",
           units, (unsigned long long)units * c->o.size, (double)ns / 1e9, (double)own / 1e9,
           (double)others / 1e9);
    if (t->count > 0) {
        qsort(t->ns, t->count, sizeof *t->ns, compare);
        printf(", \"p50_us\": %.3f, \"p99_us\": %.3f", t->ns[t->count / 2] / 1e3,
               t->ns[t->count * 99 / 100] / 1e3);
    }
    printf("}\n");
}

static long learn_units(struct client *c, const struct test *test, long warm)
{
    uint64_t began = now_ns(), ns;
    long units;

    test->run(c, warm);
    ns = now_ns() - began;
    if (c->o.count > 0)
        return c->o.count;
    units = (long)((double)warm / (double)(ns + 1) * c->o.seconds * 1e9);
    return units > 0 ? units : 1;
}

static void measure(struct client *c, const struct test *test)
{
    long warm = test->warm > 0 ? test->warm : (long)((16u << 20) / c->o.size);
    uint64_t began, ns, own, others;
    long units;

    test->prepare(c);
    if (test->run == NULL)
        return;
    units = learn_units(c, test, warm);
    c->times.ns = calloc((size_t)units, sizeof *c->times.ns);
    if (c->times.ns == NULL)
        fail("no memory");
    memset(c->times.ns, 1, (size_t)units * sizeof *c->times.ns);
    c->times.most = (size_t)units;
    c->times.count = 0;
    if (c->o.pause)
        tell_and_wait("begin");
    others = others_cpu(c->o.pids);
    own = own_cpu();
    began = now_ns();
    test->run(c, units);
    ns = now_ns() - began;
    own = own_cpu() - own;
    others = others_cpu(c->o.pids) - others;
    if (c->o.pause)
        tell_and_wait("end");
    print_result(c, units, ns, own, others);
}

void rest(const struct options *o)
{
    const struct timespec time = {.tv_nsec = REST_NS};

    if (o->rest)
        nanosleep(&time, NULL);
}

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static const struct option long_options[] = {{"way", required_argument, NULL, 'w'},
                                             {"test", required_argument, NULL, 't'},
                                             {"server", required_argument, NULL, 's'},
                                             {"proxy", required_argument, NULL, 'p'},
                                             {"path", required_argument, NULL, 'P'},
                                             {"socks", no_argument, NULL, 'S'},
                                             {"given", no_argument, NULL, 'g'},
                                             {"rest", no_argument, NULL, 'R'},
                                             {"shared", no_argument, NULL, 'm'},
                                             {"errors-only", no_argument, NULL, 'e'},
                                             {"size", required_argument, NULL, 'z'},
                                             {"connections", required_argument, NULL, 'c'},
                                             {"processes", required_argument, NULL, 'C'},
                                             {"seconds", required_argument, NULL, 'd'},
                                             {"rate", required_argument, NULL, 'r'},
                                             {"count", required_argument, NULL, 'n'},
                                             {"spoil", required_argument, NULL, 'x'},
                                             {"pause", no_argument, NULL, 'W'},
                                             {"pids", required_argument, NULL, 'i'},
                                             {"host", required_argument, NULL, 'H'},
                                             {0}};

static bool *flag_of(struct options *o, int c)
{
    switch (c) {
    case 'S':
        return &o->socks;
    case 'm':
        return &o->shared;
    case 'e':
        return &o->errors_only;
    case 'g':
        return &o->given;
    case 'R':
        return &o->rest;
    case 'W':
        return &o->pause;
    default:
        return NULL;
    }
}

static void parse(struct options *o, int c)
{
    bool *flag = flag_of(o, c);

    if (flag) {
        *flag = true;
        return;
    }
    switch (c) {
    case 'w':
        o->way = optarg;
        break;
    case 't':
        o->test = optarg;
        break;
    case 's':
        o->server = loopback(optarg);
        break;
    case 'p':
        o->proxy = loopback(optarg);
        break;
    case 'P':
        o->path = optarg;
        break;
    case 'z':
        o->size = (size_t)atol(optarg);
        break;
    case 'c':
        o->connections = (unsigned int)atoi(optarg);
        break;
    case 'C':
        o->processes = (unsigned int)atoi(optarg);
        break;
    case 'd':
        o->seconds = atof(optarg);
        break;
    case 'r':
        o->rate = atof(optarg);
        break;
    case 'n':
        o->count = atol(optarg);
        break;
    case 'x':
        o->spoil = atol(optarg);
        break;
    case 'i':
        o->pids = optarg;
        break;
    case 'H':
        if (inet_pton(AF_INET, optarg, &o->server.sin_addr) != 1)
            fail("--host: %s", optarg);
        break;
    default:
        exit(2);
    }
}

const struct test *test_named(const struct test *tests, const char *name)
{
    for (; tests->name != NULL; tests++)
        if (strcmp(tests->name, name) == 0)
            return tests;
    return NULL;
}

static const struct test *find_test(const char *way, const char *name)
{
    const struct test *test;

    if (strcmp(way, "lender") == 0)
        return lender_test(name);
    test = datagram_test(way, name);
    if (test != NULL)
        return test;
    return strcmp(way, "asock") == 0  ? asock_test(name)
           : strcmp(way, "lent") == 0 ? lent_test(name)
                                      : plain_test(name);
}

int main(int argc, char **argv)
{
    static struct client client = {.o = {.way = "plain",
                                         .test = "",
                                         .size = MESSAGE,
                                         .connections = 1,
                                         .seconds = 0.2,
                                         .spoil = -1}};
    const struct test *test;
    struct rlimit limit;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        parse(&client.o, c);
    if (client.o.size == 0 || client.o.size > PATTERN_PIECE || client.o.connections == 0)
        fail("--size is 1 to %u, --connections at least 1", PATTERN_PIECE);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    client.sent = pattern_new(client.o.spoil);
    client.expected = pattern_new(-1);
    test = find_test(client.o.way, client.o.test);
    if (test == NULL)
        fail("--way %s has no --test %s", client.o.way, client.o.test);
    if (client.o.processes > 0)
        crowd_measure(&client, test);
    else
        measure(&client, test);
    return 0;
}
