# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run --transparent: the ends of the command and of its processes; sandboxes; a daemon that ends."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import asockctl
from asockd import Daemon, DaemonTest
import network
from transparent import ASYNCIO, DEADLINE, PRELUDE, SEND_AND_END, TransparentTest, setUpModule

network.enter()


class Life(TransparentTest):

    def test_exit_status_and_signals(self):
        for command, expected in ((["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -TERM $$"], 128 + 15),
                                  (["/nonexistent"], 127), (["/etc/passwd"], 126)):
            with self.subTest(command=command):
                self.assertEqual(self.run_tool("--", *command).returncode, expected)

    def test_signals_are_passed_on(self):
        code = """
import signal
signal.signal(int(args[0]), lambda *_: os._exit(9))
print("ready", flush=True)
while True:
    signal.pause()
"""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
            program = self.start(sys.executable, "-c", PRELUDE + code, str(int(number)))
            self.assertEqual(program.stdout.readline(), b"ready\n")
            program.send_signal(number)
            self.assertEqual(program.wait(DEADLINE), 9)

    def test_signals_to_the_group_come_once(self):
        asockctl.check_signals(self, self.start)

    def test_a_signal_that_comes_before_the_command_is_not_lost(self):
        for _ in range(5):
            program = self.start("sleep", "1000")
            self.daemon.wait(lambda: asockctl.catches(program, signal.SIGTERM))
            program.terminate()
            self.assertEqual(program.wait(DEADLINE), 128 + signal.SIGTERM)

    def wait_for_end(self, descriptor):
        """All processes that hold the other end."""
        self.assertEqual(os.read(descriptor, 1), b"")
        os.close(descriptor)

    def test_everything_ends_with_asockctl(self):
        read, write = os.pipe()
        program = self.start("sh", "-c", "setsid sleep 1000 & sleep 1000 & echo ready; exec sleep 1000",
                             pass_fds=(write,))
        os.close(write)
        self.assertEqual(program.stdout.readline(), b"ready\n")
        program.kill()
        self.wait_for_end(read)
        self.assertEqual(program.wait(DEADLINE), -signal.SIGKILL)

    def test_what_the_command_leaves_behind_ends_with_it(self):
        read, write = os.pipe()
        program = self.start("sh", "-c", "setsid sleep 1000 & exit 3", pass_fds=(write,))
        os.close(write)
        self.wait_for_end(read)
        self.assertEqual(program.wait(DEADLINE), 3)

    def test_what_the_command_has_sent_last_arrives(self):
        """The peer reads only after the command has ended."""
        listener = self.hold(socket.create_server((network.OWN4, 0)))
        program = self.start(sys.executable, "-c", PRELUDE + SEND_AND_END, str(listener.getsockname()[1]), network.OWN4)
        peer = self.accept(listener)
        asockctl.wait_for_child(program)
        self.assertEqual(asockctl.read_all(peer), int(program.stdout.readline()))
        self.assertEqual(program.wait(DEADLINE), 3)

    def test_a_peer_that_does_not_read_is_left_by_a_signal(self):
        """What it has sent fits into the buffers on the way, but not into those of the peer and of the daemon's socket."""
        network.set_tcp_buffers(self, "4096 4096 8192")
        listener = self.hold(socket.create_server((network.OWN4, 0)))
        code = "sock = socket.create_connection((args[1], int(args[0])))\nsock.sendall(bytes(1 << 16))\nos._exit(3)"
        program = self.start(sys.executable, "-c", PRELUDE + code, str(listener.getsockname()[1]), network.OWN4)
        self.accept(listener)
        asockctl.wait_for_child(program)
        self.daemon.wait(lambda: not asockctl.catches(program, signal.SIGTERM))
        program.terminate()
        self.assertEqual(program.wait(DEADLINE), -signal.SIGTERM)

    def test_it_is_continued_once(self):
        asockctl.check_continues(self, self.start)

    def test_it_stops_with_its_command(self):
        program = self.start("sh", "-c", "kill -STOP $$; exit 5")
        _, status = os.waitpid(program.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        program.send_signal(signal.SIGCONT)
        self.assertEqual(program.wait(DEADLINE), 5)

    def test_without_a_daemon_nothing_runs(self):
        done = asockctl.run("run", "--transparent", "--socket", "/nonexistent/asock.sock", "--", "echo", "ran")
        self.assertEqual((done.returncode, done.stdout), (125, b""))

    def test_without_user_namespaces_one_sentence_says_so(self):
        done = asockctl.run("run", "--transparent", "--socket", self.daemon.path, "--", "echo", "ran",
                            wrapper=("unshare", "--user", "--map-root-user", "sh", "-c",
                                     'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"', "sh"))
        text = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout, text.count("\n")), (125, b"", 1), text)
        self.assertIn("user namespace", text)
        self.assertIn("max_user_namespaces", text)
        self.assertIn("--proxy", text)

    def test_options_that_exclude_each_other(self):
        for options in (("--proxy",), ("--sandbox", "--proxy")):
            self.assertEqual(self.run_tool(*options, "--", "true").returncode, 125)
        done = asockctl.run("run", "--sandbox", "--socket", self.daemon.path, "--", "true")
        self.assertEqual(done.returncode, 125)


class Sandboxed(TransparentTest):

    def setUp(self):
        super().setUp()
        if not shutil.which("bwrap"):
            self.skipTest("no bubblewrap")
        self.folder = tempfile.mkdtemp(prefix="asock-sandbox-")
        self.addCleanup(shutil.rmtree, self.folder)

    def test_the_system_is_read_only_and_this_directory_is_not(self):
        code = """
def write(path):
    try:
        open(path, "w").close()
        return True
    except OSError:
        return False
with socket.create_connection(("both.test", int(args[0]))) as sock:
    sock.sendall(b"ping")
    say(sock.recv(4).decode())
say([write(path) for path in ("here", "/tmp/there", "/etc/nowhere", args[1])])
say(sorted(os.listdir("/tmp")))
"""
        outside = os.path.join(os.path.dirname(self.folder), "asock-sandbox-outside")
        done = self.run_tool("--sandbox", "--", sys.executable, "-c", PRELUDE + code, str(self.echo.port), outside,
                             cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        said = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(said[:2], ["ping", [True, True, False, True]])
        self.assertFalse(os.path.exists(outside))  # it was another /tmp
        self.assertEqual(os.listdir(self.folder), ["here"])
        self.assertIn(os.path.basename(self.folder), said[2])

    def test_no_input_can_be_put_into_a_terminal(self):
        """A shell outside would read it as a command. Without --sandbox the command has the user's files anyway."""
        code = """
import ctypes, fcntl, mmap, platform, struct, termios
def plain(fd):
    fcntl.ioctl(fd, termios.TIOCSTI, b"x")
def paste(fd):
    fcntl.ioctl(fd, 0x541c, b"\\x03")  # TIOCLINUX
def i386(fd):
    code = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, prot=7)  # MAP_32BIT
    start = ctypes.addressof(ctypes.c_char.from_buffer(code))
    code.write(b"\\x53\\xb8\\x36\\0\\0\\0\\xbb" + struct.pack("=i", fd) + b"\\xb9\\x12\\x54\\0\\0\\xba" + struct.pack("=I", start)
               + b"\\xcd\\x80\\x5b\\xc3")
    error = -ctypes.CFUNCTYPE(ctypes.c_int)(start)()
    if error:
        raise OSError(error, "")
def attempt(how):
    if (pid := os.fork()) == 0:
        os.setsid()
        _, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        try:
            how(slave)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
say([attempt(plain), attempt(paste), attempt(i386) if platform.machine() == "x86_64" else 1])
"""
        lines = []
        for options in (("--sandbox",), ()):
            done = self.run_tool(*options, "--", sys.executable, "-c", PRELUDE + code, cwd=self.folder)
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            lines.append(json.loads(done.stdout))
        self.assertEqual(lines[0][:2], [errno.EPERM] * 2)
        self.assertIn(lines[0][2], (errno.EPERM, -signal.SIGSEGV))  # or the kernel has no such system calls
        self.assertIn(lines[1][0], (0, errno.EIO))  # or it allows it to nobody

    def test_a_command_that_cannot_be_run_says_so_by_its_status(self):
        self.assertEqual(self.run_tool("--sandbox", "--", "/nonexistent", cwd=self.folder).returncode, 127)

    def test_an_own_line_of_bubblewrap(self):
        done = self.run_tool("--", "bwrap", "--unshare-user", "--ro-bind", "/", "/", "--dev", "/dev", sys.executable,
                             "-c", PRELUDE + ASYNCIO, "both.test", str(self.echo.port))
        self.assertEqual((done.returncode, done.stdout), (0, b"ping"), done.stderr.decode())


class LostSession(TransparentTest):

    def test_the_next_connection_opens_another_session(self):
        code = """
def ping():
    with socket.create_connection((args[1], int(args[0]))) as sock:
        sock.sendall(b"ping")
        return sock.recv(4).decode()
print(ping(), flush=True)
sys.stdin.readline()
while attempt(args[1], int(args[0]), True) != "connected": pass
print(ping(), flush=True)
"""
        program = self.start(sys.executable, "-c", PRELUDE + code, str(self.echo.port), network.OWN4,
                             stdin=subprocess.PIPE)
        self.assertEqual(program.stdout.readline(), b"ping\n")
        rows = json.loads(asockctl.run("sessions", "--json", "--control", self.daemon.control_path).stdout)
        session = next(row["id"] for row in rows if row["listener"] == "default")
        done = asockctl.run("kill", "--yes", "--control", self.daemon.control_path, str(session))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(program.communicate(b"\n", timeout=DEADLINE)[0], b"ping\n")
        self.assertEqual(program.returncode, 0)


class LostDaemon(DaemonTest):

    def test_connections_end_and_new_ones_are_refused(self):
        daemon = Daemon("--allow-any")
        listener = self.hold(socket.create_server((network.OWN4, 0)))
        code = """
sock = socket.create_connection((args[1], int(args[0])))
print("ready", flush=True)
try:
    say(len(sock.recv(1)))
except ConnectionResetError:
    say("reset")
say([attempt(args[1], int(args[0]), blocking) for blocking in (True, False)])
"""
        program = self.hold(asockctl.Tool("run", "--transparent", "--socket", daemon.path, "--", sys.executable, "-c",
                                          PRELUDE + code, str(listener.getsockname()[1]), network.OWN4,
                                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        self.assertEqual(program.stdout.readline(), b"ready\n")
        daemon.stop()
        output, _ = program.communicate(timeout=DEADLINE)
        self.assertEqual(output, b'"reset"\n["ENETUNREACH", "ENETUNREACH"]\n')
