# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl listener: a socket with its group and mode, which the daemon serves, and which goes again."""

import grp
import json
import os
import socket
import stat
import tempfile
import threading
import unittest

import asockctl
import asockd
import fake_asockd
from wire import pb

GROUP = grp.getgrgid(os.getgid()).gr_name


class Listener(unittest.TestCase):
    def setUp(self):
        self.daemon = asockd.Daemon("--allow-any")
        self.addCleanup(self.daemon.stop)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        os.chmod(self.directory, 0o755)  # the daemon looks whether the socket is still there
        self.path = os.path.join(self.directory, "web", "asock.sock")

    def listener(self, *arguments, status=0):
        done = asockctl.run("listener", *arguments, "--control", self.daemon.control_path)
        self.assertEqual(done.returncode, status, done.stderr)
        return (done.stdout if status == 0 else done.stderr).decode()

    def add(self, *arguments, path=None, name="web", status=0):
        said = self.listener("add", name, "--path", path or self.path, "--group", GROUP, *arguments, status=status)
        if status == 0:
            self.addCleanup(asockctl.run, "listener", "remove", name, "--path", path or self.path, "--control",
                            self.daemon.control_path)
        return said

    def listener_of_a_client(self):
        done = asockctl.run("sessions", "--json", "--socket", self.path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)[0]["listener"]

    def test_add_and_remove(self):
        self.assertEqual(self.add(), f"{self.path}\n")
        status = os.stat(self.path)
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual((stat.S_IMODE(status.st_mode), status.st_gid), (0o660, os.getgid()))
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.path)).st_mode), 0o755)
        self.assertEqual(self.listener_of_a_client(), "web")
        self.assertEqual(self.listener("remove", "web", "--path", self.path), "")
        self.assertFalse(os.path.exists(self.path))
        self.add("--mode", "0600")  # and once more
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(self.listener_of_a_client(), "web")

    def test_a_name_twice(self):
        self.add()
        other = os.path.join(self.directory, "other")
        self.assertIn("a listener of that name already exists", self.add(path=other, status=1))
        self.assertFalse(os.path.exists(other))
        self.assertEqual(self.listener_of_a_client(), "web")

    def test_what_is_at_the_path_already(self):
        self.add()
        self.assertIn("another program is listening there", self.add(name="other", status=1))
        self.assertEqual(self.listener_of_a_client(), "web")
        os.rename(self.path, self.path + ".old")
        with open(self.path, "w", encoding="utf-8"):
            pass
        self.assertIn("the path exists and is not a socket", self.add(name="other", status=1))
        self.assertTrue(os.path.exists(self.path))

    def test_a_socket_that_was_left_behind_is_replaced(self):
        os.mkdir(os.path.dirname(self.path))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.path)
        self.add()
        self.assertEqual(self.listener_of_a_client(), "web")

    def test_remove_leaves_the_socket_of_another_program(self):
        self.add()
        self.listener("remove", "web", "--path", self.path)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.path)
            sock.listen(1)
            self.add(path=self.path + "2")
            self.listener("remove", "web", "--path", self.path)
            self.assertTrue(os.path.exists(self.path))

    def test_refused_by_the_daemon(self):
        said = self.add(name="a" * 32, status=1)
        self.assertIn("a listener's name must have 1 to 31 letters", said)
        self.assertFalse(os.path.exists(self.path))
        self.assertIn("there is no listener of that name", self.listener("remove", "nope", status=7))
        self.assertIn("was not added at run time", self.listener("remove", "default", status=1))

    def test_wrong_calls(self):
        for arguments in (("add",), ("add", "a", "b"), ("sub", "a"), ("add", "a/b"), ("add", "a.b"), ("add", ""),
                          ("add", "a", "--path", "x"), ("add", "a", "--path", "/" + "x" * 108),
                          ("add", "a", "--mode", "x"), ("add", "a", "--mode", "1000"), ("add", "a", "--mode", ""),
                          ("add", "a", "--group", GROUP, "--group", GROUP), ("remove", "a", "--mode", "0660"),
                          ("remove", "a", "--group", GROUP)):
            self.assertIn("asockctl: ", self.listener(*arguments, status=2), arguments)
        self.assertIn("there is no group no-such", self.listener("add", "a", "--group", "no-such", status=1))
        for arguments in (("list", "--path", "/x"), ("list", "--group", "root"), ("kill", "--openmetrics", "1")):
            self.assertEqual(asockctl.run(*arguments).returncode, 2, arguments)

    def test_without_a_daemon(self):
        done = asockctl.run("listener", "add", "web", "--path", self.path, "--group", GROUP, "--control",
                            "/nonexistent/control.sock")
        self.assertEqual(done.returncode, 8, done.stderr)
        self.assertFalse(os.path.exists(self.path))

    def test_no_answer(self):
        """The daemon may still take it: it has to keep its name."""
        control = os.path.join(self.directory, "control.sock")
        answers = {pb.VERB_HELLO: fake_asockd.frame(kind=pb.KIND_WELCOME, welcome=fake_asockd.WELCOME)}
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(control)
            listener.listen()
            server = threading.Thread(target=fake_asockd.answer, args=(listener, answers), daemon=True)
            server.start()
            done = asockctl.run("listener", "add", "web", "--path", self.path, "--group", GROUP, "--timeout", "1",
                                "--control", control)
            server.join(asockctl.DEADLINE)
        self.assertEqual(done.returncode, 8, done.stderr)
        self.assertTrue(stat.S_ISSOCK(os.stat(self.path).st_mode))
        self.assertIn(f"asockctl listener remove web --path {self.path}\n".encode(), done.stderr)
        self.add()
        self.assertEqual(self.listener_of_a_client(), "web")

    def test_a_deleted_socket_is_told_at_reload(self):
        self.add()
        os.unlink(self.path)
        done = asockctl.run("reload", "--control", self.daemon.control_path)
        self.assertIn(b"remove it and add it again (asockctl listener)", done.stderr)


if __name__ == "__main__":
    unittest.main()
