# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of flow control: chains of frames, peers that read or echo, feeding within a window."""

import threading

from asockd import DaemonTest
from wire import Wire

PIECE = 256 * 1024


def chain(op, number, data, size=PIECE, **fields):
    """The frames of one large send."""
    pieces = [data[at:at + size] for at in range(0, len(data), size)]
    frames = [Wire.make_send(op, number, pieces[0], more=True, total_len=len(data), **fields)]
    frames += [Wire.make_send(op, number, piece, more=True) for piece in pieces[1:-1]]
    return frames + [Wire.make_send(op, number, pieces[-1])]


class Reader(threading.Thread):
    """A peer that reads everything."""

    def __init__(self, peer):
        super().__init__()
        self.peer = peer
        self.data = bytearray()
        self.start()

    def run(self):
        try:
            while piece := self.peer.recv(1 << 20):
                self.data += piece
        except OSError:
            pass

    def result(self):
        self.join()
        return bytes(self.data)


class Echo(threading.Thread):
    """A peer that sends back what it gets."""

    def __init__(self, peer):
        super().__init__()
        self.peer = peer
        self.start()

    def run(self):
        try:
            while piece := self.peer.recv(1 << 16):
                self.peer.sendall(piece)
        except OSError:
            pass


class FlowTest(DaemonTest):

    def feed(self, wire, number, frames):
        """Sends frames of one socket within its window, and reads replies meanwhile."""
        taken = wire.freed[number]
        outstanding = 0
        for frame in frames:
            size = int.from_bytes(frame[4:8], "little")
            while outstanding + size > wire.welcome.send_window:
                wire.kept.append(wire.read())
                outstanding -= wire.freed[number] - taken
                taken = wire.freed[number]
            wire.send(frame)
            outstanding += size

    def ping(self, wire, number, op, count):
        """Round trips over an echo; two ops each."""
        for turn in range(count):
            data = turn.to_bytes(4, "little")
            wire.send(wire.make_send(op + 2 * turn, number, data),
                      wire.receive(op + 2 * turn + 1, number, 4))
            self.assertEqual(wire.whole(op + 2 * turn + 1)[1], data)
            self.assertEqual(wire.completion(op + 2 * turn).bytes, 4)
