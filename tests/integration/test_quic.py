# SPDX-License-Identifier: LGPL-2.1-or-later
"""QUIC by ngtcp2 over datagram sockets of the daemon: examples/quic_client.c and quic_server.c."""

import os
import subprocess
import tempfile
import unittest

from asockd import DEADLINE, DaemonTest
from build import INSTRUMENTED

FOLDER = os.path.join(os.environ.get("ASOCK_TEST_BUILDDIR", "."), "examples")
BYTES = (10 if INSTRUMENTED else 100) * 1024 * 1024


@unittest.skipUnless(os.path.exists(os.path.join(FOLDER, "quic_client")), "built without ngtcp2")
class Quic(DaemonTest):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def certificate(self, name):
        """Paths of a certificate for localhost, which is its own authority, and of its key."""
        paths = [os.path.join(self.folder, f"{name}.{what}") for what in ("pem", "key")]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", paths[1], "-out", paths[0],
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                       check=True, capture_output=True)
        return paths

    def start(self, program, *arguments):
        process = subprocess.Popen([os.path.join(FOLDER, program), *arguments], text=True,
                                   env={**os.environ, "ASOCK_SOCKET": self.daemon.path},
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def server(self, certificate, key, host="::"):
        process = self.start("quic_server", host, "0", certificate, key)
        return process, process.stdout.readline().strip()

    def end(self, process):
        output, errors = process.communicate(timeout=4 * DEADLINE)
        return process.returncode, output, errors

    def test_a_hundred_megabytes(self):
        """The server is bound to all addresses: what it answers has the source that the client has asked."""
        certificate, key = self.certificate("server")
        server, port = self.server(certificate, key)
        client = self.start("quic_client", "localhost", port, certificate, str(BYTES))
        status, output, errors = self.end(client)
        self.assertEqual((status, errors), (0, ""))
        self.assertTrue(output.startswith(f"{BYTES} bytes in "), output)
        self.assertEqual(self.end(server), (0, f"{BYTES} bytes received\n", ""))

    def test_nothing_but_the_end(self):
        certificate, key = self.certificate("server")
        server, port = self.server(certificate, key, "::1")
        client = self.start("quic_client", "localhost", port, certificate, "0")
        self.assertEqual(self.end(client)[::2], (0, ""))
        self.assertEqual(self.end(server), (0, "0 bytes received\n", ""))

    def test_another_server_is_not_accepted(self):
        _, port = self.server(*self.certificate("server"))
        status, output, errors = self.end(self.start("quic_client", "localhost", port, self.certificate("other")[0], "1000"))
        self.assertEqual((status, output), (1, ""))
        self.assertIn("certificate", errors)


if __name__ == "__main__":
    unittest.main()
