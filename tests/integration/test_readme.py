# SPDX-License-Identifier: LGPL-2.1-or-later
"""README's C program compiles and does what README says it does."""

import http.server
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

from build import BUILD_OPTIONS, make_variable

SRC = os.environ["ASOCK_TEST_SRCDIR"]
BUILD = os.environ["ASOCK_TEST_BUILDDIR"]
LIVENESS = 30
PAGE = b"a page\n" * 20000
NOBODY = 65534


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *arguments):
        pass


def program():
    with open(os.path.join(SRC, "README.md"), encoding="utf-8") as readme:
        return re.search(r"^```c\n(.*?)^```$", readme.read(), re.M | re.S).group(1)


class Readme(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="asock-readme.")
        self.addCleanup(shutil.rmtree, self.dir)
        self.page = os.path.join(self.dir, "page")

    def compile(self):
        subprocess.run([*make_variable("CC"), "-Wall", "-Wextra", "-Werror", "-x", "c", "-",
                        *make_variable("SANITIZE_CFLAGS"), *make_variable("SANITIZE_LDFLAGS"),
                        "-I" + os.path.join(SRC, "client-lib/include"), "-o", self.page,
                        "-L" + os.path.join(BUILD, ".libs"), "-lasock",
                        "-Wl,-rpath," + os.path.join(BUILD, ".libs")],
                       input=program(), text=True, check=True)

    def start_daemon(self):
        """Another user than the client's where that can be; ready when its socket answers."""
        runtime = os.path.join(self.dir, "run")
        os.mkdir(runtime)
        options = {}
        binary = os.path.join(BUILD, "asockd")
        if os.geteuid() == 0 and "ASOCK_TEST_SAME_USER" not in os.environ:
            os.chmod(self.dir, 0o755)
            os.chown(runtime, NOBODY, NOBODY)
            options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            # The build directory may be closed to others.
            binary = shutil.copy(binary, os.path.join(self.dir, "asockd"))
        daemon = subprocess.Popen([binary, *BUILD_OPTIONS, "--runtime-dir", runtime, "--allow-any"],
                                  **options)
        self.addCleanup(self.stop_daemon, daemon)
        path = os.path.join(runtime, "default", "asock.sock")
        for _ in range(LIVENESS * 50):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(path) == 0:
                    return path
            self.assertIsNone(daemon.poll(), "asockd has ended")
            threading.Event().wait(0.02)
        raise AssertionError("asockd does not listen")

    @staticmethod
    def stop_daemon(daemon):
        daemon.terminate()
        daemon.wait(LIVENESS)

    def run_page(self, path, port):
        return subprocess.run([self.page, "127.0.0.1", str(port)], capture_output=True,
                              env={**os.environ, "ASOCK_SOCKET": path}, timeout=LIVENESS,
                              check=False)

    def test_program(self):
        self.compile()
        path = self.start_daemon()
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            done = self.run_page(path, server.server_port)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            head, body = done.stdout.split(b"\r\n\r\n", 1)
            self.assertIn(b" 200 ", head)
            self.assertEqual(body, PAGE)
            port = server.server_port
            server.shutdown()
        done = self.run_page(path, port)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertEqual(done.stderr, b"page: Connection refused\n")

    def test_is_short(self):
        lines = [line for line in program().splitlines() if line.strip()]
        self.assertLessEqual(len(lines), 24)
