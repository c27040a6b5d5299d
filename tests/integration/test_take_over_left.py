# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over, and a restart by the service manager, with what no session has: recent denials."""

import unittest

import asockctl
import lending
from asockd import Daemon
from managed import Managed
from taking_over import TakeOverTest
from wire import pb

LOCAL = "Allow=tcp 127.0.0.1 * +loopback"


class LeftTest(TakeOverTest):
    """By a take-over; below by a restart."""

    @classmethod
    def setUpClass(cls):
        cls.arguments = ("--policy", lending.policy_file(cls, LOCAL))
        cls.daemon = Daemon(*cls.arguments)

    def denied(self):
        done = asockctl.run("denied", "--json", "--control", self.daemon.control_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def deny(self, wire, number):
        wire.send(wire.open(30 + number, number), wire.connect(40 + number, number, ("127.0.0.9", 7)))
        self.assertEqual(wire.completion(40 + number).error, pb.ERROR_ACCESS_DENIED)

    def test_denials(self):
        wire = self.wire()
        self.deny(wire, 1)
        self.deny(wire, 2)
        before = self.denied()
        self.assertIn(b"127.0.0.9", before)
        self.succeed()
        self.assertEqual(self.denied(), before)
        self.deny(wire, 3)
        self.assertEqual(self.denied().count(b"127.0.0.9"), before.count(b"127.0.0.9"))


class Restarted(LeftTest):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Managed("--policy", lending.policy_file(cls, LOCAL))

    def succeed(self):
        self.daemon.restart()


if __name__ == "__main__":
    unittest.main()
