# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reload: by SIGHUP and by RELOAD; all or nothing, and what comes into force for whom."""

import os
import shutil
import signal
import tempfile
import time
import unittest

import asockd
import network
from nameserver import A, AAAA, Name, NameServer
from wire import DEADLINE, pb, request

RESOLV_CONF = "nameserver 127.0.0.1\noptions retrans:100 retry:2\n"

network.enter()


class ReloadTest(asockd.DaemonTest):
    """A daemon with a configuration that the test writes."""

    arguments = ("--allow-any",)
    config = ""

    @classmethod
    def setUpClass(cls):
        network.write("/etc/resolv.conf", RESOLV_CONF)
        cls.directory = tempfile.mkdtemp(prefix="asockd-reload-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        os.chmod(cls.directory, 0o755)
        cls.file = os.path.join(cls.directory, "asockd.conf")
        cls.write(cls.config)
        cls.daemon = asockd.Daemon("--config", cls.file, *cls.arguments)

    @classmethod
    def write(cls, text, path=None):
        path = path or cls.file
        with open(path + ".new", "w", encoding="ascii") as stream:
            stream.write(text)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def setUp(self):
        super().setUp()
        self.control = self.daemon.control
        self.addCleanup(self.reload)
        self.addCleanup(self.write, self.config)

    def reload(self, close=False, error=pb.ERROR_SUCCESS):
        """The record of its answer, or the text that says why not."""
        control = self.control
        control.token += 1
        control.send(request(pb.VERB_RELOAD, control.token, reload=pb.Reload(close=close)))
        reply, payload = control.take(lambda r: r.op == control.token)
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error), payload)
        if error:
            return payload.decode()
        return {f.name: f.number for f in pb.Record.FromString(payload).fields}

    def hang_up(self, field="reloads"):
        """SIGHUP, and until it has had its effect."""
        before = self.daemon.stats()[field]
        os.kill(self.daemon.pid, signal.SIGHUP)
        limit = time.monotonic() + DEADLINE
        while self.daemon.stats()[field] == before:
            self.assertLess(time.monotonic(), limit, self.daemon.output())

    def granted(self):
        return self.wire(hello=False).hello().sockets


class Configuration(ReloadTest):

    config = "[Limits]\nSockets=100\n"

    def test_limits_are_those_of_new_sessions(self):
        old = self.wire()
        self.assertEqual(old.welcome.sockets, 100)
        self.write("[Limits]\nSockets=50\n")
        self.assertEqual(self.reload(), {"cancelled": 0, "denied": 0, "closed": 0})
        self.assertEqual(self.granted(), 50)
        old.send(*(old.open(number, number) for number in range(1, 101)))
        for number in range(1, 101):
            self.assertEqual(old.completion(number).error, pb.ERROR_SUCCESS, number)
        self.assertEqual(old.inspect(show=pb.Show())[0]["limit_sockets"], 100)

    def test_what_is_no_longer_said_is_the_default(self):
        self.write("")
        self.reload()
        self.assertEqual(self.granted(), 1024)

    def test_hang_up(self):
        self.write("[Limits]\nSockets=60\n")
        self.hang_up()
        self.assertEqual(self.granted(), 60)

    def test_a_bad_file_changes_nothing_and_says_where(self):
        self.write("[Limits]\nSockets=70\n\nOdd=1\n")
        self.assertEqual(self.reload(error=pb.ERROR_INVALID_ARGUMENT),
                         f"{self.file}:4: unknown key Odd= in [Limits]")
        self.assertEqual(self.granted(), 100)
        self.hang_up("reloads_failed")
        self.assertIn(f"{self.file}:4: unknown key Odd= in [Limits]; all stays as it was", self.daemon.output())
        self.assertEqual(self.granted(), 100)

    def test_a_file_that_is_gone_changes_nothing(self):
        os.unlink(self.file)
        text = self.reload(error=pb.ERROR_INVALID_ARGUMENT)
        self.assertIn(self.file, text)
        self.assertIn("No such file", text)
        self.assertEqual(self.granted(), 100)

    def test_bad_name_servers_change_nothing(self):
        self.write("[Limits]\nSockets=70\n[Resolver]\nServers=nobody\n")
        self.assertIn("nobody", self.reload(error=pb.ERROR_INVALID_ARGUMENT))
        self.assertEqual(self.granted(), 100)

    def test_log_level(self):
        """Of a reload that says less, nothing is seen."""
        self.write("[Log]\nLevel=error\n" + self.config)
        self.reload()
        before = self.daemon.output()
        self.reload()
        self.assertEqual(self.daemon.output(), before)
        self.write(self.config)
        self.reload()
        self.assertIn("reloaded", self.daemon.output()[len(before):])

    def test_name_servers(self):
        """What is being asked for ends with the server of before, what comes later asks the new one."""
        old = self.hold(NameServer({"held.test": Name(a=["127.0.0.1"], held=(A, AAAA)),
                                    "name.test": Name(a=["127.0.0.1"])}))
        new = self.hold(NameServer({"name.test": Name(a=["127.0.0.1"])}, "127.0.0.2", 5353))
        listener = self.listener()
        port = str(listener.getsockname()[1])
        wire = self.wire()

        def connect(number, host):
            wire.send(wire.open(100 + number, number),
                      request(pb.VERB_CONNECT, number, number,
                              connect=pb.Connect(host=host, service=port)))

        connect(1, "held.test")
        old.wait_for(lambda questions: len(questions) == 2)
        self.write(self.config + "[Resolver]\nServers=127.0.0.2:5353\n")
        self.reload()
        connect(2, "name.test")
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.assertEqual((old.asked("name.test"), len(new.asked("name.test"))), ([], 2))
        old.release("held.test", A)
        old.release("held.test", AAAA)
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.assertEqual(new.asked("held.test"), [])


class Rights(ReloadTest):

    def test_not_on_a_client_listener(self):
        wire = self.wire()
        before = self.daemon.stats()["reloads"]
        for op, (verb, arm) in enumerate(((pb.VERB_RELOAD, {"reload": pb.Reload()}),
                                          (pb.VERB_JUDGE, {"judge": pb.Judge()}),
                                          (pb.VERB_LEARNED, {"learned": pb.Learned()})), start=1):
            wire.send(request(verb, op, **arm))
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        self.assertEqual(self.daemon.stats()["reloads"], before)


if __name__ == "__main__":
    unittest.main()
