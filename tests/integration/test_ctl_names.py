# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl connect: a name in another script is asked for in its ASCII form."""

import os
import socket
import subprocess
import tempfile
import unittest

import asockctl
import asockd
from nameserver import Name, NameServer

DEADLINE = asockctl.DEADLINE


class Names(unittest.TestCase):
    def setUp(self):
        self.server = NameServer({"xn--bcher-kva.example": Name(a=("127.0.0.1",))}, port=0)
        self.addCleanup(self.server.close)
        config = tempfile.NamedTemporaryFile("w", suffix=".conf")
        self.addCleanup(config.close)
        config.write(f"[Resolver]\nServers=127.0.0.1:{self.server.port}\n")
        config.flush()
        os.chmod(config.name, 0o644)
        self.daemon = asockd.Daemon("--allow-any", "--config", config.name)
        self.addCleanup(self.daemon.stop)

    def test_a_name_in_another_script(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.settimeout(DEADLINE)
        tool = asockctl.Tool("connect", "B\u00fccher.example", str(listener.getsockname()[1]),
                             "--socket", self.daemon.path, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE)
        self.addCleanup(tool.close)
        peer, _ = listener.accept()
        peer.close()
        self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual({question.name for question in self.server.questions},
                         {"xn--bcher-kva.example"})

    def test_what_is_no_name_is_asked_of_nobody(self):
        for host in ("b\u00fc cher.example", "\u2028.example", "\udcff.example"):
            done = asockctl.run("connect", host, "80", "--socket", self.daemon.path)
            self.assertEqual(done.returncode, 2, host)
            self.assertIn(b"is not a name", done.stderr)
        self.assertEqual(self.server.questions, [])


if __name__ == "__main__":
    unittest.main()
