# SPDX-License-Identifier: LGPL-2.1-or-later
"""A take-over while operations wait that have no connection, or not yet, or not for long: RESOLVE, LIST, CONNECT, CLOSE."""

import math
import os
import socket
import tempfile
import time
import unittest

from asockd import attempts_at
from nameserver import A, AAAA, Name, NameServer
from talking import stream
import test_take_over
from wire import DEADLINE, endpoint, pb, request

class PendingTest(test_take_over.TakeOverTest):
    def blackhole_at(self, address):
        """As blackhole()."""
        listener = self.hold(socket.socket())
        listener.settimeout(DEADLINE)
        listener.bind(address)
        listener.listen(0)
        filler = self.hold(socket.create_connection(address))
        self.fillers.add(filler.getsockname())
        return listener

    def await_attempt(self, listener):
        address = listener.getsockname()
        self.daemon.wait(lambda: attempts_at(address))
        return attempts_at(address)

    def check_goes_on(self, listener, ports):
        """What comes in there is what had begun before."""
        self.assertEqual(attempts_at(listener.getsockname()), ports)
        peer = self.accept_behind(listener)
        self.assertEqual([peer.getpeername()[1]], ports)
        return peer


class Connects(PendingTest):
    def test_an_attempt_goes_on(self):
        wire, full = self.wire(), self.blackhole()
        wire.send(wire.open(5, 1), wire.connect(6, 1, full.getsockname(), b"first"))
        ports = self.await_attempt(full)
        self.succeed()
        self.succeed()
        peer = self.check_goes_on(full, ports)
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(peer, 5), b"first")
        wire.send(wire.make_close(7, 1))
        self.assertEqual(self.read_all(peer), b"")  # it ends whole, not in a reset

    def test_all_attempts_of_a_list_go_on(self):
        """Any of them may win; the others are given up then."""
        wire, first = self.wire(), self.blackhole()
        second = self.blackhole_at(("127.0.0.2", first.getsockname()[1]))
        to = [endpoint(listener.getsockname()) for listener in (first, second)]
        wire.send(wire.open(5, 1), request(pb.VERB_CONNECT, 6, 1, b"data",
                                           connect=pb.Connect(endpoint=to[0], others=to[1:])))
        ports = [self.await_attempt(listener) for listener in (first, second)]
        self.succeed()
        self.assertEqual(attempts_at(first.getsockname()), ports[0])
        peer = self.check_goes_on(second, ports[1])
        reply = wire.completion(6)
        self.assertEqual((reply.error, reply.connected.remote), (pb.ERROR_SUCCESS, to[1]))
        self.assertEqual(self.read_all(peer, 4), b"data")
        self.assertEqual(attempts_at(first.getsockname()), [])

    def test_the_rest_of_a_list_is_tried(self):
        wire, full = self.wire(), self.blackhole()
        port = full.getsockname()[1]
        listener = self.hold(socket.create_server(("127.0.0.3", port)))
        listener.settimeout(DEADLINE)
        addresses = [full.getsockname(), ("127.0.0.2", port), ("127.0.0.3", port)]
        first, *others = map(endpoint, addresses)
        wire.send(wire.open(5, 1), request(pb.VERB_CONNECT, 6, 1, connect=pb.Connect(endpoint=first, others=others)))
        self.await_attempt(full)
        self.succeed()
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.accept(listener)

    def test_a_connect_that_is_cancelled(self):
        wire, full = self.wire(), self.blackhole()
        wire.send(wire.open(5, 1), wire.connect(6, 1, full.getsockname(), timeout_ms=60000))
        self.await_attempt(full)
        self.succeed()
        wire.send(wire.cancel(7, 1, 6))
        self.assertEqual(wire.completion(6).error, pb.ERROR_OPERATION_ABORTED)
        self.daemon.wait(lambda: not attempts_at(full.getsockname()))


class Names(PendingTest):
    """The new daemon asks the name server again."""

    @classmethod
    def setUpClass(cls):
        cls.names = {"held.test": Name(a=["127.0.0.1", "127.0.0.2"], held=(A, AAAA)), "name.test": Name(a=["127.0.0.1"])}
        cls.server = NameServer(cls.names, port=0)
        cls.addClassCleanup(cls.server.close)
        directory = tempfile.TemporaryDirectory(prefix="asockd-test-")
        cls.addClassCleanup(directory.cleanup)
        os.chmod(directory.name, 0o755)
        path = os.path.join(directory.name, "asockd.conf")
        with open(path, "w", encoding="ascii") as conf:
            conf.write(f"[Resolver]\nServers=127.0.0.1:{cls.server.port}\nTimeout=20\n")
        os.chmod(path, 0o644)
        cls.arguments = ("--allow-any", "--config", path)
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.server.names["held.test"].held |= {A, AAAA}
        self.server.questions.clear()

    def await_questions(self, name, count):
        self.daemon.wait(lambda: len(self.server.asked(name)) >= count)

    def test_a_resolve(self):
        wire = self.wire()
        wire.send(wire.resolve(5, "held.test"), wire.resolve(6, "held.test", pb.FAMILY_INET))
        self.await_questions("held.test", 2)
        wire.settle()
        self.succeed()
        self.await_questions("held.test", 4)
        for kind in (A, AAAA):
            self.server.release("held.test", kind)
        for op in (5, 6):
            reply, payload = wire.whole(op)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS, payload)
            self.assertEqual(sorted(bytes(e.address) for e in pb.Addresses.FromString(payload).endpoints),
                             [bytes([127, 0, 0, 1]), bytes([127, 0, 0, 2])])

    def test_its_deadline_counts_on(self):
        wire = self.wire()
        began = time.monotonic()
        wire.send(wire.resolve(5, "held.test", timeout_ms=1500))
        self.await_questions("held.test", 2)
        self.succeed()
        self.assertEqual(wire.completion(5).error, pb.ERROR_TIMED_OUT)
        self.assertGreaterEqual(math.ceil(1000 * (time.monotonic() - began)), 1500)

    def test_it_can_be_cancelled(self):
        wire = self.wire()
        wire.send(wire.resolve(5, "held.test"))
        self.await_questions("held.test", 2)
        self.succeed()
        wire.send(wire.cancel(6, 0, 5))
        self.assertEqual(wire.completion(5).error, pb.ERROR_OPERATION_ABORTED)

    def test_a_connect_by_name(self):
        """It is asked for again, and the attempt at the same address goes on."""
        wire, full = self.wire(), self.blackhole()
        port = str(full.getsockname()[1])
        wire.send(wire.open(5, 1), request(pb.VERB_CONNECT, 6, 1, b"data",
                                           connect=pb.Connect(host="name.test", service=port)))
        ports = self.await_attempt(full)
        self.succeed()
        self.await_questions("name.test", 4)
        peer = self.check_goes_on(full, ports)
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(peer, 4), b"data")

    def test_a_connect_whose_name_is_not_known(self):
        wire, listener = self.wire(), self.listener()
        port = str(listener.getsockname()[1])
        wire.send(wire.open(5, 1), request(pb.VERB_CONNECT, 6, 1, connect=pb.Connect(host="held.test", service=port)))
        self.await_questions("held.test", 2)
        self.succeed()
        for kind in (A, AAAA):
            self.server.release("held.test", kind)
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.accept(listener)


class Lists(PendingTest):
    def test_lists_that_nobody_has_read(self):
        """Each row comes once, also of those that had not begun."""
        wire, lists, sockets = self.wire(), range(2001, 2017), range(1, 1001)
        for number in sockets:
            wire.send(wire.open(number, number))
        wire.settle()
        wire.send(*(request(pb.VERB_LIST, op, list=pb.List()) for op in lists))
        self.daemon.wait(lambda: test_take_over.Carried.has_read(wire))
        row, = [row for row in self.daemon.control.inspect(sessions=pb.Sessions()) if row["listener"] == "default"]
        self.assertLess(row["ops_done"], len(sockets) + 1 + len(lists))  # they do not fit into what is buffered
        self.succeed()
        self.succeed()
        for op in lists:
            ids = []
            while True:
                reply, payload = wire.take(lambda reply, op=op: reply.op == op)
                self.assertEqual(reply.error, pb.ERROR_SUCCESS, payload)
                if not reply.flags & pb.REPLY_FLAG_MORE:
                    break
                ids += [field.number for field in pb.Record.FromString(payload).fields if field.name == "id"]
            self.assertEqual((len(ids), len(set(ids))), (len(sockets), len(sockets)))


class Closes(PendingTest):
    """With a linger time."""

    SIZE = 200000

    def close_behind_sends(self, linger_ms):
        """A close that waits for a peer that does not read yet: the wire, the peer, and what was sent."""
        wire = self.wire()
        peer, sent = self.pair(wire), 0
        while sum(wire.freed.values()) == sent:
            wire.send(wire.make_send(2000 + sent, 1, stream(sent, self.SIZE)))
            wire.settle()
            sent += self.SIZE
        wire.send(wire.make_close(5, 1, linger_ms=linger_ms))
        wire.settle()
        return wire, peer, sent

    def test_what_was_sent_goes_out_before_it(self):
        wire, peer, sent = self.close_behind_sends(60000)
        wire.send(wire.open(6, 1))  # its id is free
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.succeed()
        self.succeed()
        self.assertEqual(self.read_all(peer), stream(0, sent))
        self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)

    def test_its_time_counts_on(self):
        began = time.monotonic()
        wire, peer, _ = self.close_behind_sends(3000)
        self.succeed()
        self.assertEqual(wire.completion(5).error, pb.ERROR_TIMED_OUT)
        self.assertGreaterEqual(math.ceil(1000 * (time.monotonic() - began)), 3000)
        self.reset_by(peer)

    def test_what_the_peer_has_not_acknowledged(self):
        """FIN is sent, behind what the kernel still has."""
        wire, listener, data = self.wire(), self.listener(), stream(0, 12000)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        wire.send(wire.open(2, 1), wire.connect(3, 1, listener.getsockname(), data))
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        peer = self.accept(listener)
        wire.send(wire.make_close(5, 1, linger_ms=60000))
        wire.settle()
        self.succeed()
        wire.settle()
        self.assertFalse([reply for reply, _ in wire.kept if reply.op == 5])
        self.assertEqual(self.read_all(peer), data)
        self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)

    def test_a_connect_before_it(self):
        wire, full = self.wire(), self.blackhole()
        wire.send(wire.open(5, 1), wire.connect(6, 1, full.getsockname(), b"first"), wire.make_send(7, 1, b"second"),
                  wire.make_close(8, 1, linger_ms=60000))
        ports = self.await_attempt(full)
        wire.settle()
        self.succeed()
        peer = self.check_goes_on(full, ports)
        self.assertEqual(self.read_all(peer), b"firstsecond")
        for op in (6, 7, 8):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)

    def test_a_client_that_goes(self):
        """What it has closed is still sent."""
        wire, peer, sent = self.close_behind_sends(60000)
        self.succeed()
        wire.close()
        self.assertEqual(self.read_all(peer), stream(0, sent))


if __name__ == "__main__":
    unittest.main()
