# SPDX-License-Identifier: LGPL-2.1-or-later
"""The protocol as it is on the wire: frames by hand, honest and other ones.

Wire is a blocking connection to asockd for tests. It keeps no windows and obeys no rules; it counts what the daemon
says is free again, and keeps replies that the test has not asked for yet.
"""

import collections
import os
import mmap
import socket
import struct
import unittest

if os.environ.get("ASOCK_HAVE_PYTHON_PROTOBUF") == "no":
    raise unittest.SkipTest("python3-protobuf or protoc is not installed")
import asock_pb2 as pb

DEADLINE = 30.0  # liveness only: nothing is measured by it
PREFIX = struct.Struct("<II")


def frame(request, payload=b""):
    head = request.SerializeToString()
    return PREFIX.pack(len(head), len(payload)) + head + payload


def request(verb, op, number=0, payload=b"", timeout_ms=0, flags=0, **arm):
    return frame(pb.Request(verb=verb, op=op, socket=number, timeout_ms=timeout_ms, flags=flags,
                            **arm), payload)


def endpoint(address):
    host, port = address[0], address[1]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return pb.Endpoint(address=socket.inet_pton(family, host), port=port)


def segment(buffer, offset, length):
    return pb.Segment(buffer=buffer, offset=offset, length=length)


class Ended(Exception):
    """The daemon ended the session; reply is its last word, or None."""

    def __init__(self, reply, text):
        super().__init__(f"{reply} {text}")
        self.reply = reply
        self.text = text


# As much as a service asks for and the library reaches: enough for every test that does not set its own.
ROOMY = {"sockets": 1024, "ops": 4096, "send_window": 1 << 20, "queued_max": 16 << 20}
LEAST = {"sockets": 1, "ops": 8, "send_window": 1 << 16, "queued_max": 1 << 16}  # what is there in any case


class Wire:
    """One connection."""

    def __init__(self, path=None, sock=None):
        if sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(path)
        self.sock = sock
        self.sock.settimeout(DEADLINE)
        self.buffer = bytearray()
        self.kept = collections.deque()  # (reply, payload)
        self.descriptors = collections.deque()  # received, and not yet taken
        self.freed = collections.Counter()      # bytes by socket id
        self.ops_freed = collections.Counter()  # ops by socket id
        self.token = 1 << 40
        self.welcome = None

    def close(self):
        self.sock.close()
        while self.descriptors:
            os.close(self.descriptors.popleft())

    disconnect = close

    # ----------------------------------------------------------------------------- requests

    @staticmethod
    def make_hello(version=1, **fields):
        return frame(pb.Request(verb=pb.VERB_HELLO, hello=pb.Hello(version=version, **fields)))

    @staticmethod
    def open(op, number, flags=0, **fields):
        return request(pb.VERB_OPEN, op, number, flags=flags, open=pb.Open(**fields))

    @staticmethod
    def connect(op, number, address, payload=b"", timeout_ms=0):
        return request(pb.VERB_CONNECT, op, number, payload, timeout_ms,
                       connect=pb.Connect(endpoint=endpoint(address)))

    @staticmethod
    def make_send(op, number, payload, timeout_ms=0, flags=0, **fields):
        return request(pb.VERB_SEND, op, number, payload, timeout_ms, flags,
                       send=pb.Send(**fields))

    @staticmethod
    def receive(op, number, length=0, flags=0, timeout_ms=0, **fields):
        return request(pb.VERB_RECEIVE, op, number, timeout_ms=timeout_ms,
                       receive=pb.Receive(length=length, flags=flags, **fields))

    @staticmethod
    def credit(op, number, target, segments, flags=0):
        return request(pb.VERB_CREDIT, op, number, flags=flags,
                       credit=pb.Credit(target=target, segments=segments))

    @staticmethod
    def shutdown(op, number, how):
        return request(pb.VERB_SHUTDOWN, op, number, shutdown=pb.Shutdown(how=how))

    @staticmethod
    def make_close(op, number, **fields):
        return request(pb.VERB_CLOSE, op, number, close=pb.Close(**fields))

    @staticmethod
    def cancel(op, number, target, **fields):
        return request(pb.VERB_CANCEL, op, number, cancel=pb.Cancel(target=target, **fields))

    @staticmethod
    def make_register(op, length, number=0, status=False):
        return request(pb.VERB_REGISTER, op, number, register=pb.Register(length=length, status=status))

    @staticmethod
    def unregister(op, buffer, **fields):
        return request(pb.VERB_UNREGISTER, op, unregister=pb.Unregister(buffer=buffer), **fields)

    @staticmethod
    def hangup(op, number, timeout_ms=0):
        return request(pb.VERB_HANGUP, op, number, timeout_ms=timeout_ms, hangup=pb.Hangup())

    @staticmethod
    def make_disconnect(op, number, abort=False, timeout_ms=0):
        return request(pb.VERB_DISCONNECT, op, number, timeout_ms=timeout_ms, disconnect=pb.Disconnect(abort=abort))

    @staticmethod
    def bind(op, number, address):
        return request(pb.VERB_BIND, op, number, bind=pb.Bind(endpoint=endpoint(address)))

    @staticmethod
    def listen(op, number, backlog=0):
        return request(pb.VERB_LISTEN, op, number, listen=pb.Listen(backlog=backlog))

    @staticmethod
    def accept(op, number, first, count=0, timeout_ms=0):
        return request(pb.VERB_ACCEPT, op, number, timeout_ms=timeout_ms, accept=pb.Accept(first=first, count=count))

    @staticmethod
    def resolve(op, host, family=0, timeout_ms=0, **fields):
        return request(pb.VERB_RESOLVE, op, timeout_ms=timeout_ms, resolve=pb.Resolve(host=host, family=family), **fields)

    @staticmethod
    def sync(op):
        return request(pb.VERB_SYNC, op, sync=pb.Sync())

    # ------------------------------------------------------------------------------ talking

    def send(self, *frames):
        self.sock.sendall(b"".join(frames))

    def hello(self, **fields):
        """Asks for what is not said as ROOMY does."""
        try:
            self.send(self.make_hello(**{**ROOMY, **fields}))
        except BrokenPipeError:
            pass  # rejected: the reason can be read
        reply, _ = self.take(lambda r: r.kind == pb.KIND_WELCOME)
        self.welcome = reply.welcome
        return self.welcome

    def _count(self, reply):
        self.freed[reply.socket] += reply.send_freed
        self.ops_freed[reply.socket] += reply.ops_freed

    def _receive(self):
        data, descriptors, flags, _ = socket.recv_fds(self.sock, 1 << 20, 16)
        self.descriptors.extend(descriptors)
        if flags & socket.MSG_CTRUNC:
            raise AssertionError("more descriptors than anybody asked for")
        return data

    def _parse(self):
        """The first whole frame of the buffer, or None."""
        if len(self.buffer) < PREFIX.size:
            return None
        head_len, payload_len = PREFIX.unpack_from(self.buffer)
        end = PREFIX.size + head_len + payload_len
        if not 0 < head_len <= 4096 or payload_len > 256 * 1024:
            raise AssertionError(f"the daemon sent a frame of {head_len} and {payload_len}")
        if len(self.buffer) < end:
            return None
        reply = pb.Reply.FromString(bytes(self.buffer[PREFIX.size:PREFIX.size + head_len]))
        payload = bytes(self.buffer[PREFIX.size + head_len:end])
        del self.buffer[:end]
        return reply, payload

    def read(self):
        """The next frame from the daemon; EOFError when there are no more."""
        while (got := self._parse()) is None:
            try:
                data = self._receive()
            except ConnectionResetError:
                data = b""
            if not data:
                if self.buffer:
                    raise AssertionError(f"the daemon stopped within a frame: {self.buffer[:64]}")
                raise EOFError
            self.buffer += data
        self._count(got[0])
        return got

    def next(self):
        """The oldest reply not yet taken."""
        return self.kept.popleft() if self.kept else self.read()

    def take(self, wanted):
        """The first reply that is wanted; the others are kept in their order."""
        for index, (reply, payload) in enumerate(self.kept):
            if wanted(reply):
                del self.kept[index]
                return reply, payload
        while True:
            reply, payload = self.read()
            if wanted(reply):
                return reply, payload
            if reply.event.code == pb.EVENT_SESSION_ENDED:
                raise Ended(reply, payload)
            self.kept.append((reply, payload))

    def whole(self, op):
        """The last reply of an op, and the payload of all of its replies."""
        data = b""
        while True:
            reply, payload = self.take(lambda r: r.kind == pb.KIND_COMPLETION and r.op == op)
            data += payload
            if not reply.flags & pb.REPLY_FLAG_MORE:
                return reply, data

    def completion(self, op):
        return self.whole(op)[0]

    def settle(self):
        """A SYNC there and back: all that was sent before has been processed."""
        self.token += 1
        self.send(self.sync(self.token))
        reply = self.completion(self.token)
        if reply.error:
            raise AssertionError(f"SYNC: {reply}")

    def ended(self):
        """The daemon's last frame, behind which there is nothing."""
        reply, text = self.take(lambda r: r.event.code == pb.EVENT_SESSION_ENDED)
        try:
            more = self.read()
        except EOFError:
            return reply, text
        raise AssertionError(f"a frame behind the last one: {more}")

    def register(self, length):
        """A buffer of this session: its id and its memory."""
        self.token += 1
        self.send(self.make_register(self.token, length))
        reply = self.completion(self.token)
        if reply.error or reply.descriptors != 1:
            raise AssertionError(f"REGISTER: {reply}")
        descriptor = self.descriptors.popleft()
        memory = mmap.mmap(descriptor, reply.segment.length)
        os.close(descriptor)
        return reply.segment.buffer, memory

    def inspect(self, number=0, **arm):
        """inspect(list=pb.List()): the records as dictionaries."""
        self.token += 1
        verb = pb.Verb.Value("VERB_" + next(iter(arm)).upper())
        self.send(request(verb, self.token, number, **arm))
        records = []
        while True:
            reply, payload = self.take(
                lambda r: r.kind == pb.KIND_COMPLETION and r.op == self.token)
            if reply.error:
                raise AssertionError(f"{arm}: {pb.Error.Name(reply.error)} {payload}")
            if payload:
                record = pb.Record.FromString(payload)
                records.append({f.name: f.number if f.is_number else f.text
                                for f in record.fields})
            if not reply.flags & pb.REPLY_FLAG_MORE:
                return records
