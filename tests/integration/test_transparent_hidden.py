# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run --transparent: sockets and files that the command must not find."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import asockctl
from asockd import NOBODY, Daemon
import network
from transparent import DEADLINE, PRELUDE, TransparentTest, setUpModule, tool

network.enter()

# Tries all ways to reach a path until standard input ends, then once more; prints how often it failed and who answered.
TRY_TO_CONNECT = """
import threading
def unix(path):
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except OSError as error:
        return None
    return path
def ways():
    for path in args:
        yield path
        links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
        for link in ("/proc/self/cwd", "/proc/self/root", "/proc/1/root", *links):
            yield os.path.join(link, *path.split("/")[1:])
            for part in range(1, path.count("/")):
                yield "/".join([link, *path.split("/")[-part:]])
        yield os.path.relpath(path)
reached, tries = set(), 0
def look():
    global tries
    for way in ways():
        reached.add(unix(way))
        tries += 1
look()
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    look()
look()
say([sorted(filter(None, reached)), tries > 0])
"""


class Hidden(TransparentTest):
    """The command does not find asockd's sockets, whatever happens to them while it runs."""

    def begin(self, *paths, options=(), **more):
        program = self.hold(asockctl.Tool("run", "--transparent", *options, "--", sys.executable, "-c",
                                          PRELUDE + TRY_TO_CONNECT, *paths, stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, **more))
        self.assertEqual(program.stdout.readline(), b"ready\n")
        return program

    def own_daemon(self):
        """A daemon of its own, whose sockets the test may remove."""
        daemon = Daemon("--allow-any")
        self.addCleanup(daemon.stop)
        return daemon

    def finish(self, program):
        output, _ = program.communicate(b"\n", DEADLINE)
        self.assertEqual(json.loads(output), [[], True])
        self.assertEqual(program.returncode, 0)

    def listen(self, path):
        sock = self.hold(socket.socket(socket.AF_UNIX))
        sock.bind(path)
        sock.listen(1000)
        return sock

    def replace(self, run):
        """The host replaces the socket in each possible way, more than once."""
        client, control = os.path.join(run, "default", "asock.sock"), os.path.join(run, "control.sock")
        for _ in range(20):
            for path in (client, control):
                os.unlink(path)
                self.listen(path)
                self.listen(path + ".new")
                os.rename(path + ".new", path)
            shutil.rmtree(os.path.dirname(client))
            os.mkdir(os.path.dirname(client))
            self.listen(client)
            shutil.rmtree(run)
            os.makedirs(os.path.dirname(client))
            self.listen(client)
            self.listen(control)
            os.rename(run, run + ".old")
            os.makedirs(os.path.dirname(client))
            self.listen(client)
            self.listen(control)
            shutil.rmtree(run + ".old")

    def check(self, daemon, **options):
        run = os.path.join(daemon.directory, "run")
        shares = os.path.join(run, "share", "0" * 32, "asock.sock")
        program = self.begin(daemon.path, daemon.control_path, shares, options=("--socket", daemon.path), **options)
        self.replace(run)
        os.makedirs(os.path.dirname(shares))
        self.listen(shares)
        self.finish(program)

    def test_sockets_that_are_made_again_are_not_found(self):
        daemon = self.own_daemon()
        self.check(daemon)

    def test_nor_that_of_a_session_that_came_as_a_descriptor(self):
        """No path leads to the socket then, but the kernel still knows its name."""
        daemon = self.own_daemon()
        program = self.hold(asockctl.Tool("run", "--fd", "--socket", daemon.path, "--", asockctl.TOOL, "run", "--transparent",
                                          "--", sys.executable, "-c", PRELUDE + TRY_TO_CONNECT, daemon.path,
                                          daemon.control_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        self.assertEqual(program.stdout.readline(), b"ready\n")
        self.finish(program)

    def test_nor_another_listener_beside_a_file(self):
        """The directory is visible because of other files in it; the socket is hidden."""
        daemon = self.own_daemon()
        folder = os.path.join(daemon.directory, "run", "other")
        os.mkdir(folder)
        path = os.path.join(folder, "asock.sock")
        self.listen(path)
        with open(os.path.join(folder, "README"), "w", encoding="ascii"):
            pass
        self.finish(self.begin(path, options=("--socket", daemon.path)))
        shutil.rmtree(folder)

    def test_nor_another_listener_that_comes_later(self):
        """Its directory was there, and empty."""
        daemon = self.own_daemon()
        folder = os.path.join(daemon.directory, "run", "other")
        os.mkdir(folder)
        path = os.path.join(folder, "asock.sock")
        program = self.begin(path, options=("--socket", daemon.path))
        self.listen(path)
        self.finish(program)
        shutil.rmtree(folder)

    def test_nor_with_their_whole_directory(self):
        daemon = self.own_daemon()
        program = self.begin(daemon.path, options=("--socket", daemon.path))
        os.rename(daemon.directory, daemon.directory + ".old")
        os.makedirs(os.path.dirname(daemon.path))
        self.listen(daemon.path)
        self.finish(program)
        shutil.rmtree(daemon.directory)
        os.rename(daemon.directory + ".old", daemon.directory)

    def test_nor_from_a_directory_that_was_open_before(self):
        daemon = self.own_daemon()
        folders = [os.open(path, os.O_RDONLY) for path in ("/", daemon.directory, os.path.dirname(daemon.path))]
        for folder in folders:
            self.addCleanup(os.close, folder)
        self.check(daemon, pass_fds=folders, cwd=os.path.dirname(daemon.path))

    def test_those_of_the_daemon_behind_a_shared_listener_are_not_found_either(self):
        program = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--", asockctl.TOOL, "run",
                                          "--transparent", "--", sys.executable, "-c", PRELUDE + TRY_TO_CONNECT,
                                          self.daemon.path, self.daemon.control_path, stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE))
        self.assertEqual(program.stdout.readline(), b"ready\n")
        self.finish(program)

    def test_sockets_of_the_system_s_daemon_and_name_services(self):
        """No directory exists at the start: they are created while the command runs."""
        network.run("mount", "-t", "tmpfs", "tmpfs", "/run")
        self.addCleanup(network.run, "umount", "--lazy", "/run")
        paths = ["/run/asockd/default/asock.sock", "/run/asockd/control.sock", "/run/nscd/socket",
                 "/run/avahi-daemon/socket", "/run/systemd/resolve/io.systemd.Resolve"]
        os.makedirs(os.path.dirname(paths[-1]))
        program = self.begin(*paths, options=("--socket", self.daemon.path))
        for path in paths:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self.listen(path)
        self.finish(program)

    def test_a_name_server_of_another_network_is_not_found(self):
        """The host replaces its resolv.conf when its network changes."""
        with tempfile.TemporaryDirectory(prefix="asockd-test-etc-") as folder:
            network.run("mount", "-t", "tmpfs", "tmpfs", folder)
            shutil.copytree("/etc", folder, symlinks=True, dirs_exist_ok=True)
            network.run("mount", "--move", folder, "/etc")
        self.addCleanup(network.run, "umount", "--lazy", "/etc")
        code = """
import pwd
print("ready", flush=True)
sys.stdin.read()
say([open("/etc/resolv.conf").read().split()[1], pwd.getpwuid(os.getuid())[0], os.access("/etc", os.W_OK), "new" in os.listdir("/etc/ssl")])
"""
        # The build directory may be readable only for root.
        user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=+dac_read_search",
                "--ambient-caps=+dac_read_search")
        program = self.hold(asockctl.Tool("run", "--transparent", "--socket", self.daemon.path, "--", sys.executable,
                                          "-c", PRELUDE + code, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          wrapper=user))
        self.assertEqual(program.stdout.readline(), b"ready\n")
        for path in ("/etc/resolv.conf.new", "/etc/ssl/new"):
            with open(path, "w", encoding="ascii") as file:
                file.write("nameserver 192.0.2.53\n")
        os.rename("/etc/resolv.conf.new", "/etc/resolv.conf")
        output, _ = program.communicate(b"", DEADLINE)
        self.assertEqual(json.loads(output), ["198.18.0.1", "nobody", False, True])

    def test_other_files_beside_them_stay(self):
        daemon = self.own_daemon()
        beside = os.path.join(daemon.directory, "run", "beside")
        os.mkdir(beside)
        os.symlink("beside", beside + ".link")
        with open(os.path.join(beside, "README"), "w", encoding="ascii"):
            pass
        code = """
with open(os.path.join(args[0], "file"), "w") as file:
    file.write("written")
say([os.readlink(args[0] + ".link"), open(args[0] + ".link/file").read(), sorted(os.listdir(os.path.dirname(args[0])))])
"""
        done = tool(daemon, "--", sys.executable, "-c", PRELUDE + code, beside)
        self.assertEqual(json.loads(done.stdout), ["beside", "written", ["beside", "beside.link"]], done.stderr)
        with open(os.path.join(beside, "file"), encoding="ascii") as file:
            self.assertEqual(file.read(), "written")

    def test_a_directory_of_its_own_in_the_root_cannot_be_hidden(self):
        run = tempfile.mkdtemp(prefix="asock-test-", dir="/")
        self.addCleanup(shutil.rmtree, run)
        path = os.path.join(run, "asock.sock")
        os.symlink(self.daemon.path, path + ".link")
        os.rename(self.daemon.path, path)
        try:
            done = asockctl.run("run", "--transparent", "--socket", path, "--", "echo", "ran")
            os.unlink(path + ".link")
            alone = asockctl.run("run", "--transparent", "--socket", path, "--", "echo", "ran")
        finally:
            os.rename(path, self.daemon.path)
        self.assertEqual((done.returncode, done.stdout), (0, b"ran\n"), done.stderr)
        self.assertEqual((alone.returncode, alone.stdout), (125, b""))
        self.assertIn(b"below /run", alone.stderr)
