# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of asockd as a program: it is started, stopped and inspected from outside."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from build import BUILD_OPTIONS
from wire import pb

from asock.client import Client

DEADLINE = 30
NOBODY = 65534
PREFIX = struct.Struct("<II")
BUILD = os.environ.get("ASOCK_TEST_BUILDDIR", ".")
HAVE_SYSTEMD = os.environ.get("ASOCK_TEST_SYSTEMD", "yes") != "no"


def wait_for(what, condition):
    limit = time.monotonic() + DEADLINE
    while not (result := condition()):
        if time.monotonic() > limit:
            raise AssertionError(f"{DEADLINE} s without {what}")
        time.sleep(0.005)
    return result


def may_connect(path):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def session_end(wire):
    """Reads the session to its end; returns its last message as (error, text), or None."""
    wire.settimeout(DEADLINE)
    data = b""
    try:
        while piece := wire.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    end = None
    while len(data) >= PREFIX.size:
        head, payload = PREFIX.unpack_from(data)
        reply = pb.Reply.FromString(data[8:8 + head])
        text = data[8 + head:8 + head + payload].decode()
        data = data[8 + head + payload:]
        if reply.kind == pb.KIND_EVENT and reply.event.code == pb.EVENT_SESSION_ENDED:
            end = (reply.error, text)
    return end


def descriptor_limits(daemon):
    with open(f"/proc/{daemon.pid}/limits", encoding="ascii") as file:
        return re.search(r"Max open files\s+(\S+)\s+(\S+)", file.read()).groups()


def set_descriptor_limit(daemon, soft):
    """As the daemon's own user; another user would need a capability."""
    options = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    subprocess.run(["prlimit", "--pid", str(daemon.pid), f"--nofile={soft}:"], check=True,
                   **options)


class ServerTest(unittest.TestCase):
    def setUp(self):
        self.base = tempfile.mkdtemp(prefix="asockd-server-")
        self.addCleanup(shutil.rmtree, self.base)
        os.chmod(self.base, 0o755)
        self.binary = self.usable(os.path.join(BUILD, "asockd"))
        self.dir = os.path.join(self.base, "run")
        self.client_path = os.path.join(self.dir, "default", "asock.sock")
        self.control_path = os.path.join(self.dir, "control.sock")
        os.mkdir(self.dir, 0o755)
        self.give(self.dir)

    def give(self, path):
        """If root runs the tests, the daemon runs as another user."""
        if os.getuid() == 0:
            os.chown(path, NOBODY, NOBODY)

    def usable(self, path):
        """The build directory may be readable only for its owner."""
        return shutil.copy(path, self.base) if os.getuid() == 0 else path

    def spawn(self, *arguments, command=None, **options):
        if not command:
            command = [self.binary, *BUILD_OPTIONS, "--runtime-dir", self.dir, "--config", "/dev/null"]
            # No rule matches, and the text says nothing about the machine's own policy.
            command += [] if "--allow-any" in arguments else ["--policy", "/dev/null"]
        if os.getuid() == 0:
            options.update(user=NOBODY, group=NOBODY, extra_groups=[])
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        daemon = subprocess.Popen([*command, *arguments], cwd=self.base, **{**streams, **options})
        self.addCleanup(self.end, daemon)
        return daemon

    def start(self, *arguments, **options):
        daemon = self.spawn(*arguments, **options)

        def is_ready():
            if daemon.poll() is not None:
                raise AssertionError(f"asockd ended: {daemon.stderr.read().decode()}")
            return may_connect(self.control_path)
        wait_for("a listening daemon", is_ready)
        return daemon

    def end(self, daemon, sig=signal.SIGTERM):
        """Its exit status and its output."""
        if daemon.poll() is None:
            daemon.send_signal(sig)
        if daemon.stdout.closed:
            return None
        try:
            out, err = daemon.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.communicate()
            raise
        return daemon.returncode, out.decode(), err.decode()

    def run_to_end(self, *arguments, **options):
        daemon = self.spawn(*arguments, **options)
        out, err = daemon.communicate(timeout=DEADLINE)
        return daemon.returncode, out.decode(), err.decode()

    def write(self, text, name="asockd.conf"):
        path = os.path.join(self.base, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def client(self, path=None, **options):
        client = Client(path or self.client_path, **options)
        self.addCleanup(client.disconnect)
        return client

    def control(self):
        return self.client(self.control_path)

    def connect(self, path=None):
        wire = socket.socket(socket.AF_UNIX)
        self.addCleanup(wire.close)
        wire.settimeout(DEADLINE)
        wire.connect(path or self.client_path)
        return wire

    def listener(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.settimeout(DEADLINE)
        return listener

    def pair(self, client, small=False):
        """A connected socket and its peer; small: the kernel holds far less than a send window."""
        listener = self.listener()
        sock = client.socket()
        if small:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            sock.set_option(pb.OPTION_SEND_BUFFER, 16384)
        sock.connect(*listener.getsockname()).result(DEADLINE)
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        peer.settimeout(DEADLINE)
        return sock, peer

    @staticmethod
    def send_window(sock):
        """Sends the daemon as much as it takes for one socket."""
        sock.send(b"x" * (1 << 20))
        while sock.waiting:
            sock.client.run_once(DEADLINE)

    def activated(self, listeners, names):
        """Arguments of spawn() for descriptors from 3 on, as systemd passes them."""
        copies = [os.dup(one.fileno()) for one in listeners]
        for fd in copies:
            self.addCleanup(os.close, fd)
        # Move them away from their target numbers.
        high = [100 + i for i in range(len(copies))]

        def place():
            for fd, to in zip(copies, high):
                os.dup2(fd, to)
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
        return {
            "command": ["/bin/sh", "-c", 'LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@"',
                        self.binary, *BUILD_OPTIONS, "--runtime-dir", self.dir, "--config",
                        "/dev/null"],
            "preexec_fn": place,
            "pass_fds": [3 + i for i in range(len(copies))],
            "env": {**os.environ, "LISTEN_FDS": str(len(copies)), "LISTEN_FDNAMES": ":".join(names)},
        }

    def unix_listener(self, name):
        path = os.path.join(self.base, name)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        return listener, path
