# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private asockd for tests in Python, and a check that it is afterwards what it was before."""

import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from build import BUILD_OPTIONS
from wire import DEADLINE, Wire, pb

NOBODY = 65534


def binary(program="asockd"):
    return os.path.join(os.environ.get("ASOCK_TEST_BUILDDIR", "."), program)


def usable_by_nobody(path):
    """The build directory may be readable only for its owner."""
    return subprocess.run(["setpriv", f"--reuid={NOBODY}", "--clear-groups", "test", "-x", path],
                          check=False).returncode == 0


def attempts_at(address):
    """The local ports of the kernel's attempts to connect there, over IPv4."""
    remote = f"{struct.unpack('=I', socket.inet_aton(address[0]))[0]:08X}:{address[1]:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in list(table)[1:]]
    return [int(row[1].partition(":")[2], 16) for row in rows if row[2] == remote and row[3] == "02"]  # SYN_SENT


class Daemon:
    """asockd in a directory of its own; as another uid than the client's where that can be had.

    What is named is for subprocess.Popen, but for program, which may be asockd-hooks, config: the text of
    its asockd.conf, and prefix: what is run in front of it, and becomes it.
    """

    def __init__(self, *arguments, program="asockd", config=None, prefix=(), capability=None, **options):
        self.directory = tempfile.mkdtemp(prefix="asockd-test-")
        os.chmod(self.directory, 0o755)
        self.path = os.path.join(self.directory, "run", "default", "asock.sock")
        self.control_path = os.path.join(self.directory, "run", "control.sock")
        run = os.path.join(self.directory, "run")
        os.mkdir(run, 0o755)
        self.log = open(os.path.join(self.directory, "log"), "w+b")
        # Whatever happens to the test, its daemon does not stay behind.
        wrapper = ["setpriv", "--pdeathsig", "TERM"]
        self.binary = binary(program)
        if config is not None:
            path = os.path.join(self.directory, "asockd.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write(config)
            os.chmod(path, 0o644)
            arguments += ("--config", path)
        if os.getuid() == 0:
            os.chown(run, NOBODY, NOBODY)
            if not usable_by_nobody(self.binary):
                self.binary = shutil.copy(self.binary, self.directory)
            wrapper += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            if capability:
                wrapper += [f"--{which}=-all,+{capability}" for which in ("inh-caps", "ambient-caps", "bounding-set")]
        self.wrapper, self.options = [*prefix, *wrapper, "--"], options
        self.process = self._start("--runtime-dir", run, *arguments)
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.control = None
        try:
            self._wait_ready()
            self.control = Wire(self.control_path)
            self.control.hello()
            self.baseline = self.settle()
        except BaseException:
            self.stop(check=False)
            raise

    def _start(self, *arguments):
        return subprocess.Popen([*self.wrapper, self.binary, *BUILD_OPTIONS, *arguments], stdin=subprocess.DEVNULL,
                                stdout=self.log, stderr=self.log, cwd=self.directory, **self.options)

    def succeed(self, *arguments):
        """Another one takes over, and is what is tested from here on: the milliseconds that it says it took.

        False: it gives up, and this one is still there.
        """
        mark = os.path.getsize(self.log.name)
        new = self._start("--take-over", os.path.join(self.directory, "run"), *arguments)
        pidfd = os.pidfd_open(new.pid)
        either = select.poll()
        either.register(self.pidfd, select.POLLIN)
        either.register(pidfd, select.POLLIN)
        ready = [fd for fd, _ in either.poll(1000 * DEADLINE)]
        if self.pidfd not in ready:
            new.kill()
            new.wait()
            os.close(pidfd)
            return False
        status = self.process.wait(DEADLINE)
        os.close(self.pidfd)
        self.process, self.pid, self.pidfd = new, new.pid, pidfd
        if status != 0:
            raise AssertionError(f"the old one ended with {status}: {self.output()}")
        if self.control:
            self.control.disconnect()
        self.control = Wire(self.control_path)
        self.control.hello()
        with open(self.log.name, "rb") as log:
            log.seek(mark)
            return int(re.search(rb"operations? within (\d+) ms", log.read()).group(1)) + 1

    def _wait_ready(self):
        limit = time.monotonic() + DEADLINE
        for path in (self.path, self.control_path):
            while True:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                    if probe.connect_ex(path) == 0:
                        break
                if select.select([self.pidfd], [], [], 0.01)[0] or time.monotonic() > limit:
                    raise AssertionError(f"asockd does not come up: {self.output()}")

    def child(self, name):
        """The pid of a process that the daemon has forked, by the name that it has given itself."""
        def found():
            with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
                pids = [int(pid) for pid in file.read().split()]
            for pid in pids:
                with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                    if file.read() == name + "\n":
                        return pid
            return None

        self.wait(found)
        return found()

    def output(self):
        """The end of what it has logged."""
        with open(self.log.name, "rb") as log:
            return log.read()[-3000:].decode(errors="replace")

    def _keep_log(self):
        """For ./dev test, which keeps them where a test has failed."""
        folder = os.environ.get("ASOCK_TEST_LOGS")
        if folder:
            shutil.copy(self.log.name, os.path.join(folder, f"asockd-{self.pid}.log"))

    def stop(self, check=True, sig=signal.SIGTERM):
        """Ends it by its pid; a sanitizer's complaint is an exit status too."""
        if self.process is None:
            return
        if self.control:
            self.control.disconnect()
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        status, output = self.process.returncode, self.output()
        self._keep_log()
        self.process = None
        self.log.close()
        os.close(self.pidfd)
        shutil.rmtree(self.directory)
        if check and status != 0:
            raise AssertionError(f"asockd ended with {status}: {output}")

    def is_alive(self):
        return self.process.poll() is None

    # --------------------------------------------------------------------------- what it holds

    def fds(self):
        """None: only root may look."""
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except PermissionError:
            return None

    def memory(self, field):
        """VmRSS, VmHWM, ... in bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")

    def stats(self):
        return self.control.inspect(stats=pb.Stats())[0]

    def holdings(self):
        """What must return to what it was."""
        stats = self.stats()
        names = ("clients", "sockets", "draining")
        return {"fds": self.fds(), **{name: stats[name] for name in names}}

    def settle(self, expected=None):
        """Until there is nothing but the control session, and all holdings are the expected ones."""
        limit = time.monotonic() + DEADLINE
        while True:
            now = self.holdings()
            idle = (now["clients"], now["sockets"], now["draining"]) == (1, 0, 0)
            if idle and expected in (None, now):
                return now
            if time.monotonic() > limit:
                raise AssertionError(f"holds {now}, expected {expected}: {self.output()}")
            select.select([self.pidfd], [], [], 0.01)

    def wait(self, condition):
        limit = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > limit:
                raise AssertionError(f"in vain: {self.output()}")
            select.select([self.pidfd], [], [], 0.01)


class DaemonTest(unittest.TestCase):
    """One daemon per class; after each test it holds what it held before."""

    arguments = ("--allow-any",)

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.arguments)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def setUp(self):
        self.before = self.daemon.settle(self.daemon.baseline)
        self.held, self.fillers = [], set()

    def tearDown(self):
        for thing in reversed(self.held):
            thing.close()
        self.assertTrue(self.daemon.is_alive(), "the daemon has died")
        self.daemon.settle(self.before)

    def hold(self, thing):
        """Closed after the test, before the check."""
        self.held.append(thing)
        return thing

    def wire(self, hello=True):
        wire = self.hold(Wire(self.daemon.path))
        if hello:
            wire.hello()
        return wire

    def listener(self, backlog=16, family=socket.AF_INET):
        listener = self.hold(socket.socket(family))
        listener.settimeout(DEADLINE)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        listener.listen(backlog)
        return listener

    def crowd(self):
        """Two sockets, between which 450 descriptors of the daemon's user are on their way.

        The kernel passes none for a daemon that may not have as many open.
        """
        near, far = map(self.hold, socket.socketpair())
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        near.settimeout(DEADLINE)
        child = os.fork()
        if child == 0:
            if os.getuid() == 0:
                os.setuid(NOBODY)
            for _ in range(450):
                socket.send_fds(near, [b"x"], [0])
            os._exit(0)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        return near, far

    def blackhole(self):
        """A listener whose queue is full: the kernel drops what comes, and a connect there waits.

        One fills it, and has come in: a second one would try again together with the connect, and whose last ACK finds
        the queue full is lost.
        """
        listener = self.listener(backlog=0)
        filler = self.hold(socket.create_connection(listener.getsockname()))
        self.fillers.add(filler.getsockname())
        return listener

    def accept_behind(self, listener):
        """Empties a blackhole, until somebody else than who filled it has come in."""
        while (peer := self.accept(listener)).getpeername() in self.fillers:
            pass
        return peer

    def accept(self, listener):
        peer, _ = listener.accept()
        peer.settimeout(DEADLINE)
        return self.hold(peer)

    def pair(self, wire, number=1):
        """A connected socket under this id, and its peer. Its ops have the tokens 1000 + 2 id and one more."""
        listener = self.listener()
        base = 1000 + 2 * number
        wire.send(wire.open(base, number), wire.connect(base + 1, number, listener.getsockname()))
        self.assertEqual(wire.completion(base).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.completion(base + 1).error, pb.ERROR_SUCCESS)
        return self.accept(listener)

    def check_growth(self, field, before, limit):
        """VmRSS or VmHWM since then; a sanitizer keeps freed memory on purpose, so not under one."""
        grown = self.daemon.memory(field) - before
        print(f"{field} grew by {grown} bytes, of {limit}", file=sys.stderr)
        if os.environ.get("ASOCK_TEST_SANITIZERS", "no") == "no":
            self.assertLess(grown, limit)

    def reset_by(self, peer):
        """Reads to the end, which has to be RST; the bytes that came before are returned."""
        data = b""
        try:
            while piece := peer.recv(1 << 20):
                data += piece
        except ConnectionResetError:
            return data
        return self.fail(f"FIN after {len(data)} bytes, not RST")

    @staticmethod
    def read_all(peer, count=None):
        """All up to FIN, or so many bytes."""
        data = bytearray()
        while count is None or len(data) < count:
            piece = peer.recv(1 << 20 if count is None else count - len(data))
            if not piece:
                break
            data += piece
        return bytes(data)
