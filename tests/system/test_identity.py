# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients in all kinds of units, and listeners by unit. Runs as root inside tests/system/box, by identity.test."""

import grp
import os
import shutil
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import boxed
from boxed import asockctl, configure, must, prop, run

CLIENT = ["/usr/bin/python3", boxed.CLIENT_DIR + "/client.py", "hold"]
WRAPPER = "/usr/local/sbin/no-peerpidfd"
UNIT_DIR = "/run/systemd/system"
USER, UID = "asock-person", 7171
CGROUP_ROOT = ""


def setUpModule():
    global CGROUP_ROOT
    boxed.setUpModule()
    shutil.copy(os.environ["ASOCK_NO_PEERPIDFD"], WRAPPER)
    CGROUP_ROOT = must("findmnt", "-n", "-t", "cgroup2", "-o", "TARGET").splitlines()[0]
    must("useradd", "--create-home", "--uid", str(UID), "--groups", "asock", USER)
    must("systemctl", "start", "dbus.service", "systemd-logind.service", f"user@{UID}.service")


def seen():
    """The one client's session, by the one socket that it has."""
    row, = asockctl("list")
    return asockctl("show", str(row["id"]))


class IdentityTest(boxed.UnitsTest):
    wrapper = []  # of the daemon
    source = "socket"

    def setUp(self):
        super().setUp()
        self.set_up_daemon()

    def set_up_daemon(self, *lines):
        if self.wrapper:
            configure(*lines, executable=self.wrapper[0], arguments=boxed.EXECUTABLE)
        else:
            configure(*lines)

    def check(self, unit, cgroup, user_unit="", **more):
        shown = seen()
        self.assertEqual((shown["unit"], shown["user_unit"], shown["cgroup"]), (unit, user_unit, cgroup))
        self.assertEqual((shown["units"], shown["alive"], shown["pidfd"], shown["listener"]),
                         ("known", True, self.source, "default"))
        for name, value in more.items():
            self.assertEqual(shown[name], value, name)
        return shown

    def hold(self, command, **options):
        """A client that is no service: killed after the test. Its first line says that it is there."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"ready\n")
        process.stdout.close()

    def in_group(self, unit, below):
        """The command of a unit's client in a group that the unit has made for itself."""
        path = f"{CGROUP_ROOT}/system.slice/{unit}/{below}"
        return self.script(f"mkdir -p '{path}' && echo $$ >'{path}/cgroup.procs' && exec " + " ".join(CLIENT))

    def script(self, text):
        """In a file: systemd would look for variables and escapes in it."""
        path = "/run/identity-script"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        return ["/bin/sh", path]


class Identity(IdentityTest):
    def test_service(self):
        unit = boxed.hold_client([])
        self.check(unit.name, "/system.slice/" + unit.name, uid=0, pid=int(prop(unit.name, "MainPID")))

    def test_dynamic_user_in_a_sandbox(self):
        unit = boxed.hold_client([*boxed.SANDBOX, "PrivateUsers=yes", "ProtectProc=invisible", "ProtectControlGroups=yes",
                                  "ProtectSystem=strict"])
        shown = self.check(unit.name, "/system.slice/" + unit.name)
        self.assertTrue(61184 <= shown["uid"] <= 65519, shown["uid"])
        self.assertIn(grp.getgrnam("asock").gr_gid, shown["groups"])

    def test_slices(self):
        unit = boxed.hold_client(["Slice=client-a-b.slice"])
        self.check(unit.name, "/client.slice/client-a.slice/client-a-b.slice/" + unit.name)

    def test_instance_of_a_template(self):
        name = "client-tpl@a\\x2db-c:d.service"
        path = f"{UNIT_DIR}/client-tpl@.service"
        with open(path, "w", encoding="utf-8") as file:
            file.write("[Service]\nType=notify\nNotifyAccess=all\nExecStart=" + " ".join(CLIENT) + "\n")
        self.addCleanup(os.unlink, path)
        must("systemctl", "daemon-reload")
        must("systemctl", "start", name)
        self.check(name, prop(name, "ControlGroup"))
        must("systemctl", "stop", name)

    def test_scope(self):
        self.hold(["systemd-run", "--quiet", "--scope", "--unit=client-scope", *CLIENT])
        self.check("client-scope.scope", "/system.slice/client-scope.scope")

    def test_groups_below_a_delegated_unit_are_its_own(self):
        """It may call them what it likes."""
        for below in ("sub", "asockd.service", f"user@{UID}.service/app.slice/other.service", "a b\t\x1b[1m\"\\"):
            unit = f"client-{boxed.Unit.count + 1}.service"
            command = self.in_group(unit, below)
            done = boxed.Unit("notify", command, ["Delegate=yes", "NotifyAccess=all"])
            self.assertEqual(done.status, 0, done.started.stdout)
            self.assertEqual(done.name, unit)
            text = "".join(one if " " <= one < "\x7f" else "?" for one in below)
            self.check(unit, f"/system.slice/{unit}/{text}")
            must("systemctl", "stop", unit)

    def test_a_group_whose_name_is_too_long(self):
        unit = f"client-{boxed.Unit.count + 1}.service"
        done = boxed.Unit("notify", self.in_group(unit, "/".join(["n" * 200] * 3)), ["Delegate=yes", "NotifyAccess=all"])
        self.assertEqual(done.status, 0, done.started.stdout)
        shown = seen()
        self.assertEqual((shown["unit"], shown["cgroup"], shown["units"]), ("", "", "unknown"))

    def test_namespaces_of_the_client(self):
        unit = boxed.Unit("notify", ["/usr/bin/unshare", "--cgroup", "--pid", "--fork", "--mount-proc", "--kill-child",
                                     *CLIENT], ["NotifyAccess=all", "KillSignal=SIGKILL"])
        self.assertEqual(unit.status, 0, unit.started.stdout)
        main = int(prop(unit.name, "MainPID"))
        with open(f"/proc/{main}/task/{main}/children", encoding="ascii") as file:
            pid = int(file.read())
        self.check(unit.name, "/system.slice/" + unit.name, pid=pid)

    def test_unit_of_a_users_manager(self):
        runtime = f"/run/user/{UID}"
        as_user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups", "env", "-i", f"XDG_RUNTIME_DIR={runtime}",
                   f"HOME=/home/{USER}", "PATH=" + os.environ["PATH"]]
        must(*as_user, "systemd-run", "--user", "--quiet", "--unit=work", "--service-type=notify",
             "--property=NotifyAccess=all", "--setenv=LD_LIBRARY_PATH=/usr/local/lib", *CLIENT)
        try:
            self.check(f"user@{UID}.service",
                       f"/user.slice/user-{UID}.slice/user@{UID}.service/app.slice/work.service",
                       user_unit="work.service", uid=UID, gid=UID)
        finally:
            must(*as_user, "systemctl", "--user", "stop", "work.service")

    def test_no_unit(self):
        """In the root of all groups: that there is none is known."""
        self.hold(self.script(f"echo $$ >'{CGROUP_ROOT}/cgroup.procs' && exec " + " ".join(CLIENT)))
        self.check("", "/")

    def test_a_daemon_that_must_not_look(self):
        """What the shipped unit leaves off, and why."""
        self.set_up_daemon("ProtectProc=invisible")
        unit = boxed.hold_client(boxed.SANDBOX)
        shown = seen()
        self.assertEqual((shown["unit"], shown["cgroup"], shown["units"]), ("", "", "unknown"))
        must("systemctl", "stop", unit.name, "asockd.service")
        self.set_up_daemon("PrivateUsers=yes")
        boxed.hold_client(boxed.SANDBOX)
        shown = seen()
        self.assertEqual((shown["uid"], shown["gid"], shown["groups"]), (None, None, None))


class IdentityWithoutPeerpidfd(Identity):
    """The same as on a kernel before 6.5."""
    wrapper = [WRAPPER]
    source = "pid"


class Listeners(boxed.UnitsTest):
    WEB = "/run/asockd/web/asock.sock"

    def tearDown(self):
        run("systemctl", "disable", "--now", "asockd@web.socket")
        run("systemctl", "stop", "asockd.service")
        shutil.rmtree(f"{UNIT_DIR}/asockd@web.socket.d", ignore_errors=True)

    def add(self):
        must("systemctl", "enable", "asockd@web.socket")
        must("systemctl", "stop", "asockd.service")
        must("systemctl", "start", "asockd@web.socket")

    def test_a_further_listener(self):
        """As asockd(8) says."""
        os.makedirs(f"{UNIT_DIR}/asockd@web.socket.d")
        with open(f"{UNIT_DIR}/asockd@web.socket.d/group.conf", "w", encoding="utf-8") as file:
            file.write("[Socket]\nSocketGroup=www-data\n")
        must("systemctl", "daemon-reload")
        must("systemctl", "start", "asockd.service")
        self.add()
        status = os.stat(self.WEB)
        self.assertEqual((stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid),
                         (0o660, 0, grp.getgrnam("www-data").gr_gid))
        settings = ["DynamicUser=yes", "PrivateNetwork=yes"]
        web = boxed.hold_client([*settings, "SupplementaryGroups=www-data", f"Environment=ASOCK_SOCKET={self.WEB}"])
        other = boxed.hold_client(boxed.SANDBOX)
        shown = {row["unit"]: asockctl("show", str(row["id"]))["listener"] for row in asockctl("list")}
        self.assertEqual(shown, {web.name: "web", other.name: "default"})
        refused = boxed.run_client("unix", self.WEB, settings=boxed.SANDBOX)
        self.assertEqual((refused.status, refused.output), (1, "EACCES"))
        # A restart keeps it.
        must("systemctl", "restart", "asockd.service")
        self.assertEqual(boxed.run_client("unix", self.WEB, settings=[]).status, 0)
        self.assertEqual(prop("asockd.service", "ActiveState"), "active")

    def test_a_listener_while_the_daemon_runs(self):
        """asockd-listener@.service: sessions stay, a restart and a crash of the daemon keep it, stop removes it."""
        unit, path = "asockd-listener@build.service", "/run/asockd/build/asock.sock"
        drop_in = f"{UNIT_DIR}/{unit}.d/options.conf"
        os.makedirs(os.path.dirname(drop_in))
        with open(drop_in, "w", encoding="utf-8") as file:
            file.write('[Service]\nEnvironment="OPTIONS=--group www-data --mode 0660"\n')
        self.addCleanup(lambda: (run("systemctl", "disable", "--now", unit), shutil.rmtree(os.path.dirname(drop_in)),
                                 must("systemctl", "daemon-reload")))
        must("systemctl", "daemon-reload")
        self.assertEqual(run("systemd-analyze", "verify", "--man=no", unit).stdout, "")
        must("systemctl", "start", "asockd.service")
        before = prop("asockd.service", "MainPID")
        other = boxed.hold_client(boxed.SANDBOX)
        must("systemctl", "enable", "--now", unit)
        self.assertEqual(prop("asockd.service", "MainPID"), before)
        status = os.stat(path)
        self.assertEqual((stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid),
                         (0o660, 0, grp.getgrnam("www-data").gr_gid))
        settings = ["DynamicUser=yes", "PrivateNetwork=yes"]
        web = boxed.hold_client([*settings, "SupplementaryGroups=www-data", f"Environment=ASOCK_SOCKET={path}"])
        shown = {row["unit"]: asockctl("show", str(row["id"]))["listener"] for row in asockctl("list")}
        self.assertEqual(shown, {web.name: "build", other.name: "default"})
        refused = boxed.run_client("unix", path, settings=boxed.SANDBOX)
        self.assertEqual((refused.status, refused.output), (1, "EACCES"))

        def reaches(what):
            boxed.await_true(f"{what}: the listener is there again",
                             lambda: prop(unit, "ActiveState") == "active" and os.path.exists(path)
                             and boxed.run_client("unix", path, settings=[]).status == 0)

        must("systemctl", "restart", "asockd.service")
        reaches("restart")
        crashed = prop("asockd.service", "MainPID")
        must("systemctl", "kill", "--signal=KILL", "--kill-who=main", "asockd.service")
        boxed.await_true("a new daemon", lambda: prop("asockd.service", "MainPID") not in ("0", crashed))
        reaches("crash")
        must("systemctl", "stop", "asockd.service")
        must("systemctl", "start", "asockd.service")
        reaches("stop and start")
        must("systemctl", "stop", unit)
        self.assertFalse(os.path.exists(path), run("journalctl", "--quiet", "--no-pager", "-u", unit, "-u", "asockd.service").stdout)
        self.assertEqual(prop("asockd.service", "ActiveState"), "active")

    def test_verified(self):
        said = run("systemd-analyze", "verify", "--man=no", "asockd@web.socket")
        self.assertEqual((said.returncode, said.stdout), (0, ""))

    def test_a_name_that_is_none(self):
        must("systemctl", "start", "asockd@a.b.socket")
        try:
            failed = run("systemctl", "start", "asockd.service")
            self.assertNotEqual(failed.returncode, 0)
            must("journalctl", "--sync")
            self.assertIn('"a.b" is not a valid listener name', run("journalctl", "--no-pager").stdout)
        finally:
            run("systemctl", "stop", "asockd@a.b.socket", "asockd.service")


if __name__ == "__main__":
    unittest.main()
