# SPDX-License-Identifier: LGPL-2.1-or-later
"""How sockets end that were lent to their client: by the client, by the daemon, by neither (S70)."""

import errno
import os
import signal
import socket
import struct
import unittest

from asockd import Daemon
from lending import GIVEN, HELD, Lending, connect, dissolve, fill, name_of, policy_file
from suspend import suspend
from wire import DEADLINE, Ended, Wire, pb


class End(Lending):

    def test_s70_close_of_a_held_one_sends_fin_behind_all(self):
        """However much is still in the kernel, and whether the client has closed its own or not."""
        for keeps in (False, True):
            with self.subTest(keeps=keeps):
                wire = self.wire()
                lent, peer = self.lend(wire)
                sent = fill(lent)
                if not keeps:
                    lent.close()
                self.assertEqual(self.end(wire), "SUCCESS")
                wire.close()
                self.assertEqual(len(self.read_all(peer)), sent)
                peer.close()
                self.daemon.settle(self.before)

    def test_s70_close_of_a_held_one_revokes_it(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        self.assertEqual(self.end(wire), "SUCCESS")
        self.assertEqual(peer.recv(1), b"")
        peer.close()
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)
        with self.assertRaises(OSError) as caught:
            lent.getpeername()
        self.assertEqual(caught.exception.errno, errno.ENOTCONN)

    def test_s70_close_revokes_it_from_a_peer_that_does_not_end(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        self.assertEqual(self.end(wire), "SUCCESS")
        self.assertEqual(peer.recv(1), b"")
        peer.settimeout(30)
        with self.assertRaises((ConnectionResetError, BrokenPipeError)):
            while True:
                peer.sendall(bytes(65536))
        with self.assertRaises(OSError) as caught:
            lent.getpeername()
        self.assertEqual(caught.exception.errno, errno.ENOTCONN)

    def test_s70_what_nobody_has_read_goes_with_a_close(self):
        """It is charged to nobody any more. Whoever has ended first."""
        for client_first in (False, True):
            with self.subTest(client_first=client_first):
                wire = self.wire()
                lent, peer = self.lend(wire)
                if client_first:
                    lent.shutdown(socket.SHUT_WR)
                    self.assertEqual(peer.recv(1), b"")
                peer.sendall(bytes(4096))
                peer.send(b"!", socket.MSG_OOB)
                peer.sendall(bytes(4096))
                peer.shutdown(socket.SHUT_WR)
                self.assertEqual(self.end(wire), "SUCCESS")
                self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0 and self.daemon.stats()["draining"] == 0)
                try:
                    self.assertEqual(lent.recv(1), b"")
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOTCONN)

    def test_s70_a_connection_made_while_the_close_waits_is_ended_too(self):
        """The peer reads nothing, so that the daemon has to wait for it."""
        other = self.serve()
        for fills in (False, True):
            with self.subTest(fills=fills):
                wire = self.wire()
                lent, _ = self.lend(wire)
                fill(lent)
                self.assertEqual(self.end(wire), "SUCCESS")
                suspend(self.daemon.pid)  # it would let go of one that is dissolved
                dissolve(lent)
                lent.settimeout(DEADLINE)
                lent.connect(other.getsockname())
                if fills:
                    fill(lent)
                far = self.accept(other)
                os.kill(self.daemon.pid, signal.SIGCONT)
                self.reset_by(far)

    def test_s43_a_close_with_a_linger_time_of_one_that_was_reset(self):
        """With bytes that the peer has never had."""
        wire = self.wire()
        lent, peer = self.lend(wire)
        fill(lent)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.assertEqual(self.end(wire, linger_ms=60000), "CONNECTION_RESET")

    def test_s70_close_with_a_linger_time_waits_for_the_peer(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        lent.sendall(b"all of it")
        self.assertEqual(self.end(wire, linger_ms=20000), "SUCCESS")
        self.assertEqual(self.read_all(peer), b"all of it")

    def test_s70_close_with_abort_resets(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        lent.sendall(b"some")
        self.assertEqual(peer.recv(16), b"some")
        self.assertEqual(self.end(wire, abort=True), "SUCCESS")
        self.assertEqual(self.reset_by(peer), b"")

    def test_s70_the_client_ends_it_by_itself(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        lent.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.recv(1), b"")
        peer.close()
        self.assertEqual(lent.recv(1), b"")
        lent.close()
        self.assertEqual(self.daemon.stats()["sockets"], 1)  # counted until the close
        self.assertEqual(self.end(wire, linger_ms=20000), "SUCCESS")
        self.assertEqual(self.daemon.stats()["sockets"], 0)

    def test_s70_kill_and_end_of_session_reset_both_sides(self):
        def kill(wire):
            ids = [r["id"] for r in self.daemon.control.inspect(list=pb.List()) if r["state"] == "lent"]
            self.daemon.control.inspect(kill=pb.Kill(id=ids[0]))
            reply, text = wire.take(lambda r: r.event.code == pb.EVENT_KILLED)
            self.assertEqual((reply.socket, text), (1, b"ended by the administrator"))
            self.assertEqual(self.error_of(wire, wire.make_send(wire.token, 1, b"x")), "CONNECTION_ABORTED")

        for end in (kill, Wire.close, lambda wire: wire.send(b"\xff" * 16)):
            with self.subTest(end):
                wire = self.wire()
                lent, peer = self.lend(wire)
                end(wire)
                self.assertEqual(self.reset_by(peer), b"")
                self.assertEqual(self.reset_by(lent), b"")
                wire.close()
                self.daemon.settle(self.before)

    def test_s70_a_stream_that_was_ended_before_the_client_went_is_whole(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        sent = fill(lent)
        lent.shutdown(socket.SHUT_WR)
        lent.close()
        wire.close()
        self.assertEqual(len(self.read_all(peer)), sent)

    def test_s70_a_holder_that_listens_with_it_is_ended_too(self):
        wire = self.wire()
        lent, _ = self.lend(wire)
        dissolve(lent)
        lent.bind(("127.0.0.1", 0))
        lent.listen(1)
        address = lent.getsockname()
        with socket.create_connection(address, DEADLINE):
            pass
        wire.close()
        self.daemon.settle(self.before)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(address, DEADLINE)

    def test_s70_a_linger_time_of_the_holder_stops_nobody(self):
        """close(2) waits for it in whoever closes last."""
        wire = self.wire()
        lent, peer = self.lend(wire)
        lent.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
        lent.setblocking(True)
        lent.close()
        wire.close()
        self.daemon.settle(self.before)
        self.assertEqual(self.reset_by(peer), b"")

    def test_s70_reload_with_close_ends_what_may_not_be_lent_any_more(self):
        with open(self.policy, encoding="utf-8") as file:
            text = file.read()

        def put_back():
            with open(self.policy, "w", encoding="utf-8") as file:
                file.write(text)
            self.daemon.control.inspect(reload=pb.Reload())

        wire = self.wire()
        lent, peer = self.lend(wire, self.serve("127.0.0.2"))
        kept, other = self.lend(wire, number=2)
        given, third = self.lend(wire, number=3, lend=GIVEN)
        try:
            with open(self.policy, "w", encoding="utf-8") as file:
                file.write(text.replace("127.0.0.2 * +loopback +lend", "127.0.0.2 * +loopback"))
            report = self.daemon.control.inspect(reload=pb.Reload())[0]
            self.assertEqual(report["denied"], 1)
            self.assertEqual(self.record(wire)["denied"], 1)
            report = self.daemon.control.inspect(reload=pb.Reload(close=True))[0]
            self.assertEqual(report["closed"], 1)
        finally:
            put_back()
        self.assertEqual(self.reset_by(peer), b"")
        self.assertEqual(self.reset_by(lent), b"")
        for one, two in ((kept, other), (given, third)):
            one.sendall(b"on")
            self.assertEqual(two.recv(4), b"on")

    def test_s70_reload_with_close_ends_what_was_made_of_it(self):
        """No rule lets a client listen with the daemon's socket."""
        wire = self.wire()
        lent, _ = self.lend(wire)
        dissolve(lent)
        self.assertEqual(self.record(wire)["denied"], 0)
        lent.bind(("127.0.0.1", 0))
        lent.listen(1)
        address = lent.getsockname()
        self.assertEqual(self.record(wire)["denied"], 1)
        self.assertEqual(self.daemon.control.inspect(reload=pb.Reload(close=True))[0]["closed"], 1)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(address, DEADLINE)

    def test_s70_a_descriptor_that_nobody_fetched_is_no_connection(self):
        """The client goes while its completion is still in the daemon or on the way."""
        for lend in (HELD, GIVEN):
            with self.subTest(lend):
                wire, listener = self.wire(), self.serve()
                wire.send(wire.open(1, 1), connect(2, 1, listener.getsockname(), lend))
                peer = self.accept(listener)
                wire.close()
                try:
                    self.assertEqual(peer.recv(1), b"")
                except ConnectionResetError:
                    pass
                self.daemon.settle(self.before)

    def test_s70_close_right_behind_the_connect(self):
        for lend in (HELD, GIVEN):
            with self.subTest(lend):
                wire, listener = self.wire(), self.serve()
                wire.send(wire.open(1, 1), connect(2, 1, listener.getsockname(), lend), wire.make_close(3, 1))
                self.assertEqual(name_of(wire.completion(3).error), "SUCCESS")
                wire.completion(2)
                self.assertFalse(wire.descriptors)
                peer = self.accept(listener)
                self.assertEqual(self.reset_by(peer), b"")

    def test_s70_close_with_a_linger_time_while_it_connects_is_for_nobody(self):
        wire, listener = self.wire(), self.serve()
        wire.send(wire.open(1, 1), connect(2, 1, listener.getsockname(), HELD), wire.make_close(3, 1, linger_ms=20000))
        self.assertEqual(name_of(wire.completion(3).error), "SUCCESS")
        wire.close()
        self.daemon.settle(self.before)

    def test_s70_counts_return_to_zero(self):
        wire = self.wire()
        before = self.quota(wire)
        for n in range(20):
            listener = self.serve()
            lent, peer = self.lend(wire, listener, lend=(HELD, GIVEN)[n % 2])
            lent.close()
            peer.close()
            self.end(wire, abort=True)
        self.assertEqual(self.quota(wire), before)
        self.lend(wire, lend=GIVEN)
        self.assertEqual([part for part in self.quota(wire) if part.startswith("kernel")],
                         [part for part in before if part.startswith("kernel")])

    @staticmethod
    def quota(wire):
        quota = wire.inspect(show=pb.Show())[0]["quota_session"]
        used = (part.partition("/")[0] for part in quota.split())  # a share of memory depends on what is free
        return [part for part in used if not part.startswith("audit=")]  # entries that are not written yet

    def test_s70_audit(self):
        wire = self.wire()
        listener = self.serve()
        port = listener.getsockname()[1]
        lent, peer = self.lend(wire, listener)
        self.assertEqual(self.wait_entry("connect", ASOCK_PORT=port)["ASOCK_LENT"], "held")
        lent.sendall(b"x" * 777)
        self.assertEqual(len(self.read_all(peer, 777)), 777)
        peer.sendall(b"y" * 33)
        self.assertEqual(len(self.read_all(lent, 33)), 33)
        self.end(wire, abort=True)
        entry = self.wait_entry("close", ASOCK_PORT=port)
        self.assertEqual((entry["ASOCK_BYTES_OUT"], entry["ASOCK_BYTES_IN"]), (777, 33))
        listener = self.serve()
        port = listener.getsockname()[1]
        self.lend(wire, listener, lend=GIVEN)
        self.assertEqual(self.wait_entry("connect", ASOCK_PORT=port)["ASOCK_LENT"], "given")
        self.assertEqual(self.wait_entry("close", ASOCK_PORT=port)["ASOCK_REASON"], "given to the client")
        listener = self.serve("127.0.0.4")
        port = listener.getsockname()[1]
        self.ask(wire, listener, HELD, 2)
        self.assertIn("+lend", self.wait_entry("deny", ASOCK_PORT=port)["ASOCK_REASON"])


class Unfetched(Lending):
    """Descriptors that a client has not fetched when its session ends: the kernel counts them against the daemon."""

    @classmethod
    def setUpClass(cls):
        policy = policy_file(cls, "Allow=tcp 127.0.0.1 * +loopback +lend-given")
        cls.daemon = Daemon("--policy", policy, config="[Limits]\nTotalSockets=64\n")

    def leave(self, listener):
        """A client that is given as much as it can get, reads nothing of it, and ends its session."""
        wire = self.wire()
        count = wire.welcome.sockets
        for number in range(1, count + 1):
            wire.send(wire.open(number, number), connect(100 + number, number, listener.getsockname(), GIVEN))
            self.accept(listener)
        self.daemon.wait(lambda: [row["state"] for row in self.daemon.control.inspect(list=pb.List())].count("lent") == count)
        wire.sock.shutdown(socket.SHUT_WR)
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)
        return wire

    def test_s70_they_count_as_sockets_until_they_are_fetched(self):
        listener, left = self.serve(), []
        with self.assertRaises(Ended) as caught:
            while len(left) < 65:
                left.append(self.leave(listener))
        self.assertEqual(caught.exception.reply.error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertRegex(caught.exception.text.decode(), "the (unit|user) has too few sockets left")
        for wire in left:
            wire.close()
        self.daemon.wait(lambda: self.daemon.stats()["clients"] <= 1)  # the one that was refused
        self.lend(self.wire(), listener, GIVEN)


if __name__ == "__main__":
    unittest.main()
