# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over that fails, or whose other side dies: at each step one of the two has the clients."""

import contextlib
import os
import select
import signal
import socket
import struct
import threading

import asockd
from asockd import DEADLINE
from taking_over import TakeOverTest
from wire import Wire, pb, request


class GoesOn(TakeOverTest):
    """When the new one fails the old one goes on, as if nothing had been asked."""

    def check_fails(self, *arguments):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.receive(5, 1, 10))
        wire.settle()
        pid = self.daemon.pid
        self.assertFalse(self.daemon.succeed(*arguments))
        peer.sendall(b"here")
        self.assertEqual(wire.whole(5)[1], b"here")
        self.assertEqual(self.daemon.pid, pid)
        self.pair(self.wire())

    def test_other_listeners(self):
        path = os.path.join(self.daemon.directory, "other.conf")
        with open(path, "w", encoding="ascii") as conf:
            conf.write("[Listener]\nName=another\n")
        self.check_fails("--allow-any", "--config", path)
        self.assertIn("listeners differ from those", self.daemon.output())

    def test_it_asks_and_dies(self):
        """At each step of it; what is asked for in vain costs no descriptor."""
        wire = self.wire()
        peer = self.pair(wire)
        fds = self.daemon.fds()
        for step in range(4):
            asker = Wire(self.daemon.control_path)
            asker.hello()
            asker.send(request(pb.VERB_TAKE_OVER, 5, take_over=pb.TakeOver(format=1)))
            if step > 0:
                asker.sock.settimeout(DEADLINE)
                self.assertEqual(self.read_reply(asker).error, pb.ERROR_SUCCESS)
            if step > 1:
                data, got, _, _ = socket.recv_fds(asker.sock, 8, 253)
                self.assertEqual(len(got), 1)
                os.close(got[0])
                del data
            if step > 2:
                _, got, _, _ = socket.recv_fds(asker.sock, 8, 253)
                for fd in got:
                    os.close(fd)
                asker.sock.sendall(b"\4\0\0\0\0\0\0\0")  # READY, before it may be
            asker.close()
            wire.settle()
        wire.send(wire.make_send(7, 1, b"unharmed"))
        self.assertEqual(self.read_all(peer, 8), b"unharmed")
        self.daemon.wait(lambda: self.daemon.fds() in (None, fds))

    def test_what_has_gone_over_is_not_done_by_the_old_one(self):
        """A connect that succeeds while everything stands still: only the new one may send its data."""
        daemon = asockd.Daemon("--allow-any")
        self.addCleanup(daemon.stop)
        wire, asker, server = self.hold(Wire(daemon.path)), self.hold(Wire(daemon.control_path)), self.blackhole()
        wire.hello()
        asker.hello()
        asker.sock.settimeout(DEADLINE)
        wire.send(wire.open(5, 1), wire.connect(6, 1, server.getsockname(), b"once"))
        wire.settle()
        asker.send(request(pb.VERB_TAKE_OVER, 5, take_over=pb.TakeOver(format=1)))
        self.assertEqual(self.read_reply(asker).error, pb.ERROR_SUCCESS)
        data, fds, _, _ = socket.recv_fds(asker.sock, 8, 253)
        while len(fds) <= struct.unpack("<II", data)[1]:
            fds += socket.recv_fds(asker.sock, 8, 253)[1]
            asker.sock.sendall(struct.pack("<II", 3, 0))  # NEXT
        peer = self.accept_behind(server)  # its SYN came again
        asker.sock.sendall(struct.pack("<II", 4, 0))  # READY
        self.assertEqual(struct.unpack("<II", asker.sock.recv(8, socket.MSG_WAITALL))[0], 6)  # YOURS
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(self.read_all(peer), b"")

    def between(self, do=None):
        """A daemon with a receive that waits, and one that takes over from it through Between: wire, peer, both."""
        daemon = asockd.Daemon("--allow-any")
        self.addCleanup(daemon.stop, check=False)
        wire = self.hold(Wire(daemon.path))
        wire.hello()
        peer = self.pair(wire)
        wire.send(wire.receive(5, 1, 4))
        wire.settle()
        between = os.path.join(daemon.directory, "between")
        os.mkdir(between)
        os.chmod(between, 0o755)
        thread = Between(os.path.join(between, "control.sock"), daemon, do)
        new = daemon._start("--take-over", between, "--allow-any")
        thread.join(DEADLINE)
        return wire, peer, daemon, new

    def check_new_goes_on(self, wire, peer, daemon, new):
        os.close(daemon.pidfd)
        daemon.process, daemon.pid, daemon.pidfd = new, new.pid, os.pidfd_open(new.pid)
        peer.sendall(b"here")
        self.assertEqual(wire.whole(5)[1], b"here", daemon.output())
        self.assertIn("exited while handing over", daemon.output())
        daemon.stop()

    def test_the_old_one_dies_behind_the_last_descriptor(self):
        """Nobody else has the connections: the new one goes on with them."""
        self.check_new_goes_on(*self.between())

    def test_the_old_one_refuses_and_ends_while_the_new_one_reads(self):
        """It has gone on meanwhile: what the new one has is of before. READY finds nobody, and FAILED lies behind that."""
        def refuse(daemon):
            daemon.process.kill()
            daemon.process.wait()
            return struct.pack("<II", 5, 0)  # FAILED
        wire, peer, daemon, new = self.between(refuse)
        self.assertEqual(new.wait(DEADLINE), 1)
        self.assertIn("cannot take over: it took too long", daemon.output())
        with self.assertRaises((EOFError, ConnectionResetError)):
            wire.read()

    def test_the_old_one_has_ended_and_was_waited_for(self):
        """No process has its id any more."""
        def end(daemon):
            daemon.process.kill()
            daemon.process.wait()
            return b""
        self.check_new_goes_on(*self.between(end))

    def test_the_new_one_loses_the_old_one_which_goes_on(self):
        wire, peer, daemon, new = self.between(lambda daemon: b"")
        self.assertEqual(new.wait(DEADLINE), 1)
        peer.sendall(b"here")
        self.assertEqual(wire.whole(5)[1], b"here", daemon.output())
        self.assertIn("; this asockd continues", daemon.output())

    def test_an_invalid_policy(self):
        path = os.path.join(self.daemon.directory, "bad.policy")
        with open(path, "w", encoding="ascii") as policy:
            policy.write("[Rules]\nAllow=nonsense\n")
        self.check_fails("--policy", path)

    @staticmethod
    def read_reply(wire):
        """Not a byte more."""
        head, payload = (int.from_bytes(wire.sock.recv(4, socket.MSG_WAITALL), "little") for _ in range(2))
        reply = pb.Reply.FromString(wire.sock.recv(head, socket.MSG_WAITALL))
        if payload:
            wire.sock.recv(payload, socket.MSG_WAITALL)
        return reply

    def test_another_format(self):
        self.daemon.control.send(request(pb.VERB_TAKE_OVER, 5, take_over=pb.TakeOver(format=0)))
        self.assertEqual(self.daemon.control.completion(5).error, pb.ERROR_OPERATION_NOT_SUPPORTED)

    def test_an_older_one_cannot_read_it(self):
        """It reads the first format, which has no bound sockets, and hears that before anything has gone."""
        wire = self.wire()
        wire.send(wire.open(5, 1), wire.bind(6, 1, ("127.0.0.1", 0)))
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        for kind in (5, 1):  # FAILED, STATE
            asker = self.hold(Wire(self.daemon.control_path))
            asker.hello()
            asker.sock.settimeout(DEADLINE)
            asker.send(request(pb.VERB_TAKE_OVER, 5, take_over=pb.TakeOver(format=1)))
            self.assertEqual(self.read_reply(asker).error, pb.ERROR_SUCCESS)
            data, fds, _, _ = socket.recv_fds(asker.sock, 8, 253)
            self.assertEqual(struct.unpack("<II", data)[0], kind, self.daemon.output())
            for fd in fds:
                self.assertEqual(struct.unpack("<I", os.pread(fd, 4, 8)), (1,))
                os.close(fd)
            asker.close()
            wire.send(wire.make_close(7, 1))
            wire.settle()
        self.assertIn("it is an older version that cannot read", self.daemon.output())

    def test_an_old_one_that_knows_only_the_first_format_and_ends(self):
        """The reason is not what it said of later formats."""
        older = os.path.join(self.daemon.directory, "older")
        os.mkdir(older)
        os.chmod(older, 0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.settimeout(DEADLINE)
            listener.bind(os.path.join(older, "control.sock"))
            os.chmod(os.path.join(older, "control.sock"), 0o666)
            listener.listen(1)
            new = self.daemon._start("--take-over", older, *self.arguments)
            end, _ = listener.accept()
        with end:
            end.settimeout(DEADLINE)
            asked = []
            while asked[-1:] != [1]:
                asker = self.read_request(end)
                asked.append(asker.take_over.format)
                if asker.verb == pb.VERB_HELLO:
                    self.say(end, pb.Reply(kind=pb.KIND_WELCOME, welcome=pb.Welcome(version=1, verbs=1 << pb.VERB_TAKE_OVER)))
                elif asker.take_over.format > 1:
                    self.say(end, pb.Reply(kind=pb.KIND_COMPLETION, op=1, error=pb.ERROR_OPERATION_NOT_SUPPORTED), b"no")
                else:
                    self.say(end, pb.Reply(kind=pb.KIND_COMPLETION, op=1))
        self.assertEqual(new.wait(DEADLINE), 1)
        self.assertIn("asockd: cannot take over: Broken pipe; the other daemon continues", self.daemon.output())

    @staticmethod
    def read_request(end):
        head, _ = struct.unpack("<II", end.recv(8, socket.MSG_WAITALL))
        return pb.Request.FromString(end.recv(head, socket.MSG_WAITALL))

    @staticmethod
    def say(end, reply, text=b""):
        head = reply.SerializeToString()
        end.sendall(struct.pack("<II", len(head), len(text)) + head + text)

    def test_a_client_cannot_ask(self):
        wire = self.wire()
        wire.send(request(pb.VERB_TAKE_OVER, 5, take_over=pb.TakeOver(format=1)))
        self.assertEqual(wire.completion(5).error, pb.ERROR_OPERATION_NOT_SUPPORTED)


class Between(threading.Thread):
    """Stands between two daemons, and kills the old one where the new one says READY.

    With behind_last: calls that instead where the last descriptors come, sends them, what it returns behind them, and goes.
    """

    def __init__(self, path, daemon, behind_last=None):
        super().__init__(daemon=True)
        self.behind_last, self.left = behind_last, None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen(1)
        self.daemon, self.problem = daemon, None
        self.start()

    def run(self):
        new, _ = self.listener.accept()
        with new, self.listener, socket.socket(socket.AF_UNIX) as old:
            old.connect(self.daemon.control_path)
            replies = 2  # to Hello, and to TAKE_OVER; behind them messages of eight bytes
            while True:
                for end in select.select([new, old], [], [], DEADLINE)[0]:
                    data, fds, _, _ = socket.recv_fds(end, 65536 if end is new else 8, 253)
                    if end is new and data.endswith(struct.pack("<II", 4, 0)):
                        os.kill(self.daemon.pid, signal.SIGKILL)
                        self.daemon.process.wait()
                        return
                    if not data:
                        return
                    if end is old and replies > 0:
                        data += old.recv(sum(struct.unpack("<II", data)), socket.MSG_WAITALL)
                        replies -= 1
                    elif end is old:
                        kind, number = struct.unpack("<II", data)
                        self.left = number if kind == 1 else self.left - number  # STATE, DESCRIPTORS
                    is_last = self.behind_last and self.left == 0
                    behind = self.behind_last(self.daemon) if is_last else b""
                    socket.send_fds(old if end is new else new, [data], fds)
                    for fd in fds:
                        os.close(fd)
                    if is_last:
                        new.sendall(behind)
                        return
