# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl denied: who was denied what, by which rule, how often; with and without an audit."""

import json
import os
import pwd
import unittest

import asockctl
import asockd
from wire import Wire, pb

POLICY = """[Rules]
Allow=tcp 127.0.0.2 *
Allow=tcp allowed.test 443
Deny=tcp 127.0.0.3 443
"""


class Denied(unittest.TestCase):

    def setUp(self):
        self.daemon = asockd.Daemon("--policy", self.policy_file())
        self.addCleanup(self.daemon.stop)

    def policy_file(self):
        path = f"/tmp/asockd-test-denied-{os.getpid()}.policy"
        with open(path, "w", encoding="ascii") as file:
            file.write(POLICY)
        self.addCleanup(os.unlink, path)
        return path

    def denied(self, *args):
        done = asockctl.run("denied", "--json", *args, "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return json.loads(done.stdout)

    def connect(self, wire, host, port, op=1):
        wire.send(wire.open(op, 1), wire.connect(op + 1, 1, (host, port)))
        self.assertEqual(wire.completion(op + 1).error, pb.ERROR_ACCESS_DENIED)
        wire.send(wire.make_close(op + 2, 1))
        wire.completion(op + 2)

    def test_denials_are_told_and_counted(self):
        wire = Wire(self.daemon.path)
        self.addCleanup(wire.close)
        wire.hello(name="mine")
        self.assertEqual(self.denied(), [])
        for _ in range(3):
            self.connect(wire, "127.0.0.3", 443)
        self.connect(wire, "127.0.0.4", 80)
        wire.send(wire.resolve(5, "other.test"))
        self.assertEqual(wire.completion(5).error, pb.ERROR_ACCESS_DENIED)
        rows = {row["to"]: row for row in self.denied()}
        self.assertEqual(rows.keys(), {"127.0.0.3:443", "127.0.0.4:80", "other.test"})
        user = pwd.getpwuid(os.getuid()).pw_name
        for row in rows.values():
            self.assertEqual((row["user"], row["pid"], row["listener"]), (user, os.getpid(), "default"))
            self.assertTrue(row["reason"])
            self.assertLessEqual(row["first"], row["last"])
        self.assertEqual([rows[to]["count"] for to in ("127.0.0.3:443", "127.0.0.4:80", "other.test")], [3, 1, 1])
        self.assertRegex(rows["127.0.0.3:443"]["rule"], r"^/tmp/asockd-test-denied-\d+\.policy:4$")
        self.assertEqual(rows["127.0.0.4:80"]["rule"], "")
        self.assertEqual([rows[to]["verb"] for to in ("127.0.0.3:443", "other.test")], ["connect", "resolve"])
        self.assertEqual([row["to"] for row in self.denied("to=*:443")], ["127.0.0.3:443"])
        self.assertEqual([row["to"] for row in self.denied("count>1")], ["127.0.0.3:443"])
        table = asockctl.run("denied", "--control", self.daemon.control_path).stdout.decode().splitlines()
        self.assertEqual(table[0].split(), ["LAST", "COUNT", "USER", "UNIT/COMMAND", "TO", "RULE/REASON"])
        self.assertEqual(len(table), 4)

    def test_what_is_allowed_is_not_there(self):
        wire = Wire(self.daemon.path)
        self.addCleanup(wire.close)
        wire.hello()
        wire.send(wire.open(1, 1), wire.connect(2, 1, ("127.0.0.2", 9)))
        self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_REFUSED)
        self.assertEqual(self.denied(), [])

    def test_it_is_the_administrators(self):
        done = asockctl.run("denied", "--control", self.daemon.path)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"denied requires the control socket", done.stderr)

    def test_a_client_keeps_no_more_than_its_share(self):
        wire = Wire(self.daemon.path)
        self.addCleanup(wire.close)
        wire.hello()
        for port in range(1000, 1200):
            self.connect(wire, "127.0.0.4", port)
        rows = self.denied("--sort", "port")
        self.assertEqual([row["port"] for row in rows], list(range(1200 - 128, 1200)))


if __name__ == "__main__":
    unittest.main()
