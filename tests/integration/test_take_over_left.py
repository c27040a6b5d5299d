# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over, and a restart by the service manager, with what no session has: closed connections that wait for their peer, recent denials."""

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

    def draining(self):
        return self.daemon.stats()["draining"]

    def closed(self, wire, number=1):
        """Its peer has not ended its side."""
        peer = self.pair(wire, number)
        wire.send(wire.make_send(20, number, b"all of it"), wire.make_close(21, number))
        self.assertEqual(wire.completion(21).error, pb.ERROR_SUCCESS)
        self.daemon.wait(self.draining)
        return peer

    def check_whole(self, peer):
        self.assertEqual(self.read_all(peer), b"all of it")
        peer.sendall(b"late")
        self.assertEqual(self.draining(), 1)
        peer.close()
        self.daemon.wait(lambda: self.draining() == 0)

    def denied(self):
        done = asockctl.run("denied", "--json", "--control", self.daemon.control_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def deny(self, wire, number):
        wire.send(wire.open(30 + number, number), wire.connect(40 + number, number, ("127.0.0.9", 7)))
        self.assertEqual(wire.completion(40 + number).error, pb.ERROR_ACCESS_DENIED)

    def test_a_connection_that_drains(self):
        wire = self.wire()
        peer = self.closed(wire)
        self.succeed()
        self.succeed()
        self.check_whole(peer)

    def test_one_whose_client_has_gone(self):
        wire = self.wire()
        peer = self.closed(wire)
        wire.close()
        self.daemon.wait(lambda: self.daemon.stats()["clients"] == 1)
        self.succeed()
        self.check_whole(peer)

    def test_kill_ends_it(self):
        wire = self.wire()
        peer = self.closed(wire)
        self.succeed()
        record = [row for row in self.daemon.control.inspect(list=pb.List()) if row["state"] == "draining"]
        self.assertEqual([row["socket"] for row in record], [0])
        done = asockctl.run("kill", "--yes", "state=draining", "--control", self.daemon.control_path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.draining(), 0)
        self.assertEqual(self.read_all(peer), b"all of it")
        with self.assertRaises(OSError):
            peer.sendall(b"late")

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
