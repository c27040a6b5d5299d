#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may have how much: sessions before Hello, promises, shares of users; at the limit, one over, afterwards."""

import collections
import os
import signal
import socket
import time
import unittest

from nameserver import A, AAAA, Name, NameServer
from quotas import GREEDY, QUIET, RETURNING, QuotaTest, connect_as
from wire import Ended, Wire, pb, request, segment


class Clients(QuotaTest):
    config = "[Limits]\nClients=32\n"

    def fill(self, uid):
        """As many as that user, or its unit, may have; one more gets the reason."""
        wires = []
        try:
            while len(wires) < 33:
                wires.append(self.client(uid))
        except Ended as end:
            self.assertEqual(end.reply.error, pb.ERROR_NO_BUFFER_SPACE)
            self.assertRegex(end.text.decode(), "the (user|unit) has reached its client limit")
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

    def test_s45_a_session_that_ended_counts_until_its_descriptors_are_fetched(self):
        ended = []
        for count in range(1, 5):
            wire = self.client()
            total = self.daemon.stats()["protocol_errors"]
            wire.send(wire.make_register(1, 1), wire.make_register(2, 1), bytes(8))
            self.daemon.wait(lambda: self.daemon.stats()["protocol_errors"] > total)
            ended.append(wire)
            self.assertEqual(self.quota()["clients"][0], count)
        # Ten seconds after the sessions' ends.
        self.daemon.wait(lambda: self.daemon.stats()["buffers"] == 0)
        self.assertEqual(self.quota()["clients"][0], len(ended))
        others = self.fill(GREEDY)
        self.assertIn(len(others) + len(ended), (16, 8))
        for wire in others:
            wire.close()
        self.assertEqual(ended[0].completion(2).descriptors, 1)
        self.assertEqual(ended[0].ended()[0].error, pb.ERROR_PROTOCOL_ERROR)
        self.daemon.wait(lambda: self.quota()["clients"][0] == len(ended) - 1)
        for wire in ended[1:]:
            wire.close()
        self.daemon.wait(lambda: self.quota()["clients"][0] == 0)


    def ops_done(self, wire):
        return self.daemon.control.inspect(show=pb.Show(id=wire.number))[0]["ops_done"]

    def test_s45_a_session_that_ended_counts_with_sockets_that_end_with_it_too(self):
        """The last socket goes while the descriptor of a buffer that was given back is unread."""
        wire, listener = self.client(), self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()), wire.open(3, 2))
        for op in (1, 2, 3):
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
        self.accept(listener).close()
        total = self.daemon.stats()["protocol_errors"]
        done = self.ops_done(wire)
        wire.send(wire.make_register(4, 1), wire.unregister(5, 1))
        self.daemon.wait(lambda: self.ops_done(wire) == done + 2)
        wire.send(bytes(8))
        self.daemon.wait(lambda: self.daemon.stats()["protocol_errors"] > total)
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)
        self.assertEqual(self.quota()["clients"][0], 1)
        self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)
        self.daemon.wait(lambda: self.quota()["clients"][0] == 0)


class Hellos(QuotaTest):
    config = "[Limits]\nHelloMax=8\nHelloTimeout=1\n"

    def test_s49_who_says_no_hello_is_ended_and_others_get_in(self):
        mute = [self.connect() for _ in range(8)]
        reasons = [(reply.error, text.decode()) for reply, text in (wire.ended() for wire in mute)]
        turned_away = [text for error, text in reasons if error == pb.ERROR_NO_BUFFER_SPACE]
        silent = [text for error, text in reasons if error == pb.ERROR_TIMED_OUT]
        self.assertIn(len(silent), (2, 4))
        self.assertEqual(len(silent) + len(turned_away), 8)
        self.assertEqual(set(silent), {"the client did not send Hello within 1 seconds"})
        for text in turned_away:
            self.assertRegex(text, "too many clients that have not sent Hello")

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


class Lingers(QuotaTest):
    config = "[Limits]\nLingerMax=2\n"

    def connected(self, wire, count):
        """Sockets 1 to count, and their peers; a send of 256 KiB does not fit between them."""
        listener = self.listener()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peers = []
        for n in range(1, count + 1):
            option = pb.SetOption(option=pb.OPTION_SEND_BUFFER, value=pb.OptionValue(number=4096))
            wire.send(wire.open(10 * n, n), request(pb.VERB_SET_OPTION, 10 * n + 1, n, set_option=option),
                      wire.connect(10 * n + 2, n, listener.getsockname()))
            for op in range(10 * n, 10 * n + 3):
                self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
            peers.append(self.accept(listener))
        return peers

    def lingering(self):
        return self.quota()["lingering"][0]

    def test_s42_more_than_linger_max_do_not_drain(self):
        wire = self.client()
        peers = self.connected(wire, 4)
        for n in range(1, 5):
            wire.send(wire.make_close(100 + n, n))
            self.assertEqual(wire.completion(100 + n).error, pb.ERROR_SUCCESS)
        stats = self.daemon.stats()
        self.assertEqual((stats["draining"], stats["sockets"], self.lingering()), (2, 2, 2))
        for peer in peers:
            self.assertEqual(peer.recv(1), b"")  # each has its FIN
        self.assertEqual(self.quota("session", wire.number)["lingering"], (2, 2))

    def test_s45_what_drains_is_its_clients_after_that_has_gone(self):
        wire = self.client()
        peers = self.connected(wire, 2)
        wire.close()
        self.daemon.wait(lambda: self.daemon.stats()["draining"] == 2)
        now = self.quota()
        self.assertEqual((now["clients"][0], now["sockets"][0], now["lingering"][0]), (0, 0, 2))
        number = self.client().number
        self.assertEqual(self.quota("user", number)["lingering"][0], 2)
        for peer in peers:
            peer.close()

    def test_s43_a_lingering_close_over_linger_max_is_reset_and_says_so(self):
        wire = self.client()
        peers = self.connected(wire, 3)
        for n in range(1, 4):
            wire.send(wire.make_send(200 + n, n, bytes(256 * 1024)))
        wire.settle()
        for n in range(1, 4):
            wire.send(wire.make_close(100 + n, n, linger_ms=60000))
        self.assertEqual(wire.completion(203).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(103).error, pb.ERROR_NO_BUFFER_SPACE)
        with self.assertRaises(ConnectionResetError):
            while peers[2].recv(1 << 20):
                pass
        self.assertEqual(self.quota("session", wire.number)["lingering"], (2, 2))
        for peer in peers[:2]:
            left = 256 * 1024
            while left:
                left -= len(peer.recv(left))
        for n in (1, 2):
            self.assertEqual(wire.completion(200 + n).error, pb.ERROR_SUCCESS)
            self.assertEqual(wire.completion(100 + n).error, pb.ERROR_SUCCESS)

    def test_s45_a_lingering_session_is_no_client(self):
        wire = self.client()
        peers = self.connected(wire, 1)
        wire.send(wire.make_send(200, 1, bytes(256 * 1024)), wire.make_close(101, 1, linger_ms=60000))
        wire.settle()
        wire.close()
        self.daemon.wait(lambda: self.quota()["clients"][0] == 0)
        now = self.quota()
        self.assertEqual((now["sockets"][0], now["lingering"][0]), (0, 1))
        self.assertGreater(now["memory"][0], 64 * 1024)  # the socket, and what it has not sent
        self.assertLess(now["memory"][0], 512 * 1024)
        left = 256 * 1024
        while left:
            left -= len(peers[0].recv(left))


class Connects(QuotaTest):
    config = "[Limits]\nConnectsPerSecond=5\n"

    def test_s49_connects_over_the_rate_are_refused_and_later_ones_are_not(self):
        wire = self.client()
        listener = self.listener(backlog=1000)
        before = time.monotonic()
        for n in range(1, 101):
            wire.send(wire.open(1000 + n, n), wire.connect(n, n, listener.getsockname()))
        results = [wire.whole(n) for n in range(1, 101)]
        after = time.monotonic()
        errors = collections.Counter(reply.error for reply, _ in results)
        self.assertEqual(set(errors), {pb.ERROR_SUCCESS, pb.ERROR_NO_BUFFER_SPACE})
        self.assertGreaterEqual(errors[pb.ERROR_SUCCESS], 5)
        self.assertLessEqual(errors[pb.ERROR_SUCCESS], 6 + 5 * (after - before))
        self.assertIn((pb.ERROR_NO_BUFFER_SPACE, b"too many connect requests within a second"),
                      [(reply.error, text) for reply, text in results])
        # The socket is as it was, and others have a rate of their own.
        other = self.client(QUIET)
        other.send(other.open(1, 1), other.connect(2, 1, listener.getsockname()))
        self.assertEqual(other.completion(2).error, pb.ERROR_SUCCESS)
        refused = next(n for n, (reply, _) in enumerate(results, 1) if reply.error)
        self.daemon.wait(lambda: self.connects(wire, refused, listener))

    def test_s45_who_leaves_and_comes_back_has_no_connects_more(self):
        listener = self.listener(backlog=1000)
        before, done = time.monotonic(), 0
        for _ in range(20):
            wire = self.client(RETURNING)
            for n in range(1, 6):
                # Nothing is to drain: that alone would keep its user's count.
                wire.send(wire.open(1000 + n, n), wire.connect(n, n, listener.getsockname()))
                done += wire.completion(n).error == pb.ERROR_SUCCESS
                wire.send(wire.make_close(2000 + n, n, abort=True))
                wire.completion(2000 + n)
            wire.close()
            self.daemon.wait(lambda: self.quota()["clients"][0] == 0)
        after = time.monotonic()
        self.assertGreaterEqual(done, 10)  # of a unit; of the user where there is none, twice as many
        self.assertLessEqual(done, 21 + 20 * (after - before))

    def test_s49_the_welcome_says_the_rate(self):
        self.assertEqual(self.client().welcome.connects_per_second, 5)

    def connects(self, wire, number, listener):
        wire.token += 1
        wire.send(wire.connect(wire.token, number, listener.getsockname()))
        return wire.completion(wire.token).error == pb.ERROR_SUCCESS


class Resolutions(QuotaTest):
    config = "[Limits]\nResolutions=4\n[Resolver]\nServers=127.0.0.1:{port}\n"

    @classmethod
    def setUpClass(cls):
        cls.server = NameServer({"slow.test": Name(a=["127.0.0.1"], held=(A, AAAA))}, port=0)
        cls.addClassCleanup(cls.server.close)
        cls.config = cls.config.format(port=cls.server.port)
        super().setUpClass()

    @staticmethod
    def by_name(wire, op, number):
        wire.send(wire.open(1000 + op, number), request(pb.VERB_CONNECT, op, number, connect=pb.Connect(
            host="slow.test", service="9")))

    def test_s49_names_being_resolved_are_limited(self):
        wire, other = self.client(), self.client(QUIET)
        for n in range(1, 4):
            self.by_name(wire, n, n)  # each asks two questions
        reply, text = wire.whole(3)
        self.assertEqual(reply.error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertEqual(text, b"too many names are being resolved")
        self.assertEqual(self.quota("session", wire.number)["resolutions"], (4, 4))
        self.by_name(other, 1, 1)
        other.settle()
        self.assertEqual(self.quota()["resolutions"][0], 6)
        other.close()
        wire.close()


class Killed(QuotaTest):
    """A client that holds some of everything, and is gone from one moment to the next."""

    config = ""

    def hold_everything(self, target, hole):
        """The process of such a client: it says its session's id when it has all."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                wire = connect_as(self.daemon.path, GREEDY)
                wire.hello()
                for n in range(1, 11):
                    wire.send(wire.open(n, n), wire.connect(100 + n, n, target), wire.receive(200 + n, n, 1))
                    wire.completion(100 + n)
                wire.send(wire.open(11, 11), wire.connect(111, 11, hole))
                wire.send(wire.make_send(300, 1, bytes(256 * 1024)))
                wire.send(request(pb.VERB_REGISTER, 301, register=pb.Register(length=1 << 20)))
                wire.completion(301)
                os.write(write, str(wire.inspect(show=pb.Show())[0]["id"]).encode())
                signal.pause()
            finally:
                os._exit(1)
        os.close(write)
        self.addCleanup(self.kill, pid)
        number = os.read(read, 100)
        os.close(read)
        self.assertTrue(number, "the client has failed")
        return pid, int(number)

    @staticmethod
    def kill(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def test_s45_all_that_a_killed_client_held_is_free_again(self):
        listener, hole = self.listener(), self.listener(backlog=0)
        pid, number = self.hold_everything(listener.getsockname(), hole.getsockname())
        held = self.quota("session", number)
        self.assertGreaterEqual(held["kernel_buffers"][0], 10 * 8192)
        self.assertEqual((held["shared_memory"][0], held["buffers"][0]), (1 << 20, 1))
        for name in ("clients", "sockets", "ops", "memory"):
            self.assertGreater(held[name][0], 0, name)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        listener.close()  # their peers are gone too: nothing has to drain
        self.daemon.wait(lambda: not any(used for used, _ in self.quota().values()))
        self.assertEqual(self.client().welcome.sockets, self.client(QUIET).welcome.sockets)


class Sockets(QuotaTest):
    config = "[Limits]\nTotalSockets=4096\nTotalMemory=4G\n"

    def test_s49_what_is_asked_for_is_granted_up_to_the_share(self):
        wire = self.client(sockets=65536)
        share = self.quota("session", wire.number)["sockets"]
        self.assertEqual(share, (wire.welcome.sockets, wire.welcome.sockets))
        above = self.quota("unit" if "quota_unit" in self.shown(wire) else "user", wire.number)
        self.assertEqual(above["sockets"][1], 2 * share[1])
        second = self.client(sockets=65536)
        self.assertEqual(second.welcome.sockets, share[1] // 2)


class Tight(QuotaTest):
    config = "[Limits]\nTotalMemory=2M\n"

    def fill(self, wire):
        """Restrictions, in frames that need no large block, take what is left, down to less than a connect takes."""
        filler, is_full = 1024, False
        while not is_full:
            rules = b"[Rules]\nAllow=tcp 127.0.0.1 1-65535 +loopback\n" + b"#\n" * filler
            wire.token += 1
            wire.send(request(pb.VERB_RESTRICT, wire.token, payload=rules, restriction=pb.Restrict()))
            reply, text = wire.whole(wire.token)
            if text:
                self.assertEqual((pb.Error.Name(reply.error), text), ("ERROR_NO_BUFFER_SPACE", b"too little memory left"))
                is_full = filler == 0
                filler //= 4

    def test_s49_a_connect_within_the_grant_needs_no_memory_that_others_may_take(self):
        wire = self.client(sockets=2)
        self.fill(wire)
        listener = self.listener()
        for number in (1, 2):
            wire.send(wire.open(number, number), wire.connect(10 + number, number, listener.getsockname()))
            self.assertEqual(wire.completion(number).error, pb.ERROR_SUCCESS)
            reply, text = wire.whole(10 + number)
            self.assertEqual((reply.error, text), (pb.ERROR_SUCCESS, b""))

    def test_s49_a_reference_within_the_grant_needs_no_memory_that_others_may_take(self):
        """Receives that wait take the rest, a slice for each segment behind the first one."""
        wire = self.client(sockets=1, ops=256)
        number, memory = wire.register(4096)
        self.hold(memory)
        memory[:5] = b"bytes"
        peer = self.pair(wire)
        self.fill(wire)
        token, count = 2000, 64
        while count > 1:
            token += 1
            wire.send(wire.receive(token, 1, segments=[segment(number, at, 1) for at in range(count)]))
            wire.settle()
            if any(reply.op == token for reply, _ in wire.kept):
                self.assertEqual(pb.Error.Name(wire.completion(token).error), "ERROR_NO_BUFFER_SPACE")
                count //= 2
        wire.send(wire.make_send(1, 1, b"", segments=[segment(number, 0, 5)]))
        reply = wire.completion(1)
        self.assertEqual((pb.Error.Name(reply.error), reply.bytes), ("ERROR_SUCCESS", 5))
        self.assertEqual(self.read_all(peer, 5), b"bytes")


class Short(QuotaTest):
    """A session has room for what it was granted, and for no block of 512 KiB."""
    config = "[Limits]\nTotalMemory=2M\n"

    def test_s49_a_large_send_of_the_grant_needs_no_memory_that_there_is_not(self):
        for wire in [self.client(sockets=1) for _ in range(2)]:
            used, most = self.quota("session", wire.number)["memory"]
            self.assertLess(most - used, 1 << 19)
            listener = self.listener()
            wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()))
            self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
            peer = self.accept(listener)
            data = os.urandom(wire.welcome.send_window)
            wire.send(wire.make_send(3, 1, data))
            self.assertEqual(wire.completion(3).bytes, len(data))
            self.assertEqual(self.read_all(peer, len(data)), data)


class Promises(QuotaTest):
    config = "[Limits]\nTotalSockets=4096\nTotalOps=100000\nTotalMemory=256M\n"

    def test_s49_who_asks_for_much_leaves_something(self):
        grants = [self.client().welcome.sockets for _ in range(8)]
        self.assertEqual(grants, sorted(grants, reverse=True))
        self.assertGreaterEqual(grants[-1], 1)

    def test_s49_too_little_for_the_least_ends_the_session_with_whose_share_it_was(self):
        granted = []
        for _ in range(64):
            wire = self.connect()
            try:
                wire.hello(sockets=0, ops=0, queued_max=1 << 30)
            except Ended as end:
                self.assertEqual(end.reply.error, pb.ERROR_NO_BUFFER_SPACE)
                self.assertRegex(end.text.decode(),
                                 "the (session|unit|user) has too little memory left")
                break
            granted.append(wire.welcome.queued_max)
            self.assertGreaterEqual(granted[-1], 1 << 16)
        else:
            self.fail("there is no end")
        self.client(QUIET)

    def test_s49_what_hellos_ask_for_is_charged_once(self):
        wire = self.client(sockets=100, ops=200, queued_max=1 << 20)
        before = self.quota("session", wire.number)
        self.assertEqual((before["sockets"][0], before["ops"][0]), (100, 200))
        wire.hello(sockets=150, ops=150, queued_max=1 << 16)
        after = self.quota("session", wire.number)
        self.assertEqual((after["sockets"][0], after["ops"][0]), (150, 200))
        self.assertEqual(after["memory"][0] - before["memory"][0], 50 * (32 + 65 * 1024 + 1280 + 5632))  # a slot each, a socket, bound or of datagrams, and a connect

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
