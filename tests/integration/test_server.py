# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as a program: arguments, listeners, limits, signals, the service manager, inspection."""

import os
import re
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import unittest

if os.environ.get("ASOCK_HAVE_PYTHON_PROTOBUF", "yes") != "yes":
    raise unittest.SkipTest("no python3-protobuf")

import asock_pb2 as pb
from asock.client import AsockError, Client
from build import BUILD_OPTIONS
from wire import Wire

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
    """What a session is told last, read to its end: (error, text), or None."""
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
    """As the daemon's own user: another one would need a capability."""
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
        """Where root runs the tests, the daemon is another user."""
        if os.getuid() == 0:
            os.chown(path, NOBODY, NOBODY)

    def usable(self, path):
        """A build directory may lie where only its owner may look."""
        return shutil.copy(path, self.base) if os.getuid() == 0 else path

    def spawn(self, *arguments, command=None, **options):
        if not command:
            command = [self.binary, *BUILD_OPTIONS, "--runtime-dir", self.dir, "--config", "/dev/null"]
            # No rule, and no word about the machine's own policy.
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
        """Its exit status and what it said."""
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
        """Hands the daemon as much as it takes for one socket."""
        sock.send(b"x" * (1 << 20))
        while sock.waiting:
            sock.client.run_once(DEADLINE)


class Program(ServerTest):
    def test_help_and_version(self):
        status, out, err = self.run_to_end(command=[self.binary, "--help"])
        self.assertEqual((status, err), (0, ""))
        self.assertIn("--runtime-dir", out)
        status, out, err = self.run_to_end(command=[self.binary, "--version"])
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"^asockd \d+\.\d+\.\d+\n$")

    def test_misuse_is_2(self):
        for argument in ("--nonsense", "word", "--log-level=loud", "--runtime-dir="):
            status, out, err = self.run_to_end(argument)
            self.assertEqual((status, out), (2, ""), argument)
            self.assertIn("Try 'asockd --help'.", err)

    def test_bad_configuration_names_file_and_line(self):
        path = self.write("[Limits]\nSockets=many\n")
        status, _, err = self.run_to_end("--config", path)
        self.assertEqual((status, err), (1, f"asockd: {path}:2: Sockets=many is not a number\n"))
        status, _, err = self.run_to_end("--config", path + "x")
        self.assertEqual((status, err), (1, f"asockd: {path}x: No such file or directory\n"))

    def test_directory_of_files(self):
        """The file of the directory need not exist; --config goes before."""
        path = os.path.join(self.base, "asockd.conf")
        command = [self.binary, *BUILD_OPTIONS, "--runtime-dir", self.dir, "--config-dir", self.base]
        with open(path, "w", encoding="utf-8") as file:
            file.write("[Limits]\nSockets=many\n")
        status, _, err = self.run_to_end(command=command)
        self.assertEqual((status, err), (1, f"asockd: {path}:2: Sockets=many is not a number\n"))
        long = self.run_to_end("--config-dir", "x" * 4096)
        self.assertEqual(long[::2], (2, "asockd: --config-dir: too long\nTry 'asockd --help'.\n"))
        self.end(self.start("--config", "/dev/null", command=command))
        os.unlink(path)
        self.start(command=command)
        self.client().sync().result(DEADLINE)

    def test_bad_name_servers(self):
        path = self.write("[Resolver]\nServers=nowhere in particular\n")
        status, _, err = self.run_to_end("--config", path)
        self.assertEqual((status, err), (
            1, f"asockd: {path}:2: Servers=nowhere in particular: not address[:port],...\n"))

    def test_configured_limits_are_the_welcomes(self):
        path = self.write("[Limits]\nSockets=100\nOps=1000\nSocketOps=20\n"
                          "SendWindow=2M\nQueued=4M\n")
        self.start("--config", path)
        client = self.client()
        client.sync().result(DEADLINE)
        limits = client.limits
        self.assertEqual((limits.most_sockets, limits.most_ops, limits.most_socket_ops), (100, 1000, 20))
        self.assertEqual((limits.most_send_window, limits.most_queued), (2 << 20, 4 << 20))

    def test_without_allow_any_everything_is_denied(self):
        self.start()
        listener = self.listener()
        sock = self.client().socket()
        with self.assertRaises(AsockError) as raised:
            sock.connect(*listener.getsockname()).result(DEADLINE)
        self.assertEqual(raised.exception.number, pb.ERROR_ACCESS_DENIED)
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()


class Listeners(ServerTest):
    def test_modes_and_removal(self):
        daemon = self.start()
        for path, mode in ((self.client_path, 0o666), (self.control_path, 0o600)):
            found = os.stat(path)
            self.assertTrue(stat.S_ISSOCK(found.st_mode))
            self.assertEqual(stat.S_IMODE(found.st_mode), mode, path)
        self.assertEqual(self.end(daemon)[0], 0)
        self.assertFalse(os.path.exists(self.client_path))
        self.assertFalse(os.path.exists(self.control_path))

    def test_second_daemon_leaves_the_first_alone(self):
        self.start("--allow-any")
        client = self.client()
        client.sync().result(DEADLINE)
        before = os.stat(self.client_path).st_ino, os.stat(self.control_path).st_ino
        status, _, err = self.run_to_end()
        self.assertEqual((status, err),
                         (1, f"asockd: {self.dir}: another asockd is running in this directory\n"))
        self.assertEqual(before,
                         (os.stat(self.client_path).st_ino, os.stat(self.control_path).st_ino))
        client.sync().result(DEADLINE)
        self.client().sync().result(DEADLINE)

    def test_stale_socket_is_replaced(self):
        daemon = self.start()
        daemon.kill()
        daemon.wait()
        self.assertTrue(os.path.exists(self.client_path))
        self.start()
        self.client().sync().result(DEADLINE)

    def occupy(self, path):
        os.mkdir(os.path.dirname(path), 0o755)
        self.give(os.path.dirname(path))
        return path

    def test_the_service_manager_at_the_path(self):
        """It is process 1: here that of a namespace of its own, which listens and then starts asockd."""
        init = ("import os, socket, subprocess, sys\n"
                "with socket.socket(socket.AF_UNIX) as listener:\n"
                "    listener.bind(sys.argv[1])\n"
                "    listener.listen()\n"
                "    sys.exit(subprocess.run(sys.argv[2:]).returncode)\n")
        own = [] if os.getuid() == 0 else ["--user", "--map-current-user"]
        namespace = ["unshare", *own, "--pid", "--fork", "--kill-child"]
        if subprocess.run([*namespace, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("no process namespaces")
        self.occupy(self.client_path)
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
        done = subprocess.run([*namespace, *as_nobody, sys.executable, "-c", init, self.client_path, self.binary, *BUILD_OPTIONS,
                               "--runtime-dir", self.dir, "--config", "/dev/null", "--policy", "/dev/null"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=DEADLINE)
        self.assertEqual((done.returncode, done.stderr.decode()), (
            1, f"asockd: {self.client_path}: the service manager listens here, for a daemon that it starts; use that one, stop "
               "it (systemctl stop asockd.socket asockd-control.socket), or choose another directory (--runtime-dir)\n"))

    def test_another_program_at_the_path(self):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.occupy(self.client_path))
            os.chmod(self.client_path, 0o666)
            other.listen()
            status, _, err = self.run_to_end()
            self.assertEqual((status, err), (
                1, f"asockd: {self.client_path}: another program listens here; stop it, or choose another directory "
                   "(--runtime-dir)\n"))
            self.assertTrue(may_connect(self.client_path))

    def test_a_file_at_the_path(self):
        with open(self.occupy(self.client_path), "w", encoding="utf-8") as file:
            file.write("precious")
        status, _, err = self.run_to_end()
        self.assertEqual((status, err),
                         (1, f"asockd: {self.client_path}: exists and is not a socket\n"))
        with open(self.client_path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")

    def test_no_place_for_the_sockets(self):
        for path, text in ((f"{self.base}/no/such", "No such file or directory"),
                           (f"{self.base}/{'x' * 120}", "File name too long"),
                           (f"{self.base}/{'x' * 90}", "File name too long"),
                           (self.binary, "Not a directory")):
            status, _, err = self.run_to_end(command=[self.binary, "--runtime-dir", path])
            self.assertEqual(status, 1, path)
            self.assertIn(text, err)


class Limits(ServerTest):
    def test_the_hard_descriptor_limit_is_taken(self):
        daemon = self.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                                                  (256, 1000)))
        self.assertEqual(descriptor_limits(daemon), ("1000", "1000"))

    def test_too_few_descriptors(self):
        status, _, err = self.run_to_end(
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
        self.assertEqual((status, err),
                         (1, "asockd: 64 descriptors (RLIMIT_NOFILE) are too few\n"))

    def test_a_small_machine_is_enough_for_a_client(self):
        """What 1024 descriptors leave of the default: granted as it is asked for, and kept."""
        self.start("--allow-any", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)))
        listener = self.listener()
        client = self.client()
        count = 0
        with self.assertRaises(AsockError) as caught:
            for count in range(1024):
                client.socket().connect(*listener.getsockname()).result(DEADLINE)
        self.assertGreaterEqual(count, 24)
        self.assertLess(count, 1023)
        self.assertEqual(caught.exception.number, pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        other = self.client()
        other.socket().connect(*listener.getsockname()).result(DEADLINE)

    def test_few_descriptors_are_shared(self):
        """Sockets run out with an error on the op; clients still get in."""
        self.start("--allow-any", preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (128, 128)))
        listener = self.listener()
        client = self.client()
        failed = None
        for _ in range(128):
            try:
                client.socket().connect(*listener.getsockname()).result(DEADLINE)
            except AsockError as error:
                failed = error
                break
        self.assertIsNotNone(failed)
        self.assertEqual(failed.number, pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        self.client().sync().result(DEADLINE)
        self.control().sync().result(DEADLINE)

    def test_clients_are_limited_and_control_gets_in(self):
        self.start("--config", self.write("[Limits]\nClients=4\n"))
        clients = [self.client()]
        with self.assertRaises(AsockError):
            while clients[-1].sync().result(DEADLINE) or len(clients) < 4:
                clients.append(self.client())
        self.assertIn(len(clients) - 1, (1, 2))  # a user has half of them, a unit half of that
        clients.pop()
        error, text = session_end(self.connect())
        self.assertEqual(error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertIn("as many clients", text)
        controls = [self.control() for _ in range(8)]
        for control in controls:
            control.sync().result(DEADLINE)
        self.assertEqual(session_end(self.connect(self.control_path))[0],
                         pb.ERROR_NO_BUFFER_SPACE)
        clients.pop().disconnect()
        wait_for("room", lambda: len([s for s in [self.try_sync()] if s]))

    def try_sync(self):
        client = self.client()
        try:
            client.sync().result(DEADLINE)
        except AsockError:
            return False
        return True

    def test_inherited_descriptors_are_closed(self):
        """What the starter has open is no business of a daemon, and standard input is nothing."""
        reader, writer = os.pipe()
        stdin, held = os.pipe()
        os.dup2(writer, 200)
        self.start(pass_fds=[writer, 200], stdin=stdin)
        os.close(writer)
        os.close(200)
        os.close(stdin)
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, held)
        self.assertTrue(select.select([reader], [], [], DEADLINE)[0])
        self.assertEqual(os.read(reader, 1), b"")
        with self.assertRaises(BrokenPipeError):
            os.write(held, b"x")

    def test_standard_streams_may_be_closed(self):
        """What the daemon opens must not be taken for its log."""
        self.start(preexec_fn=lambda: os.closerange(0, 3))
        client = self.client()
        client.sync().result(DEADLINE)

    def test_out_of_descriptors_turns_clients_away(self):
        """EMFILE on accept: neither a spinning loop, nor a client that waits for ever."""
        daemon = self.start()
        control = self.control()
        control.sync().result(DEADLINE)
        limit = descriptor_limits(daemon)[0]
        before = control.inspect(stats=pb.Stats())[0]
        if os.getuid() != 0:
            self.skipTest("only root may count the descriptors of the daemon")
        most = max(int(fd) for fd in os.listdir(f"/proc/{daemon.pid}/fd"))
        set_descriptor_limit(daemon, most + 1)
        while self.try_sync():  # numbers below the limit may be free
            pass
        for _ in range(50):
            error, text = session_end(self.connect())
            self.assertEqual((error, text),
                             (pb.ERROR_NO_BUFFER_SPACE, "the daemon is out of descriptors"))
        second = self.control()  # still gets in
        second.sync().result(DEADLINE)
        after = control.inspect(stats=pb.Stats())[0]
        self.assertGreaterEqual(after["accept_stalls"] - before["accept_stalls"], 50)
        set_descriptor_limit(daemon, limit)
        wait_for("a client", self.try_sync)
        status, _, err = self.end(daemon)
        self.assertEqual(status, 0)
        self.assertEqual(err.count("out of descriptors"), 1, err)

    def test_not_even_the_spare_descriptor(self):
        """The listener rests, while a client waits in its backlog."""
        daemon = self.start()
        control = self.control()
        control.sync().result(DEADLINE)
        limit = descriptor_limits(daemon)[0]
        set_descriptor_limit(daemon, 0)
        before = control.inspect(stats=pb.Stats())[0]
        since = time.monotonic()
        for _ in range(4):
            self.connect()

        def stalls():
            return control.inspect(stats=pb.Stats())[0]["accept_stalls"] - before["accept_stalls"]
        wait_for("stalls", lambda: stalls() >= 4)
        # A loop that spins would stall ten thousands of times a second.
        self.assertLess(stalls(), 4 + 40 * (time.monotonic() - since))
        set_descriptor_limit(daemon, limit)
        wait_for("a client", self.try_sync)


class Signals(ServerTest):
    def test_stop_tells_every_session(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            daemon = self.start("--allow-any")
            client = self.client()
            sock, peer = self.pair(client)
            receives = [sock.receive() for _ in range(3)]
            client.sync().result(DEADLINE)
            idle = self.connect()
            peer.close()  # sends FIN: the receives end as they should
            self.assertEqual([op.result(DEADLINE) for op in receives], [b""] * 3)
            sock2, peer2 = self.pair(client)
            op = sock2.receive()
            client.sync().result(DEADLINE)
            daemon.send_signal(sig)
            with self.assertRaises(AsockError) as raised:
                op.result(DEADLINE)
            self.assertEqual(raised.exception.number, pb.ERROR_CONNECTION_ABORTED)
            self.assertEqual(session_end(idle), (pb.ERROR_CONNECTION_ABORTED, "the daemon stops"))
            peer2.close()
            self.assertEqual(self.end(daemon)[0], 0)

    def test_stop_with_a_peer_that_never_closes(self):
        """What drains is reset when the stop's patience ends: neither is waited for."""
        daemon = self.start("--allow-any")
        client = self.client()
        pairs = [self.pair(client, small=True) for _ in range(4)]
        self.send_window(pairs[0][0])
        pairs[1][0].send(b"all of it").result(DEADLINE)
        self.send_window(pairs[2][0])
        pairs[2][0].close(linger_ms=600000)
        client.sync().result(DEADLINE)
        status, _, _ = self.end(daemon)
        self.assertEqual(status, 0)
        self.assertEqual(pairs[1][1].recv(100), b"all of it")
        for _, peer in (pairs[0], pairs[2]):
            with self.assertRaises(ConnectionResetError):
                while peer.recv(1 << 20):
                    pass

    def test_second_signal_hurries(self):
        daemon = self.start("--allow-any")
        client = self.client()
        _, peer = self.pair(client)
        daemon.send_signal(signal.SIGTERM)
        daemon.send_signal(signal.SIGINT)
        self.assertEqual(self.end(daemon)[0], 0)
        peer.close()

    def test_hang_up_and_pipe_do_not_kill(self):
        daemon = self.start()
        client = self.client()
        daemon.send_signal(signal.SIGHUP)
        daemon.send_signal(signal.SIGPIPE)
        client.sync().result(DEADLINE)
        with open(f"/proc/{daemon.pid}/status", encoding="ascii") as file:
            ignored = int(re.search(r"SigIgn:\s*(\w+)", file.read()).group(1), 16)
        self.assertTrue(ignored >> (signal.SIGPIPE - 1) & 1)
        self.assertIn("reloaded", self.end(daemon)[2])


@unittest.skipUnless(HAVE_SYSTEMD, "built without systemd")
class Log(ServerTest):
    """Standard error that takes nothing, and clients who would fill it."""

    def misbehave(self, count):
        for _ in range(count):
            with socket.socket(socket.AF_UNIX) as wire:
                wire.connect(self.client_path)
                wire.sendall(PREFIX.pack(0xffffffff, 0))
                session_end(wire)

    def test_full_pipe_stops_nobody(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        daemon = self.start(stderr=writing)
        self.assertTrue(os.get_blocking(writing), "the pipe is others' too")
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(writing, True)
        self.misbehave(3)
        for signal_number in (signal.SIGHUP,) * 20:
            daemon.send_signal(signal_number)
        self.misbehave(3)
        self.assertGreater(self.client(self.control_path).inspect(stats=pb.Stats())[0]["log_lost"], 0)
        os.close(writing)
        daemon.terminate()
        self.assertEqual(daemon.wait(DEADLINE), 0)
        daemon.stdout.close()

    def test_misbehaving_clients_are_told_once(self):
        daemon = self.start()
        self.misbehave(200)
        ended = [line for line in self.end(daemon)[2].splitlines() if "ended" in line]
        self.assertEqual(len(ended), 2, ended)
        self.assertIn("199 more sessions", ended[1])


class ServiceManager(ServerTest):
    def activated(self, listeners, names):
        """Arguments of spawn() for descriptors 3 and up, as systemd hands them over."""
        copies = [os.dup(one.fileno()) for one in listeners]
        for fd in copies:
            self.addCleanup(os.close, fd)
        # Out of the way of their targets.
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

    def test_activation(self):
        one, one_path = self.unix_listener("one")
        two, two_path = self.unix_listener("two")
        admin, admin_path = self.unix_listener("admin")
        daemon = self.spawn("--allow-any",
                            **self.activated([one, admin, two], ["one", "control", "two"]))
        clients = [self.client(one_path, name="first"), self.client(two_path, name="second")]
        for client in clients:
            client.socket()
            client.sync().result(DEADLINE)
        control = self.client(admin_path)
        rows = control.inspect(list=pb.List())
        self.assertEqual(sorted(row["name"] for row in rows), ["first", "second"])
        shown = [control.inspect(show=pb.Show(id=row["id"]))[0] for row in rows]
        self.assertEqual({row["name"]: row["listener"] for row in shown},
                         {"first": "one", "second": "two"})
        self.assertEqual(os.listdir(self.dir), ["share"])  # no sockets of its own
        self.assertEqual(self.end(daemon)[0], 0)
        self.assertTrue(os.path.exists(one_path))  # not its own to remove

    def test_activation_refuses_other_descriptors(self):
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        internet = socket.create_server(("127.0.0.1", 0))
        silent = socket.socket(socket.AF_UNIX)
        for wrong in (datagram, internet, silent):
            with wrong:
                status, _, err = self.run_to_end(**self.activated([wrong], ["odd"]))
            self.assertEqual(status, 1)
            self.assertIn("descriptor 3 (odd) of the service manager is not a listening Unix stream",
                          err)

    def notify_socket(self):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        path = os.path.join(self.base, "notify")
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.settimeout(DEADLINE)
        return listener, path

    def test_ready_status_stopping(self):
        listener, path = self.notify_socket()
        daemon = self.spawn(env={**os.environ, "NOTIFY_SOCKET": path})
        self.assertEqual(listener.recv(4096).decode().split("\n"),
                         ["READY=1", "STATUS=0 clients, 0 sockets"])
        self.client().sync().result(DEADLINE)
        daemon.terminate()
        seen = ""
        while "STOPPING=1" not in seen:
            seen = listener.recv(4096).decode()
        status, _, err = self.end(daemon)
        self.assertEqual(status, 0, err)

    def status_of(self, listener):
        """The next STATUS= that comes with READY=1."""
        while True:
            lines = listener.recv(4096).decode().split("\n")
            if lines[0] == "READY=1":
                return lines[1].removeprefix("STATUS=")

    def test_status_tells_that_an_invalid_policy_denies_everything(self):
        listener, path = self.notify_socket()
        policy = self.write("[Rules]\nAllow=tcp * 80\nAllow=icmp * *\n", "some.policy")
        wrong = f'{policy}:3: unknown protocol "icmp": tcp or udp'
        daemon = self.spawn("--policy", policy, env={**os.environ, "NOTIFY_SOCKET": path})
        self.assertEqual(self.status_of(listener), f"0 clients, 0 sockets; everything is denied: {wrong}")
        control = self.control()
        told = control.inspect(stats=pb.Stats())[0]
        self.assertEqual((told["policy_invalid"], told["policy_problem"]), (1, wrong))
        wire = Wire(self.client_path)
        self.addCleanup(wire.disconnect)
        wire.hello()
        wire.send(wire.open(1, 1), wire.connect(2, 1, ("192.0.2.1", 80)))
        reply, text = wire.whole(2)
        self.assertEqual((reply.error, text),
                         (pb.ERROR_ACCESS_DENIED, b"the daemon's policy files are invalid: everything is denied"))
        # A reload that fails says so; one that does not mends it.
        daemon.send_signal(signal.SIGHUP)
        self.assertEqual(self.status_of(listener),
                         f"1 clients, 0 sockets; everything is denied: {wrong}; the last reload failed: {wrong}")
        self.write("[Rules]\nAllow=tcp * 80\n", "some.policy")
        daemon.send_signal(signal.SIGHUP)
        self.assertEqual(self.status_of(listener), "1 clients, 0 sockets")
        told = control.inspect(stats=pb.Stats())[0]
        self.assertEqual((told["policy_invalid"], told["policy_problems"], told["policy_rules"]), (0, 0, 1))

    def test_status_tells_of_a_user_who_does_not_exist(self):
        listener, path = self.notify_socket()
        policy = self.write("[Match]\nUser=no-such-user-here\n[Rules]\nDeny=tcp * 25\n", "some.policy")
        daemon = self.spawn("--policy", policy, env={**os.environ, "NOTIFY_SOCKET": path})
        wrong = (f"{policy}:2: User=no-such-user-here: no such user: "
                 "clients that the file may be about are denied everything")
        self.assertEqual(self.status_of(listener), f"0 clients, 0 sockets; policy: {wrong}")
        self.assertEqual(self.control().inspect(stats=pb.Stats())[0]["policy_problem"], wrong)
        _, _, err = self.end(daemon)
        self.assertIn(wrong, err)

    @unittest.skipUnless(os.getuid() == 0, "needs root, who has capabilities")
    def test_capabilities_are_given_up(self):
        """Those of the threads that write the audit's file and read a reload's files, too."""
        base = os.path.join(self.base, "root")
        os.mkdir(base, 0o755)
        config = self.write(f"[Audit]\nFile={base}/audit\n")
        listener, path = self.notify_socket()
        daemon = subprocess.Popen([self.binary, *BUILD_OPTIONS, "--runtime-dir", base, "--config", config, "--allow-any"],
                                  env={**os.environ, "NOTIFY_SOCKET": path}, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, daemon)
        self.status_of(listener)
        threads = os.listdir(f"/proc/{daemon.pid}/task")
        self.assertEqual(len(threads), 3)
        for thread in threads:
            with open(f"/proc/{daemon.pid}/task/{thread}/status", encoding="ascii") as file:
                sets = dict(line.split(":\t") for line in file.read().splitlines() if line.startswith("Cap"))
            self.assertEqual(set(sets.values()), {"0" * 16}, sets)
        wire = Wire(os.path.join(base, "default", "asock.sock"))
        self.addCleanup(wire.disconnect)
        wire.hello()
        _, _, err = self.end(daemon)
        self.assertIn("started with capabilities and has given up all of them", err)
        self.assertFalse(os.path.exists(os.path.join(base, "control.sock")))

    def watched(self, binary):
        """A daemon that has to give a sign of life every 100 ms."""
        listener, path = self.notify_socket()
        daemon = self.spawn(
            command=["/bin/sh", "-c", 'WATCHDOG_PID=$$; export WATCHDOG_PID; exec "$0" "$@"',
                     binary, *BUILD_OPTIONS, "--runtime-dir", self.dir, "--config", "/dev/null"],
            env={**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
        self.assertTrue(listener.recv(4096).startswith(b"READY=1"))
        return listener, daemon

    def test_watchdog_is_fed(self):
        listener, daemon = self.watched(self.binary)
        for _ in range(3):
            self.assertEqual(listener.recv(4096), b"WATCHDOG=1")
        self.assertEqual(self.end(daemon)[0], 0)

    def test_watchdog_starves_when_a_callback_hangs(self):
        """What was sent before the hang is read; behind it nothing comes."""
        hooks = os.path.join(BUILD, "asockd-hooks")
        if not os.path.exists(hooks):
            self.skipTest("no asockd-hooks was built")
        listener, daemon = self.watched(self.usable(hooks))
        self.assertEqual(listener.recv(4096), b"WATCHDOG=1")
        daemon.send_signal(signal.SIGUSR2)

        def is_hanging():
            with open(f"/proc/{daemon.pid}/syscall", encoding="ascii") as file:
                return file.read().split()[0] in self.pause_numbers()
        if os.getuid() == 0:
            wait_for("the hang", is_hanging)
        while select.select([listener], [], [], 1.0)[0]:
            self.assertEqual(listener.recv(4096), b"WATCHDOG=1")
        self.end(daemon, signal.SIGKILL)

    @staticmethod
    def pause_numbers():
        return ("34", "29", "73", "271", "7")  # pause or ppoll, x86-64 and arm64


class Inspection(ServerTest):
    def test_list_and_show_of_a_socket(self):
        daemon = self.start("--allow-any")
        client = self.client(name="tester")
        sock, peer = self.pair(client)
        sock.set_option(pb.OPTION_KEEP_ALIVE, 1).result(DEADLINE)
        peer.sendall(b"1234567890")
        self.assertEqual(sock.receive(10, wait_all=True).result(DEADLINE), b"1234567890")
        sock.send(b"hello").result(DEADLINE)
        sock.receive()
        client.sync().result(DEADLINE)
        row, = self.control().inspect(list=pb.List())
        self.assertEqual(list(row), ["id", "pid", "unit", "command", "uid", "session", "listener", "socket", "state",
                                     "local", "remote", "host", "port", "denied", "queued", "ops",
                                     "bytes_in", "bytes_out", "age_ms", "name"])
        with open("/proc/self/comm", encoding="utf-8") as comm:
            self.assertEqual(row["command"], comm.read().rstrip("\n"))
        self.assertEqual((row["pid"], row["uid"], row["socket"], row["state"], row["name"]),
                         (os.getpid(), os.getuid(), 1, "connected", "tester"))
        self.assertEqual(row["remote"], "127.0.0.1:%d" % peer.getsockname()[1])
        self.assertEqual(row["local"], "127.0.0.1:%d" % peer.getpeername()[1])
        self.assertEqual(row["host"], "")
        self.assertEqual((row["bytes_in"], row["bytes_out"], row["queued"], row["ops"]),
                         (10, 5, 0, 1))
        shown, = self.control().inspect(show=pb.Show(id=row["id"]))
        for name in set(row) - {"age_ms"}:
            self.assertEqual(shown[name], row[name], name)
        self.assertEqual(shown["gid"], os.getgid())
        self.assertEqual({int(gid) for gid in shown["groups"].split(",") if gid},
                         set(os.getgroups()))
        self.assertIn(shown["pidfd"], ("socket", "pid"))
        self.assertEqual((shown["alive"], shown["listener"]), ("yes", "default"))
        self.assertTrue(shown["cgroup"].startswith("/"), shown["cgroup"])
        self.assertEqual((shown["option_no_delay"], shown["option_keep_alive"]), (1, 1))
        self.assertEqual((shown["tcp_state"], shown["tcp_retransmits"]), ("established", 0))
        self.assertGreater(shown["tcp_rtt_us"], 0)
        self.assertEqual(self.end(daemon)[0], 0)

    def test_the_name_a_socket_was_connected_by(self):
        self.start("--allow-any")
        client = self.client()
        port = self.listener().getsockname()[1]
        client.socket()
        for host in ("localhost", "127.0.0.1", "localhost."):
            sock = client.socket(family=pb.FAMILY_INET)
            sock.connect(host, port).result(DEADLINE)
        rows = self.control().inspect(list=pb.List())
        self.assertEqual([row["host"] for row in rows], ["", "localhost", "", "localhost"])
        shown, = self.control().inspect(show=pb.Show(id=rows[1]["id"]))
        self.assertEqual(shown["host"], "localhost")

    def test_states(self):
        self.start("--allow-any")
        client = self.client()
        client.socket()
        failed = client.socket()
        with self.assertRaises(AsockError):
            with socket.socket() as refuses:
                refuses.bind(("127.0.0.1", 0))
                failed.connect(*refuses.getsockname()).result(DEADLINE)
        sock, peer = self.pair(client, small=True)
        self.send_window(sock)
        sock.close(linger_ms=600000)
        drain, peer2 = self.pair(client)
        drain.close().result(DEADLINE)
        client.sync().result(DEADLINE)
        rows = self.control().inspect(list=pb.List())
        self.assertEqual([row["state"] for row in rows if row["state"] != "draining"],
                         ["open", "failed", "lingering"])
        self.assertEqual([row["socket"] for row in rows if row["state"] != "draining"], [1, 2, 0])
        for row in rows:
            shown, = self.control().inspect(show=pb.Show(id=row["id"]))
            self.assertEqual(shown["id"], row["id"])
        peer.close()
        peer2.close()

    def test_list_is_whole_and_in_order(self):
        self.start()
        clients = [self.client(name=f"c{i}") for i in range(3)]
        for client in clients:
            client.sync().result(DEADLINE)
            for _ in range(700):
                client.socket()
            client.sync().result(DEADLINE)
        rows = self.control().inspect(list=pb.List())
        self.assertEqual([(row["name"], row["socket"]) for row in rows],
                         [(f"c{i}", number) for i in range(3) for number in range(1, 701)])
        self.assertEqual(len({row["id"] for row in rows}), 2100)

    def test_a_client_sees_itself_only(self):
        self.start()
        mine, other = self.client(name="mine"), self.client(name="other")
        for client in (mine, other):
            client.socket()
            client.sync().result(DEADLINE)
        rows = self.control().inspect(list=pb.List())
        self.assertEqual([row["name"] for row in rows], ["mine", "other"])
        own = mine.inspect(list=pb.List())
        self.assertEqual([row["id"] for row in own], [rows[0]["id"]])
        self.assertEqual(mine.inspect(show=pb.Show(id=rows[0]["id"]))[0]["socket"], 1)
        itself, = mine.inspect(show=pb.Show())
        self.assertEqual((itself["name"], itself["sockets"], itself["limit_sockets"]),
                         ("mine", 1, mine.limits.sockets))
        others, = other.inspect(show=pb.Show())
        for number in (rows[1]["id"], others["id"], 1 << 40, (1 << 64) - 1):
            with self.assertRaises(AsockError) as raised:
                mine.inspect(show=pb.Show(id=number))
            self.assertEqual(raised.exception.number, pb.ERROR_NOT_FOUND)
        stats, = mine.inspect(stats=pb.Stats())
        self.assertEqual(stats["sockets"], 1)
        self.assertNotIn("version", stats)
        self.assertNotIn("clients", stats)

    def test_control_sees_sessions(self):
        self.start()
        client = self.client(name="seen")
        number = client.inspect(show=pb.Show())[0]["id"]
        shown, = self.control().inspect(show=pb.Show(id=number))
        self.assertEqual((shown["name"], shown["uid"]), ("seen", os.getuid()))

    def test_stats_count(self):
        self.start("--allow-any")
        control = self.control()
        wait_for("the probes' ends", lambda: control.inspect(stats=pb.Stats())[0]["clients"] == 1)
        before, = control.inspect(stats=pb.Stats())
        self.assertEqual(before["sockets"], 0)
        client = self.client()
        sock, peer = self.pair(client)
        sock.send(b"12345").result(DEADLINE)
        after, = control.inspect(stats=pb.Stats())
        self.assertEqual((after["clients"], after["sockets"]), (2, 1))
        self.assertEqual(after["bytes_out"] - before["bytes_out"], 5)
        self.assertEqual(after["sockets_total"] - before["sockets_total"], 1)
        self.assertGreater(after["turns"], before["turns"])
        self.assertRegex(after["version"], r"^\d+\.\d+\.\d+$")
        peer.close()


if __name__ == "__main__":
    unittest.main()
