# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reload: by SIGHUP and by RELOAD; all or nothing, and what comes into force for whom."""

import os
import shutil
import signal
import tempfile
import time
import asockctl
import json
import socket
import unittest

import asockd
import network
from nameserver import A, AAAA, Name, NameServer
from wire import DEADLINE, Wire, pb, request

CLOCK_REALTIME_COARSE = 5  # of Linux; the module time has no name for it
RESOLV_CONF = "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n"

network.enter()


class ReloadTest(asockd.DaemonTest):
    """A daemon with a configuration that the test writes."""

    arguments = ("--allow-any",)
    config = ""

    @classmethod
    def setUpClass(cls):
        network.write("/etc/resolv.conf", RESOLV_CONF)
        cls.directory = tempfile.mkdtemp(prefix="asockd-reload-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        os.chmod(cls.directory, 0o755)
        cls.file = os.path.join(cls.directory, "asockd.conf")
        cls.write(cls.config)
        cls.policy = os.path.join(cls.directory, "test.policy")
        cls.daemon = cls.start()

    @classmethod
    def start(cls):
        return asockd.Daemon("--config", cls.file, *cls.arguments)

    @classmethod
    def write(cls, text, path=None):
        path = path or cls.file
        with open(path + ".new", "w", encoding="ascii") as stream:
            stream.write(text)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def setUp(self):
        super().setUp()
        self.control = self.daemon.control
        self.addCleanup(self.reload)
        self.addCleanup(self.write, self.config)

    def reload(self, close=False, error=pb.ERROR_SUCCESS):
        """The record of its answer, or the text that says why not."""
        control = self.control
        control.token += 1
        control.send(request(pb.VERB_RELOAD, control.token, reload=pb.Reload(close=close)))
        reply, payload = control.take(lambda r: r.op == control.token)
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error), payload)
        if error:
            return payload.decode()
        return {f.name: f.number if f.is_number else f.text for f in pb.Record.FromString(payload).fields}

    def hang_up(self, field="reloads"):
        """SIGHUP, and until it has had its effect."""
        before = self.daemon.stats()[field]
        os.kill(self.daemon.pid, signal.SIGHUP)
        limit = time.monotonic() + DEADLINE
        while self.daemon.stats()[field] == before:
            self.assertLess(time.monotonic(), limit, self.daemon.output())

    def granted(self):
        return self.wire(hello=False).hello().sockets


class Restart(ReloadTest):
    """Settings that a reload does not change: it says so."""

    config = "[Limits]\nSockets=100\nClients=50\n"

    def test_what_needs_a_restart(self):
        self.assertNotIn("restart", self.reload())
        self.write(self.config.replace("100", "200"))
        self.assertNotIn("restart", self.reload())
        for text, told in (("[Limits]\nClients=51\n", "Clients="), ("[Limits]\nSockets=100\n", "Clients="),
                           (self.config + "TotalOps=9999\nHelloMax=3\n", "HelloMax=, TotalOps="),
                           (self.config + "[Listener]\nName=web\n", "[Listener]"),
                           (self.config + "[Audit]\nFile=/var/log/asockd/x\n", "[Audit] File=")):
            self.write(text)
            self.assertEqual(self.reload()["restart"], told, text)
            self.assertIn(f"changed, and in force after a restart only: {told}", self.daemon.output())
        self.write(self.config)
        self.assertNotIn("restart", self.reload())


class Configuration(ReloadTest):

    config = "[Limits]\nSockets=100\n"

    def test_limits_are_those_of_new_sessions(self):
        old = self.wire()
        self.assertEqual(old.welcome.sockets, 100)
        self.write("[Limits]\nSockets=50\n")
        self.assertEqual(self.reload(), {"cancelled": 0, "denied": 0, "closed": 0})
        self.assertEqual(self.granted(), 50)
        old.send(*(old.open(number, number) for number in range(1, 101)))
        for number in range(1, 101):
            self.assertEqual(old.completion(number).error, pb.ERROR_SUCCESS, number)
        self.assertEqual(old.inspect(show=pb.Show())[0]["limit_sockets"], 100)

    def test_what_is_no_longer_said_is_the_default(self):
        self.write("")
        self.reload()
        self.assertEqual(self.granted(), 1024)

    def test_hang_up(self):
        self.write("[Limits]\nSockets=60\n")
        self.hang_up()
        self.assertEqual(self.granted(), 60)

    def test_a_bad_file_changes_nothing_and_says_where(self):
        self.write("[Limits]\nSockets=70\n\nOdd=1\n")
        self.assertEqual(self.reload(error=pb.ERROR_INVALID_ARGUMENT),
                         f"{self.file}:4: unknown key Odd= in [Limits]")
        self.assertEqual(self.granted(), 100)
        self.hang_up("reloads_failed")
        self.assertIn(f"{self.file}:4: unknown key Odd= in [Limits]; keeping the current configuration", self.daemon.output())
        self.assertEqual(self.granted(), 100)

    def test_what_stands_in_a_bad_file_is_told_as_text(self):
        with open(self.file, "wb") as stream:
            stream.write(b"[Limits]\nSockets=7\xff\n")
        text = self.reload(error=pb.ERROR_INVALID_ARGUMENT)
        self.assertTrue(text.startswith(f"{self.file}:2: "), text)

    def test_a_file_that_is_gone_changes_nothing(self):
        os.unlink(self.file)
        text = self.reload(error=pb.ERROR_INVALID_ARGUMENT)
        self.assertIn(self.file, text)
        self.assertIn("No such file", text)
        self.assertEqual(self.granted(), 100)

    def test_bad_name_servers_change_nothing(self):
        self.write("[Limits]\nSockets=70\n[Resolver]\nServers=nobody\n")
        self.assertIn("nobody", self.reload(error=pb.ERROR_INVALID_ARGUMENT))
        self.assertEqual(self.granted(), 100)

    def test_the_loop_goes_on_meanwhile(self):
        """What is asked behind RELOAD on the same connection is answered first: the files are read elsewhere."""
        control = self.control
        before = self.daemon.stats()["reloads"]
        control.send(request(pb.VERB_RELOAD, 900001, reload=pb.Reload()), control.sync(900002),
                     request(pb.VERB_STATS, 900003, stats=pb.Stats()))
        replies = [control.take(lambda reply: True) for _ in range(3)]
        self.assertEqual([reply.op for reply, _ in replies], [900002, 900003, 900001])
        stats = {f.name: f.number for f in pb.Record.FromString(replies[1][1]).fields}
        self.assertEqual(stats["reloads"], before)

    def test_one_that_is_cancelled_goes_on(self):
        control = self.control
        before = self.daemon.stats()["reloads"]
        control.send(request(pb.VERB_RELOAD, 900011, reload=pb.Reload()),
                     control.cancel(900012, 0, 900011))
        self.assertEqual(control.completion(900011).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(control.completion(900012).error, pb.ERROR_SUCCESS)
        limit = time.monotonic() + DEADLINE
        while self.daemon.stats()["reloads"] == before:
            self.assertLess(time.monotonic(), limit, self.daemon.output())

    def test_who_asked_may_go(self):
        before = self.daemon.stats()["reloads"]
        for _ in range(20):
            wire = Wire(self.daemon.control_path)
            wire.hello()
            wire.send(request(pb.VERB_RELOAD, 1, reload=pb.Reload()))
            wire.close()
        limit = time.monotonic() + DEADLINE
        while self.daemon.stats()["reloads"] == before:
            self.assertLess(time.monotonic(), limit, self.daemon.output())

    def test_log_level(self):
        """Of a reload that says less, nothing is seen."""
        self.write("[Log]\nLevel=error\n" + self.config)
        self.reload()
        before = self.daemon.output()
        self.reload()
        self.assertEqual(self.daemon.output(), before)
        self.write(self.config)
        self.reload()
        self.assertIn("reloaded", self.daemon.output()[len(before):])

    def test_name_servers(self):
        """What is being asked for ends with the server of before, what comes later asks the new one."""
        old = self.hold(NameServer({"held.test": Name(a=["127.0.0.1"], held=(A, AAAA)),
                                    "name.test": Name(a=["127.0.0.1"])}))
        new = self.hold(NameServer({"name.test": Name(a=["127.0.0.1"])}, "127.0.0.2", 5353))
        listener = self.listener()
        port = str(listener.getsockname()[1])
        wire = self.wire()

        def connect(number, host):
            wire.send(wire.open(100 + number, number),
                      request(pb.VERB_CONNECT, number, number,
                              connect=pb.Connect(host=host, service=port)))

        connect(1, "held.test")
        old.wait_for(lambda questions: len(questions) == 2)
        self.write(self.config + "[Resolver]\nServers=127.0.0.2:5353\n")
        self.reload()
        connect(2, "name.test")
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.assertEqual((old.asked("name.test"), len(new.asked("name.test"))), ([], 2))
        old.release("held.test", A)
        old.release("held.test", AAAA)
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.assertEqual(new.asked("held.test"), [])


class PolicyTest(ReloadTest):
    """Loopback, and two networks in which nobody answers."""

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
        """OPEN and CONNECT; the token of the latter."""
        wire.send(wire.open(self.next(), number),
                  request(pb.VERB_CONNECT, self.next(), number, payload,
                          connect=pb.Connect(host=host, service=str(port))))
        return self.token

    def up(self, wire, number, host):
        """Connected by that name or address, and its peer."""
        listener = self.listener()
        reply = wire.completion(self.begin(wire, number, host, listener.getsockname()[1]))
        self.assertEqual(pb.Error.Name(reply.error), "ERROR_SUCCESS")
        return self.accept(listener)

    def failure(self, wire, token):
        """Name of the error, and its text."""
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
        # The owner sees the mark; where the rule stands is the administrator's affair.
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
        # A second time there is nothing left to end.
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
        """Its queued send would still go out."""
        wire, listener = self.wire(), self.listener()
        token = self.begin(wire, 1, "127.0.0.1", listener.getsockname()[1])
        self.assertEqual(wire.completion(token).error, pb.ERROR_SUCCESS)
        peer = self.accept(listener)
        wire.send(*(wire.make_send(200 + n, 1, bytes(256 * 1024)) for n in range(4)))
        # Until the kernel takes no more: what is queued then keeps the close.
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
    """In progress while the policy changes."""

    def setUp(self):
        super().setUp()
        self.names = {"hole.test": Name(a=[network.SILENT4], aaaa=[network.SILENT6]),
                      "held.test": Name(a=["127.0.0.1"], aaaa=["::1"], held=(A, AAAA)),
                      "half.test": Name(a=["127.0.0.1"], aaaa=[network.SILENT6], held=(A,))}
        self.server = self.hold(NameServer(self.names))
        self.capture = self.hold(network.Capture())

    def begin_and_see(self, wire, host, *targets):
        """Until an attempt at each of them has left."""
        token = self.begin(wire, 1, host, 7)
        for target in targets:
            self.capture.wait(lambda p, to=target: p.target == to and p.flags == "S")
        return token

    def test_s24_a_name_that_is_being_resolved(self):
        wire = self.wire()
        token = self.begin(wire, 1, "held.test", 7)
        self.server.wait_for(lambda questions: len(questions) == 2)
        told = self.take_rules('Deny=tcp *.test * "no such names"', *self.rules)
        self.assertEqual(told["cancelled"], 1)
        self.assertEqual(self.failure(wire, token), ("ERROR_ACCESS_DENIED", "no such names"))
        self.server.release("held.test", A)
        self.server.release("held.test", AAAA)
        wire.settle()
        self.assertEqual(self.capture.to(7), [])

    def test_s24_a_name_that_no_rule_is_about_any_more(self):
        """Although its address may be connected to."""
        wire = self.wire()
        token = self.begin(wire, 1, "held.test", 7)
        self.server.wait_for(lambda questions: len(questions) == 2)
        self.take_rules("Allow=tcp 127.0.0.1 *")
        self.assertEqual(self.failure(wire, token)[0], "ERROR_ACCESS_DENIED")

    def test_s24_a_name_that_stays_allowed_goes_on(self):
        wire, listener = self.wire(), self.listener()
        token = self.begin(wire, 1, "held.test", listener.getsockname()[1])
        self.server.wait_for(lambda questions: len(questions) == 2)
        self.assertEqual(self.take_rules("Allow=tcp held.test * +loopback")["cancelled"], 0)
        self.server.release("held.test", A)
        self.server.release("held.test", AAAA)
        self.assertEqual(wire.completion(token).error, pb.ERROR_SUCCESS)

    def test_s24_addresses_that_come_later_are_judged_by_the_new_one(self):
        wire = self.wire()
        token = self.begin(wire, 1, "held.test", 7)
        self.server.wait_for(lambda questions: len(questions) == 2)
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
        """With --close and by SIGHUP, over and over: whatever ends, ends once."""
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
        # Nobody answers there either.
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
        """Until its attempt has left."""
        self.capture.now().clear()
        wire = self.wire()
        self.begin(wire, 1, host, 443)
        self.capture.wait(lambda p: p.target == target and p.flags == "S")
        wire.close()

    def test_what_is_not(self):
        """What a rule allows or denies, what has no address, what needs a flag."""
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
        # The daemon's time(2) is the one of the last tick: in a new second for some milliseconds still the old one.
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
        # And they do admit it.
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


class Rights(ReloadTest):

    def test_not_on_a_client_listener(self):
        wire = self.wire()
        before = self.daemon.stats()["reloads"]
        for op, (verb, arm) in enumerate(((pb.VERB_RELOAD, {"reload": pb.Reload()}),
                                          (pb.VERB_LEARNED, {"learned": pb.Learned()})), start=1):
            wire.send(request(verb, op, **arm))
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        self.assertEqual(self.daemon.stats()["reloads"], before)


class Lost(unittest.TestCase):
    """A socket that clients cannot find any more: the daemon does not see it go, but looks at a reload."""

    def setUp(self):
        self.daemon = asockd.Daemon()
        self.addCleanup(self.daemon.stop, check=False)

    def reload(self):
        record = self.daemon.control.inspect(reload=pb.Reload())[0]
        return record.get("listeners_lost", 0), record.get("problem", "")

    def test_a_deleted_socket_is_noticed(self):
        self.assertEqual(self.reload(), (0, ""))
        os.rename(self.daemon.path, self.daemon.path + "-away")
        count, problem = self.reload()
        self.assertEqual(count, 1)
        self.assertEqual(problem, f"listener default: {self.daemon.path} has been deleted, so nobody can connect there; restart asockd")
        self.assertIn(problem, self.daemon.output())
        done = asockctl.run("reload", "--json", env=asockctl.environment(ASOCK_CONTROL=self.daemon.control_path))
        self.assertEqual(json.loads(done.stdout)["problem"], problem)
        done = asockctl.run("reload", "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stderr.decode()), (0, f"asockctl: {problem}\n"))
        os.rename(self.daemon.path + "-away", self.daemon.path)
        self.assertEqual(self.reload(), (0, ""))

    def test_a_replaced_one_too(self):
        os.rename(self.daemon.path, self.daemon.path + "-away")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.daemon.path)
            self.assertIn("is another file now", self.reload()[1])

    def test_a_deleted_directory(self):
        away = os.path.dirname(self.daemon.path) + "-away"
        os.rename(os.path.dirname(self.daemon.path), away)
        self.assertEqual(self.reload()[0], 1)
        run = os.path.dirname(self.daemon.control_path)
        os.rename(run, run + "-away")
        count, problem = self.reload()
        self.assertEqual(count, 2)
        self.assertIn("has been deleted", problem)


if __name__ == "__main__":
    unittest.main()
