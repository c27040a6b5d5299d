# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/lending.md: its blocks do what it says."""

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
from wire import Wire, endpoint, pb, request

PAGE = os.path.join(asockctl.SRCDIR, "docs/lending.md")
DEADLINE = asockctl.DEADLINE


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
        library = os.path.join(asockctl.BUILDDIR, ".libs")
        return subprocess.run([sys.executable, "-c", code, host, str(port)], timeout=DEADLINE, capture_output=True,
                              env=asockctl.environment(ASOCK_SOCKET=self.daemon.path, LD_LIBRARY_PATH=library))

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

        # It has to be number 3, whatever it is here; sh knows no numbers of two digits.
        launcher = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
        done = subprocess.run([sys.executable, "-c", launcher, str(lent), node, "-e", block("js")], timeout=DEADLINE,
                              capture_output=True, pass_fds=[lent])
        os.close(lent)
        self.assertEqual((done.stdout, done.stderr), (b"an answer", b""))
        self.assertEqual(self.asked, b"GET / HTTP/1.0\r\n\r\n")


if __name__ == "__main__":
    unittest.main()
