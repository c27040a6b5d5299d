/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-keeper [--quick] [--costs | --recovery] [--connections N] [--kills N] [--seed N]
 *
 * What it would cost to survive SIGKILL, as docs/RESTART.md describes it: the same worker with more
 * and more of that, side by side; then workers that are killed again and again while streams go
 * through them, of which every byte is compared.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/common.h"
#include "bench/keeper.h"

#define ROUNDS_MAX 9

static uint64_t random_state = 1;

uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % limit;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;

    if (clock_gettime(clock, &t) < 0)
        fail("clock_gettime");
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t processor_ns(pid_t pid)
{
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0)
        fail("no processor time of process %d", (int)pid);
    return clock_ns(clock);
}

/* ---- the keeper ---- */

/* Until the worker has ended: descriptors that it passes, or has no use for any more. */
static void take_descriptors(int link, struct held *held)
{
    for (;;) {
        union {
            struct cmsghdr head;
            char bytes[CMSG_SPACE(2 * sizeof(int))];
        } control;
        uint64_t slot;
        struct iovec piece = {&slot, sizeof(slot)};
        struct msghdr message = {.msg_iov = &piece,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(link, &message, MSG_CMSG_CLOEXEC);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        if (message.msg_controllen > 0) {
            memcpy(&held[slot], CMSG_DATA(&control.head), sizeof(*held));
        } else {
            close(held[slot].client);
            close(held[slot].remote);
        }
    }
}

/* As fork(), but with KEEP_TABLE the table of descriptors stays one. */
static pid_t start_worker(const struct setup *setup)
{
    return setup->keeps & KEEP_TABLE ? (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0)
                                     : fork();
}

static _Noreturn void keeper_run(struct setup *setup)
{
    struct held *held = calloc(setup->slots, sizeof(*held));
    int link[2] = {-1, -1}, status;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (bool is_first = true; held != NULL; is_first = false) {
        pid_t pid;

        if (setup->keeps & KEEP_PASSED &&
            socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) < 0)
            fail("socketpair");
        setup->control->generation++;
        pid = start_worker(setup);
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (setup->keeps & KEEP_PASSED)
                close(link[0]);
            worker_run(setup, link[1], is_first ? NULL : held);
        }
        if (setup->keeps & KEEP_PASSED) {
            close(link[1]);
            take_descriptors(link[0], held);
            close(link[0]);
        }
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            _exit(0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            break;
    }
    setup->control->failed = 1;
    _exit(1);
}

/* ---- a run ---- */

static void *map(size_t bytes, int flags)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_POPULATE | flags, -1,
                   0);

    if (p == MAP_FAILED)
        fail("no memory");
    return p;
}

static void listen_at(struct setup *setup)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    const int buffer = SOCKET_BUFFER;

    snprintf(setup->unix_name, sizeof(setup->unix_name), "bench-keeper-%d", (int)getpid());
    memcpy(name.sun_path + 1, setup->unix_name, strlen(setup->unix_name));
    setup->unix_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setup->tcp_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (setup->unix_listener < 0 || setup->tcp_listener < 0)
        fail("socket");
    setsockopt(setup->tcp_listener, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    setsockopt(setup->tcp_listener, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    if (bind(setup->unix_listener, (struct sockaddr *)&name, sizeof(name)) < 0 ||
        listen(setup->unix_listener, 64) < 0 ||
        bind(setup->tcp_listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(setup->tcp_listener, 64) < 0 ||
        getsockname(setup->tcp_listener, (struct sockaddr *)&at, &len) < 0)
        fail("listen");
    setup->tcp_port = ntohs(at.sin_port);
}

static size_t memory_bytes(const struct setup *setup)
{
    return setup->slots * sizeof(struct slot) + sizeof(struct call);
}

static void start(struct setup *setup, unsigned int keeps, unsigned int slots)
{
    *setup = (struct setup){.keeps = keeps, .slots = slots};
    setup->control = map(sizeof(*setup->control), MAP_SHARED);
    setup->memory = map(memory_bytes(setup), keeps & KEEP_SHARED ? MAP_SHARED : MAP_PRIVATE);
    setup->call = (struct call *)(setup->memory + slots);
    setup->epoll = epoll_create1(EPOLL_CLOEXEC);
    listen_at(setup);
    setup->keeper = fork();
    if (setup->keeper < 0)
        fail("fork");
    if (setup->keeper == 0)
        keeper_run(setup);
    close(setup->unix_listener);
    close(setup->epoll);
}

static void stop(struct setup *setup)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int status, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setup->control->stops = 1;
    memcpy(to.sun_path + 1, setup->unix_name, strlen(setup->unix_name));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
        waitpid(setup->keeper, &status, 0) < 0 || status != 0)
        fail("a worker does not end as it should");
    close(fd);
    close(setup->tcp_listener);
    munmap(setup->memory, memory_bytes(setup));
    munmap(setup->control, sizeof(*setup->control));
}

/* ---- what it costs ---- */

struct mode {
    const char *name;
    unsigned int keeps;
};

static const struct mode modes[] = {
    {"nothing", 0},
    {"in shared memory", KEEP_SHARED},
    {"and a journal", KEEP_SHARED | KEEP_JOURNAL},
    {"and duplicates passed", KEEP_SHARED | KEEP_JOURNAL | KEEP_PASSED},
    {"or one table", KEEP_SHARED | KEEP_JOURNAL | KEEP_TABLE},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

enum { STORES, SMALL, LARGE, CONNECT, ROWS };
static const char *const rows[ROWS] = {"stores of an operation, without system calls",
                                       "operation of 64 bytes", "operation of 4 KiB",
                                       "connection, opened and closed"};

struct options {
    bool no_costs, no_recovery;
    unsigned int connections, kills;
    unsigned int rounds, ops, connects;
};

static double measure_ops(struct setup *setup, unsigned int size, uint64_t ops, double *ret_bytes)
{
    struct load load = {.connections = 64, .size = size, .ops = ops};
    uint64_t before = setup->control->journal_bytes;

    load_run(setup, &load);
    *ret_bytes = (double)(setup->control->journal_bytes - before) / (double)load.done;
    return (double)load.worker_ns / (double)ops;
}

/* Of the worker and the keeper. */
static double measure_connects(struct setup *setup, unsigned int times)
{
    pid_t worker = setup->control->worker;
    uint64_t before = processor_ns(worker) + processor_ns(setup->keeper);

    load_connects(setup, times);
    return (double)(processor_ns(worker) + processor_ns(setup->keeper) - before) / times;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[count / 2];
}

static void print_costs(const struct options *o)
{
    static double taken[ROWS][MODES][ROUNDS_MAX];
    double bytes = 0;

    for (unsigned int round = 0; round < o->rounds; round++) {
        for (size_t m = 0; m < MODES; m++) {
            struct setup setup;

            start(&setup, modes[m].keeps, 64);
            taken[STORES][m][round] = worker_stores_ns(&setup, o->ops);
            taken[SMALL][m][round] = measure_ops(&setup, 64, o->ops, &bytes);
            taken[LARGE][m][round] = measure_ops(&setup, 4096, o->ops, &bytes);
            taken[CONNECT][m][round] = measure_connects(&setup, o->connects);
            stop(&setup);
        }
    }
    printf("| processor time |");
    for (size_t m = 0; m < MODES; m++)
        printf(" %s |", modes[m].name);
    printf("\n|---|");
    for (size_t m = 0; m < MODES; m++)
        printf("---|");
    for (size_t row = 0; row < ROWS; row++) {
        double first = 0;

        printf("\n| %s, ns |", rows[row]);
        for (size_t m = 0; m < MODES; m++) {
            double ns = median(taken[row][m], o->rounds);

            first = m == 0 ? ns : first;
            printf(" %.0f (%.2f×) |", ns, ns / first);
        }
    }
    printf("\n| bytes of the journal for an operation | %.0f |\n\n", bytes);
}

/* ---- kills ---- */

static void print_times(const char *what, const struct load *load, size_t offset)
{
    double *values = calloc(load->kills, sizeof(*values)), middle;

    if (values == NULL)
        fail("no memory");
    for (unsigned int i = 0; i < load->kills; i++) {
        uint64_t ns;

        memcpy(&ns, (const char *)&load->recoveries[i] + offset, sizeof(ns));
        values[i] = (double)ns / 1e6;
    }
    middle = median(values, load->kills);
    printf("| %s | %.2f ms (median), %.2f ms at most |\n", what, middle, values[load->kills - 1]);
    free(values);
}

static void print_kills(const struct options *o, const struct mode *mode)
{
    struct setup setup;
    struct load load = {.connections = o->connections,
                        .kills = o->kills,
                        .recoveries = calloc(o->kills, sizeof(struct recovery))};

    if (load.recoveries == NULL)
        fail("no memory");
    start(&setup, mode->keeps, o->connections);
    load_run(&setup, &load);
    printf("| %u kills, %u connections: %s | |\n|---|---|\n", o->kills, o->connections, mode->name);
    printf("| compared at the clients and their peers | %llu bytes, %llu operations |\n",
           (unsigned long long)load.bytes, (unsigned long long)load.done);
    printf("| compared with the kernel's counts | %llu streams |\n",
           (unsigned long long)setup.control->checked);
    printf("| a call's result was known to the kernel alone | %llu times |\n",
           (unsigned long long)setup.control->in_doubt);
    print_times("until another worker runs", &load, offsetof(struct recovery, started_ns));
    print_times("until it has repaired and compared everything", &load,
                offsetof(struct recovery, ready_ns));
    print_times("until the first reply", &load, offsetof(struct recovery, replied_ns));
    print_times("until all connections were served", &load, offsetof(struct recovery, served_ns));
    printf("\n");
    stop(&setup);
    free(load.recoveries);
}

/* Each process has two descriptors of a connection. */
static void raise_limit(const struct options *o)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    errno = 0;
    if (limit.rlim_max < 2 * (o->connections + 64))
        fail("%u connections need a limit of %u open files", o->connections,
             2 * (o->connections + 64));
}

static unsigned int number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    errno = 0;
    if (*text == '\0' || *end != '\0' || n == 0 || n > 1000000)
        fail("%s is not a number from 1 to 1000000", text);
    return (unsigned int)n;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"quick", no_argument, NULL, 'q'},
                                                 {"costs", no_argument, NULL, 'C'},
                                                 {"recovery", no_argument, NULL, 'R'},
                                                 {"connections", required_argument, NULL, 'c'},
                                                 {"kills", required_argument, NULL, 'k'},
                                                 {"seed", required_argument, NULL, 's'},
                                                 {0}};
    struct options o = {
        .connections = 1000, .kills = 200, .rounds = 5, .ops = 40000, .connects = 1000};
    int option;

    setvbuf(stdout, NULL, _IOLBF, 0);
    random_state = now_ns() | 1;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
        switch (option) {
        case 'q':
            o = (struct options){
                .connections = 50, .kills = 12, .rounds = 1, .ops = 2000, .connects = 50};
            break;
        case 'c':
            o.connections = number(optarg);
            break;
        case 'k':
            o.kills = number(optarg);
            break;
        case 'C':
            o.no_recovery = true;
            break;
        case 'R':
            o.no_costs = true;
            break;
        case 's':
            random_state = number(optarg);
            break;
        default:
            return 2;
        }
    }
    raise_limit(&o);
    if (!o.no_costs)
        print_costs(&o);
    if (!o.no_recovery) {
        print_kills(&o, &modes[3]);
        print_kills(&o, &modes[4]);
        offsets_after_resets(o.connections);
    }
    return 0;
}
