# SPDX-License-Identifier: LGPL-2.1-or-later
"""The audit of the built daemon in the journal: the entries about what clients do."""

import collections
import os
import re
import signal
import socket
import subprocess
import unittest

import asockctl
from audited import Audited, MESSAGE_IDS, OPTIONAL_OF, REQUIRED_OF, numbers
import journal
from wire import Wire, endpoint, pb, request


def documented():
    """{event: {field: type}} of the table in docs/AUDIT.md."""
    with open(os.path.join(os.environ["ASOCK_TEST_SRCDIR"], "docs/AUDIT.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| (#?) ?\| ([a-z, ]+) \|", file.read(), re.MULTILINE)
    events = {event: {} for event in MESSAGE_IDS}
    for names, number, where in rows:
        if where.startswith("all"):
            which = set(events) - set(where.removeprefix("all").removeprefix(" but ").split(", "))
        else:
            which = where.split(", ")
        for event in which:
            events[event].update({name: int if number else str for name in re.findall("[A-Z_]+", names)})
    return events


class InJournal(Audited):
    def setUp(self):
        if os.getuid() != 0:
            self.skipTest("a journal for the daemon alone needs root")
        self.journal = journal.Journal()
        self.addCleanup(self.journal.close)
        self.start(*self.arguments, prefix=self.journal.prefix())

    def entry(self):
        return numbers(self.journal.entry())

    def rest(self):
        return [] if self.journal.is_empty() else ["an entry"]


class Document(unittest.TestCase):
    def test_the_table_is_what_entries_are_checked_against(self):
        checked = {event: {**REQUIRED_OF[event], **OPTIONAL_OF[event]} for event in MESSAGE_IDS}
        self.assertEqual(documented(), checked)


class Connections(InJournal):
    def test_a_connection_is_told_when_it_begins_and_when_it_ends(self):
        wire = self.wire(name="a \"name\"")
        peer = self.pair(wire)
        address = peer.getsockname()
        row, = [row for row in self.daemon.control.inspect(list=pb.List()) if row["state"] == "connected"]
        self.expect("connect", socket=row["id"], uid=os.getuid(), gid=os.getgid(), pid=os.getpid(),
                    listener="default", client_name="a \"name\"", address=address[0], port=address[1], host=None,
                    error=None)
        wire.send(wire.make_send(1, 1, b"x" * 1000), wire.receive(2, 1, 7))
        peer.sendall(b"y" * 7)
        wire.completion(1)
        wire.completion(2)
        wire.send(wire.make_close(3, 1))
        wire.completion(3)
        entry = self.expect("close", socket=row["id"], address=address[0], port=address[1], bytes_in=7,
                            bytes_out=1000, error=None, reason=None)
        self.assertRegex(entry["MESSAGE"], rf"^connection between .*uid .* and {address[0]} port {address[1]} ended after "
                                           r"\d+\.\d{3} s, 7 bytes in, 1000 out$")
        self.expect_nothing_more()

    def test_a_failed_connect_is_told_and_has_no_end(self):
        wire = self.wire()
        listener = self.listener()
        address = listener.getsockname()
        listener.close()
        wire.send(wire.open(1, 1), wire.connect(2, 1, address))
        self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_REFUSED)
        self.expect("connect", address=address[0], port=address[1], error="ConnectionRefused")
        wire.send(wire.make_close(3, 1))
        wire.completion(3)
        self.expect_nothing_more()

    def test_what_was_no_connect_is_not_told(self):
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, ("224.0.0.1", 0)))
        wire.completion(2)
        peer = self.pair(wire, 2)
        wire.send(wire.connect(3, 2, peer.getsockname()))
        self.assertEqual(wire.completion(3).error, pb.ERROR_IS_CONNECTED)
        self.assertIn(self.entry()["ASOCK_PORT"], (0, peer.getsockname()[1]))

    def test_a_datagram_socket_is_told_by_its_destinations(self):
        wire = self.wire()
        peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for peer in peers:
            self.addCleanup(peer.close)
            peer.bind(("127.0.0.1", 0))
        wire.send(wire.open(1, 1, type=pb.SOCKET_TYPE_DATAGRAM))
        for op, peer in enumerate(peers * 2, 2):
            wire.send(wire.make_send(op, 1, b"12", endpoint=endpoint(peer.getsockname())))
            self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
        wire.send(wire.make_close(6, 1))
        wire.completion(6)
        for peer in peers:
            self.expect("connect", protocol="udp", address="127.0.0.1", port=peer.getsockname()[1], error=None)
        self.expect("close", protocol="udp", port=peers[1].getsockname()[1], bytes_out=8)
        self.expect_nothing_more()

    def end(self, how, **fields):
        """One connection that ends so has one end."""
        wire = self.wire()
        peer = self.pair(wire)
        entry = self.expect("connect")
        how(wire, peer, entry)
        self.expect("close", socket=entry["ASOCK_SOCKET"], **fields)
        return wire

    def test_abort(self):
        self.end(lambda wire, peer, entry: wire.send(wire.make_close(3, 1, abort=True)), error="OperationAborted")
        self.expect_nothing_more()

    def test_kill(self):
        wire = self.end(lambda wire, peer, entry: self.kill_id(entry["ASOCK_SOCKET"]), error="ConnectionAborted",
                        reason="ended by the administrator")
        wire.send(wire.make_close(3, 1))
        wire.completion(3)
        self.expect_nothing_more()

    def test_kill_of_the_session(self):
        self.end(lambda wire, peer, entry: self.kill_id(entry["ASOCK_SESSION"]), error="ConnectionAborted",
                 reason="ended by the administrator")
        self.expect_nothing_more()

    def kill_id(self, number):
        done = asockctl.run("kill", str(number), "--control", self.daemon.control_path)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_client_that_goes(self):
        self.end(lambda wire, peer, entry: wire.disconnect(), error=None, reason="its session has ended")
        self.expect_nothing_more()

    def test_client_that_is_killed(self):
        listener = self.listener()
        tool = asockctl.Tool("connect", "127.0.0.1", str(listener.getsockname()[1]), "--socket", self.daemon.path,
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.addCleanup(tool.close)
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        self.expect("connect", pid=tool.pid)
        tool.kill()
        self.expect("close", pid=tool.pid, reason="its session has ended")
        self.expect_nothing_more()

    def test_peer_that_resets(self):
        def reset(wire, peer, _):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            wire.send(wire.receive(4, 1, 10))
            self.assertEqual(wire.completion(4).error, pb.ERROR_CONNECTION_RESET)
            wire.send(wire.make_close(3, 1))
        self.end(reset, error="ConnectionReset")
        self.expect_nothing_more()

    def test_daemon_that_stops(self):
        def stop(wire, peer, _):
            self.daemon.control.disconnect()
            self.daemon.process.send_signal(signal.SIGTERM)
        self.end(stop, error="ConnectionAborted", reason="the daemon is stopping")
        self.expect_nothing_more()

    def test_linger_that_is_killed(self):
        wire = self.wire()
        peer = self.pair(wire)
        entry = self.expect("connect")
        # Both buffers as small as can be: most of it waits in the daemon, because the peer does not read.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        least = pb.SetOption(option=pb.OPTION_SEND_BUFFER, value=pb.OptionValue(number=1))
        wire.send(request(pb.VERB_SET_OPTION, 2, 1, set_option=least), wire.make_send(100, 1, bytes(262144)),
                  wire.make_close(3, 1, linger_ms=60000))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        wire.settle()
        self.kill_id(entry["ASOCK_SOCKET"])
        self.expect("close", socket=entry["ASOCK_SOCKET"], error="ConnectionAborted",
                    reason="ended by the administrator")
        self.expect_nothing_more()

    def test_payload_is_nowhere(self):
        marker = b"M4rk3rM4rk3r"
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.make_send(1, 1, marker), wire.receive(2, 1, len(marker)))
        peer.sendall(marker)
        wire.completion(1)
        wire.completion(2)
        wire.send(wire.make_close(3, 1))
        wire.completion(3)
        self.expect("connect")
        self.expect("close", bytes_in=len(marker), bytes_out=len(marker))
        wire.send(wire.make_send(9, 1, marker) + marker * 3)  # a protocol error, told in the log
        with self.assertRaises(Exception):
            wire.completion(12345)
        with open(self.daemon.log.name, "rb") as log:
            self.assertNotIn(marker, log.read())
        self.assertNotIn(marker, self.journal.raw)
        self.expect_nothing_more()


class Denied(InJournal):
    arguments = ()

    def test_a_denial_is_told_at_once_and_its_repeats_together(self):
        wire = self.wire()
        listener = self.listener()
        listener.setblocking(False)
        for number in range(1, 21):
            wire.send(wire.open(number * 10, number), wire.connect(number * 10 + 1, number, listener.getsockname()))
            self.assertEqual(wire.completion(number * 10 + 1).error, pb.ERROR_ACCESS_DENIED)
        self.expect("deny", address="127.0.0.1", port=listener.getsockname()[1], error="AccessDenied", count=None)
        self.assertTrue(self.journal.is_empty())
        with self.assertRaises(BlockingIOError):
            listener.accept()
        self.daemon.stop()  # which ends the period
        self.expect("deny", address="127.0.0.1", port=listener.getsockname()[1], count=19, session=None, pid=None)


    def test_a_denial_that_nobody_waits_for_is_one(self):
        """Cancelled, closed, left behind in the same write: it was judged, and is no connect that failed."""
        wire = self.wire()
        for number, end in ((1, Wire.cancel(12, 1, 11)), (2, Wire.make_close(22, 2, abort=True))):
            wire.send(wire.open(number * 10, number) + wire.connect(number * 10 + 1, number, (f"127.0.0.{number}", 9)) + end)
            wire.settle()
            self.expect("deny", address=f"127.0.0.{number}", port=9, error="AccessDenied", count=None)
        wire.send(wire.open(30, 3) + wire.connect(31, 3, ("127.0.0.3", 9)))
        wire.close()
        self.expect("deny", address="127.0.0.3", port=9, error="AccessDenied", count=None)
        self.expect_nothing_more()


class Stopped(InJournal):
    """The journal's socket is not read for a while."""

    def test_the_loop_goes_on_and_the_loss_is_told(self):
        wire = self.wire()
        listener = self.listener()
        connections = 6000
        for token in range(1, connections + 1):
            wire.send(wire.open(token * 4, 1), wire.connect(token * 4 + 1, 1, listener.getsockname()))
            self.assertEqual(wire.completion(token * 4 + 1).error, pb.ERROR_SUCCESS)
            wire.send(wire.make_close(token * 4 + 2, 1, abort=True))
            listener.accept()[0].close()
        wire.settle()
        stats = self.daemon.stats()
        self.assertGreater(stats["audit_queued"], 0)
        self.assertGreater(stats["audit_dropped"], 0)
        self.assertEqual(stats["audit_entries"] + stats["audit_dropped"], 2 * connections)
        events = collections.Counter()
        lost = 0
        while lost < stats["audit_dropped"]:
            entry = self.entry()
            events[entry["ASOCK_EVENT"]] += 1
            if entry["ASOCK_EVENT"] == "lost":
                lost += entry["ASOCK_COUNT"]
        self.assertEqual(lost, stats["audit_dropped"])
        self.assertEqual(events["connect"] + events["close"] + lost, 2 * connections)
        self.assertEqual(self.daemon.stats()["audit_queued"], 0)


    def test_what_waits_is_charged_to_who_caused_it(self):
        """Half of what others leave, or he would lock out those who have to be recorded."""
        wire = self.wire()
        count = 9000
        for begin in range(1, count, 100):
            wire.send(b"".join(wire.resolve(op, "127.0.0.1") for op in range(begin, begin + 100)))
            for op in range(begin, begin + 100):
                self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
        stats = self.daemon.stats()
        self.assertGreater(stats["audit_dropped"], 0)
        self.assertLess(stats["audit_queued"], 16384 // 4 + 1)
        while self.daemon.stats()["audit_queued"] > 0:
            self.entry()


class Ruled(InJournal):
    """By policy files: which rule decided, and what they say about the audit itself."""

    def setUp(self):
        self.directory, _ = self.configure()
        self.file = os.path.join(self.directory, "rules.policy")
        os.chmod(self.directory, 0o755)
        super().setUp()

    def start(self, *arguments, prefix=()):
        self.listening = self.listener()
        self.port = self.listening.getsockname()[1]
        self.write("")
        super().start("--policy", self.file, prefix=prefix)

    def write(self, audit):
        with open(self.file, "w", encoding="utf-8") as file:
            file.write("[Match]\nListener=default\n[Rules]\n"
                       f"Deny=tcp 127.0.0.2 {self.port} \"not that one\"\n"
                       f"Allow=tcp localhost {self.port} +loopback\n" + audit)

    def connect(self, wire, number, host):
        arm = pb.Connect(host=host, service=str(self.port))
        wire.send(wire.open(number * 10, number), request(pb.VERB_CONNECT, number * 10 + 1, number, connect=arm))
        return wire.completion(number * 10 + 1).error

    def test_rule_and_name(self):
        wire = self.wire()
        self.assertEqual(self.connect(wire, 1, "localhost"), pb.ERROR_SUCCESS)
        self.expect("connect", host="localhost", address="127.0.0.1", port=self.port, rule=f"{self.file}:5",
                    learned=None)
        wire.send(wire.make_close(1, 1))
        wire.completion(1)
        self.expect("close", host="localhost", address="127.0.0.1", port=self.port)
        self.assertEqual(self.connect(wire, 2, "127.0.0.2"), pb.ERROR_ACCESS_DENIED)
        self.expect("deny", host=None, address="127.0.0.2", rule=f"{self.file}:4", reason="not that one")
        self.assertEqual(self.connect(wire, 3, "no.such.example"), pb.ERROR_ACCESS_DENIED)
        self.expect("deny", host="no.such.example", address=None, rule=None)
        self.expect_nothing_more()

    def test_a_restriction_is_no_file(self):
        wire = self.wire()
        wire.send(request(pb.VERB_RESTRICT, 1, payload=b'[Rules]\nDeny=tcp * * "own words"\n', restriction=pb.Restrict()))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.connect(wire, 1, "localhost"), pb.ERROR_ACCESS_DENIED)
        self.expect("deny", host="localhost", rule="restriction:2", reason="own words")
        self.expect_nothing_more()

    def test_audit_of_some_clients_is_off(self):
        wire = self.wire()
        self.write("[Audit]\nAudit=no\n")
        self.assertEqual(asockctl.run("reload", "--control", self.daemon.control_path).returncode, 0)
        self.assertEqual(self.connect(wire, 1, "localhost"), pb.ERROR_SUCCESS)
        self.assertEqual(self.connect(wire, 2, "127.0.0.2"), pb.ERROR_ACCESS_DENIED)
        self.expect_nothing_more()

    def test_a_connection_denied_by_a_reload_is_told_as_that(self):
        wire = self.wire()
        self.assertEqual(self.connect(wire, 1, "localhost"), pb.ERROR_SUCCESS)
        self.expect("connect")
        with open(self.file, "w", encoding="utf-8") as file:
            file.write("[Match]\nListener=default\n[Rules]\nDeny=tcp * *\n")
        self.assertEqual(asockctl.run("reload", "--close", "--control", self.daemon.control_path).returncode, 0)
        self.expect("close", error="ConnectionAborted", reason="policy")
        self.expect_nothing_more()


class Local(InJournal):
    """Sockets with a local address of the client's: a listener, and one of datagrams."""

    def start(self, *arguments, prefix=()):
        directory, _ = self.configure()
        self.file = os.path.join(directory, "local.policy")
        with open(self.file, "w", encoding="utf-8") as file:
            file.write("[Rules]\nListen=tcp 127.0.0.1 *\nListen=udp 127.0.0.1 *\n")
        super().start("--policy", self.file, prefix=prefix)

    def bind(self, wire, number, host, kind):
        wire.send(wire.open(number * 10, number, type=kind), wire.bind(number * 10 + 1, number, (host, 0)))
        return wire.completion(number * 10 + 1)

    def row(self, number):
        return next(row for row in self.daemon.control.inspect(list=pb.List()) if row["socket"] == number)

    def test_a_listener_is_told_when_it_listens(self):
        wire = self.wire()
        reply = self.bind(wire, 1, "127.0.0.1", pb.SOCKET_TYPE_STREAM)
        wire.send(wire.listen(1, 1))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.expect("listen", socket=self.row(1)["id"], local_address="127.0.0.1", local_port=reply.connected.local.port,
                    protocol=None, uid=os.getuid(), pid=os.getpid())
        self.expect_nothing_more()

    def test_a_datagram_socket_is_told_when_it_is_bound(self):
        wire = self.wire()
        reply = self.bind(wire, 1, "127.0.0.1", pb.SOCKET_TYPE_DATAGRAM)
        self.expect("listen", socket=self.row(1)["id"], local_address="127.0.0.1", local_port=reply.connected.local.port,
                    protocol="udp", uid=os.getuid(), pid=os.getpid())
        wire.send(wire.make_close(1, 1))
        wire.completion(1)
        self.expect_nothing_more()

    def test_a_bind_that_is_denied(self):
        wire = self.wire()
        for number, (kind, protocol) in enumerate(((pb.SOCKET_TYPE_STREAM, None), (pb.SOCKET_TYPE_DATAGRAM, "udp")), 1):
            self.assertEqual(self.bind(wire, number, "127.0.0.2", kind).error, pb.ERROR_ACCESS_DENIED)
            self.expect("deny", local_address="127.0.0.2", local_port=0, protocol=protocol, error="AccessDenied", port=None)
        self.expect_nothing_more()


if __name__ == "__main__":
    unittest.main()
