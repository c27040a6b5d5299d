# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session that restricts itself, on the wire (S56)."""

import os
import socket
import sys

import network
from asockd import DaemonTest
from nameserver import A, AAAA, PATIENT, Name, NameServer
from wire import Wire, pb, request

RESTRICTIONS_MAX = 16

network.enter()


def rules(*lines):
    return "".join(line + "\n" for line in ("[Rules]", *lines)).encode()


def allow(*ports, host="127.0.0.1"):
    return rules(*(f"Allow=tcp {host} {port} +loopback" for port in ports))


class Restrict(DaemonTest):

    @classmethod
    def setUpClass(cls):
        network.write("/etc/resolv.conf", PATIENT)
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.client = self.wire()
        self.inside, self.outside = self.listener(), self.listener()
        self.port, self.other_port = (listener.getsockname()[1] for listener in (self.inside, self.outside))

    def restrict(self, text, wire=None, error=pb.ERROR_SUCCESS, flags=0):
        """The text of the answer."""
        wire = wire or self.client
        wire.token += 1
        wire.send(request(pb.VERB_RESTRICT, wire.token, payload=text, flags=flags, restriction=pb.Restrict()))
        reply, payload = wire.whole(wire.token)
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error), payload)
        return payload.decode()

    def attempt(self, listener, wire=None, number=1):
        """OPEN, CONNECT, CLOSE: how the CONNECT ended."""
        wire = wire or self.client
        wire.token += 3
        wire.send(wire.open(wire.token - 2, number),
                  wire.connect(wire.token - 1, number, listener.getsockname()))
        reply, text = wire.whole(wire.token - 1)
        wire.send(wire.make_close(wire.token, number))
        wire.completion(wire.token)
        return reply.error, text.decode()

    def check_allowed(self, listener, wire=None):
        self.assertEqual(self.attempt(listener, wire), (pb.ERROR_SUCCESS, ""))
        self.accept(listener)

    def check_denied(self, listener, wire=None):
        """Before any packet has left, and with a reason."""
        error, text = self.attempt(listener, wire)
        self.assertEqual(pb.Error.Name(error), "ERROR_ACCESS_DENIED", text)
        self.assertTrue(text)
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()
        listener.settimeout(30)

    def blackhole(self):
        """A full backlog: the kernel drops what comes, a connect goes on."""
        listener = self.listener(backlog=0)
        for _ in range(2):
            filler = self.hold(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        return listener

    # ------------------------------------------------------------------------ what it says

    def test_s56_outside_is_denied(self):
        self.check_allowed(self.outside)
        self.assertEqual(self.restrict(allow(self.port)), "")
        self.check_allowed(self.inside)
        self.check_denied(self.outside)

    def test_s56_it_cannot_be_widened(self):
        """Each further one can only take away."""
        self.restrict(allow(self.port))
        self.restrict(rules("Allow=tcp * 1-65535 +loopback +private +linklocal +local +special"))
        self.check_denied(self.outside)
        self.check_allowed(self.inside)
        self.restrict(allow(self.port, self.other_port))
        self.check_denied(self.outside)
        self.check_allowed(self.inside)
        self.restrict(allow(self.other_port))
        self.check_denied(self.outside)
        self.check_denied(self.inside)
        self.assertEqual(self.client.inspect(show=pb.Show())[0]["restrictions"], 4)

    def test_s56_denying_rules(self):
        everything = "Allow=tcp * 1-65535 +loopback"
        self.restrict(rules(f"Deny=tcp 127.0.0.1 {self.other_port}", everything))
        self.check_denied(self.outside)
        self.check_allowed(self.inside)

    def test_s56_no_rule_is_nothing(self):
        self.restrict(rules())
        self.check_denied(self.inside)

    def test_s56_special_addresses_need_their_flag(self):
        self.restrict(rules(f"Allow=tcp * {self.port}"))
        self.check_denied(self.inside)

    def test_s56_it_is_the_sessions_alone(self):
        other = self.wire()
        self.restrict(allow(self.port))
        self.check_allowed(self.outside, other)
        self.check_denied(self.outside)

    def test_s56_in_one_write_with_what_it_is_for(self):
        self.client.send(request(pb.VERB_RESTRICT, 1, payload=allow(self.port), restriction=pb.Restrict()),
                         self.client.open(2, 1), self.client.connect(3, 1, self.outside.getsockname()))
        self.assertEqual(self.client.completion(3).error, pb.ERROR_ACCESS_DENIED)

    # ------------------------------------------------------------------- whoever has it

    def test_s56_whoever_has_the_connection(self):
        """HELLO again, by another program, changes name and limits and nothing else."""
        launcher = self.hold(Wire(self.daemon.path))
        launcher.hello(name="launcher", sockets=16)
        self.restrict(allow(self.port), launcher)
        launcher.hello(name="launcher", sockets=16)
        self.restrict(allow(self.port, self.other_port), launcher)
        program = self.hold(Wire(sock=socket.socket(fileno=os.dup(launcher.sock.fileno()))))
        program.hello(name="program", sockets=50)
        self.assertEqual(program.welcome.sockets, 50)
        self.check_denied(self.outside, program)
        self.check_allowed(self.inside, program)
        self.assertEqual(program.inspect(show=pb.Show())[0]["name"], "program")
        program.hello(name="program", sockets=60)
        self.check_denied(self.outside, program)

    def test_s56_not_before_hello(self):
        wire = self.wire(hello=False)
        wire.send(request(pb.VERB_RESTRICT, 1, payload=allow(1), restriction=pb.Restrict()))
        self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)

    def test_s56_not_on_the_control_listener(self):
        self.restrict(allow(1), self.daemon.control, error=pb.ERROR_OPERATION_NOT_SUPPORTED)

    def test_s56_it_survives_a_reload(self):
        self.restrict(allow(self.port))
        control = self.daemon.control
        control.token += 1
        control.send(request(pb.VERB_RELOAD, control.token, reload=pb.Reload()))
        self.assertEqual(control.completion(control.token).error, pb.ERROR_SUCCESS)
        self.check_denied(self.outside)
        self.check_allowed(self.inside)

    # --------------------------------------------------------------- what is in progress

    def test_s56_connections_go_on(self):
        peer = self.pair(self.client, 2)
        self.restrict(rules())
        self.client.send(self.client.make_send(1, 2, b"still"), self.client.receive(2, 2, 10))
        self.assertEqual(self.read_all(peer, 5), b"still")
        peer.sendall(b"here")
        self.assertEqual(self.client.whole(2)[1], b"here")

    def test_s56_an_attempt_ends(self):
        hole = self.blackhole()
        self.client.send(self.client.open(1, 1), self.client.connect(2, 1, hole.getsockname()),
                         self.client.make_send(3, 1, b"behind it"))
        self.client.settle()
        self.restrict(allow(hole.getsockname()[1]))
        self.client.settle()
        self.assertFalse([reply for reply, _ in self.client.kept if reply.op == 2], "it is allowed still")
        self.restrict(allow(self.port))
        reply, text = self.client.whole(2)
        self.assertEqual(reply.error, pb.ERROR_ACCESS_DENIED)
        self.assertTrue(text)
        self.assertEqual(self.client.completion(3).error, pb.ERROR_OPERATION_ABORTED)

    def test_s56_an_attempt_of_a_socket_that_was_closed_ends(self):
        """Its data had time to go; where to, is judged all the same."""
        hole = self.blackhole()
        self.client.send(self.client.open(1, 1), self.client.connect(2, 1, hole.getsockname(), b"goes first"),
                         self.client.make_close(3, 1, linger_ms=600000))
        self.client.settle()
        self.restrict(rules())
        self.assertEqual(self.client.completion(2).error, pb.ERROR_ACCESS_DENIED)
        self.client.completion(3)

    def by_name(self, name, number=1):
        self.client.send(self.client.open(10 * number, number),
                         request(pb.VERB_CONNECT, 10 * number + 1, number,
                                 connect=pb.Connect(host=name, service=str(self.port))))
        return 10 * number + 1

    def test_s56_a_name_that_is_being_resolved(self):
        names = {"held.test": Name(a=("127.0.0.1",), held=(A, AAAA)),
                 "other.test": Name(a=("127.0.0.1",), held=(A, AAAA))}
        server = self.hold(NameServer(names))
        denied, allowed = self.by_name("held.test"), self.by_name("other.test", 2)
        server.wait_for(lambda q: {name for name, *_ in q} == set(names))
        self.restrict(allow(self.port, host="other.test"))
        self.assertEqual(self.client.completion(denied).error, pb.ERROR_ACCESS_DENIED)
        server.release("other.test", A)
        server.release("other.test", AAAA)
        self.assertEqual(self.client.completion(allowed).error, pb.ERROR_SUCCESS)
        self.accept(self.inside)

    def test_s56_a_name_that_is_not_allowed_is_not_asked_for(self):
        server = self.hold(NameServer({"leak.test": Name(a=("127.0.0.1",))}))
        self.restrict(allow(self.port))
        self.assertEqual(self.client.completion(self.by_name("leak.test")).error, pb.ERROR_ACCESS_DENIED)
        self.assertEqual(server.asked(), [])

    # ------------------------------------------------------------------- what is refused

    def test_s56_wrong_rules_change_nothing(self):
        wrong = {b"Allow=tcp 127.0.0.1 1\n": "line 1: ",
                 b"[Rules]\nAlow=tcp 127.0.0.1 1\n": "line 2: ",
                 b"[Rules]\nAllow=tcp 127.0.0.1 1 +everything\n": "line 2: ",
                 b"[Rules]\nAllow=tcp 127.0.0.1 1": "line 2: ",
                 b"[Rules]\n\nAllow=tcp\n": "line 3: ",
                 b"[Rules]\nAllow=tcp \xff 1\n": "line 2: ",
                 b"[Rules]\nAllow=tcp \0 1\n": "line 2: ",
                 b"[Rules]\n[Match]\nUser=root\n": "line 2: ",
                 b"[Limits]\nSockets=1000\n": "line 1: ",
                 b"[Rules]\nMode=learn\n": "line 2: "}
        for text, says in wrong.items():
            with self.subTest(text=text):
                self.assertTrue(self.restrict(text, error=pb.ERROR_INVALID_ARGUMENT).startswith(says))
        self.check_allowed(self.outside)

    def test_s56_flags_are_refused(self):
        self.restrict(allow(1), flags=pb.REQUEST_FLAG_ERRORS_ONLY, error=pb.ERROR_INVALID_ARGUMENT)
        self.check_allowed(self.outside)

    def test_s56_they_are_bounded(self):
        """In number; in rules; in bytes. A flood of them costs what those cost that were taken."""
        before = self.daemon.memory("VmHWM")
        line = f"Allow=tcp 127.0.0.1 {self.port} +loopback"
        for text in (allow(*range(1, 300)), rules(*[f"Listen=tcp * {port}" for port in range(1, 300)]), rules(*["# " + "x" * 200] * 300), bytes(256 * 1024)):
            self.restrict(text, error=pb.ERROR_NO_BUFFER_SPACE)
        for _ in range(RESTRICTIONS_MAX):
            self.restrict(rules(line))
        for _ in range(1000):
            self.restrict(rules(line), error=pb.ERROR_NO_BUFFER_SPACE)
        self.check_allowed(self.inside)
        self.check_denied(self.outside)
        self.check_growth("VmHWM", before, 4 << 20)
        print(f"{RESTRICTIONS_MAX} restrictions per session", file=sys.stderr)
