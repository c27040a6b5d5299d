/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "daemon/core/limits.h"

static char path[] = "/tmp/asock-config-XXXXXX";

static void make_file(void)
{
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void remove_file(void)
{
    unlink(path);
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static int read_text(struct config *config, const char *text, char error[static CONF_ERROR_MAX])
{
    write_file(text);
    config->file = path;
    return config_read_file(config, error);
}

static const struct {
    const char *text;
    const char *error; /* what follows the path */
} refused[] = {
    {"[Nothing]\n", ":1: unknown section [Nothing]"},
    {"[limits]\n", ":1: unknown section [limits]"},
    {"[Limits]\nNothing=1\n", ":2: unknown key Nothing= in [Limits]"},
    {"[Limits]\nsockets=16\n", ":2: unknown key sockets= in [Limits]"},
    {"[Log]\nSockets=16\n", ":2: unknown key Sockets= in [Log]"},
    {"[Limits]\nSockets=16\n[Limits]\nSockets=16\n", ":4: Sockets= is given twice"},
    {"[Limits]\nSockets=15\n", ":2: Sockets=15 is out of range (16 to 65536)"},
    {"[Limits]\nSockets=65537\n", ":2: Sockets=65537 is out of range (16 to 65536)"},
    {"[Limits]\nSockets=4294967312\n", ":2: Sockets=4294967312 is out of range (16 to 65536)"},
    {"[Limits]\nSockets=1K\n", ":2: Sockets=1K is not a number"},
    {"[Limits]\nSockets=\n", ":2: Sockets= is not a number"},
    {"[Limits]\nOps=63\n", ":2: Ops=63 is out of range (64 to 262144)"},
    {"[Limits]\nSocketOps=0\n", ":2: SocketOps=0 is out of range (16 to 262144)"},
    {"[Limits]\nClients=0\n", ":2: Clients=0 is out of range (1 to 65536)"},
    {"[Limits]\nSendWindow=1023K\n", ":2: SendWindow=1023K is out of range (1048576 to 67108864)"},
    {"[Limits]\nQueued=2G\n", ":2: Queued=2G is out of range (1048576 to 1073741824)"},
    {"[Limits]\nQueued=1MB\n", ":2: Queued=1MB is not a size (digits, then K, M, G or nothing)"},
    {"[Log]\nLevel=loud\n", ":2: Level=loud is not error, warning, notice, info or debug"},
    {"[Log]\nLevel=\n", ":2: Level= is not error, warning, notice, info or debug"},
    {"[Policy]\nNat64Prefix=2001:db8::/72\n",
     ":2: Nat64Prefix=2001:db8::/72: not IPv6 prefixes of 32, 40, 48, 56, 64 or 96 bits, separated "
     "by commas"},
    {"[Policy]\nNat64Prefix=1::/96,2::/96,3::/96,4::/96,5::/96,6::/96,7::/96,8::/96,9::/96\n",
     ":2: Nat64Prefix= has more than the allowed 8 prefixes"},
    {"[Policy]\nNat64Prefix=2001:db8::/96\nNat64Prefix=2001:db9::/96\n",
     ":3: Nat64Prefix= is given twice"},
    {"[Resolver]\nServers=\n", ":2: Servers=: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=nowhere in particular\n",
     ":2: Servers=nowhere in particular: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=127.1\n",
     ":2: Servers=127.1: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=1.2.3\n",
     ":2: Servers=1.2.3: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=1.2.3.4:\n",
     ":2: Servers=1.2.3.4:: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=1.2.3.4:0\n",
     ":2: Servers=1.2.3.4:0: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=1.2.3.4:65536\n",
     ":2: Servers=1.2.3.4:65536: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=[::1\n",
     ":2: Servers=[::1: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=[1.2.3.4]:53\n",
     ":2: Servers=[1.2.3.4]:53: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=[]:53\n",
     ":2: Servers=[]:53: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=::1,\n",
     ":2: Servers=::1,: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=::1, ::2\n",
     ":2: Servers=::1, ::2: not a list of address[:port] separated by commas"},
    {"[Resolver]\nServers=::1,::2,::3,::4,::5,::6,::7,::8,::9\n",
     ":2: Servers= has more than the allowed 8 addresses"},
    {"[Resolver]\nTimeout=0\n", ":2: Timeout=0 is out of range (1 to 300)"},
    {"[Resolver]\nTries=11\n", ":2: Tries=11 is out of range (1 to 10)"},
    {"[Resolver]\nTotalTimeout=301\n", ":2: TotalTimeout=301 is out of range (1 to 300)"},
    {"[Limits]\nTries=1\n", ":2: unknown key Tries= in [Limits]"},
    {"[Listener]\n", ":1: [Listener] has no Name="},
    {"[Listener]\nMode=0600\n[Log]\n", ":1: [Listener] has no Name="},
    {"[Listener]\nMode=0600\n[Listener]\n", ":1: [Listener] has no Name="},
    {"[Listener]\nName=\n", ":2: Name= is not a valid listener name"},
    {"[Listener]\nName=a.b\n", ":2: Name=a.b is not a valid listener name"},
    {"[Listener]\nName=..\n", ":2: Name=.. is not a valid listener name"},
    {"[Listener]\nName=a/b\n", ":2: Name=a/b is not a valid listener name"},
    {"[Listener]\nName=control\n", ":2: Name=control is not a valid listener name"},
    {"[Listener]\nName=unknown\n", ":2: Name=unknown is not a valid listener name"},
    {"[Listener]\nName=a12345678901234567890123456789x1\n",
     ":2: Name=a12345678901234567890123456789x1 is not a valid listener name"},
    {"[Listener]\nName=a\n[Listener]\nName=a\n", ":4: Name=a is given twice"},
    {"[Listener]\nName=a\nName=b\n", ":3: Name= is given twice"},
    {"[Listener]\nName=a\nClients=7\n", ":3: unknown key Clients= in [Listener]"},
    {"[Listener]\nDirectory=\n", ":2: Directory= is not an absolute path, or ends with '/'"},
    {"[Listener]\nDirectory=a\n", ":2: Directory=a is not an absolute path, or ends with '/'"},
    {"[Listener]\nDirectory=/a/\n", ":2: Directory=/a/ is not an absolute path, or ends with '/'"},
    {"[Listener]\nName=a\nDirectory=/a\n[Listener]\nName=b\nDirectory=/a\n",
     ":6: Directory=/a is given twice"},
    {"[Listener]\nMode=\n", ":2: Mode= is not an octal number from 000 to 0777"},
    {"[Listener]\nMode=66\n", ":2: Mode=66 is not an octal number from 000 to 0777"},
    {"[Listener]\nMode=668\n", ":2: Mode=668 is not an octal number from 000 to 0777"},
    {"[Listener]\nMode=1666\n", ":2: Mode=1666 is not an octal number from 000 to 0777"},
    {"[Listener]\nMode=00666\n", ":2: Mode=00666 is not an octal number from 000 to 0777"},
    {"[Listener]\nMode=u+rw\n", ":2: Mode=u+rw is not an octal number from 000 to 0777"},
    {"[Listener]\nGroup=\n", ":2: Group= is neither a number nor a group in /etc/group"},
    {"[Listener]\nGroup=no such\n",
     ":2: Group=no such is neither a number nor a group in /etc/group"},
    {"[Listener]\nGroup=4294967295\n",
     ":2: Group=4294967295 is neither a number nor a group in /etc/group"},
    {"[Log]\nLevel=info", ":2: the file does not end with a newline: was it truncated?"},
};

TEST_FIXTURE(make_file, remove_file);

START_LOOP_TEST(test_config_refuses_file, 0, sizeof(refused) / sizeof(refused[0]))
{
    char error[CONF_ERROR_MAX], expected[CONF_ERROR_MAX];
    struct config config;

    config_init(&config);
    ck_assert_int_eq(read_text(&config, refused[_i].text, error), -EBADMSG);
    snprintf(expected, sizeof(expected), "%s%s", path, refused[_i].error);
    ck_assert_str_eq(error, expected);
}
END_TEST

START_TEST(test_config_whole_file)
{
    char error[CONF_ERROR_MAX];
    struct config config;

    config_init(&config);
    ck_assert_int_eq(read_text(&config,
                               "# all of it\n"
                               "[Limits]\n"
                               "Clients=7\n"
                               "Sockets=65536\n"
                               "Ops=100\n"
                               "SocketOps=99\n"
                               "SendWindow=2M\n"
                               "Queued=1G\n"
                               "SharedMemory=0\n"
                               "Buffers=0\n"
                               "KernelBuffers=3G\n"
                               "LingerMax=0\n"
                               "Resolutions=8\n"
                               "ConnectsPerSecond=9\n"
                               "HelloMax=10\n"
                               "HelloTimeout=11\n"
                               "TotalSockets=4000000000\n"
                               "TotalOps=12345\n"
                               "TotalMemory=5G\n"
                               "TotalKernelBuffers=6G\n"
                               "TotalBuffers=1000000\n"
                               "\n"
                               "[Resolver]\n"
                               "Servers=127.0.0.1:5353,[::1]:53\n"
                               "Timeout=3\nTries=4\nTotalTimeout=5\n"
                               "[Log]\n"
                               "Level=debug\n",
                               error),
                     0);
    ck_assert_uint_eq(config.server.clients, 7);
    ck_assert_uint_eq(config.server.limits.sockets, 65536);
    ck_assert_uint_eq(config.server.limits.ops, 100);
    ck_assert_uint_eq(config.server.limits.socket_ops, 99);
    ck_assert_uint_eq(config.server.resolver_timeout, 3);
    ck_assert_uint_eq(config.server.resolver_tries + config.server.resolver_total, 4 + 5);
    ck_assert_uint_eq(config.server.limits.send_window, 2 << 20);
    ck_assert_uint_eq(config.server.limits.queued_max, 1 << 30);
    ck_assert_uint_eq(config.server.limits.shared_max, 0);
    ck_assert_uint_eq(config.server.limits.buffers, 0);
    ck_assert_uint_eq(config.server.limits.kernel_max, UINT64_C(3) << 30);
    ck_assert_uint_eq(config.server.limits.lingers, 0);
    ck_assert_uint_eq(config.server.limits.lookups, 8);
    ck_assert_uint_eq(config.server.limits.connects_per_second, 9);
    ck_assert_uint_eq(config.server.hellos, 10);
    ck_assert_uint_eq(config.server.hello_seconds, 11);
    ck_assert_uint_eq(config.server.total_sockets, 4000000000);
    ck_assert_uint_eq(config.server.total_ops, 12345);
    ck_assert_uint_eq(config.server.total_memory, UINT64_C(5) << 30);
    ck_assert_uint_eq(config.server.total_kernel, UINT64_C(6) << 30);
    ck_assert_uint_eq(config.server.total_buffers, 1000000);
    ck_assert_str_eq(config.server.servers, "127.0.0.1:5353,[::1]:53");
    ck_assert_int_eq(config.log_level, LOG_LEVEL_DEBUG);
}
END_TEST

START_TEST(test_config_listeners)
{
    char error[CONF_ERROR_MAX];
    struct config config;

    config_init(&config);
    ck_assert_int_eq(read_text(&config,
                               "[Listener]\n"
                               "Name=a-1_B\n"
                               "Directory=/run/somewhere\n"
                               "Mode=0620\n"
                               "Group=root\n"
                               "[Limits]\n"
                               "Clients=7\n"
                               "[Listener]\n"
                               "Group=4294967294\n"
                               "Name=a123456789012345678901234567890\n",
                               error),
                     0);
    ck_assert_uint_eq(config.server.clients, 7);
    ck_assert_uint_eq(config.server.listener_count, 2);
    ck_assert_ptr_eq(config.server.listeners, config.listeners);
    ck_assert_str_eq(config.listeners[0].name, "a-1_B");
    ck_assert_str_eq(config.listeners[0].directory, "/run/somewhere");
    ck_assert(config.listeners[0].has_mode);
    ck_assert_uint_eq(config.listeners[0].mode, 0620);
    ck_assert(config.listeners[0].has_group);
    ck_assert_uint_eq(config.listeners[0].group, 0);
    ck_assert_uint_eq(strlen(config.listeners[1].name), LISTENER_NAME_MAX);
    ck_assert_str_eq(config.listeners[1].directory, "");
    ck_assert(!config.listeners[1].has_mode);
    ck_assert_uint_eq(config.listeners[1].group, 4294967294u);
}
END_TEST

START_TEST(test_config_listeners_are_limited)
{
    char error[CONF_ERROR_MAX], text[64 * LISTENERS_MAX];
    struct config config;
    size_t n = 0;

    for (unsigned int i = 1; i < LISTENERS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "[Listener]\nName=l%u\n", i);
    config_init(&config);
    ck_assert_int_eq(read_text(&config, text, error), 0);
    ck_assert_uint_eq(config.server.listener_count, LISTENERS_MAX - 1);
    snprintf(text + n, sizeof(text) - n, "[Listener]\n");
    config_init(&config);
    ck_assert_int_eq(read_text(&config, text, error), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(error, ": more than 63 listeners"));
}
END_TEST

START_TEST(test_config_parts_fit_the_whole)
{
    char error[CONF_ERROR_MAX];
    struct config config;

    config_init(&config);
    ck_assert_int_eq(read_text(&config, "[Limits]\nOps=64\nSendWindow=8M\nQueued=4M\n", error), 0);
    ck_assert_uint_eq(config.server.limits.socket_ops, 64);
    ck_assert_uint_eq(config.server.limits.send_window, 4 << 20);
}
END_TEST

/* As many receives as sockets can wait, and there is something left to connect with. */
START_TEST(test_config_ops_follow_sockets)
{
    static const struct {
        const char *text;
        uint32_t ops;
    } files[] = {
        {"[Limits]\nSockets=1025\n", 4100},
        {"[Limits]\nSockets=65536\n", LIMIT_OPS_MAX},
        {"[Limits]\nSockets=16\n", LIMIT_OPS_DEFAULT},
        {"[Limits]\nOps=100\nSockets=2000\n", 100},
    };
    char error[CONF_ERROR_MAX];
    struct config config;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        config_init(&config);
        ck_assert_int_eq(read_text(&config, files[i].text, error), 0);
        ck_assert_uint_eq(config.server.limits.ops, files[i].ops);
    }
}
END_TEST

START_TEST(test_config_empty_file_is_default)
{
    char error[CONF_ERROR_MAX];
    struct config config;

    config_init(&config);
    ck_assert_int_eq(read_text(&config, "", error), 0);
    ck_assert_uint_eq(config.server.clients, LIMIT_CLIENTS_DEFAULT);
    ck_assert_uint_eq(config.server.limits.sockets, LIMIT_SOCKETS_DEFAULT);
    ck_assert_uint_eq(config.server.limits.ops, LIMIT_OPS_DEFAULT);
    ck_assert_int_eq(config.log_level, LOG_LEVEL_NOTICE);
    ck_assert_ptr_null(config.server.servers);
}
END_TEST

START_TEST(test_config_missing_file)
{
    char error[CONF_ERROR_MAX];
    struct config config;

    config_init(&config);
    config.file = "/nonexistent/asockd.conf";
    ck_assert_int_eq(config_read_file(&config, error), -ENOENT);
    ck_assert_str_eq(error, "/nonexistent/asockd.conf: No such file or directory");
}
END_TEST

static int read_arguments(struct config *config, const char *const *arguments)
{
    char *argv[16] = {(char[]){"asockd"}};
    int argc = 1;

    for (; arguments[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)arguments[argc - 1]; /* it has no writer */
    optind = 0;                                              /* glibc: start over */
    return config_read_arguments(config, argc, argv);
}

static const struct {
    const char *arguments[8];
    int r;
} lines[] = {
    {{NULL}, 0},
    {{"--allow-any", "--log-level", "info", NULL}, 0},
    {{"--runtime-dir=/x", "--config=/y", NULL}, 0},
    {{"--help", NULL}, 1},
    {{"--version", NULL}, 1},
    {{"--version", "--nonsense", NULL}, 1},
    {{"--nonsense", NULL}, -EINVAL},
    {{"-x", NULL}, -EINVAL},
    {{"--runtime-dir", NULL}, -EINVAL},
    {{"--runtime-dir=", NULL}, -EINVAL},
    {{"--allow-any=yes", NULL}, -EINVAL},
#ifdef HAVE_INSTRUMENTS
    {{"--seccomp=off", NULL}, 0},
    {{"--seccomp=on", NULL}, -EINVAL},
    {{"--without=hold", "--without=gather", NULL}, 0},
    {{"--without=holds", NULL}, -EINVAL},
#else
    {{"--seccomp=off", NULL}, -EINVAL},
    {{"--without=hold", NULL}, -EINVAL},
#endif
    {{"--log-level=loud", NULL}, -EINVAL},
    {{"word", NULL}, -EINVAL},
    {{"--allow-any", "--", "word", NULL}, -EINVAL},
};

START_LOOP_TEST(test_config_arguments, 0, sizeof(lines) / sizeof(lines[0]))
{
    struct config config;

    config_init(&config);
    ck_assert_int_eq(read_arguments(&config, lines[_i].arguments), lines[_i].r);
}
END_TEST

START_TEST(test_config_arguments_are_taken)
{
    static const char *const arguments[] = {"--runtime-dir", "/run/x",      "--config", "/etc/x",
                                            "--allow-any",   "--log-level", "debug",    NULL};
    struct config config;

    config_init(&config);
    ck_assert_str_eq(config.server.runtime_dir, "/run/asockd");
    ck_assert_int_eq(config.server.policy.base, POLICY_DENY);
    ck_assert_int_eq(read_arguments(&config, arguments), 0);
    ck_assert_str_eq(config.server.runtime_dir, "/run/x");
    ck_assert_str_eq(config.file, "/etc/x");
    ck_assert_int_eq(config.server.policy.base, POLICY_ANY);
    ck_assert_int_eq(config.log_level, LOG_LEVEL_DEBUG);
}
END_TEST

START_TEST(test_config_argument_wins)
{
    static const char *const arguments[] = {"--log-level=error", NULL};
    char error[CONF_ERROR_MAX];
    struct config config;

    config_init(&config);
    ck_assert_int_eq(read_arguments(&config, arguments), 0);
    ck_assert_int_eq(read_text(&config, "[Log]\nLevel=debug\n", error), 0);
    ck_assert_int_eq(config.log_level, LOG_LEVEL_ERROR);
}
END_TEST
