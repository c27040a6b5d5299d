# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockd under a service manager that these tests are: listeners, READY=1, and a descriptor store."""

import array
import ctypes
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import threading

import asockd
from wire import DEADLINE, Wire

STATE, DESCRIPTORS = 1, 2  # enum link_kind
PLACE = """
import fcntl, os, sys
fds, arguments = [int(fd) for fd in sys.argv[1].split(",")], sys.argv[2:]
fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 3 + len(fds)) if fd < 3 + len(fds) else fd for fd in fds]
for place, fd in enumerate(fds):
    os.dup2(fd, 3 + place)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(arguments[0], arguments)
"""


def read_messages(messages):
    """The descriptors, and the process that sent them."""
    fds, pid = array.array("i"), 0
    for _, kind, data in messages:
        if kind == socket.SCM_RIGHTS:
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
        elif kind == socket.SCM_CREDENTIALS:
            pid = struct.unpack("iII", data)[0]
    return list(fds), pid


class Manager(threading.Thread):
    """Reads what the daemon tells it, and does what systemd does with it."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        os.chmod(path, 0o666)
        self.store, self.room, self.answers = [], 16, True
        self.ready, self.change = set(), threading.Condition()  # ready: the processes that were
        self.told, self.kept = [], []
        self.start()

    def run(self):
        while True:
            try:
                data, messages, _, _ = self.sock.recvmsg(4096, 4096)
            except OSError:
                return
            if not data:
                return
            fds, pid = read_messages(messages)
            if not self.answers:
                self.kept += fds  # as one that has not come so far
                continue
            self.take(dict(line.split("=", 1) for line in data.decode().split("\n")), fds, pid)

    def take(self, told, fds, pid):
        self.told.append(told)
        if "FDSTORE" in told and len(self.store) < self.room:
            self.store += [(fd, told["FDNAME"]) for fd in fds]
        else:
            for fd in fds:
                os.close(fd)
        if "FDSTOREREMOVE" in told:
            self.empty()
        if "READY" in told:
            with self.change:
                self.ready.add(pid)
                self.change.notify_all()

    def is_ready(self, pid, seconds):
        with self.change:
            return self.change.wait_for(lambda: pid in self.ready, seconds)

    def empty(self):
        for fd, _ in self.store:
            os.close(fd)
        self.store = []

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.join(DEADLINE)
        self.sock.close()
        self.empty()
        for fd in self.kept:
            os.close(fd)


class Managed(asockd.Daemon):
    """A daemon that restarts as its unit does."""

    def __init__(self, *arguments, **options):
        self.manager, self.listeners = None, []
        self.arguments = arguments
        super().__init__(*arguments, **options)

    def _start(self, *arguments):
        if not self.manager:
            self.manager = Manager(os.path.join(self.directory, "notify"))
            os.makedirs(os.path.dirname(self.path))
            for path in (self.path, self.control_path):
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(path)
                os.chmod(path, 0o666)
                listener.listen(100)
                self.listeners.append(listener)
        process = self.launch(arguments)
        self.await_ready(process)
        return process

    def launch(self, arguments, **options):
        fds = [listener.fileno() for listener in self.listeners] + [fd for fd, _ in self.manager.store]
        names = ["default", "control"] + [name for _, name in self.manager.store]
        env = {**os.environ, "NOTIFY_SOCKET": os.path.join(self.directory, "notify"),
               "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(names)}
        return subprocess.Popen([*self.wrapper, "/usr/bin/python3", "-c", PLACE, ",".join(map(str, fds)), self.binary,
                                 *asockd.BUILD_OPTIONS, *arguments], stdin=subprocess.DEVNULL, stdout=self.log,
                                stderr=self.log, cwd=self.directory, pass_fds=fds, env=env, **options)

    def await_ready(self, process):
        while not self.manager.is_ready(process.pid, 0.05):
            if process.poll() is not None:
                raise AssertionError(f"asockd ended: {self.output()}")

    def leave(self):
        """The process ends, as by systemctl restart."""
        if self.control:
            self.control.disconnect()
            self.control = None
        os.kill(self.pid, signal.SIGUSR1)
        if not select.select([self.pidfd], [], [], DEADLINE)[0]:
            raise AssertionError(f"it does not end: {self.output()}")
        if self.process.wait() != 0:
            raise AssertionError(f"it ended with {self.process.returncode}: {self.output()}")
        os.close(self.pidfd)

    def come(self, *arguments):
        """The next one, until it is ready."""
        self.process = self._start("--runtime-dir", os.path.join(self.directory, "run"), *(arguments or self.arguments))
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.control = Wire(self.control_path)
        self.control.hello()

    def restart(self):
        self.leave()
        self.come()

    def fail_to_come(self, *arguments, **options):
        """One that ends before it is ready: its status."""
        process = self.launch(("--runtime-dir", os.path.join(self.directory, "run"), *(arguments or self.arguments)),
                              **options)
        return process.wait(DEADLINE)

    def stop(self, check=True, sig=signal.SIGTERM):
        try:
            super().stop(check, sig)
        finally:
            self.manager.close()
            for listener in self.listeners:
                listener.close()


def dies_when_ready():
    """For preexec_fn: the call that says READY=1, a sendto with an address, ends the process (seccomp)."""
    number = {"x86_64": 44, "aarch64": 206}[platform.machine()]  # sendto
    install([(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 56), (0x15, 1, 0, 0), (0x06, 0, 0, 0x80000000),
             (0x06, 0, 0, 0x7fff0000)])


def dies_when_it_reads():
    """For preexec_fn: the first descriptor of a state that is verified, by SO_COOKIE, ends the process."""
    number = {"x86_64": 55, "aarch64": 209}[platform.machine()]  # getsockopt
    install([(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 32), (0x15, 0, 1, 57), (0x06, 0, 0, 0x80000000),
             (0x06, 0, 0, 0x7fff0000)])


def install(code):
    text = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(text, len(text))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        raise OSError("seccomp")


# ---- what lies in the store ------------------------------------------------------------

def unpack(stored):
    """The messages of the pair whose end that is, taken out: [(kind, number, descriptors)]."""
    with socket.socket(fileno=os.dup(stored)) as sock:
        messages = []
        while True:
            data, fds, _, _ = socket.recv_fds(sock, 8, 253)
            if not data:
                return messages
            messages.append((*struct.unpack("<II", data), fds))


def pack(messages):
    """An end of another pair in which they lie; their descriptors are closed."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one:
        for kind, number, fds in messages:
            socket.send_fds(one, [struct.pack("<II", kind, number)], fds)
            for fd in fds:
                os.close(fd)
    return other.detach()
