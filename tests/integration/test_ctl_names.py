# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl connect: a name in another script is asked for in its ASCII form."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

import asockctl
import asockd
from nameserver import SERVFAIL, Name, NameServer

DEADLINE = asockctl.DEADLINE


class Names(unittest.TestCase):
    def setUp(self):
        self.server = NameServer({"xn--bcher-kva.example": Name(a=("127.0.0.1",))}, port=0)
        self.addCleanup(self.server.close)
        self.daemon = asockd.Daemon("--allow-any", config=f"[Resolver]\nServers=127.0.0.1:{self.server.port}\n")
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
            self.assertIn(b"is not a valid name", done.stderr)
        self.assertEqual(self.server.questions, [])


class Resolve(unittest.TestCase):
    """asockctl resolve, and the exit status that it shares with connect."""

    POLICY = "[Rules]\nDeny=tcp denied.example * \"not this one\"\nAllow=tcp * * +loopback\n"

    def setUp(self):
        self.server = NameServer({"both.example": Name(a=("127.0.0.2", "127.0.0.1"), aaaa=("::1",)),
                                  "nodata.example": Name(), "broken.example": Name(rcode=SERVFAIL),
                                  "xn--bcher-kva.example": Name(a=("127.0.0.1",))}, port=0)
        self.addCleanup(self.server.close)
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        paths = [os.path.join(directory, name) for name in ("asockd.conf", "a.policy")]
        for path, text in zip(paths, (f"[Resolver]\nServers=127.0.0.1:{self.server.port}\n", self.POLICY)):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            os.chmod(path, 0o644)
        self.daemon = asockd.Daemon("--config", paths[0], "--policy", paths[1])
        self.addCleanup(self.daemon.stop)

    def run_tool(self, *args):
        return asockctl.run(*args, "--socket", self.daemon.path)

    def resolve(self, name, *args):
        done = self.run_tool("resolve", name, *args)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_addresses_are_lines(self):
        status, out, err = self.resolve("both.example")
        self.assertEqual((status, err, out.splitlines()[0], sorted(out.splitlines())),
                         (0, "", "::1", ["127.0.0.1", "127.0.0.2", "::1"]))
        self.assertEqual(self.resolve("B\u00fccher.example"), (0, "127.0.0.1\n", ""))

    def test_json(self):
        status, out, err = self.resolve("both.example", "--json")
        self.assertEqual((status, err), (0, ""))
        answer = json.loads(out)
        self.assertEqual(answer["addresses"][0], "::1")
        self.assertEqual((len(answer["addresses"]), answer["error"], answer["message"]), (3, None, None))
        status, out, err = self.resolve("denied.example", "--json")
        self.assertEqual((status, err), (3, ""))
        self.assertEqual(json.loads(out), {"host": "denied.example", "addresses": [], "error": "AccessDenied",
                                           "message": "not this one"})

    def test_exit_status(self):
        for name, status, words in (("denied.example", 3, "not this one"), ("nowhere.example", 5, ""),
                                    ("nodata.example", 5, ""), ("broken.example", 6, ""), ("127.1", 1, "neither"),
                                    ("", 2, "")):
            done = self.resolve(name)
            self.assertEqual((done[0], done[1]), (status, ""), name)
            self.assertIn(words, done[2])
            self.assertTrue(done[2])
        # The error's words stand there once.
        self.assertRegex(self.resolve("nowhere.example")[2],
                         r"^asockctl: nowhere\.example: host name not found( after \d+\.\d s)? \(according to a name server\)\n$")
        self.assertEqual(self.resolve("denied.example")[2],
                         "asockctl: denied.example: access denied by policy (not this one)\n")
        self.assertEqual(self.run_tool("resolve").returncode, 2)
        self.assertEqual(self.run_tool("resolve", "a", "b").returncode, 2)

    def test_exit_status_of_a_connect(self):
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
            where = full.getsockname()
            for _ in range(2):  # the queue is full: a SYN more is not answered
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(where)
            done = self.run_tool("connect", *map(str, where), "--timeout", "0.5")
            self.assertEqual(done.returncode, 6, done.stderr)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        for name, status in (("denied.example", 3), ("127.0.0.1", 4), ("nowhere.example", 5), ("nodata.example", 5),
                             ("127.1", 1)):
            self.assertEqual(self.run_tool("connect", name, str(port)).returncode, status, name)


if __name__ == "__main__":
    unittest.main()
