# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl list, show and stats: of a daemon at work, and of one that says odd things."""

import json
import os
import re
import socket
import subprocess
import threading
import unittest

import asockctl
import asockd
import fake_asockd

DEADLINE = asockctl.DEADLINE
NUMBERS = {"id", "pid", "uid", "socket", "queued", "ops", "bytes_in", "bytes_out", "age_ms"}
TEXTS = {"unit", "command", "state", "local", "remote", "host", "name"}


class AtWork(unittest.TestCase):
    """One connection that has received ten bytes and sent five, and waits for more of both."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = asockd.Daemon("--allow-any")
        cls.addClassCleanup(cls.daemon.stop)
        listener = socket.create_server(("127.0.0.1", 0))
        cls.addClassCleanup(listener.close)
        cls.port = listener.getsockname()[1]
        cls.tool = asockctl.Tool("connect", "127.0.0.1", str(cls.port), "--socket",
                                 cls.daemon.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cls.addClassCleanup(cls.tool.close)
        listener.settimeout(DEADLINE)
        cls.peer, _ = listener.accept()
        cls.addClassCleanup(cls.peer.close)
        cls.peer.settimeout(DEADLINE)
        cls.peer.sendall(b"0123456789")
        cls.tool.stdout.read(10)
        cls.tool.stdin.write(b"hello")
        cls.tool.stdin.flush()
        cls.peer.recv(5, socket.MSG_WAITALL)

    def ask(self, *args, where=None):
        done = asockctl.run(*args, *(where or ("--control", self.daemon.control_path)))
        self.assertEqual((done.returncode, done.stderr), (0, b""), args)
        return done.stdout.decode()

    def row(self):
        rows = json.loads(self.ask("list", "--json"))
        self.assertEqual(len(rows), 1)
        return rows[0]

    def test_list_json(self):
        row = self.row()
        for name in NUMBERS:
            self.assertIs(type(row.get(name)), int, name)
        for name in TEXTS & set(row):
            self.assertIs(type(row[name]), str, name)
        self.assertIs(row["denied"], False)
        self.assertEqual((row["pid"], row["uid"]), (self.tool.pid, os.geteuid()))
        self.assertEqual(row["remote"], f"127.0.0.1:{self.port}")
        self.assertEqual(row["local"], "%s:%d" % self.peer.getpeername())
        self.assertEqual((row["bytes_in"], row["bytes_out"], row["queued"]), (10, 5, 0))
        self.assertEqual(row["name"], "asockctl")
        self.assertGreater(row["ops"], 0)  # receives

    def test_list_table(self):
        lines = self.ask("list", "--columns", "all").splitlines()
        heads = lines[0].split()
        self.assertEqual(heads, ["ID", "PID", "USER", "UID", "UNIT/COMMAND", "COMMAND", "SESSION", "LISTENER", "SOCKET",
                                 "STATE", "POLICY", "LOCAL", "REMOTE", "HOST", "PORT", "TO", "OPS", "QUEUED", "IN", "OUT",
                                 "AGE", "NAME"])
        self.assertEqual(len(lines), 2)
        cells = dict(zip(heads, lines[1].split()))
        self.assertEqual(cells["PID"], str(self.tool.pid))
        self.assertEqual(cells["REMOTE"], f"127.0.0.1:{self.port}")
        self.assertEqual((cells["IN"], cells["OUT"]), ("10", "5"))
        self.assertEqual(cells["NAME"], '"asockctl"')
        self.assertRegex(cells["AGE"], r"^\d+\.\d{3}$")
        # Each cell begins, or if it is a number ends, where its head does.
        for head, cell in cells.items():
            first = re.search(rf"(?<!\S){re.escape(head)}(?!\S)", lines[0]).span()
            self.assertTrue(lines[1][first[0]:].startswith(cell)
                            or lines[1][:first[1]].endswith(cell), head)

    def test_the_usual_columns(self):
        heads = self.ask("list").splitlines()[0].split()
        self.assertEqual(heads, ["ID", "PID", "USER", "UNIT/COMMAND", "STATE", "TO", "IN", "OUT", "AGE"])

    def test_human(self):
        cells = self.ask("list", "--human").splitlines()[1].split()
        self.assertTrue(any(re.fullmatch(r"\d+\.\ds|\d+m\d\ds", cell) for cell in cells), cells)

    def test_show(self):
        row = self.row()
        shown = json.loads(self.ask("show", str(row["id"]), "--json"))
        for name in ("id", "pid", "uid", "socket", "remote", "bytes_in"):
            self.assertEqual(shown[name], row[name], name)
        lines = self.ask("show", str(row["id"])).splitlines()
        told = dict(re.split(r" +", line, maxsplit=1) for line in lines)
        self.assertEqual(set(told), set(asockctl.names_in_text(shown)))
        self.assertEqual((told["remote"], told["name"]), (row["remote"], '"asockctl"'))

    def test_show_own_session(self):
        for args in ((), ("0",)):
            shown = json.loads(self.ask("show", *args, "--json"))
            self.assertEqual(shown["uid"], os.geteuid())

    def test_show_unknown(self):
        done = asockctl.run("show", "123456789", "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stdout), (7, b""))
        self.assertIn(b"no such ID", done.stderr)

    def test_stats(self):
        told = json.loads(self.ask("stats", "--json"))
        self.assertTrue(told)
        lines = self.ask("stats").splitlines()
        self.assertEqual([line.split()[0] for line in lines], asockctl.names_in_text(told))

    def test_client_socket_tells_of_itself_only(self):
        where = ("--socket", self.daemon.path)
        self.assertEqual(self.ask("list", "--json", where=where), "[]\n")
        done = asockctl.run("list", *where)
        self.assertEqual((done.returncode, done.stdout.count(b"\n")), (0, 1))
        self.assertIn(b"only asockctl's own session", done.stderr)
        done = asockctl.run("show", str(self.row()["id"]), *where)
        self.assertEqual((done.returncode, done.stdout), (7, b""))

    def test_environment_leads_there(self):
        env = asockctl.environment(ASOCK_CONTROL=self.daemon.control_path)
        self.assertEqual(len(json.loads(asockctl.run("list", "--json", env=env).stdout)), 1)
        env = asockctl.environment(ASOCK_SOCKET=self.daemon.path)
        self.assertEqual(json.loads(asockctl.run("list", "--json", env=env).stdout), [])

    def test_completion_knows_the_ids(self):
        script = os.path.join(asockctl.SRCDIR, "ctl/completion/asockctl")
        program = (f'. "{script}"; asockctl() {{ "{asockctl.TOOL}" "$@"; }}; '
                   f'COMP_WORDS=(asockctl --control "{self.daemon.control_path}" show ""); '
                   'COMP_CWORD=4; _asockctl; echo "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", program], stdout=subprocess.PIPE, check=True,
                              timeout=DEADLINE, env=asockctl.environment())
        self.assertEqual(done.stdout.decode().split(), [str(self.row()["id"])])


class Says(fake_asockd.FakeTest):
    """What the tool makes of records that no daemon of today sends."""

    def test_no_rows(self):
        self.assertEqual(self.check_ok([], "list", "--json"), "[]\n")
        self.assertRegex(self.check_ok([], "list"), r"^ID  PID  USER  UNIT/COMMAND .*  AGE\n$")
        done = self.ask([], "stats")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"returned no data", done.stderr)

    def test_what_is_not_known_is_null(self):
        row = [("uid", "unknown"), ("groups", "unknown"), ("alive", "unknown"), ("denied", 1), ("policy_new", "x"),
               ("quota_user", "clients=1/- sockets=2/8 odd hellos=/"), ("connect_lookups", "IPv6 nobody given-up 20"),
               ("connect_attempts", "")]
        self.assertEqual(json.loads(self.check_ok([row], "show", "1", "--json")),
                         {"uid": None, "groups": None, "alive": None, "denied": 1, "policy": {"new": "x"},
                          "quota": {"user": {"clients": {"used": 1, "most": None}, "sockets": {"used": 2, "most": 8},
                                             "hellos": {"used": None, "most": None}}},
                          "connect": {"lookups": [{"family": "IPv6", "source": "nobody", "server": None,
                                                   "result": "given-up", "ms": 20}], "attempts": []}})
        row = [("groups", "1,22,..."), ("state", "open"), ("denied", 1)]
        self.assertEqual(json.loads(self.check_ok([row], "show", "1", "--json")),
                         {"groups": [1, 22], "state": "open", "denied": True})
        row = [("groups", "500 groups"), ("connect_attempts", "::1 Refused"), ("connect_lookups", ",, a")]
        self.assertEqual(json.loads(self.check_ok([row], "show", "1", "--json"))["groups"], 500)

    def test_unknown_fields_are_told(self):
        row = [("id", 1), ("shiny", "new"), ("more", -5)]
        self.assertEqual(json.loads(self.check_ok([row], "list", "--json")), [dict(row)])
        self.assertEqual(json.loads(self.check_ok([row], "show", "1", "--json")), dict(row))
        self.assertEqual(self.check_ok([row], "show", "1"), "id     1\nshiny  new\nmore   -5\n")

    def test_missing_fields_are_dashes(self):
        cells = self.check_ok([[("id", 7), ("unit", "")]], "list").splitlines()[1].split()
        self.assertEqual(cells, ["7"] + ["-"] * 8)

    def test_what_policy_would_not_allow_is_marked(self):
        lines = self.check_ok([[("denied", 1)], [("denied", 0)]], "list").splitlines()
        at = lines[0].index("POLICY")
        self.assertEqual([line[at:].split()[0] for line in lines[1:]], ["denied", "-"])

    def test_command_where_there_is_no_unit(self):
        rows = [[("unit", "a.service"), ("command", "x")], [("unit", ""), ("command", "y")]]
        lines = self.check_ok(rows, "list").splitlines()
        self.assertIn("a.service", lines[1])
        self.assertIn(" y ", lines[2])

    def test_hostile_text_is_escaped(self):
        nasty = 'a"b\\c\u202e\u00e9'  # the protocol itself lets no control character through
        row = [("id", 1), ("name", nasty), ("command", nasty)]
        line = self.check_ok([row], "list", "--columns", "id,unit,age,name").splitlines()[1]
        self.assertIn('"a\\"b\\\\c\\u{202e}\u00e9"', line)
        self.assertIn(' a"b\\\\c\\u{202e}\u00e9 ', line)
        self.assertEqual(json.loads(self.check_ok([row], "list", "--json")), [dict(row)])

    def test_many_rows(self):
        rows = [[("id", i), ("name", "n" * (i % 60 + 1))] for i in range(1, 3001)]
        self.assertEqual(json.loads(self.check_ok(rows, "list", "--json")), [dict(r) for r in rows])
        self.assertEqual(len(self.check_ok(rows, "list").splitlines()), 3001)

    def test_output_that_cannot_be_written(self):
        path = os.path.join(self.dir, "sock")
        with socket.socket(socket.AF_UNIX) as listener, open("/dev/full", "wb") as full:
            listener.bind(path)
            listener.listen()
            threading.Thread(target=fake_asockd.serve, args=(listener, []), daemon=True).start()
            done = asockctl.run("list", "--control", path, stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)


if __name__ == "__main__":
    unittest.main()
