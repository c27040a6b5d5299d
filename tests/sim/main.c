/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sim --seed N | --seeds A..B | --seconds N [--from N] | --replay FILE
 *     [--restarts] [--minimise] [--keep-going] [--trace]
 *
 * Runs programs in a child, so that whatever it dies of is a verdict. The last line says how many
 * were run; the exit status is 1 when one has failed.
 */
#include "tests/sim/main.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/minimise.h"
#include "tests/sim/program.h"
#include "tests/sim/real.h"
#include "tests/sim/sim.h"

/* No program takes so much of the processor. It may be long in coming, on a busy machine. */
#define HANG_SECONDS 10

/* What a child tells, before it dies. */
static struct verdict *verdict;

static struct program program;
static bool has_restarts;

static void make(uint64_t seed)
{
    program_make(seed, &program);
    if (has_restarts)
        program_add_restarts(&program);
}

void main_failed(const char *text)
{
    strncpy(verdict->text, text, sizeof(verdict->text) - 1);
    if (sim.is_tracing)
        printf("FAILED %s\n", text);
    fflush(stdout);
    if (verdict->is_abort_wanted)
        abort();
    _exit(3);
}

void main_at_step(uint32_t step)
{
    verdict->step = step;
}

static bool has_failed(pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    if (verdict->text[0])
        return true;
    if (WIFSIGNALED(status))
        snprintf(verdict->text, sizeof(verdict->text), "crash: %s", strsignal(WTERMSIG(status)));
    else
        snprintf(verdict->text, sizeof(verdict->text), "crash: exit status %d",
                 WEXITSTATUS(status));
    return true;
}

static void limit_time(void)
{
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = HANG_SECONDS}, NULL);
}

static pid_t start(void)
{
    pid_t child;

    fflush(stdout);
    verdict->text[0] = 0;
    child = fork();
    if (child == 0)
        limit_time();
    return child;
}

bool main_fails(const struct program *candidate, char ret_text[static VERDICT_TEXT])
{
    pid_t child = start();

    if (child == 0) {
        if (!sim.is_tracing && !verdict->is_abort_wanted && !freopen("/dev/null", "w", stderr))
            _exit(4);
        program_run(candidate);
        _exit(0);
    }
    if (!has_failed(child))
        return false;
    memcpy(ret_text, verdict->text, VERDICT_TEXT);
    return true;
}

/* Seeds from `from` on, to `to` or for so many seconds. False: verdict->seed has failed. */
static bool run_seeds(uint64_t from, uint64_t to, time_t until, uint64_t *ret_count)
{
    bool has_passed;
    pid_t child;

    verdict->count = 0;
    child = start();
    if (child == 0) {
        for (uint64_t seed = from; seed <= to && (!until || __real_time(NULL) < until); seed++) {
            verdict->seed = seed;
            limit_time();
            make(seed);
            program_run(&program);
            verdict->count++;
        }
        _exit(0);
    }
    has_passed = !has_failed(child);
    *ret_count = verdict->count;
    return has_passed;
}

static int report(bool is_minimising)
{
    char text[VERDICT_TEXT] = "";

    if (!main_fails(&program, text)) {
        printf("not repeatable\n");
        return 1;
    }
    printf("# %s\n", text);
    if (is_minimising) {
        minimise(&program, text);
        program_write(&program, stdout);
    }
    return 1;
}

static int replay(const char *path, bool is_minimising)
{
    FILE *file = __real_fopen(path, "re");
    char text[VERDICT_TEXT];

    if (!file || !program_read(file, &program)) {
        fprintf(stderr, "%s: cannot be read as a program\n", path);
        return 2;
    }
    fclose(file);
    if (!main_fails(&program, text)) {
        printf("%s: passed\n", path);
        return 0;
    }
    return report(is_minimising);
}

static int run_one(uint64_t seed, bool is_minimising)
{
    char text[VERDICT_TEXT];

    make(seed);
    if (!main_fails(&program, text)) {
        printf("seed %llu passed\n", (unsigned long long)seed);
        return 0;
    }
    return report(is_minimising);
}

static long since(time_t when)
{
    return (long)(__real_time(NULL) - when);
}

/* With is_greedy it goes on behind a seed that has failed. */
static int run_many(uint64_t from, uint64_t to, time_t until, bool is_minimising, bool is_greedy)
{
    time_t began = __real_time(NULL);
    uint64_t total = 0, failed = 0, count;

    while (from <= to && (!until || __real_time(NULL) < until) && (failed == 0 || is_greedy)) {
        bool has_passed = run_seeds(from, to, until, &count);

        total += count;
        if (has_passed)
            break;
        failed++;
        printf("seed %llu failed at step %u, after %llu programs and %ld seconds: %s\n",
               (unsigned long long)verdict->seed, verdict->step, (unsigned long long)total,
               since(began), verdict->text);
        make(verdict->seed);
        from = verdict->seed + 1;
        if (is_minimising || !is_greedy)
            report(is_minimising);
    }
    printf("%llu programs passed, %llu failed, %ld seconds\n", (unsigned long long)total,
           (unsigned long long)failed, since(began));
    return failed > 0;
}

static const struct option options[] = {{"seed", required_argument, NULL, 's'},
                                        {"seeds", required_argument, NULL, 'r'},
                                        {"seconds", required_argument, NULL, 't'},
                                        {"from", required_argument, NULL, 'f'},
                                        {"replay", required_argument, NULL, 'p'},
                                        {"minimise", no_argument, NULL, 'm'},
                                        {"keep-going", no_argument, NULL, 'k'},
                                        {"trace", no_argument, NULL, 'v'},
                                        {"abort", no_argument, NULL, 'a'},
                                        {"restarts", no_argument, NULL, 'R'},
                                        {NULL, 0, NULL, 0}};

int main(int argc, char **argv)
{
    uint64_t from = 1, to = UINT64_MAX, seconds = 0;
    bool is_minimising = false, is_greedy = false, has_seed = false;
    const char *path = NULL;
    char *end;
    int option;

    verdict = __real_mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (verdict == MAP_FAILED)
        return 2;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's')
            from = strtoull(optarg, NULL, 10), has_seed = true;
        else if (option == 'f')
            from = strtoull(optarg, NULL, 10);
        else if (option == 't')
            seconds = strtoull(optarg, NULL, 10);
        else if (option == 'p')
            path = optarg;
        else if (option == 'm')
            is_minimising = true;
        else if (option == 'k')
            is_greedy = true;
        else if (option == 'v')
            sim.is_tracing = true;
        else if (option == 'R')
            has_restarts = true;
        else if (option == 'a')
            verdict->is_abort_wanted = true;
        else if (option == 'r') {
            from = strtoull(optarg, &end, 10);
            to = strncmp(end, "..", 2) == 0 ? strtoull(end + 2, NULL, 10) : from;
        } else
            return 2;
    }
    if (path)
        return replay(path, is_minimising);
    if (has_seed)
        return run_one(from, is_minimising);
    return run_many(from, to, seconds ? __real_time(NULL) + (time_t)seconds : 0, is_minimising,
                    is_greedy);
}
