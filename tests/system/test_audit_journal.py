# SPDX-License-Identifier: LGPL-2.1-or-later
"""The audit in a real journal. Runs as root inside tests/system/box, by audit_journal.test."""

import json
import os
import pwd
import signal
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import boxed
from boxed import asockctl, await_true, configure, must, prop
from suspend import suspend

JOURNALD = "systemd-journald.service"
BURST = 1000
# More than the daemon's queue keeps of entries that need not be recorded.
MANY = 11000


def setUpModule():
    boxed.setUpModule()
    # journald limits every service, as it does by default.
    with open("/run/systemd/journald.conf.d/test.conf", "w", encoding="utf-8") as file:
        file.write("[Journal]\nStorage=volatile\nRuntimeMaxUse=200M\n"
                   f"RateLimitIntervalSec=1h\nRateLimitBurst={BURST // 100}\n")
    must("systemctl", "restart", JOURNALD)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class AuditTest(boxed.UnitsTest):
    def setUp(self):
        super().setUp()
        configure(arguments="--allow-any")
        must("systemctl", "start", "asockd.service")
        self.invocation = prop("asockd.service", "InvocationID")

    def entries(self, *matches):
        must("journalctl", "--sync")
        rows = must("journalctl", "--output=json", f"_SYSTEMD_INVOCATION_ID={self.invocation}",
                    "SYSLOG_IDENTIFIER=asockd", *matches)
        return [entry for entry in map(json.loads, rows.splitlines()) if "ASOCK_EVENT" in entry]

    def queued(self):
        return asockctl("stats")["audit"]["queued"]

    def fail_connects(self, count):
        """So many entries, each of a connect that is refused."""
        sock, port = boxed.client.Socket(boxed.client.Context()), closed_port()
        for _ in range(count):
            self.assertEqual(sock.connect("127.0.0.1", port).wait(), "ConnectionRefused")


class Entries(AuditTest):
    def test_a_sandboxed_client(self):
        server = self.server(boxed.echo_once)
        unit = boxed.run_client("exchange", "127.0.0.1", server.port, "hello")
        self.assertEqual((unit.status, unit.output), (0, "echo: hello"))
        await_true("nothing waits", lambda: self.queued() == 0)
        connect, close = self.entries()
        for entry, event, text in ((connect, "connect", "9fc9581989f641e29d307868a84e3ee9"),
                                   (close, "close", "4cfea5dc56a5464c8c1922cf46b35735")):
            self.assertEqual((entry["ASOCK_EVENT"], entry["MESSAGE_ID"], entry["PRIORITY"]), (event, text, "6"))
            self.assertEqual(entry["ASOCK_UNIT"], unit.name)
            self.assertEqual(entry["ASOCK_CGROUP"], f"/system.slice/{unit.name}")
            self.assertEqual((entry["ASOCK_ADDRESS"], entry["ASOCK_PORT"]), ("127.0.0.1", str(server.port)))
            # By the daemon, as the kernel tells the journal.
            self.assertEqual(entry["_UID"], str(pwd.getpwnam("asockd").pw_uid))
            self.assertEqual(entry["_SYSTEMD_UNIT"], "asockd.service")
            self.assertIn(unit.name, entry["MESSAGE"])
        self.assertEqual(connect["ASOCK_SOCKET"], close["ASOCK_SOCKET"])
        self.assertEqual((close["ASOCK_BYTES_IN"], close["ASOCK_BYTES_OUT"]), ("11", "5"))

    def test_the_journals_own_limit_is_lifted(self):
        self.fail_connects(BURST)
        await_true("nothing waits", lambda: self.queued() == 0)
        self.assertEqual(asockctl("stats")["audit"]["dropped"], 0)
        self.assertEqual(len(self.entries("ASOCK_EVENT=connect")), BURST)

    def test_a_file_where_the_unit_lets_it_be(self):
        path = "/var/log/asockd/audit.json"
        os.makedirs("/etc/asockd", exist_ok=True)
        config = "/etc/asockd/audit-test.conf"
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"[Audit]\nFile={path}\n")
        configure(arguments=f"--allow-any --config {config}")
        must("systemctl", "restart", "asockd.service")
        self.fail_connects(3)
        await_true("nothing waits", lambda: self.queued() == 0)
        with open(path, encoding="utf-8") as file:
            self.assertEqual([json.loads(line)["ASOCK_ERROR"] for line in file], ["ConnectionRefused"] * 3)


class Trouble(AuditTest):
    def test_a_stopped_journal_holds_up_nobody_and_the_loss_is_told(self):
        pid = int(prop(JOURNALD, "MainPID"))
        suspend(pid)
        try:
            self.fail_connects(MANY)
            stats = asockctl("stats")["audit"]
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertGreater(stats["queued"], 0)
        self.assertGreater(stats["dropped"], 0)
        self.assertEqual(stats["entries"] + stats["dropped"], MANY)
        await_true("the loss is told", lambda: self.entries("ASOCK_EVENT=lost"))
        await_true("nothing waits", lambda: self.queued() == 0)
        lost, = self.entries("ASOCK_EVENT=lost")
        self.assertEqual(int(lost["ASOCK_COUNT"]), stats["dropped"])
        self.assertEqual(len(self.entries("ASOCK_EVENT=connect")), MANY - stats["dropped"])

    def test_a_restarted_journal_gets_entries(self):
        self.fail_connects(1)
        must("systemctl", "restart", JOURNALD)
        self.fail_connects(2)
        must("systemctl", "restart", "systemd-journald.socket", JOURNALD)
        self.fail_connects(3)
        await_true("nothing waits", lambda: self.queued() == 0)
        self.assertEqual(len(self.entries("ASOCK_EVENT=connect")), 6)


if __name__ == "__main__":
    unittest.main()
