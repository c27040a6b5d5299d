# SPDX-License-Identifier: LGPL-2.1-or-later
"""One client floods, another's op is served in its turn (S52). Counted in turns of the loop and in requests."""

import os
import signal
import threading
import unittest

from asockd import Daemon, DaemonTest
from suspend import suspend
from wire import Wire, pb, request

PIECE = 256 * 1024
# Until a request that stands before the daemon has been taken: a slice (daemon/core/share.h) for the flood and for each of
# the two who ask, and the turn of a daemon that was stopped, which only polls.
TURNS = 4


class FairnessTest(DaemonTest):

    def freeze(self):
        suspend(self.daemon.pid)

    def thaw(self):
        os.kill(self.daemon.pid, signal.SIGCONT)

    def fill(self, wire, frames):
        """Writes until its buffer in front of the frozen daemon is full; the rest, and the count of whole frames."""
        wire.sock.setblocking(False)
        count = 0
        for block in frames:
            try:
                sent = wire.sock.send(block)
            except BlockingIOError:
                sent = 0
            count += 1
            if sent < len(block):
                wire.sock.settimeout(30)
                return block[sent:], count
        return self.fail("there is no end to that buffer")

    def drain(self, wire, rest):
        """The frozen one's flood goes on, and is answered, to its end."""
        writer = threading.Thread(target=wire.sock.sendall, args=(rest,))
        writer.start()
        wire.take(lambda r: r.op == 1 << 30)
        writer.join()

    def measured(self, flood, clients=()):
        """STATS of two who ask beside a flood, and beside a client at each of these paths; the most that has happened until both
        were served."""
        early, late = self.daemon.control, self.hold(Wire(self.daemon.control_path))
        late.hello()
        before = self.daemon.stats()
        self.freeze()
        # One stands in front of the flood, one behind it: whichever the loop takes first, one is last.
        early.send(request(pb.VERB_STATS, 77, stats=pb.Stats()))
        rests = [self.fill(wire, frames()) for wire, frames in flood]
        for path in clients:
            self.hold(Wire(path))
        late.send(request(pb.VERB_STATS, 77, stats=pb.Stats()))
        self.thaw()
        spent = {}
        for control in (early, late):
            _, payload = control.take(lambda r: r.op == 77)
            after = {f.name: f.number for f in pb.Record.FromString(payload).fields}
            for name in ("turns", "requests", "bytes_out", "clients"):
                spent[name] = max(spent.get(name, 0), after[name] - before[name])
        print(f"served after {spent}, of {[count for _, count in rests]} blocks", flush=True)
        return spent, rests


class Fairness(FairnessTest):

    def test_s52_rows_of_a_list(self):
        """Each is judged by policy: others have their turns between them."""
        sockets, rows = 512, 32  # of a turn, and its task phase: daemon/core/limits.h
        wire = self.wire()
        wire.send(*(wire.open(number, number) for number in range(1, sockets + 1)))
        wire.settle()
        before = self.daemon.stats()["turns"]
        self.assertEqual(len(wire.inspect(list=pb.List())), sockets)
        self.assertGreaterEqual(self.daemon.stats()["turns"] - before, sockets // (2 * rows))

    def test_s52_flood_of_requests(self):
        wires = [self.wire() for _ in range(4)]

        def frames():
            for start in range(1, 1 << 20, 8000):
                yield b"".join(Wire.sync(op) for op in range(start, start + 8000))

        flood = [(wire, frames) for wire in wires]
        spent, rests = self.measured(flood)
        self.assertLessEqual(spent["turns"], TURNS)
        # The flood was one: many turns of it were still to come.
        self.assertTrue(all(len(rest) > 0 for rest, _ in rests))
        for wire, (rest, _) in zip(wires, rests):
            self.drain(wire, rest + Wire.sync(1 << 30))

    def test_s52_flood_of_clients(self):
        """Identifying a new client takes long: one in a turn."""
        spent, _ = self.measured([], [self.daemon.path] * 100)
        self.assertLessEqual(spent["turns"], TURNS)
        self.assertLessEqual(spent["clients"], TURNS)

    def test_s52_flood_of_bytes(self):
        wire = self.wire()
        peers = [self.pair(wire, number) for number in range(1, 5)]
        readers = [threading.Thread(target=self.read_all, args=(peer,)) for peer in peers]
        for reader in readers:
            reader.start()
        piece = bytes(8192)

        def frames():
            op = 0
            while True:
                op += 1
                yield b"".join(Wire.make_send(16 * op + n, n % 4 + 1, piece) for n in range(16))

        spent, rests = self.measured([(wire, frames)])
        self.assertLessEqual(spent["turns"], TURNS)
        self.drain(wire, rests[0][0] + Wire.sync(1 << 30))
        wire.close()
        for reader in readers:
            reader.join()

    def test_s52_flood_of_one_direction(self):
        """A peer that sends without end, receives of one client that take it all: another's round trips go on."""
        wire, other = self.wire(), self.wire()
        source, echo = self.pair(wire, 1), self.pair(other, 1)
        stop = threading.Event()

        def pour():
            try:
                while not stop.is_set():
                    source.send(bytes(PIECE))
            except OSError:
                pass

        pourer = threading.Thread(target=pour)
        pourer.start()
        taken, op, served = 0, 1, 0
        wire.send(*(wire.receive(op + n, 1, PIECE) for n in range(8)))
        while served < 50:
            taken += len(wire.whole(op)[1])
            wire.send(wire.receive(op + 8, 1, PIECE))
            op += 1
            other.send(other.make_send(2 * op, 1, b"ping"), other.receive(2 * op + 1, 1, 4))
            echo.sendall(self.read_all(echo, 4))
            self.assertEqual(other.whole(2 * op + 1)[1], b"ping")
            served += 1
        self.assertGreater(taken, 0)
        stop.set()
        wire.close()
        pourer.join()


class Listeners(FairnessTest):
    """Many of them, each with clients that wait."""

    @classmethod
    def setUpClass(cls):
        names = ["default", *(f"number{n}" for n in range(20))]
        cls.daemon = Daemon(*cls.arguments, config="".join(f"[Listener]\nName={name}\n" for name in names))
        run = os.path.dirname(os.path.dirname(cls.daemon.path))
        cls.paths = [os.path.join(run, name, "asock.sock") for name in names]

    def test_s52_flood_of_clients_at_many_listeners(self):
        spent, _ = self.measured([], self.paths * 3)
        self.assertLessEqual(spent["turns"], TURNS)
        self.assertLessEqual(spent["clients"], TURNS)


if __name__ == "__main__":
    unittest.main()
