# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client that sends and receives all the time and compares every byte, for tests in which the daemon is replaced."""

import contextlib
import itertools
import queue
import selectors
import socket
import threading
import time

from wire import DEADLINE, Ended, pb

BLOCK = bytes(n * n % 251 for n in range(65521))  # no power of two: pieces that are mixed up do not fit


def stream(position, length):
    """What a stream has there."""
    start = position % len(BLOCK)
    return (BLOCK[start:] + BLOCK * (length // len(BLOCK) + 1))[:length]


class Others(threading.Thread):
    """The other ends of a talker's connections: what comes is the stream, to its end, and a stream goes back."""

    def __init__(self, talker):
        super().__init__()
        self.talker = talker
        self.got, self.fed = [0] * (talker.count + 1), [0] * (talker.count + 1)
        self.ended = {}  # bytes that came, of those that have ended

    def read(self, peer, number):
        data = peer.recv(1 << 16)
        if data != stream(self.got[number], len(data)):
            self.talker.fail(f"socket {number}: other bytes at {self.got[number]}")
        self.got[number] += len(data)
        if not data:
            self.ended[number] = self.got[number]
        return data

    def feed(self, number, size):
        with contextlib.suppress(BlockingIOError):
            self.fed[number] += self.talker.peers[number - 1].send(stream(self.fed[number], size))

    def loop(self, selector):
        turn, sizes, is_over = itertools.cycle(range(1, self.talker.count + 1)), itertools.cycle((1, 1000, 70000, 13, 4096)), False
        while len(self.ended) < self.talker.count and not self.talker.problem:
            for key, _ in selector.select(0.001):
                if not self.read(key.fileobj, key.data):
                    selector.unregister(key.fileobj)
            if not self.talker.done_feeding.is_set():
                for _ in range(min(self.talker.count, 16)):
                    self.feed(next(turn), next(sizes))
            elif not is_over:
                is_over = True
                for peer in self.talker.peers:
                    peer.shutdown(socket.SHUT_WR)

    def run(self):
        with selectors.DefaultSelector() as selector:
            for number, peer in enumerate(self.talker.peers, 1):
                peer.setblocking(False)
                selector.register(peer, selectors.EVENT_READ, number)
            try:
                self.loop(selector)
            except OSError as error:
                self.talker.fail(f"another end: {error}")


class Talker(threading.Thread):
    """A client with some sockets, over each of which it sends and receives all the time."""

    def __init__(self, test, count):
        super().__init__()
        self.test, self.count = test, count
        self.wire = test.wire()
        self.peers = [test.pair(self.wire, number) for number in range(1, count + 1)]
        self.sent, self.got = [0] * (count + 1), [0] * (count + 1)
        self.tokens, self.pending = itertools.count(1 << 20), {}
        self.is_over, self.problem = False, None
        self.done_feeding = threading.Event()
        self.times = []  # of all that it heard
        self.others = Others(self)
        # By a thread of its own: the daemon does not read from a client that does not read.
        self.out, self.writer = queue.SimpleQueue(), threading.Thread(target=self.write)

    def fail(self, text):
        self.problem = self.problem or text

    def write(self):
        try:
            while frame := self.out.get():
                self.wire.send(frame)
        except OSError as error:
            self.fail(f"write: {error}")

    def ask(self, number):
        wire = self.wire
        token = next(self.tokens)
        if token % 2:
            size = (token * 7919) % 60000 + 1
            frame = wire.make_send(token, number, stream(self.sent[number], size), timeout_ms=60000)
            self.pending[token] = ("send", number, size)
            self.sent[number] += size
        else:
            frame = wire.receive(token, number, (token * 104729) % 100000 + 1, timeout_ms=60000)
            self.pending[token] = ("receive", number, 0)
        self.out.put(frame)

    def end(self, token, reply, data):
        kind, number, size = self.pending.pop(token)
        if reply.error:
            self.fail(f"socket {number}: {kind}: {pb.Error.Name(reply.error)}")
        elif kind == "send":
            if reply.bytes != size:
                self.fail(f"socket {number}: {reply.bytes} of {size} were sent")
        else:
            if data != stream(self.got[number], len(data)):
                self.fail(f"socket {number}: other bytes at {self.got[number]}")
            self.got[number] += len(data)
        return reply.flags & pb.REPLY_FLAG_END_OF_STREAM

    def hear(self):
        reply, data = self.wire.next()
        self.times.append(time.monotonic())
        if reply.kind != pb.KIND_COMPLETION:
            if reply.event.code == pb.EVENT_SESSION_ENDED:
                raise Ended(reply, data)
            return None
        if reply.op not in self.pending:
            self.fail(f"op {reply.op} has ended twice, or was never asked for")
            return None
        kind, number, _ = self.pending[reply.op]
        return kind, number, self.end(reply.op, reply, data)

    def run(self):
        try:
            self.others.start()
            self.writer.start()
            for number in range(1, self.count + 1):
                for _ in range(6):
                    self.ask(number)
            while not self.is_over and not self.problem:
                heard = self.hear()
                if heard:
                    self.ask(heard[1])
            self.finish()
        except (Ended, EOFError, OSError, AssertionError) as error:
            self.fail(repr(error))
        self.done_feeding.set()
        self.out.put(b"")

    def finish(self):
        """All that was asked for ends, then both directions do."""
        self.done_feeding.set()
        ends = set()
        while self.pending or len(ends) < self.count:
            for number in set(range(1, self.count + 1)) - ends - {n for k, n, _ in self.pending.values() if k == "receive"}:
                token = next(self.tokens) | 1 << 40
                self.pending[token] = ("receive", number, 0)
                self.out.put(self.wire.receive(token, number, 100000))
            heard = self.hear()
            if heard and heard[2]:
                ends.add(heard[1])
            if self.problem:
                return
        for number in range(1, self.count + 1):
            token = next(self.tokens) | 1 << 41
            self.out.put(self.wire.shutdown(token, number, pb.HOW_SEND))
            if self.wire.completion(token).error:
                self.fail(f"socket {number}: shutdown")
        self.others.join(DEADLINE)
        for number in range(1, self.count + 1):
            if self.others.ended.get(number) != self.sent[number]:
                self.fail(f"socket {number}: {self.others.ended.get(number)} bytes came of {self.sent[number]}")
            if self.others.fed[number] != self.got[number]:
                self.fail(f"socket {number}: {self.got[number]} bytes came of {self.others.fed[number]}")
