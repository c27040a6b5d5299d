# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of the installed asockd under systemd: installs its files, runs peers, and clients in units of their own."""

import ctypes
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import unittest

LIVENESS = 30  # seconds until "never"
COMMAND_LIVENESS = 4 * LIVENESS  # of a command, which may read a journal of thousands of entries on a busy machine
CLIENT_SOCKET = "/run/asockd/default/asock.sock"
CONTROL_SOCKET = "/run/asockd/control.sock"
CLIENT_DIR = "/opt/asock-test"
DROP_IN = "/run/systemd/system/asockd.service.d/test.conf"

SANDBOX = ["DynamicUser=yes", "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX",
           "SupplementaryGroups=asock"]

EXECUTABLE = ""
client = None  # tests/system/client.py, which needs the installed library


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=COMMAND_LIVENESS, check=False, **options)


def must(*command):
    done = run(*command)
    if done.returncode != 0:
        log = run("journalctl", "--no-pager", "--lines=30", "--quiet").stdout
        raise AssertionError(
            f"{' '.join(command)}: status {done.returncode}\n{done.stdout}\n{log}")
    return done.stdout


def prop(unit, name):
    return must("systemctl", "show", "--value", "--property", name, unit).strip()


def await_true(what, condition):
    deadline = time.monotonic() + LIVENESS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {LIVENESS} s: {what}")
        time.sleep(0.02)


def asockctl(*arguments):
    return json.loads(must("asockctl", *arguments, "--json"))


# ---- installation ---------------------------------------------------------------------

def put_files():
    """Installs the staged tree where a package would put it.

    A prefix of one's own may lie where the unit's ProtectHome= or PrivateTmp= hides it, and
    where systemd looks for no units: what is in it goes to /usr/local then.
    """
    stage, prefix = os.environ["ASOCK_STAGE"], os.environ["ASOCK_PREFIX"]
    if prefix in ("/usr", "/usr/local"):
        shutil.copytree(stage, "/", dirs_exist_ok=True, symlinks=True)
        return
    shutil.copytree(stage + prefix, "/usr/local", dirs_exist_ok=True, symlinks=True)
    for unit in glob.glob("/usr/local/lib/systemd/*/asockd*"):
        with open(unit, encoding="utf-8") as file:
            text = file.read()
        with open(unit, "w", encoding="utf-8") as file:
            text = re.sub(f"{re.escape(prefix)}/(s?bin/asock)", r"/usr/local/\1", text)
            if "/systemd/system/" in unit:
                text = re.sub("(ExecStart=.*/asockd)$", r"\1 --config-dir /usr/local/etc/asockd", text, flags=re.M)
            file.write(text)
    shutil.copytree("/usr/local/lib/asockd/policy.d", "/usr/local/etc/asockd/policy.d")


class Setup:
    """The output of systemd for what the package's scripts do; empty if there is no error."""
    sysusers = tmpfiles = None


def setUpModule():
    global client, EXECUTABLE
    put_files()
    os.makedirs("/run/systemd/journald.conf.d")
    with open("/run/systemd/journald.conf.d/test.conf", "w", encoding="utf-8") as file:
        file.write("[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n")
    must("systemctl", "restart", "systemd-journald.service")
    must("ldconfig")
    Setup.sysusers = run("systemd-sysusers", "asockd.conf")
    Setup.tmpfiles = run("systemd-tmpfiles", "--create", "asockd.conf")
    must("systemctl", "daemon-reload")
    must("systemctl", "enable", "--now", "asockd.socket", "asockd-control.socket")
    EXECUTABLE = prop("asockd.service", "ExecStart").split("path=")[1].split(" ;")[0]

    # A place where a client of any user can read it.
    os.makedirs(CLIENT_DIR)
    shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "client.py"), CLIENT_DIR)
    os.chmod(CLIENT_DIR, 0o755)
    import client as module
    client = module


# ---- a peer ---------------------------------------------------------------------------

class Server:
    """Accepts on loopback; replies to each connection by serve(connection)."""

    def __init__(self, serve):
        self.serve = serve
        self.accepted = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.loop, daemon=True).start()

    def loop(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def close(self):
        self.listener.close()
        for connection in self.accepted:
            connection.close()


def echo_once(connection):
    connection.sendall(b"echo: " + connection.recv(65536))
    connection.close()


def say_nothing(connection):
    """Keeps the connection and reads nothing."""


# ---- the daemon, and clients in units of their own ------------------------------------

def configure(*lines, arguments=None, executable=None):
    """Restores the shipped unit, or adds to it: lines of [Service], arguments of the daemon."""
    text = ["[Service]", *lines]
    if arguments is not None or executable is not None:
        text += ["ExecStart=", f"ExecStart={executable or EXECUTABLE} {arguments or ''}"]
    if os.path.exists(DROP_IN):
        os.unlink(DROP_IN)
    if len(text) > 1:
        os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
        with open(DROP_IN, "w", encoding="utf-8") as file:
            file.write("\n".join(text) + "\n")
    must("systemctl", "daemon-reload")


def journal(*matches):
    must("journalctl", "--sync")
    rows = must("journalctl", "--output=json", "--unit=asockd.service", *matches)
    return [json.loads(row) for row in rows.splitlines()]


def said_by_daemon(invocation):
    """[(priority, text)] of its own lines."""
    return [(int(row["PRIORITY"]), row["MESSAGE"])
            for row in journal(f"_SYSTEMD_INVOCATION_ID={invocation}")
            if row.get("_COMM") == "asockd"]


def descriptor_of(pid, number):
    """A socket of another process, shared with it: pidfd_getfd(2)."""
    pidfd = os.pidfd_open(pid)
    try:
        fd = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, number, 0)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        return socket.socket(fileno=fd)
    finally:
        os.close(pidfd)


class Unit:
    """A transient unit; its output is in .output."""
    count = 0

    def __init__(self, kind, command, settings):
        Unit.count += 1
        self.name = f"client-{Unit.count}.service"
        self.path = f"/run/client-{Unit.count}.out"
        properties = [f"Type={kind}", *settings,
                      f"StandardOutput=file:{self.path}", f"StandardError=file:{self.path}"]
        self.started = run("systemd-run", "--quiet", "--unit", self.name,
                           *[f"--property={item}" for item in properties], *command)
        self.status = self.started.returncode

    @property
    def output(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read().strip()


def run_client(*arguments, settings=None):
    command = ["/usr/bin/python3", CLIENT_DIR + "/client.py", *map(str, arguments)]
    return Unit("oneshot", command, SANDBOX if settings is None else settings)


def hold_client(settings=None):
    command = ["/usr/bin/python3", CLIENT_DIR + "/client.py", "hold"]
    unit = Unit("notify", command, [*(SANDBOX if settings is None else settings),
                                    "NotifyAccess=all"])
    if unit.status != 0:
        raise AssertionError(unit.started.stdout + unit.output)
    return unit


class UnitsTest(unittest.TestCase):
    """Each test begins with the shipped unit stopped and its sockets listening."""

    def setUp(self):
        run("systemctl", "stop", "asockd.service", "client-*.service")
        run("systemctl", "reset-failed")
        configure()
        must("systemctl", "start", "asockd.socket", "asockd-control.socket")

    def server(self, serve):
        server = Server(serve)
        self.addCleanup(server.close)
        return server

    def pending_receives(self, context, server, sockets, receives):
        """Connects sockets, leaves receives pending on each; returns them and the sockets."""
        socks = [client.Socket(context) for _ in range(sockets)]
        for op in [sock.connect("127.0.0.1", server.port) for sock in socks]:
            self.assertEqual(op.wait(), "Success")
        ops = [sock.receive() for sock in socks for _ in range(receives)]
        self.assertEqual(context.sync().wait(), "Success")
        return ops, socks
