# SPDX-License-Identifier: LGPL-2.1-or-later
"""What list, sessions and denied have in common: filters, order, columns, width, watching."""

import json
import os
import pwd
import subprocess
import threading
import socket
import unittest

import asockctl
import asockd
import fake_asockd
import terminal
from wire import pb, request

ROWS = [
    [("id", 1), ("unit", "foo.service"), ("command", "f"), ("uid", 0), ("state", "connected"), ("remote", "192.0.2.1:443"),
     ("host", "example.com"), ("port", 443), ("denied", 0), ("bytes_in", 5), ("age_ms", 61500), ("name", "x")],
    [("id", 2), ("unit", ""), ("command", "bar"), ("uid", 4294967294), ("state", "open"), ("remote", "[2001:db8::1]:22"),
     ("host", ""), ("port", 22), ("denied", 1), ("bytes_in", 2048), ("age_ms", 1500), ("name", "y")],
    [("id", 3), ("unit", "a-unit-with-a-name-that-is-longer-than-anything-else-of-the-line.service"), ("command", "c"),
     ("uid", 0), ("state", "connected"), ("remote", ""), ("host", "\u00fcber.example"), ("port", 80), ("denied", 0),
     ("bytes_in", 1 << 40), ("age_ms", 0), ("name", "z")],
]


class Rows(fake_asockd.FakeTest):

    def ids(self, *args):
        return [row["id"] for row in json.loads(self.check_ok(ROWS, "list", "--json", *args))]

    def test_filters(self):
        for words, ids in (
                ([], [1, 2, 3]),
                (["unit=foo.service"], [1]),
                (["unit=*.service"], [1, 3]),
                (["unit!=*.service"], [2]),
                (["unit="], [2]),
                (["user=" + pwd.getpwuid(0).pw_name], [1, 3]),
                (["user=0"], [1, 3]),
                (["uid=4294967294"], [2]),
                (["to=example.com"], [1]),
                (["to=example.com:443"], [1]),
                (["to=192.0.2.1"], [1]),
                (["to=192.0.2.*:443"], [1]),
                (["to=2001:db8::1"], [2]),
                (["to=*.com:80"], []),
                (["policy=denied"], [2]),
                (["in>1K"], [2, 3]),
                (["bytes_in>2047", "in<1G"], [2]),
                (["age>60"], [1]),
                (["age<1.6"], [2, 3]),
                (["state=connected", "in<6"], [1]),
                (["id=2"], [2])):
            with self.subTest(words=words):
                self.assertEqual(self.ids(*words), ids)

    def test_order(self):
        for column, ids in (("in", [1, 2, 3]), ("-in", [3, 2, 1]), ("age", [3, 2, 1]), ("-age_ms", [1, 2, 3]),
                            ("unit", [3, 2, 1]), ("name", [1, 2, 3])):
            with self.subTest(column=column):
                self.assertEqual(self.ids("--sort", column), ids)
        # What is equal stays in the order of the ids, also the other way round.
        self.assertEqual(self.ids("--sort", "user", "user=0"), [1, 3])
        self.assertEqual(self.ids("--sort", "-user", "user=0"), [1, 3])

    def test_columns(self):
        text = self.check_ok(ROWS[:1], "list", "--columns", "id,to,uid,bytes_in")
        self.assertEqual(text, "ID  TO               UID  IN\n 1  example.com:443    0   5\n")
        heads = self.check_ok(ROWS, "list", "--columns", "all").splitlines()[0].split()
        for head in ("SOCKET", "LOCAL", "REMOTE", "HOST", "POLICY", "OPS", "NAME", "SESSION", "LISTENER"):
            self.assertIn(head, heads)
        self.assertIn("POLICY", self.check_ok(ROWS, "list").splitlines()[0])
        self.assertNotIn("POLICY", self.check_ok(ROWS[:1], "list").splitlines()[0])

    def test_names_are_added_to_json(self):
        rows = json.loads(self.check_ok(ROWS, "list", "--json"))
        self.assertEqual([(row["user"], row["to"]) for row in rows],
                         [("root", "example.com:443"), ("4294967294", "[2001:db8::1]:22"), ("root", "\u00fcber.example:80")])

    def test_wrong_words(self):
        for args, message in ((("list", "foo"), '"foo" is not a filter'), (("list", "=x"), "is not a filter"),
                              (("list", "unit!"), "is not a filter"), (("list", "unit!<3"), "is not a filter"),
                              (("list", "dance=1"), 'no column "dance"'), (("list", "in>much"), '"much" is not a number'),
                              (("list", "--sort", "dance"), 'no column "dance"'),
                              (("list", "--columns", "id,dance,to"), 'no column "dance"'),
                              (("sessions", "--columns", ""), "no column"),
                              (("sessions", "--watch=0"), "--watch")):
            with self.subTest(args=args):
                done = asockctl.run(*args, "--control", "/nowhere")
                self.assertEqual((done.returncode, done.stdout), (2, b""))
                self.assertIn(message, done.stderr.decode())

    def at(self, columns, *args, rows=ROWS):
        path = os.path.join(self.dir, "sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            server = threading.Thread(target=fake_asockd.serve, args=(listener, rows), daemon=True)
            server.start()
            status, text = terminal.run(*args, "--control", path, columns=columns)
            server.join(asockctl.DEADLINE)
        os.unlink(path)
        self.assertEqual(status, 0, text)
        return text

    def test_lines_fit_the_terminal(self):
        for columns in (80, 100):
            lines = self.at(columns, "list").splitlines()
            self.assertEqual(len(lines), 4)
            for line in lines:
                self.assertLessEqual(len(line), columns)
            self.assertIn("\u2026", lines[3])
            self.assertIn(str(1 << 40), lines[3])  # a number is whole, or it would be another one
        self.assertNotIn("\u2026", self.at(200, "list"))
        self.assertNotIn("\u2026", self.check_ok(ROWS, "list"))  # into a pipe

    def test_show_goes_on_below(self):
        quota = "clients=1/64 hellos=0/16 sockets=1024/16384 ops=4096/65536 memory=1234567/99999999 kernel_buffers=0/-"
        row = [("id", 1), ("quota_session", quota), ("groups", ",".join(map(str, range(100, 160)))), ("name", "x" * 90)]
        text = self.at(80, "show", "1", rows=[row])
        lines = text.splitlines()
        for line in lines:
            self.assertLessEqual(len(line), 80, line)
        # Nothing is lost, and what goes on stands below its value.
        values = {}
        for line in lines:
            if line[0] != " ":
                name = line.split()[0]
                values[name] = line[15:]
            else:
                self.assertEqual(line[:15].strip(), "")
                values[name] += (" " if name == "quota_session" else "") + line[15:]
        self.assertEqual(values, {"id": "1", "quota_session": quota, "groups": row[2][1], "name": '"' + "x" * 90 + '"'})
        self.assertEqual(self.check_ok([row], "show", "1").count("\n"), 4)


class Sessions(asockd.DaemonTest):

    def sessions(self, *args):
        done = asockctl.run("sessions", "--json", *args, "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return json.loads(done.stdout)

    def test_a_row_for_each_session(self):
        wire = self.wire(hello=False)
        wire.hello(name="mine", sockets=20, ops=100)
        peer = self.pair(wire)
        peer.sendall(b"12345")
        wire.send(wire.receive(1, 1, 5), wire.make_send(2, 1, b"abc"))
        self.assertEqual(wire.completion(1).bytes, 5)
        self.assertEqual(wire.completion(2).bytes, 3)
        rows = self.sessions("listener=default")
        self.assertEqual(len(rows), 1)
        row = rows[0]
        expected = {"pid": os.getpid(), "uid": os.getuid(), "user": pwd.getpwuid(os.getuid()).pw_name, "name": "mine",
                    "listener": "default", "state": "open", "restrictions": 0, "sockets": 1,
                    "bytes_in": 5, "bytes_out": 3}
        self.assertEqual({name: row[name] for name in expected}, expected)
        self.assertEqual((row["limits"]["sockets"], row["limits"]["ops"]), (20, 100))
        table = asockctl.run("sessions", "listener=default", "--control", self.daemon.control_path).stdout.decode()
        self.assertEqual(table.splitlines()[0].split(),
                         ["ID", "PID", "USER", "UNIT/COMMAND", "LISTENER", "SOCKETS", "QUEUED", "AGE"])
        self.assertIn(" 1/20 ", table)
        # Its sockets say which session they are of, and "show" knows it by that id.
        sockets = self.daemon.control.inspect(list=pb.List())
        self.assertEqual([(s["session"], s["listener"]) for s in sockets], [(row["id"], "default")])
        shown = self.daemon.control.inspect(show=pb.Show(id=row["id"]))[0]
        self.assertEqual(shown["name"], "mine")

    def test_restrictions_are_counted(self):
        wire = self.wire()
        wire.send(request(pb.VERB_RESTRICT, 7, payload=b"[Rules]\nAllow=tcp * 443\n", restriction=pb.Restrict()))
        self.assertEqual(wire.completion(7).error, 0)
        self.assertEqual([row["restrictions"] for row in self.sessions("listener=default")], [1])
        table = asockctl.run("sessions", "--control", self.daemon.control_path).stdout.decode()
        self.assertIn("RESTRICTED", table.splitlines()[0])

    def test_a_client_sees_itself(self):
        self.wire()
        other = self.wire()
        rows = other.inspect(sessions=pb.Sessions())
        self.assertEqual(len(rows), 1)
        self.assertEqual(rows[0]["id"], other.inspect(show=pb.Show())[0]["id"])
        done = asockctl.run("sessions", "--socket", self.daemon.path)
        self.assertEqual((done.returncode, done.stdout.count(b"\n")), (0, 2))
        self.assertIn(b"only asockctl's own session", done.stderr)

    def test_a_session_that_ends_meanwhile(self):
        """Rows go on behind one that has gone, each session once."""
        wires = [self.wire(hello=False) for _ in range(80)]
        for wire in wires:
            wire.hello(sockets=16, ops=64, queued_max=1 << 20)
        rows = self.sessions("listener=default")
        self.assertEqual(len({row["id"] for row in rows}), 80)
        for wire in wires[::2]:
            wire.disconnect()
        self.daemon.wait(lambda: len(self.sessions("listener=default")) == 40)

    def test_watch(self):
        tool = asockctl.Tool("sessions", "--watch=0.01", "--control", self.daemon.control_path, stdout=subprocess.PIPE)
        self.hold(tool)
        heads = 0
        while heads < 3:
            heads += tool.stdout.readline().startswith(b"ID ")
        on_terminal = terminal.Terminal(asockctl.TOOL, "sessions", "--watch=0.01", "--control", self.daemon.control_path)
        self.hold(on_terminal)
        on_terminal.until(lambda t: t.output.count(b"\x1b[H\x1b[2J") >= 3)

    def test_watch_ends_with_the_daemon(self):
        daemon = asockd.Daemon()
        tool = asockctl.Tool("list", "--watch=0.01", "--control", daemon.control_path, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        self.hold(tool)
        tool.stdout.readline()
        daemon.stop()
        _, text = tool.communicate(timeout=asockctl.DEADLINE)
        self.assertEqual(tool.returncode, 8)
        self.assertIn(b"asockd ended the session", text)


class Lost(asockd.DaemonTest):
    """A connection that is over, though its client has not heard of it."""

    def row(self):
        return self.daemon.control.inspect(list=pb.List())[0]

    def test_a_reset_is_seen_and_the_address_stays(self):
        wire = self.wire()
        peer = self.pair(wire)
        remote = "%s:%d" % peer.getsockname()
        self.assertEqual((self.row()["state"], self.row()["remote"]), ("connected", remote))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        self.daemon.wait(lambda: self.row()["state"] != "connected")
        self.assertEqual((self.row()["state"], self.row()["remote"]), ("reset", remote))
        # Looking has not taken the error from the client.
        wire.send(wire.receive(1, 1, 5))
        self.assertEqual(wire.completion(1).error, pb.ERROR_CONNECTION_RESET)
        self.assertEqual((self.row()["state"], self.row()["remote"]), ("reset", remote))

    def test_the_end_of_both_sides_is_no_reset(self):
        wire = self.wire()
        peer = self.pair(wire)
        remote = "%s:%d" % peer.getsockname()
        wire.send(wire.shutdown(1, 1, pb.HOW_SEND))
        self.assertEqual(wire.completion(1).error, 0)
        self.assertEqual(self.read_all(peer), b"")
        peer.close()
        # Before the client has read that, and after it.
        self.daemon.wait(lambda: self.row()["state"] != "connected")
        self.assertEqual((self.row()["state"], self.row()["remote"]), ("ended", remote))
        wire.send(wire.receive(2, 1, 5))
        self.assertEqual(wire.completion(2).flags & pb.REPLY_FLAG_END_OF_STREAM, pb.REPLY_FLAG_END_OF_STREAM)
        self.assertEqual((self.row()["state"], self.row()["remote"]), ("ended", remote))


if __name__ == "__main__":
    unittest.main()
