# SPDX-License-Identifier: LGPL-2.1-or-later
"""A new user's session: a fresh Debian, the packages, and the commands that README prints.

Runs as root inside tests/system/box, by packages.test. Each step goes on where the one before it ended.
"""

import fcntl
import glob
import os
import pty
import re
import select
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

LIVENESS = 60  # seconds until "never"
TREE = os.environ["ASOCK_PACKAGES_TREE"]
PACKAGES = os.environ["ASOCK_PACKAGES"]
ADDRESS = "20.20.20.2"  # globally reachable, as far as a policy can know
DENIED = 3  # asockctl(1)
HOME = os.path.join("/home", "alice")
PAGE = "hello from port 80\n"
HELLO = "HTTP/1.0 200 OK\n\n" + PAGE  # as text, without its carriage returns

SERVER = """
import socket, threading
def answer(peer, port):
    with peer:
        peer.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhello from port %d\\n" % port)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(4096):
            pass
def echo(peer):
    with peer:
        while data := peer.recv(4096):
            peer.sendall(data)
def serve(port, answer=answer):
    server = socket.create_server(("0.0.0.0", port))
    while True:
        peer = server.accept()[0]
        threading.Thread(target=answer, args=(peer, port) if answer is not echo else (peer,)).start()
threading.Thread(target=serve, args=(7, echo)).start()
threading.Thread(target=serve, args=(443,)).start()
threading.Thread(target=serve, args=(873,)).start()
print("ready", flush=True)
serve(80)
"""


# One connection: a line before the upgrade, and one behind it.
HOLDER = """
import asyncio, sys, asock.aio
async def main():
    reader, writer = await asock.aio.open_connection("www.example.org", 7)
    for line in sys.stdin:
        writer.write(line.encode())
        print((await reader.readline()).decode(), end="", flush=True)
asyncio.run(main())
"""


def run(command, **options):
    """A shell's command line, or a list."""
    if isinstance(command, str):
        command = ["bash", "-c", command]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=LIVENESS, check=False, **{"stdin": subprocess.DEVNULL, **options})


def must(command, **options):
    done = run(command, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def read(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as file:
        return file.read()


def blocks(path):
    """The indented blocks of a document, without their indentation."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", read(path), re.M)
    return ["\n".join(line[4:] for line in block.strip("\n").split("\n")) for block in found]


def block(path, *words):
    """The first block that has all these words, without commands behind it."""
    return next(text for text in blocks(path) if all(word in text for word in words)).split("\n\nsudo ")[0]


def documented(path, command, **options):
    """Run a command exactly as the document prints it, and go on where it asks."""
    text = read(path).replace("\\&", "")
    assert command in text, f"{path} does not say: {command}"
    with tempfile.TemporaryFile("w+") as answer:
        answer.write("y\n")
        answer.seek(0)
        return must(command, env=dict(os.environ, USER="alice"), stdin=answer, **{"cwd": TREE, **options})


def printed(path, command):
    """The words of a command that the document prints."""
    assert command in read(path), f"{path} does not say: {command}"
    return command.split()


UNIT_OF_ALICE = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--uid=alice", f"--working-directory={HOME}"]


def as_alice(*command):
    """In a unit, as a user's sessions are."""
    return run([*UNIT_OF_ALICE, *command])


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def pid_of(unit):
    return must(["systemctl", "show", "--value", "--property=MainPID", unit]).strip()


def leftovers():
    return [path for path in must("find / -xdev -path '*asock*' -not -path '/proc/*' 2>/dev/null; "
                                  "find /run -path '*asock*' 2>/dev/null").split("\n")
            if path and not path.startswith(os.path.dirname(PACKAGES))]


class NewUser(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        must("ip netns add world && ip link add v0 type veth peer name v1 netns world && "
             "ip address add 20.20.20.1/24 dev v0 && ip link set v0 up && ip -n world link set lo up && "
             f"ip -n world address add {ADDRESS}/24 dev v1 && ip -n world link set v1 up")
        with open("/etc/hosts", "a", encoding="utf-8") as file:
            file.write(f"127.0.1.1 {socket.gethostname()}\n{ADDRESS} example.org www.example.org\n")
        must("useradd --create-home --shell /bin/bash alice")
        cls.server = subprocess.Popen(["ip", "netns", "exec", "world", "python3", "-c", SERVER],
                                      stdout=subprocess.PIPE)
        assert cls.server.stdout.readline() == b"ready\n"

    @classmethod
    def tearDownClass(cls):
        cls.server.kill()
        cls.server.wait()

    def test_01_install(self):
        documented("README.md", "sudo apt install ../asockd_*.deb ../asockctl_*.deb ../libasock0_*.deb")
        for unit in ("asockd.socket", "asockd-control.socket"):
            self.assertEqual(must(["systemctl", "is-active", unit]).strip(), "active")
        self.assertEqual(glob.glob("/etc/asockd*"), [])

    def test_02_without_the_group(self):
        done = as_alice("asockctl", "connect", "www.example.org", "80")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("usermod -aG asock", done.stdout)

    def test_03_the_group(self):
        documented("README.md", "sudo usermod -aG asock,asock-internet $USER")
        self.assertEqual(as_alice(*printed("README.md", "asockctl connect www.example.org 80")).stdout, HELLO)

    def test_04_first_denial(self):
        done = as_alice(*printed("README.md", "asockctl connect 127.0.0.1 80"))
        self.assertEqual(done.returncode, DENIED)
        self.assertIn("loopback", done.stdout)
        said = documented("README.md", "sudo asockctl denied")
        self.assertRegex(said, r"alice.*127\.0\.0\.1:80")

    def test_05_first_service(self):
        write("/etc/systemd/system/mirror.service", block("README.md", "[Service]", "PrivateNetwork=yes"))
        must("systemctl daemon-reload")
        run("systemctl start mirror.service")
        self.await_journal("mirror.service", f"status={DENIED}")
        self.await_journal("mirror.service", "access denied by policy")

    def test_06_first_policy(self):
        write("/etc/asockd/policy.d/mirror.policy",
              block("README.md", "Unit=mirror.service") + "\nAllow=tcp example.org 80")
        documented("README.md", "sudo systemctl reload asockd")
        self.assertIn("allow", documented(
            "README.md", "sudo asockctl policy test --unit mirror.service tcp www.example.org 443"))
        documented("README.md", "asockctl policy check")
        must("systemctl start mirror.service")
        self.await_journal("mirror.service", "hello from port 80")

    def test_06a_monitor(self):
        monitor = subprocess.Popen(printed("README.md", "sudo asockctl monitor"), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(monitor.wait)
        self.addCleanup(monitor.terminate)
        never = threading.Timer(LIVENESS, monitor.kill)
        never.start()
        self.addCleanup(never.cancel)
        self.assertIn("watching", monitor.stdout.readline())
        as_alice("asockctl", "connect", "www.example.org", "80")
        as_alice("asockctl", "connect", "127.0.0.1", "81")
        said = []
        for words in (("connect ", "alice", "www.example.org:80"), ("close ", "www.example.org:80"),
                      ("deny ", "alice", "127.0.0.1:81")):
            while not all(word in (said or [""])[-1] for word in words):
                said.append(monitor.stdout.readline())
                self.assertTrue(said[-1], said)

    def test_06a_top(self):
        client = subprocess.Popen([*UNIT_OF_ALICE, "asockctl", "connect", "www.example.org", "7"], stdin=subprocess.PIPE)
        self.addCleanup(client.wait)
        self.addCleanup(client.stdin.close)
        screen, terminal = pty.openpty()
        self.addCleanup(os.close, screen)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        top = subprocess.Popen(printed("README.md", "sudo asockctl top"), stdin=terminal, stdout=terminal, stderr=terminal,
                               env=dict(os.environ, TERM="xterm"), start_new_session=True)
        self.addCleanup(top.wait)
        self.addCleanup(top.kill)
        os.close(terminal)
        shown = b""
        while b"www.example.org:7" not in shown:
            self.assertTrue(select.select([screen], [], [], LIVENESS)[0], shown)
            shown += os.read(screen, 65536)
        os.write(screen, b"q")
        while self.read_to_the_end(screen):
            pass
        self.assertEqual(top.wait(LIVENESS), 0)

    @staticmethod
    def read_to_the_end(screen):
        """Of a terminal: EIO when no program has it any more."""
        try:
            return os.read(screen, 65536)
        except OSError:
            return b""

    def test_06a_what_there_is(self):
        self.assertIn("STATE", documented("README.md", "sudo asockctl list"))
        self.assertIn("/etc/asockd/policy.d/mirror.policy", documented("README.md", "asockctl policy show"))

    def test_06b_python(self):
        must(f"apt-get install -y {PACKAGES}/python3-asock_*.deb")
        code = re.search(r"```python\n(import asyncio.*?)```", read("README.md"), re.S).group(1)
        self.assertIn("hello from port 80", as_alice("python3", "-c", code).stdout)

    def test_06c_a_sandbox(self):
        for words in (("--bind /run/asockd/default",), ("asockctl run --policy web.policy", "$ASOCK_SHARE")):
            with self.subTest(words):
                self.assertEqual(self.say_in_home(*words).stdout, HELLO)
        done = as_alice("bash", "-c", 'asockctl run --policy web.policy -- asockctl connect www.example.org 80')
        self.assertEqual(done.returncode, DENIED, done.stdout)

    def test_06d_programs_that_do_not_know_asockd(self):
        for words in (("asockctl run --proxy -- curl",), ("asockctl run --transparent",)):
            with self.subTest(words):
                self.assertIn(PAGE, self.say_in_home(*words).stdout)

    def test_06e_a_program(self):
        must(f"apt-get install -y {PACKAGES}/libasock-dev_*.deb")
        write(HOME + "/page.c", re.search(r"^```c\n(.*?)^```$", read("README.md"), re.M | re.S).group(1))
        commands = block("README.md", "cc -o page page.c").split("\n")
        self.assertIn("asockd --runtime-dir", commands[1])
        script = "\n".join(["set -e", "export XDG_RUNTIME_DIR=$(mktemp -d)", commands[0],
                            commands[1], "trap 'kill $!' EXIT",
                            'until [ -S "$XDG_RUNTIME_DIR/asockd/default/asock.sock" ]; do sleep 0.02; done', commands[2]])
        must(["chown", "-R", "alice", HOME])
        self.assertIn(PAGE, as_alice("bash", "-c", script).stdout)

    def test_07_second_listener(self):
        for command in ("systemctl enable asockd@web.socket", "systemctl stop asockd.service",
                        "systemctl start asockd@web.socket"):
            documented("man/asockd.8", command)
        done = as_alice("--setenv=ASOCK_SOCKET=/run/asockd/web/asock.sock", "asockctl", "connect", "www.example.org",
                        "80")
        self.assertEqual(done.stdout, HELLO)

    def test_07b_a_listener_while_the_daemon_runs(self):
        before = pid_of("asockd.service")
        documented("README.md", "sudo systemctl enable --now asockd-listener@build.service")
        self.await_listener("build")
        self.assertEqual(pid_of("asockd.service"), before)

    def test_08_upgrade_under_load(self):
        before = pid_of("asockd.service")
        self.assertNotEqual(before, "0")
        done, said = threading.Event(), []

        def connect_again_and_again():
            while not done.is_set():
                said.append(as_alice("asockctl", "connect", "www.example.org", "80").stdout)

        holder = subprocess.Popen([*UNIT_OF_ALICE, "python3", "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True, bufsize=1)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.stdin.close)
        self.assertEqual(self.echoed(holder, "before\n"), "before\n")

        load = threading.Thread(target=connect_again_and_again)
        load.start()
        self.addCleanup(load.join)
        self.addCleanup(done.set)
        with tempfile.TemporaryDirectory() as folder:  # where the next version was built
            tree = os.path.join(folder, "asockd")
            os.mkdir(tree)
            must(f"cp {PACKAGES}/next/*.deb {folder}")
            documented("README.md", "sudo apt install ../asockd_*.deb ../asockctl_*.deb ../libasock0_*.deb", cwd=tree)
        self.assertNotIn(pid_of("asockd.service"), (before, "0"))
        self.await_listener("build")
        done.set()
        load.join()
        # The old daemon served them, or cut them off when it ended; or they waited for the new one.
        self.assertIn(HELLO, said)
        for text in said:
            self.assertRegex(text, f"^{HELLO}$|aborted|ended the session")
        self.assertEqual(self.echoed(holder, "behind\n"), "behind\n")
        self.assertIn("0.1.0-2", must(["dpkg-query", "--showformat=${Version}", "--show", "asockd"]))
        self.assertEqual(as_alice("asockctl", "connect", "www.example.org", "80").stdout, HELLO)

    def test_09_remove(self):
        must("apt-get remove -y python3-asock")
        for command in ("sudo systemctl disable --now asockd@web.socket",
                        "sudo systemctl disable --now asockd-listener@build.service"):
            documented("README.md", command)
        documented("README.md", "sudo apt remove asockd asockctl libasock0")
        self.assertEqual(must("systemctl list-units --state=active --plain --no-legend 'asockd*'"), "")
        self.assertTrue(os.path.exists("/etc/asockd/policy.d/mirror.policy"))

    def test_10_purge(self):
        must(f"apt-get install -y {PACKAGES}/next/asockd_*.deb {PACKAGES}/next/asockctl_*.deb "
             f"{PACKAGES}/next/libasock0_*.deb")
        self.assertEqual(as_alice("asockctl", "connect", "www.example.org", "80").stdout, HELLO)
        documented("README.md", "sudo apt purge asockd asockctl libasock0")
        os.unlink("/etc/systemd/system/mirror.service")
        self.assertEqual(leftovers(), [])

    def echoed(self, holder, line):
        holder.stdin.write(line)
        self.assertTrue(select.select([holder.stdout], [], [], LIVENESS)[0], line)
        return holder.stdout.readline()

    def await_listener(self, name):
        """Its unit starts behind asockd's."""
        deadline = time.monotonic() + LIVENESS
        connect = ("asockctl", "connect", "www.example.org", "80")
        while (done := as_alice(f"--setenv=ASOCK_SOCKET=/run/asockd/{name}/asock.sock", *connect)).stdout != HELLO:
            self.assertLess(time.monotonic(), deadline, done.stdout)
            time.sleep(0.02)

    def say_in_home(self, *words):
        """README's commands with these words, typed by alice, whose web.policy is README's too."""
        rules, command = "[Rules]\nAllow=tcp example.org 80", block("README.md", *words)
        self.assertIn(rules, "\n".join(blocks("README.md")))
        write(HOME + "/web.policy", rules)
        done = as_alice("bash", "-c", command.removeprefix(rules))
        self.assertEqual(done.returncode, 0, done.stdout)
        return done

    def await_journal(self, unit, text):
        deadline = time.monotonic() + LIVENESS
        while text not in (said := must(["journalctl", "--quiet", "--unit", unit])):
            self.assertLess(time.monotonic(), deadline, said)
            time.sleep(0.02)
