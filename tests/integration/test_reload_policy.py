# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reload of the policy: which connections, connects and learned rules it changes."""

import os
import time
import unittest

import asockd
from nameserver import A, AAAA, Name, NameServer
import network
from reloading import ReloadTest
from wire import pb, request

CLOCK_REALTIME_COARSE = 5  # of Linux; the module time has no name for it
network.enter()


class PolicyTest(ReloadTest):
    """Loopback, and two networks without hosts."""

    rules = ("Allow=tcp * * +loopback +special +local",)

    @classmethod
    def start(cls):
        cls.set_rules(*cls.rules)
        return asockd.Daemon("--config", cls.file, "--policy", cls.policy)

    @classmethod
    def set_rules(cls, *rules):
        cls.write("\n".join(("[Rules]", *rules)) + "\n", cls.policy)

    def setUp(self):
        super().setUp()
        self.addCleanup(self.set_rules, *self.rules)
        self.token = 0

    def next(self):
        self.token += 1
        return self.token

    def take_rules(self, *rules, close=False):
        self.set_rules(*rules)
        return self.reload(close=close)

    def begin(self, wire, number, host, port, payload=b""):
        """Sends OPEN and CONNECT; returns the token of the CONNECT."""
        wire.send(wire.open(self.next(), number),
                  request(pb.VERB_CONNECT, self.next(), number, payload,
                          connect=pb.Connect(host=host, service=str(port))))
        return self.token

    def up(self, wire, number, host):
        """Connects by that name or address; returns the peer too."""
        listener = self.listener()
        reply = wire.completion(self.begin(wire, number, host, listener.getsockname()[1]))
        self.assertEqual(pb.Error.Name(reply.error), "ERROR_SUCCESS")
        return self.accept(listener)

    def failure(self, wire, token):
        """The name of the error, and its text."""
        reply, text = wire.take(lambda r: r.op == token and r.kind == pb.KIND_COMPLETION)
        return pb.Error.Name(reply.error), text.decode()

    def marks(self):
        return {row["socket"]: row["denied"] for row in self.control.inspect(list=pb.List())}


class Connections(PolicyTest):

    def test_s24_they_go_on_and_are_marked(self):
        wire = self.wire()
        peers = {number: self.up(wire, number, "127.0.0.1") for number in (1, 2)}
        port = peers[1].getsockname()[1]
        self.assertEqual(self.marks(), {1: 0, 2: 0})
        told = self.take_rules(f'Deny=tcp * {port} "gone with the wind"', *self.rules)
        self.assertEqual(told, {"cancelled": 0, "denied": 1, "closed": 0})
        self.assertEqual(self.marks(), {1: 1, 2: 0})
        row = next(row for row in self.control.inspect(list=pb.List()) if row["socket"] == 1)
        shown, = self.control.inspect(show=pb.Show(id=row["id"]))
        self.assertEqual((shown["denied_by"], shown["denied_reason"]),
                         (f"{self.policy}:2", "gone with the wind"))
        # The owner sees that it is denied, but not the place of the rule: only the administrator does.
        own, = wire.inspect(show=pb.Show(id=row["id"]))
        self.assertEqual((own["denied"], set(own) & {"denied_by", "denied_reason"}), (1, set()))
        for number, peer in peers.items():
            wire.send(wire.make_send(self.next(), number, b"still here"))
            self.assertEqual(self.read_all(peer, 10), b"still here")
        refused = self.begin(wire, 3, "127.0.0.1", port)
        self.assertEqual(self.failure(wire, refused), ("ERROR_ACCESS_DENIED", "gone with the wind"))
        self.take_rules(*self.rules)
        self.assertEqual(self.marks(), {1: 0, 2: 0, 3: 0})

    def test_s55_close_ends_exactly_those(self):
        wire, other = self.wire(), self.wire()
        peers = {number: self.up(wire, number, "127.0.0.1") for number in (1, 2)}
        bystander = self.up(other, 1, "127.0.0.1")
        wire.send(*(wire.receive(100 + number, number, 10) for number in peers))
        wire.settle()
        port = peers[2].getsockname()[1]
        told = self.take_rules(f"Deny=tcp * {port}", *self.rules, close=True)
        self.assertEqual(told, {"cancelled": 0, "denied": 0, "closed": 1})
        event, text = wire.take(lambda r: r.event.code == pb.EVENT_KILLED)
        self.assertEqual((event.socket, event.error, text), (2, pb.ERROR_CONNECTION_ABORTED, b"policy"))
        self.assertEqual(self.failure(wire, 102), ("ERROR_CONNECTION_ABORTED", "policy"))
        self.reset_by(peers[2])
        for connection, peer in ((wire, peers[1]), (other, bystander)):
            connection.send(connection.make_send(self.next(), 1, b"alive"))
            self.assertEqual(self.read_all(peer, 5), b"alive")
        # The second reload has nothing to end.
        self.assertEqual(self.reload(close=True), {"cancelled": 0, "denied": 0, "closed": 0})

    def test_s24_by_name_and_by_address_are_judged_apart(self):
        wire = self.wire()
        self.up(wire, 1, "localhost")
        self.up(wire, 2, "127.0.0.1")
        self.take_rules("Allow=tcp 127.0.0.0/8 *", "Allow=tcp ::1 *")
        self.assertEqual(self.marks(), {1: 1, 2: 0})
        self.take_rules("Allow=tcp localhost * +loopback")
        self.assertEqual(self.marks(), {1: 0, 2: 1})

    def test_s55_one_that_lingers(self):
        """Its queued send would still be sent."""
        wire, listener = self.wire(), self.listener()
        token = self.begin(wire, 1, "127.0.0.1", listener.getsockname()[1])
        self.assertEqual(wire.completion(token).error, pb.ERROR_SUCCESS)
        peer = self.accept(listener)
        wire.send(*(wire.make_send(200 + n, 1, bytes(256 * 1024)) for n in range(4)))
        # Fill the kernel's buffers, so that the queued rest delays the close.
        while self.control.inspect(list=pb.List())[0]["queued"] == 0:
            wire.send(wire.make_send(self.next(), 1, bytes(256 * 1024)))
            wire.settle()
        wire.send(wire.make_close(300, 1, linger_ms=600000))
        wire.settle()
        self.assertEqual(self.take_rules(close=True, *("Deny=tcp * *",))["closed"], 1)
        self.assertEqual(self.failure(wire, 300)[0], "ERROR_CONNECTION_ABORTED")
        self.reset_by(peer)

    def test_s24_a_bad_policy_changes_nothing_and_says_where(self):
        wire = self.wire()
        self.up(wire, 1, "127.0.0.1")
        self.write("[Limits]\nSockets=77\n")
        self.set_rules("Deny=tcp * *", "Allow=everything")
        text = self.reload(close=True, error=pb.ERROR_INVALID_ARGUMENT)
        self.assertTrue(text.startswith(f"{self.policy}:3: "), text)
        self.assertEqual((self.marks(), self.granted()), ({1: 0}, 1024))
        self.hang_up("reloads_failed")
        self.assertIn(f"reload failed: {text}; keeping the current configuration", self.daemon.output())
        self.up(wire, 2, "127.0.0.1")

    def test_a_daemon_that_could_not_read_its_policy_can_be_told_to(self):
        self.set_rules("Allow=nonsense")
        daemon = asockd.Daemon("--config", self.file, "--policy", self.policy)
        self.addCleanup(daemon.stop)
        self.addCleanup(setattr, self, "daemon", self.daemon)
        self.addCleanup(setattr, self, "control", self.control)
        self.daemon, self.control = daemon, daemon.control
        wire, listener = self.wire(), self.listener()
        port = listener.getsockname()[1]
        self.assertEqual(self.failure(wire, self.begin(wire, 1, "127.0.0.1", port))[0], "ERROR_ACCESS_DENIED")
        self.set_rules(*self.rules)
        self.hang_up()
        self.assertEqual(wire.completion(self.begin(wire, 2, "127.0.0.1", port)).error, pb.ERROR_SUCCESS)
        wire.close()


class Connects(PolicyTest):
    """Connects that are in progress while the policy changes."""

    def setUp(self):
        super().setUp()
        self.names = {"hole.test": Name(a=[network.SILENT4], aaaa=[network.SILENT6]),
                      "held.test": Name(a=["127.0.0.1"], aaaa=["::1"], held=(A, AAAA)),
                      "half.test": Name(a=["127.0.0.1"], aaaa=[network.SILENT6], held=(A,))}
        self.server = self.hold(NameServer(self.names))
        self.capture = self.hold(network.Capture())

    def begin_and_see(self, wire, host, *targets):
        """Waits until an attempt at each of them was made."""
        token = self.begin(wire, 1, host, 7)
        for target in targets:
            self.capture.wait(lambda p, to=target: p.target == to and p.flags == "S")
        return token

    def test_s24_a_name_that_is_being_resolved(self):
        wire = self.wire()
        token = self.begin(wire, 1, "held.test", 7)
        self.server.wait_for(lambda questions: len(questions) >= 2)
        told = self.take_rules('Deny=tcp *.test * "no such names"', *self.rules)
        self.assertEqual(told["cancelled"], 1)
        self.assertEqual(self.failure(wire, token), ("ERROR_ACCESS_DENIED", "no such names"))
        self.server.release("held.test", A)
        self.server.release("held.test", AAAA)
        wire.settle()
        self.assertEqual(self.capture.to(7), [])

    def test_s24_a_name_that_no_rule_is_about_any_more(self):
        """The name is denied although its address is allowed."""
        wire = self.wire()
        token = self.begin(wire, 1, "held.test", 7)
        self.server.wait_for(lambda questions: len(questions) >= 2)
        self.take_rules("Allow=tcp 127.0.0.1 *")
        self.assertEqual(self.failure(wire, token)[0], "ERROR_ACCESS_DENIED")

    def test_s24_a_name_that_stays_allowed_goes_on(self):
        wire, listener = self.wire(), self.listener()
        token = self.begin(wire, 1, "held.test", listener.getsockname()[1])
        self.server.wait_for(lambda questions: len(questions) >= 2)
        self.assertEqual(self.take_rules("Allow=tcp held.test * +loopback")["cancelled"], 0)
        self.server.release("held.test", A)
        self.server.release("held.test", AAAA)
        self.assertEqual(wire.completion(token).error, pb.ERROR_SUCCESS)

    def test_s24_addresses_that_come_later_are_judged_by_the_new_one(self):
        wire = self.wire()
        token = self.begin(wire, 1, "held.test", 7)
        self.server.wait_for(lambda questions: len(questions) >= 2)
        self.assertEqual(self.take_rules("Allow=tcp held.test *")["cancelled"], 0)  # without +loopback
        self.server.release("held.test", A)
        self.server.release("held.test", AAAA)
        error, text = self.failure(wire, token)
        self.assertEqual(error, "ERROR_ACCESS_DENIED")
        self.assertIn("+loopback", text)
        self.assertEqual(self.capture.to(7), [])

    def test_s24_an_attempt_in_flight(self):
        wire = self.wire()
        token = self.begin_and_see(wire, network.SILENT4, network.SILENT4)
        told = self.take_rules(f'Deny=tcp {network.SILENT4} * "not there"', *self.rules)
        self.assertEqual(told["cancelled"], 1)
        self.assertEqual(self.failure(wire, token), ("ERROR_ACCESS_DENIED", "not there"))
        self.assertEqual(network.half_open(), 0)

    def test_s24_one_attempt_of_two(self):
        wire = self.wire()
        token = self.begin_and_see(wire, "hole.test", network.SILENT4, network.SILENT6)
        self.assertEqual(network.half_open(), 2)
        told = self.take_rules(f"Deny=tcp {network.SILENT6} *", *self.rules)
        self.assertEqual((told["cancelled"], network.half_open()), (1, 1))
        self.assertEqual(self.marks(), {1: 0})  # it is not up
        self.take_rules(f"Deny=tcp {network.SILENT6} *", f"Deny=tcp {network.SILENT4} *", *self.rules)
        self.assertEqual(self.failure(wire, token)[0], "ERROR_ACCESS_DENIED")
        self.assertEqual(network.half_open(), 0)

    def test_s24_the_next_address_takes_its_place(self):
        wire, listener = self.wire(), self.listener()
        port = listener.getsockname()[1]
        token = self.begin(wire, 1, "half.test", port)
        self.capture.wait(lambda p: p.target == network.SILENT6 and p.flags == "S")
        self.assertEqual(self.take_rules(f"Deny=tcp {network.SILENT6} *", *self.rules)["cancelled"], 1)
        self.server.release("half.test", A)
        self.assertEqual(wire.completion(token).error, pb.ERROR_SUCCESS)
        self.assertEqual(network.half_open(), 0)

    def test_s24_what_is_queued_behind_ends_with_it(self):
        wire = self.wire()
        token = self.begin_and_see(wire, network.SILENT4, network.SILENT4)
        wire.send(wire.make_send(self.next(), 1, b"never"), wire.receive(self.next(), 1, 10))
        wire.settle()
        self.take_rules("Deny=tcp * *")
        self.assertEqual(self.failure(wire, token)[0], "ERROR_ACCESS_DENIED")
        for op in (token + 1, token + 2):
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)

    def test_s24_one_that_was_closed_with_time_for_its_data(self):
        wire = self.wire()
        token = self.begin(wire, 1, network.SILENT4, 7, b"never")
        wire.send(wire.make_close(300, 1, linger_ms=600000))
        self.capture.wait(lambda p: p.target == network.SILENT4 and p.flags == "S")
        wire.settle()
        self.assertEqual(self.take_rules("Deny=tcp * *")["cancelled"], 1)
        self.assertEqual(self.failure(wire, token)[0], "ERROR_ACCESS_DENIED")
        wire.completion(300)
        self.assertEqual(network.half_open(), 0)

    def test_s24_many_in_every_stage(self):
        """Many reloads, with --close and by SIGHUP: whatever ends, ends once."""
        wires = [self.wire() for _ in range(4)]
        for turn in range(6):
            tokens = []
            for wire in wires:
                tokens.append((wire, self.begin(wire, 1, "held.test", 7)))
                tokens.append((wire, self.begin(wire, 2, "hole.test", 7)))
                tokens.append((wire, self.begin(wire, 3, network.SILENT4, 7)))
                wire.settle()
            if turn % 2:
                self.set_rules("Deny=tcp * *")
                self.hang_up()
            else:
                self.take_rules("Deny=tcp * *", close=True)
            for wire, token in tokens:
                self.assertEqual(self.failure(wire, token)[0], "ERROR_ACCESS_DENIED")
            for wire in wires:
                wire.send(*(wire.make_close(self.next(), number) for number in (1, 2, 3)))
                wire.settle()
            self.take_rules(*self.rules)
        self.assertEqual(network.half_open(), 0)


class Learn(PolicyTest):

    rules = ("Mode=learn", "LearnUntil=2999-12-31", "Deny=tcp evil.test *", "Allow=tcp known.test *")
    GLOBAL4, GLOBAL6 = "93.184.216.34", "2606:2800:220:1::1"
    NAT64 = "64:ff9b::5db8:d822"  # the former, embedded

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # No host answers there either.
        for address in (cls.GLOBAL4, cls.GLOBAL6, cls.NAT64):
            network.run("ip", "route", "replace", address, "dev", "out")
            network.run("ip", "neighbour", "replace", address, "lladdr", "02:00:00:00:00:66", "nud", "permanent",
                        "dev", "out")

    def setUp(self):
        super().setUp()
        self.hold(NameServer({name: Name(a=[self.GLOBAL4]) for name in ("known.test", "new.test", "evil.test")} |
                             {"inside.test": Name(a=["127.0.0.1"]), "none.test": Name()}))
        self.capture = self.hold(network.Capture())

    def learned(self):
        return {row["rule"]: row for row in self.control.inspect(learned=pb.Learned())}

    def begin_and_see(self, host, target):
        """Waits until its attempt was made."""
        self.capture.now().clear()
        wire = self.wire()
        self.begin(wire, 1, host, 443)
        self.capture.wait(lambda p: p.target == target and p.flags == "S")
        wire.close()

    def test_what_is_not(self):
        """Not learned: what a rule allows or denies, names without an address, addresses that need a flag."""
        wire = self.wire()
        rows = {"evil.test": "ERROR_ACCESS_DENIED", "inside.test": "ERROR_ACCESS_DENIED", "none.test": "ERROR_NO_DATA",
                "127.0.0.1": "ERROR_ACCESS_DENIED", network.OWN4: "ERROR_ACCESS_DENIED",
                network.SILENT4: "ERROR_ACCESS_DENIED"}
        before = self.learned()
        for number, (host, error) in enumerate(rows.items(), start=1):
            self.assertEqual(self.failure(wire, self.begin(wire, number, host, 443))[0], error, host)
        self.begin_and_see("known.test", self.GLOBAL4)
        self.assertEqual(self.learned(), before)

    def test_what_would_admit_it(self):
        # time(2) returns the time of the last tick: for some milliseconds of a new second it is still the old one.
        began = int(time.clock_gettime(CLOCK_REALTIME_COARSE))
        for host, target in (("New.TEST", self.GLOBAL4), (self.GLOBAL4, self.GLOBAL4), (self.GLOBAL6, self.GLOBAL6),
                             (self.GLOBAL4, self.GLOBAL4), (f"::ffff:{self.GLOBAL4}", self.GLOBAL4),
                             (self.NAT64, self.NAT64)):
            self.begin_and_see(host, target)
        rows = self.learned()
        self.assertEqual({rule: row["count"] for rule, row in rows.items()},
                         {"tcp new.test 443": 1, f"tcp {self.GLOBAL4} 443": 4, f"tcp {self.GLOBAL6} 443": 1,
                          f"tcp {self.NAT64} 443": 1})
        for row in rows.values():
            self.assertEqual((row["file"], row["uid"]), (self.policy, os.getuid()))
            self.assertTrue(began <= row["first"] <= row["last"] <= time.time(), row)
        # The learned rules do allow it.
        self.take_rules(*(f"Allow={rule}" for rule in rows))
        self.assertEqual(self.learned().keys(), rows.keys())
        for host in ("new.test", self.GLOBAL4, self.GLOBAL6, self.NAT64):
            told = dict(self.judged(host))
            self.assertEqual((told["verdict"], told["learned"]), ("allow", 0), host)

    def judged(self, host):
        fields = [("listener", "default"), ("protocol", "tcp"), ("host", host), ("service", "443")]
        if host.endswith(".test"):
            fields.append(("address", self.GLOBAL4))
        record = pb.Record(fields=[pb.Field(name=name, text=text) for name, text in fields])
        control = self.control
        control.token += 1
        control.send(request(pb.VERB_JUDGE, control.token, payload=record.SerializeToString(), judge=pb.Judge()))
        reply, payload = control.take(lambda r: r.op == control.token)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS, payload)
        return [(f.name, f.number if f.is_number else f.text) for f in pb.Record.FromString(payload).fields]


if __name__ == "__main__":
    unittest.main()
