# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session of asockd's protocol without any input or output: docs/PROTOCOL.md, sans-I/O.

What the daemon sent goes into feed(); what it is to get comes out of output, which fill() fills. Who does
the I/O is client.py (blocking) or aio.py (asyncio). Nothing here is a public interface.
"""

import collections
import ipaddress
import struct

from ._schema import pb
from .errors import AsockError, error_of

PREFIX = struct.Struct("<II")
DATAGRAM_MAX = 65535  # bytes; the kernel takes fewer
OUTPUT_FULL = 64 * 1024  # no further piece of a send is made while so much waits to leave


def address_of(endpoint):
    """As socket.getpeername() gives it."""
    address = ipaddress.ip_address(endpoint.address)
    if address.version == 4:
        return str(address), endpoint.port
    return str(address), endpoint.port, 0, endpoint.scope_id


def endpoint_of(address):
    """An Endpoint of (host, port) or (host, port, flow, scope): host is an address, not a name."""
    host, _, zone = address[0].partition("%")
    try:
        packed = ipaddress.ip_address(host).packed
        scope = int(address[3] if len(address) > 3 else zone or 0)
    except ValueError:
        raise error_of(pb.ERROR_INVALID_ARGUMENT, f"{address[0]!r} is not an address; only connect() accepts a name") from None
    return pb.Endpoint(address=packed, port=int(address[1]), scope_id=scope)


class Op:
    """A request in progress, and then its result."""

    def __init__(self, client, request, payload=b""):
        self.client = client
        self.request = request
        self.rest = memoryview(payload)  # what no frame has carried yet
        self.done = False
        self.error = 0
        self.text = ""
        self.bytes = 0
        self.flags = 0
        self.body = None         # Connected of a connect, OptionValue of a get_option
        self.pieces = []         # payload, as it came
        self.on_done = None      # called with the op

    @property
    def data(self):
        return b"".join(self.pieces)

    @property
    def end_of_stream(self):
        return bool(self.flags & pb.REPLY_FLAG_END_OF_STREAM)

    def outcome(self):
        """Of an op that is done: what was received, else the number of bytes. Raises AsockError."""
        if self.error:
            raise error_of(self.error, self.text, self.data)
        return self.data if self.request.verb == pb.VERB_RECEIVE else self.bytes

    def result(self, timeout=None):
        """The same, after waiting for it where the session can wait (Client)."""
        self.client.wait_for(self, timeout)
        return self.outcome()


class Window:
    """What may be outstanding: bytes and ops. One per socket, one for the session."""

    def __init__(self, size, ops):
        self.bytes = size
        self.ops = ops

    def take(self, size, ops):
        self.bytes -= size
        self.ops -= ops


class Socket:
    """A socket in the daemon. Every call returns an Op at once."""

    def __init__(self, client, number):
        self.client = client
        self.id = number
        self.waiting = collections.deque()   # ops that a window holds back, in order
        self.receives = collections.deque()  # the same; a stalled send must not hold them up
        self.window = Window(client.limits.send_window, client.limits.socket_ops)

    def _submit(self, verb, payload=b"", timeout_ms=0, **arm):
        request = pb.Request(verb=verb, socket=self.id, timeout_ms=timeout_ms, **arm)
        return self.client._submit(self, Op(self.client, request, payload))

    def connect(self, host, port, data=b"", timeout_ms=0):
        """host: an address is connected as it is, anything else is resolved by the daemon."""
        if not host.isascii():
            host = host.encode("idna").decode()  # as socket.socket does
        arm = pb.Connect(host=host, service=str(port))
        try:
            address = ipaddress.ip_address(host)
            arm = pb.Connect(endpoint=pb.Endpoint(address=address.packed, port=int(port)))
        except ValueError:
            pass
        return self._submit(pb.VERB_CONNECT, data, timeout_ms, connect=arm)

    def send(self, data, timeout_ms=0):
        return self._submit(pb.VERB_SEND, data, timeout_ms, send=pb.Send())

    def bind(self, address):
        return self._submit(pb.VERB_BIND, bind=pb.Bind(endpoint=endpoint_of(address)))

    def send_datagram(self, data, address=None, timeout_ms=0):
        """One datagram; address: (host, port) where the socket has no peer."""
        if len(data) > DATAGRAM_MAX:
            raise error_of(pb.ERROR_MESSAGE_SIZE)
        arm = pb.Send() if address is None else pb.Send(endpoint=endpoint_of(address))
        return self._submit(pb.VERB_SEND, data, timeout_ms, send=arm)

    def receive(self, length=256 * 1024, wait_all=False, timeout_ms=0):
        flags = pb.RECEIVE_FLAG_WAIT_ALL if wait_all else 0
        return self._submit(pb.VERB_RECEIVE, b"", timeout_ms,
                            receive=pb.Receive(length=length, flags=flags))

    def shutdown(self, how=pb.HOW_SEND):
        return self._submit(pb.VERB_SHUTDOWN, shutdown=pb.Shutdown(how=how))

    def disconnect(self, timeout_ms=0):
        """Ends the connection behind what was sent. With success or CONNECTION_RESET the socket can connect again."""
        return self._submit(pb.VERB_DISCONNECT, b"", timeout_ms, disconnect=pb.Disconnect())

    def set_option(self, option, number):
        value = pb.OptionValue(number=number)
        return self._submit(pb.VERB_SET_OPTION, set_option=pb.SetOption(option=option, value=value))

    def get_option(self, option):
        return self._submit(pb.VERB_GET_OPTION, get_option=pb.GetOption(option=option))

    def cancel(self, op):
        return self._submit(pb.VERB_CANCEL, cancel=pb.Cancel(target=op.request.op))

    def close(self, linger_ms=0, abort=False):
        return self._submit(pb.VERB_CLOSE, close=pb.Close(linger_ms=linger_ms, abort=abort))


# Counted against the windows of ops; of all others only SHUTDOWN and DISCONNECT wait behind them, in their place.
COUNTED = {pb.VERB_OPEN, pb.VERB_CONNECT, pb.VERB_SEND, pb.VERB_RECEIVE, pb.VERB_SET_OPTION,
           pb.VERB_GET_OPTION, pb.VERB_BIND}
HASTY = {pb.VERB_CANCEL, pb.VERB_CLOSE}
DISCONNECTED = {pb.ERROR_SUCCESS, pb.ERROR_CONNECTION_RESET}  # a DISCONNECT has ended the connection
WITH_DATA = {pb.VERB_SEND, pb.VERB_CONNECT}


class Core:
    """The state of a session."""

    def __init__(self, name=""):
        self.input = bytearray()
        self.output = bytearray()
        self.ended = None     # AsockError once the session is over
        self.token = 0
        self.ops = {}         # token: op that its last reply has not reached
        self.sockets = {}     # id: Socket
        self.ready = collections.deque()  # sockets with something waiting, in turn
        # Until the welcome tells more, this much is certain.
        self.limits = pb.Welcome(sockets=1, ops=8, socket_ops=8, send_window=1 << 16,
                                 queued_max=1 << 16, payload_max=256 * 1024)
        self.window = Window(self.limits.queued_max, self.limits.ops)
        self.welcomes_due = 0
        # Larger pieces of data are cheaper; sockets are asked for when they are needed.
        self.hello(name=name, send_window=1 << 20, queued_max=1 << 20, ops=64)

    # ------------------------------------------------------------------------------- asking

    def hello(self, **needs):
        """Ask for a larger grant; welcomes_due is 0 again when the answer is there."""
        self.welcomes_due += 1
        self._write_frame(pb.Request(verb=pb.VERB_HELLO, hello=pb.Hello(version=1, **needs)))

    def has_id(self):
        """Whether a socket can be opened within the grant."""
        return len(self.sockets) < self.limits.sockets

    def ask_for_sockets(self):
        """Twice as many, with their part of the ops and bytes."""
        count = 2 * self.limits.sockets
        self.hello(sockets=count, ops=4 * count, queued_max=count << 20)

    def open(self, family=pb.FAMILY_UNSPECIFIED, datagram=False):
        """A socket under the lowest free id. The daemon answers nothing unless it fails."""
        if not self.has_id():
            raise error_of(pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        number = next(n for n in range(1, self.limits.sockets + 1) if n not in self.sockets)
        sock = self.sockets[number] = Socket(self, number)
        kind = pb.SOCKET_TYPE_DATAGRAM if datagram else pb.SOCKET_TYPE_UNSPECIFIED
        sock._submit(pb.VERB_OPEN, open=pb.Open(family=family, type=kind))
        return sock

    def sync(self):
        return self._submit(None, Op(self, pb.Request(verb=pb.VERB_SYNC, sync=pb.Sync())))

    def restrict(self, rules):
        """Policy rules that this session is bound by from now on, whoever has it."""
        request = pb.Request(verb=pb.VERB_RESTRICT, restriction=pb.Restrict())
        return self._submit(None, Op(self, request, rules.encode()))

    def _submit(self, sock, op):
        self.token += 1
        op.request.op = self.token
        if self.ended:
            self._finish(op, self.ended.number, str(self.ended))
            return op
        self.ops[self.token] = op
        if sock is None or op.request.verb in HASTY:
            if op.request.verb == pb.VERB_CLOSE and self._drop_waiting(sock):
                self._on_completion(pb.Reply(op=self.token), b"")  # the daemon never saw it
            else:
                self._start(sock, op)
        else:
            queue = sock.receives if op.request.verb == pb.VERB_RECEIVE else sock.waiting
            queue.append(op)
            if sock not in self.ready:
                self.ready.append(sock)
        return op

    def _drop_waiting(self, sock):
        """Nothing of a socket may follow its CLOSE; True if even its OPEN was still here.

        The daemon itself ends a chain that is half out.
        """
        dropped = [*sock.waiting, *sock.receives]
        for op in dropped:
            if not op.request.send.more:
                del self.ops[op.request.op]
                self._finish(op, pb.ERROR_OPERATION_ABORTED, "")
        sock.waiting.clear()
        sock.receives.clear()
        return bool(dropped) and dropped[0].request.verb == pb.VERB_OPEN

    def _drop_receives(self, sock):
        """Those that a window held back until their connection had ended."""
        while sock is not None and sock.receives:
            op = sock.receives.popleft()
            del self.ops[op.request.op]
            self._finish(op, pb.ERROR_OPERATION_ABORTED, "")

    # ---------------------------------------------------------------------------- windows

    def _start(self, sock, op):
        """One frame of an op; True when it was the last one."""
        counted = 1 if op.request.verb in COUNTED and not op.request.send.more else 0
        room = self.limits.payload_max
        if sock is not None and op.request.verb in WITH_DATA:
            room = min(room, sock.window.bytes, self.window.bytes)
        piece, rest = op.rest[:room], op.rest[room:]
        request = pb.Request()
        request.CopyFrom(op.request)
        if op.request.verb == pb.VERB_SEND:
            is_first = not op.request.send.more
            request.send.total_len = len(op.rest) if is_first and len(rest) else 0
            request.send.more = op.request.send.more = bool(len(rest))
        self.window.take(len(piece), counted)
        if sock is not None:
            sock.window.take(len(piece), counted)
        op.rest = rest
        self._write_frame(request, piece)
        return not len(rest)

    def _may_start(self, sock, op):
        if op.request.verb not in COUNTED:
            return True
        windows = (sock.window, self.window)
        if not op.request.send.more and any(w.ops <= 0 for w in windows):
            return False
        # Sends that a peer does not take leave ops for the receives, and for the other sockets.
        if op.request.verb == pb.VERB_SEND and not op.request.send.more and \
                self.limits.socket_ops - sock.window.ops >= max(2, self.limits.ops // (2 * self.limits.sockets)):
            return False
        if op.request.verb == pb.VERB_CONNECT:  # its data is one frame, or does not go at all
            return all(w.bytes >= len(op.rest) for w in windows)
        # No crumbs: a piece leaves when it is a whole frame, the window, or the rest.
        wanted = min(len(op.rest), self.limits.payload_max, self.limits.send_window)
        return all(w.bytes >= wanted for w in windows)

    def _next(self, sock):
        """The queue whose first op may leave, or None."""
        while sock.waiting and sock.waiting[0].done:  # a chain that failed before its last piece
            sock.waiting.popleft()
        for queue in (sock.waiting, sock.receives):
            if queue and self._may_start(sock, queue[0]):
                return queue
            if queue and queue[0].request.verb in (pb.VERB_OPEN, pb.VERB_CONNECT, pb.VERB_BIND):
                return None
        return None

    def fill(self):
        """A frame of each socket in turn, while windows and the output buffer allow."""
        idle = 0  # of those that wait, how many in a row could not go on
        while idle < len(self.ready) and len(self.output) < OUTPUT_FULL:
            sock = self.ready.popleft()
            queue = self._next(sock)
            if queue and self._start(sock, queue[0]):
                queue.popleft()
            if sock.waiting or sock.receives:
                self.ready.append(sock)
                idle += 1
            if queue:
                idle = 0

    def _give_back(self, reply):
        self.window.take(-reply.send_freed, -reply.ops_freed)
        sock = self.sockets.get(reply.socket)
        if sock is not None:
            sock.window.take(-reply.send_freed, -reply.ops_freed)

    def _welcome(self, welcome):
        self.welcomes_due -= 1
        grown = (welcome.send_window - self.limits.send_window,
                 welcome.socket_ops - self.limits.socket_ops)
        self.window.take(self.limits.queued_max - welcome.queued_max,
                         self.limits.ops - welcome.ops)
        for sock in self.sockets.values():
            sock.window.take(-grown[0], -grown[1])
        self.limits.CopyFrom(welcome)

    # ----------------------------------------------------------------------------- frames

    def _write_frame(self, request, payload=b""):
        head = request.SerializeToString()
        self.output += PREFIX.pack(len(head), len(payload)) + head
        self.output += payload

    def feed(self, data):
        """Takes every whole frame out of what was read; no bytes at all are the end of the session."""
        if not data:
            self.end(error_of(pb.ERROR_CONNECTION_ABORTED, "the daemon closed the session"))
            return
        self.input += data
        start = 0
        while len(self.input) - start >= PREFIX.size:
            head_len, payload_len = PREFIX.unpack_from(self.input, start)
            head_end = start + PREFIX.size + head_len
            if len(self.input) < head_end + payload_len:
                break
            reply = pb.Reply.FromString(bytes(self.input[start + PREFIX.size:head_end]))
            start = head_end + payload_len
            self._on_reply(reply, bytes(self.input[head_end:start]))
        del self.input[:start]

    def _on_reply(self, reply, payload):
        self._give_back(reply)
        if reply.kind == pb.KIND_WELCOME:
            self._welcome(reply.welcome)
        elif reply.kind == pb.KIND_EVENT:
            if reply.event.code == pb.EVENT_SESSION_ENDED:
                self.end(error_of(reply.error, payload.decode()))
        elif reply.kind == pb.KIND_COMPLETION:
            self._on_completion(reply, payload)

    def _on_completion(self, reply, payload):
        op = self.ops.get(reply.op)
        if op is None:
            return
        if payload and not reply.error:
            op.pieces.append(payload)
        if reply.flags & pb.REPLY_FLAG_MORE:
            return
        del self.ops[reply.op]
        op.bytes = reply.bytes
        op.flags = reply.flags
        body = reply.WhichOneof("body")
        op.body = getattr(reply, body) if body else None
        if op.request.verb == pb.VERB_CLOSE:
            self.sockets.pop(op.request.socket, None)
        if op.request.verb == pb.VERB_DISCONNECT and reply.error in DISCONNECTED:
            self._drop_receives(self.sockets.get(op.request.socket))
        if op.request.verb == pb.VERB_SEND and op.request.send.more:
            self._write_abandon(op)
        self._finish(op, reply.error, payload.decode() if reply.error else "")

    def _write_abandon(self, op):
        """The daemon has ended a chain early and drops its pieces up to the last: here is the last."""
        if op.request.socket in self.sockets:
            request = pb.Request(verb=pb.VERB_SEND, op=op.request.op, socket=op.request.socket,
                                 send=pb.Send(abandon=True))
            self._write_frame(request)

    def _finish(self, op, error, text):
        op.error = error
        op.text = text
        op.done = True
        if op.on_done:
            op.on_done(op)

    def end(self, error):
        if self.ended:
            return
        self.ended = error
        ops, self.ops = self.ops, {}
        for op in ops.values():
            self._finish(op, pb.ERROR_CONNECTION_ABORTED, str(error))
