# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over, and a restart by the service manager, with sockets that are lent to their client."""

import fcntl
import os
import socket
import struct
import unittest

import asockctl
import lending
from asockd import Daemon
from managed import Managed
from taking_over import TakeOverTest
from wire import DEADLINE, pb

LENDS = "Allow=tcp 127.0.0.1 * +loopback +lend +lend-given"
LINGER = struct.Struct("ii")


class LentTest(TakeOverTest, lending.Lending):
    @classmethod
    def setUpClass(cls):
        cls.policy = lending.policy_file(cls, LENDS)
        cls.arguments = ("--policy", cls.policy)
        cls.daemon = Daemon(*cls.arguments)

    def check_talks(self, lent, peer):
        lent.sendall(b"hello")
        self.assertEqual(self.read_all(peer, 5), b"hello")
        peer.sendall(b"you")
        self.assertEqual(self.read_all(lent, 3), b"you")

    def check_dissolved(self, lent, peer):
        """Nobody has it any more."""
        self.assertEqual(self.reset_by(peer), b"")
        with self.assertRaises(OSError):
            self.assertEqual(lent.recv(1), b"")
            lent.sendall(b"more")

    def control(self, *arguments):
        done = asockctl.run(*arguments, "--control", self.daemon.control_path)
        self.assertEqual(done.returncode, 0, done.stderr)

    def check_session(self, wire):
        """It is there, and not a new one."""
        wire.settle()


class Held(LentTest):
    def test_it_goes_on(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        for _ in range(3):
            self.check_talks(lent, peer)
            self.succeed()
        self.check_talks(lent, peer)
        record = self.record(wire)
        self.assertEqual((record["state"], record["bytes_out"], record["bytes_in"]), ("lent", 20, 12))
        self.assertEqual(self.error_of(wire, wire.make_send(wire.token, 1, b"x")), "INVALID_ARGUMENT")
        self.assertEqual(self.end(wire), "SUCCESS")
        self.assertEqual(self.read_all(peer), b"")

    def test_its_options_and_flags_stay_the_clients(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        lent.setblocking(True)
        lent.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(1, 7))
        self.succeed()
        self.assertFalse(fcntl.fcntl(lent, fcntl.F_GETFL) & os.O_NONBLOCK)
        self.assertEqual(LINGER.unpack(lent.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.size)), (1, 7))
        self.assertEqual(self.end(wire), "SUCCESS")
        self.assertEqual(self.read_all(peer), b"")

    def test_a_close_sends_all_of_it(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        sent = lending.fill(lent)
        self.succeed()
        self.assertEqual(self.end(wire), "SUCCESS")
        self.assertEqual(self.read_all(peer), b"x" * sent)

    def test_a_close_that_is_under_way_goes_on(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        sent = lending.fill(lent)
        wire.send(wire.make_close(70, 1, linger_ms=60000))
        wire.settle()
        self.succeed()
        self.assertEqual(self.read_all(peer), b"x" * sent)
        self.assertEqual(wire.completion(70).error, pb.ERROR_SUCCESS)

    def test_kill_ends_it_for_all(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        self.succeed()
        self.control("kill", "--yes", "state=lent")
        self.check_dissolved(lent, peer)
        self.check_session(wire)

    def test_the_end_of_the_session_ends_it_for_all(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        self.succeed()
        wire.close()
        self.check_dissolved(lent, peer)

    def test_a_reload_ends_what_may_not_be_lent_any_more(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        self.succeed()
        self.addCleanup(self.reload, LENDS)
        self.reload("Allow=tcp 127.0.0.1 * +loopback")
        self.check_dissolved(lent, peer)
        self.check_session(wire)

    def reload(self, *lines):
        with open(self.policy, "w", encoding="utf-8") as file:
            file.write(lending.policy(*lines))
        self.control("reload", "--close")

    def test_one_that_its_holder_has_dissolved(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        lending.dissolve(lent)
        self.succeed()
        self.assertEqual(self.reset_by(peer), b"")
        self.assertEqual(self.end(wire), "SUCCESS")

    def test_one_that_its_holder_listens_with(self):
        wire = self.wire()
        lent, _ = self.lend(wire)
        lending.dissolve(lent)
        lent.bind(("127.0.0.1", 0))
        lent.listen(1)
        self.succeed()
        address = lent.getsockname()
        self.hold(socket.create_connection(address))
        self.control("reload", "--close")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(address)

    def test_a_completion_that_nobody_has_read(self):
        """Its descriptor waits in the client's socket."""
        wire, listener = self.wire(), self.serve()
        wire.send(wire.open(5, 1), lending.connect(6, 1, listener.getsockname(), lending.HELD))
        peer = self.accept(listener)
        self.daemon.wait(lambda: "lent" in [row["state"] for row in self.daemon.control.inspect(list=pb.List())])
        self.succeed()
        self.assertEqual(wire.completion(6).descriptors, 1)
        lent = self.hold(socket.socket(fileno=wire.descriptors.popleft()))
        lent.settimeout(DEADLINE)
        self.check_talks(lent, peer)

    def test_a_connect_that_waits(self):
        wire, full = self.wire(), self.blackhole()
        wire.send(wire.open(5, 1), lending.connect(6, 1, full.getsockname(), lending.HELD))
        wire.settle()
        self.succeed()
        peer = self.accept_behind(full)
        reply = wire.completion(6)
        self.assertEqual((reply.error, reply.descriptors), (pb.ERROR_SUCCESS, 1))
        lent = self.hold(socket.socket(fileno=wire.descriptors.popleft()))
        lent.settimeout(DEADLINE)
        self.check_talks(lent, peer)
        self.assertEqual(self.end(wire), "SUCCESS")
        self.assertEqual(self.read_all(peer), b"")


class Given(LentTest):
    def test_it_is_the_clients(self):
        wire = self.wire()
        lent, peer = self.lend(wire, lend=lending.GIVEN)
        self.succeed()
        self.check_talks(lent, peer)
        self.assertEqual(self.record(wire)["state"], "lent")
        self.control("kill", "--yes", "state=lent")
        self.check_talks(lent, peer)
        self.assertEqual(self.end(wire), "SUCCESS")
        self.check_talks(lent, peer)
        lent.close()
        self.assertEqual(self.read_all(peer), b"")


class Unsent(LentTest):
    """The kernel has no room for one more descriptor in flight: the client does not get what it was to be given."""

    @classmethod
    def setUpClass(cls):
        cls.policy = lending.policy_file(cls, LENDS)
        cls.arguments = ("--policy", cls.policy)
        cls.daemon = Daemon(*cls.arguments, prefix=("prlimit", "--nofile=400:400"))

    def unsent(self):
        wire, listener = self.wire(), self.serve()
        crowd = self.crowd()
        reply, _ = self.ask(wire, listener, lending.GIVEN)
        peer = self.accept(listener)
        self.assertEqual((reply.error, len(wire.descriptors)), (pb.ERROR_SUCCESS, 0))
        for sock in crowd:
            sock.close()
        return wire, peer

    def test_it_goes_on_as_the_daemons_alone(self):
        wire, peer = self.unsent()
        self.succeed()
        self.check_session(wire)
        self.assertEqual(self.end(wire), "SUCCESS")
        self.assertEqual(self.read_all(peer), b"")

    def test_its_close_goes_on(self):
        wire, peer = self.unsent()
        other = self.wire()
        self.assertEqual(self.end(wire), "SUCCESS")
        self.succeed()
        self.check_session(other)
        self.check_session(wire)
        self.assertEqual(self.read_all(peer), b"")


class Ended(LentTest):
    """Its client has not fetched what it was lent: it counts as one until it has, or has closed its end."""

    def clients(self, count):
        """Beside the administrator."""
        self.daemon.wait(lambda: self.daemon.stats()["clients"] == 1 + count)

    def states(self):
        return [row["state"] for row in self.daemon.control.inspect(list=pb.List())]

    def replace(self):
        self.succeed()

    def leave_unread(self):
        self.clients(0)
        wire, listener = self.wire(), self.serve()
        wire.send(wire.open(5, 1), lending.connect(6, 1, listener.getsockname(), lending.HELD))
        self.accept(listener)
        self.daemon.wait(lambda: "lent" in self.states())
        wire.sock.shutdown(socket.SHUT_WR)
        self.daemon.wait(lambda: "lent" not in self.states())
        self.clients(1)
        return wire

    def test_until_it_is_fetched(self):
        wire = self.leave_unread()
        self.replace()
        self.clients(1)
        self.replace()
        self.clients(1)
        self.assertEqual(wire.completion(6).descriptors, 1)
        self.hold(socket.socket(fileno=wire.descriptors.popleft()))
        with self.assertRaises(EOFError):
            wire.read()
        self.clients(0)

    def test_until_the_client_is_gone(self):
        wire = self.leave_unread()
        self.replace()
        self.clients(1)
        wire.close()
        self.clients(0)


class EndedRestarted(Ended):
    @classmethod
    def setUpClass(cls):
        cls.policy = lending.policy_file(cls, LENDS)
        cls.daemon = Managed("--policy", cls.policy)

    def replace(self):
        self.daemon.restart()


class Restarted(LentTest):
    """The same by way of the service manager's store."""

    @classmethod
    def setUpClass(cls):
        cls.policy = lending.policy_file(cls, LENDS)
        cls.daemon = Managed("--policy", cls.policy)

    def lose_all_but_the_state(self):
        (fd, name), = self.daemon.manager.store
        os.close(fd)
        del self.daemon.manager.store[:]

    def test_it_goes_on(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        lent.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(1, 7))
        self.daemon.restart()
        self.assertEqual(LINGER.unpack(lent.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.size)), (1, 7))
        self.check_talks(lent, peer)
        wire.close()
        self.check_dissolved(lent, peer)

    def test_what_nobody_continues_is_the_clients_alone(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        self.daemon.leave()
        self.lose_all_but_the_state()
        self.daemon.come()
        with self.assertRaises(EOFError):
            wire.read()
        self.check_talks(lent, peer)
        lent.close()
        self.assertEqual(self.read_all(peer), b"")


if __name__ == "__main__":
    unittest.main()
