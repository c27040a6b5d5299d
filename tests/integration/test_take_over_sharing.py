# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd --take-over, and a restart by the service manager, with sessions that share what they have (S59)."""

import os
import signal
import socket
import unittest

from asockd import DEADLINE
from managed import Managed, dies_when_ready, pack, unpack
from taking_over import TakeOverTest
from wire import Wire, pb, request

LISTENERS_MAX = 8


class SharingTest(TakeOverTest):
    def share(self, wire, **fields):
        """The directory of a new listener."""
        return wire.inspect(share=pb.Share(**fields))[0]["directory"]

    def share_when_it_can(self, wire):
        """The next daemon makes none before the one before has ended."""
        self.daemon.wait(lambda: self.ask(wire) != pb.ERROR_OPERATION_NOT_SUPPORTED)
        return self.share(wire)

    @staticmethod
    def ask(wire):
        """How a SHARE ends."""
        wire.token += 1
        wire.send(request(pb.VERB_SHARE, wire.token, share=pb.Share()))
        return wire.completion(wire.token).error

    def come(self, directory):
        """Somebody who has connected, and has asked for something."""
        wire = self.hold(Wire(os.path.join(directory, "asock.sock")))
        wire.send(wire.make_hello(sockets=4, ops=16), wire.sync(7))
        return wire

    def join(self, directory):
        wire = self.come(directory)
        self.assertEqual(wire.completion(7).error, pb.ERROR_SUCCESS)
        return wire

    def restrict(self, wire, *listeners):
        ports = [listener.getsockname()[1] for listener in listeners]
        text = "".join(["[Rules]\n", *(f"Allow=tcp 127.0.0.1 {port} +loopback\n" for port in ports)]).encode()
        wire.token += 1
        wire.send(request(pb.VERB_RESTRICT, wire.token, payload=text, restriction=pb.Restrict()))
        self.assertEqual(wire.completion(wire.token).error, pb.ERROR_SUCCESS)

    def attempt(self, wire, listener):
        wire.token += 3
        wire.send(wire.open(wire.token - 2, 3), wire.connect(wire.token - 1, 3, listener.getsockname()))
        error = wire.completion(wire.token - 1).error
        wire.send(wire.make_close(wire.token, 3))
        self.assertEqual(wire.completion(wire.token).error, pb.ERROR_SUCCESS)
        return error

    def check_talks(self, wire, peer, number=1):
        wire.send(wire.make_send(50, number, b"hello"), wire.receive(51, number, 10))
        self.assertEqual(self.read_all(peer, 5), b"hello")
        peer.sendall(b"you")
        self.assertEqual(wire.whole(51)[1], b"you")

    def gone(self, directory):
        self.daemon.wait(lambda: not os.path.exists(directory))

    def sessions(self):
        rows = self.daemon.control.inspect(sessions=pb.Sessions())
        return {row["id"]: row.get("sharer", 0) for row in rows if row["listener"] == "default"}


class Carried(SharingTest):
    def test_the_listener_and_those_who_came_by_it(self):
        sharer = self.wire()
        directory = self.share(sharer)
        file = os.stat(os.path.join(directory, "asock.sock"))
        sharee = self.join(directory)
        peers = [self.pair(sharer), self.pair(sharee)]
        before = self.sessions()
        for _ in range(2):
            self.succeed()
            for wire, peer in zip((sharer, sharee), peers):
                self.check_talks(wire, peer)
            self.assertEqual(self.sessions(), before)
            self.assertEqual(os.stat(os.path.join(directory, "asock.sock")).st_ino, file.st_ino)
            self.check_talks(later := self.join(directory), self.pair(later))
            before = self.sessions()
        sharer.close()
        self.assertEqual(sharee.ended()[1], b"the session that shared its rights has ended")
        self.gone(directory)

    def test_below_it_and_restricted(self):
        """Each restriction holds for all below, before and after; what is made later is below, too."""
        one, two, three = (self.listener() for _ in range(3))
        top = self.wire()
        middle = self.join(self.share(top))
        bottom = self.join(below := self.share(middle))
        self.restrict(top, one, two)
        self.restrict(middle, one, three)
        self.succeed()
        for wire, expected in ((top, "110"), (middle, "100"), (bottom, "100"), (self.join(below), "100")):
            got = [self.attempt(wire, listener) for listener in (one, two, three)]
            self.assertEqual(got, [pb.ERROR_SUCCESS if c == "1" else pb.ERROR_ACCESS_DENIED for c in expected])
        self.restrict(top, three)
        self.assertEqual(self.attempt(bottom, one), pb.ERROR_ACCESS_DENIED)
        middle.close()
        self.assertEqual(bottom.ended()[0].error, pb.ERROR_CONNECTION_ABORTED)
        self.gone(below)

    def test_limits(self):
        """Listeners count as before, and a cancel of its SHARE closes one."""
        sharer = self.wire()
        directories = [self.share(sharer) for _ in range(LISTENERS_MAX)]
        token = sharer.token
        self.succeed()
        self.daemon.wait(lambda: self.ask(sharer) == pb.ERROR_NO_BUFFER_SPACE)
        sharer.send(sharer.cancel(6, 0, token, unshare=True))
        self.assertTrue(sharer.completion(6).flags & pb.REPLY_FLAG_FOUND)
        self.gone(directories[-1])
        self.assertTrue(os.path.exists(self.share(sharer)))
        for directory in directories[:-1]:
            self.join(directory)

    def test_what_is_left_of_others_is_removed(self):
        """As at each start: of a daemon that could not remove it."""
        sharer = self.wire()
        kept = self.share(sharer)
        left = os.path.join(os.path.dirname(kept), 32 * "0")
        os.mkdir(left)
        self.succeed()
        self.gone(left)
        made = self.share_when_it_can(sharer)
        self.assertLessEqual({kept, made}, {entry.path for entry in os.scandir(os.path.dirname(kept))})

    def test_the_new_one_fails(self):
        """The old one goes on, and so do its listeners, until it ends."""
        sharer = self.wire()
        directory = self.share(sharer)
        self.assertFalse(self.daemon.succeed("--policy", "/nonexistent"))
        self.join(directory)
        self.assertTrue(os.path.exists(self.share(sharer)))
        sharer.close()
        self.gone(directory)


class Stored(SharingTest):
    """The same in the store of the service manager; the directory is the daemon's all the time."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Managed(*cls.arguments)

    def test_who_comes_meanwhile_is_served(self):
        sharer = self.wire()
        directory = self.share(sharer)
        sharee = self.join(directory)
        peers = [self.pair(sharer), self.pair(sharee)]
        self.daemon.leave()
        self.assertTrue(os.path.exists(os.path.join(directory, "asock.sock")))
        waiting = self.come(directory)
        self.daemon.come()
        self.assertEqual(waiting.completion(7).error, pb.ERROR_SUCCESS)
        for wire, peer in zip((sharer, sharee), peers):
            self.check_talks(wire, peer)
        self.assertTrue(os.path.exists(self.share(sharee)))
        sharer.close()
        self.gone(directory)

    def test_the_next_one_dies_before_it_is_ready(self):
        sharer = self.wire()
        directory = self.share(sharer)
        self.daemon.leave()
        self.assertLess(self.daemon.fail_to_come(preexec_fn=dies_when_ready), 0)
        self.daemon.come()
        self.join(directory)
        sharer.close()
        self.gone(directory)

    def test_something_else_in_the_place_of_a_listener(self):
        """Its session ends, with those who came by it; others stay."""
        sharer, other = self.wire(), self.wire()
        lost, kept = self.share(sharer), self.share(other)
        sharees = [self.join(directory) for directory in (lost, kept)]
        self.daemon.leave()
        (stored, name), = self.daemon.manager.store
        state, (kind, number, fds) = unpack(stored)
        os.close(stored)
        at = next(n for n, fd in enumerate(fds) if self.listens(fd))
        os.close(fds[at])
        fds[at] = os.open("/dev/null", os.O_RDONLY)
        self.daemon.manager.store = [(pack([state, (kind, number, fds)]), name)]
        self.daemon.come()
        for wire in (sharer, sharees[0]):
            self.assertEqual(wire.ended()[0].error, pb.ERROR_CONNECTION_ABORTED)
        self.gone(lost)
        self.join(kept)
        self.check_talks(sharees[1], self.pair(sharees[1]))

    @staticmethod
    def listens(fd):
        if not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
            return False
        with socket.socket(fileno=os.dup(fd)) as sock:
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1

    def test_a_stop_removes_them(self):
        sharer = self.wire()
        directory = self.share(sharer)
        self.daemon.restart()
        self.join(directory)
        self.daemon.control.disconnect()
        os.kill(self.daemon.pid, signal.SIGTERM)
        self.assertEqual(self.daemon.process.wait(DEADLINE), 0)
        os.close(self.daemon.pidfd)
        self.assertFalse(os.path.exists(directory))
        self.daemon.come()

    def test_the_store_is_switched_off(self):
        """Then a restart is a stop."""
        sharer = self.wire()
        directory = self.share(sharer)
        self.daemon.manager.room = 0
        self.addCleanup(setattr, self.daemon.manager, "room", 16)
        self.daemon.restart()
        self.assertEqual(sharer.ended()[0].error, pb.ERROR_CONNECTION_ABORTED)
        self.assertFalse(os.path.exists(directory))


if __name__ == "__main__":
    unittest.main()
