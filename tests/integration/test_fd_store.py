# SPDX-License-Identifier: LGPL-2.1-or-later
"""A restart by the service manager: the next process goes on with what the one before left in the descriptor store."""

import contextlib
import fcntl
import mmap
import os
import resource
import subprocess
import sys
import tempfile
import unittest

import asockctl
import asockd
from asockd import attempts_at
from bystanders import RESOLVER, Bystanders
from managed import DESCRIPTORS, Managed, dies_when_it_reads, dies_when_ready, pack, unpack
from nameserver import NameServer
from talking import Talker, stream
from wire import DEADLINE, Ended, Wire, pb


class StoreTest(asockd.DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Managed(*cls.arguments)

    def waiting(self, number=1):
        """A client with a receive that waits, and the other end of its connection."""
        wire = self.wire()
        peer = self.pair(wire, number)
        wire.send(wire.receive(5, number, 100))
        wire.settle()
        return wire, peer

    def check_goes_on(self, wire, peer, number=1):
        peer.sendall(b"late")
        reply, data = wire.whole(5)
        self.assertEqual((reply.error, data), (pb.ERROR_SUCCESS, b"late"))
        wire.send(wire.receive(5, number, 100))
        wire.settle()

    def change_store(self, change):
        (fd, name), = self.daemon.manager.store
        messages = unpack(fd)
        os.close(fd)
        self.daemon.manager.store = [(pack(change(messages)), name)]

    def lose_last_descriptor(self):
        def lose(messages):
            (kind, number, fds), = messages[1:]
            os.close(fds[-1])
            return [messages[0], (kind, number - 1, fds[:-1])]
        self.change_store(lose)

    def check_lost(self, wire, peer):
        """No word could be given; nothing that was cut looks whole."""
        with self.assertRaises(EOFError):
            wire.read()
        self.assertEqual(self.reset_by(peer), b"")

    def check_aborted(self, wire, peer):
        reply, _ = wire.ended()
        self.assertEqual(reply.error, pb.ERROR_CONNECTION_ABORTED)
        peer.recv(100)

    def mark(self):
        return os.path.getsize(self.daemon.log.name)

    def log_since(self, mark):
        with open(self.daemon.log.name, "rb") as log:
            log.seek(mark)
            return log.read().decode()


class Restarted(StoreTest):
    def test_nothing_is_left_in_the_store(self):
        wire, peer = self.waiting()
        for _ in range(3):
            self.daemon.restart()
            self.daemon.wait(lambda: not self.daemon.manager.store)
            self.check_goes_on(wire, peer)

    def test_its_table_of_descriptors_does_not_grow(self):
        """The kernel would make it wait, while all clients do."""
        with open(f"/proc/{self.daemon.pid}/limits", encoding="ascii") as limits:
            limit, = (int(line.split()[3]) for line in limits if line.startswith("Max open files"))
        with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as status:
            size, = (int(line.split()[1]) for line in status if line.startswith("FDSize:"))
        self.assertGreaterEqual(size, min(limit, 16384))

    def test_what_was_not_sent_goes_out(self):
        wire = self.wire()
        peer = self.pair(wire)
        for n in range(16):
            wire.send(wire.make_send(100 + n, 1, stream(n * 60000, 60000)))
        wire.settle()
        self.daemon.restart()
        self.assertEqual(self.read_all(peer, 16 * 60000), stream(0, 16 * 60000))
        for n in range(16):
            self.assertEqual(wire.completion(100 + n).error, pb.ERROR_SUCCESS)

    def test_a_client_that_comes_meanwhile_is_served(self):
        wire, peer = self.waiting()
        self.daemon.leave()
        late = self.hold(Wire(self.daemon.path))
        late.send(late.make_hello(), late.sync(7))
        self.daemon.come()
        self.assertEqual(late.completion(7).error, pb.ERROR_SUCCESS)
        self.check_goes_on(wire, peer)

    def test_shared_memory(self):
        wire, peer = self.waiting()
        buffer, memory = wire.register(4096)
        self.addCleanup(memory.close)
        wire.send(wire.receive(6, 1, segments=[pb.Segment(buffer=buffer, offset=10, length=20)]))
        wire.settle()
        self.daemon.restart()
        peer.sendall(b"late")
        self.assertEqual(wire.whole(5)[1], b"late")
        peer.sendall(b"in place")
        self.assertEqual(wire.completion(6).bytes, 8)
        self.assertEqual(memory[10:18], b"in place")

    def test_a_close_that_is_under_way_goes_on(self):
        """Its peer reads nothing meanwhile."""
        wire, peer = self.waiting(2)
        slow, sent = self.pair(wire, 3), 0
        while sum(wire.freed.values()) == sent:
            wire.send(wire.make_send(30 + sent, 3, stream(sent, 200000)))
            wire.settle()
            sent += 200000
        wire.send(wire.make_close(22, 3, linger_ms=60000))
        wire.settle()
        self.daemon.restart()
        self.assertEqual(self.read_all(slow), stream(0, sent))
        self.assertEqual(wire.completion(22).error, pb.ERROR_SUCCESS)
        self.check_goes_on(wire, peer, 2)

    def test_attempts_of_a_connect_go_on(self):
        wire, full = self.wire(), self.blackhole()
        wire.send(wire.open(5, 1), wire.connect(6, 1, full.getsockname(), b"first"))
        self.daemon.wait(lambda: attempts_at(full.getsockname()))
        ports = attempts_at(full.getsockname())
        self.daemon.restart()
        self.assertEqual(attempts_at(full.getsockname()), ports)
        peer = self.accept_behind(full)
        self.assertEqual([peer.getpeername()[1]], ports)
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        wire.send(wire.make_close(7, 1))
        self.assertEqual(self.read_all(peer), b"first")  # not reset

    def test_an_attempt_whose_descriptor_is_missing_begins_again(self):
        wire, full = self.wire(), self.blackhole()
        wire.send(wire.open(5, 1), wire.connect(6, 1, full.getsockname(), b"first"))
        self.daemon.wait(lambda: attempts_at(full.getsockname()))
        self.daemon.leave()
        self.lose_last_descriptor()
        self.daemon.come()
        peer = self.accept_behind(full)
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(peer, 5), b"first")

    def test_a_stop_is_a_stop(self):
        for sig in (15, 2):
            wire, peer = self.waiting()
            self.daemon.control.disconnect()
            os.kill(self.daemon.pid, sig)
            self.check_aborted(wire, peer)
            self.assertEqual(self.daemon.process.wait(DEADLINE), 0)
            os.close(self.daemon.pidfd)
            self.assertEqual(self.daemon.manager.store, [])
            self.daemon.come()

    def test_what_the_manager_keeps_is_not_polled_by_it(self):
        wire, peer = self.waiting()
        self.daemon.leave()
        self.assertEqual([(told["FDNAME"], told["FDPOLL"]) for told in self.daemon.manager.told if "FDSTORE" in told][-1],
                         ("asockd.state", "0"))
        self.assertEqual(len(self.daemon.manager.store), 1)
        self.daemon.come()
        self.check_goes_on(wire, peer)


class GoesWrong(StoreTest):
    """What can be saved is saved; nobody is left without an end, and the log says why."""

    def test_the_store_is_switched_off(self):
        wire, peer = self.waiting()
        mark = self.mark()
        self.daemon.manager.room = 0
        self.addCleanup(setattr, self.daemon.manager, "room", 16)
        self.daemon.restart()
        self.check_aborted(wire, peer)
        self.assertIn("does not store them (FileDescriptorStoreMax= of the unit)", self.log_since(mark))

    def test_more_descriptors_than_its_limit(self):
        """The kernel counts those in flight, at each message of them."""
        early = [self.wire(hello=False) for _ in range(10)]
        wire, peer = self.waiting()
        for number in range(2, 270):  # more than a message has
            self.pair(wire, number)
        for other in early:
            other.close()  # so that there is a descriptor below the limit, for the state
        self.daemon.wait(lambda: self.daemon.stats()["clients"] == 2)
        subprocess.run([*self.daemon.wrapper, "prlimit", "--pid", str(self.daemon.pid), "--nofile=100:100"], check=True)
        mark = self.mark()
        self.daemon.restart()
        self.check_aborted(wire, peer)
        self.assertIn("there are more descriptors than RLIMIT_NOFILE (LimitNOFILE= of the unit)", self.log_since(mark))
        self.waiting()

    def test_the_manager_does_not_answer(self):
        """It has the state all the same: the next one must not find in it what was reported as over."""
        wire, peer = self.waiting()
        mark, manager = self.mark(), self.daemon.manager
        manager.answers = False
        self.daemon.leave()
        self.check_aborted(wire, peer)
        self.assertIn("the service manager did not respond in time", self.log_since(mark))
        manager.store += [(fd, "asockd.state") for fd in manager.kept if self.is_socket(fd)]
        self.assertEqual(len(manager.store), 1)
        manager.kept = [fd for fd in manager.kept if not self.is_socket(fd)]
        manager.answers = True
        self.daemon.come()
        self.assertEqual(self.daemon.stats()["clients"], 1)

    @staticmethod
    def is_socket(fd):
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")

    def test_the_next_process_dies_before_it_is_ready(self):
        """At a configuration that it does not take, and behind everything that it makes of the state."""
        wire, peer = self.waiting()
        for _ in range(2):
            self.daemon.leave()
            for _ in range(3):
                self.assertEqual(self.daemon.fail_to_come("--no-such-option"), 2)
                self.assertLess(self.daemon.fail_to_come(preexec_fn=dies_when_ready), 0)
            self.daemon.come()
            self.check_goes_on(wire, peer)

    def test_a_state_that_ends_its_readers(self):
        """The first may have been short of memory; behind the second one it is dropped."""
        wire, peer = self.waiting()
        for _ in range(2):
            self.daemon.leave()
            self.assertLess(self.daemon.fail_to_come(preexec_fn=dies_when_it_reads), 0)
            self.daemon.come()
            self.check_goes_on(wire, peer)
        mark = self.mark()
        self.daemon.leave()
        for _ in range(2):
            self.assertLess(self.daemon.fail_to_come(preexec_fn=dies_when_it_reads), 0)
        self.assertNotIn("is dropped, and its clients", self.log_since(mark))
        self.daemon.come()
        self.assertIn("is dropped, and its clients are disconnected: 2 processes exited while reading it", self.log_since(mark))
        self.check_lost(wire, peer)
        self.daemon.wait(lambda: not self.daemon.manager.store)
        self.waiting()

    def test_the_manager_loses_what_it_keeps(self):
        """The kernel closes it then: nothing that was cut looks whole."""
        wire, peer = self.waiting()
        self.daemon.leave()
        self.daemon.manager.empty()
        self.check_lost(wire, peer)
        self.daemon.come()
        self.waiting()

    def test_a_damaged_state(self):
        def damage(messages):
            kind, number, (memfd,) = messages[0]
            data = bytearray(os.pread(memfd, 1 << 20, 0))
            data[len(data) // 2] ^= 1
            os.close(memfd)
            return [(kind, number, [self.seal(data)]), *messages[1:]]
        self.check_unreadable(damage, "cannot be read: it is damaged")

    def test_a_state_that_can_still_be_changed(self):
        def unseal(messages):
            kind, number, (memfd,) = messages[0]
            data = os.pread(memfd, 1 << 20, 0)
            os.close(memfd)
            return [(kind, number, [self.seal(data, 0)]), *messages[1:]]
        self.check_unreadable(unseal, "cannot be read: it is damaged")

    def test_a_state_of_another_format(self):
        def change(messages):
            kind, number, (memfd,) = messages[0]
            data = bytearray(os.pread(memfd, 1 << 20, 0))
            data[8] = 99
            os.close(memfd)
            return [(kind, number, [self.seal(data)]), *messages[1:]]
        self.check_unreadable(change, "cannot be read: it has a different format")

    def test_something_else_than_a_state(self):
        def change(messages):
            return [(DESCRIPTORS, len(messages[1][2]), messages[1][2])]
        self.check_unreadable(change, "cannot be read: it is damaged", is_reset=False)

    @staticmethod
    def seal(data, seals=15):
        fd = os.memfd_create("state", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.write(fd, data)
        fcntl.fcntl(fd, 1033, seals)  # F_ADD_SEALS
        return fd

    def check_unreadable(self, change, text, is_reset=True):
        wire, peer = self.waiting()
        mark = self.mark()
        self.daemon.leave()
        self.change_store(change)
        self.daemon.come()
        if is_reset:
            self.check_lost(wire, peer)
        else:
            with self.assertRaises(EOFError):
                wire.read()
        self.assertIn(text, self.log_since(mark))
        self.waiting()

    def test_half_of_the_descriptors_are_missing(self):
        waiting = [self.waiting() for _ in range(8)]
        mark = self.mark()
        self.daemon.leave()

        def halve(messages):
            (kind, number, fds), = messages[1:]
            for fd in fds[number // 2:]:
                os.close(fd)
            return [messages[0], (kind, number // 2, fds[:number // 2])]
        self.change_store(halve)
        self.daemon.come()
        self.assertIn("of the previous process: a descriptor is missing", self.log_since(mark))
        on, off = [], []
        for wire, peer in waiting:
            try:
                peer.sendall(b"late")
                (on if wire.whole(5)[1] == b"late" else off).append(wire)
            except (Ended, EOFError, ConnectionResetError, BrokenPipeError):
                off.append(wire)
        print(f"{len(on)} went on, {len(off)} are lost", file=sys.stderr)
        self.assertGreater(min(len(on), len(off)), 2)

    def test_shared_memory_is_missing(self):
        """The session ends, and its client can still read what was reported to it: the daemon empties nothing before that."""
        for missing in (-1, -2):  # the status page; the buffer
            wire = self.wire()
            wire.send(wire.make_register(5, 4096, status=True))
            wire.completion(5)
            memory, page = (mmap.mmap(fd, 4096) for fd in wire.descriptors)
            memory[:4] = b"kept"
            self.daemon.leave()

            def lose(messages):
                (kind, number, fds), = messages[1:]
                os.close(fds[missing])
                fds[missing:missing + 1 or None] = []
                return [messages[0], (kind, number - 1, fds)]
            self.change_store(lose)
            self.daemon.come()
            with contextlib.suppress(Ended, EOFError, BrokenPipeError, ConnectionResetError):
                wire.settle()
            self.assertEqual(memory[:4], b"kept")
            wire.close()
            for mapping in (memory, page):
                mapping.close()

    def test_the_connection_of_a_session_is_missing(self):
        """Its client hears why, and its connections are not left to look whole."""
        wire, peer = self.waiting()
        other = self.pair(wire, 2)
        self.daemon.leave()
        self.lose_last_descriptor()
        self.daemon.come()
        reply, _ = wire.ended()
        self.assertEqual(reply.error, pb.ERROR_CONNECTION_ABORTED)
        for connection in (peer, other):
            self.assertEqual(self.reset_by(connection), b"")


class PolicyTest(StoreTest):
    """A daemon with a policy that the test writes."""

    text = "[Rules]\n"

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="asockd-test-")
        cls.addClassCleanup(directory.cleanup)
        os.chmod(directory.name, 0o755)
        cls.path = os.path.join(directory.name, "some.policy")
        cls.write(cls.text)
        cls.daemon = Managed("--policy", cls.path)

    @classmethod
    def write(cls, text):
        with open(cls.path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(cls.path, 0o644)


@unittest.skipUnless(os.environ.get("ASOCK_TEST_SANITIZERS", "no") == "no", "a sanitizer takes all of the address space")
class NoMemory(PolicyTest):
    """The limit is of the address space."""

    text = "[Rules]\nAllow=tcp * * +loopback\n" + ("#" * 1000 + "\n") * 12000  # it goes over as it is

    def test_to_save(self):
        wire, peer = self.waiting()
        mark = self.mark()
        subprocess.run([*self.daemon.wrapper, "prlimit", "--pid", str(self.daemon.pid), "--as=1:1"], check=True)  # it keeps what it has
        self.daemon.restart()
        self.check_aborted(wire, peer)
        self.assertIn("cannot be passed on to the next process, and are disconnected: Cannot allocate memory",
                      self.log_since(mark))
        self.waiting()

    def test_to_restore(self):
        """Another process tries again, which may have more; the third one drops it."""
        most = self.daemon.memory("VmPeak")
        for rooms in ([4], [14], [4, 14]):  # MiB: the state itself does not fit into it; what is made of it does not
            wire, peer = self.waiting()
            self.daemon.leave()
            for room in rooms:
                mark = self.mark()
                limit = most + (room << 20), resource.RLIM_INFINITY
                status = self.daemon.fail_to_come(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
                self.assertEqual(status, 1)
                self.assertIn("there is not enough memory for the state of the previous process; the next process will try again",
                              self.log_since(mark))
            self.daemon.come()
            if len(rooms) == 1:
                self.check_goes_on(wire, peer)
            else:
                self.check_lost(wire, peer)


class InvalidPolicy(PolicyTest):
    """The files are invalid at the restart: what was in force stays in force, and everybody who asks hears so."""

    def allow(self, listener):
        self.write(f"[Rules]\nAllow=tcp 127.0.0.1 {listener.getsockname()[1]}\n")
        self.reload()

    def reload(self):
        self.daemon.control.inspect(reload=pb.Reload())

    def status(self):
        """The last STATUS= that came with READY=1."""
        return [told["STATUS"] for told in self.daemon.manager.told if "READY" in told][-1]

    def connect(self, wire, number, listener):
        wire.send(wire.open(2 * number, number), wire.connect(2 * number + 1, number, listener.getsockname()))
        return wire.completion(2 * number + 1).error

    def check_in_force(self, allowed, other):
        """Of new clients, and of those that came before."""
        wrong = f'{self.path}:2: unknown protocol "icmp": use tcp or udp'
        problem = f"the policy of the previous process stays in force, because the files are invalid: {wrong}"
        wire = self.wire()
        self.assertEqual(self.connect(wire, 1, allowed), pb.ERROR_SUCCESS)
        self.assertEqual(self.connect(wire, 2, other), pb.ERROR_ACCESS_DENIED)
        self.assertIn(f"; policy: {problem}", self.status())
        stats = self.daemon.stats()
        self.assertEqual((stats["policy_invalid"], stats["policy_problem"]), (0, problem))
        shown = asockctl.run("policy", "show", "--control", self.daemon.control_path).stdout.decode()
        self.assertIn(f"# {problem}\n", shown)
        self.assertIn(f"Allow=tcp 127.0.0.1 {allowed.getsockname()[1]}", shown)

    def test_the_last_good_one_stays_in_force(self):
        allowed, other = self.listener(), self.listener()
        self.allow(allowed)
        wire = self.wire()
        self.assertEqual(self.connect(wire, 1, allowed), pb.ERROR_SUCCESS)
        self.write("[Rules]\nAllow=icmp * *\n")
        for number in (2, 4):  # it goes over again
            self.daemon.restart()
            self.assertEqual(self.connect(wire, number, allowed), pb.ERROR_SUCCESS)
            self.assertEqual(self.connect(wire, number + 1, other), pb.ERROR_ACCESS_DENIED)
            self.check_in_force(allowed, other)
        self.allow(other)
        self.assertEqual(self.connect(wire, 6, allowed), pb.ERROR_ACCESS_DENIED)
        self.assertEqual(self.connect(wire, 7, other), pb.ERROR_SUCCESS)
        self.daemon.wait(lambda: "policy" not in self.status())
        self.assertEqual(self.daemon.stats()["policy_problems"], 0)

    def test_a_valid_one_is_read(self):
        allowed, other = self.listener(), self.listener()
        self.allow(allowed)
        self.write(f"[Rules]\nAllow=tcp 127.0.0.1 {other.getsockname()[1]}\n")
        self.daemon.restart()
        wire = self.wire()
        self.assertEqual(self.connect(wire, 1, allowed), pb.ERROR_ACCESS_DENIED)
        self.assertEqual(self.connect(wire, 2, other), pb.ERROR_SUCCESS)

    def test_nothing_good_was_in_force(self):
        """As behind a start: everything is denied."""
        listener = self.listener()
        self.allow(listener)
        self.write("[Rules]\nAllow=icmp * *\n")
        self.daemon.manager.room = 0  # nothing goes over
        self.daemon.restart()
        self.daemon.manager.room = 16
        for _ in range(2):
            wire = self.wire()
            self.assertEqual(self.connect(wire, 1, listener), pb.ERROR_ACCESS_DENIED)
            self.assertIn("; everything is denied: ", self.status())
            self.assertEqual(self.daemon.stats()["policy_invalid"], 1)
            self.daemon.restart()
        self.allow(listener)


class UnderLoad(StoreTest):
    """Streams all the time, and operations of every kind that wait."""

    RESTARTS, CLIENTS, SOCKETS = 8, 4, 4

    @classmethod
    def setUpClass(cls):
        cls.names = NameServer({}, port=0)
        cls.addClassCleanup(cls.names.close)
        folder = tempfile.TemporaryDirectory(prefix="asockd-test-")
        cls.addClassCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        config = os.path.join(folder.name, "asockd.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(RESOLVER.format(cls.names.port))
        cls.daemon = Managed(*cls.arguments, "--config", config)

    def test_nothing_is_lost_through_many_restarts(self):
        bystanders = self.hold(Bystanders(self.daemon.path, self.names))
        talkers = [Talker(self, self.SOCKETS) for _ in range(self.CLIENTS)]
        for talker in talkers:
            talker.start()
        for _ in range(self.RESTARTS):
            bystanders.begin()
            self.daemon.restart()
            bystanders.finish()
        for talker in talkers:
            talker.is_over = True
        for talker in talkers:
            talker.join(2 * DEADLINE)
        self.assertEqual([talker.problem for talker in talkers], [None] * self.CLIENTS, self.daemon.output())
        self.assertGreater(min(min(t.sent[1:]) for t in talkers), 0)
        bystanders.end()


if __name__ == "__main__":
    unittest.main()
