# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over: another process goes on with clients, connections and operations, and clients see no more than a pause."""

import contextlib
import fcntl
import math
import mmap
import os
import select
import signal
import socket
import struct
import sys
import termios
import threading
import time
import unittest

import asockd
import lending
from asockd import DEADLINE
from taking_over import TakeOverTest
from talking import Talker, stream
from wire import Ended, Wire, pb, request


class Carried(TakeOverTest):
    def test_a_receive_that_waits(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.receive(5, 1, 100))
        wire.settle()
        self.succeed()
        peer.sendall(b"late")
        reply, data = wire.whole(5)
        self.assertEqual((reply.error, data), (pb.ERROR_SUCCESS, b"late"))

    def test_a_frame_that_is_half_read(self):
        wire = self.wire()
        peer = self.pair(wire)
        frame = wire.make_send(5, 1, b"in two parts")
        for cut in (1, 7, 11, len(frame) - 3):
            wire.send(frame[:cut])
            self.daemon.wait(lambda: self.has_read(wire))
            self.succeed()
            wire.send(frame[cut:])
            self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
            self.assertEqual(self.read_all(peer, 12), b"in two parts")

    @staticmethod
    def has_read(wire):
        """The daemon has taken all that was written."""
        return struct.unpack("i", fcntl.ioctl(wire.sock, termios.TIOCOUTQ, b"\0" * 4))[0] == 0

    def test_replies_that_nobody_has_read(self):
        wire = self.wire()
        peer = self.pair(wire)
        size, count = 200000, 40
        for n in range(count):
            wire.send(wire.receive(100 + n, 1, size, flags=pb.RECEIVE_FLAG_WAIT_ALL))
        threading.Thread(target=peer.sendall, args=(stream(0, size * count),), daemon=True).start()
        self.daemon.wait(lambda: self.is_stuck(wire))
        for _ in range(3):
            self.succeed()
        for n in range(count):
            reply, data = wire.whole(100 + n)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS)
            self.assertEqual(data, stream(n * size, size))

    def is_stuck(self, wire):
        before = self.daemon.stats()["bytes_in"]
        time.sleep(0.05)
        return before > 1 << 20 and self.daemon.stats()["bytes_in"] == before and wire is not None

    def test_sends_that_the_peer_does_not_take(self):
        wire = self.wire()
        peer = self.pair(wire)
        size, count = 250000, 60
        for n in range(count):
            wire.send(wire.make_send(100 + n, 1, stream(n * size, size)))
            if sum(wire.freed.values()) + (3 << 18) < (n + 1) * size:
                break
        sent = n + 1
        wire.settle()
        wire.send(wire.shutdown(99, 1, pb.HOW_SEND))
        wire.settle()
        self.succeed()
        self.succeed()
        self.assertEqual(self.read_all(peer), stream(0, sent * size))
        for n in range(sent):
            self.assertEqual(wire.completion(100 + n).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.completion(99).error, pb.ERROR_SUCCESS)

    def test_a_chain_whose_pieces_still_come(self):
        wire = self.wire()
        peer = self.pair(wire)
        data = stream(0, 300000)
        wire.send(wire.make_send(5, 1, data[:100000], more=True, total_len=len(data)))
        wire.settle()
        self.succeed()
        wire.send(wire.make_send(5, 1, data[100000:200000], more=True))
        wire.settle()
        self.succeed()
        wire.send(wire.make_send(5, 1, data[200000:]))
        self.assertEqual(self.read_all(peer, len(data)), data)
        reply = wire.completion(5)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_SUCCESS, len(data)))

    def test_a_chain_that_has_all_its_bytes(self):
        """Only its last piece, without any, has not come."""
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(5, 1, b"whole", total_len=5, more=True))
        self.assertEqual(self.read_all(peer, 5), b"whole")
        self.succeed()
        wire.send(wire.make_send(5, 1, b""))
        self.assertEqual(wire.completion(5).bytes, 5)

    def test_halves_that_are_closed(self):
        wire = self.wire()
        peers = [self.pair(wire, number) for number in (1, 2)]
        wire.send(wire.shutdown(5, 1, pb.HOW_SEND))
        self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
        peers[1].shutdown(socket.SHUT_WR)
        wire.send(wire.receive(6, 2, 10))
        self.assertTrue(wire.completion(6).flags & pb.REPLY_FLAG_END_OF_STREAM)
        self.succeed()
        self.assertEqual(peers[0].recv(1), b"")
        peers[0].sendall(b"one")
        wire.send(wire.receive(7, 1, 10), wire.make_send(8, 1, b"x"), wire.receive(9, 2, 10),
                  wire.make_send(10, 2, b"two"))
        self.assertEqual(wire.whole(7)[1], b"one")
        self.assertEqual(wire.completion(8).error, pb.ERROR_SHUTDOWN)
        self.assertTrue(wire.completion(9).flags & pb.REPLY_FLAG_END_OF_STREAM)
        self.assertEqual(wire.completion(10).error, pb.ERROR_SUCCESS)
        self.assertEqual(peers[1].recv(10), b"two")

    def test_a_deadline_counts_on(self):
        wire = self.wire()
        self.pair(wire)
        began = time.monotonic()
        wire.send(wire.receive(5, 1, 10, timeout_ms=1500))
        wire.settle()
        self.succeed()
        self.assertEqual(wire.completion(5).error, pb.ERROR_TIMED_OUT)
        self.assertGreaterEqual(math.ceil(1000 * (time.monotonic() - began)), 1500)  # its clock counts whole milliseconds

    def test_hangup_and_reset(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.hangup(5, 1))
        wire.settle()
        self.succeed()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        self.assertEqual(wire.completion(5).error, pb.ERROR_CONNECTION_RESET)

    def test_a_connect_in_progress(self):
        wire = self.wire()
        full = self.blackhole()
        wire.send(wire.open(5, 1), wire.connect(6, 1, full.getsockname(), b"first"), wire.make_send(7, 1, b"second"))
        wire.settle()
        self.assertEqual([row["state"] for row in self.daemon.control.inspect(list=pb.List())], ["connecting"])
        self.succeed()
        self.assertEqual([row["state"] for row in self.daemon.control.inspect(list=pb.List())], ["connecting"],
                         self.daemon.output())
        peer = self.accept_behind(full)
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(peer, 11), b"firstsecond")
        self.assertEqual(wire.completion(7).error, pb.ERROR_SUCCESS)

    def test_a_restriction_stays(self):
        wire = self.wire()
        listener, other = self.listener(), self.listener()
        rule = f"[Rules]\nAllow=tcp 127.0.0.1 {listener.getsockname()[1]}\n".encode()
        wire.send(request(pb.VERB_RESTRICT, 5, payload=rule, restriction=pb.Restrict()))
        self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
        self.succeed()
        wire.send(wire.open(6, 1), wire.connect(7, 1, other.getsockname()),
                  wire.open(8, 2), wire.connect(9, 2, listener.getsockname()))
        self.assertEqual(wire.completion(7).error, pb.ERROR_ACCESS_DENIED)
        self.assertEqual(wire.completion(9).error, pb.ERROR_SUCCESS)

    def test_who_it_is_and_what_is_counted(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(5, 1, b"counted"))
        self.assertEqual(self.read_all(peer, 7), b"counted")
        wire.completion(5)
        before, sessions = self.daemon.stats(), self.daemon.control.inspect(sessions=pb.Sessions())
        rows = self.daemon.control.inspect(list=pb.List())
        self.succeed()
        after = self.daemon.stats()
        for name in ("requests", "bytes_in", "bytes_out", "ops_done"):
            self.assertGreaterEqual(after[name], before[name], name)
        mine = [row for row in sessions if row["listener"] == "default"]
        now = [row for row in self.daemon.control.inspect(sessions=pb.Sessions()) if row["listener"] == "default"]
        for row in (*mine, *now):
            for moving in ("age_ms", "memory", "idle_ms"):
                row.pop(moving, None)
        self.assertEqual(mine, now)
        self.assertEqual([(row["id"], row["remote"], row["bytes_out"]) for row in rows],
                         [(row["id"], row["remote"], row["bytes_out"])
                          for row in self.daemon.control.inspect(list=pb.List())])

    def test_a_client_that_has_not_said_hello(self):
        wire = self.wire(hello=False)
        self.daemon.wait(lambda: self.daemon.stats()["clients"] == 2)
        self.succeed()
        wire.hello()
        wire.settle()

    def test_new_clients_are_served(self):
        self.succeed()
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(5, 1, b"new"))
        self.assertEqual(self.read_all(peer, 3), b"new")


class SharedMemory(TakeOverTest):
    """It is the same memory: both processes map it."""

    def start(self):
        """A session with a buffer, its status page, and a connection."""
        wire = self.wire()
        wire.send(wire.make_register(2, 1 << 20, status=True))
        reply = wire.completion(2)
        self.assertEqual((reply.error, reply.descriptors), (pb.ERROR_SUCCESS, 2))
        fds = [wire.descriptors.popleft() for _ in range(2)]
        memory, page = mmap.mmap(fds[0], 1 << 20), mmap.mmap(fds[1], 4096, prot=mmap.PROT_READ)
        for fd in fds:
            os.close(fd)
        for mapping in (memory, page):
            self.addCleanup(mapping.close)
        return wire, reply.segment.buffer, memory, page, self.pair(wire)

    @staticmethod
    def segment(buffer, offset, length):
        return pb.Segment(buffer=buffer, offset=offset, length=length)

    def test_receives_into_it(self):
        wire, buffer, memory, _, peer = self.start()
        wire.send(wire.receive(5, 1, segments=[self.segment(buffer, 100, 50)]),
                  wire.receive(6, 1, flags=pb.RECEIVE_FLAG_WAIT_ALL,
                               segments=[self.segment(buffer, 200, 4), self.segment(buffer, 300, 6)]))
        wire.settle()
        self.succeed()
        peer.sendall(b"first")
        self.assertEqual(wire.completion(5).bytes, 5)
        peer.sendall(b"12345")
        wire.settle()
        self.succeed()  # in the middle of the second one
        peer.sendall(b"67890")
        self.assertEqual(wire.completion(6).bytes, 10)
        self.assertEqual((memory[100:105], memory[200:204], memory[300:306]), (b"first", b"1234", b"567890"))

    def test_a_multishot_and_its_credit(self):
        wire, buffer, memory, _, peer = self.start()
        slices = [self.segment(buffer, 1000 * n, 500) for n in range(3)]
        wire.send(wire.receive(5, 1, flags=pb.RECEIVE_FLAG_MULTISHOT, segments=slices[:2]))
        wire.settle()
        for n in range(3):
            self.succeed()
            if n == 1:
                wire.send(wire.credit(6, 1, 5, slices[2:]))
                self.assertTrue(wire.completion(6).flags & pb.REPLY_FLAG_FOUND)
            peer.sendall(b"shot %d" % n)
            reply, _ = wire.take(lambda reply: reply.op == 5)
            self.assertEqual((reply.segment.offset, reply.bytes, bool(reply.flags & pb.REPLY_FLAG_MORE)),
                             (1000 * n, 6, n < 2))
            self.assertEqual(memory[1000 * n:1000 * n + 6], b"shot %d" % n)

    def test_a_send_out_of_it(self):
        """The kernel has taken some of it; behind it one with bytes of its own."""
        wire, buffer, memory, _, peer = self.start()
        memory[:] = stream(0, 1 << 20)
        count = 8
        for n in range(count):
            wire.send(wire.make_send(10 + n, 1, b"", segments=[self.segment(buffer, 0, 1 << 19),
                                                              self.segment(buffer, 1 << 19, 1 << 19)]))
        wire.send(wire.make_send(30, 1, b"behind"))
        wire.settle()
        self.succeed()
        self.assertEqual(self.read_all(peer, (count << 20) + 6), count * stream(0, 1 << 20) + b"behind")
        for n in range(count):
            self.assertEqual(wire.completion(10 + n).bytes, 1 << 20)

    def test_given_back(self):
        """The buffer waits for its last op, is emptied, and its id is not used again."""
        wire, buffer, memory, _, peer = self.start()
        memory[:5] = b"dirty"
        wire.send(wire.receive(5, 1, segments=[self.segment(buffer, 0, 2)]), wire.unregister(6, buffer))
        wire.settle()
        self.succeed()
        wire.settle()
        self.assertFalse([reply for reply, _ in wire.kept if reply.op == 6])
        peer.sendall(b"no")
        self.assertEqual(wire.completion(5).bytes, 2)
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.assertEqual(memory[:5], bytes(5))
        self.succeed()
        another, _ = wire.register(4096)
        self.assertNotEqual(another, buffer)

    def test_its_page_is_marked_by_the_next_one(self):
        wire, buffer, memory, page, _ = self.start()
        memory[:4] = b"kept"
        self.succeed()
        self.succeed()
        self.assertEqual((page[:4], memory[:4]), (bytes(4), b"kept"))
        wire.send(struct.pack("<II", 0, 0))
        wire.ended()
        self.assertEqual((page[:4], memory[:4]), (bytes(4), b"kept"))  # its completions may be unread
        wire.close()
        self.daemon.wait(lambda: memory[:4] == bytes(4))
        self.assertNotEqual(page[:4], bytes(4))

    def test_charges(self):
        """A buffer counts against the session's limit, before and after."""
        wire = self.wire()
        most = wire.welcome.buffers
        for _ in range(most):
            wire.register(4096)
        self.succeed()
        wire.send(wire.make_register(5, 4096))
        self.assertEqual(wire.completion(5).error, pb.ERROR_NO_BUFFER_SPACE)


class Listening(TakeOverTest):
    def listen(self, wire, number=1, port=0):
        wire.send(wire.open(5, number), wire.bind(6, number, ("127.0.0.1", port)), wire.listen(7, number))
        local = wire.completion(6).connected.local
        self.assertEqual(wire.completion(7).error, pb.ERROR_SUCCESS)
        return "127.0.0.1", local.port

    def connect(self, address):
        peer = self.hold(socket.create_connection(address))
        peer.settimeout(DEADLINE)
        return peer

    def check_talks(self, wire, number, peer):
        wire.send(wire.make_send(50 + number, number, b"hello"), wire.receive(60 + number, number, 10))
        self.assertEqual(self.read_all(peer, 5), b"hello")
        peer.sendall(b"you")
        self.assertEqual(wire.whole(60 + number)[1], b"you")

    def test_accepts_that_wait(self):
        """Of two ids one is used before, one after; who waits in the kernel's queue stays there."""
        wire = self.wire()
        address = self.listen(wire)
        wire.send(wire.accept(8, 1, 2, 2))
        wire.settle()
        first = self.connect(address)
        self.assertEqual(wire.take(lambda reply: reply.op == 8)[0].connected.socket, 2)
        self.succeed()
        second, third = self.connect(address), self.connect(address)
        self.assertEqual(wire.take(lambda reply: reply.op == 8)[0].connected.socket, 3)
        self.succeed()
        wire.send(wire.accept(9, 1, 4))
        self.assertEqual(wire.completion(9).connected.socket, 4)
        for number, peer in ((2, first), (3, second), (4, third)):
            self.check_talks(wire, number, peer)

    def test_ids_stay_kept_and_become_free(self):
        wire = self.wire()
        address = self.listen(wire)
        wire.send(wire.accept(8, 1, 2, 2), wire.accept(9, 1, 6, timeout_ms=500))
        wire.settle()
        self.succeed()
        wire.send(wire.cancel(10, 1, 8))
        self.assertEqual(wire.completion(8).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(9).error, pb.ERROR_TIMED_OUT)
        wire.send(wire.open(11, 2), wire.open(12, 6), wire.accept(13, 1, 3))
        self.assertEqual([wire.completion(op).error for op in (11, 12)], [pb.ERROR_SUCCESS] * 2)
        peer = self.connect(address)
        self.assertEqual(wire.completion(13).connected.socket, 3)
        self.check_talks(wire, 3, peer)

    def test_a_socket_that_is_only_bound(self):
        wire = self.wire()
        wire.send(wire.open(5, 1), wire.bind(6, 1, ("127.0.0.1", 0)))
        port = wire.completion(6).connected.local.port
        self.succeed()
        wire.send(wire.listen(7, 1), wire.accept(8, 1, 2))
        self.assertEqual(wire.completion(7).error, pb.ERROR_SUCCESS)
        peer = self.connect(("127.0.0.1", port))
        self.assertEqual(wire.completion(8).connected.socket, 2)
        self.check_talks(wire, 2, peer)

    def test_a_policy_that_does_not_let_it_listen_any_more(self):
        wire = self.wire()
        address = self.listen(wire)
        wire.send(wire.accept(8, 1, 2))
        wire.settle()
        path = os.path.join(self.daemon.directory, "new.policy")
        with open(path, "w", encoding="ascii") as policy:
            policy.write("[Rules]\nAllow=tcp 127.0.0.1 *\n")
        self.succeed("--policy", path)
        self.assertEqual(wire.completion(8).error, pb.ERROR_ACCESS_DENIED)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(address)
        self.succeed()

    def test_a_close_frees_the_port(self):
        wire = self.wire()
        address = self.listen(wire)
        self.succeed()
        wire.send(wire.make_close(8, 1))
        self.assertEqual(wire.completion(8).error, pb.ERROR_SUCCESS)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(address)


class NotCarried(TakeOverTest):
    """What cannot go over ends as it does at a stop: its client hears so, and what was whole looks whole."""

    @classmethod
    def setUpClass(cls):
        cls.arguments = ("--policy", lending.policy_file(cls, "Allow=tcp 127.0.0.1 * +loopback +lend"))
        super().setUpClass()

    def test_a_lent_socket(self):
        wire, listener = self.wire(), self.listener()
        wire.send(wire.open(5, 1), lending.connect(6, 1, listener.getsockname(), lending.HELD))
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.succeed()
        self.assertEqual(wire.ended()[0].error, pb.ERROR_CONNECTION_ABORTED)


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
        self.assertIn("listeners are not those", self.daemon.output())

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

    def test_the_old_one_dies_behind_the_last_descriptor(self):
        """Nobody else has the connections: the new one goes on with them."""
        daemon = asockd.Daemon("--allow-any")
        self.addCleanup(daemon.stop)
        wire = self.hold(Wire(daemon.path))
        wire.hello()
        peer = self.pair(wire)
        wire.send(wire.receive(5, 1, 4))
        wire.settle()
        between = os.path.join(daemon.directory, "between")
        os.mkdir(between)
        os.chmod(between, 0o755)
        thread = Between(os.path.join(between, "control.sock"), daemon)
        new = daemon._start("--take-over", between, "--allow-any")
        thread.join(DEADLINE)
        os.close(daemon.pidfd)
        daemon.process, daemon.pid, daemon.pidfd = new, new.pid, os.pidfd_open(new.pid)
        peer.sendall(b"here")
        self.assertEqual(wire.whole(5)[1], b"here", daemon.output())
        self.assertIn("ended while it handed over", daemon.output())

    def behind_the_last(self, do):
        """A daemon with a receive that waits, and one that takes over from it, with do() between them: wire, peer, both."""
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

    def test_the_old_one_refuses_and_ends_while_the_new_one_reads(self):
        """It has gone on meanwhile: what the new one has is of before. READY finds nobody, and FAILED lies behind that."""
        def refuse(daemon):
            daemon.process.kill()
            daemon.process.wait()
            return struct.pack("<II", 5, 0)  # FAILED
        wire, peer, daemon, new = self.behind_the_last(refuse)
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
        wire, peer, daemon, new = self.behind_the_last(end)
        os.close(daemon.pidfd)
        daemon.process, daemon.pid, daemon.pidfd = new, new.pid, os.pidfd_open(new.pid)
        peer.sendall(b"here")
        self.assertEqual(wire.whole(5)[1], b"here", daemon.output())
        self.assertIn("ended while it handed over", daemon.output())

    def test_the_new_one_loses_the_old_one_which_goes_on(self):
        wire, peer, daemon, new = self.behind_the_last(lambda daemon: b"")
        self.assertEqual(new.wait(DEADLINE), 1)
        peer.sendall(b"here")
        self.assertEqual(wire.whole(5)[1], b"here", daemon.output())
        self.assertIn("was not replaced", daemon.output())

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
        self.assertIn("it is older, and cannot read", self.daemon.output())

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


class Comer(threading.Thread):
    """Clients that come, connect, hear an echo and go, one after the other."""

    def __init__(self, test):
        super().__init__()
        self.path, self.count, self.problem, self.is_over = test.daemon.path, 0, None, False
        self.listener = test.listener(backlog=64)
        self.echoes = threading.Thread(target=self.echo, daemon=True)

    def echo(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(DEADLINE)
                peer.sendall(peer.recv(100))
                peer.recv(1)

    def visit(self):
        wire = Wire(self.path)
        wire.hello()
        wire.send(wire.open(1, 1), wire.connect(2, 1, self.listener.getsockname(), b"knock"), wire.receive(3, 1, 5, flags=pb.RECEIVE_FLAG_WAIT_ALL))
        reply = wire.completion(2)
        answer, data = wire.whole(3)
        if reply.error or answer.error or data != b"knock":
            self.problem = f"{reply} {answer} {data}"
        wire.send(wire.make_close(4, 1))
        wire.close()

    def run(self):
        self.echoes.start()
        while not self.is_over and not self.problem:
            try:
                self.visit()
            except (Ended, EOFError, OSError, AssertionError) as error:
                self.problem = repr(error)
            self.count += 1


class UnderLoad(TakeOverTest):
    TAKE_OVERS, CLIENTS, SOCKETS = 20, 4, 4

    def test_every_byte_through_many_take_overs(self):
        talkers = [Talker(self, self.SOCKETS) for _ in range(self.CLIENTS)]
        comer = Comer(self)
        for thread in (*talkers, comer):
            thread.start()
        took = []
        for _ in range(self.TAKE_OVERS):
            time.sleep(0.05)  # so that there is load between two of them
            took.append(self.succeed())
        comer.is_over = True
        for talker in talkers:
            talker.is_over = True
        for thread in (*talkers, comer):
            thread.join(2 * DEADLINE)
        self.assertEqual([talker.problem for talker in talkers] + [comer.problem], [None] * (self.CLIENTS + 1),
                         self.daemon.output())
        sent, got = (sum(sum(getattr(t, name)) for t in talkers) for name in ("sent", "got"))
        self.assertGreater(min(min(t.sent[1:]) for t in talkers), 0)
        took.sort()
        print(f"{self.TAKE_OVERS} take-overs, {sent} bytes up and {got} down over {self.CLIENTS * self.SOCKETS} connections, "
              f"{comer.count} visits; stood still for {took[len(took) // 2]} ms (median), {took[-1]} ms at most",
              file=sys.stderr)
        comer.listener.close()


if __name__ == "__main__":
    unittest.main()
