# SPDX-License-Identifier: LGPL-2.1-or-later
"""The audit of the built daemon in a file: its lines, writers that hang, full disks, files that are rejected."""

import collections
import contextlib
import ctypes
import json
import os
import select
import shutil
import stat
import subprocess
import tempfile
import time
import unittest

import asockd
from audited import Audited
from wire import DEADLINE, pb


@contextlib.contextmanager
def held(tid):
    """Stops only this thread, as if it hung in a system call."""
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
        """All threads, except the one that reads the files of a reload."""
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
    """Audit=required, and the disk hangs."""
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
        # No room is reserved for the end of a connection: it is recorded, or counted as lost.
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
            self.assertIn("other users can write to it", done.stdout)

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
        self.assertEqual(result, (pb.ERROR_ACCESS_DENIED, b"the audit is unavailable, and the policy requires a record"))
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


if __name__ == "__main__":
    unittest.main()
