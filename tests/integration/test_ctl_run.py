# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run --fd: one program gets a session instead of the daemon's socket. And what run refuses."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import asockctl
from asockd import DaemonTest
from wire import Wire, pb

DEADLINE = asockctl.DEADLINE

# What stands for a program: says whether the session still has the launcher's name, then does what a client does.
PROGRAM = """
import os, socket, sys
from wire import Wire, pb
wire = Wire(sock=socket.socket(fileno=int(os.environ["ASOCK_FD"])))
wire.hello()
print(wire.inspect(show=pb.Show())[0]["name"])
"""

# One that takes all it can get, and keeps it until its input ends.
GREEDY = """
import os, socket, sys
from wire import Wire, pb
wire = Wire(sock=socket.socket(fileno=int(os.environ["ASOCK_FD"])))
wire.hello(sockets=65536, ops=262144, send_window=1 << 26, queued_max=1 << 40)
target = ("127.0.0.1", int(sys.argv[1]))
count = min(wire.welcome.sockets, 1000)
for n in range(1, count + 1):
    wire.send(wire.open(n, n), wire.connect(100000 + n, n, target))
    assert wire.completion(n).error == pb.ERROR_SUCCESS
    assert wire.completion(100000 + n).error == pb.ERROR_SUCCESS
for op in range(200000, 200065):
    wire.send(wire.make_register(op, 1))
    if wire.completion(op).error:
        break
else:
    raise AssertionError("any number of buffers")
print(wire.welcome.sockets, wire.welcome.queued_max, flush=True)
sys.stdin.read()
"""

QUIET = """
import os, socket, sys
from wire import Wire, pb
wire = Wire(sock=socket.socket(fileno=int(os.environ["ASOCK_FD"])))
wire.hello()
wire.send(wire.open(1, 1), wire.connect(2, 1, ("127.0.0.1", int(sys.argv[1]))), wire.make_send(3, 1, b"echo"), wire.receive(4, 1, 4))
assert wire.whole(4)[1] == b"echo"
wire.register(1)
print(wire.welcome.sockets, wire.welcome.queued_max)
"""


class Run(DaemonTest):

    def run_tool(self, *args, socket_path=None, **options):
        path = self.daemon.path if socket_path is None else socket_path
        return asockctl.run("run", "--fd", "--socket", path, *args, **options)

    def check_own_failure(self, *args, message, status=125, **options):
        done = self.run_tool(*args, **options)
        text = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout), (status, b""), (args, text))
        self.assertTrue(text.startswith("asockctl: "), text)
        self.assertIn(message, text)

    def program(self, *options, code=PROGRAM, command=(sys.executable,)):
        env = asockctl.environment(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
        done = self.run_tool(*options, "--", *command, "-c", code, env=env)
        self.assertEqual((done.returncode, done.stderr), (0, b""), done.stderr.decode())
        return done.stdout.decode()

    def echo_once(self):
        """An echo server for one connection; returns its port."""
        listener = self.listener()
        listener.settimeout(asockctl.COMMAND_DEADLINE)  # until the command connects

        def serve():
            peer, _ = listener.accept()
            with peer:
                while data := peer.recv(4096):
                    peer.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, DEADLINE)
        return listener.getsockname()[1]

    # ------------------------------------------------------------------------- it works

    def test_program_goes_on_with_the_session(self):
        """A program of the library's, which knows nothing of it but ASOCK_FD."""
        done = self.run_tool("--", asockctl.TOOL, "connect", "127.0.0.1", str(self.echo_once()), stdin=b"there and back")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"there and back", b""))

    def test_session_has_a_name(self):
        self.assertEqual(self.program(), os.path.basename(sys.executable) + "\n")
        self.assertEqual(self.program("--name", "sandbox 7"), "sandbox 7\n")

    def test_environment_is_the_callers_but_for_one_variable(self):
        env = asockctl.environment(SOMETHING="else", ASOCK_SOCKET=self.daemon.path)
        with_run = asockctl.run("run", "--fd", "--", "env", "-0", env=env).stdout.split(b"\0")
        got = dict(entry.split(b"=", 1) for entry in with_run if entry)
        self.assertGreaterEqual(int(got.pop(b"ASOCK_FD")), 3)
        # The built tool is a script of libtool's, which changes some of its own.
        for name in ("SOMETHING", "ASOCK_SOCKET", "LC_ALL", "PATH", "HOME"):
            self.assertEqual(got.get(name.encode()), os.fsencode(env[name]) if name in env else None)
        self.assertEqual([name for name in got if name.startswith(b"ASOCK_")], [b"ASOCK_SOCKET"])

    def test_no_other_descriptor_is_left(self):
        done = self.run_tool("--", "sh", "-c", 'ls -l /proc/self/fd; echo "fd $ASOCK_FD"')
        lines = done.stdout.decode().splitlines()
        sockets = [line for line in lines if "socket:" in line]
        self.assertEqual(len(sockets), 1, lines)
        self.assertIn(f" {lines[-1].split()[1]} -> socket:", sockets[0])
        self.assertFalse([line for line in lines if "eventfd" in line], lines)

    def test_it_is_the_same_process(self):
        """exec, not fork: signals and the exit status are the program's."""
        with tempfile.TemporaryFile() as output:
            tool = self.hold(asockctl.Tool("run", "--fd", "--socket", self.daemon.path, "--", "sh", "-c", "echo $$; exit 7",
                                           stdout=output))
            self.assertEqual(tool.wait(DEADLINE), 7)
            output.seek(0)
            self.assertEqual(int(output.read()), tool.pid)
        done = self.run_tool("--", "sh", "-c", "kill -TERM $$")
        self.assertEqual(done.returncode, -signal.SIGTERM)

    def test_session_lives_as_long_as_the_program(self):
        tool = self.hold(asockctl.Tool("run", "--fd", "--socket", self.daemon.path, "--name", "sleeper", "--",
                                       "sh", "-c", "echo up; exec sleep 600", stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"up\n")
        self.assertEqual(self.daemon.stats()["clients"], 2)
        tool.kill()
        tool.wait(DEADLINE)
        self.daemon.settle(self.before)

    def test_run_within_run(self):
        """The inner one hands the same session on."""
        inner = (asockctl.TOOL, "run", "--fd", "--name", "inner", "--", sys.executable)
        self.assertEqual(self.program("--name", "outer", command=inner), "inner\n")

    def test_python_client(self):
        code = ("from asock.client import Client\n"
                "with Client() as client:\n"
                "    sock = client.socket()\n"
                f"    sock.connect('127.0.0.1', {self.echo_once()}).result()\n"
                "    sock.send(b'from Python').result()\n"
                "    print(sock.receive().result().decode())\n")
        self.assertEqual(self.program(code=code), "from Python\n")

    def test_one_program_after_another_can_use_it(self):
        """The next one goes on where the first has closed what it opened."""
        script = f"{asockctl.TOOL} connect 127.0.0.1 {self.echo_once()} </dev/null && {asockctl.TOOL} show"
        done = self.run_tool("--", "sh", "-c", script)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertRegex(done.stdout, rb"(?m)^sockets +0$")

    # ------------------------------------------------------------------------- it restricts

    def policy(self, text):
        """The path of a file with that text."""
        file = self.hold(tempfile.NamedTemporaryFile("w", suffix=".policy"))
        file.write(text)
        file.flush()
        return file.name

    def allowing(self, port):
        return self.policy(f"[Rules]\nAllow=tcp 127.0.0.1 {port} +loopback\n")

    def connect(self, *options, port, before=()):
        """The tool as the program, behind these commands."""
        return self.run_tool(*options, "--", *before, asockctl.TOOL, "connect", "127.0.0.1", str(port), stdin=b"echo")

    def check_denied(self, done, listener):
        self.assertEqual((done.returncode, done.stdout), (3, b""))
        self.assertIn(b"denied", done.stderr.lower())
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()

    def test_policy_holds_for_the_program(self):
        port, outside = self.echo_once(), self.listener()
        done = self.connect("--policy", self.allowing(port), port=port)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"echo", b""))
        self.check_denied(self.connect("--policy", self.allowing(port), port=outside.getsockname()[1]), outside)

    def test_run_within_run_restricts_further(self):
        port, outside = self.echo_once(), self.listener()
        other = outside.getsockname()[1]
        both = self.policy(f"[Rules]\nAllow=tcp 127.0.0.1 {port} +loopback\nAllow=tcp 127.0.0.1 {other} +loopback\n")
        for outer, inner in ((both, self.allowing(port)), (self.allowing(port), both)):
            before = (asockctl.TOOL, "run", "--fd", "--policy", inner, "--")
            self.check_denied(self.connect("--policy", outer, port=other, before=before), outside)
        done = self.connect("--policy", both, port=port, before=(asockctl.TOOL, "run", "--fd", "--policy", both, "--"))
        self.assertEqual((done.returncode, done.stdout), (0, b"echo"))

    def test_in_bubblewrap(self):
        """Nothing but the descriptor: no network, no socket of the daemon's."""
        if not shutil.which("bwrap"):
            self.skipTest("no bwrap")
        port, outside = self.echo_once(), self.listener()
        sandbox = ("bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
                   "--tmpfs", self.daemon.directory, "--")
        if self.run_tool("--", *sandbox, "true").returncode != 0:
            self.skipTest("no sandbox can be made here")
        done = self.connect("--policy", self.allowing(port), port=port, before=sandbox)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"echo", b""))
        self.check_denied(self.connect("--policy", self.allowing(port), port=outside.getsockname()[1], before=sandbox),
                          outside)
        # Without it there is no way.
        done = asockctl.run("run", "--fd", "--socket", self.daemon.path, "--", *sandbox, asockctl.TOOL, "connect", "--socket",
                            self.daemon.path, "127.0.0.1", str(port))
        self.assertEqual(done.returncode, 8)
        self.assertIn(b"does not exist", done.stderr)

    def test_s49_a_greedy_sandbox_leaves_the_other_one_of_its_user_a_share(self):
        if not shutil.which("bwrap"):
            self.skipTest("no bwrap")
        port, sink = self.echo_once(), self.listener(backlog=4096)
        sandbox = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
                   "--tmpfs", self.daemon.directory, "--"]
        if self.run_tool("--", *sandbox, "true").returncode != 0:
            self.skipTest("no sandbox can be made here")
        env = asockctl.environment(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
        sink_port = sink.getsockname()[1]
        command = [asockctl.TOOL, "run", "--fd", "--socket", self.daemon.path, "--policy", self.allowing(sink_port), "--", *sandbox,
                   sys.executable, "-c", GREEDY, str(sink_port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as greedy:
            self.addCleanup(greedy.kill)
            taken = [int(n) for n in greedy.stdout.readline().split()]
            done = self.run_tool("--policy", self.allowing(port), "--", *sandbox, sys.executable, "-c", QUIET, str(port),
                                 env=env)
            self.assertEqual((done.returncode, done.stderr), (0, b""), done.stderr.decode())
            granted = [int(n) for n in done.stdout.split()]
            # Half of what is left is half of what the first one has; who asks for nothing gets half of that.
            for first, second, default in zip(taken, granted, (1024, 16 << 20)):
                self.assertGreaterEqual(second, min(first // 4, default))
            greedy.send_signal(signal.SIGKILL)

    def test_documented_sandbox_hides_the_daemon(self):
        """Otherwise its program opens a session without restrictions."""
        words = asockctl.run("run", "--help").stdout.decode().split()
        words = words[words.index("PROGRAM'") + 1:]
        sandbox = words[words.index("bwrap"):words.index("PROGRAM")]
        if not shutil.which("bwrap") or self.run_tool("--", *sandbox, "true").returncode != 0:
            self.skipTest("no sandbox can be made here")
        with tempfile.NamedTemporaryFile(dir="/run"):
            done = self.run_tool("--", *sandbox, "ls", "-A", "/run")
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        with open(os.path.join(os.environ["ASOCK_TEST_SRCDIR"], "man/asockctl.1"), encoding="utf-8") as page:
            self.assertIn(" ".join(sandbox), page.read().replace("\\-", "-"))

    # --------------------------------------------------------------------------- it fails

    def test_wrong_policies(self):
        for text, says in (("[Rules]\nAlow=tcp * 1\n", ":2: "), ("[Rules]\n\n\nAllow=tcp * 1 +x\n", ":4: "),
                           ("[Limits]\nSockets=5\n", ":1: "), ("Allow=tcp * 1\n", ":1: ")):
            path = self.policy(text)
            self.check_own_failure("--policy", path, "--", "echo", "ran", message=f"asockctl: {path}{says}")
        path = self.policy("[Rules]\n" + "# comment\n" * 40000)
        self.check_own_failure("--policy", path, "--", "echo", "ran", message=f"{path}: larger than 256 KiB")
        path = self.policy("[Rules]\n" + "Allow=tcp * 1\n" * 5000)
        self.check_own_failure("--policy", path, "--", "echo", "ran", message=path + ": ")
        self.check_own_failure("--policy", "/nowhere/x", "--", "echo", "ran", message="/nowhere/x: No such file")
        self.check_own_failure("--policy", "/", "--", "echo", "ran", message="/: Is a directory")
        self.check_own_failure("--policy", "/a\nb\x1b", "--", "echo", "ran", message=r"/a\nb\x1b: ")
        self.check_own_failure("--policy", message="requires an argument")

    def test_wrong_calls(self):
        self.check_own_failure(message="usage: asockctl run [OPTION]... -- COMMAND")
        self.check_own_failure("--", message="usage: asockctl run")
        self.check_own_failure("--frobnicate", "--", "true", message="unrecognized option")
        self.check_own_failure("--json", "--", "true", message="run does not accept --json")
        self.check_own_failure("--proxy", "--", "true", message="--proxy, --transparent and --fd cannot be combined")
        self.check_own_failure("--human", "--", "true", message="run does not accept --human")
        self.check_own_failure("--control", "/x", "--", "true", message="--socket, not --control")
        self.check_own_failure("--timeout", "x", "--", "true", message="--timeout")
        for name in ("x" * 65, "line\nfeed", "\x7f"):
            self.check_own_failure("--name", name, "--", "true", message="--name")
        done = asockctl.run("list", "--name", "x")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"list does not accept --name", done.stderr)

    def test_the_control_socket_is_not_handed_on(self):
        for options in ((), ("--policy", self.policy("[Rules]\n"))):
            self.check_own_failure(*options, "--", "echo", "ran", socket_path=self.daemon.control_path,
                                   message="is the control socket")
        for more in ({}, {"ASOCK_FD": ""}):
            env = asockctl.environment(ASOCK_SOCKET=self.daemon.control_path, **more)
            done = asockctl.run("run", "--", "echo", "ran", env=env)
            self.assertEqual((done.returncode, done.stdout), (125, b""))
            self.assertIn(b"is the control socket", done.stderr)

    def test_command_that_cannot_be_run(self):
        self.check_own_failure("--", "/nowhere/prog", message="/nowhere/prog: No such file", status=127)
        self.check_own_failure("--", "no-such-command-at-all", message="No such file", status=127)
        self.check_own_failure("--", "/", message="Permission denied", status=126)
        self.check_own_failure("--", "/esc\x1b[31m", message=r"/esc\x1b[31m: ", status=127)

    def test_no_daemon(self):
        self.check_own_failure("--", "true", socket_path="/nowhere/asock.sock", message="is asockd running?")

    def test_daemon_that_says_nothing(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as mute:
            path = os.path.join(folder, "sock")
            mute.bind(path)
            mute.listen()
            self.check_own_failure("--timeout", "0.01", "--", "true", socket_path=path, message="systemctl status asockd")

    def test_daemon_that_refuses(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as rude:
            path = os.path.join(folder, "sock")
            rude.bind(path)
            rude.listen()

            def serve():
                peer, _ = rude.accept()
                peer.close()

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            self.check_own_failure("--", "true", socket_path=path, message="asockd ended the session")
            thread.join(DEADLINE)

    def test_bad_inherited_descriptor(self):
        """An invalid one is an error, not ignored."""
        for value in ("x", "987654", "0"):
            with self.subTest(value=value):
                done = asockctl.run("connect", "127.0.0.1", "1",
                                    env=asockctl.environment(ASOCK_FD=value, ASOCK_SOCKET=self.daemon.path))
                self.assertEqual((done.returncode, done.stdout), (8, b""))
                self.assertIn(b"ASOCK_FD", done.stderr)

    def test_killed_half_way(self):
        """Before exec the session is asockctl's and goes with it."""
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as proxy:
            path = os.path.join(folder, "sock")
            proxy.bind(path)
            proxy.listen()
            proxy.settimeout(DEADLINE)
            tool = self.hold(asockctl.Tool("run", "--socket", path, "--", "true", stderr=subprocess.PIPE))
            peer, _ = proxy.accept()
            with peer:
                peer.settimeout(DEADLINE)
                self.assertTrue(peer.recv(4096))  # Hello has come, the welcome will not
                tool.kill()
                tool.wait(DEADLINE)
                self.assertEqual(peer.recv(4096), b"")


class HandedOn(DaemonTest):
    """The protocol of it, by hand."""

    def test_hello_again_with_another_name_and_limits(self):
        wire = self.wire(hello=False)
        wire.hello(name="launcher", sockets=16)
        again = self.hold(Wire(sock=socket.socket(fileno=os.dup(wire.sock.fileno()))))
        again.hello(name="program", sockets=40)
        self.assertEqual(again.welcome.sockets, 40)
        self.assertEqual(again.inspect(show=pb.Show())[0]["name"], "program")
        again.hello(name="third", sockets=16)
        self.assertEqual(again.welcome.sockets, 40)  # a grant only grows
        self.assertEqual(again.inspect(show=pb.Show())[0]["name"], "third")
