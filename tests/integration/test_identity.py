# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whom the daemon takes a connection's client for, whoever uses the connection afterwards."""

import array
import ctypes
import json
import os
import signal
import socket
import subprocess
import unittest

import server_program as base
from suspend import suspend
from wire import Wire, pb

DEADLINE = base.DEADLINE
OTHER = 1000  # a uid that is neither ours nor the daemon's
SO_PEERPIDFD = 77
PR_SET_NAME, PR_SET_PDEATHSIG, SIGKILL = 15, 1, 9
LIBC = ctypes.CDLL(None)


def has_peerpidfd():
    one, two = socket.socketpair()
    with one, two:
        try:
            os.close(one.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
        except OSError:
            return False
        return True


def whoami():
    """(uid, gid, groups) of this process."""
    return os.getuid(), os.getgid(), set(os.getgroups())


class Client:
    """A process that connects, hands the connection to us, and lives until it gets another command."""

    def __init__(self, path, comm=None, uid=None):
        ours, theirs = socket.socketpair()
        self.channel = ours
        ours.settimeout(DEADLINE)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                self.run(theirs, path, comm, uid)
            finally:
                os._exit(9)
        theirs.close()
        message, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
        if not message:
            raise AssertionError("the client did not connect")
        fds = array.array("i")
        fds.frombytes(ancillary[0][2])
        self.wire = Wire(sock=socket.socket(fileno=fds[0]))
        self.reaped = False

    @staticmethod
    def run(channel, path, comm, uid):
        LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL)
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        if comm:
            LIBC.prctl(PR_SET_NAME, comm)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            channel.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))])
            order = channel.recv(1)
        if order == b"e":
            channel.set_inheritable(True)
            os.execv("/bin/sh", ["another", "-c", f"echo >&{channel.fileno()}; read -r _ <&{channel.fileno()}"])
        os._exit(0)

    def become_another_program(self):
        self.channel.sendall(b"e")
        assert self.channel.recv(1) == b"\n"

    def end(self):
        """It is gone when this returns."""
        if not self.reaped:
            self.channel.sendall(b"q\n")
            os.waitpid(self.pid, 0)
            self.reaped = True

    def close(self):
        self.wire.disconnect()
        self.end()
        self.channel.close()


class Identity(base.ServerTest):
    source = "socket"

    def start(self, *arguments, **options):
        if self.source == "pid":
            wrapper = self.usable(os.path.join(base.BUILD, "tests/lib/no-peerpidfd"))
            if subprocess.run([wrapper, "true"], check=False).returncode != 0:
                self.skipTest("no system call filters here")
            options["command"] = [wrapper, self.binary, *base.BUILD_OPTIONS, "--runtime-dir", self.dir, "--config",
                                  "/dev/null"]
        return super().start(*arguments, **options)

    def setUp(self):
        super().setUp()
        if self.source == "socket" and not has_peerpidfd():
            self.skipTest("this kernel has no SO_PEERPIDFD")
        self.daemon = self.start()

    def peer(self, **options):
        peer = Client(self.client_path, **options)
        self.addCleanup(peer.close)
        return peer

    @staticmethod
    def shown(wire):
        if not wire.welcome:
            wire.hello()
        record, = wire.inspect(show=pb.Show())
        return record

    def identity(self, wire):
        """Without what changes as time goes by."""
        record = self.shown(wire)
        return {name: record[name] for name in ("pid", "unit", "command", "uid", "gid", "groups", "units", "user_unit",
                                                "cgroup", "pidfd", "listener")}

    def test_what_is_shown(self):
        peer = self.peer(comm=b"a client")
        record = self.shown(peer.wire)
        uid, gid, groups = whoami()
        self.assertEqual((record["pid"], record["uid"], record["gid"], record["command"]),
                         (peer.pid, uid, gid, "a client"))
        self.assertEqual({int(one) for one in record["groups"].split(",") if one}, groups)
        self.assertEqual((record["listener"], record["pidfd"], record["alive"]), ("default", self.source, "yes"))
        with open(f"/proc/{peer.pid}/cgroup", encoding="utf-8") as file:
            cgroup, = [line[3:].rstrip("\n") for line in file if line.startswith("0::")]
        self.assertEqual(record["cgroup"], cgroup)
        self.assertEqual(record["units"], "known" if base.HAVE_SYSTEMD else "unknown")

    def test_another_user_passes_its_connection_to_us(self):
        """Who writes into it is not asked."""
        if os.getuid() != 0:
            self.skipTest("needs root")
        record = self.shown(self.peer(uid=OTHER).wire)
        self.assertEqual((record["uid"], record["gid"], record["groups"]), (OTHER, OTHER, ""))

    def test_another_program(self):
        peer = self.peer(comm=b"first")
        before = self.identity(peer.wire)
        peer.become_another_program()
        self.assertEqual(self.identity(peer.wire), before)
        self.assertEqual(before["command"], "first")
        self.assertEqual(self.shown(peer.wire)["alive"], "yes")

    def test_the_client_has_ended(self):
        peer = self.peer()
        before = self.identity(peer.wire)
        peer.end()
        self.assertEqual(self.identity(peer.wire), before)
        self.assertEqual(self.shown(peer.wire)["alive"], "unknown")

    def test_a_client_that_ended_before_it_was_accepted(self):
        """The daemon is stopped meanwhile."""
        suspend(self.daemon.pid)
        try:
            peer = self.peer()
            peer.end()
        finally:
            self.daemon.send_signal(signal.SIGCONT)
        record = self.shown(peer.wire)
        self.assertEqual((record["pid"], record["uid"], record["alive"]), (peer.pid, os.getuid(), "unknown"))
        self.assertEqual((record["units"], record["unit"], record["cgroup"], record["command"]), ("unknown", "", "", ""))

    def test_names_from_proc_are_escaped(self):
        """In what asockctl prints, as text and as JSON."""
        peer = self.peer(comm=b"\x1b[2J\n\xff\x9b\"\\")
        peer.wire.hello()
        number = self.shown(peer.wire)["id"]
        tool = [os.path.join(base.BUILD, "asockctl"), "--control", self.control_path, "show", str(number)]
        for arguments in ([], ["--json"]):
            done = subprocess.run([*tool, *arguments], stdout=subprocess.PIPE, check=True, timeout=DEADLINE,
                                  env={**os.environ, "LC_ALL": "C.UTF-8"})
            for byte in b"\x1b\xff\x9b":
                self.assertNotIn(byte, done.stdout)
            if arguments:
                self.assertEqual(json.loads(done.stdout)["command"], '?[2J???"\\')
            else:
                self.assertEqual(len([line for line in done.stdout.splitlines() if line.startswith(b"command")]), 1)


class IdentityWithoutPeerpidfd(Identity):
    """The same on a kernel before 6.5."""
    source = "pid"


if __name__ == "__main__":
    unittest.main()
