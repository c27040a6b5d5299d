/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"

#include "daemon/names/services.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/asock-services-XXXXXX";

static const char text[] = "# comment\n"
                           "tcpmux\t\t1/tcp\t\t\t# multiplexer\n"
                           "domain\t\t53/tcp\n"
                           "domain\t\t53/udp\n"
                           "tftp\t\t69/udp\n"
                           "http\t\t80/tcp\t\twww web  # WorldWideWeb HTTP\n"
                           "#hidden\t81/tcp\n"
                           "broken\n"
                           "noproto 82\n"
                           "huge 70000/tcp\n"
                           "huge 7000/tcp\n"
                           "odd 8x/tcp\n"
                           "last 83/tcp last-alias";

static struct services *services;

static void write_file(void)
{
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    ck_assert_int_eq(services_new(path, &services), 0);
}

static void remove_file(void)
{
    services = services_free(services);
    ck_assert_ptr_null(services);
    unlink(path);
}

static const struct {
    const char *service;
    int r;
    uint16_t port;
} table[] = {
    {"80", 0, 80},
    {"1", 0, 1},
    {"65535", 0, 65535},
    {"00080", 0, 80},
    {"0", -EINVAL, 0},
    {"65536", -EINVAL, 0},
    {"99999999999999999999", -EINVAL, 0},
    {"", -EINVAL, 0},
    {"-1", -ENOENT, 0},
    {"+80", -ENOENT, 0},
    {" 80", -ENOENT, 0},
    {"80x", -ENOENT, 0},
    {"tcpmux", 0, 1},
    {"http", 0, 80},
    {"www", 0, 80},
    {"web", 0, 80},
    {"HTTP", -ENOENT, 0},
    {"WorldWideWeb", -ENOENT, 0},
    {"#", -ENOENT, 0},
    {"domain", 0, 53},
    {"tftp", -ENOENT, 0},
    {"hidden", -ENOENT, 0},
    {"broken", -ENOENT, 0},
    {"noproto", -ENOENT, 0},
    {"huge", 0, 7000},
    {"odd", -ENOENT, 0},
    {"last", 0, 83},
    {"last-alias", 0, 83},
    {"nothing", -ENOENT, 0},
};

TEST_FIXTURE(write_file, remove_file);

START_LOOP_TEST(test_services_port, 0, sizeof(table) / sizeof(table[0]))
{
    uint16_t port = 0;

    ck_assert_msg(services_port(services, table[_i].service, &port) == table[_i].r &&
                      port == table[_i].port,
                  "\"%s\": port %u", table[_i].service, port);
}
END_TEST

START_TEST(test_services_missing_file)
{
    struct services *none;
    uint16_t port = 0;

    ck_assert_int_eq(services_new("/nonexistent/services", &none), 0);
    ck_assert_int_eq(services_port(none, "http", &port), -ENOENT);
    ck_assert_int_eq(services_port(none, "8080", &port), 0);
    ck_assert_uint_eq(port, 8080);
    services_free(none);
    ck_assert_int_eq(services_port(NULL, "http", &port), -ENOENT);
    ck_assert_int_eq(services_port(NULL, "8081", &port), 0);
    ck_assert_uint_eq(port, 8081);
}
END_TEST

static void write_text(const char *file_path, const char *content)
{
    FILE *file = fopen(file_path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(content, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

/*
 * Within one tick of the kernel's clock, of the same size, in place: as hard to see as a change can
 * be.
 */
START_TEST(test_services_follow_the_file)
{
    char changing[] = "/tmp/asock-services-XXXXXX";
    struct services *s;
    uint16_t port;

    close(mkstemp(changing));
    ck_assert_int_eq(services_new(changing, &s), 0);
    for (int i = 0; i < 20; i++) {
        write_text(changing, i % 2 ? "one 2101/tcp\n" : "two 2102/tcp\n");
        ck_assert_int_eq(services_port(s, i % 2 ? "two" : "one", &port), -ENOENT);
        ck_assert_int_eq(services_port(s, i % 2 ? "one" : "two", &port), 0);
        ck_assert_uint_eq(port, i % 2 ? 2101 : 2102);
    }
    unlink(changing);
    ck_assert_int_eq(services_port(s, "one", &port), -ENOENT);
    services_free(s);
}
END_TEST

START_TEST(test_what_is_wrong_is_said)
{
    struct services *none;

    ck_assert_ptr_nonnull(strstr(services_problem(services), "no such service"));
    ck_assert_ptr_nonnull(strstr(services_problem(NULL), "no such service"));
    ck_assert_int_eq(services_new("/nonexistent/services", &none), 0);
    ck_assert_ptr_nonnull(strstr(services_problem(none), "install netbase"));
    services_free(none);
}
END_TEST
