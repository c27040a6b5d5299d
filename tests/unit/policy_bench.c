/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a judgement costs with 10 rules and with many (100,000 unless the first argument says
 * another number), in one run: rounds of both alternate, and a row has the fastest of each and
 * their ratio. No question is asked twice. Not a test.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/identity/identity.h"
#include "tests/unit/policy_text.h"

#define ROUNDS 31
#define QUESTIONS 4096 /* of a round */

static const struct identity identity = {.pidfd = -1, .gids_known = true};

/*
 * Half of them names and suffixes, half of them prefixes of all lengths; the last one is for
 * everything.
 */
static char *make_rules(unsigned int count)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    fputs("[Rules]\n", out);
    for (unsigned int i = 0; i + 1 < count; i++) {
        unsigned int host = i / 4, bits = 12 + host % 21,
                     net = (host * 2654435761u) >> (32 - bits) << (32 - bits);

        if (i % 4 == 0)
            fprintf(out, "Deny=tcp host%u.example 443\n", host);
        else if (i % 4 == 1)
            fprintf(out, "Deny=tcp *.zone%u.example 1-1023\n", host);
        else if (i % 4 == 2)
            fprintf(out, "Deny=tcp %u.%u.%u.%u/%u %u\n", net >> 24, net >> 16 & 255, net >> 8 & 255,
                    net & 255, bits, 1024 + i % 60000);
        else
            fprintf(out, "Deny=tcp 2600:%x:%x::/48 443\n", 1 + (host >> 16), 1 + (host & 0xffff));
    }
    fputs("Allow=tcp * * +loopback +private +linklocal +local +special\n", out);
    fclose(out);
    return text;
}

static struct policy_view *make_view(unsigned int count)
{
    struct policy *policy = policy_new(POLICY_DENY);
    char error[POLICY_ERROR_MAX] = "", *text = make_rules(count);
    struct policy_view *view;

    if (!policy || policy_text_add(policy, "rules", text, strlen(text), error) < 0) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
    free(text);
    view = policy_view_new(policy, &identity, "default");
    policy_unref(policy);
    return view;
}

enum kind { NAME_FOUND, NAME_OTHER, ADDRESS4, ADDRESS6, NAME_AND_ADDRESS, KINDS };
static const char *const kinds[] = {"name with a rule", "other name", "IPv4 address",
                                    "IPv6 address", "address of a name"};

static void ask(const struct policy_view *view, enum kind kind, unsigned int number,
                unsigned int *allowed)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = number * 2654435761u};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct policy_question question = {.port = 443};
    char host[64];

    if (kind == NAME_FOUND)
        snprintf(host, sizeof(host), "www.zone%u.example", number % 25000);
    else
        snprintf(host, sizeof(host), "www.other%u.example", number);
    if (kind != ADDRESS4 && kind != ADDRESS6)
        question.host = host;
    if (kind == ADDRESS4 || kind == NAME_AND_ADDRESS)
        question.addr = (const struct sockaddr *)&in;
    if (kind == ADDRESS6)
        question.addr = (const struct sockaddr *)&in6;
    in6.sin6_addr.s6_addr[0] = 0x26;
    in6.sin6_addr.s6_addr[4] = (uint8_t)(number >> 8);
    in6.sin6_addr.s6_addr[5] = (uint8_t)number;
    in6.sin6_addr.s6_addr[15] = 1;
    *allowed += policy_judge(view, &question).is_allowed;
}

/* Nanoseconds of one judgement, in this round. */
static double measure(const struct policy_view *view, enum kind kind, unsigned int round)
{
    struct timespec from, to;
    unsigned int allowed = 0;

    clock_gettime(CLOCK_MONOTONIC, &from);
    for (unsigned int i = 0; i < QUESTIONS; i++)
        ask(view, kind, round * QUESTIONS + i * 7919, &allowed);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (allowed > QUESTIONS)
        abort();
    return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
           QUESTIONS;
}

int main(int argc, char **argv)
{
    unsigned int count = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 100000;
    struct policy_view *few_view = make_view(10), *many_view = make_view(count);

    printf("| judgement of | 10 rules, ns | %u rules, ns | ratio |\n|---|---|---|---|\n", count);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        double few = 1e9, many = 1e9;

        for (unsigned int round = 0; round < ROUNDS; round++) {
            double few_ns = measure(few_view, kind, round),
                   many_ns = measure(many_view, kind, round);

            few = few_ns < few ? few_ns : few;
            many = many_ns < many ? many_ns : many;
        }
        printf("| %s | %.0f | %.0f | %.2f |\n", kinds[kind], few, many, many / few);
    }
    policy_view_free(few_view);
    policy_view_free(many_view);
    return 0;
}
