# SPDX-License-Identifier: LGPL-2.1-or-later
"""SHARE on the wire: listeners of a session, and the sessions of those who connect there (S59)."""

import os
import select
import signal
import socket
import stat
import unittest

from asockd import NOBODY, Daemon, DaemonTest
from suspend import suspend
from wire import DEADLINE, Ended, Wire, pb, request

LISTENERS_MAX, DEPTH_MAX, SHAREES_MAX = 8, 4, 256


def rules(*ports):
    return "".join(["[Rules]\n", *(f"Allow=tcp 127.0.0.1 {port} +loopback\n" for port in ports)]).encode()


class Sharing(DaemonTest):

    SMALL = {"sockets": 16, "ops": 64, "queued_max": 1 << 20}  # many of them fit

    def ask(self, wire, **fields):
        """SHARE: the reply and its payload."""
        wire.token += 1
        wire.send(request(pb.VERB_SHARE, wire.token, share=pb.Share(), **fields))
        return wire.whole(wire.token)

    def share(self, wire):
        """The directory of a new listener."""
        directory = wire.inspect(share=pb.Share())[0]["directory"]
        self.assertTrue(os.path.isabs(directory), directory)
        return directory

    def join(self, directory, hello=True):
        wire = self.hold(Wire(os.path.join(directory, "asock.sock")))
        if hello:
            wire.hello(**self.SMALL)
        return wire

    def refusal(self, directory):
        """Why no client gets a session there."""
        wire = self.join(directory, hello=False)
        with self.assertRaises(Ended) as caught:
            wire.hello()
        return pb.Error.Name(caught.exception.reply.error), caught.exception.text.decode()

    def restrict(self, wire, *ports):
        wire.token += 1
        wire.send(request(pb.VERB_RESTRICT, wire.token, payload=rules(*ports), restriction=pb.Restrict()))
        self.assertEqual(wire.completion(wire.token).error, pb.ERROR_SUCCESS)

    def attempt(self, wire, listener, number=1):
        """OPEN, CONNECT, CLOSE: how the CONNECT ended."""
        wire.token += 3
        wire.send(wire.open(wire.token - 2, number), wire.connect(wire.token - 1, number, listener.getsockname()))
        reply, _ = wire.whole(wire.token - 1)
        wire.send(wire.make_close(wire.token, number))
        wire.completion(wire.token)
        return pb.Error.Name(reply.error)

    def check_reaches(self, wire, allowed=(), denied=()):
        for listener in allowed:
            self.assertEqual(self.attempt(wire, listener), "ERROR_SUCCESS")
        for listener in denied:
            self.assertEqual(self.attempt(wire, listener), "ERROR_ACCESS_DENIED")

    @staticmethod
    def name(wire):
        return wire.inspect(show=pb.Show())[0]

    def gone(self, directory):
        self.daemon.wait(lambda: not os.path.exists(directory))


class Share(Sharing):

    def test_s59_who_connects_there_counts_as_the_sharer(self):
        one, other = self.listener(), self.listener()
        wire = self.wire()
        self.restrict(wire, one.getsockname()[1])
        directory = self.share(wire)
        sharees = [self.join(directory) for _ in range(3)]
        for sharee in (wire, *sharees):
            self.check_reaches(sharee, [one], [other])
        sharer = self.name(wire)
        self.assertEqual((sharer["sharees"], sharer["shared_listeners"]), (3, 1))
        for sharee in sharees:
            shown = self.name(sharee)
            self.assertEqual((shown["sharer"], shown["restrictions"], shown["listener"]), (sharer["id"], 1, "default"))
            self.assertNotIn("sharer_pid", shown)  # the sandbox need not know

    def test_s59_each_may_narrow_itself_and_none_another(self):
        one, other = self.listener(), self.listener()
        wire = self.wire()
        directory = self.share(wire)
        first, second = self.join(directory), self.join(directory)
        self.restrict(first, one.getsockname()[1])
        self.check_reaches(first, [one], [other])
        self.check_reaches(second, [one, other])
        self.check_reaches(wire, [one, other])

    def test_s59_a_later_restriction_of_the_sharer_narrows_them_too(self):
        one, other = self.listener(), self.listener()
        wire = self.wire()
        sharee = self.join(self.share(wire))
        below = self.join(self.share(sharee))
        for narrowed in (sharee, below):
            self.check_reaches(narrowed, [one, other])
        self.restrict(wire, one.getsockname()[1])
        for narrowed in (wire, sharee, below):
            self.check_reaches(narrowed, [one], [other])
        self.assertEqual(self.name(below)["restrictions"], 1)

    def resolve(self, wire, host):
        wire.token += 1
        wire.send(wire.resolve(wire.token, host))
        return pb.Error.Name(wire.completion(wire.token).error)

    def test_s59_names_are_resolved_below_all_restrictions(self):
        wire = self.wire()
        sharee = self.join(self.share(wire))
        below = self.join(self.share(sharee))
        for asking in (sharee, below):
            for host in ("127.0.0.1", "::1", "2002:7f00:1::", "localhost"):
                self.assertEqual(self.resolve(asking, host), "ERROR_SUCCESS", host)
        self.restrict(wire, 80, 81)
        self.restrict(sharee, 81, 82)
        self.assertEqual(self.resolve(sharee, "127.0.0.1"), "ERROR_SUCCESS")
        self.restrict(below, 80, 82)
        for host in ("127.0.0.1", "2002:7f00:1::", "localhost"):
            self.assertEqual(self.resolve(below, host), "ERROR_ACCESS_DENIED", host)

    def test_s59_a_connect_in_progress_ends_with_the_sharers_restriction(self):
        wire = self.wire()
        sharee = self.join(self.share(wire))
        full = self.listener(backlog=0)
        waiting = []
        for number in range(1, 5):  # more than its queue takes: those behind it go on trying
            sharee.send(sharee.open(2 * number, number), sharee.connect(2 * number + 1, number, full.getsockname()))
            waiting.append(2 * number + 1)
        sharee.settle()
        self.restrict(wire, self.listener().getsockname()[1])
        self.assertEqual(sharee.completion(waiting[-1]).error, pb.ERROR_ACCESS_DENIED)

    def test_s59_all_ends_with_the_sharer(self):
        wire = self.wire()
        directory = self.share(wire)
        sharee = self.join(directory)
        below_directory = self.share(sharee)
        below = self.join(below_directory)
        peers = [self.pair(sharee), self.pair(below)]
        wire.close()
        for ended in (sharee, below):
            reply, text = ended.ended()
            self.assertEqual(reply.error, pb.ERROR_CONNECTION_ABORTED)
            self.assertIn(b"shared", text)
        for peer in peers:
            self.assertEqual(peer.recv(1), b"")
        self.gone(directory)
        self.gone(below_directory)

    def test_s59_the_administrator_ends_a_sharer_and_all_of_it(self):
        wire = self.wire()
        directory = self.share(wire)
        sharee, other = self.join(directory), self.join(directory)
        self.daemon.control.inspect(kill=pb.Kill(id=self.name(sharee)["id"]))
        self.assertEqual(sharee.ended()[0].error, pb.ERROR_CONNECTION_ABORTED)
        other.settle()
        self.daemon.control.inspect(kill=pb.Kill(id=self.name(wire)["id"]))
        for ended in (wire, other):
            self.assertEqual(ended.ended()[0].error, pb.ERROR_CONNECTION_ABORTED)
        self.gone(directory)

    def test_s59_a_sharee_that_goes_leaves_the_others_alone(self):
        wire = self.wire()
        directory = self.share(wire)
        for _ in range(20):
            sharee = self.join(directory)
            peer = self.pair(sharee)
            sharee.disconnect()
            self.assertEqual(peer.recv(1), b"")
        self.daemon.wait(lambda: self.name(wire)["sharees"] == 0)
        self.join(directory).settle()

    def test_s59_nested_four_deep(self):
        wires = [self.wire()]
        for _ in range(DEPTH_MAX):
            wires.append(self.join(self.share(wires[-1])))
        reply, text = self.ask(wires[-1])
        self.assertEqual(reply.error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertIn(b"nested too deep", text)
        wires[-1].settle()
        self.assertEqual([self.name(wire)["sharees"] for wire in wires], [4, 3, 2, 1, 0])

    def test_s59_eight_listeners_of_a_session(self):
        wire = self.wire()
        directories = [self.share(wire) for _ in range(LISTENERS_MAX)]
        self.assertEqual(len(set(directories)), LISTENERS_MAX)
        reply, text = self.ask(wire)
        self.assertEqual(reply.error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertIn(b"limit of 8 shared listeners", text)
        for sharee in [self.join(directory) for directory in directories]:
            sharee.settle()
        self.assertEqual(self.name(wire)["sharees"], LISTENERS_MAX)
        wire.close()
        for directory in directories:
            self.gone(directory)

    def unshare(self, wire, target, unshare=True):
        """CANCEL of a SHARE: whether it found something to end."""
        wire.token += 1
        wire.send(wire.cancel(wire.token, 0, target, unshare=unshare))
        reply = wire.completion(wire.token)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        return bool(reply.flags & pb.REPLY_FLAG_FOUND)

    def test_s59_a_cancel_that_is_too_late_closes_the_listener(self):
        wire, other = self.wire(), self.wire()
        directory, stays = self.share(wire), self.share(wire)
        token = wire.token
        sharee = self.join(directory)
        sharee.settle()
        self.assertFalse(self.unshare(wire, token - 1, unshare=False))  # an op that has ended
        self.assertFalse(self.unshare(other, token - 1))  # another session's
        self.assertFalse(self.unshare(wire, token + 1000))
        self.assertEqual(self.name(wire)["shared_listeners"], 2)
        self.assertTrue(self.unshare(wire, token - 1))
        self.assertEqual(self.name(wire)["shared_listeners"], 1)
        self.gone(directory)
        self.assertFalse(self.unshare(wire, token - 1))
        sharee.settle()  # who is there stays
        self.join(stays).settle()
        for _ in range(LISTENERS_MAX - 1):
            self.share(wire)
        self.assertEqual(self.ask(wire)[0].error, pb.ERROR_NO_BUFFER_SPACE)

    def test_s59_of_two_shares_with_one_token_the_last_one_is_closed(self):
        wire = self.wire()
        directories = []
        for _ in range(2):
            wire.send(request(pb.VERB_SHARE, 7000, share=pb.Share()))
            reply, record = wire.whole(7000)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS)
            directories.append(pb.Record.FromString(record).fields[0].text)
        self.assertTrue(self.unshare(wire, 7000))
        self.gone(directories[1])
        self.assertFalse(self.unshare(wire, 7000))
        self.join(directories[0]).settle()

    def test_s59_a_cancel_before_the_listener_is_made_ends_the_share(self):
        wire = self.wire()
        wire.send(request(pb.VERB_SHARE, 7000, share=pb.Share()), wire.cancel(7001, 0, 7000, unshare=True))
        self.assertTrue(wire.completion(7001).flags & pb.REPLY_FLAG_FOUND)
        self.assertEqual(wire.completion(7000).error, pb.ERROR_OPERATION_ABORTED)
        self.daemon.wait(lambda: self.name(wire)["shared_listeners"] == 0)

    def test_s59_they_wait_at_several_listeners_at_once(self):
        wire = self.wire()
        directories = [self.share(wire) for _ in range(4)]
        wires = [self.join(directories[n % 4], hello=False) for n in range(40)]
        for sharee in wires:
            sharee.send(sharee.make_hello(**self.SMALL))
        for sharee in wires:
            sharee.take(lambda r: r.kind == pb.KIND_WELCOME)
        self.assertEqual(self.name(wire)["sharees"], 40)

    @unittest.skipUnless(os.getuid() == 0, "needs root to be another user")
    def test_s59_another_user_is_refused(self):
        wire = self.wire()
        directory = self.share(wire)
        with self.assertRaises(PermissionError):
            self.as_user(1001, lambda: os.listdir(os.path.dirname(directory)))
        for uid in (1001, NOBODY):
            sharee = self.hold(self.as_user(uid, lambda: Wire(os.path.join(directory, "asock.sock"))))
            with self.assertRaises(Ended) as caught:
                sharee.hello()
            self.assertEqual(caught.exception.reply.error, pb.ERROR_ACCESS_DENIED)
            self.assertIn(b"another user", caught.exception.text)
        self.join(directory).settle()

    @unittest.skipUnless(os.getuid() == 0, "needs root to be another user")
    def test_s59_a_user_shares_with_himself_and_not_with_root(self):
        wire = self.hold(self.as_user(1001, lambda: Wire(self.daemon.path)))
        wire.hello()
        directory = self.share(wire)
        sharee = self.hold(self.as_user(1001, lambda: Wire(os.path.join(directory, "asock.sock"))))
        sharee.hello()
        self.assertEqual(self.refusal(directory)[0], "ERROR_ACCESS_DENIED")

    @staticmethod
    def as_user(uid, call):
        os.seteuid(uid)
        try:
            return call()
        finally:
            os.seteuid(0)

    def test_s59_what_is_asked_in_the_wrong_way_is_refused(self):
        wire = self.wire()
        self.assertEqual(self.ask(wire, number=1)[0].error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(self.ask(wire, payload=b"x")[0].error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(self.ask(wire, flags=1)[0].error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(self.ask(self.daemon.control)[0].error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        early = self.wire(hello=False)
        early.send(request(pb.VERB_SHARE, 1, share=pb.Share()))
        self.assertEqual(early.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)
        self.assertEqual(self.name(wire)["shared_listeners"], 0)

    def test_s59_hello_behind_it_changes_nothing_of_it(self):
        """Who came by the listener stays, and so does whose rights it has."""
        wire = self.wire()
        path = self.share(wire)
        sharee = self.join(path)
        wire.hello(name="another")
        self.pair(sharee)
        self.assertEqual(self.daemon.control.inspect(show=pb.Show(id=self.name(sharee)["id"]))[0]["sharer"],
                         self.name(wire)["id"])
        self.pair(self.join(path))

    def test_s59_the_administrator_sees_who_came_and_by_whom(self):
        wire = self.wire()
        sharee = self.join(self.share(wire))
        self.pair(sharee)
        row = next(row for row in self.daemon.control.inspect(list=pb.List()))
        sharer = self.name(wire)
        self.assertEqual((row["sharer"], row["pid"]), (sharer["id"], os.getpid()))
        shown = self.daemon.control.inspect(show=pb.Show(id=self.name(sharee)["id"]))[0]
        self.assertEqual((shown["sharer"], shown["sharer_pid"]), (sharer["id"], os.getpid()))
        self.assertEqual(shown["sharer_command"], shown["command"])
        self.assertEqual(self.daemon.stats()["shared_listeners"], 1)

    def test_s59_requests_are_served_while_clients_flood_a_listener(self):
        wire = self.wire()
        directory = self.share(wire)
        for _ in range(300):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(os.path.join(directory, "asock.sock"))
            sock.close()
        wire.settle()
        self.join(directory).settle()


class Maker(Sharing):
    """The process that makes the listeners is not always there."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self.daemon = Daemon("--allow-any")
        self.addCleanup(self.daemon.stop, check=False)
        super().setUp()
        self.maker = self.daemon.child("asockd-share")

    def kill(self):
        os.kill(self.maker, signal.SIGKILL)
        self.daemon.wait(lambda: "sharing_problem" in self.daemon.stats())
        if self.before["fds"]:  # of the process, and of the connection to it
            self.before["fds"] -= 2

    def test_s59_a_maker_that_is_killed_ends_no_session(self):
        wire = self.wire()
        directory = self.share(wire)
        self.kill()
        reply, text = self.ask(wire)
        self.assertEqual(reply.error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        self.assertIn(b"restarted", text)
        self.join(directory).settle()  # what listens goes on
        self.assertIn("creates shared listeners has ended", self.daemon.output())
        listener = self.listener()
        self.check_reaches(wire, [listener])
        wire.close()

    def test_s59_one_that_dies_at_work_fails_what_waits(self):
        suspend(self.maker)
        wire = self.wire()
        wire.send(*(request(pb.VERB_SHARE, op, share=pb.Share()) for op in (1, 2)))
        wire.settle()
        self.kill()
        for op in (1, 2):
            reply, text = wire.whole(op)
            self.assertEqual(reply.error, pb.ERROR_OPERATION_NOT_SUPPORTED, text)
        self.assertEqual(self.name(wire)["shared_listeners"], 0)

    def test_s59_one_that_is_cancelled_in_the_queue_is_gone_at_once(self):
        """And leaves its place to another one, although the maker has not got so far."""
        wire = self.wire()
        suspend(self.maker)
        self.addCleanup(os.kill, self.maker, signal.SIGCONT)

        def share(*tokens):
            wire.send(*(request(pb.VERB_SHARE, token, share=pb.Share()) for token in tokens))

        share(*range(1001, 1001 + LISTENERS_MAX))
        wire.settle()
        wire.send(*(wire.cancel(token + 1000, 0, token) for token in range(1003, 1001 + LISTENERS_MAX)))
        for token in range(1003, 1001 + LISTENERS_MAX):
            self.assertEqual(wire.completion(token).error, pb.ERROR_OPERATION_ABORTED)
        share(*range(3001, 2999 + LISTENERS_MAX))
        wire.settle()
        os.kill(self.maker, signal.SIGCONT)
        for token in (1001, 1002, *range(3001, 2999 + LISTENERS_MAX)):
            self.assertEqual(wire.completion(token).error, pb.ERROR_SUCCESS, token)
        self.assertEqual(self.ask(wire)[0].error, pb.ERROR_NO_BUFFER_SPACE)

    def test_s59_the_loop_does_not_wait_for_it(self):
        """Stopped in the middle: others are served, and whoever waits may stop waiting."""
        suspend(self.maker)
        wire, leaver = self.wire(), self.wire()
        wire.send(request(pb.VERB_SHARE, 1, share=pb.Share()), request(pb.VERB_SHARE, 2, share=pb.Share(), timeout_ms=1),
                  request(pb.VERB_SHARE, 3, share=pb.Share()))
        leaver.send(request(pb.VERB_SHARE, 1, share=pb.Share()))
        leaver.settle()
        leaver.close()
        self.check_reaches(self.wire(), [self.listener()])
        wire.send(wire.cancel(4, 0, 1))
        self.assertTrue(wire.completion(4).flags & pb.REPLY_FLAG_FOUND)
        self.assertEqual(wire.completion(1).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(2).error, pb.ERROR_TIMED_OUT)
        os.kill(self.maker, signal.SIGCONT)
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)
        shares = os.path.join(self.daemon.directory, "run", "share")
        self.daemon.wait(lambda: len(os.listdir(shares)) == 1)

    def test_s59_the_folder_is_entered_by_those_who_know_a_name(self):
        shares = os.path.join(self.daemon.directory, "run", "share")
        self.assertEqual(stat.S_IMODE(os.stat(shares).st_mode), 0o711)

    def test_s59_signals_of_the_terminal_do_not_end_it(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(self.maker, number)
        self.join(self.share(self.wire())).settle()

    def test_s59_nothing_is_left_behind_however_the_daemon_ends(self):
        shares = os.path.join(self.daemon.directory, "run", "share")
        wire = self.wire()
        directory = self.share(wire)
        maker = os.pidfd_open(self.maker)
        self.addCleanup(os.close, maker)
        self.daemon.process.kill()
        self.daemon.process.wait()
        self.assertTrue(select.select([maker], [], [], DEADLINE)[0])
        self.assertFalse(os.path.exists(directory))
        self.assertEqual(os.listdir(shares), [])
        self.held.clear()
        self.before = None

    def tearDown(self):
        for thing in reversed(self.held):
            thing.close()
        if self.before:
            self.daemon.settle(self.before)


class Leftovers(Sharing):
    """What a daemon that was killed together with its maker has left."""

    MAKE = ("mkdir -m 711 run/share && cd run/share && mkdir 0123456789abcdef0123456789abcdef other && "
            "touch 0123456789abcdef0123456789abcdef/asock.sock && cd ../.. && chown -R --reference=run run/share && exec \"$@\"")

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--allow-any", prefix=("sh", "-c", cls.MAKE, "sh"))

    def test_s59_directories_of_the_dead_are_removed_at_a_start(self):
        self.assertEqual(os.listdir(os.path.join(self.daemon.directory, "run", "share")), ["other"])
        self.join(self.share(self.wire())).settle()


class Nowhere(Sharing):
    """A folder that is not the daemon's."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--allow-any", prefix=("sh", "-c", "ln -s /tmp run/share && exec \"$@\"", "sh"))

    def test_s59_without_a_place_share_fails_and_all_else_works(self):
        wire = self.wire()
        reply, text = self.ask(wire)
        self.assertEqual(reply.error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        self.assertIn(b"log", text)
        self.assertIn("shared listeners, which asockctl run needs, are not available", self.daemon.output())
        self.check_reaches(wire, [self.listener()])


class Many(Sharing):
    """More clients than a sharer may have."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--allow-any", config="[Limits]\nClients=2048\nTotalSockets=65536\n")

    def test_s59_256_sessions_of_a_sharer(self):
        wire = self.wire()
        directory = self.share(wire)
        below = self.share(self.join(directory))
        sharees = [self.join(below if n % 2 else directory) for n in range(SHAREES_MAX - 1)]
        for full in (directory, below):
            self.assertEqual(self.refusal(full)[0], "ERROR_NO_BUFFER_SPACE")
        self.wire().settle()
        sharees[0].disconnect()
        self.daemon.wait(lambda: self.name(wire)["sharees"] == SHAREES_MAX - 1)
        self.join(directory).settle()


if __name__ == "__main__":
    unittest.main()
