# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl proxy and asockctl run --proxy: arguments, and life with a command."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading

import asockctl
from asockd import DaemonTest
from proxy import DEADLINE, Proxy
from suspend import suspend

# Connects through the proxy to a port of this machine.
CONNECT = '''
import os, socket, sys
proxy = os.environ["ALL_PROXY"].rpartition(":")[2]
sock = socket.create_connection(("127.0.0.1", int(proxy)))
sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
sock.recv(1000)
'''


class Arguments(DaemonTest):

    def fails(self, *args, status=1):
        done = asockctl.run("proxy", "--socket", self.daemon.path, *args)
        self.assertEqual((done.returncode, done.stdout), (status, b""), done.stderr.decode())
        return done.stderr.decode()

    def test_wrong_calls(self):
        self.assertIn("--listen", self.fails(status=2))
        self.assertIn("loopback", self.fails("--listen", "0.0.0.0:1080"))
        self.assertIn("loopback", self.fails("--listen", "192.0.2.1:1080"))
        self.assertIn("loopback", self.fails("--listen", "nonsense"))
        self.assertIn("loopback", self.fails("--listen", "127.0.0.1:70000"))
        with tempfile.NamedTemporaryFile() as file:
            self.assertIn("is not a socket", self.fails("--listen", file.name))
        done = asockctl.run("proxy", "--socket", "/nonexistent/asock.sock", "--listen", "/tmp/never.sock")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent/asock.sock", done.stderr.decode())
        self.assertFalse(os.path.exists("/tmp/never.sock"))

    def test_a_daemon_that_does_not_answer_runs_nothing(self):
        """It is stopped: the kernel accepts the connection for it."""
        where = ("--socket", self.daemon.path, "--timeout", "0.3")
        suspend(self.daemon.pid)
        try:
            done = [asockctl.run("run", *how, *where, "--", "echo", "ran") for how in ((), ("--proxy",), ("--transparent",))]
            done.append(asockctl.run("proxy", *where, "--listen", "127.0.0.1:0"))
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)
        self.assertEqual([(d.returncode, d.stdout) for d in done], [(125, b"")] * 3 + [(1, b"")])
        for one in done:
            self.assertIn("asockd is not responding", one.stderr.decode())

    def test_no_descriptor_for_the_connection_is_a_message(self):
        """Raises the limit by one until the tool runs. (libtool's script needs more than the program itself.)"""
        libraries = os.path.join(asockctl.BUILDDIR, ".libs")
        program = os.path.join(libraries, "asockctl")
        said = {}
        for limit in range(4, 40):
            tool = subprocess.Popen(
                [program if os.path.exists(program) else asockctl.TOOL, "proxy", "--socket", self.daemon.path, "--listen", "127.0.0.1:0"],
                env=asockctl.environment(LD_LIBRARY_PATH=libraries), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
            if runs := tool.stdout.readline():
                tool.terminate()
            text = tool.communicate(timeout=DEADLINE)[1].decode()
            if runs:
                break
            said[limit] = (tool.returncode, "no file descriptor is left for the connection to asockd" in text)
        self.assertIn((1, True), said.values(), said)

    def test_no_descriptor_for_the_loop_is_a_message(self):
        """At none of the lowest limits a signal ends it, as libev's abort() would."""
        libraries = os.path.join(asockctl.BUILDDIR, ".libs")
        program = os.path.join(libraries, "asockctl")
        # The search for leaks needs descriptors, too.
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        for command, own in ((("run", "--proxy", "--", "true"), 125), (("proxy", "--listen", "127.0.0.1:0"), 1)):
            said = {}
            for limit in range(4, 16):
                done = subprocess.run(
                    [program if os.path.exists(program) else asockctl.TOOL, command[0], "--socket", self.daemon.path, *command[1:]],
                    env=asockctl.environment(LD_LIBRARY_PATH=libraries, ASAN_OPTIONS=sanitizer), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE, timeout=DEADLINE, check=False,
                    preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
                said[limit] = (done.returncode, done.stderr)
                if b"for the connection to asockd" in done.stderr:
                    break
            self.assertIn((own, b"asockctl: no file descriptor is left for the event loop (raise the limit with ulimit -n)\n"), said.values())
            self.assertEqual([one for one in said.items() if one[1][0] < 0 or b"libev" in one[1][1]], [])

    def test_the_unix_socket_is_the_users_alone(self):
        proxy = self.hold(Proxy(self.daemon))
        self.assertEqual(stat.S_IMODE(os.stat(proxy.path).st_mode), 0o600)
        self.assertIn("another program is listening there", self.fails("--listen", proxy.path))
        self.assertEqual(proxy.stop(), 0)
        self.assertFalse(os.path.exists(proxy.path))

    def test_a_stale_socket_is_replaced(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "stale.sock")
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(path)
            tool = self.hold(asockctl.Tool("proxy", "--socket", self.daemon.path, "--listen", path,
                                           stdout=subprocess.PIPE))
            self.assertEqual(tool.stdout.readline().decode(), path + "\n")
            tool.send_signal(signal.SIGINT)
            self.assertEqual(tool.wait(DEADLINE), 0)


class Around(DaemonTest):
    """asockctl run --proxy."""

    def run_tool(self, *command, **options):
        return asockctl.run("run", "--socket", self.daemon.path, "--proxy", "--", *command, **options)

    def test_the_command_finds_the_proxy(self):
        done = self.run_tool("sh", "-c", 'echo "$ALL_PROXY|$HTTPS_PROXY|$https_proxy|$NO_PROXY|$ASOCK_FD|"')
        socks, http1, http2, none, fd, _ = done.stdout.decode().split("|")
        self.assertRegex(socks, r"^socks5h://127\.0\.0\.1:\d+$")
        self.assertEqual({http1, http2}, {socks.replace("socks5h", "http")})
        self.assertIn("localhost", none)
        self.assertEqual(fd, "")

    def test_status_and_signals_are_the_commands(self):
        self.assertEqual(self.run_tool("sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.run_tool("sh", "-c", "kill -TERM $$").returncode, 128 + signal.SIGTERM)
        self.assertEqual(self.run_tool("/nonexistent").returncode, 127)
        self.assertEqual(self.run_tool("/etc/passwd").returncode, 126)
        done = asockctl.run("run", "--socket", "/nonexistent/asock.sock", "--proxy", "--", "true")
        self.assertEqual(done.returncode, 125)
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", "sh", "-c",
                                       "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done",
                                       stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"up\n")
        tool.send_signal(signal.SIGTERM)
        self.assertEqual(tool.wait(DEADLINE), 9)

    def test_signals_to_the_group_come_once(self):
        asockctl.check_signals(self, lambda *command, **options: self.hold(asockctl.Tool(
            "run", "--socket", self.daemon.path, "--proxy", "--", *command, stdout=subprocess.PIPE, **options)))

    def test_it_is_continued_once(self):
        asockctl.check_continues(self, lambda *command, **options: self.hold(asockctl.Tool(
            "run", "--socket", self.daemon.path, "--proxy", "--", *command, stdout=subprocess.PIPE, **options)))

    def test_what_the_command_has_sent_last_arrives(self):
        """The peer reads only after the command has ended."""
        listener = self.listener()
        code = CONNECT + asockctl.SEND_AND_END
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1]), stdout=subprocess.PIPE))
        peer = self.hold(listener.accept()[0])
        asockctl.wait_for_child(tool)
        self.assertEqual(asockctl.read_all(peer), int(tool.stdout.readline()))
        self.assertEqual(tool.wait(DEADLINE), 3)

    def test_what_it_has_sent_from_a_port_of_many_connections_arrives(self):
        """
        The table of TCP sockets has several that could be meant. The peer reads little at a time, and nothing before the
        command has ended, which sends until no buffer on the way takes more: its own kernel holds a part then.
        """
        listener = self.listener()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        code = '''
import os, select, socket, sys
proxy = ("127.0.0.1", int(os.environ["ALL_PROXY"].rpartition(":")[2]))
socks, own = [], 0
for number in range(2, 11):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((f"127.0.0.{number}", own))
    own = sock.getsockname()[1]
    sock.connect(proxy)
    sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
    sock.recv(1000)
    socks.append(sock)
socks[0].setblocking(False)
count = 0
poll = select.poll()
poll.register(socks[0], select.POLLOUT)
while poll.poll(500):
    count += socks[0].send(bytes(1 << 16))
print(count, flush=True)
socks[0].shutdown(socket.SHUT_WR)
if os.fork():
    os._exit(3)
socks[0].setblocking(True)
socks[0].recv(1)
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1]), stdout=subprocess.PIPE))
        peer = self.accept(listener)
        asockctl.wait_for_child(tool)
        received = 0
        while data := peer.recv(2048):
            received += len(data)
        self.assertEqual(received, int(tool.stdout.readline()))
        self.assertEqual(tool.wait(DEADLINE), 3)

    def test_connects_at_the_very_end_arrive(self):
        """Many connections that are neither accepted nor read when the command ends: the kernel does not say any more whose."""
        listener = self.listener(backlog=200)
        code = '''
import os, socket, sys
from suspend import suspend
proxy = ("127.0.0.1", int(os.environ["ALL_PROXY"].rpartition(":")[2]))
suspend(os.getppid())
for number in range(150):
    sock = socket.create_connection(proxy)
    sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n%c" % (sys.argv[1].encode(), number))
    sock.detach()
print("connected", flush=True)
os._exit(3)
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--any-user", "--", sys.executable, "-c",
                                       code, str(listener.getsockname()[1]), stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"connected\n")
        asockctl.wait_for_child(tool)
        tool.send_signal(signal.SIGCONT)
        numbers = set()
        with contextlib.suppress(TimeoutError):
            while len(numbers) < 150:
                with listener.accept()[0] as peer:
                    numbers.add(peer.recv(1))
        self.assertEqual(len(numbers), 150)
        self.assertEqual(tool.wait(DEADLINE), 3)

    def test_what_it_leaves_behind_does_not_hold_up_the_end(self):
        """The program always has data in flight; only what it sent before the end is passed on."""
        listener = self.listener()
        code = CONNECT + '''
sock.sendall(bytes(1000))
if os.fork():
    os._exit(3)
try:
    while data := sock.recv(100):
        sock.sendall(data)
except OSError:
    pass
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1])))
        peer = self.accept(listener)
        counts = []

        def answer():
            with contextlib.suppress(ConnectionResetError):
                while data := peer.recv(100):
                    peer.sendall(data)
                    counts.append(len(data))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        asockctl.wait_for_child(tool)
        before = len(counts)
        self.assertEqual(tool.wait(DEADLINE), 3)
        thread.join(DEADLINE)
        # In the time for which asockctl waits after the command's end, twice as many would arrive, or more.
        self.assertLess(len(counts) - before, 100000)

    def test_in_a_sandbox_that_has_nothing_but_a_descriptor(self):
        if not shutil.which("bwrap") or not shutil.which("curl"):
            self.skipTest("no bwrap or no curl")
        listener = self.listener()
        port = listener.getsockname()[1]

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        with tempfile.NamedTemporaryFile("w", suffix=".policy") as policy:
            policy.write(f"[Rules]\nAllow=tcp 127.0.0.1 {port}\n")
            policy.flush()
            os.chmod(policy.name, 0o644)
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{port}/"
            done = asockctl.run("run", "--fd", "--socket", self.daemon.path, "--policy", policy.name, "--", "bwrap",
                                "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all",
                                asockctl.TOOL, "run", "--proxy", "--", "sh", "-c",
                                f"curl -sS --noproxy '' {url} && ! curl -sS --noproxy '' http://127.0.0.2/ -p")
            thread.join(DEADLINE)
        self.assertEqual((done.returncode, done.stdout), (0, b"hello"), done.stderr.decode())
        self.assertIn("403", done.stderr.decode())
