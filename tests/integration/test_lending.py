# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/lending.md: its code blocks work as described."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import asockctl
from asockd import Daemon, DaemonTest
from build import make_variable
from wire import Wire, endpoint, pb, request

PAGE = os.path.join(asockctl.SRCDIR, "docs/lending.md")
DEADLINE = asockctl.DEADLINE
HEADERS = os.path.join(asockctl.SRCDIR, "client-lib/include")
LIBRARY = os.path.join(asockctl.BUILDDIR, ".libs")

# What stands around the blocks: each asks for the page of its arguments, and prints the answer or the error's name.
C_BEFORE = r'''
#include <asock/asock.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

'''
C_AFTER = r'''
static void on_event(struct bufferevent *bev, short what, void *base)
{
    char answer[64];
    size_t n = bufferevent_read(bev, answer, sizeof(answer));

    if (what & BEV_EVENT_EOF)
        printf("%.*s\n", (int)n, answer);
    event_base_loopexit(base, NULL);
}

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    struct bufferevent *bev = NULL;
    asock_context *context;

    if (argc != 3 || asock_context_new(NULL, &context) < 0)
        return 1;
    bev = dial(base, context, argv[1], argv[2]);
    asock_context_unref(context);
    if (bev) {
        bufferevent_setcb(bev, NULL, NULL, on_event, base);
        bufferevent_enable(bev, EV_READ | EV_WRITE);
        evbuffer_add_printf(bufferevent_get_output(bev), "GET / HTTP/1.0\r\n\r\n");
        event_base_dispatch(base);
        bufferevent_free(bev);
    } else {
        printf("%s\n", strerrorname_np(errno));
    }
    event_base_free(base);
    return 0;
}
'''
GO_BEFORE = '''package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

'''
GO_AFTER = r'''
func main() {
	var context *C.asock_context
	if C.asock_context_new(nil, &context) < 0 {
		os.Exit(1)
	}
	connection, err := dial(context, os.Args[1], os.Args[2])
	C.asock_context_unref(context)
	if err == syscall.EACCES {
		fmt.Println("EACCES")
		return
	}
	fmt.Fprint(connection, "GET / HTTP/1.0\r\n\r\n")
	answer, _ := io.ReadAll(connection)
	fmt.Println(string(answer))
	connection.Close()
}
'''


def block(language):
    with open(PAGE, encoding="utf-8") as page:
        return re.search(rf"^```{language}\n(.*?)^```$", page.read(), re.M | re.S).group(1)


class Blocks(DaemonTest):

    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as file:
            file.write("[Rules]\nAllow=tcp 127.0.0.1 * +loopback +lend-given\nAllow=tcp 127.0.0.4 * +loopback\n")
        os.chmod(file.name, 0o644)
        cls.addClassCleanup(os.unlink, file.name)
        cls.daemon = Daemon("--policy", file.name)

    def serve(self):
        """Answers one request; the request is in .asked afterwards."""
        listener = self.listener()
        listener.settimeout(DEADLINE)
        self.asked = b""

        def answer():
            with listener.accept()[0] as peer:
                peer.settimeout(DEADLINE)
                while b"\r\n\r\n" not in self.asked:
                    self.asked += peer.recv(1000)
                peer.sendall(b"an answer")

        thread = threading.Thread(target=answer)
        thread.start()
        self.addCleanup(thread.join)
        return listener.getsockname()

    def test_policy_is_one(self):
        with tempfile.NamedTemporaryFile("w", suffix=".policy") as file:
            file.write(block("ini"))
            file.flush()
            done = asockctl.run("policy", "check", file.name,
                                env=asockctl.environment(ASOCKD=os.path.join(asockctl.BUILDDIR, "asockd")))
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def run_program(self, *command):
        return subprocess.run(command, timeout=DEADLINE, capture_output=True,
                              env=asockctl.environment(ASOCK_SOCKET=self.daemon.path, LD_LIBRARY_PATH=LIBRARY))

    def check_program(self, binary):
        done = self.run_program(binary, *map(str, self.serve()))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"an answer\n", b""))
        self.assertEqual(self.asked, b"GET / HTTP/1.0\r\n\r\n")
        done = self.run_program(binary, "127.0.0.4", "1")
        self.assertEqual((done.returncode, done.stdout), (0, b"EACCES\n"), done.stderr)

    def folder(self):
        directory = tempfile.TemporaryDirectory(prefix="asock-lending.")
        self.addCleanup(directory.cleanup)
        return directory.name

    def test_libevent(self):
        binary = os.path.join(self.folder(), "program")
        compiled = subprocess.run([*make_variable("CC"), "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-x", "c", "-",
                                   *make_variable("SANITIZE_CFLAGS"), *make_variable("SANITIZE_LDFLAGS"), "-I" + HEADERS,
                                   "-o", binary, "-L" + LIBRARY, "-lasock", "-levent_core"],
                                  input=(C_BEFORE + block("c") + C_AFTER).encode(), capture_output=True)
        self.assertEqual((compiled.returncode, compiled.stderr), (0, b""))
        self.check_program(binary)

    def test_go(self):
        go = shutil.which("go")
        if not go:
            self.skipTest("no go")
        if os.environ.get("ASOCK_TEST_SANITIZERS", "no") != "no":
            self.skipTest("the library has a sanitizer, Go has none")
        folder = self.folder()
        source, binary = os.path.join(folder, "main.go"), os.path.join(folder, "program")
        with open(source, "w", encoding="utf-8") as file:
            file.write(GO_BEFORE + block("go") + GO_AFTER)
        compiled = subprocess.run([go, "build", "-o", binary, source], cwd=folder, capture_output=True, env=asockctl.environment(
            GOCACHE=os.path.join(folder, "cache"), GOFLAGS="", CGO_ENABLED="1", CGO_CFLAGS="-I" + HEADERS, CGO_LDFLAGS="-L" + LIBRARY))
        self.assertEqual((compiled.returncode, compiled.stderr), (0, b""))
        self.check_program(binary)

    def run_python(self, host, port):
        code = block("python") + '''
async def main():
    reader, writer = await open_connection(sys.argv[1], sys.argv[2])
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print((await reader.read()).decode())
    writer.close()

import sys
asyncio.run(main())
'''
        return self.run_program(sys.executable, "-c", code, host, str(port))

    def test_python(self):
        if os.environ.get("ASOCK_TEST_SANITIZERS", "no") != "no":
            self.skipTest("the library has a sanitizer, python3 has none")
        done = self.run_python(*self.serve())
        self.assertEqual((done.stdout, done.stderr), (b"an answer\n", b""))
        self.assertEqual(self.asked, b"GET / HTTP/1.0\r\n\r\n")
        done = self.run_python("127.0.0.4", 1)
        self.assertIn(b"PermissionError: [Errno 13] Permission denied: '127.0.0.4'", done.stderr)

    def test_node(self):
        node = shutil.which("node")
        if not node:
            self.skipTest("no node")
        wire, address = self.wire(), self.serve()
        wire.send(wire.open(1, 1), request(pb.VERB_CONNECT, 2, 1, connect=pb.Connect(
            endpoint=endpoint(address), lend=pb.LEND_GIVEN)))
        self.assertEqual(wire.completion(2).descriptors, 1)
        lent = wire.descriptors.popleft()

        # The program expects descriptor 3; sh cannot redirect descriptors with two digits.
        launcher = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
        done = subprocess.run([sys.executable, "-c", launcher, str(lent), node, "-e", block("js")], timeout=DEADLINE,
                              capture_output=True, pass_fds=[lent])
        os.close(lent)
        self.assertEqual((done.stdout, done.stderr), (b"an answer", b""))
        self.assertEqual(self.asked, b"GET / HTTP/1.0\r\n\r\n")


if __name__ == "__main__":
    unittest.main()
