# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run: all processes of a command have the session's rights, and none others."""

import contextlib
import getpass
import os
import pty
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import asockctl
from asockd import DaemonTest
from suspend import suspend

DEADLINE = asockctl.DEADLINE


class Echo:
    """An echo server for any number of connections."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(peer,), daemon=True).start()

    @staticmethod
    def talk(peer):
        with peer:
            while data := peer.recv(4096):
                peer.sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(DEADLINE)
        self.listener.close()


class Shared(DaemonTest):

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="asockctl-share-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_tool(self, *args, **options):
        return asockctl.run("run", "--socket", self.daemon.path, *args, **options)

    def tool(self, *args, **options):
        return self.hold(asockctl.Tool("run", "--socket", self.daemon.path, *args, **options))

    def policy(self, *ports):
        path = os.path.join(self.folder, "-".join(str(port) for port in ports) + ".policy")
        with open(path, "w", encoding="ascii") as file:
            file.write("".join(["[Rules]\n", *(f"Allow=tcp 127.0.0.1 {port} +loopback\n" for port in ports)]))
        return path

    def echo(self):
        """The port of one."""
        return self.hold(Echo()).port

    @staticmethod
    def connect(port):
        return f"{shlex.quote(asockctl.TOOL)} connect 127.0.0.1 {port}"

    def shell(self, script, *options, **more):
        return self.run_tool(*options, "--", "sh", "-c", script, **more)

    def check(self, done, stdout=b"", status=0):
        self.assertEqual((done.returncode, done.stdout), (status, stdout), done.stderr.decode())

    # ------------------------------------------------------------------------- many programs

    def test_three_programs_one_after_another(self):
        port, other = self.echo(), self.echo()
        script = f"for n in 1 2 3; do echo $n | {self.connect(port)} || exit 99; done; echo out | {self.connect(other)}"
        done = self.shell(script, "--policy", self.policy(port))
        self.check(done, b"1\n2\n3\n", status=3)
        self.assertIn(b"denied", done.stderr.lower())

    def test_thirty_programs_at_once(self):
        port, other = self.echo(), self.echo()
        script = (f"for n in $(seq 30); do (echo $n | {self.connect(port)}) & done; wait; "
                  f"for n in $(seq 30); do (echo no | {self.connect(other)} || echo denied) 2>/dev/null & done; wait")
        done = self.shell(script, "--policy", self.policy(port))
        lines = done.stdout.decode().split()
        self.assertEqual(sorted(lines), sorted([str(n) for n in range(1, 31)] + ["denied"] * 30), done.stderr.decode())

    def test_run_within_run_narrows_further(self):
        port, other = self.echo(), self.echo()
        both, one = self.policy(port, other), self.policy(port)
        for outer, inner in ((both, one), (one, both)):
            script = (f"{asockctl.TOOL} run --policy {inner} -- sh -c "
                      f"'echo in | {self.connect(port)}; echo out | {self.connect(other)}'")
            done = self.shell(script, "--policy", outer)
            self.check(done, b"in\n", status=3)
            self.assertIn(b"denied", done.stderr.lower())

    def test_as_deep_as_it_goes_and_no_deeper(self):
        run = f"{asockctl.TOOL} run --"
        self.check(self.shell(f"{run} {run} {run} echo deep"), b"deep\n")
        done = self.shell(f"{run} {run} {run} {run} echo deeper")
        self.check(done, status=125)
        self.assertIn(b"nested too deep", done.stderr)

    def test_proxy_within_run(self):
        if not shutil.which("curl"):
            self.skipTest("no curl")
        other = self.echo()
        done = self.shell(f"{asockctl.TOOL} run --proxy -- curl -sS --noproxy '' http://127.0.0.1:{other}/", "--policy", self.policy(1))
        self.assertIn(b"restriction", done.stdout)

    def test_git_over_ssh(self):
        """ssh closes what it inherited, and starts its proxy command: only a listener reaches that."""
        sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        for tool in ("ssh", "git", "ssh-keygen"):
            if not sshd or not shutil.which(tool):
                self.skipTest("git, ssh or sshd is not installed")
        port, other = self.start_sshd(sshd), self.echo()
        source = os.path.join(self.folder, "source")
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", source]
        subprocess.run(["git", "init", "-q", source], check=True, timeout=DEADLINE)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "hello"], check=True, timeout=DEADLINE)
        ssh = (f"ssh -F none -i {self.folder}/user -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
               f"-o IdentitiesOnly=yes -o LogLevel=ERROR -o 'ProxyCommand={asockctl.TOOL} connect %h %p'")
        env = asockctl.environment(GIT_SSH_COMMAND=ssh)
        clone = f"git clone -q ssh://{getpass.getuser()}@127.0.0.1:{{0}}{source} {self.folder}/{{0}}"
        done = self.shell(f"{clone.format(port)} && git -C {self.folder}/{port} log --format=%s", "--policy", self.policy(port), env=env)
        self.check(done, b"hello\n")
        done = self.shell(clone.format(other), "--policy", self.policy(port), env=env)
        self.assertEqual(done.returncode, 128)
        self.assertIn(b"denied", done.stderr.lower())

    def start_sshd(self, sshd):
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(self.folder, name)],
                           check=True, timeout=DEADLINE)
        if os.geteuid() == 0:
            try:
                os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
            except OSError as error:
                self.skipTest(f"sshd wants /run/sshd: {error}")
        config = os.path.join(self.folder, "sshd_config")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"HostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/user.pub\nPidFile none\nStrictModes no\n"
                       "UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n")
        listener = self.listener()

        def serve():  # -i: one connection, on a descriptor
            connection, _ = listener.accept()
            with connection:
                subprocess.run([sshd, "-i", "-e", "-f", config], stdin=connection, stdout=connection, stderr=subprocess.DEVNULL,
                               timeout=DEADLINE, check=False)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        self.addCleanup(server.join, DEADLINE)
        return listener.getsockname()[1]

    def test_in_bubblewrap(self):
        """A sandbox without network that has the directory, and nothing else of the daemon's."""
        sandbox = (f'exec bwrap --unshare-all --die-with-parent --ro-bind / / --dev /dev --proc /proc --tmpfs {self.daemon.directory} '
                   '--ro-bind "$ASOCK_SHARE" "$ASOCK_SHARE" -- ')
        if not shutil.which("bwrap") or self.shell(sandbox + "true").returncode != 0:
            self.skipTest("no sandbox can be made here")
        port, other = self.echo(), self.echo()
        script = (f"for n in 1 2 3; do echo $n | {self.connect(port)}; done; echo out | {self.connect(other)}; "
                  f"echo own | {self.connect(port)} --socket {self.daemon.path}")
        done = self.shell(sandbox + "sh -c " + shlex.quote(script), "--policy", self.policy(port))
        self.check(done, b"1\n2\n3\n", status=8)
        self.assertIn(b"denied", done.stderr.lower())
        self.assertIn(b"does not exist", done.stderr)

    def test_documented_sandbox_hides_the_daemon(self):
        """Otherwise its program opens a session without restrictions."""
        lines = asockctl.run("run", "--help").stdout.decode().split("sh -c ")[1].split("PROGRAM'")[0]
        script = " ".join(lines.strip("'").replace("\\\n", "").split())
        with open(os.path.join(os.environ["ASOCK_TEST_SRCDIR"], "man/asockctl.1"), encoding="utf-8") as page:
            self.assertIn(script, " ".join(page.read().replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", '"').split()))
        if not shutil.which("bwrap") or self.shell(script + " true").returncode != 0:
            self.skipTest("no sandbox can be made here")
        with tempfile.NamedTemporaryFile(dir="/run"):
            done = self.shell(script + " ls -A /run")
        self.check(done, b"")

    # -------------------------------------------------------------------------- environment

    def test_environment(self):
        env = asockctl.environment(SOMETHING="else", ASOCK_CONTROL="/x")
        done = self.run_tool("--", "env", "-0", env=env)
        got = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
        directory = got["ASOCK_SHARE"]
        self.assertEqual(os.path.dirname(directory), os.path.join(self.daemon.directory, "run", "share"))
        self.assertEqual(got["ASOCK_SOCKET"], directory + "/asock.sock")
        self.assertEqual(sorted(name for name in got if name.startswith("ASOCK_")), ["ASOCK_CONTROL", "ASOCK_SHARE", "ASOCK_SOCKET"])
        self.assertEqual(got["SOMETHING"], "else")
        self.daemon.wait(lambda: not os.path.exists(directory))

    def test_no_descriptor_is_inherited(self):
        done = self.run_tool("--", "sh", "-c", "ls -l /proc/self/fd")
        self.assertNotIn(b"socket:", done.stdout)
        self.assertNotIn(b"eventpoll", done.stdout)

    def test_names(self):
        names = f"{asockctl.TOOL} show | grep -w -e name -e sharer"
        done = self.shell(names, "--name", "launcher")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertIn(b"sharer", done.stdout)

    # --------------------------------------------------------------------------- life and death

    def test_status_is_the_commands(self):
        for script, status in (("exit 7", 7), ("kill -TERM $$", 128 + signal.SIGTERM), ("kill -KILL $$", 128 + signal.SIGKILL)):
            self.check(self.shell(script), status=status)
        self.check(self.run_tool("--", "/nowhere/prog"), status=127)
        self.check(self.run_tool("--", "/"), status=126)

    def test_a_daemon_without_a_maker_runs_nothing(self):
        maker = self.daemon.child("asockd-share")
        suspend(maker)
        self.addCleanup(os.kill, maker, signal.SIGCONT)
        done = self.run_tool("--timeout", "0.2", "--", "echo", "ran")
        self.check(done, status=125)
        self.assertIn(b"asockctl: ", done.stderr)

    def start(self, script, *options, **more):
        """A command that says "up" and then reads lines."""
        tool = self.tool(*options, "--", "sh", "-c", "echo up; " + script, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, bufsize=0, **more)
        self.assertEqual(tool.stdout.readline(), b"up\n")
        return tool

    def test_rights_end_with_asockctl(self):
        """Also when it is killed: the command lives on, and reaches nothing."""
        port = self.echo()
        listener = self.listener()
        tool = self.start(f"{self.connect(listener.getsockname()[1])} </dev/null & read line; echo late | {self.connect(port)}; "
                          "echo over; read line")
        peer = self.accept(listener)
        tool.send_signal(signal.SIGKILL)
        tool.wait(DEADLINE)
        with contextlib.suppress(ConnectionResetError):
            while peer.recv(4096):
                pass
        tool.stdin.write(b"go\n")
        self.assertEqual(tool.stdout.readline(), b"over\n")
        tool.stdin.write(b"end\n")

    def test_signals_are_passed_on(self):
        for number, name in ((signal.SIGTERM, "TERM"), (signal.SIGHUP, "HUP"), (signal.SIGUSR1, "USR1"), (signal.SIGINT, "INT")):
            tool = self.start(f"sleep 600 & trap 'echo {name}; kill $!; exit 3' {name}; echo ready; wait")
            self.assertEqual(tool.stdout.readline(), b"ready\n")
            tool.send_signal(number)
            self.assertEqual(tool.stdout.readline(), name.encode() + b"\n")
            self.assertEqual(tool.wait(DEADLINE), 3)

    def test_signals_to_the_group_come_once(self):
        asockctl.check_signals(self, lambda *command, **options: self.tool("--", *command, stdout=subprocess.PIPE, **options))

    def test_it_is_continued_once(self):
        asockctl.check_continues(self, lambda *command, **options: self.tool("--", *command, stdout=subprocess.PIPE, **options))

    def test_it_stops_and_goes_on_with_the_command(self):
        tool = self.start("read line; echo $line")
        tool.send_signal(signal.SIGTSTP)
        self.assertTrue(os.WIFSTOPPED(os.waitpid(tool.pid, os.WUNTRACED)[1]))
        tool.send_signal(signal.SIGCONT)
        tool.stdin.write(b"on\n")
        self.assertEqual(tool.stdout.readline(), b"on\n")
        self.assertEqual(tool.wait(DEADLINE), 0)

    def test_a_terminal(self):
        """A signal from there reaches both, and the command once."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(asockctl.TOOL, ["asockctl", "run", "--socket", self.daemon.path, "--", "sh", "-c",
                                      "trap 'echo caught; exit 4' INT; echo up; while :; do sleep 1; done"], asockctl.environment())
        self.addCleanup(os.close, terminal)
        self.read_until(terminal, b"up")
        os.write(terminal, b"\x03")
        self.read_until(terminal, b"caught")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 4)

    def test_a_shell_with_job_control(self):
        """It has a group of its own, and the terminal."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(asockctl.TOOL, ["asockctl", "run", "--socket", self.daemon.path, "--", "bash", "--norc", "--noprofile", "-i"],
                      asockctl.environment(HISTFILE="/dev/null"))
        self.addCleanup(os.close, terminal)
        os.write(terminal, b"echo $((2 * 3 * 5 * 7))\n")
        self.read_until(terminal, b"210")
        os.write(terminal, b"suspend\n")
        self.assertTrue(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
        os.kill(pid, signal.SIGCONT)
        os.write(terminal, b"echo $((11 * 13)); exit 5\n")
        self.read_until(terminal, b"143")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 5)

    def read_until(self, terminal, wanted):
        data = b""
        while wanted not in data:
            self.assertTrue(select.select([terminal], [], [], DEADLINE)[0], data)
            data += os.read(terminal, 4096)
        return data

    def test_a_daemon_that_ends_is_told_once(self):
        tool = self.start("read line; echo $line")
        row = next(row for row in self.sessions() if row["name"] == "sh")
        self.daemon.control.inspect(kill={"id": row["id"]})
        self.assertIn(b"ended the session", tool.stderr.readline())
        tool.stdin.write(b"still here\n")
        self.assertEqual(tool.stdout.readline(), b"still here\n")
        self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual(tool.stderr.read(), b"")

    def sessions(self):
        """The rows of all sessions; ids are numbers that count up."""
        for number in range(1, 1000):
            try:
                yield self.daemon.control.inspect(show={"id": number})[0]
            except AssertionError:
                continue


if __name__ == "__main__":
    unittest.main()
