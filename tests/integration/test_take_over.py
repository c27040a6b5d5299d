# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over: another process goes on with clients, connections and operations, and clients see no more than a pause."""

import fcntl
import math
import mmap
import os
import socket
import struct
import sys
import termios
import threading
import time
import unittest

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

    def test_a_disconnect_that_waits_for_a_send(self):
        wire = self.wire()
        peer, listener = self.pair(wire), self.listener()
        wire.send(wire.make_send(5, 1, b"begin", total_len=8, more=True), wire.receive(6, 1, 100), wire.make_disconnect(7, 1))
        wire.settle()
        self.succeed()
        wire.send(wire.make_disconnect(8, 1), wire.make_send(5, 1, b"end"))
        self.assertEqual(self.read_all(peer), b"beginend")
        self.assertEqual([pb.Error.Name(wire.completion(op).error) for op in (8, 5, 6, 7)],
                         ["ERROR_ALREADY_IN_PROGRESS", "ERROR_SUCCESS", "ERROR_OPERATION_ABORTED", "ERROR_SUCCESS"])
        wire.send(wire.connect(9, 1, listener.getsockname()))
        self.assertEqual(wire.completion(9).error, pb.ERROR_SUCCESS)

    def test_a_disconnect_that_waits_for_a_connect(self):
        wire, listener = self.wire(), self.blackhole()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()), wire.make_send(3, 1, b"data"), wire.make_disconnect(4, 1))
        wire.settle()
        self.succeed()
        peer = self.accept_behind(listener)
        self.assertEqual(self.read_all(peer), b"data")
        self.assertEqual([wire.completion(op).error for op in (2, 3, 4)], 3 * [pb.ERROR_SUCCESS])

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
