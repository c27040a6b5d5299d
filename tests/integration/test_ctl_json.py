# SPDX-License-Identifier: LGPL-2.1-or-later
"""The output of each command's --json matches docs/asockctl.schema.json."""

import grp
import json
import os
import re
import tempfile
import unittest

import asockctl
import asockd
import schema
from wire import Wire, pb

RULES = """[Rules]
Allow=tcp 127.0.0.1 * +loopback
Allow=tcp localhost *
Deny=tcp 127.0.0.3 443 "no"
Mode=learn
LearnUntil=2999-12-31

[Limits]
Sockets=100
"""


class Json(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        with open(os.path.join(asockctl.SRCDIR, "docs/asockctl.schema.json"), encoding="utf-8") as file:
            cls.schema = json.load(file)

    def setUp(self):
        handle, self.path = tempfile.mkstemp(prefix="asock-json-", suffix=".policy")
        self.addCleanup(os.unlink, self.path)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(RULES)
        os.chmod(self.path, 0o644)
        self.daemon = asockd.Daemon("--policy", self.path)
        self.addCleanup(self.daemon.stop)
        self.wire = Wire(self.daemon.path)
        self.addCleanup(self.wire.close)
        self.wire.hello(name="mine")
        self.listener = asockd.socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.wire.send(self.wire.open(1, 1), self.wire.connect(2, 1, self.listener.getsockname()),
                       self.wire.open(3, 2), self.wire.connect(4, 2, ("127.0.0.3", 443)))
        self.assertEqual(self.wire.completion(2).error, 0)
        self.assertEqual(self.wire.completion(4).error, pb.ERROR_ACCESS_DENIED)

    def check(self, name, text):
        value = json.loads(text)
        self.assertEqual(schema.check(value, self.schema["$defs"][name], self.schema), [])
        return value

    def ask(self, *command, name=None, socket=False, status=0):
        where = ("--socket", self.daemon.path) if socket else ("--control", self.daemon.control_path)
        done = asockctl.run(*command, "--json", *where)
        self.assertEqual(done.returncode, status, done.stderr)
        return self.check(name or " ".join(command[:2] if command[0] == "policy" else command[:1]),
                          done.stdout)

    def test_rows(self):
        rows = self.ask("list")
        self.assertEqual(len(rows), 2)
        for row in rows:
            self.ask("show", str(row["id"]))
        self.assertGreaterEqual(len(self.ask("sessions")), 2)
        self.ask("show", str(rows[0]["session"]))
        self.ask("show", socket=True)
        self.assertEqual(len(self.ask("denied")), 1)

    def test_kinds_of_values(self):
        row, = [row for row in self.ask("list") if row["state"] == "connected"]
        self.assertIs(row["denied"], False)
        shown = self.ask("show", str(row["id"]))
        self.assertIs(shown["alive"], True)
        self.assertIs(shown["options"]["no_delay"], True)
        self.assertEqual(shown["options"]["keep_alive_time"], 7200)
        self.assertEqual(shown["tcp"]["state"], "established")
        self.assertEqual(shown["gid"], os.getgid())
        session = self.ask("show", str(row["session"]))
        self.assertEqual(session["quota"]["session"]["clients"]["used"], 1)
        self.assertGreaterEqual(session["quota"]["session"]["sockets"]["most"], session["limits"]["sockets"])
        self.assertIs(self.ask("stats")["policy"]["invalid"], False)

    def test_stats(self):
        self.ask("stats")
        self.ask("stats", socket=True)

    def test_reload(self):
        self.ask("reload")
        with open(self.path, "a", encoding="ascii") as file:
            file.write("nonsense\n")
        self.assertEqual(asockctl.run("reload", "--control", self.daemon.control_path).returncode, 1)
        self.ask("stats")

    def test_policy(self):
        self.ask("policy", "test", "tcp", "127.0.0.1", "80")
        self.ask("policy", "test", "tcp", "127.0.0.3", "443", status=1)
        self.ask("policy", "test", "--pid", str(os.getpid()), "tcp", "127.0.0.1", "80")
        self.assertGreater(len(self.ask("policy", "show")), 4)
        self.ask("policy", "learned")

    def test_policy_check(self):
        env = asockctl.environment(ASOCKD=os.path.join(asockctl.BUILDDIR, "asockd"))

        def look(*files, status=0):
            done = asockctl.run("policy", "check", "--json", *files, env=env)
            self.assertEqual((done.returncode, done.stderr), (status, b""))
            return self.check("policy check", done.stdout)

        def write(name, text):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            return path

        with tempfile.TemporaryDirectory() as folder:
            good = write("good.policy", "[Rules]\nAllow=tcp example.com 443\n")
            twice = write("twice.policy", "[Rules]\nAllow=tcp *.example 443\nAllow=tcp a.example 443\n"
                          "# check: ignore\nAllow=tcp b.example 443\n")
            bad, absent = write("bad.policy", "[Rules]\n\nnonsense\n"), os.path.join(folder, "absent.policy")
            self.assertEqual(look(good), {"ok": True, "files": 1, "rules": 1, "findings": []})
            self.assertEqual(look(good, twice), {"ok": False, "files": 2, "rules": 4, "findings": [
                {"kind": "warning", "file": twice, "line": 3, "text": "never reached: line 2 decides first"}]})
            found = look(twice, bad, absent, status=1)
            self.assertEqual((found["ok"], found["files"], found["rules"]), (False, None, None))
            self.assertEqual([(each["kind"], each["file"], each["line"]) for each in found["findings"]],
                             [("error", bad, 3), ("error", absent, None), ("warning", twice, 3)])
            self.assertEqual(found["findings"][1]["text"], "No such file or directory")
        for program, status in (("/bin/false", 1), ("/nonexistent", 1)):
            done = asockctl.run("policy", "check", "--json", env=asockctl.environment(ASOCKD=program))
            self.assertEqual(done.returncode, status)
            self.assertNotIn(b'"ok": true', done.stdout)
        self.assertIn(b"/nonexistent: No such file", done.stderr)
        done = asockctl.run("policy", "check", "--json", "--", "--nonsense", env=env)
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertIn(b"nonsense", done.stderr)

    def test_kill_and_listener(self):
        row, = [row for row in self.ask("list") if row["state"] == "connected"]
        would = self.ask("kill", "--dry-run", "state=connected")
        self.assertEqual(([each["id"] for each in would["sockets"]], would["sessions"], would["ended"]), ([row["id"]], [], 0))
        done = asockctl.run("kill", "state=connected", "--json", "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertIn(b"use --yes", done.stderr)
        self.assertEqual(self.ask("kill", str(row["id"]), str(row["session"]), "99999999", status=7)["ended"], 2)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "new.sock")
            where = ("web", "--path", path)
            added = self.ask("listener", "add", *where, "--group", grp.getgrgid(os.getgid()).gr_name)
            self.assertEqual(added, {"name": "web", "path": path})
            self.assertEqual(self.ask("listener", "remove", *where), added)

    def test_connect_and_resolve(self):
        for command, name, status in (("connect 127.0.0.3 443", "connect", 3), ("resolve localhost", "resolve", 0),
                                      ("resolve other.test", "resolve", None)):
            done = asockctl.run(*command.split(), "--json", "--socket", self.daemon.path)
            if status is not None:
                self.assertEqual(done.returncode, status, done.stderr)
            self.check(name, (done.stderr if name == "connect" else done.stdout).splitlines()[-1])

    def test_monitor(self):
        tool = asockctl.Tool("monitor", "--json", "--control", self.daemon.control_path,
                             stdout=asockctl.subprocess.PIPE)
        self.addCleanup(tool.close)
        # The first line says "watching"; every event after it is reported.
        events = set()
        while "close" not in events:
            line = tool.stdout.readline()
            events.add(self.check("monitor", line)["event"])
            if events & {"watching"} and "connect" not in events:
                self.wire.send(self.wire.open(5, 3), self.wire.connect(6, 3, self.listener.getsockname()),
                               self.wire.make_close(7, 3))
        self.assertIn("connect", events)

    def test_every_command_is_in_the_schema(self):
        help_text = asockctl.run("--help").stdout.decode()
        commands = re.findall(r"^  ([a-z]+) ", help_text[help_text.index("Commands:"):help_text.index("Options:")], re.M)
        self.assertGreater(len(commands), 10)
        for command in commands:
            has_json = "--json" in asockctl.run(command, "--help").stdout.decode()
            names = [name for name in self.schema["$defs"] if name.split(" ")[0] == command]
            self.assertEqual(bool(names), has_json, command)

    def test_the_schema_is_not_wider_than_it_says(self):
        row = {"id": 1, "pid": 1, "state": "x", "bytes_in": 0, "bytes_out": 0, "age_ms": 0}
        each = self.schema["$defs"]["socket"]
        self.assertEqual(schema.check(row, each, self.schema), [])
        for wrong in ({**row, "id": "1"}, {**row, "new": 1}, {**row, "denied": 0},
                      {name: row[name] for name in row if name != "pid"}):
            self.assertEqual(len(schema.check(wrong, each, self.schema)), 1)


if __name__ == "__main__":
    unittest.main()
