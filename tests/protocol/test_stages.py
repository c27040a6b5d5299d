# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every op, at every stage it can wait in, ended in every way: one completion each (S2, S21, S30, S36, S37, S42, S55)."""

import collections
import unittest

from asockd import DaemonTest
from wire import pb, request

PIECE = 256 * 1024
TARGET = 500  # the token of the op that is ended
WAYS = {
    "cancel": pb.ERROR_OPERATION_ABORTED,
    "timeout": pb.ERROR_TIMED_OUT,
    "close": pb.ERROR_OPERATION_ABORTED,
    "abort": pb.ERROR_OPERATION_ABORTED,
    "kill": pb.ERROR_CONNECTION_ABORTED,
    "leave": None,
}


class Stages(DaemonTest):

    def connecting(self, wire, timeout=0):
        wire.send(wire.open(1, 1), wire.connect(2, 1, self.blackhole().getsockname(), timeout_ms=timeout))

    def full(self, wire):
        """A pair whose kernel takes no more, with room for another send of a piece in the window."""
        peer, op = self.pair(wire), 10
        while wire.welcome.send_window + wire.freed[1] >= (op - 10 + 2) * PIECE:
            wire.send(wire.make_send(op, 1, bytes(PIECE)))
            wire.settle()
            op += 1
        return peer

    # ------------------------------------------------------- the stages: (wire, timeout) -> TARGET

    def connect(self, wire, timeout):
        wire.send(wire.open(1, 1), wire.connect(TARGET, 1, self.blackhole().getsockname(), timeout_ms=timeout))

    def connect_with_data(self, wire, timeout):
        wire.send(wire.open(1, 1),
                  wire.connect(TARGET, 1, self.blackhole().getsockname(), b"data", timeout_ms=timeout))

    def send_behind_connect(self, wire, timeout):
        self.connecting(wire)
        wire.send(wire.make_send(TARGET, 1, b"x", timeout_ms=timeout))

    def receive_behind_connect(self, wire, timeout):
        self.connecting(wire)
        wire.send(wire.receive(TARGET, 1, 1, timeout_ms=timeout))

    def shutdown_behind_connect(self, wire, timeout, how=pb.HOW_SEND):
        self.connecting(wire)
        wire.send(request(pb.VERB_SHUTDOWN, TARGET, 1, timeout_ms=timeout,
                          shutdown=pb.Shutdown(how=how)))

    def shutdown_both_behind_connect(self, wire, timeout):
        self.shutdown_behind_connect(wire, timeout, pb.HOW_BOTH)

    def shutdown_receive_behind_connect(self, wire, timeout):
        self.shutdown_behind_connect(wire, timeout, pb.HOW_RECEIVE)

    def send_that_has_begun(self, wire, timeout):
        self.pair(wire)
        total = 64 << 20
        wire.send(wire.make_send(TARGET, 1, bytes(PIECE), timeout_ms=timeout, more=True,
                                 total_len=total))
        sent = PIECE
        while sent + PIECE <= wire.welcome.send_window + wire.freed[1] and not self.is_told(wire):
            wire.send(wire.make_send(TARGET, 1, bytes(PIECE), more=True))
            sent += PIECE
            wire.settle()

    def send_in_the_queue(self, wire, timeout):
        self.full(wire)
        wire.send(wire.make_send(TARGET, 1, b"behind", timeout_ms=timeout))

    def chain_without_a_byte(self, wire, timeout):
        self.pair(wire)
        wire.send(wire.make_send(TARGET, 1, b"", timeout_ms=timeout, more=True, total_len=1000))

    def receive(self, wire, timeout, length=10, flags=0):
        peer = self.pair(wire)
        wire.send(wire.receive(TARGET, 1, length, flags=flags, timeout_ms=timeout))
        return peer

    def probe(self, wire, timeout):
        self.receive(wire, timeout, 0)

    def peek(self, wire, timeout):
        self.receive(wire, timeout, 10, pb.RECEIVE_FLAG_PEEK)

    def wait_all(self, wire, timeout):
        self.receive(wire, timeout, 10, pb.RECEIVE_FLAG_WAIT_ALL)

    def wait_all_that_has_some(self, wire, timeout):
        self.receive(wire, timeout, 10, pb.RECEIVE_FLAG_WAIT_ALL).sendall(b"some")

    def receive_behind_another(self, wire, timeout):
        self.pair(wire)
        wire.send(wire.receive(3, 1, 1), wire.receive(TARGET, 1, 10, timeout_ms=timeout))

    def shutdown_behind_sends(self, wire, timeout):
        self.full(wire)
        wire.send(request(pb.VERB_SHUTDOWN, TARGET, 1, timeout_ms=timeout,
                          shutdown=pb.Shutdown(how=pb.HOW_SEND)))

    # ------------------------------------------------------------------------------ the ways

    def is_told(self, wire):
        return any(reply.op == TARGET and not reply.flags & pb.REPLY_FLAG_MORE for reply, _ in wire.kept)

    def end(self, wire, way):
        if way == "cancel":
            wire.send(wire.cancel(900, 1, TARGET))
        elif way in ("close", "abort"):
            wire.send(wire.make_close(901, 1, abort=way == "abort"))
        elif way == "kill":
            row = wire.inspect(list=pb.List())[0]
            control = self.daemon.control
            control.token += 1
            control.send(request(pb.VERB_KILL, control.token, kill=pb.Kill(id=row["id"])))
            self.assertEqual(control.completion(control.token).error, pb.ERROR_SUCCESS)

    def rest(self, wire, way):
        """To the end of the socket; then no token has had two last replies."""
        if way not in ("close", "abort"):
            wire.send(wire.make_close(901, 1))
        last = collections.Counter({TARGET: 1})
        while not last[901]:
            reply, _ = wire.next()
            if reply.kind == pb.KIND_COMPLETION and not reply.flags & pb.REPLY_FLAG_MORE:
                last[reply.op] += 1
        wire.settle()
        last.update(r.op for r, _ in wire.kept if r.kind == pb.KIND_COMPLETION)
        self.assertEqual([op for op, count in last.items() if count != 1], [])
        self.assertEqual(wire.inspect(list=pb.List()), [])

    def ended(self, stage, way):
        wire = self.wire()
        getattr(self, stage)(wire, 60 if way == "timeout" else 0)
        if way not in ("timeout", "leave"):
            wire.settle()
        self.end(wire, way)
        if way != "leave":
            reply = wire.completion(TARGET)
            self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(WAYS[way]))
            if stage.startswith("wait_all_that") and way != "timeout":
                self.assertIn(reply.bytes, (0, 4))
            self.rest(wire, way)
        wire.close()
        self.tearDown()
        self.setUp()

    def every_way(self, *stages):
        for stage in stages:
            for way in WAYS:
                with self.subTest(stage=stage, way=way):
                    self.ended(stage, way)

    def test_s2_connect(self):
        self.every_way("connect", "connect_with_data")

    def test_s2_behind_a_connect(self):
        self.every_way("send_behind_connect", "receive_behind_connect", "shutdown_behind_connect",
                       "shutdown_both_behind_connect", "shutdown_receive_behind_connect")

    def test_s2_send(self):
        self.every_way("send_that_has_begun", "send_in_the_queue", "chain_without_a_byte")

    def test_s2_receive(self):
        self.every_way("receive", "probe", "peek", "wait_all", "wait_all_that_has_some",
                       "receive_behind_another")

    def test_s2_shutdown(self):
        self.every_way("shutdown_behind_sends")

    def test_s2_close_that_lingers(self):
        """Cancelled, killed, or left alone by its client."""
        for way in ("cancel", "kill", "leave"):
            with self.subTest(way=way):
                wire = self.wire()
                peer = self.full(wire)
                wire.send(wire.make_send(3, 1, b"x"), wire.make_close(901, 1, linger_ms=300))
                wire.settle()
                if way == "cancel":
                    wire.send(wire.cancel(900, 0, 901))
                else:
                    self.end(wire, way)
                if way != "leave":
                    self.assertEqual(wire.completion(901).error, WAYS[way])
                wire.close()
                while self.daemon.stats()["sockets"]:  # its time is over, also without a client
                    pass
                self.reset_by(peer)
                self.tearDown()
                self.setUp()


if __name__ == "__main__":
    unittest.main()
