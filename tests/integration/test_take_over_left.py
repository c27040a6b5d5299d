# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over, and a restart by the service manager, with what no session has: closed connections that wait for their peer, recent denials."""

import unittest

import asockctl
import lending
import openmetrics
from asockd import Daemon
from managed import Managed
from taking_over import TakeOverTest
from wire import pb

LOCAL = "Allow=tcp 127.0.0.1 * +loopback"


class LeftTest(TakeOverTest):
    """By a take-over; below by a restart."""

    @classmethod
    def setUpClass(cls):
        cls.policy = lending.policy_file(cls, LOCAL)
        cls.arguments = ("--policy", cls.policy)
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

    def counters(self):
        """{(name with suffix, label's value or None): value}"""
        done = asockctl.run("stats", "--openmetrics", "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return {(family.name + suffix, next(iter(labels.values()), None)): float(value)
                for family in openmetrics.parse(done.stdout.decode("ascii")).values() if family.type != "gauge"
                for suffix, labels, value in family.samples}

    def test_counters(self):
        wire = self.wire()
        self.pair(wire, 1)
        self.deny(wire, 2)
        before = self.counters()
        rules = {rule: count for (name, rule), count in before.items() if name == "asockd_rule_connects_total"}
        self.assertGreaterEqual(rules.pop("none"), 1)
        self.assertEqual({rule for rule, count in rules.items() if count}, {f"{self.policy}:2"})
        self.succeed()
        after = self.counters()
        self.assertEqual({key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1) < value}, {})
        # An administrator has added a line since.
        with open(self.policy, encoding="ascii") as file:
            text = file.read()
        self.addCleanup(self.write_policy, text)
        self.write_policy("# a comment\n" + text)
        self.succeed()
        later = self.counters()
        self.assertNotIn(("asockd_rule_connects_total", f"{self.policy}:2"), later)
        self.assertGreaterEqual(later["asockd_rule_connects_total", f"{self.policy}:3"], rules[f"{self.policy}:2"])

    def write_policy(self, text):
        with open(self.policy, "w", encoding="ascii") as file:
            file.write(text)


class Restarted(LeftTest):
    @classmethod
    def setUpClass(cls):
        cls.policy = lending.policy_file(cls, LOCAL)
        cls.daemon = Managed("--policy", cls.policy)

    def succeed(self):
        self.daemon.restart()


if __name__ == "__main__":
    unittest.main()
