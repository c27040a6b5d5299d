# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run --transparent: programs that nothing can be put in front of, neither a library nor a filter."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile

import network
from transparent import ASYNCIO, PRELUDE, TransparentTest, setUpModule  # noqa: F401

network.enter()

STATIC_C = """
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    char answer[4];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, argv[1], &to.sin_addr);
    if (argc != 3 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || write(fd, "ping", 4) != 4 ||
        read(fd, answer, 4) != 4) {
        perror("connect");
        return 1;
    }
    return fwrite(answer, 1, 4, stdout) != 4;
}
"""

NODE = """
const s = require("net").connect(+process.argv[2], process.argv[1], () => s.write("ping"));
s.on("data", d => { process.stdout.write(d); s.destroy(); });
s.on("error", e => { console.error(e); process.exit(1); });
"""

# For the other architecture, without a library: it calls the kernel as i386 programs do.
I386_C = """
static int call(int number, int a, void *b, int c)
{
    int r;

    __asm__ volatile("int $0x80" : "=a"(r) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return r;
}

static int socket_call(int number, int a, const void *b, int c, int d)
{
    int args[] = {a, (int)b, c, d};

    return call(102, number, args, 0);
}

void _start(void)
{
    static const unsigned char to[16] = {2, 0, PORT >> 8, PORT & 255, ADDRESS};
    char answer[4];
    int fd = socket_call(1, 2, (void *)1, 0, 0);
    int failed = socket_call(3, fd, to, sizeof(to), 0) < 0 || call(4, fd, "ping", 4) != 4 ||
                 call(3, fd, answer, 4) != 4 || call(4, 1, answer, 4) != 4;

    call(1, failed, 0, 0);
}
"""

# No connect(2): the kernel's own threads may do it.
URING_C = """
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct io_uring_params params;
static char *submissions, *completions;
static struct io_uring_sqe *entry;
static int ring;

static int run(int opcode, int fd, const void *at, unsigned int len, uint64_t off)
{
    unsigned int *tail = (void *)(submissions + params.sq_off.tail), *head = (void *)(completions + params.cq_off.head);
    struct io_uring_cqe *done = (void *)(completions + params.cq_off.cqes);

    *entry = (struct io_uring_sqe){.opcode = opcode, .fd = fd, .addr = (uintptr_t)at, .len = len, .off = off};
    *(unsigned int *)(submissions + params.sq_off.array) = 0;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        return -errno;
    done += *head & *(unsigned int *)(completions + params.cq_off.ring_mask);
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return done->res;
}

static void *map(size_t size, uint64_t at)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, (off_t)at);
}

int main(int argc, char **argv)
{
    static const unsigned char to[16] = {AF_INET, 0, PORT >> 8, PORT & 255, ADDRESS};
    char answer[4];
    int fd = socket(AF_INET, SOCK_STREAM, 0), r;

    ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (ring < 0 || argc > 1)
        return ring < 0 ? 77 : 0; /* any argument: is there io_uring? */
    submissions = map(params.sq_off.array + 64, IORING_OFF_SQ_RING);
    completions = map(params.cq_off.cqes + 64, IORING_OFF_CQ_RING);
    entry = map(sizeof(*entry), IORING_OFF_SQES);
    r = run(IORING_OP_CONNECT, fd, to, 0, sizeof(to));
    if (r == 0)
        r = run(IORING_OP_SEND, fd, "ping", 4, 0);
    if (r == 4)
        r = run(IORING_OP_RECV, fd, answer, 4, 0);
    fprintf(stderr, "%s\\n", strerror(r < 0 ? -r : 0));
    return r != 4 || fwrite(answer, 1, 4, stdout) != 4;
}
"""


class Kinds(TransparentTest):

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix="asock-kinds-")
        self.addCleanup(shutil.rmtree, self.folder)
        os.chmod(self.folder, 0o755)

    def compile(self, name, source, *options):
        """None: the compiler cannot."""
        binary = os.path.join(self.folder, name)
        where = (f"-DPORT={self.echo.port}", "-DADDRESS=" + network.OWN4.replace(".", ","))
        done = subprocess.run(["cc", "-static", *options, *where, "-x", "c", "-o", binary, "-"], input=source.encode(),
                              stderr=subprocess.DEVNULL, check=False)
        return binary if done.returncode == 0 else None

    def pings(self, *command):
        done = self.run_tool("--", *command)
        self.assertEqual((done.returncode, done.stdout), (0, b"ping"), done.stderr.decode())

    def test_programs_of_several_kinds(self):
        port = str(self.echo.port)
        programs = {
            "asyncio": [sys.executable, "-c", PRELUDE + ASYNCIO, "both.test", port],
            "shell": ["bash", "-c", f"exec 3<>/dev/tcp/both.test/{port}; printf ping >&3; head -c 4 <&3"],
        }
        if shutil.which("node"):
            programs["node"] = ["node", "-e", NODE, "both.test", port]
        if shutil.which("busybox"):
            programs["busybox"] = ["busybox", "sh", "-c", f"printf ping | busybox nc four.test {port} | head -c 4"]
        if static := self.compile("static", STATIC_C):
            programs["static"] = [static, network.OWN4, port]
        for name, command in programs.items():
            with self.subTest(program=name):
                self.pings(*command)

    def test_i386(self):
        binary = self.compile("i386", I386_C, "-m32", "-nostdlib", "-ffreestanding", "-fno-pic", "-no-pie")
        if not binary:
            self.skipTest("the compiler makes no i386 programs")
        self.pings(binary)

    def test_io_uring(self):
        binary = self.compile("uring", URING_C)
        if not binary or subprocess.run([binary, "?"], check=False).returncode:
            self.skipTest("no io_uring")
        self.pings(binary)

    def test_one_that_nobody_can_look_into(self):
        """Set-user-id and not readable: it cannot be traced, and no library can be loaded into it."""
        binary = self.compile("static", STATIC_C)
        if not binary:
            self.skipTest("the compiler makes no static programs")
        os.chmod(binary, 0o4111)
        self.pings(binary, network.OWN4, str(self.echo.port))
