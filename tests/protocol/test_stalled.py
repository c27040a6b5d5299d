# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients and peers that read slowly or not at all."""

import os
import selectors
import socket
import threading
import unittest

from flow import Echo, FlowTest, PIECE, Reader, chain
from wire import pb, request


class Stalled(FlowTest):
    """A slow client or peer delays only itself."""

    def test_s51_four_gigabytes_to_a_peer_that_stops(self):
        wire = self.wire()
        other = self.wire()
        peer = self.pair(wire, 1)
        Echo(self.pair(wire, 2))
        Echo(self.pair(other, 1))
        self.ping(wire, 2, 1 << 20, 50)
        self.ping(other, 1, 1 << 20, 50)
        window = wire.welcome.send_window
        before = self.daemon.memory("VmHWM")
        total = 4 << 30
        piece = bytes(PIECE)
        wire.send(wire.make_send(1, 1, piece, more=True, total_len=total))
        wire.send(*[wire.make_send(1, 1, piece, more=True)] * (window // PIECE - 1))
        sent = window
        self.read_all(peer, 1 << 20)
        quiet = 0
        while quiet < 100:  # round trips without any room for another piece
            if sent + PIECE - wire.freed[1] <= window:
                wire.send(wire.make_send(1, 1, piece, more=True))
                sent += PIECE
                quiet = 0
            wire.settle()
            quiet += 1
        self.assertGreater(sent, 1 << 20)
        self.assertLess(sent, total // 4)
        self.ping(wire, 2, 1 << 21, 500)  # 1,000 ops
        self.ping(other, 1, 1 << 21, 500)
        self.check_growth("VmHWM", before, window + (1 << 20))
        wire.send(wire.cancel(2, 1, 1))
        reply = wire.completion(1)
        self.assertEqual(reply.error, pb.ERROR_OPERATION_ABORTED)
        self.assertGreaterEqual(reply.bytes, 1 << 20)
        wire.send(wire.make_send(1, 1, b"", abandon=True), wire.make_close(3, 1))
        wire.completion(3)
        self.assertEqual(wire.freed[1], sent)
        self.assertEqual(len(self.reset_by(peer)) + (1 << 20) <= reply.bytes, True)

    def fill(self, wire, other, number, frames):
        """Writes until the daemon takes no more: a full descriptor over many turns of the daemon's loop."""
        wire.sock.setblocking(False)
        pending, sent, quiet = b"", 0, 0
        while quiet < 50:
            if not pending:
                pending = next(frames)
            try:
                count = wire.sock.send(pending)
                pending = pending[count:]
                sent += count
                quiet = 0
                self.assertLess(sent, 64 << 20, "the daemon takes all there is")
            except BlockingIOError:
                self.ping(other, number, 1 << 30, 1)
                quiet += 1
        wire.sock.settimeout(30)
        return pending, sent

    def test_s50_client_that_never_reads(self):
        """A client that sends requests without reading replies is no longer read from."""
        wire, other = self.wire(), self.wire()
        Echo(self.pair(other))
        self.ping(other, 1, 1, 50)
        before = self.daemon.memory("VmRSS")
        tokens = iter(range(1, 1 << 30))
        count = 0

        def frames():
            nonlocal count
            while True:
                count += 1000
                yield b"".join(wire.sync(next(tokens)) for _ in range(1000))

        rest, _ = self.fill(wire, other, 1, frames())
        self.ping(other, 1, 1 << 20, 500)
        self.check_growth("VmRSS", before, 4 << 20)
        # When it reads again, it gets every reply, in order.
        writer = threading.Thread(target=wire.sock.sendall, args=(rest,))
        writer.start()
        for op in range(1, count + 1):
            self.assertEqual(wire.read()[0].op, op)
        writer.join()

    def test_s50_lists_that_nobody_reads(self):
        """LIST does not count as an op and has a long answer; its memory stays bounded all the same."""
        wire, other = self.wire(), self.wire()
        Echo(self.pair(other))
        wire.send(*(wire.open(number, number) for number in range(1, 11)))
        wire.settle()
        self.ping(other, 1, 1, 50)
        before = self.daemon.memory("VmRSS")
        tokens = iter(range(1, 1 << 30))

        def frames():
            while True:
                yield b"".join(request(pb.VERB_LIST, next(tokens), list=pb.List())
                               for _ in range(1000))

        self.fill(wire, other, 1, frames())
        self.check_growth("VmRSS", before, 4 << 20)

    def test_s50_client_that_receives_and_never_reads(self):
        """Its receives fill its own socket, then TCP delays its peer."""
        wire, other = self.wire(), self.wire()
        Echo(self.pair(other))
        self.ping(other, 1, 1, 50)
        peer = self.pair(wire)
        before = self.daemon.memory("VmRSS")
        wire.send(wire.receive(1, 1, 1 << 40, flags=pb.RECEIVE_FLAG_WAIT_ALL))
        peer.setblocking(False)
        sent, quiet = 0, 0
        while quiet < 50:
            try:
                sent += peer.send(bytes(PIECE))
                quiet = 0
                self.assertLess(sent, 256 << 20, "the daemon takes all there is")
            except BlockingIOError:
                self.ping(other, 1, 1 << 20, 1)
                quiet += 1
        self.ping(other, 1, 1 << 21, 500)
        self.check_growth("VmRSS", before, 4 << 20)
        peer.shutdown(socket.SHUT_WR)
        reply, data = wire.whole(1)
        self.assertEqual((reply.error, reply.bytes, len(data)), (0, sent, sent))

    def test_s50_client_that_sends_without_reading(self):
        """A client that exceeds every window and reads no completions gets errors on its ops, and nothing else."""
        wire, other = self.wire(), self.wire()
        Echo(self.pair(other))
        self.ping(other, 1, 1, 50)
        peer = self.pair(wire)
        before = self.daemon.memory("VmRSS")
        tokens = iter(range(1, 1 << 30))

        def frames():
            while True:
                yield wire.make_send(next(tokens), 1, bytes(4096))

        try:
            self.fill(wire, other, 1, frames())
        except AssertionError as error:
            # Each such SEND causes one reply: those of 64 MiB may be too few to fill the buffers towards the client.
            self.assertIn("takes all there is", str(error))
        self.ping(other, 1, 1 << 21, 500)
        window = wire.welcome.send_window
        self.check_growth("VmRSS", before, window + (4 << 20))
        wire.close()
        self.reset_by(peer)

    def test_s50_slow_reader_gets_everything(self):
        """A client that reads a byte at a time is served correctly."""
        wire = self.wire()
        peer = self.pair(wire)
        data = os.urandom(2000)
        wire.send(*(wire.receive(op, 1, 10) for op in range(1, 201)))
        peer.sendall(data)
        got = b""
        for op in range(1, 201):
            while (reply := wire._parse()) is None:
                wire.buffer += wire.sock.recv(1)
            got += reply[1]
        while len(got) < len(data):
            wire.send(wire.receive(1000, 1, 2000))
            got += wire.whole(1000)[1]
        self.assertEqual(got, data)

    def test_s51_many_sockets_at_once(self):
        """Sixty-four streams over one session, each its own bytes."""
        wire = self.wire()
        readers, sent = {}, {}
        for number in range(1, 65):
            readers[number] = Reader(self.pair(wire, number))
            sent[number] = os.urandom(100000 + number)
        frames = [chain(number, number, data, 30000) for number, data in sent.items()]
        selector = selectors.DefaultSelector()
        selector.register(wire.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        output = b"".join(frame for step in zip(*frames) for frame in step)
        output += b"".join(wire.make_close(1000 + number, number) for number in sent)
        wire.sock.setblocking(False)
        while output:
            for _, events in selector.select():
                if events & selectors.EVENT_READ:
                    wire.buffer += wire.sock.recv(1 << 20)
                if events & selectors.EVENT_WRITE:
                    output = output[wire.sock.send(output):]
        wire.sock.settimeout(30)
        for number, data in sent.items():
            reply = wire.completion(1000 + number)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        selector.close()
        for number, data in sent.items():
            # A close without a linger time: the peer gets everything, or less and RST.
            self.assertTrue(data.startswith(readers[number].result()))


if __name__ == "__main__":
    unittest.main()
