# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations of every kind that wait while the daemon is replaced, and that each end once, as they would have ended anyway.

A kind has begin(), which leaves something pending, and finish(), which does what it waits for and checks how it ends.
"""

import fcntl
import itertools
import os
import socket
import struct
import termios
import time

from nameserver import A, AAAA, Name
from talking import stream
from wire import DEADLINE, Wire, endpoint, pb, request, segment

# What the daemon's configuration needs: names that nobody answers wait as long as they can. {}: the name server's port.
RESOLVER = "[Resolver]\nServers=127.0.0.1:{}\nTimeout=300\nTotalTimeout=300\n"
LONG_MS = 3600000
PIECE = 200000


def await_true(what, condition):
    limit = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > limit:
            raise AssertionError(f"in vain: {what}")
        time.sleep(0.01)


def read_all(peer):
    data = bytearray()
    while piece := peer.recv(1 << 20):
        data += piece
    return bytes(data)


class Session:
    """A client whose operations are counted: each that is asked for must end once."""

    tokens = itertools.count(1 << 30)

    def __init__(self, wire):
        self.wire, self.ids, self.pending = wire, itertools.count(1), set()

    def token(self):
        token = next(self.tokens)
        self.pending.add(token)
        return token

    def end(self, token, error=pb.ERROR_SUCCESS):
        reply, data = self.wire.whole(token)
        self.check(reply.error == error, f"op {token} has ended with {pb.Error.Name(reply.error)}")
        self.pending.remove(token)
        return reply, data

    def shot(self, token):
        """A reply of an operation that has more."""
        reply, data = self.wire.take(lambda reply: reply.kind == pb.KIND_COMPLETION and reply.op == token)
        self.check(not reply.error and reply.flags & pb.REPLY_FLAG_MORE, f"op {token} has ended: {reply}")
        return reply, data

    @staticmethod
    def check(condition, what):
        if not condition:
            raise AssertionError(what)

    def ask(self, make, *arguments, **fields):
        token = self.token()
        self.wire.send(make(token, *arguments, **fields))
        return token

    def do(self, make, *arguments, **fields):
        return self.end(self.ask(make, *arguments, **fields))[0]

    def check_waits(self):
        """All that is pending still is, and nothing else has ended."""
        self.wire.settle()
        told = [reply for reply, _ in self.wire.kept if reply.kind == pb.KIND_COMPLETION]
        self.check(not told, f"of {self.pending}: {told}")


class Kind:
    def __init__(self, session, names=None):
        self.session, self.wire, self.names = session, session.wire, names
        self.number, self.other = next(session.ids), next(session.ids)
        self.name = f"{next(session.tokens)}.test"

    def open(self, **fields):
        self.session.do(self.wire.open, self.number, **fields)

    def close(self, *numbers):
        for number in numbers or (self.number,):
            self.session.do(self.wire.make_close, number)

    def listener(self, backlog=1):
        listener = socket.socket()
        listener.settimeout(DEADLINE)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        return listener

    def pair(self):
        """A connected socket, and its peer."""
        with self.listener() as listener:
            self.open()
            self.session.do(self.wire.connect, self.number, listener.getsockname())
            peer, _ = listener.accept()
        peer.settimeout(DEADLINE)
        return peer

    def fill(self):
        """Sends until one waits: its token, and how many bytes there are."""
        size, before = PIECE, self.wire.freed[self.number]
        while True:
            op = self.session.ask(self.wire.make_send, self.number, stream(size - PIECE, PIECE))
            self.wire.settle()
            if self.wire.freed[self.number] < before + size:
                return op, size
            self.session.end(op)
            size += PIECE

    def hold_name(self):
        self.names.names[self.name] = Name(a=["127.0.0.1"], held=(A, AAAA))

    def release_name(self):
        for kind in (A, AAAA):
            self.names.release(self.name, kind)


class Connect(Kind):
    """To a listener whose queue is full. The kernel tries again less and less often, and gives up after a minute."""

    def begin(self):
        self.full = self.listener(backlog=0)
        self.full.settimeout(4 * DEADLINE)
        self.filler = socket.create_connection(self.full.getsockname())
        self.open()
        self.ops = [self.session.ask(self.wire.connect, self.number, self.full.getsockname(), b"first", timeout_ms=LONG_MS),
                    self.session.ask(self.wire.make_send, self.number, b"second")]

    def finish(self):
        for came in (self.filler.getsockname(), None):
            peer, address = self.full.accept()
            self.session.check(came in (address, None), f"{address} has come first")
            if came:
                peer.close()
        for op in self.ops:
            self.session.end(op)
        self.close()
        peer.settimeout(DEADLINE)
        self.session.check(read_all(peer) == b"firstsecond", "other bytes came")
        for end in (peer, self.full, self.filler):
            end.close()


class Resolve(Kind):
    def begin(self):
        self.hold_name()
        self.op = self.session.ask(self.wire.resolve, self.name, timeout_ms=LONG_MS)

    def finish(self):
        self.release_name()
        _, payload = self.session.end(self.op)
        addresses = [bytes(e.address) for e in pb.Addresses.FromString(payload).endpoints]
        self.session.check(addresses == [bytes([127, 0, 0, 1])], f"{addresses}")


class NamedConnect(Kind):
    def begin(self):
        self.hold_name()
        self.target = self.listener()
        self.open()
        self.op = self.session.ask(self.make, str(self.target.getsockname()[1]))

    def make(self, token, service):
        return request(pb.VERB_CONNECT, token, self.number, timeout_ms=LONG_MS,
                       connect=pb.Connect(host=self.name, service=service))

    def finish(self):
        self.release_name()
        self.session.end(self.op)
        self.target.accept()[0].close()
        self.target.close()
        self.close()


class Hangup(Kind):
    def begin(self):
        self.peer = self.pair()
        self.op = self.session.ask(self.wire.hangup, self.number)

    def finish(self):
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()
        self.session.end(self.op, pb.ERROR_CONNECTION_RESET)
        self.close()


class Accept(Kind):
    """Bound, listening, and one that waits for who comes."""

    def listen(self, count):
        self.open()
        bound = self.session.do(self.wire.bind, self.number, ("127.0.0.1", 0))
        self.session.do(self.wire.listen, self.number)
        self.address = "127.0.0.1", bound.connected.local.port
        self.op = self.session.ask(self.wire.accept, self.number, self.other, count)

    def begin(self):
        self.listen(0)

    def check_talks(self, peer, number):
        peer.settimeout(DEADLINE)
        peer.sendall(b"hello")
        op = self.session.ask(self.wire.receive, number, 100)
        self.session.check(self.session.end(op)[1] == b"hello", "other bytes came")
        self.close(number)
        self.session.check(read_all(peer) == b"", "bytes came")

    def finish(self):
        with socket.create_connection(self.address) as peer:
            reply, _ = self.session.end(self.op)
            self.check_talks(peer, reply.connected.socket)
        self.close()


class Accepts(Accept):
    """For several; one of them comes before."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.last = next(self.session.ids)

    def begin(self):
        self.listen(2)
        self.first = socket.create_connection(self.address)
        self.session.shot(self.op)

    def finish(self):
        with socket.create_connection(self.address) as second:
            reply, _ = self.session.end(self.op)
            self.check_talks(second, reply.connected.socket)
        with self.first:
            self.check_talks(self.first, self.other)
        self.close()


class Datagram(Kind):
    """One that receives."""

    def begin(self):
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.settimeout(DEADLINE)
        self.peer.bind(("127.0.0.1", 0))
        self.open(type=pb.SOCKET_TYPE_DATAGRAM)
        bound = self.session.do(self.wire.bind, self.number, ("127.0.0.1", 0))
        self.address = "127.0.0.1", bound.connected.local.port
        self.receive()

    def receive(self):
        self.op = self.session.ask(self.wire.receive, self.number, 70000)

    def finish(self):
        data = stream(self.op, 5000)
        self.peer.sendto(data, self.address)
        reply, came = self.session.end(self.op)
        self.session.check(came == data and reply.datagram.remote == endpoint(self.peer.getsockname()), f"{reply}")
        self.close()
        self.peer.close()


class DatagramShots(Datagram):
    """Into shared memory; the first has come before."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.buffer, self.memory = self.wire.register(8192)

    def receive(self):
        slices = [segment(self.buffer, 4096 * n, 4096) for n in range(2)]
        self.op = self.session.ask(self.wire.receive, self.number, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=slices)
        self.check_shot(0, self.session.shot)

    def check_shot(self, turn, ends):
        data = stream(self.op + turn, 1000 + turn)
        self.peer.sendto(data, self.address)
        reply, _ = ends(self.op)
        self.session.check((reply.bytes, reply.datagram.segment.offset) == (len(data), 4096 * turn), f"{reply}")
        self.session.check(self.memory[4096 * turn:4096 * turn + len(data)] == data, "other bytes came")

    def finish(self):
        self.check_shot(1, self.session.end)
        self.close()
        self.peer.close()


class DatagramSends(Datagram):
    """Behind a connect, whose name is looked up."""

    def begin(self):
        self.hold_name()
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.settimeout(DEADLINE)
        self.peer.bind(("127.0.0.1", 0))
        self.open(type=pb.SOCKET_TYPE_DATAGRAM)
        connect = pb.Connect(host=self.name, service=str(self.peer.getsockname()[1]))
        self.data = [stream(n, length) for n, length in enumerate((1200, 0, 9000, 33))]
        self.ops = [self.session.ask(lambda token: request(pb.VERB_CONNECT, token, self.number, timeout_ms=LONG_MS, connect=connect)),
                    *(self.session.ask(self.wire.make_send, self.number, piece) for piece in self.data)]

    def finish(self):
        self.release_name()
        for op in self.ops:
            self.session.end(op)
        self.session.check([self.peer.recv(70000) for _ in self.data] == self.data, "other datagrams came")
        self.peer.setblocking(False)
        try:
            self.session.check(not self.peer.recv(70000), "one came twice")
            raise AssertionError("an empty one came twice")
        except BlockingIOError:
            pass
        self.close()
        self.peer.close()


class Close(Kind):
    """With a linger time, behind sends for which the peer has no room."""

    def begin(self):
        self.peer = self.pair()
        self.send, self.size = self.fill()
        self.op = self.session.ask(self.wire.make_close, self.number, linger_ms=LONG_MS)

    def finish(self):
        self.session.check(read_all(self.peer) == stream(0, self.size), "other bytes came")
        self.session.end(self.send)
        self.session.end(self.op)
        self.peer.close()


class Shutdown(Close):
    def begin(self):
        self.peer = self.pair()
        self.send, self.size = self.fill()
        self.op = self.session.ask(self.wire.shutdown, self.number, pb.HOW_SEND)

    def finish(self):
        super().finish()
        self.close()


class Shots(Kind):
    """A multishot receive into shared memory; the first has come before."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.buffer, self.memory = self.wire.register(8192)

    def begin(self):
        self.peer = self.pair()
        slices = [segment(self.buffer, 4096 * n, 4096) for n in range(2)]
        self.op = self.session.ask(self.wire.receive, self.number, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=slices)
        self.check_shot(0, self.session.shot)

    def check_shot(self, turn, ends):
        data = stream(self.op + turn, 1000 + turn)
        self.peer.sendall(data)
        reply, _ = ends(self.op)
        self.session.check((reply.bytes, reply.segment.offset) == (len(data), 4096 * turn), f"{reply}")
        self.session.check(self.memory[4096 * turn:4096 * turn + len(data)] == data, "other bytes came")

    def finish(self):
        self.check_shot(1, self.session.end)
        self.close()
        self.peer.close()


class Lists:
    """A client that does not read: its lists wait for room."""

    SOCKETS, LISTS = 800, 16

    def __init__(self, session):
        self.session, self.wire = session, session.wire
        ops = [session.ask(self.wire.open, number) for number in range(1, self.SOCKETS + 1)]
        for op in ops:
            session.end(op)

    def begin(self):
        self.ops = [self.session.ask(lambda token: request(pb.VERB_LIST, token, list=pb.List())) for _ in range(self.LISTS)]
        await_true("the daemon has read them",
                   lambda: struct.unpack("i", fcntl.ioctl(self.wire.sock, termios.TIOCOUTQ, bytes(4)))[0] == 0)

    def finish(self):
        for op in self.ops:
            ids = []
            while True:
                reply, payload = self.wire.take(lambda reply, op=op: reply.op == op)
                self.session.check(not reply.error, f"{reply}")
                if not reply.flags & pb.REPLY_FLAG_MORE:
                    break
                ids += [field.number for field in pb.Record.FromString(payload).fields if field.name == "id"]
            self.session.pending.remove(op)
            self.session.check(len(ids) == len(set(ids)) == self.SOCKETS, f"{len(ids)} rows")


class Sharer:
    """A session that shares what it has; who has come there has something pending, and another one comes."""

    def __init__(self, session):
        self.wire = session.wire
        self.directory = self.wire.inspect(share=pb.Share())[0]["directory"]
        self.sharee = Session(Wire(os.path.join(self.directory, "asock.sock")))
        self.sharee.wire.hello(sockets=10, ops=100)
        self.kind = Shots(self.sharee)

    def begin(self):
        self.kind.begin()

    def finish(self):
        self.kind.finish()
        wire = Wire(os.path.join(self.directory, "asock.sock"))
        wire.hello(sockets=4, ops=16)
        wire.settle()
        wire.close()

    def close(self):
        self.sharee.wire.close()


class Bystanders:
    """All kinds: some of each end between two replacements, and some last."""

    LASTING = (Resolve, NamedConnect, Hangup, Accept, Accepts, Datagram, DatagramShots, DatagramSends, Close, Shutdown, Shots)

    def __init__(self, path, names):
        sessions = [Session(self.wire(path, sockets)) for sockets in (50, 50, Lists.SOCKETS, 40)]
        self.wires, self.talking = [session.wire for session in sessions], sessions[:2]
        self.sharer = Sharer(sessions[3])
        self.brief = [kind(sessions[0], names) for kind in self.LASTING] + [Lists(sessions[2]), self.sharer, Connect(sessions[0])]
        self.lasting = [kind(sessions[1], names) for kind in self.LASTING]
        for kind in self.lasting:
            kind.begin()

    @staticmethod
    def wire(path, sockets):
        wire = Wire(path)
        wire.hello(sockets=sockets, ops=max(400, sockets), queued_max=2 << 20)
        return wire

    def close(self):
        self.sharer.close()
        for wire in self.wires:
            wire.close()

    def begin(self):
        for kind in self.brief:
            kind.begin()
        self.check_wait()

    def check_wait(self):
        for session in self.talking:
            session.check_waits()

    def finish(self):
        self.check_wait()
        for kind in reversed(self.brief):
            kind.finish()

    def end(self):
        self.check_wait()
        for kind in self.lasting:
            kind.finish()
        self.check_wait()
        for session in self.talking:
            session.check(not session.pending, f"{session.pending} are pending")
