# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sockets in the states that their ends depend on."""


from asockd import DaemonTest

PIECE = 256 * 1024


class EndingTest(DaemonTest):

    def stalled(self, wire, number=1):
        """A pair whose peer reads nothing, and whose window is full of bytes that the kernel refuses.

        Returns the peer, what was sent, and the token of the last send, which has not begun.
        """
        peer = self.pair(wire, number)
        sent, op = 0, 100
        data = bytes(range(256)) * (PIECE // 256)
        while True:
            wire.send(wire.make_send(op, number, data))
            sent += len(data)
            op += 1
            wire.settle()
            if sent - wire.freed[number] > (1 << 20) - 2 * PIECE:
                break
        wire.send(wire.make_send(op, number, data))
        return peer, sent + len(data), op

    def leave(self, wire):
        """Goes away, and returns when the daemon has seen it."""
        clients = self.daemon.stats()["clients"]
        wire.close()
        while self.daemon.stats()["clients"] == clients:
            pass

    def forget(self, wire):
        wire.settle()
        wire.kept.clear()
