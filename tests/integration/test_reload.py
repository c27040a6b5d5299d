# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reload: by SIGHUP and by RELOAD; all or nothing, and what comes into force for whom."""

import json
import os
import socket
import time
import unittest

import asockctl
import asockd
from nameserver import A, AAAA, Name, NameServer
import network
from reloading import ReloadTest
from wire import DEADLINE, Wire, pb, request

network.enter()


class Restart(ReloadTest):
    """Settings that a reload does not change: it says so."""

    config = "[Limits]\nSockets=100\nClients=50\n"

    def test_what_needs_a_restart(self):
        self.assertNotIn("restart", self.reload())
        self.write(self.config.replace("100", "200"))
        self.assertNotIn("restart", self.reload())
        for text, told in (("[Limits]\nClients=51\n", "Clients="), ("[Limits]\nSockets=100\n", "Clients="),
                           (self.config + "TotalOps=9999\nHelloMax=3\n", "HelloMax=, TotalOps="),
                           (self.config + "[Listener]\nName=web\n", "[Listener]"),
                           (self.config + "[Audit]\nFile=/var/log/asockd/x\n", "[Audit] File=")):
            self.write(text)
            self.assertEqual(self.reload()["restart"], told, text)
            self.assertIn(f"settings that changed but take effect only after a restart: {told}", self.daemon.output())
        self.write(self.config)
        self.assertNotIn("restart", self.reload())


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
        self.assertIn(f"{self.file}:4: unknown key Odd= in [Limits]; keeping the current configuration", self.daemon.output())
        self.assertEqual(self.granted(), 100)

    def test_what_stands_in_a_bad_file_is_told_as_text(self):
        with open(self.file, "wb") as stream:
            stream.write(b"[Limits]\nSockets=7\xff\n")
        text = self.reload(error=pb.ERROR_INVALID_ARGUMENT)
        self.assertTrue(text.startswith(f"{self.file}:2: "), text)

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

    def test_the_loop_goes_on_meanwhile(self):
        """What is asked behind RELOAD on the same connection is answered first: the files are read elsewhere."""
        control = self.control
        before = self.daemon.stats()["reloads"]
        control.send(request(pb.VERB_RELOAD, 900001, reload=pb.Reload()), control.sync(900002),
                     request(pb.VERB_STATS, 900003, stats=pb.Stats()))
        replies = [control.take(lambda reply: True) for _ in range(3)]
        self.assertEqual([reply.op for reply, _ in replies], [900002, 900003, 900001])
        stats = {f.name: f.number for f in pb.Record.FromString(replies[1][1]).fields}
        self.assertEqual(stats["reloads"], before)

    def test_one_that_is_cancelled_goes_on(self):
        control = self.control
        before = self.daemon.stats()["reloads"]
        control.send(request(pb.VERB_RELOAD, 900011, reload=pb.Reload()),
                     control.cancel(900012, 0, 900011))
        self.assertEqual(control.completion(900011).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(control.completion(900012).error, pb.ERROR_SUCCESS)
        limit = time.monotonic() + DEADLINE
        while self.daemon.stats()["reloads"] == before:
            self.assertLess(time.monotonic(), limit, self.daemon.output())

    def test_who_asked_may_go(self):
        before = self.daemon.stats()["reloads"]
        for _ in range(20):
            wire = Wire(self.daemon.control_path)
            wire.hello()
            wire.send(request(pb.VERB_RELOAD, 1, reload=pb.Reload()))
            wire.close()
        limit = time.monotonic() + DEADLINE
        while self.daemon.stats()["reloads"] == before:
            self.assertLess(time.monotonic(), limit, self.daemon.output())

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
        old.wait_for(lambda questions: len(questions) >= 2)
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
                                          (pb.VERB_LEARNED, {"learned": pb.Learned()})), start=1):
            wire.send(request(verb, op, **arm))
            self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        self.assertEqual(self.daemon.stats()["reloads"], before)


class Lost(unittest.TestCase):
    """A socket that clients cannot find any more: the daemon does not see it go, but looks at a reload."""

    def setUp(self):
        self.daemon = asockd.Daemon()
        self.addCleanup(self.daemon.stop, check=False)

    def reload(self):
        record = self.daemon.control.inspect(reload=pb.Reload())[0]
        return record.get("listeners_lost", 0), record.get("problem", "")

    def test_a_deleted_socket_is_noticed(self):
        self.assertEqual(self.reload(), (0, ""))
        os.rename(self.daemon.path, self.daemon.path + "-away")
        count, problem = self.reload()
        self.assertEqual(count, 1)
        self.assertEqual(problem, f"listener default: {self.daemon.path} has been deleted, so no client can connect there; restart asockd")
        self.assertIn(problem, self.daemon.output())
        done = asockctl.run("reload", "--json", env=asockctl.environment(ASOCK_CONTROL=self.daemon.control_path))
        self.assertEqual(json.loads(done.stdout)["problem"], problem)
        done = asockctl.run("reload", "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stderr.decode()), (0, f"asockctl: {problem}\n"))
        os.rename(self.daemon.path + "-away", self.daemon.path)
        self.assertEqual(self.reload(), (0, ""))

    def test_a_replaced_one_too(self):
        os.rename(self.daemon.path, self.daemon.path + "-away")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.daemon.path)
            self.assertIn("has been replaced by another file", self.reload()[1])

    def test_a_deleted_directory(self):
        away = os.path.dirname(self.daemon.path) + "-away"
        os.rename(os.path.dirname(self.daemon.path), away)
        self.assertEqual(self.reload()[0], 1)
        run = os.path.dirname(self.daemon.control_path)
        os.rename(run, run + "-away")
        count, problem = self.reload()
        self.assertEqual(count, 2)
        self.assertIn("has been deleted", problem)


if __name__ == "__main__":
    unittest.main()
