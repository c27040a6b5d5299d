# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples of README.md and of the man pages restrict what they say they restrict.

Each is taken from its document, put where it belongs, and tried by real units: what it allows is reached, what it
denies is not. Runs as root inside tests/system/box, by examples.test.
"""

import glob
import grp
import os
import re
import shutil
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_units as units
from test_units import must, prop, run

TREE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
UNIT_DIR = "/run/systemd/system"
DENIED = 3  # asockctl(1)
OURS = "20.20.20.1"
# Names in the internet, and addresses that need no flag. NEXT_DOOR is private, OTHER has no name.
NAMES = {"example.org": "93.184.215.14", "www.example.org": "93.184.215.15", "beta.example.org": "93.184.215.16",
         "deb.debian.org": "93.184.215.17", "elsewhere.test": "93.184.215.18"}
NEXT_DOOR, NEXT_BUT_ONE, OTHER = "192.168.7.2", "192.168.7.3", "93.184.215.19"
PORTS = (25, 80, 443, 873)

SERVER = """
import selectors, socket, sys
world = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    world.register(socket.create_server(("0.0.0.0", port), backlog=64), selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in world.select():
        with key.fileobj.accept()[0] as peer:
            peer.sendall(b"this is %s port %d" % (peer.getsockname()[0].encode(), peer.getsockname()[1]))
"""


def read(path):
    with open(os.path.join(TREE, path), encoding="utf-8") as file:
        return file.read()


def examples(path):
    """The blocks of a document that are parts of our files: they have a line with a section."""
    if path.endswith(".md"):
        found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", read(path), re.M)
        found = ["\n".join(line[4:] for line in text.strip("\n").split("\n")) for text in found]
    else:
        found = re.findall(r"^\.(?:Bd -literal[^\n]*|nf|EX)\n(.*?)^\.(?:Ed|fi|EE)$", read(path), re.M | re.S)
        found = [text.replace("\\-", "-").replace("\\&", "").strip("\n") for text in found]
    found = [re.sub(r"\n\n(?:sudo|asockctl) .*", "", text, flags=re.S) for text in found]
    return [text + "\n" for text in found if re.search(r"^\[[A-Z]\w*\]$", text, re.M)]


def example(path, *words):
    """The example that contains all these words."""
    text, = [text for text in examples(path) if all(word in text for word in words)]
    USED.add((path, text))
    return text


USED = set()
# A test below must use each of them.
DOCUMENTS = ["README.md", *sorted(os.path.relpath(page, TREE) for page in glob.glob(TREE + "/man/*.[1-9]"))]


def say(path, command):
    """Fails unless the document has this command line."""
    text = read(path).replace("\\-", "-").replace("\\&", "")
    assert command in re.sub(r"^\.(?:B|RB|IR) ", "", text, flags=re.M), f"{path} does not say: {command}"
    return command


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def setUpModule():
    units.setUpModule()
    must("ip", "netns", "add", "world")
    must("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", "world")
    for command in (f"address add {OURS}/24 dev v0", "link set v0 up", "-n world link set lo up",
                    "-n world link set v1 up", "-n world address add 20.20.20.2/24 dev v1",
                    "route add default via 20.20.20.2"):
        must("ip", *command.split())
    for address in (*NAMES.values(), NEXT_DOOR, NEXT_BUT_ONE, OTHER):
        must("ip", "-n", "world", "address", "add", address + "/32", "dev", "lo")
    with open("/etc/hosts", "a", encoding="utf-8") as file:
        file.writelines(f"{address} {name}\n" for name, address in NAMES.items())
    server = subprocess.Popen(["ip", "netns", "exec", "world", "/usr/bin/python3", "-c", SERVER, *map(str, PORTS)],
                              stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    server.stdout.close()
    units.Unit.server = server


def tearDownModule():
    units.Unit.server.kill()
    units.Unit.server.wait()


def config_dir():
    """The directory that the installed daemon reads first."""
    found = re.search(r"--config-dir (\S+)", prop("asockd.service", "ExecStart"))
    return found.group(1) if found else os.environ["ASOCK_SYSCONFDIR"] + "/asockd"


class ExamplesTest(units.UnitsTest):

    def install(self, name, text):
        """Installs a policy file until the end of the test."""
        path = f"{config_dir()}/policy.d/{name}"
        self.assertFalse(os.path.exists(path))
        write(path, text)
        self.addCleanup(os.unlink, path)
        must("asockd", "--check", "--policy", path)
        must(*say("README.md", "sudo systemctl reload asockd").split()[1:])

    def start(self):
        must("systemctl", "start", "asockd.service")

    def service(self, name, host, port, *more):
        """Runs README's service under this name, connecting there; returns its status and output."""
        text = example("README.md", "[Service]")
        command = re.search(r"^ExecStart=(/usr/bin/asockctl) connect (example.org 80)$", text, re.M)
        self.assertIsNotNone(command, text)
        output = f"/run/{name}.out"
        text = text.replace(command.group(1), shutil.which("asockctl")).replace(command.group(2), f"{host} {port}")
        # Of two lines with the same key the later one counts, unless it is a list.
        write(f"{UNIT_DIR}/{name}", text + f"Environment=LD_LIBRARY_PATH=/usr/local/lib\nStandardOutput=truncate:{output}\n"
              f"StandardError=append:{output}\n" + "".join(line + "\n" for line in more))
        must("systemctl", "daemon-reload")
        run("systemctl", "start", "--wait", name)
        status = int(prop(name, "ExecMainStatus"))
        run("systemctl", "reset-failed", name)
        os.unlink(f"{UNIT_DIR}/{name}")
        with open(output, encoding="utf-8") as file:
            return status, file.read().strip()

    def reaches(self, name, host, port, *more):
        expected = f"this is {NAMES.get(host, host)} port {port}"
        self.assertEqual(self.service(name, host, port, *more), (0, expected), (name, host, port))

    def is_denied(self, name, host, port, *more, reason=""):
        status, text = self.service(name, host, port, *more)
        self.assertEqual(status, DENIED, (name, host, port, text))
        self.assertIn(reason, text)


class Readme(ExamplesTest):

    def test_a_service_is_given_what_a_file_says(self):
        """With [Service] alone the service reaches nothing; with a policy file that names it, what that allows."""
        text = example("README.md", "[Service]")
        self.start()
        self.is_denied("page.service", "example.org", 80, reason="no policy file applies to this client")
        # The same unit without asockd reaches nothing either.
        output = "/run/direct.out"
        write(UNIT_DIR + "/direct.service", re.sub(
            r"^ExecStart=.*$", f"ExecStart=/usr/bin/python3 {units.CLIENT_DIR}/client.py direct {OTHER} 80", text,
            flags=re.M) + f"StandardOutput=file:{output}\n")
        self.addCleanup(os.unlink, UNIT_DIR + "/direct.service")
        must("systemctl", "daemon-reload")
        run("systemctl", "start", "--wait", "direct.service")
        with open(output, encoding="utf-8") as file:
            self.assertEqual(file.read().strip(), "EAFNOSUPPORT")
        self.install("20-page.policy", "[Match]\nUnit=page.service\n\n[Rules]\nAllow=tcp example.org 80\n")
        self.reaches("page.service", "example.org", 80)
        self.is_denied("page.service", "example.org", 443)
        self.is_denied("other.service", "example.org", 80, reason="no policy file applies to this client")
        # Without the group the client cannot open the socket, whatever the policy says.
        status, text = self.service("page.service", "example.org", 80, "SupplementaryGroups=")
        self.assertEqual(status, 8, text)

    def test_mirror(self):
        self.start()
        self.install("10-mirror.policy", example("README.md", "Unit=mirror.service"))
        self.check_mirror(("www.example.org", 443))
        said = must(*say("README.md", "sudo asockctl policy test --unit mirror.service tcp www.example.org 443").split()[1:])
        self.assertRegex(said, r"^allow by /.*/10-mirror\.policy:6\b")
        self.assertEqual(run("asockctl", "policy", "test", "--unit", "mirror.service", "tcp", "www.example.org", "80")
                         .returncode, 1)

    def check_mirror(self, *allowed):
        for host, port in (*allowed, (NEXT_DOOR, 873)):
            self.reaches("mirror.service", host, port)
        self.is_denied("mirror.service", "beta.example.org", 443, reason="not before it is released")
        for host, port in (("www.example.org", 80), ("example.org", 443), (NAMES["www.example.org"], 443),
                           ("elsewhere.test", 443), (NEXT_DOOR, 80), (NEXT_BUT_ONE, 873), ("127.0.0.1", 873)):
            self.is_denied("mirror.service", host, port, reason="no rule allows this destination")
        for unit in ("mirror-2.service", "other.service"):
            self.is_denied(unit, "www.example.org", 443, reason="no policy file applies to this client")

    def test_the_two_groups(self):
        """asock opens the socket and reaches nothing; asock-internet reaches global addresses; an empty file ends that."""
        groups = "SupplementaryGroups=asock-internet"
        self.start()
        self.is_denied("page.service", OTHER, 80, reason="no policy file applies to this client")
        for host in ("example.org", OTHER):
            self.reaches("page.service", host, 80, groups)
        self.is_denied("page.service", NEXT_DOOR, 80, groups, reason="no +private")
        self.is_denied("page.service", "127.0.0.1", 80, groups, reason="no +loopback")
        self.is_denied("page.service", OURS, 80, groups, reason="no +local")
        self.assertIn("put an empty file with that name in `/etc/asockd/policy.d`", " ".join(read("README.md").split()))
        path = config_dir() + "/policy.d/50-asock-internet.policy"
        before = open(path, encoding="utf-8").read() if os.path.exists(path) else None
        write(path, "")
        self.addCleanup(lambda: os.unlink(path) if before is None else write(path, before))
        must("systemctl", "reload", "asockd")
        self.is_denied("page.service", OTHER, 80, groups, reason="no policy file applies to this client")

    def test_order_of_names(self):
        """A file that comes before the installed one decides first, also for a member of the group."""
        groups = "SupplementaryGroups=asock-internet"
        self.start()
        self.install("10-mirror.policy", example("README.md", "Unit=mirror.service"))
        self.is_denied("mirror.service", "beta.example.org", 443, groups, reason="not before it is released")
        self.reaches("mirror.service", "elsewhere.test", 443, groups)

    def test_a_sandbox_has_less_than_its_maker(self):
        """web.policy: a subset of the rights of asock-internet, also for a unit's command."""
        rules = example("README.md", "Allow=tcp example.org 80")
        write("/run/web.policy", rules)
        self.start()
        for host, port, status in (("example.org", 80, 0), ("example.org", 443, DENIED), (OTHER, 80, DENIED),
                                   (NAMES["example.org"], 80, DENIED)):
            unit = units.Unit("oneshot", [shutil.which("asockctl"), "run", "--policy", "/run/web.policy", "--",
                                          shutil.which("asockctl"), "connect", host, str(port)],
                              [*units.SANDBOX, "SupplementaryGroups=asock-internet",
                               "Environment=LD_LIBRARY_PATH=/usr/local/lib"])
            self.assertEqual(int(prop(unit.name, "ExecMainStatus")), status, unit.output)
            if status:
                self.assertIn("no rule of this session's restriction allows this destination", unit.output)


class ManPages(ExamplesTest):

    def test_policy_mirror(self):
        self.start()
        self.install("10-mirror.policy", example("man/asockd.policy.5", "Unit=mirror.service"))
        Readme.check_mirror(self, ("www.example.org", 443), ("deb.debian.org", 80))
        self.is_denied("mirror.service", "deb.debian.org", 443)

    def test_policy_learn(self):
        """Connects of the group's members are learned, except to the ports of its Deny=; those of others are not."""
        groups = "SupplementaryGroups=users"
        self.start()
        self.install("10-learn.policy", example("man/asockd.policy.5", "Mode=learn"))
        self.reaches("page.service", "example.org", 80, groups)
        self.reaches("page.service", OTHER, 443, groups)
        self.is_denied("page.service", "example.org", 25, groups, reason="mail goes by the relay")
        self.is_denied("page.service", NEXT_DOOR, 873, groups)
        self.is_denied("page.service", "example.org", 80)
        learned = must("asockctl", "policy", "learned")
        self.assertEqual(sorted(re.findall(r"^Allow=.*", learned, re.M)),
                         [f"Allow=tcp {OTHER} 443", "Allow=tcp example.org 80"])
        must("systemctl", "stop", "asockd.service")
        must("systemctl", "start", "asockd@other.socket")
        self.addCleanup(run, "systemctl", "stop", "asockd.service", "asockd@other.socket")
        self.start()
        self.is_denied("page.service", "example.org", 80, groups, "Environment=ASOCK_SOCKET=/run/asockd/other/asock.sock",
                       reason="no policy file applies to this client")

    def test_low_ports(self):
        """Listen= with a low port needs the capability of ports.conf, which is then the daemon's only one."""
        self.start()
        self.install("10-listen.policy", "[Rules]\nListen=tcp 127.0.0.1 80\n")
        self.assertEqual(self.listen(80), (1, "AccessDenied"))
        text = example("man/asockd.policy.5", "AmbientCapabilities=CAP_NET_BIND_SERVICE")
        path = re.match(r"# (/etc/systemd/system/asockd.service.d/ports.conf)\n", text).group(1)
        write(path, text)
        self.addCleanup(lambda: (os.unlink(path), must("systemctl", "daemon-reload")))
        must("systemctl", "daemon-reload")
        must("systemctl", "restart", "asockd.service")
        self.assertEqual(self.listen(80), (0, "listening"))
        self.assertEqual(self.listen(81), (1, "AccessDenied"))
        with open(f"/proc/{prop('asockd.service', 'MainPID')}/status", encoding="utf-8") as file:
            capabilities = re.search(r"^CapEff:\t(\w+)$", file.read(), re.M).group(1)
        self.assertEqual(int(capabilities, 16), 1 << 10)

    @staticmethod
    def listen(port):
        unit = units.run_client("listen", "127.0.0.1", port)
        return unit.status, unit.output

    def test_configuration(self):
        """A daemon without systemd's sockets, with limits, name servers and two listeners."""
        write("/run/example/asockd.conf", example("man/asockd.conf.5", "Clients=4000"))
        must("chown", "-R", "asockd:", "/run/example")
        must("install", "-d", "-m", "755", "/srv/web")
        must("install", "-d", "-m", "755", "-o", "asockd", "/srv/web/asock")
        write(UNIT_DIR + "/example.service", "[Service]\nType=notify\nUser=asockd\nGroup=asockd\n"
              f"SupplementaryGroups=www-data\nExecStart={shutil.which('asockd')} --config /run/example/asockd.conf "
              "--runtime-dir /run/example --allow-public\nEnvironment=LD_LIBRARY_PATH=/usr/local/lib\n")
        must("systemctl", "daemon-reload")
        must("systemctl", "start", "example.service")
        self.addCleanup(run, "systemctl", "stop", "example.service")
        stats = units.asockctl("stats", "--control", "/run/example/control.sock")
        self.assertEqual((stats["limits"]["sockets"], stats["limits"]["queued"]), (64, 4 << 20))
        self.assertEqual(stats["quota"]["daemon"]["clients"]["most"], 4000)
        status = os.stat("/srv/web/asock/asock.sock")
        self.assertEqual((grp.getgrgid(status.st_gid).gr_name, stat.S_IMODE(status.st_mode)), ("www-data", 0o660))
        web = "Environment=ASOCK_SOCKET=/srv/web/asock/asock.sock"
        self.reaches("page.service", "example.org", 80, web, "SupplementaryGroups=www-data")
        self.assertEqual(self.service("page.service", "example.org", 80, web)[0], 8)
        self.reaches("page.service", "example.org", 80, "Environment=ASOCK_SOCKET=/run/example/default/asock.sock")

    def test_second_listener(self):
        """Runs the commands as printed. Only members of the drop-in's group can open the socket."""
        for command in ("systemctl enable asockd@web.socket", "systemctl stop asockd.service",
                        "systemctl start asockd@web.socket"):
            say("man/asockd.8", "# " + command)
        drop_in = "/etc/systemd/system/asockd@web.socket.d/override.conf"
        write(drop_in, example("man/asockd.8", "SocketGroup=www-data"))
        self.addCleanup(lambda: (run("systemctl", "disable", "--now", "asockd@web.socket"), os.unlink(drop_in),
                                 run("systemctl", "stop", "asockd.service"), must("systemctl", "daemon-reload"),
                                 must("systemctl", "enable", "--now", "asockd.socket", "asockd-control.socket")))
        must("systemctl", "daemon-reload")
        for command in ("systemctl enable asockd@web.socket", "systemctl stop asockd.service",
                        "systemctl start asockd@web.socket"):
            must(*command.split())
        self.start()
        self.install("20-web.policy", "[Match]\nListener=web\n\n[Rules]\nAllow=tcp example.org 80\n")
        web = "Environment=ASOCK_SOCKET=/run/asockd/web/asock.sock"
        self.assertEqual(self.service("page.service", "example.org", 80, web)[0], 8)
        self.reaches("page.service", "example.org", 80, web, "SupplementaryGroups=www-data")
        self.is_denied("page.service", "example.org", 443, web, "SupplementaryGroups=www-data")
        self.is_denied("page.service", "example.org", 80, reason="no policy file applies to this client")
        # Who disables a listener keeps the control socket.
        for listener in ("asockd@web.socket", "asockd.socket"):
            must("systemctl", "disable", "--now", listener)
            for command, answer in (("is-enabled", "enabled"), ("is-active", "active")):
                self.assertEqual(run("systemctl", command, "asockd-control.socket").stdout.strip(), answer, listener)
        self.assertEqual(units.asockctl("list"), [])

    def test_listener_while_the_daemon_runs(self):
        """The command as it is printed, and the group of the drop-in."""
        command = "systemctl enable --now asockd-listener@build.service"
        say("man/asockd.8", "# " + command)
        drop_in = "/etc/systemd/system/asockd-listener@build.service.d/override.conf"
        write(drop_in, example("man/asockd.8", "OPTIONS=--group www-data"))
        self.addCleanup(lambda: (run("systemctl", "disable", "--now", "asockd-listener@build.service"),
                                 os.unlink(drop_in), must("systemctl", "daemon-reload")))
        must("systemctl", "daemon-reload")
        self.start()
        must(*command.split())
        self.install("20-build.policy", "[Match]\nListener=build\n\n[Rules]\nAllow=tcp example.org 80\n")
        build = "Environment=ASOCK_SOCKET=/run/asockd/build/asock.sock"
        self.assertEqual(self.service("page.service", "example.org", 80, build)[0], 8)
        self.reaches("page.service", "example.org", 80, build, "SupplementaryGroups=www-data")
        self.is_denied("page.service", "example.org", 443, build, "SupplementaryGroups=www-data")

    def test_policy_test_says_what_asockctl_1_says(self):
        self.start()
        text = read("man/asockctl.1").replace("\\-", "-")
        printed = re.search(r"^(deny: no policy file .*)\n(also allowed by .*)$", text, re.M)
        done = run("asockctl", "policy", "test", "tcp", "example.com", "443")
        shipped = "/usr/lib/asockd/policy.d/"
        said = re.sub(r" /\S*/policy.d/", f" {shipped}", done.stdout)
        self.assertEqual((done.returncode, said.splitlines()), (1, [printed.group(1), printed.group(2)]))


class Whole(unittest.TestCase):
    """Runs last: every example was used."""

    def test_each_example_was_used(self):
        found = {(path, text) for path in DOCUMENTS for text in examples(path)}
        self.assertGreaterEqual(len(found), 8)
        if os.environ.get("ASOCK_TEST_ONLY"):
            self.skipTest("only some of the tests have run")
        self.assertEqual(found - USED, set())
