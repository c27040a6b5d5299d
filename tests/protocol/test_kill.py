# SPDX-License-Identifier: LGPL-2.1-or-later
"""KILL, on the control listener (S55)."""

import unittest

from asockd import DaemonTest
from wire import Ended, Wire, pb, request

TEXT = b"ended by the administrator"


def kill(op, number):
    return request(pb.VERB_KILL, op, kill=pb.Kill(id=number))


class Kill(DaemonTest):

    def control(self):
        control = self.hold(Wire(self.daemon.control_path))
        control.hello()
        return control

    def row(self, wire, number=1):
        """The row of a session's own socket."""
        return next(row for row in wire.inspect(list=pb.List()) if row["socket"] == number)

    def killed(self, control, number, error=pb.ERROR_SUCCESS):
        control.token += 1
        control.send(kill(control.token, number))
        self.assertEqual(control.completion(control.token).error, error)

    def event(self, wire):
        return wire.take(lambda r: r.event.code == pb.EVENT_KILLED)

    def test_s55_pending_and_later_ops_end_until_close(self):
        wire, control = self.wire(), self.control()
        peer = self.pair(wire)
        wire.send(wire.receive(1, 1, 10), wire.receive(2, 1, 10))
        wire.settle()
        self.killed(control, self.row(wire)["id"])
        event, text = self.event(wire)
        self.assertEqual((event.socket, event.error, text), (1, pb.ERROR_CONNECTION_ABORTED, TEXT))
        for op in (1, 2):
            self.assertEqual(wire.completion(op).error, pb.ERROR_CONNECTION_ABORTED)
        wire.send(wire.make_send(3, 1, b"x"), wire.receive(4, 1, 1), wire.shutdown(5, 1, pb.HOW_SEND),
                  wire.connect(6, 1, ("127.0.0.1", 1)),
                  request(pb.VERB_GET_OPTION, 7, 1,
                          get_option=pb.GetOption(option=pb.OPTION_NO_DELAY)))
        for op in range(3, 8):
            self.assertEqual(wire.completion(op).error, pb.ERROR_CONNECTION_ABORTED, op)
        self.reset_by(peer)
        wire.send(wire.make_close(8, 1))
        self.assertEqual(wire.completion(8).error, pb.ERROR_SUCCESS)
        # The id is free, and what stands under it next is not killed.
        self.assertEqual(wire.ops_freed[1], 2 + 2 + 4)
        fresh = self.pair(wire)
        wire.send(wire.make_send(9, 1, b"alive"))
        self.assertEqual(self.read_all(fresh, 5), b"alive")

    def test_s55_the_event_comes_once(self):
        wire, control = self.wire(), self.control()
        self.pair(wire)
        number = self.row(wire)["id"]
        self.killed(control, number)
        self.killed(control, number)
        wire.settle()
        events = [r for r, _ in wire.kept if r.event.code == pb.EVENT_KILLED]
        self.assertEqual(len(events), 1)

    def test_s55_half_a_send_ends_with_what_went(self):
        wire, control = self.wire(), self.control()
        peer = self.pair(wire)
        wire.send(*(wire.make_send(op, 1, bytes(256 * 1024)) for op in range(1, 4)))
        wire.settle()
        self.killed(control, self.row(wire)["id"])
        for op in range(1, 4):
            reply = wire.completion(op)
            self.assertIn(reply.error, (pb.ERROR_SUCCESS, pb.ERROR_CONNECTION_ABORTED))
        self.reset_by(peer)

    def test_s55_connect_in_progress(self):
        wire, control = self.wire(), self.control()
        listener = self.listener(backlog=0)
        fillers = [self.wire() for _ in range(2)]
        for filler in fillers:
            filler.send(filler.open(1, 1), filler.connect(2, 1, listener.getsockname()))
            filler.settle()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()),
                  wire.make_send(3, 1, b"never"))
        wire.settle()
        self.killed(control, self.row(wire)["id"])
        self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_ABORTED)
        self.assertEqual(wire.completion(3).error, pb.ERROR_CONNECTION_ABORTED)
        self.assertEqual(self.row(wire)["state"], "killed")

    def test_s55_socket_never_connected(self):
        wire, control = self.wire(), self.control()
        wire.send(wire.open(1, 1))
        wire.settle()
        self.killed(control, self.row(wire)["id"])
        wire.send(wire.make_send(2, 1, b"x"), wire.make_close(3, 1))
        self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_ABORTED)
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)

    def test_s55_session_ends_with_the_cause(self):
        wire, control, other = self.wire(), self.control(), self.wire()
        peers = [self.pair(wire, number) for number in (1, 2)]
        self.pair(other)
        wire.send(wire.receive(1, 1, 10))
        wire.settle()
        self.killed(control, wire.inspect(show=pb.Show())[0]["id"])
        last, text = wire.ended()
        self.assertEqual((last.error, text), (pb.ERROR_CONNECTION_ABORTED, TEXT))
        for peer in peers:
            self.reset_by(peer)
        other.settle()  # others are not affected
        self.assertEqual(self.row(other)["state"], "connected")

    def test_s55_unknown_id_is_not_found(self):
        control = self.control()
        for number in (0, 1 << 40, (1 << 64) - 1):
            self.killed(control, number, pb.ERROR_NOT_FOUND)
        control.settle()

    def test_s55_not_on_a_client_listener(self):
        wire, victim = self.wire(), self.wire()
        self.pair(victim)
        for number in (self.row(victim)["id"], 1 << 40):
            wire.token += 1
            wire.send(kill(wire.token, number))
            self.assertEqual(wire.completion(wire.token).error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        # Nor its own.
        victim.send(kill(99, self.row(victim)["id"]))
        self.assertEqual(victim.completion(99).error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        self.assertEqual(self.row(victim)["state"], "connected")

    def test_s55_control_session_may_end_itself(self):
        control = self.control()
        control.send(kill(5, control.inspect(show=pb.Show())[0]["id"]))
        try:
            reply = control.completion(5)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS)
            reply, text = control.ended()
        except Ended as ended:
            reply, text = ended.reply, ended.text
        self.assertEqual((reply.error, text), (pb.ERROR_CONNECTION_ABORTED, TEXT))


if __name__ == "__main__":
    unittest.main()
