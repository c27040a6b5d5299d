# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report of a connect: the completion's text, asockctl show, the audit."""

import json
import os
import select
import socket
import subprocess
import time
import unittest

import asockctl
import network
from audited import Audited, read_entries
from nameserver import A, AAAA, NXDOMAIN, PATIENT, Name, NameServer
from wire import DEADLINE, pb, request

HOSTS = "127.0.0.1 localhost\n127.0.0.1 known.test\n192.0.2.66 silent.test\n"
POLICY = """[Rules]
Deny=tcp 127.0.0.9 *
Allow=tcp * * +loopback +special
"""

network.enter()


class ConnectReport(Audited):

    def setUp(self):
        network.write("/etc/resolv.conf", PATIENT)
        network.write("/etc/hosts", HOSTS)
        directory, config = self.configure()
        self.policy = os.path.join(directory, "a.policy")
        self.audit = os.path.join(directory, "audit.json")
        for path, text in ((self.policy, POLICY), (config, f"[Audit]\nAudit=yes\nFile={self.audit}\n")):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        self.start("--config", config, "--policy", self.policy)
        self.names = {}
        server = NameServer(self.names)
        self.addCleanup(server.close)
        self.client = self.wire()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.port = self.listener.getsockname()[1]

    def begin(self, host, port=None, timeout_ms=0, number=1):
        self.client.send(self.client.open(1, number),
                         request(pb.VERB_CONNECT, 2, number, timeout_ms=timeout_ms,
                                 connect=pb.Connect(host=host, service=str(port or self.port))))

    def connect(self, host, port=None, timeout_ms=0, error=pb.ERROR_SUCCESS, number=1):
        """The text of the completion."""
        self.begin(host, port, timeout_ms, number)
        reply, text = self.client.whole(2)
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error))
        return bytes(text).decode()

    def entry(self, event="connect", host=None):
        """The audit's last one about that event, and that name."""
        limit = time.monotonic() + DEADLINE
        while time.monotonic() < limit:
            entries = [entry for entry in read_entries(self.audit)
                       if entry["ASOCK_EVENT"] == event and host in (None, entry.get("ASOCK_HOST"))]
            if entries:
                return entries[-1]
            select.select([], [], [], 0.01)
        return self.fail("no entry")

    def show(self, number=1):
        """What asockctl show says of that socket's connect."""
        where = ("--json", "--control", self.daemon.control_path)
        row, = [row for row in json.loads(asockctl.run("list", *where).stdout) if row["socket"] == number]
        done = asockctl.run("show", str(row["id"]), *where)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["connect"]

    def own(self, host):
        """What the client itself is shown: neither files, nor name servers, nor addresses that it may not connect to."""
        row, = [row for row in self.client.inspect(list=pb.List()) if row["host"] == host]
        return self.client.inspect(show=pb.Show(id=row["id"]))[0]

    def closed_port(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))  # and nobody listens
        return sock.getsockname()[1]

    def test_s19_each_address_is_told_with_its_error(self):
        self.names["two.test"] = Name(a=["127.0.0.1", "127.0.0.9"], aaaa=["::1"])
        text = self.connect("two.test", self.closed_port(), error=pb.ERROR_CONNECTION_REFUSED)
        self.assertEqual({part.split(" after ")[0] for part in text.split("; ")},
                         {"::1: connection refused", "127.0.0.1: connection refused", "1 denied by policy"})
        entry = self.entry()
        self.assertEqual({attempt.rsplit(" ", 1)[0] for attempt in entry["ASOCK_ATTEMPTS"].split(", ")},
                         {"::1 ConnectionRefused", "127.0.0.1 ConnectionRefused", "127.0.0.9 denied"})
        self.assertRegex(entry["ASOCK_LOOKUPS"],
                         r"^IPv4 server 127\.0\.0\.1:53 Success \d+, IPv6 server 127\.0\.0\.1:53 Success \d+$")
        shown = self.show()
        self.assertEqual({(each["address"], each["result"]) for each in shown["attempts"]},
                         {("::1", "ConnectionRefused"), ("127.0.0.1", "ConnectionRefused"), ("127.0.0.9", "denied")})
        self.assertEqual((shown["further"], shown["untried"], shown["error"]), (0, 0, "ConnectionRefused"))
        own = self.own("two.test")
        self.assertRegex(own["connect_attempts"], r"hidden denied \d+")
        self.assertNotIn("127.0.0.9", own["connect_attempts"])

    def test_the_winner_its_rule_and_its_name_server(self):
        self.names["one.test"] = Name(a=["127.0.0.1"], ttl=60)
        self.assertEqual(self.connect("one.test"), "")
        shown, entry = self.show(), self.entry()
        self.assertNotIn("error", shown)
        self.assertEqual(shown["rule"], f"{self.policy}:3")
        self.assertEqual(entry["ASOCK_RULE"], shown["rule"])
        self.assertEqual([(each["address"], each["result"]) for each in shown["attempts"]], [("127.0.0.1", "Success")])
        self.assertRegex(entry["ASOCK_ATTEMPTS"], r"^127\.0\.0\.1 Success \d+$")
        self.assertEqual({each["family"]: (each["source"], each["server"], each["result"]) for each in shown["lookups"]},
                         {"IPv4": ("server", "127.0.0.1:53", "Success"), "IPv6": ("server", "127.0.0.1:53", "NoData")})
        own = self.own("one.test")
        self.assertNotIn("connect_rule", own)
        self.assertRegex(own["connect_lookups"], r"^IPv4 server Success \d+, IPv6 server NoData \d+$")
        # Answers to RESOLVE are kept.
        self.client.send(request(pb.VERB_RESOLVE, 3, resolve=pb.Resolve(host="one.test")))
        self.client.completion(3)
        self.connect("one.test", number=2)
        self.assertEqual(self.show(2)["lookups"][0]["source"], "cache")

    def test_what_was_silent_has_its_time(self):
        text = self.connect("silent.test", 443, timeout_ms=1000, error=pb.ERROR_TIMED_OUT)
        self.assertRegex(text, r"^192\.0\.2\.66: timed out after \d+\.\d s$")
        entry = self.entry()
        self.assertRegex(entry["ASOCK_ATTEMPTS"], r"^192\.0\.2\.66 given-up \d+$")
        self.assertGreater(int(entry["ASOCK_ATTEMPTS"].split()[2]), 0)
        self.assertRegex(entry["ASOCK_LOOKUPS"], r"^IPv4 hosts Success \d+, IPv6 hosts NoData \d+$")

    def test_one_in_progress(self):
        self.begin("192.0.2.66", 443)
        self.client.settle()
        shown = self.show()
        self.assertEqual([(each["address"], each["result"]) for each in shown["attempts"]], [("192.0.2.66", "running")])
        self.assertEqual(shown["lookups"], [])

    def test_a_name_that_does_not_exist(self):
        self.names["no.test"] = Name(rcode=NXDOMAIN)
        text = self.connect("no.test", error=pb.ERROR_HOST_NOT_FOUND)
        self.assertRegex(text, r"^host name not found( after \d+\.\d s)? \(according to a name server\)$")
        entry = self.entry()
        self.assertNotIn("ASOCK_ATTEMPTS", entry)
        self.assertRegex(entry["ASOCK_LOOKUPS"], r"^IPv4 server 127\.0\.0\.1:53 HostNotFound \d+, "
                                                 r"IPv6 server 127\.0\.0\.1:53 HostNotFound \d+$")

    def test_no_name_server_answers(self):
        self.names["quiet.test"] = Name(silent=(A, AAAA))
        text = self.connect("quiet.test", timeout_ms=200, error=pb.ERROR_TIMED_OUT)
        self.assertRegex(text, r"^timed out after \d+\.\d s \(no name server has answered\)$")
        self.assertEqual({each["source"] for each in self.show()["lookups"]}, {"nobody"})

    def resolve(self, host, timeout_ms=0, error=pb.ERROR_SUCCESS):
        """The text of a RESOLVE that fails."""
        self.client.send(request(pb.VERB_RESOLVE, 5, timeout_ms=timeout_ms, resolve=pb.Resolve(host=host)))
        reply, text = self.client.whole(5)
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error))
        return bytes(text).decode() if reply.error else None

    def test_a_resolve_has_its_lookups(self):
        self.names["one.test"] = Name(a=["127.0.0.1"])
        self.resolve("one.test")
        self.assertRegex(self.entry("resolve", "one.test")["ASOCK_LOOKUPS"],
                         r"^IPv4 server 127\.0\.0\.1:53 Success \d+, IPv6 server 127\.0\.0\.1:53 NoData \d+$")
        self.resolve("known.test")
        self.assertRegex(self.entry("resolve", "known.test")["ASOCK_LOOKUPS"],
                         r"^IPv4 hosts Success \d+, IPv6 hosts NoData \d+$")
        self.names["never.test"] = Name(a=["127.0.0.9"])
        self.assertEqual(self.resolve("never.test", error=pb.ERROR_ACCESS_DENIED), "a rule denies this destination")
        self.assertIn("IPv4 server 127.0.0.1:53 Success", self.entry("deny")["ASOCK_LOOKUPS"])
        self.resolve("192.0.2.7")
        self.assertNotIn("ASOCK_LOOKUPS", self.entry("resolve", "192.0.2.7"))

    def test_why_a_resolve_failed(self):
        self.names.update({"no.test": Name(rcode=NXDOMAIN), "quiet.test": Name(silent=(A, AAAA))})
        self.assertRegex(self.resolve("no.test", error=pb.ERROR_HOST_NOT_FOUND),
                         r"^host name not found( after \d+\.\d s)? \(according to a name server\)$")
        self.assertRegex(self.resolve("quiet.test", timeout_ms=200, error=pb.ERROR_TIMED_OUT),
                         r"^timed out after \d+\.\d s \(no name server has answered\)$")
        self.assertRegex(self.entry("resolve", "quiet.test")["ASOCK_LOOKUPS"],
                         r"^IPv4 nobody given-up \d{3,}, IPv6 nobody given-up \d{3,}$")

    def monitor(self, *args):
        tool = asockctl.Tool("monitor", "event=connect", *args, "--control", self.daemon.control_path,
                             stdout=subprocess.PIPE)
        self.addCleanup(tool.close)
        self.assertIn(b"watching", tool.stdout.readline())
        return tool

    def test_monitor_has_the_report(self):
        self.names["two.test"] = Name(a=["127.0.0.1"], aaaa=["::1"])
        objects, lines = self.monitor("--json"), self.monitor("attempts=*Refused*")
        self.connect("two.test")
        event = json.loads(objects.stdout.readline())
        self.assertEqual((event["rule"], event["remote"]), (f"{self.policy}:3", f"127.0.0.1:{self.port}"))
        self.assertEqual([(each["address"], each["result"]) for each in event["attempts"]],
                         [("::1", "ConnectionRefused"), ("127.0.0.1", "Success")])
        self.assertEqual({each["server"] for each in event["lookups"]}, {"127.0.0.1:53"})
        self.assertTrue(all(each["ms"] >= 0 for each in event["attempts"] + event["lookups"]))
        lines.stdout.readline()  # it had a refused attempt, too
        self.connect("two.test", self.closed_port(), error=pb.ERROR_CONNECTION_REFUSED, number=2)
        self.assertRegex(lines.stdout.readline().decode(),
                         r"; lookups \(ms\): IPv4 server 127\.0\.0\.1:53 Success \d+, .*"
                         r"; attempts \(ms\): ::1 ConnectionRefused \d+, 127\.0\.0\.1 ConnectionRefused \d+$")

    def test_all_denied(self):
        self.names["never.test"] = Name(a=["127.0.0.9"])
        self.assertIn(self.policy, self.entry_of_denial()["ASOCK_RULE"])

    def entry_of_denial(self):
        text = self.connect("never.test", error=pb.ERROR_ACCESS_DENIED)
        self.assertEqual(text, "a rule denies this destination")
        entry = self.entry("deny")
        self.assertRegex(entry["ASOCK_ATTEMPTS"], r"^127\.0\.0\.9 denied \d+$")
        self.assertIn("ASOCK_LOOKUPS", entry)
        return entry


if __name__ == "__main__":
    unittest.main()
