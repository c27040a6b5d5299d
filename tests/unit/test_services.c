/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"
#include "daemon/names/services.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

static void write_file(void)
{
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
}

static void remove_file(void)
{
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

    ck_assert_msg(services_port(table[_i].service, path, &port) == table[_i].r &&
                      port == table[_i].port,
                  "\"%s\": port %u", table[_i].service, port);
}
END_TEST

START_TEST(test_services_missing_file)
{
    uint16_t port = 0;

    ck_assert_int_eq(services_port("http", "/nonexistent/services", &port), -ENOENT);
    ck_assert_int_eq(services_port("8080", "/nonexistent/services", &port), 0);
    ck_assert_uint_eq(port, 8080);
}
END_TEST
