# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl monitor, and MONITOR: a watcher gets the events in order, and learns how many it missed."""

import json
import os
import pwd
import signal
import socket
import subprocess
import unittest

import asockctl
import asockd
from wire import Wire, pb, request

EVENTS_OF_A_CONNECTION = ["session", "connect", "close", "session_end"]


class Monitor(asockd.DaemonTest):

    arguments = ()

    @classmethod
    def setUpClass(cls):
        cls.policy = f"/tmp/asockd-test-monitor-{os.getpid()}.policy"
        with open(cls.policy, "w", encoding="ascii") as file:
            file.write("[Rules]\nAllow=tcp 127.0.0.1 * +local\nDeny=tcp 127.0.0.3 443\n")
        cls.addClassCleanup(os.unlink, cls.policy)
        cls.arguments = ("--policy", cls.policy)
        super().setUpClass()

    def monitor(self, *args):
        """Starts the tool and waits until it watches."""
        tool = self.hold(asockctl.Tool("monitor", "--json", *args, "--control", self.daemon.control_path,
                                       stdout=subprocess.PIPE))
        self.assertEqual(json.loads(tool.stdout.readline())["event"], "watching")
        return tool

    @staticmethod
    def next(tool):
        return json.loads(tool.stdout.readline())

    def test_a_connection_from_begin_to_end(self):
        tool = self.monitor()
        wire = self.wire(hello=False)
        wire.hello(name="mine")
        peer = self.pair(wire)
        address = "%s:%d" % peer.getsockname()
        wire.send(wire.make_send(1, 1, b"abc"))
        peer.sendall(b"12345")
        wire.send(wire.receive(2, 1, 5))
        self.assertEqual((wire.completion(1).bytes, wire.completion(2).bytes), (3, 5))
        wire.send(wire.make_close(3, 1))
        self.assertEqual(wire.completion(3).error, 0)
        wire.disconnect()
        events = [self.next(tool) for _ in range(4)]
        self.assertEqual([event["event"] for event in events], EVENTS_OF_A_CONNECTION)
        session, connect, close, end = events
        user = pwd.getpwuid(os.getuid()).pw_name
        for event in events:
            self.assertEqual((event["pid"], event["user"], event["listener"], event["session"]),
                             (os.getpid(), user, "default", session["session"]))
        self.assertEqual((connect["to"], connect["rule"]), (address, f"{self.policy}:2"))
        self.assertNotIn("error", connect)
        self.assertEqual((close["remote"], close["bytes_in"], close["bytes_out"], close["id"]), (address, 5, 3, connect["id"]))
        self.assertIn("duration_ms", end)
        self.assertLessEqual(session["time_ms"], end["time_ms"])

    def test_denials_failures_and_filters(self):
        tool = self.monitor("event=deny", "to=127.0.0.3")
        everything = self.monitor("event!=session*")
        wire = self.wire()
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        for op, address in ((1, ("127.0.0.4", 80)), (3, ("127.0.0.3", 443)), (5, closed.getsockname())):
            wire.send(wire.open(op, op), wire.connect(op + 1, op, address))
            wire.completion(op + 1)
        closed.close()
        event = self.next(tool)
        self.assertEqual((event["to"], event["rule"], event["error"]), ("127.0.0.3:443", f"{self.policy}:3", "AccessDenied"))
        self.assertIn("reason", event)
        got = [self.next(everything) for _ in range(3)]
        self.assertEqual([(event["event"], event["error"]) for event in got],
                         [("deny", "AccessDenied"), ("deny", "AccessDenied"), ("connect", "ConnectionRefused")])

    def test_limits_and_reloads(self):
        tool = self.monitor("event!=session*")
        wire = self.wire(hello=False)
        wire.hello(sockets=16, ops=64)
        self.pair(wire)
        self.assertEqual(self.next(tool)["event"], "connect")
        wire.send(*[wire.receive(100 + n, 1, 5) for n in range(wire.welcome.socket_ops + 1)])
        event = self.next(tool)
        self.assertEqual((event["event"], event["error"]), ("limit", "NoBufferSpaceAvailable"))
        self.assertIn("id", event)
        asockctl.run("reload", "--control", self.daemon.control_path)
        event = self.next(tool)
        self.assertEqual(event["event"], "reload")
        self.assertIn("0 cancelled", event["reason"])

    def test_a_connect_that_is_none_is_no_event(self):
        tool = self.monitor("event!=session*")
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, ("127.0.0.1", 0)))
        self.assertEqual(wire.completion(2).error, pb.ERROR_INVALID_ARGUMENT)
        wire.send(wire.connect(3, 1, ("127.0.0.4", 80)))
        self.assertEqual(wire.completion(3).error, pb.ERROR_ACCESS_DENIED)
        self.assertEqual(self.next(tool)["event"], "deny")

    def test_a_reload_that_fails_says_why(self):
        tool = self.monitor("event=reload*")
        with open(self.policy, "r+b") as file:
            text = file.read()
            file.write(b"Allow=\xff" + b"x" * 2000 + b"\n")
        try:
            self.assertEqual(asockctl.run("reload", "--control", self.daemon.control_path).returncode, 1)
        finally:
            with open(self.policy, "wb") as file:
                file.write(text)
        event = self.next(tool)
        self.assertEqual(event["event"], "reload_failed")
        self.assertIn(f"{self.policy}:4", event["reason"])

    def test_text(self):
        tool = self.hold(asockctl.Tool("monitor", "event=deny", "--control", self.daemon.control_path, stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"watching\n")
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, ("127.0.0.3", 443)))
        wire.completion(2)
        line = tool.stdout.readline().decode()
        user = pwd.getpwuid(os.getuid()).pw_name
        self.assertRegex(line, r"^\d\d:\d\d:\d\d\.\d{3} deny \S+ \(" + user + r", pid \d+\) to 127.0.0.3:443")
        self.assertIn(f"({self.policy}:3)", line)

    def test_human(self):
        tool = self.hold(asockctl.Tool("monitor", "event=close", "--human", "--control", self.daemon.control_path,
                                       stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"watching\n")
        wire = self.wire()
        self.pair(wire).sendall(bytes(2048))
        wire.send(wire.receive(1, 1, 2048))
        self.assertEqual(wire.completion(1).bytes, 2048)
        wire.send(wire.make_close(2, 1))
        wire.completion(2)
        self.assertRegex(tool.stdout.readline(), rb", 2\.0K in, 0 out, \d+\.\ds$")

    def ask(self, wire, op, timeout_ms=0):
        wire.send(request(pb.VERB_MONITOR, op, timeout_ms=timeout_ms, monitor=pb.Monitor()))

    def answer(self, wire, op):
        """The events of one MONITOR, and its error."""
        events = []
        while True:
            reply, payload = wire.take(lambda r: r.kind == pb.KIND_COMPLETION and r.op == op)
            if payload and reply.flags & pb.REPLY_FLAG_MORE:
                record = pb.Record.FromString(payload)
                events.append({f.name: f.number if f.is_number else f.text for f in record.fields})
            if not reply.flags & pb.REPLY_FLAG_MORE:
                return events, reply.error

    def watcher(self):
        wire = self.hold(Wire(self.daemon.control_path))
        wire.hello()
        self.ask(wire, 1)
        events, error = self.answer(wire, 1)
        self.assertEqual(([event["event"] for event in events], error), (["watching"], 0))
        return wire

    def test_what_happens_between_two_questions_waits(self):
        watcher = self.watcher()
        self.wire().disconnect()
        self.daemon.wait(lambda: self.daemon.stats()["clients"] == 2)
        self.ask(watcher, 2)
        self.assertEqual([event["event"] for event in self.answer(watcher, 2)[0]], ["session", "session_end"])

    def test_other_questions_do_not_wait_behind_it(self):
        watcher = self.watcher()
        self.ask(watcher, 2)
        self.assertEqual(watcher.inspect(list=pb.List()), [])
        self.assertTrue(watcher.inspect(stats=pb.Stats()))
        watcher.send(watcher.cancel(3, 0, 2))
        self.assertTrue(watcher.completion(3).flags & pb.REPLY_FLAG_FOUND)
        self.assertEqual(self.answer(watcher, 2), ([], pb.ERROR_OPERATION_ABORTED))
        self.ask(watcher, 4, timeout_ms=1)
        self.assertEqual(self.answer(watcher, 4), ([], pb.ERROR_TIMED_OUT))

    def test_a_slow_reader_is_told_how_many_it_missed(self):
        watcher = self.watcher()
        fast = self.watcher()
        wire = self.wire()
        wire.send(wire.open(1, 1))
        wire.completion(1)
        count = 6000
        seen = 1 + 1  # the sessions of `fast` and `wire`
        for first in range(0, count, 50):
            for op in range(50):
                wire.send(wire.connect(100 + op, 1, ("127.0.0.4", 80)))
                wire.completion(100 + op)
            self.ask(fast, 10)
            events, _ = self.answer(fast, 10)
            self.assertNotIn("missed", {event["event"] for event in events})
        total = missed = 0
        op = 1000
        while total + missed < count + seen:
            op += 1
            self.ask(watcher, op)
            for event in self.answer(watcher, op)[0]:
                if event["event"] == "missed":
                    missed += event["count"]
                else:
                    total += 1
        self.assertEqual(total + missed, count + seen)
        self.assertGreater(missed, 0)
        self.assertGreater(total, 500)

    def test_the_ring_is_charged_and_given_back(self):
        def memory():
            quota = dict(part.split("=") for part in self.daemon.stats()["quota_daemon"].split())
            return int(quota["memory"].split("/")[0])
        before = memory()
        first, second = self.watcher(), self.watcher()
        self.assertGreaterEqual(memory(), before + 512 * 1024)
        self.assertLess(memory(), before + 1024 * 1024)
        first.disconnect()
        self.daemon.wait(lambda: self.daemon.stats()["clients"] == 2)
        self.assertGreaterEqual(memory(), before + 512 * 1024)
        second.disconnect()
        self.daemon.wait(lambda: memory() == before)

    def test_it_is_the_administrators(self):
        wire = self.wire()
        self.ask(wire, 1)
        self.assertEqual(self.answer(wire, 1), ([], pb.ERROR_OPERATION_NOT_SUPPORTED))
        done = asockctl.run("monitor", "--control", self.daemon.path)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"monitor requires the control socket", done.stderr)

    def test_it_ends_with_the_daemon(self):
        daemon = asockd.Daemon()
        tool = self.hold(asockctl.Tool("monitor", "--control", daemon.control_path, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"watching\n")
        daemon.stop()
        _, text = tool.communicate(timeout=asockctl.DEADLINE)
        self.assertEqual(tool.returncode, 8)
        self.assertIn(b"asockd ended the session", text)

    def test_it_ends_with_its_reader(self):
        """No event is needed for that."""
        tool = self.hold(asockctl.Tool("monitor", "event=none", "--control", self.daemon.control_path, stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline(), b"watching\n")
        tool.stdout.close()
        self.assertEqual(tool.wait(asockctl.DEADLINE), -signal.SIGPIPE)

    def test_wrong_filters(self):
        done = asockctl.run("monitor", "dance=1", "--control", "/nowhere")
        self.assertEqual((done.returncode, done.stdout), (2, b""))


if __name__ == "__main__":
    unittest.main()
