# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed asockd under systemd. Runs as root inside tests/system/box, by units.test."""

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import boxed
from boxed import (
    CLIENT_DIR, CLIENT_SOCKET, CONTROL_SOCKET, LIVENESS, SANDBOX, Server, Setup, Unit, UnitsTest, asockctl,
    await_true, configure, descriptor_of, echo_once, hold_client, journal, must, prop, run, run_client,
    said_by_daemon, say_nothing, setUpModule
)
from suspend import suspend

ABORTED = "ConnectionAborted"


class Installed(UnitsTest):
    def test_sysusers_and_tmpfiles_apply_cleanly(self):
        self.assertEqual(Setup.sysusers.returncode, 0)
        self.assertEqual(Setup.tmpfiles.returncode, 0)
        self.assertEqual(Setup.tmpfiles.stdout, "")
        for line in Setup.sysusers.stdout.splitlines():
            self.assertRegex(line, r"^Creating (user|group) '(asockd|asock|asock-internet)' ")
        user = pwd.getpwnam("asockd")
        self.assertNotEqual(user.pw_uid, 0)
        self.assertEqual(grp.getgrgid(user.pw_gid).gr_name, "asockd")
        for name in ("asock", "asock-internet"):
            self.assertEqual(grp.getgrnam(name).gr_mem, [])
        again = run("systemd-tmpfiles", "--create", "asockd.conf")
        self.assertEqual((again.returncode, again.stdout), (0, ""))

    def test_systemd_has_nothing_to_say_about_the_units(self):
        said = run("systemd-analyze", "verify", "--man=no", "asockd.service", "asockd.socket",
                   "asockd-control.socket")
        self.assertEqual((said.returncode, said.stdout), (0, ""))

    def test_sockets_have_their_modes(self):
        for path, group, mode in ((CLIENT_SOCKET, "asock", 0o660), (CONTROL_SOCKET, "root", 0)):
            status = os.stat(path)
            self.assertTrue(stat.S_ISSOCK(status.st_mode))
            self.assertEqual(status.st_uid, 0)
            self.assertEqual(grp.getgrgid(status.st_gid).gr_name, group)
            self.assertEqual(stat.S_IMODE(status.st_mode), mode or 0o600)
        for path in ("/run/asockd", "/run/asockd/default"):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o755)

    def test_exposure_is_at_most_what_was_promised(self):
        """Without the settings that would hide the clients."""
        unit = prop("asockd.service", "FragmentPath")
        text = must("systemd-analyze", "security", "--no-pager", "--offline=yes", unit)
        last = text.strip().splitlines()[-1]
        self.assertIn("Overall exposure level for asockd.service:", last)
        figure = float(last.split(":", 1)[1].split()[0])
        print(f"exposure level {figure}")
        self.assertLessEqual(figure, 1.5)  # 1.4 but for AF_NETLINK, by which it asks for routes
        for name, value in (("PrivateUsers", "no"), ("DynamicUser", "no"),
                            ("ProtectProc", "default"), ("PrivateMounts", "yes")):
            self.assertEqual(prop("asockd.service", name), value, name)

    def test_life_cycle_is_set(self):
        for name, value in (("Type", "notify"), ("KillSignal", "2"), ("RestartKillSignal", "10"),
                            ("Restart", "on-failure"), ("StartLimitIntervalUSec", "0")):
            self.assertEqual(prop("asockd.service", name), value, name)
        self.assertRegex(prop("asockd.service", "WatchdogUSec"), "^[1-9]")
        self.assertRegex(prop("asockd.service", "FileDescriptorStoreMax"), "^[1-9]")

    def test_memory_is_limited_with_room_for_what_clients_may_have(self):
        """A quarter each for queues and shared memory, and as much for the kernel's buffers."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.assertAlmostEqual(int(prop("asockd.service", "MemoryMax")) / memory, 0.75, delta=0.02)

    def test_daemon_runs_as_its_user_without_capabilities(self):
        must("systemctl", "start", "asockd.service")
        with open(f"/proc/{prop('asockd.service', 'MainPID')}/status", encoding="utf-8") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        user = pwd.getpwnam("asockd")
        self.assertEqual(status["Uid"].split(), [str(user.pw_uid)] * 4)
        self.assertEqual(status["Gid"].split(), [str(user.pw_gid)] * 4)
        for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh"):
            self.assertEqual(int(status[name], 16), 0, name)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))


@contextlib.contextmanager
def prohibited(uid):
    """That user has no route anywhere, not even loopback; None: no user."""
    if uid is None:
        yield
        return
    must("ip", "rule", "add", "pref", "2", "lookup", "local")
    must("ip", "rule", "add", "pref", "1", "uidrange", f"{uid}-{uid}", "prohibit")
    must("ip", "rule", "del", "pref", "0")
    try:
        yield
    finally:
        must("ip", "rule", "add", "pref", "0", "lookup", "local")
        must("ip", "rule", "del", "pref", "1")
        must("ip", "rule", "del", "pref", "2")


class Clients(UnitsTest):
    def test_a_client_starts_the_service(self):
        self.assertEqual(prop("asockd.service", "ActiveState"), "inactive")
        context = boxed.client.Context()
        self.assertEqual(context.sync().wait(), "Success")
        self.assertEqual(prop("asockd.service", "ActiveState"), "active")

    def test_asockctl_starts_the_service(self):
        self.assertEqual(prop("asockd.service", "ActiveState"), "inactive")
        self.assertEqual(asockctl("list"), [])
        self.assertEqual(prop("asockd.service", "ActiveState"), "active")

    def test_sandboxed_client_reaches_a_server(self):
        configure(arguments="--allow-any")
        server = self.server(echo_once)
        direct = run_client("direct", "127.0.0.1", server.port)
        self.assertEqual((direct.status, direct.output), (1, "EAFNOSUPPORT"))
        self.assertEqual(server.accepted, [])
        through = run_client("exchange", "127.0.0.1", server.port, "hello")
        self.assertEqual((through.status, through.output), (0, "echo: hello"))
        self.assertEqual(len(server.accepted), 1)

    def test_controls_of_the_client_are_bypassed(self):
        """What the host says of the client's unit, or user, says nothing of the daemon's (docs/SECURITY-MODEL.md)."""
        configure(arguments="--allow-any")
        server = self.server(echo_once)
        plain = ["User=daemon", "SupplementaryGroups=asock"]
        address = ["127.0.0.1", server.port]
        for settings, rule in ((["IPAddressDeny=any"], None), ([], pwd.getpwnam("daemon").pw_uid)):
            with prohibited(rule):
                direct = run_client("datagram", *address, settings=plain + settings)
                self.assertEqual((direct.status, direct.output in ("EPERM", "EACCES")), (1, True), direct.output)
                through = run_client("exchange", *address, "hello", settings=plain + settings)
                self.assertEqual((through.status, through.output), (0, "echo: hello"))
        with prohibited(pwd.getpwnam("asockd").pw_uid):
            through = run_client("exchange", *address, "hello", settings=plain)
            self.assertEqual((through.status, through.output), (1, "AccessDenied"))

    def test_asockctl_connect_in_the_sandbox(self):
        configure(arguments="--allow-any")
        server = self.server(echo_once)
        with open("/run/request", "w", encoding="utf-8") as file:
            file.write("hello")
        unit = Unit("oneshot", [shutil.which("asockctl"), "connect", "127.0.0.1",
                                str(server.port)], [*SANDBOX, "StandardInput=file:/run/request"])
        self.assertEqual((unit.status, unit.output), (0, "echo: hello"))

    def test_the_shipped_unit_denies(self):
        server = self.server(echo_once)
        unit = run_client("exchange", "127.0.0.1", server.port, "hello")
        self.assertEqual((unit.status, unit.output), (1, "AccessDenied"))
        self.assertEqual(server.accepted, [])

    def test_the_installed_policy(self):
        """Members of group asock-internet, globally reachable addresses; those of group asock, which opens the socket,
        nothing."""
        name = "50-asock-internet.policy:"
        for group, host, status, said in (
                ("asock-internet", "8.8.8.8", 0, name), ("asock-internet", "dns.google", 0, name),
                ("asock-internet", "10.0.0.1", 1, "no +private"), ("asock-internet", "127.0.0.1", 1, "no +loopback"),
                ("asock", "8.8.8.8", 1, "no policy file applies to this client"),
                ("root", "8.8.8.8", 1, "no policy file applies to this client")):
            done = run("asockctl", "policy", "test", "--group", group, "tcp", host, "443")
            self.assertEqual(done.returncode, status, done.stdout)
            self.assertIn(said, done.stdout)

    def test_client_is_seen_as_what_it_is(self):
        """uid, groups, unit and pid of a sandboxed client, by the shipped unit."""
        unit = hold_client()
        pid = int(prop(unit.name, "MainPID"))
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        row, = asockctl("list")
        self.assertEqual(row["pid"], pid)
        self.assertEqual(row["uid"], int(status["Uid"].split()[0]))
        self.assertNotIn(row["uid"], (0, 65534))
        self.assertEqual(row["unit"], unit.name)
        shown = asockctl("show", str(row["id"]))
        self.assertEqual(shown["unit"], unit.name)
        self.assertEqual(shown["uid"], row["uid"])
        self.assertEqual(shown["gid"], int(status["Gid"].split()[0]))
        self.assertEqual(set(shown["groups"]),
                         {int(gid) for gid in status["Groups"].split()})
        self.assertIn(grp.getgrnam("asock").gr_gid, map(int, status["Groups"].split()))

    def test_outside_the_group_there_is_no_way_in(self):
        settings = [item for item in SANDBOX if not item.startswith("SupplementaryGroups=")]
        unit = run_client("unix", CLIENT_SOCKET, settings=settings)
        self.assertEqual((unit.status, unit.output), (1, "EACCES"))
        self.assertEqual(run_client("unix", CLIENT_SOCKET).status, 0)

    def test_the_control_socket_is_root_only(self):
        unit = run_client("unix", CONTROL_SOCKET)
        self.assertEqual((unit.status, unit.output), (1, "EACCES"))
        self.assertEqual(run_client("unix", CONTROL_SOCKET, settings=[]).status, 0)

    def test_root_gains_nothing_on_the_clients_socket(self):
        hold_client()
        self.assertEqual(len(asockctl("list")), 1)
        self.assertEqual(asockctl("list", "--socket", CLIENT_SOCKET), [])


class Readme(UnitsTest):
    """What README says of sandboxes."""

    def setUp(self):
        super().setUp()
        configure(arguments="--allow-any")
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "../../README.md"), encoding="utf-8") as readme:
            self.text = readme.read()
        with open("/run/request", "w", encoding="utf-8") as file:
            file.write("hello")
        self.peer = self.server(echo_once)

    def block(self, first):
        """The indented block with that first line."""
        match = re.search(rf"^    {re.escape(first)}.*\n((?:    .*\n)*)", self.text, re.M)
        text = "".join(line[4:] + "\n" for line in match.group(0).splitlines())
        self.assertIn("example.org 80", text)
        return text.replace("example.org 80", f"127.0.0.1 {self.peer.port}")

    def test_systemd_service(self):
        lines = self.block("[Service]\n    DynamicUser=yes").splitlines()[1:]
        command, = [line.split("=", 1)[1] for line in lines if line.startswith("ExecStart=")]
        settings = [line for line in lines if not line.startswith("ExecStart=")]
        self.assertEqual(sorted(settings), sorted(SANDBOX))
        unit = Unit("oneshot", [shutil.which("asockctl"), *command.split()[1:]],
                    [*settings, "StandardInput=file:/run/request"])
        self.assertEqual((unit.status, unit.output), (0, "echo: hello"))

    def test_bubblewrap(self):
        if not shutil.which("bwrap"):
            self.skipTest("no bwrap")
        with open("/run/request", encoding="utf-8") as request:
            done = run("setpriv", "--reuid=65534", "--regid=65534",
                       f"--groups={grp.getgrnam('asock').gr_gid}",
                       "env", "LD_LIBRARY_PATH=/usr/local/lib",
                       "sh", "-c", self.block("bwrap "), stdin=request)
        self.assertEqual((done.returncode, done.stdout), (0, "echo: hello"))

    def test_less_than_the_caller_has(self):
        """The policy file and the command, as they stand there; another destination is denied."""
        if not shutil.which("bwrap"):
            self.skipTest("no bwrap")
        rules = self.block("[Rules]\n    Allow=tcp example.org")
        with open("/run/web.policy", "w", encoding="utf-8") as file:
            file.write(rules.replace("\n", " +loopback\n").replace("] +loopback", "]"))
        command = self.block("asockctl run ").replace("web.policy", "/run/web.policy")
        user = ["setpriv", "--reuid=65534", "--regid=65534", f"--groups={grp.getgrnam('asock').gr_gid}",
                "env", "LD_LIBRARY_PATH=/usr/local/lib", "sh", "-c"]
        with open("/run/request", encoding="utf-8") as request:
            done = run(*user, command, stdin=request)
        self.assertEqual((done.returncode, done.stdout), (0, "echo: hello"))
        other = self.server(echo_once)
        done = run(*user, command.replace(str(self.peer.port), str(other.port)), stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 3)
        self.assertIn("no rule of this session's restriction allows this destination", done.stdout)
        self.assertEqual(other.accepted, [])


def answer_http(connection):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\na page")
    connection.close()


class Recipe(UnitsTest):
    """The service of docs/recipes.md, as it stands there."""

    def test_service(self):
        if not shutil.which("curl"):
            self.skipTest("no curl")
        configure(arguments="--allow-any")
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "../../docs/recipes.md"), encoding="utf-8") as recipes:
            lines = re.search(r"^```ini\n\[Service\]\n(.*?)^```", recipes.read(), re.M | re.S).group(1).splitlines()
        peer = self.server(answer_http)
        command, = [line.split("=", 1)[1] for line in lines if line.startswith("ExecStart=")]
        command = command.replace("/usr/bin/asockctl", shutil.which("asockctl"))
        command = command.replace("example.org", f"127.0.0.1:{peer.port}").replace("curl ", "curl --noproxy  ").split(" ")
        unit = Unit("oneshot", command, [line for line in lines if not line.startswith(("ExecStart=", "Type="))])
        self.assertEqual((unit.status, unit.output), (0, "a page"))


class UserInstance(unittest.TestCase):
    """A user's own daemon, run by that user's service manager."""

    NAME, UID = "asock-user", 7070
    RUNTIME = f"/run/user/{UID}"
    SOCKETS = ("asockd.socket", "asockd-control.socket")

    @classmethod
    def setUpClass(cls):
        must("useradd", "--create-home", "--uid", str(cls.UID), cls.NAME)
        must("systemctl", "start", "dbus.service", "systemd-logind.service")
        must("systemctl", "start", f"user@{cls.UID}.service")

    @classmethod
    def tearDownClass(cls):
        must("systemctl", "stop", f"user@{cls.UID}.service")

    def as_user(self, *command, **env):
        settings = {"XDG_RUNTIME_DIR": self.RUNTIME, "HOME": f"/home/{self.NAME}", "LD_LIBRARY_PATH": "/usr/local/lib",
                    "PATH": os.environ["PATH"], **env}
        return run("setpriv", f"--reuid={self.UID}", f"--regid={self.UID}", "--clear-groups",
                   "env", "-i", *[f"{name}={value}" for name, value in settings.items()], *command)

    def must(self, *command, **env):
        done = self.as_user(*command, **env)
        if done.returncode != 0:
            raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}\n" +
                                 run("journalctl", "--no-pager", "--lines=30", "--quiet").stdout)
        return done.stdout.strip()

    def prop(self, unit, name):
        return self.must("systemctl", "--user", "show", "--value", "--property", name, unit)

    def exchange(self, port):
        done = self.as_user("/usr/bin/python3", CLIENT_DIR + "/client.py", "exchange", "127.0.0.1", str(port), "hello",
                            ASOCK_SOCKET=self.RUNTIME + "/asockd/default/asock.sock")
        return done.returncode, done.stdout.strip()

    def test_verified(self):
        said = self.as_user("systemd-analyze", "--user", "verify", "--man=no", "asockd.service", *self.SOCKETS)
        self.assertEqual((said.returncode, said.stdout), (0, ""))

    def test_user_has_a_daemon_of_his_own(self):
        self.must("systemctl", "--user", "enable", "--now", *self.SOCKETS)
        for path, mode in (("", 0o700), ("/default", 0o700), ("/default/asock.sock", 0o600), ("/control.sock", 0o600)):
            status = os.stat(self.RUNTIME + "/asockd" + path)
            self.assertEqual((status.st_uid, stat.S_IMODE(status.st_mode)), (self.UID, mode), path)
        self.assertEqual(self.prop("asockd.service", "ActiveState"), "inactive")
        server = Server(echo_once)
        self.addCleanup(server.close)
        # Started by its first client; without a policy of the user's it denies.
        self.assertEqual(self.exchange(server.port), (1, "AccessDenied"))
        self.assertEqual(server.accepted, [])
        self.assertEqual(self.prop("asockd.service", "ActiveState"), "active")
        pid = self.prop("asockd.service", "MainPID")
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        self.assertEqual(status["Uid"].split(), [str(self.UID)] * 4)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        # What it lets through is said by the user's own files.
        folder = f"/home/{self.NAME}/.config/asockd"
        self.must("mkdir", "-p", "-m", "700", folder + "/policy.d")
        self.must("sh", "-c", "umask 077; printf '[Rules]\\nAllow=tcp 127.0.0.1 *\\n' "
                  f">{folder}/policy.d/own.policy")
        self.must("systemctl", "--user", "restart", "asockd.service")
        self.assertEqual(self.exchange(server.port), (0, "echo: hello"))
        rows = self.must("asockctl", "list", "--json", ASOCK_CONTROL=self.RUNTIME + "/asockd/control.sock")
        self.assertEqual(json.loads(rows), [])
        pid = self.prop("asockd.service", "MainPID")
        self.must("systemctl", "--user", "reload", "asockd.service")
        # An invalid one is reported with its name.
        self.must("sh", "-c", f"printf '[Log]\\nLevel=loud\\n' >{folder}/asockd.conf")
        self.assertNotEqual(self.as_user("systemctl", "--user", "reload", "asockd.service").returncode, 0)
        self.assertEqual(self.prop("asockd.service", "MainPID"), pid)
        failed = self.as_user("systemctl", "--user", "restart", "asockd.service")
        self.assertNotEqual(failed.returncode, 0)
        must("journalctl", "--sync")
        self.assertIn(f"{folder}/asockd.conf:2: Level=loud is not error, warning, notice, info or debug", run("journalctl", "--no-pager").stdout)
        self.must("rm", folder + "/asockd.conf")
        self.must("systemctl", "--user", "reset-failed")
        self.must("systemctl", "--user", "restart", "asockd.service")


class Life(UnitsTest):
    def test_stop_ends_pending_operations(self):
        configure(arguments="--allow-any")
        server = self.server(say_nothing)
        context = boxed.client.Context()
        receives, socks = self.pending_receives(context, server, sockets=8, receives=4)
        # More than the kernel's buffers take: the peers do not read.
        sends = [sock.send(bytes(8 << 20)) for sock in socks[:2]]
        context.flush()
        must("systemctl", "stop", "asockd.service")
        results = [op.wait() for op in receives + sends]
        self.assertEqual({name: results.count(name) for name in results}, {ABORTED: 34})
        self.assertEqual(context.error(), ABORTED)
        self.assertEqual(prop("asockd.service", "Result"), "success")
        self.assertEqual(prop("asockd.service", "ExecMainStatus"), "0")
        self.assertEqual(prop("asockd.service", "NRestarts"), "0")

    def test_stop_and_start(self):
        for _ in range(3):
            must("systemctl", "start", "asockd.service")
            self.assertEqual(boxed.client.Context().sync().wait(), "Success")
            must("systemctl", "stop", "asockd.service")
            self.assertEqual(prop("asockd.service", "ActiveState"), "inactive")
            self.assertEqual(prop("asockd.socket", "ActiveState"), "active")

    def test_restart_keeps_a_lent_connection(self):
        """It stays lent, and its session can open others."""
        with open("/run/lend.policy", "w", encoding="utf-8") as file:
            file.write("[Rules]\nAllow=tcp * * +loopback +lend\n")
        self.addCleanup(os.unlink, "/run/lend.policy")
        configure(arguments="--policy /run/lend.policy")
        server = self.server(say_nothing)
        context = boxed.client.Context()
        sock = boxed.client.Socket(context)
        self.assertEqual(sock.connect("127.0.0.1", server.port, boxed.client.LEND).wait(), "Success")
        before = prop("asockd.service", "MainPID")
        must("systemctl", "restart", "asockd.service")
        self.assertEqual(context.sync().wait(), "Success")
        self.assertNotEqual(prop("asockd.service", "MainPID"), before)
        self.assertEqual([line["state"] for line in asockctl("list")], ["lent"])
        self.pending_receives(context, server, sockets=1, receives=1)
        self.assertEqual(len(asockctl("list")), 2)

    def test_twelve_restarts_in_a_row(self):
        """The start limit of systemd's default is five."""
        for _ in range(12):
            must("systemctl", "restart", "asockd.service")
        self.assertEqual(prop("asockd.service", "ActiveState"), "active")

    def test_a_killed_daemon_comes_back(self):
        configure("RestartSec=0")
        context = boxed.client.Context()
        self.assertEqual(context.sync().wait(), "Success")
        before = prop("asockd.service", "MainPID")
        os.kill(int(before), signal.SIGKILL)
        await_true("restart", lambda: prop("asockd.service", "NRestarts") == "1"
                   and prop("asockd.service", "ActiveState") == "active")
        self.assertNotEqual(prop("asockd.service", "MainPID"), before)
        self.assertEqual(boxed.client.Context().sync().wait(), "Success")

    def test_the_journal_tells_start_and_stop(self):
        must("systemctl", "start", "asockd.service")
        invocation = prop("asockd.service", "InvocationID")
        must("systemctl", "stop", "asockd.service")
        said = said_by_daemon(invocation)
        print(said)
        for text in (" is running: ", " is stopping: "):
            self.assertEqual([level for level, line in said if text in line], [5], said)

    def test_a_journal_that_hangs_does_not_hang_the_daemon(self):
        """Each broken session is a line: more of them than the journal's socket holds."""
        context = boxed.client.Context()
        self.assertEqual(context.sync().wait(), "Success")
        with descriptor_of(int(prop("asockd.service", "MainPID")), 2) as log:
            log.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)  # the least there is
        pid = int(prop("systemd-journald.service", "MainPID"))
        suspend(pid)
        try:
            for _ in range(100):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                    sock.settimeout(LIVENESS)
                    sock.connect(CLIENT_SOCKET)
                    sock.sendall(bytes(64))
                    while sock.recv(4096):
                        pass
            self.assertEqual(context.sync().wait(), "Success")
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_the_daemon_says_what_it_does(self):
        must("systemctl", "start", "asockd.service")
        self.assertNotEqual(prop("asockd.service", "StatusText"), "")


class Places(UnitsTest):
    """Of the files of one name in /etc, /run and the package's directory, the first one is read."""

    def test_configuration_and_policy(self):
        etc, run_dir = os.environ["ASOCK_SYSCONFDIR"] + "/asockd", "/run/asockd"
        package = os.environ["ASOCK_PREFIX"] + "/lib/asockd"
        if os.environ["ASOCK_PREFIX"] not in ("/usr", "/usr/local"):
            self.skipTest("built for another prefix: the box puts the files elsewhere")
        must("systemctl", "start", "asockd.service")
        default = asockctl("stats")["limits"]["sockets"]
        for place, sockets, expected in ((package, 100, 100), (run_dir, 200, 200), (etc, 300, 300)):
            self.put(f"{place}/asockd.conf", f"[Limits]\nSockets={sockets}\n")
            self.put(f"{place}/policy.d/10-test.policy", f"[Rules]\nAllow=tcp {sockets}.test 80\n")
            self.assertEqual(self.in_force(), (expected, f"{place}/policy.d/10-test.policy", f"Allow=tcp {sockets}.test 80"))
        # An empty file and a link to /dev/null mask those behind them.
        self.put(f"{etc}/asockd.conf", "")
        self.put(f"{etc}/policy.d/10-test.policy", "")
        self.assertEqual(self.in_force(), (default, f"{etc}/policy.d/10-test.policy", None))
        for path in (f"{etc}/asockd.conf", f"{etc}/policy.d/10-test.policy"):
            os.unlink(path)
        self.assertEqual(self.in_force()[0], 200)
        for path in (f"{run_dir}/asockd.conf", f"{run_dir}/policy.d/10-test.policy"):
            os.unlink(path)
            os.symlink("/dev/null", path)
        self.assertEqual(self.in_force(), (default, f"{run_dir}/policy.d/10-test.policy", None))

    def put(self, path, text):
        if not os.path.exists(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        if not os.path.exists(path):
            self.addCleanup(lambda: os.path.lexists(path) and os.unlink(path))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    @staticmethod
    def in_force():
        """The limit of sockets, and the file of the policy's name with its rule."""
        must("systemctl", "reload", "asockd.service")
        rows = asockctl("policy", "show")
        file, = [row["file"] for row in rows if row["kind"] == "file" and row["file"].endswith("/10-test.policy")]
        rules = [row["text"] for row in rows if row["kind"] == "rule" and row["file"] == file]
        return asockctl("stats")["limits"]["sockets"], file, rules[0] if rules else None


class Reload(UnitsTest):
    CONFIG = "/etc/asockd-reload"

    def setUp(self):
        super().setUp()
        self.set_rules("Allow=tcp * * +loopback +private +local")
        configure(arguments="--config-dir " + self.CONFIG)
        must("systemctl", "start", "asockd.service")

    def set_rules(self, rule):
        os.makedirs(self.CONFIG + "/policy.d", exist_ok=True)
        with open(self.CONFIG + "/policy.d/test.policy", "w", encoding="utf-8") as file:
            file.write(f"[Rules]\n{rule}\n")

    def outcome(self, server):
        return run_client("exchange", "127.0.0.1", server.port, "hello").output

    def test_good_and_bad(self):
        server = self.server(echo_once)
        before = prop("asockd.service", "MainPID")
        self.assertEqual(self.outcome(server), "echo: hello")
        self.set_rules("Deny=tcp * *")
        must("systemctl", "reload", "asockd.service")
        self.assertEqual(self.outcome(server), "AccessDenied")
        self.set_rules("Allow=tcp * * +loopback +nonsense")
        failed = run("systemctl", "reload", "asockd.service")
        self.assertNotEqual(failed.returncode, 0)
        where = self.CONFIG + "/policy.d/test.policy:2: "
        texts = [row["MESSAGE"] for row in journal()]
        self.assertTrue([text for text in texts if text.startswith("asockctl: reload: " + where)], texts[-20:])
        # The service is as before, and so is what it allows.
        self.assertEqual(prop("asockd.service", "ActiveState"), "active")
        self.assertEqual(self.outcome(server), "AccessDenied")
        self.set_rules("Allow=tcp * * +loopback +private +local")
        must("systemctl", "reload", "asockd.service")
        self.assertEqual(self.outcome(server), "echo: hello")
        self.assertEqual(prop("asockd.service", "MainPID"), before)

    def test_hang_up_is_told_to_the_service_manager(self):
        self.set_rules("Deny=tcp * *")
        count = asockctl("stats")["reloads"]
        must("systemctl", "kill", "--signal=HUP", "--kill-who=main", "asockd.service")
        await_true("reload", lambda: asockctl("stats")["reloads"] == count + 1)
        await_true("running again", lambda: prop("asockd.service", "SubState") == "running")
        invocation = prop("asockd.service", "InvocationID")
        texts = [text for _, text in said_by_daemon(invocation)]
        self.assertTrue([text for text in texts if text.startswith("reloaded")], texts)


class Watchdog(UnitsTest):
    def start_hooks(self):
        hooks = os.environ["ASOCK_HOOKS"]
        if not os.path.exists(hooks):
            self.skipTest("no asockd-hooks was built")
        shutil.copy(hooks, "/usr/local/sbin/asockd-hooks")
        configure("WatchdogSec=3", "RestartSec=0", executable="/usr/local/sbin/asockd-hooks")
        self.context = boxed.client.Context()
        self.assertEqual(self.context.sync().wait(), "Success")

    def pings(self, count):
        """Waits for count signs of life."""
        seen = prop("asockd.service", "WatchdogTimestampMonotonic")
        for _ in range(count):
            await_true("a sign of life", lambda: prop(
                "asockd.service", "WatchdogTimestampMonotonic") != seen)
            seen = prop("asockd.service", "WatchdogTimestampMonotonic")

    def test_a_callback_that_never_returns_is_restarted(self):
        self.start_hooks()
        self.pings(3)
        self.assertEqual(prop("asockd.service", "NRestarts"), "0")
        before = prop("asockd.service", "MainPID")
        invocation = prop("asockd.service", "InvocationID")
        os.kill(int(before), signal.SIGUSR2)  # the hook
        await_true("restart", lambda: prop("asockd.service", "NRestarts") == "1"
                   and prop("asockd.service", "ActiveState") == "active")
        self.assertNotEqual(prop("asockd.service", "MainPID"), before)
        rows = journal(f"INVOCATION_ID={invocation}")
        self.assertIn("watchdog", [row.get("UNIT_RESULT") for row in rows])
        self.assertEqual(self.context.sync().wait(), ABORTED)
        self.context.reconnect()
        self.assertEqual(self.context.sync().wait(), "Success")
        self.pings(1)
