# SPDX-License-Identifier: LGPL-2.1-or-later
"""The audit of the built daemon: what stands in the journal, and in a file, of what clients do."""

import collections
import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest

import asockctl
import asockd
import journal
from wire import DEADLINE, Wire, endpoint, pb, request

MESSAGE_IDS = {"connect": "9fc9581989f641e29d307868a84e3ee9", "deny": "cf7894db884e434f9f251b35fa29c8ec",
               "resolve": "5b1a4d6e0c2f4b8fa3d97e61c4088b25", "close": "4cfea5dc56a5464c8c1922cf46b35735", "listen": "7c0f3b5e90a14d0c8b0f6d3d1f5a2e47",
               "accept": "e2d5b9a4c6f84e21a7391c05d8be6f13", "lost": "28992f61a3e44891a31f23f792ddd3bc"}
PRIORITIES = {"connect": 6, "listen": 6, "accept": 6, "resolve": 6, "deny": 5, "close": 6, "lost": 4}

# docs/AUDIT.md: what every entry of an event has, and what it may have.
COMMON = {"ASOCK_TIME_USEC": int, "MESSAGE": str, "PRIORITY": int, "MESSAGE_ID": str, "SYSLOG_IDENTIFIER": str,
          "ASOCK_EVENT": str}
SESSION = {"ASOCK_LISTENER": str, "ASOCK_UID": int, "ASOCK_GID": int, "ASOCK_SESSION": int, "ASOCK_PID": int}
CLIENT = {**SESSION, "ASOCK_SOCKET": int, "ASOCK_PORT": int}
WHO = {"ASOCK_SHARER": int, "ASOCK_UNIT": str, "ASOCK_USER_UNIT": str, "ASOCK_CGROUP": str, "ASOCK_CLIENT_NAME": str}
OPTIONAL = {**WHO, "ASOCK_HOST": str, "ASOCK_ADDRESS": str, "ASOCK_ERROR": str}
REQUIRED_OF = {
    "connect": {**COMMON, **CLIENT, "ASOCK_DURATION_MS": int},
    "resolve": {**COMMON, **SESSION, "ASOCK_HOST": str, "ASOCK_DURATION_MS": int},
    "listen": {**COMMON, **SESSION, "ASOCK_SOCKET": int, "ASOCK_LOCAL_ADDRESS": str, "ASOCK_LOCAL_PORT": int},
    "accept": {**COMMON, **CLIENT, "ASOCK_ADDRESS": str, "ASOCK_LOCAL_ADDRESS": str, "ASOCK_LOCAL_PORT": int, "ASOCK_RULE": str},
    "deny": {**COMMON, **SESSION, "ASOCK_ERROR": str},
    "close": {**COMMON, **CLIENT, "ASOCK_ADDRESS": str, "ASOCK_BYTES_IN": int, "ASOCK_BYTES_OUT": int,
              "ASOCK_DURATION_MS": int},
    "lost": {**COMMON, "ASOCK_COUNT": int},
}
OPTIONAL_OF = {
    "connect": {**OPTIONAL, "ASOCK_PROTOCOL": str, "ASOCK_RULE": str, "ASOCK_LEARNED": int},
    "resolve": {**WHO, "ASOCK_ERROR": str, "ASOCK_RULE": str, "ASOCK_LEARNED": int},
    "deny": {**OPTIONAL, "ASOCK_PROTOCOL": str, "ASOCK_SOCKET": int, "ASOCK_PORT": int, "ASOCK_LOCAL_ADDRESS": str, "ASOCK_LOCAL_PORT": int, "ASOCK_RULE": str, "ASOCK_REASON": str, "ASOCK_COUNT": int},
    "listen": {**WHO},
    "accept": {**WHO},
    "close": {**OPTIONAL, "ASOCK_PROTOCOL": str, "ASOCK_REASON": str},
    "lost": {},
}


def numbers(fields):
    """An entry of the journal as a file has it: numbers are numbers."""
    kinds = {**REQUIRED_OF[fields["ASOCK_EVENT"]], **OPTIONAL_OF[fields["ASOCK_EVENT"]]}
    return {name: int(value) if kinds.get(name) is int else value for name, value in fields.items()}


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


@contextlib.contextmanager
def held(tid):
    """This thread alone does not run: as one that hangs in a system call."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    seize, interrupt, detach, every_kind = 0x4206, 0x4207, 17, 0x40000000
    for call in (seize, interrupt):
        if ptrace(call, tid, None, None) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(tid, every_kind)
    try:
        yield
    finally:
        ptrace(detach, tid, None, None)


class Audited(unittest.TestCase):
    """A daemon whose entries are read by entry(); not told by another way than the documented one."""
    arguments = ("--allow-any",)

    def start(self, *arguments, prefix=()):
        self.daemon = asockd.Daemon(*arguments, prefix=prefix)
        self.addCleanup(self.daemon.stop, check=False)

    def configure(self, *lines):
        """A configuration file for the daemon to be started; in a directory that it may read."""
        directory = tempfile.mkdtemp(prefix="asockd-audit-")
        os.chmod(directory, 0o777)
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "asockd.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return directory, path

    def wire(self, name=""):
        wire = Wire(self.daemon.path)
        self.addCleanup(wire.close)
        wire.hello(name=name)
        return wire

    def listener(self):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(DEADLINE)
        self.addCleanup(listener.close)
        return listener

    def pair(self, wire, number=1):
        """A connected socket, its peer."""
        listener = self.listener()
        wire.send(wire.open(number * 10, number), wire.connect(number * 10 + 1, number, listener.getsockname()))
        self.assertEqual(wire.completion(number * 10 + 1).error, pb.ERROR_SUCCESS)
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        return peer

    def check_schema(self, entry):
        event = entry["ASOCK_EVENT"]
        required, optional = REQUIRED_OF[event], OPTIONAL_OF[event]
        if event == "deny" and "ASOCK_COUNT" in entry:
            required = {name: kind for name, kind in required.items()
                        if name not in ("ASOCK_SESSION", "ASOCK_SOCKET", "ASOCK_PID")}
        self.assertEqual(set(required) - set(entry), set(), entry)
        self.assertEqual(set(entry) - set(required) - set(optional), set(), entry)
        for name, value in entry.items():
            self.assertIs(type(value), {**required, **optional}[name], name)
        self.assertEqual(entry["MESSAGE_ID"], MESSAGE_IDS[event])
        self.assertEqual(entry["PRIORITY"], PRIORITIES[event])
        self.assertEqual(entry["SYSLOG_IDENTIFIER"], "asockd")
        self.assertNotEqual(entry["MESSAGE"], "")
        if event == "deny" and entry.get("ASOCK_RULE"):
            self.assertTrue(entry["MESSAGE"].endswith(f" ({entry['ASOCK_RULE']})"), entry["MESSAGE"])
        self.assertLess(abs(entry["ASOCK_TIME_USEC"] / 1e6 - time.time()), 10 * DEADLINE)

    def expect(self, event, **fields):
        """The next entry."""
        entry = self.entry()
        self.check_schema(entry)
        self.assertEqual(entry["ASOCK_EVENT"], event, entry)
        for name, value in fields.items():
            self.assertEqual(entry.get("ASOCK_" + name.upper()), value, (name, entry))
        return entry

    def expect_nothing_more(self):
        """What the daemon has not told when it has ended was never told."""
        self.daemon.stop()
        self.assertEqual(self.rest(), [])


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
        self.assertIn("bytes", entry["MESSAGE"])
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
        self.end(stop, error="ConnectionAborted", reason="the daemon stops")
        self.expect_nothing_more()

    def test_linger_that_is_killed(self):
        wire = self.wire()
        self.pair(wire)
        entry = self.expect("connect")
        block = b"z" * 262144
        for token in range(100, 400):
            wire.send(wire.make_send(token, 1, block))
            if not select.select([wire.sock], [], [], 0.2)[0]:
                break  # the kernel takes no more
            wire.completion(token)
        wire.send(wire.make_close(3, 1, linger_ms=60000))
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
    """Nobody reads the journal's socket for a while."""

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


class InFile(Audited):
    mode = ""

    def setUp(self):
        self.directory, path = self.configure("[Audit]", "File=PATH")
        self.file = os.path.join(self.directory, "audit.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"[Audit]\n{self.mode}File={self.file}\n")
        self.config = path
        self.start(*self.arguments, "--config", path)
        self.read = 0

    def lines(self):
        with open(self.file, "rb") as file:
            return file.read().split(b"\n")[:-1]

    def entry(self):
        limit = time.monotonic() + DEADLINE
        while len(self.lines()) <= self.read:
            self.assertLess(time.monotonic(), limit, "no entry")
            select.select([], [], [], 0.01)
        self.read += 1
        return json.loads(self.lines()[self.read - 1])

    def rest(self):
        return self.lines()[self.read:]

    def test_lines_of_json(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode), 0o600)
        wire = self.wire(name="ä\"\\")
        peer = self.pair(wire)
        entry = self.expect("connect", client_name="ä\"\\", address="127.0.0.1", port=peer.getsockname()[1])
        wire.send(wire.make_close(3, 1))
        wire.completion(3)
        self.expect("close", socket=entry["ASOCK_SOCKET"], bytes_in=0, bytes_out=0)
        self.expect_nothing_more()

    def test_the_file_may_be_copied_and_cut(self):
        wire = self.wire()
        self.pair(wire, 1)
        self.expect("connect")
        os.truncate(self.file, 0)
        self.read = 0
        self.pair(wire, 2)
        self.expect("connect")
        with open(self.file, "rb") as file:
            self.assertTrue(file.read().startswith(b"{"))

    def threads(self):
        """But for the one that reads a reload's files."""
        folder = f"/proc/{self.daemon.pid}/task"
        for tid in os.listdir(folder):
            with open(f"{folder}/{tid}/comm", encoding="ascii") as file:
                if file.read() != "loader\n":
                    yield int(tid)

    def test_a_write_that_hangs_holds_up_nobody(self):
        if os.getuid() != 0:
            self.skipTest("to hold a thread of another user needs root")
        wire = self.wire()
        listener = self.listener()
        writer, = [tid for tid in self.threads() if tid != self.daemon.pid]
        count = 200
        with held(writer):
            for token in range(1, count + 1):
                wire.send(wire.open(token * 4, token), wire.connect(token * 4 + 1, token, listener.getsockname()))
                self.assertEqual(wire.completion(token * 4 + 1).error, pb.ERROR_SUCCESS)
                self.addCleanup(listener.accept()[0].close)
            self.assertEqual(self.daemon.stats()["audit_queued"], count)
        for _ in range(count):
            self.expect("connect")

    def test_half_a_line_is_ended_before_the_next(self):
        self.daemon.stop()
        with open(self.file, "ab") as file:
            file.write(b'{"ASOCK_EVENT":"conn')
        before = self.lines()
        self.start(*self.arguments, "--config", self.config)
        peer = self.pair(self.wire())
        self.read = len(before) + 1
        self.expect("connect", address="127.0.0.1", port=peer.getsockname()[1])
        self.assertEqual(self.lines()[len(before)], b'{"ASOCK_EVENT":"conn')

    def test_nothing_is_lost_at_a_stop(self):
        wire = self.wire()
        count = 200
        listener = self.listener()
        for token in range(1, count + 1):
            wire.send(wire.open(token * 4, token), wire.connect(token * 4 + 1, token, listener.getsockname()))
            wire.completion(token * 4 + 1)
            self.addCleanup(listener.accept()[0].close)
        self.daemon.stop()
        events = collections.Counter(json.loads(line)["ASOCK_EVENT"] for line in self.lines())
        self.assertEqual(events, {"connect": count, "close": count})


class Stalled(InFile):
    """Each connect has to be recorded, and the disk hangs."""
    mode = "Audit=required\n"

    def test_what_cannot_be_recorded_is_refused_and_what_was_done_is_recorded(self):
        if os.getuid() != 0:
            self.skipTest("to hold a thread of another user needs root")
        wire, listener = self.wire(), self.listener()
        writer, = [tid for tid in self.threads() if tid != self.daemon.pid]
        limit = time.monotonic() + DEADLINE
        results = collections.Counter()
        token = 0

        def connect():
            nonlocal token
            token += 4
            self.assertLess(time.monotonic(), limit, results)
            wire.send(wire.open(token, 1), wire.connect(token + 1, 1, listener.getsockname()))
            error = wire.completion(token + 1).error
            if error == pb.ERROR_SUCCESS:
                listener.accept()[0].close()
            wire.send(wire.make_close(token + 2, 1, abort=True))
            wire.completion(token + 2)
            results[error] += 1
            return error

        self.assertEqual(connect(), pb.ERROR_SUCCESS)
        with held(writer):
            while connect() == pb.ERROR_SUCCESS:
                pass
            self.assertEqual(connect(), pb.ERROR_ACCESS_DENIED)
            listener.setblocking(False)
            with self.assertRaises(BlockingIOError):  # nothing that is not recorded has happened
                listener.accept()
            listener.settimeout(DEADLINE)
        while connect() != pb.ERROR_SUCCESS:
            pass
        self.assertEqual(set(results), {pb.ERROR_SUCCESS, pb.ERROR_ACCESS_DENIED})
        stats = self.daemon.stats()
        self.daemon.stop()
        events = collections.Counter(json.loads(line)["ASOCK_EVENT"] for line in self.lines())
        self.assertEqual(events["connect"], results[pb.ERROR_SUCCESS])
        # The end of one has no place kept for it: it is recorded, or counted as lost.
        self.assertLessEqual(results[pb.ERROR_SUCCESS] - events["close"], stats["audit_dropped"])
        self.assertEqual(stats["audit_refused"], results[pb.ERROR_ACCESS_DENIED])


class Refused(unittest.TestCase):
    def start(self, path):
        directory = tempfile.mkdtemp(prefix="asockd-audit-")
        self.addCleanup(shutil.rmtree, directory)
        config = os.path.join(directory, "asockd.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"[Audit]\nFile={path.replace('DIR', directory)}\n")
        os.mkfifo(os.path.join(directory, "fifo"))
        for name, mode in (("group", 0o660), ("all", 0o606), ("theirs", 0o600)):
            file = os.path.join(directory, name)
            with open(file, "wb"):
                os.chmod(file, mode)
        if os.getuid() == 0:
            os.chown(os.path.join(directory, "theirs"), 1000, 1000)
        return subprocess.run([asockd.binary(), "--runtime-dir", os.path.join(directory, "run"), "--config", config],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE,
                              check=False)

    def test_a_file_that_others_may_write_to(self):
        for path in ("DIR/group", "DIR/all"):
            done = self.start(path)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("others may write to it", done.stdout)

    @unittest.skipUnless(os.getuid() == 0, "to give a file away needs root")
    def test_a_file_of_another_user(self):
        done = self.start("DIR/theirs")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("it belongs to another user", done.stdout)

    def test_a_place_that_is_no_file(self):
        for path, text in (("DIR/fifo", "not a regular file"), ("/dev/null", "not a regular file"),
                           ("DIR/none/file", "No such file or directory"), ("DIR", "Is a directory")):
            done = self.start(path)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn(text, done.stdout)


class FullDisk(Audited):
    """A file system of a few pages, in the daemon's own mount namespace."""
    ENTER = ('mount -t tmpfs -o size=8k,mode=0777 tmpfs "$0" && exec "$@"')

    def setUp(self):
        if os.getuid() != 0:
            self.skipTest("a file system for the daemon alone needs root")
        self.directory, path = self.configure("[Audit]", "Audit=required", "File=PATH")
        self.disk = disk = os.path.join(self.directory, "disk")
        os.mkdir(disk)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"[Audit]\nAudit=required\nFile={disk}/audit.json\n")
        self.start("--allow-any", "--config", path,
                   prefix=["unshare", "--mount", "--propagation", "private", "sh", "-c", self.ENTER, disk])
        self.file = f"/proc/{self.daemon.pid}/root{disk}/audit.json"

    def test_connects_are_refused_until_there_is_room(self):
        wire = self.wire()
        listener = self.listener()
        token = 0
        limit = time.monotonic() + DEADLINE
        self.connected = 0

        def connect():
            nonlocal token
            token += 4
            wire.send(wire.open(token, 1), wire.connect(token + 1, 1, listener.getsockname()))
            reply, text = wire.whole(token + 1)
            wire.send(wire.make_close(token + 2, 1, abort=True))
            wire.completion(token + 2)
            if reply.error == pb.ERROR_SUCCESS:
                self.connected += 1
                listener.accept()[0].close()
            return reply.error, bytes(text)

        while (result := connect())[0] == pb.ERROR_SUCCESS:
            self.assertLess(time.monotonic(), limit, "connects go on")
        self.assertEqual(result, (pb.ERROR_ACCESS_DENIED, b"audit unavailable"))
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()
        listener.settimeout(DEADLINE)
        self.assertGreater(self.daemon.stats()["audit_refused"], 0)
        subprocess.run(["nsenter", f"--mount=/proc/{self.daemon.pid}/ns/mnt", "mount", "-o", "remount,size=64m",
                        self.disk], check=True)
        while self.daemon.stats()["audit_queued"] > 0:
            select.select([], [], [], 0.05)
            self.assertLess(time.monotonic(), limit, "nothing is written")
        self.assertEqual(connect()[0], pb.ERROR_SUCCESS)
        while self.daemon.stats()["audit_queued"] > 0:
            select.select([], [], [], 0.05)
        with open(self.file, encoding="utf-8") as file:
            events = collections.Counter(json.loads(line)["ASOCK_EVENT"] for line in file)  # no line is half written
        self.assertEqual(events["connect"], self.connected)


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


if __name__ == "__main__":
    unittest.main()
