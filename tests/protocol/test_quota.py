#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may have how much: sessions before Hello, promises, shares of users; at the limit, one over, afterwards."""

import os
import socket
import tempfile
import unittest

from asockd import DaemonTest
from wire import Ended, Wire, pb

GREEDY, QUIET = 1001, 1002


def connect_as(path, uid):
    """A connection of that user: the credentials are those of the moment of connect(2)."""
    if uid is None:
        return Wire(path)
    os.seteuid(uid)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
    finally:
        os.seteuid(0)
    return Wire(sock=sock)


def usage(text):
    """{"sockets": (16, 128), ...}; no limit is None."""
    pairs = dict(pair.split("=") for pair in text.split())
    return {name: tuple(None if n == "-" else int(n) for n in pair.split("/"))
            for name, pair in pairs.items()}


@unittest.skipUnless(os.getuid() == 0, "needs root to connect as several users")
class QuotaTest(DaemonTest):
    """Each with a configuration of its own."""

    config = ""

    @classmethod
    def setUpClass(cls):
        fd, path = tempfile.mkstemp(prefix="asockd-quota-")
        cls.addClassCleanup(os.unlink, path)
        with open(fd, "w", encoding="ascii") as file:
            file.write(cls.config)
        os.chmod(path, 0o644)
        cls.arguments = ("--allow-any", "--config", path)
        super().setUpClass()

    def tearDown(self):
        super().tearDown()
        idle = {name: used for name, (used, _) in self.quota().items()}
        self.assertEqual(set(idle.values()), {0}, idle)  # nothing of anybody stays behind

    def quota(self, level="daemon", number=None):
        """Of a session, as the administrator sees it; None: of the daemon."""
        if number is None:
            return usage(self.daemon.stats()["quota_daemon"])
        return usage(self.daemon.control.inspect(show=pb.Show(id=number))[0][f"quota_{level}"])

    def connect(self, uid=GREEDY):
        return self.hold(connect_as(self.daemon.path, uid))

    def client(self, uid=GREEDY, **hello):
        wire = self.connect(uid)
        wire.hello(**hello)
        wire.number = wire.inspect(show=pb.Show())[0]["id"]
        return wire

    def refused(self, wire, error=pb.ERROR_NO_BUFFER_SPACE):
        reply, text = wire.ended()
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error))
        return text.decode()


class Clients(QuotaTest):
    config = "[Limits]\nClients=32\n"

    def fill(self, uid):
        """As many as that user, or its unit, may have; and one over is told why."""
        wires = []
        try:
            while len(wires) < 33:
                wires.append(self.client(uid))
        except Ended as end:
            self.assertEqual(end.reply.error, pb.ERROR_NO_BUFFER_SPACE)
            self.assertRegex(end.text.decode(), "the (user|unit) has as many clients as it may")
        return wires

    def test_s49_one_user_leaves_the_others_their_share_of_clients(self):
        greedy = self.fill(GREEDY)
        self.assertIn(len(greedy), (16, 8))  # a unit has half of the user's
        user = self.quota("user", greedy[0].number)["clients"]
        self.assertEqual(user[0], len(greedy))
        quiet = self.fill(QUIET)
        self.assertEqual(len(quiet), len(greedy) // 2 if len(greedy) == 16 else 6)
        for wire in greedy + quiet:
            wire.settle()

    def test_s45_room_is_back_when_a_client_has_died(self):
        wires = self.fill(GREEDY)
        wires.pop().close()
        self.daemon.wait(lambda: self.quota()["clients"][0] == len(wires))
        wires.append(self.client())
        self.refused(self.connect())


class Hellos(QuotaTest):
    config = "[Limits]\nHelloMax=8\nHelloTimeout=1\n"

    def test_s49_who_says_no_hello_is_ended_and_others_get_in(self):
        mute = [self.connect() for _ in range(8)]
        reasons = [(reply.error, text.decode()) for reply, text in (wire.ended() for wire in mute)]
        turned_away = [text for error, text in reasons if error == pb.ERROR_NO_BUFFER_SPACE]
        silent = [text for error, text in reasons if error == pb.ERROR_TIMED_OUT]
        self.assertIn(len(silent), (2, 4))
        self.assertEqual(len(silent) + len(turned_away), 8)
        self.assertEqual(set(silent), {"no Hello within 1 seconds"})
        for text in turned_away:
            self.assertRegex(text, "too many clients that have not said Hello")

    def test_s49_mute_clients_of_one_user_do_not_keep_another_out(self):
        mute = [self.connect() for _ in range(8)]
        quiet = self.client(QUIET)
        self.assertEqual(self.quota("session", quiet.number)["hellos"][0], 0)
        for wire in mute:
            wire.ended()
        quiet.settle()  # has said it: no time runs any more

    def test_the_control_listener_has_the_deadline_too(self):
        wire = self.hold(Wire(self.daemon.control_path))
        self.refused(wire, pb.ERROR_TIMED_OUT)


class Promises(QuotaTest):
    config = "[Limits]\nTotalSockets=4096\nTotalOps=100000\nTotalQueued=256M\n"

    def test_s49_what_is_asked_for_is_granted_up_to_the_share(self):
        wire = self.client(sockets=65536)
        share = self.quota("session", wire.number)["sockets"]
        self.assertEqual(share, (wire.welcome.sockets, wire.welcome.sockets))
        above = self.quota("unit" if "quota_unit" in self.shown(wire) else "user", wire.number)
        self.assertEqual(above["sockets"][1], 2 * share[1])
        second = self.client(sockets=65536)
        self.assertEqual(second.welcome.sockets, share[1] // 2)

    def shown(self, wire):
        return self.daemon.control.inspect(show=pb.Show(id=wire.number))[0]

    def test_s49_who_asks_for_nothing_leaves_something(self):
        grants = [self.client().welcome.sockets for _ in range(8)]
        self.assertEqual(grants, sorted(grants, reverse=True))
        self.assertGreater(grants[-1], 16)

    def test_s49_too_little_for_the_least_ends_the_session_with_whose_share_it_was(self):
        granted = []
        for _ in range(64):
            wire = self.connect()
            try:
                wire.hello(queued_max=1 << 30)
            except Ended as end:
                self.assertEqual(end.reply.error, pb.ERROR_NO_BUFFER_SPACE)
                self.assertRegex(end.text.decode(),
                                 "the (session|unit|user) has too little to queue left")
                break
            granted.append(wire.welcome.queued_max)
            self.assertGreaterEqual(granted[-1], 1 << 20)
        else:
            self.fail("there is no end")
        self.client(QUIET)

    def test_s49_hello_again_gives_back_and_takes_anew(self):
        wire = self.client(sockets=1024)
        first = wire.welcome.sockets
        before = self.quota("session", wire.number)["sockets"][0]
        self.assertEqual(before, first)
        again = self.connect()
        again.hello(sockets=100)
        again.hello(sockets=50)
        number = self.client(QUIET).number - 1  # to be asked who one is ends the time for Hello
        self.assertEqual(self.quota("session", number)["sockets"][0], 50)

    def test_s49_a_grant_never_shrinks(self):
        first = self.client(sockets=100)
        others = [self.client(sockets=65536) for _ in range(4)]
        listener = self.listener()
        for number in range(1, 101):
            first.send(first.open(number, number),
                       first.connect(1000 + number, number, listener.getsockname()))
            self.assertEqual(first.completion(number).error, pb.ERROR_SUCCESS)
            self.assertEqual(first.completion(1000 + number).error, pb.ERROR_SUCCESS)
            self.accept(listener)
        first.send(first.open(101, 101))
        self.assertEqual(first.completion(101).error, pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        for other in others:
            other.settle()

    def test_a_client_sees_its_own_share_only(self):
        wire = self.client()
        own = wire.inspect(show=pb.Show())[0]
        self.assertEqual([name for name in own if name.startswith("quota_")], ["quota_session"])
        self.assertIn("quota_session", wire.inspect(stats=pb.Stats())[0])
        self.assertIn("quota_user", self.shown(wire))


if __name__ == "__main__":
    unittest.main()
