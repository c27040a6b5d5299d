# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of sockets that are lent to their client: a daemon whose policy lends, and how to ask it."""

import ctypes
import os
import socket
import struct
import tempfile

from asockd import NOBODY, Daemon, DaemonTest
from audited import read_entries
from wire import DEADLINE, endpoint, pb, request

UNSPEC = struct.pack("=H14x", socket.AF_UNSPEC)
HELD, GIVEN, IF_ALLOWED = pb.LEND_HELD, pb.LEND_GIVEN, pb.LEND_HELD_IF_ALLOWED


def policy(*lines):
    return "".join(line + "\n" for line in ("[Rules]", *lines))


def policy_file(cls, *lines):
    """With these rules, for as long as the tests of that class run."""
    with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as file:
        file.write(policy(*lines))
    os.chmod(file.name, 0o644)
    cls.addClassCleanup(os.unlink, file.name)
    return file.name


def connect(op, number, address, lend, payload=b"", timeout_ms=0):
    return request(pb.VERB_CONNECT, op, number, payload, timeout_ms,
                   connect=pb.Connect(endpoint=endpoint(address), lend=lend))


def name_of(error):
    return pb.Error.Name(error).removeprefix("ERROR_")


def fill(sock):
    """Sends until the kernel takes no more; returns how much that was."""
    sock.setblocking(False)
    sent = 0
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except BlockingIOError:
        return sent


def dissolve(sock):
    """connect(AF_UNSPEC), which the module socket has not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(sock.fileno(), UNSPEC, len(UNSPEC)) < 0:
        raise OSError(ctypes.get_errno(), "connect(AF_UNSPEC)")


class Lending(DaemonTest):
    """Loopback may be lent and given; 127.0.0.2 held only, 127.0.0.3 given only, 127.0.0.4 neither."""

    RULES = ("Allow=tcp 127.0.0.1 * +loopback +lend +lend-given", "Allow=tcp ::1 * +loopback +lend",
             "Allow=tcp 127.0.0.2 * +loopback +lend", "Allow=tcp 127.0.0.3 * +loopback +lend-given",
             "Allow=tcp 127.0.0.4 * +loopback", "Allow=udp 127.0.0.1 * +loopback", "Listen=tcp 127.0.0.1 0")

    @classmethod
    def setUpClass(cls):
        cls.policy = policy_file(cls, *cls.RULES)
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            pass
        if os.getuid() == 0:
            os.chown(file.name, NOBODY, NOBODY)
        cls.audit = file.name
        cls.addClassCleanup(os.unlink, cls.audit)
        with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
            file.write(f"[Audit]\nFile={cls.audit}\n")
        os.chmod(file.name, 0o644)
        cls.addClassCleanup(os.unlink, file.name)
        cls.daemon = Daemon("--config", file.name, "--policy", cls.policy)

    def serve(self, host="127.0.0.1"):
        listener = self.hold(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        listener.settimeout(DEADLINE)
        listener.bind((host, 0))
        listener.listen(64)
        return listener

    def ask(self, wire, listener, lend, number=1, **more):
        """OPEN and CONNECT: the latter's reply, and the text."""
        wire.token += 2
        wire.send(wire.open(wire.token - 1, number),
                  connect(wire.token, number, listener.getsockname()[:2], lend, **more))
        self.assertEqual(wire.completion(wire.token - 1).error, pb.ERROR_SUCCESS)
        return wire.whole(wire.token)

    def lend(self, wire, listener=None, lend=HELD, number=1):
        """The socket that was lent, and its peer."""
        listener = listener or self.serve()
        reply, text = self.ask(wire, listener, lend, number)
        self.assertEqual((name_of(reply.error), reply.descriptors), ("SUCCESS", 1), text)
        lent = self.hold(socket.socket(fileno=wire.descriptors.popleft()))
        lent.settimeout(DEADLINE)
        return lent, self.accept(listener)

    def end(self, wire, number=1, **how):
        wire.token += 1
        wire.send(wire.make_close(wire.token, number, **how))
        return name_of(wire.completion(wire.token).error)

    def error_of(self, wire, frame):
        wire.send(frame)
        return name_of(wire.completion(wire.token).error)

    def record(self, wire, number=1):
        return next(r for r in wire.inspect(list=pb.List()) if r["socket"] == number)

    def entries(self, event):
        return [entry for entry in read_entries(self.audit) if entry["ASOCK_EVENT"] == event]

    def wait_entry(self, event, **fields):
        """The last such entry; it may not be written yet."""
        def find():
            return [e for e in self.entries(event) if all(e.get(k) == v for k, v in fields.items())]
        self.daemon.wait(find)
        return find()[-1]
