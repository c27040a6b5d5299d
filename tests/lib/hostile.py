# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a hostile client does: a generator for each way. Each step says how much was done since the last.

They go on without end, whatever the daemon answers; after a rejection they connect again. Used by
tests/protocol/test_hostile.py, which asks what becomes of others, and by bench/hostile, which measures it.
"""

import array
import errno
import os
import random
import resource
import select
import socket
import threading
import time
import traceback

from wire import DEADLINE, Ended, Wire, frame, pb, request

TURNED_AWAY = (OSError, EOFError, Ended, AssertionError)
MARK = 0x7777777  # a token whose bytes are found in a stream
MARKED = frame(pb.Request(verb=pb.VERB_SYNC, op=MARK, sync=pb.Sync()))
NEEDLE = b"\x10" + bytes((0xf7, 0xee, 0xdd, 0x3b))  # field 2 of a Reply with that number


class Peers:
    """Somewhere to connect to: one that talks without end, one that never reads, one without a listener."""

    def __init__(self):
        self.talker, self.silent, self.dead = (socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(3))
        self.talks, self.keeps, self.refuses = (s.getsockname() for s in (self.talker, self.silent, self.dead))
        self.dead.close()
        self.held = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        """Nothing is read of any connection; those to the talker find their buffers full at all times."""
        poll, block = select.epoll(), bytes(1 << 16)
        connections = {}
        for listener in (self.talker, self.silent):
            listener.setblocking(False)
            poll.register(listener, select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd in (self.talker.fileno(), self.silent.fileno()):
                    self._take(fd, poll, connections)
                else:
                    try:
                        connections[fd].send(block)
                    except BlockingIOError:
                        pass
                    except OSError:
                        connections.pop(fd).close()

    def _take(self, fd, poll, connections):
        listener = self.talker if fd == self.talker.fileno() else self.silent
        try:
            while True:
                peer, _ = listener.accept()
                peer.setblocking(False)
                # EPOLLHUP needs no event mask: what has gone is closed.
                poll.register(peer, select.EPOLLOUT if listener is self.talker else 0)
                connections[peer.fileno()] = peer
        except OSError:
            pass


MOST = {"sockets": 1 << 16, "ops": 1 << 16}
# The smallest sessions are the most.
LEAST = {"sockets": 16, "ops": 64, "send_window": 1 << 20, "queued_max": 1 << 20}


def session(path, hello=MOST):
    wire = Wire(path)
    if hello:
        wire.hello(**hello)
    return wire


def push(sock, data):
    """As much as there is room for; the bytes taken."""
    sock.setblocking(False)
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


def ask(wire, blob):
    """All of it, ended by MARKED, while answers are read and thrown away, until the mark's."""
    view, tail = memoryview(blob), b""
    poll = select.poll()
    wire.sock.setblocking(False)
    while NEEDLE not in tail:
        poll.register(wire.sock, select.POLLIN | (select.POLLOUT if view else 0))
        events = dict(poll.poll(1000 * DEADLINE)).get(wire.sock.fileno(), 0)
        if events & select.POLLOUT:
            view = view[push(wire.sock, view):]
        if events & ~select.POLLOUT:
            data = wire.sock.recv(1 << 20)
            if not data:
                raise EOFError
            tail = tail[-16:] + data


def again(path, work):
    """work(wire) over and over, in a new session whenever the last has ended."""
    while True:
        try:
            wire = session(path)
            try:
                while True:
                    yield work(wire)
            finally:
                wire.close()
        except TURNED_AWAY:
            yield 0


def hoard(path, fill, hello=MOST):
    """As many sessions as there are to be had, each filled by fill(wire), and kept: the count of what is new."""
    held = []
    while True:
        try:
            wire = session(path, hello)
            held.append(wire)
            yield fill(wire)
        except TURNED_AWAY:
            alive = []
            for wire in held:
                try:
                    # A session that has been ended has room for another; one that lives is pressed on.
                    wire.sock.setblocking(False)
                    if wire.sock.recv(1, socket.MSG_PEEK) == b"":
                        raise EOFError
                    alive.append(wire)
                except BlockingIOError:
                    alive.append(wire)
                except (OSError, EOFError):
                    wire.close()
            held = alive
            select.select([], [], [], 0.02)
            yield 0


# ---- floods, whose answers are read ----

def requests(path, peers):
    """Nothing but SYNC, a thousand in a write."""
    blob = b"".join(Wire.sync(op) for op in range(1, 1001)) + MARKED

    def work(wire):
        ask(wire, blob)
        return 1001
    yield from again(path, work)


def inspections(path, peers):
    """LIST, SHOW and STATS of a session with many sockets."""
    blob = b"".join(request(pb.VERB_LIST, op, list=pb.List()) for op in range(1, 9))
    blob += b"".join(request(pb.VERB_STATS, op, stats=pb.Stats()) for op in range(9, 40)) + MARKED

    def work(wire):
        if not wire.freed.get("opened"):
            count = min(wire.welcome.sockets, 500)
            ask(wire, b"".join(Wire.open(1 << 20 | n, n) for n in range(1, count + 1)) + MARKED)
            wire.freed["opened"] = 1
        ask(wire, blob)
        return 40
    yield from again(path, work)


def forged(path, peers):
    """Ids, tokens and buffers that do not exist, targets of others."""
    def one(op):
        number, target = random.randrange(1, 17), random.getrandbits(63) | 1
        kinds = (lambda: Wire.cancel(op, number, target), lambda: Wire.receive(op, number, 1 << 18),
                 lambda: Wire.make_send(op, number, b"x" * 64), lambda: Wire.make_close(op, number),
                 lambda: Wire.shutdown(op, number, pb.HOW_BOTH), lambda: Wire.unregister(op, number),
                 lambda: request(pb.VERB_SHOW, op, show=pb.Show(id=target)),
                 lambda: request(pb.VERB_KILL, op, kill=pb.Kill(id=target)),
                 lambda: Wire.connect(op, number, peers.talks))
        return random.choice(kinds)()
    blobs = [b"".join(one(op) for op in range(1, 301)) + MARKED for _ in range(16)]

    def work(wire):
        ask(wire, random.choice(blobs))
        return 301
    yield from again(path, work)


def connects(path, peers):
    """A storm of connections, closed as soon as they are asked for; half of them to ports without a listener."""
    def one(number):
        address = peers.keeps if number % 2 else peers.refuses
        return (Wire.open(number, number) + Wire.connect(100 + number, number, address) +
                Wire.make_close(200 + number, number, abort=number % 4 < 2))
    blob = b"".join(one(number) for number in range(1, 17)) + MARKED

    def work(wire):
        ask(wire, blob)
        return 16
    yield from again(path, work)


def names(path, peers):
    """Names that were never asked for, whose server does not answer, and that are given up at once."""
    serial = [0]

    def one(number):
        serial[0] += 1
        connect = pb.Connect(host=f"n{serial[0]}.example.com", service="80")
        return (Wire.open(number, number) + request(pb.VERB_CONNECT, 100 + number, number, connect=connect) +
                (Wire.make_close(200 + number, number) if number % 2 else b""))

    def work(wire):
        if wire.freed["opened"]:
            ask(wire, b"".join(Wire.make_close(300 + n, n) for n in range(2, 17, 2)) + MARKED)
        wire.freed["opened"] = 1
        ask(wire, b"".join(one(number) for number in range(1, 17)) + MARKED)
        return 16
    yield from again(path, work)


def rules(path, peers):
    """Restrictions of as many rules as there may be, and connects that each of them is asked about."""
    text = "[Rules]\n" + "".join(f"Allow=tcp 192.0.2.{n % 256} {n}\n" for n in range(1, 4000))
    connect = Wire.open(1, 1) + Wire.connect(2, 1, peers.keeps) + Wire.make_close(3, 1)

    def work(wire):
        if wire.freed["restrictions"] < 64:
            wire.freed["restrictions"] += 1
            ask(wire, request(pb.VERB_RESTRICT, 1, payload=text.encode(), restriction=pb.Restrict()) + MARKED)
        ask(wire, connect + MARKED)
        return 4
    yield from again(path, work)


def services(path, peers):
    """Names of services and of interfaces that there are none of."""
    def one(number):
        host, service = (("localhost", f"no-service-{number}"), ("fe80::1%nowhere", "80"))[number % 2]
        connect = pb.Connect(host=host, service=service)
        return (Wire.open(number, number) + request(pb.VERB_CONNECT, 100 + number, number, connect=connect) +
                Wire.make_close(200 + number, number))
    blob = b"".join(one(number) for number in range(1, 17)) + MARKED

    def work(wire):
        ask(wire, blob)
        return 16
    yield from again(path, work)


def options(path, peers):
    """What the kernel knows of connections: TCP_INFO, and both endpoints."""
    blob = b"".join(request(pb.VERB_GET_OPTION, 1000 + 4 * number + option, number, get_option=pb.GetOption(option=32 + option))
                    for number in range(1, 17) for option in range(3)) + MARKED

    def work(wire):
        if not wire.freed["opened"]:
            wire.freed["opened"] = 1
            ask(wire, b"".join(Wire.open(number, number) + Wire.connect(100 + number, number, peers.keeps)
                               for number in range(1, 17)) + MARKED)
        ask(wire, blob)
        return 48
    yield from again(path, work)


def refused(path, peers):
    """Restrictions of which the last rule is wrong."""
    text = "[Rules]\n" + "".join(f"Allow=tcp host-{n}.example.com {n}\n" for n in range(1, 256)) + "Allow=nothing\n"
    blob = request(pb.VERB_RESTRICT, 1, payload=text.encode(), restriction=pb.Restrict()) + MARKED

    def work(wire):
        ask(wire, blob)
        return 1
    yield from again(path, work)


def restricted(path, peers):
    """A thousand connects in progress, all of which a restriction ends."""
    text = b"[Rules]\nAllow=tcp 192.0.2.1 1\n"
    count = 1000
    connect = pb.Connect(host="silent.example.com", service="80")

    def work(wire):
        try:
            ask(wire, b"".join(Wire.open(number, number) + request(pb.VERB_CONNECT, 10000 + number, number, connect=connect)
                               for number in range(1, count)) + MARKED)
            ask(wire, request(pb.VERB_RESTRICT, 1, payload=text, restriction=pb.Restrict()) + MARKED)
        finally:
            wire.close()
        return count
    yield from again(path, work)


def resolves(path, peers):
    """Names about which the rules tell many ranges of ports apart."""
    text = "[Rules]\nAllow=tcp a.test 1\n" + "".join(f"Deny=tcp *.test {2 * n}\n" for n in range(1, 250))

    def work(wire):
        if not wire.freed["restrictions"]:
            wire.freed["restrictions"] = 1
            wire.send(request(pb.VERB_RESTRICT, 100, payload=text.encode(), restriction=pb.Restrict()))
            wire.completion(100)
        wire.send(*(wire.resolve(op, f"n{op}.test") for op in range(1, 9)))
        for op in range(1, 9):
            wire.whole(op)
        return 8
    yield from again(path, work)


def shares(path, peers):
    """Listeners of sessions that go as soon as they have them."""
    blob = b"".join(request(pb.VERB_SHARE, op, share=pb.Share()) for op in range(1, 9)) + MARKED

    def work(wire):
        try:
            ask(wire, blob)
        finally:
            wire.close()
        return 8
    yield from again(path, work)


def buffers(path, peers):
    """Shared memory that is asked for, written all over, and given back."""
    def work(wire):
        wire.sock.settimeout(30)
        buffer, memory = wire.register(1 << 24)
        memory[:] = b"\1" * len(memory)
        memory.close()
        wire.token += 1
        wire.send(Wire.unregister(wire.token, buffer))
        wire.completion(wire.token)
        return 1
    yield from again(path, work)


def descriptors(path, peers):
    """As many descriptors as a message takes with each request."""
    reader, writer = os.pipe()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer] * 253))]

    def work(wire):
        wire.sock.settimeout(30)
        for op in range(1, 17):
            try:
                wire.sock.sendmsg([Wire.sync(op)], rights)
            except OSError as error:
                if error.errno not in (errno.ETOOMANYREFS, errno.EPERM):  # the second since Linux 6.16
                    raise
                wire.send(Wire.sync(op))
        ask(wire, MARKED)
        return 16
    yield from again(path, work)


# ---- sessions that come and go ----

def malformed(path, peers):
    """Bytes that are no frames, session after session."""
    kinds = (os.urandom(256), b"\xff" * 64, b"\0" * 64, frame(pb.Request(verb=pb.VERB_SYNC))[:7] + b"\xff" * 90,
             Wire.make_hello() + b"\x05\0\0\0\0\0\0\0\x08\xff\xff\xff\xff")
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(30)
                sock.connect(path)
                sock.sendall(random.choice(kinds))
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
            yield 1
        except OSError:
            yield 0


def storm(path, peers):
    """Connections that are closed before anything is said."""
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(30)
                sock.connect(path)
            yield 1
        except OSError:
            yield 0


# ---- hoards ----

def silent(path, peers):
    """Sessions without Hello, as many as there may be, and new ones for those that are ended."""
    yield from hoard(path, lambda wire: 1, None)


def halves(path, peers):
    """Most of a frame, and never the rest, in every session."""
    whole = Wire.make_send(1, 1, bytes(256 * 1024))

    def fill(wire):
        push(wire.sock, whole[:-1])
        return 1
    yield from hoard(path, fill, LEAST)


def unread(path, peers):
    """Requests until nothing goes in any more, and no answer is read, in every session."""
    blob = b"".join(Wire.sync(op) for op in range(1, 200001))  # more than fits on the way there and back

    def fill(wire):
        view = memoryview(blob)
        while (sent := push(wire.sock, view)) > 0:
            view = view[sent:]
            select.select([], [], [], 0.001)
        return 1
    yield from hoard(path, fill, LEAST)


def slow(path, peers):
    """Sockets full of bytes for a client that asks for all and reads next to nothing."""
    def fill(wire):
        count = min(wire.welcome.sockets, 64)
        for number in range(1, count + 1):
            push(wire.sock, Wire.open(number, number) + Wire.connect(1000 + number, number, peers.talks) +
                 Wire.receive(2000 + number, number, 1 << 18) + Wire.receive(3000 + number, number, 1 << 18))
        select.select([wire.sock], [], [], 0.1)
        wire.sock.recv(1)
        return count
    yield from hoard(path, fill)


def queued(path, peers):
    """Sends to peers that read nothing: the kernel's buffers first, then all that may be queued."""
    piece = bytes(256 * 1024)

    def fill(wire):
        small = pb.OptionValue(number=4608)
        for number in range(1, 17):
            ask(wire, Wire.open(number, number) +
                request(pb.VERB_SET_OPTION, 50 + number, number,
                        set_option=pb.SetOption(option=pb.OPTION_SEND_BUFFER, value=small)) +
                Wire.connect(100 + number, number, peers.keeps) +
                b"".join(Wire.make_send(1000 + 16 * number + op, number, piece) for op in range(8)) + MARKED)
        return 16
    yield from hoard(path, fill)


def sockets(path, peers):
    """Connections that are held, as many as the daemon has."""
    def fill(wire):
        count = wire.welcome.sockets
        ask(wire, b"".join(Wire.open(n, n) + Wire.connect(count + n, n, peers.keeps)
                           for n in range(1, count + 1)) + MARKED)
        return count
    yield from hoard(path, fill)


ATTACKS = {f.__name__: f for f in (requests, inspections, forged, connects, names, rules, services, options, refused,
                                   restricted, resolves, shares, buffers, descriptors,
                                   malformed, storm, silent, halves, unread, slow, queued, sockets)}


class Hostile:
    """A process of its own, as a user of its own, that does one of these until it is killed."""

    def __init__(self, name, path, uid=None):
        self.report, child = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                self._run(ATTACKS[name], path, uid, child, parent)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(child)

    @staticmethod
    def _run(attack, path, uid, report, parent):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        for done in attack(path, Peers()):
            os.write(report, done.to_bytes(8, "little"))
            if os.getppid() != parent:
                return

    def done(self, wait=False):
        """How much it has done since the last call; with wait, not before it has done something."""
        total, until = 0, time.monotonic() + DEADLINE
        while select.select([self.report], [], [], DEADLINE if wait and not total else 0)[0]:
            data = os.read(self.report, 8 * 4096)
            total += sum(int.from_bytes(data[i:i + 8], "little") for i in range(0, len(data), 8))
            if not data or time.monotonic() > until:
                raise AssertionError("the hostile client has ended, or gets nowhere")
        return total

    def stop(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.report)


class Quiet:
    """A client with a connection over which 64 bytes go there and come back."""

    SIZE = 64

    def __init__(self, path, echo, uid=None):
        self.path, self.uid = path, uid
        self.wire = self.session()
        self.wire.send(Wire.open(1, 1), Wire.connect(2, 1, echo))
        if self.wire.completion(2).error:
            raise AssertionError("the quiet one is not connected")
        self.wire.completion(1)
        self.question = Wire.make_send(1, 1, bytes(self.SIZE)) + Wire.receive(2, 1, self.SIZE, pb.RECEIVE_FLAG_WAIT_ALL)

    def session(self):
        """A new one, ready for requests."""
        before = os.geteuid()
        if self.uid is not None:
            os.seteuid(self.uid)
        try:
            wire = Wire(self.path)
        finally:
            os.seteuid(before)
        wire.hello()
        return wire

    def there_and_back(self):
        self.wire.sock.sendall(self.question)
        reply, data = self.wire.whole(2)
        if reply.error or len(data) != self.SIZE:
            raise AssertionError(f"{reply}")
        self.wire.completion(1)

    def close(self):
        self.wire.close()


class Echo:
    """An echo server in a process of its own."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._run()
            finally:
                os._exit(0)
        self.listener.close()

    def _run(self):
        peer, _ = self.listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := peer.recv(1 << 16):
            peer.sendall(data)

    def stop(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
