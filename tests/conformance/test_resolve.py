# SPDX-License-Identifier: LGPL-2.1-or-later
"""RESOLVE: the addresses of a name, for whoever may connect to it (S58)."""

import os
import re
import shutil
import socket
import tempfile
import unittest

import network
from asockd import DaemonTest
from audited import read_entries
from nameserver import A, AAAA, HURRIED, NXDOMAIN, PATIENT, SERVFAIL, Name, NameServer
from wire import pb, request

network.enter()

POLICY = """
[Rules]
Deny=tcp never.test * "ask the help desk"
Allow=tcp *.web.test 443 +loopback
Allow=tcp public.test 1-1024
Deny=tcp low.test 1-1023
Allow=tcp low.test 1-1024 +loopback
Allow=tcp 127.0.0.7 25 +loopback
Allow=udp time.test 123 +loopback
Deny=udp other.test * "no datagrams"
"""


def error_name(reply):
    return pb.Error.Name(reply.error).removeprefix("ERROR_")


class Resolving(DaemonTest):

    @classmethod
    def setUpClass(cls):
        network.write("/etc/resolv.conf", PATIENT)
        network.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.0.9 hosts.test\n::9 hosts.test\n")
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.names = {}
        self.server = self.hold(NameServer(self.names))
        self.client = self.wire()
        self.op = 0

    def hurry(self):
        network.write("/etc/resolv.conf", HURRIED)
        self.addCleanup(network.write, "/etc/resolv.conf", PATIENT)

    def begin(self, host, client=None, **fields):
        self.op += 1
        client = client or self.client
        client.send(client.resolve(self.op, host, **fields))
        return self.op

    def end(self, op, client=None):
        """The addresses, or the error's name and text."""
        reply, payload = (client or self.client).whole(op)
        if reply.error:
            return error_name(reply), payload.decode()
        return [socket.inet_ntop(socket.AF_INET6 if len(e.address) == 16 else socket.AF_INET, e.address)
                for e in pb.Addresses.FromString(payload).endpoints]

    def ask(self, host, client=None, **fields):
        return self.end(self.begin(host, client, **fields), client)

    def error(self, host, **fields):
        answer = self.ask(host, **fields)
        self.assertIsInstance(answer, tuple, host)
        return answer[0]


class Anything(Resolving):
    """Whatever policy has to say is said by the next class."""

    def test_s58_addresses_of_both_families(self):
        self.names["both.test"] = Name(a=["127.0.0.2", "127.0.0.3"], aaaa=["::1"])
        before = self.daemon.stats()["resolves"]
        self.assertEqual(set(self.ask("both.test")), {"127.0.0.2", "127.0.0.3", "::1"})
        self.assertEqual(self.ask("both.test", family=pb.FAMILY_INET6), ["::1"])
        self.assertEqual(set(self.ask("both.test", family=pb.FAMILY_INET)), {"127.0.0.2", "127.0.0.3"})
        self.assertEqual(self.daemon.stats()["resolves"] - before, 3)

    def test_s58_the_order_is_a_connects(self):
        """::1 before 127.0.0.1 (RFC 6724)."""
        self.names["both.test"] = Name(a=["127.0.0.1"], aaaa=["::1"])
        self.assertEqual(self.ask("both.test"), ["::1", "127.0.0.1"])

    def test_s58_one_family_is_enough(self):
        self.names.update({"four.test": Name(a=["127.0.0.2"]), "half.test": Name(aaaa=["::1"], silent=(A,))})
        self.assertEqual(self.ask("four.test"), ["127.0.0.2"])
        self.hurry()
        self.assertEqual(self.ask("half.test"), ["::1"])

    def test_s58_what_there_is_to_say_of_a_name_without_address(self):
        self.names.update({"servfail.test": Name(rcode=SERVFAIL), "nodata.test": Name(),
                           "nxdomain.test": Name(rcode=NXDOMAIN), "silent.test": Name(silent=(A, AAAA)),
                           "four.test": Name(a=["127.0.0.2"])})
        self.assertEqual(self.error("nxdomain.test"), "HOST_NOT_FOUND")
        self.assertEqual(self.error("nodata.test"), "NO_DATA")
        self.assertEqual(self.error("four.test", family=pb.FAMILY_INET6), "NO_DATA")
        self.assertEqual(self.error("servfail.test"), "TRY_AGAIN")
        self.hurry()
        self.assertEqual(self.error("silent.test"), "TRY_AGAIN")

    def test_s58_hosts_file_localhost_and_addresses(self):
        self.assertEqual(set(self.ask("hosts.test")), {"127.0.0.9", "::9"})
        self.assertEqual(set(self.ask("localhost")), {"::1", "127.0.0.1"})
        self.assertEqual(self.ask("192.0.2.7"), ["192.0.2.7"])
        self.assertEqual(self.ask("2001:db8::7"), ["2001:db8::7"])
        self.assertEqual(self.error("192.0.2.7", family=pb.FAMILY_INET6), "ADDRESS_FAMILY_NOT_SUPPORTED")
        self.assertEqual(self.server.asked(), [])

    def test_s58_what_is_no_name_is_an_invalid_argument(self):
        for host in ("", "a b", "a..b", "127.1", "0x7f.1", "x" * 64 + ".test", "[::1]", "::1%", "0.0.0.0",
                     "fe80::1%nothing0", "*", "a\u00e9.test", "a\tb"):
            error, text = self.ask(host)
            self.assertEqual(error, "INVALID_ARGUMENT", host)
            self.assertTrue(text)
        self.assertEqual(self.error("a.test", family=3), "INVALID_ARGUMENT")
        self.client.send(request(pb.VERB_RESOLVE, 99, 1, resolve=pb.Resolve(host="a.test")),
                         request(pb.VERB_RESOLVE, 98, payload=b"x", resolve=pb.Resolve(host="a.test")))
        self.assertEqual([error_name(self.client.completion(op)) for op in (99, 98)], ["INVALID_ARGUMENT"] * 2)
        self.assertEqual(self.server.asked(), [])

    def test_s58_many_addresses_are_cut_at_64(self):
        self.names["many.test"] = Name(a=[f"127.0.1.{n}" for n in range(1, 61)],
                                       aaaa=[f"2001:db8::{n:x}" for n in range(1, 61)], truncated=True)
        self.assertEqual(len(self.ask("many.test")), 64)

    def test_s58_cancel_and_deadline(self):
        self.names["held.test"] = Name(a=["127.0.0.2"], held=(A, AAAA))
        op = self.begin("held.test")
        self.client.send(self.client.cancel(1000, 0, op))
        self.assertTrue(self.client.completion(1000).flags & pb.REPLY_FLAG_FOUND)
        self.assertEqual(self.end(op)[0], "OPERATION_ABORTED")
        self.assertEqual(self.error("held.test", timeout_ms=50), "TIMED_OUT")

    def test_s58_the_end_of_the_session_while_it_resolves(self):
        """Nothing of it stays: tearDown looks."""
        self.names["held.test"] = Name(a=["127.0.0.2"], held=(A, AAAA))
        for _ in range(5):
            self.begin("held.test")
        self.client.settle()
        self.server.wait_for(lambda questions: {q.type for q in questions} == {A, AAAA})
        self.held.remove(self.client)
        self.client.close()

    def test_s58_identical_questions_are_one(self):
        self.names["held.test"] = Name(a=["127.0.0.2"], held=(A, AAAA))
        second = self.wire()
        ops = [self.begin("held.test") for _ in range(3)]
        other = self.begin("HELD.test.", second)
        self.client.settle()
        second.settle()
        self.server.wait_for(lambda questions: {q.type for q in questions} == {A, AAAA})
        for kind in (A, AAAA):
            self.server.release("held.test", kind)
        self.assertEqual([self.end(op) for op in ops] + [self.end(other, second)], [["127.0.0.2"]] * 4)
        self.assertEqual(sorted(kind for kind, _ in self.server.asked("held.test")), [A, AAAA])

    def test_s58_an_answer_is_kept_as_long_as_it_says(self):
        self.names.update({"kept.test": Name(a=["127.0.0.2"], aaaa=["::1"], ttl=3600),
                           "gone.test": Name(a=["127.0.0.2"], aaaa=["::1"], ttl=0)})
        for _ in range(3):
            self.assertEqual(set(self.ask("kept.test")), {"127.0.0.2", "::1"})
            self.assertEqual(set(self.ask("gone.test")), {"127.0.0.2", "::1"})
        self.assertEqual(len(self.server.asked("kept.test")), 2)
        self.assertEqual(len(self.server.asked("gone.test")), 6)

    def test_s58_a_connect_finds_what_was_resolved(self):
        listener = self.listener()
        self.names["kept2.test"] = Name(a=["127.0.0.1"], ttl=3600)
        self.assertEqual(self.ask("kept2.test", family=pb.FAMILY_INET), ["127.0.0.1"])
        self.client.send(self.client.open(100, 1, family=pb.FAMILY_INET), request(pb.VERB_CONNECT, 101, 1, connect=pb.Connect(
            host="kept2.test", service=str(listener.getsockname()[1]))))
        self.assertEqual(error_name(self.client.completion(101)), "SUCCESS")
        self.accept(listener)
        self.assertEqual(len(self.server.asked("kept2.test")), 1)

    def test_s58_what_is_kept_is_charged_and_bounded(self):
        def held():
            return int(re.search(r"\bmemory=(\d+)", self.daemon.stats()["quota_daemon"])[1])
        before = held()
        for n in range(300):
            self.names[f"n{n}.kept.test"] = Name(a=["127.0.0.2"], ttl=3600)
            self.assertEqual(self.ask(f"n{n}.kept.test", family=pb.FAMILY_INET), ["127.0.0.2"])
        self.assertGreater(held(), before)
        self.server.questions.clear()
        self.ask("n299.kept.test", family=pb.FAMILY_INET)
        self.ask("n0.kept.test", family=pb.FAMILY_INET)
        self.assertEqual([(q.name, q.type) for q in self.server.questions], [("n0.kept.test", A)])

    def test_s58_what_policy_takes_is_the_time_of_who_asks(self):
        """Names by the hundred, for each of which policy is asked as often as it may be: no other session waits for that."""
        clients, names = [self.wire() for _ in range(3)], range(10, 510)
        ports = "".join(f"Allow=tcp localhost {port} +loopback\n" for port in range(1, 500, 2))
        for client in clients:
            for rules in (f"{ports}Allow=tcp localhost * +loopback\n", "Allow=tcp localhost *\n"):
                client.send(request(pb.VERB_RESTRICT, 1, payload=f"[Rules]\n{rules}".encode(), restriction=pb.Restrict()))
                self.assertEqual(client.completion(1).error, pb.ERROR_SUCCESS)
        before = self.daemon.stats()
        count = len(clients) * len(names)
        for client in clients:
            client.send(b"".join(client.resolve(op, "localhost", family=pb.FAMILY_INET) for op in names))
        self.daemon.wait(lambda: self.daemon.stats()["resolves"] - before["resolves"] == count)
        self.assertEqual(self.ask("localhost", family=pb.FAMILY_INET), ["127.0.0.1"])
        self.assertLess(self.daemon.stats()["resolves_denied"] - before["resolves_denied"], count)
        for client in clients:
            for op in names:
                self.assertEqual(client.completion(op).error, pb.ERROR_ACCESS_DENIED)

    def test_s58_not_on_the_control_listener(self):
        control = self.daemon.control
        control.token += 1
        control.send(control.resolve(control.token, "a.test"))
        self.assertEqual(error_name(control.completion(control.token)), "OPERATION_NOT_SUPPORTED")


class Judged(Resolving):
    """By the rules of a policy, and by those of a restriction."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp()
        os.chmod(cls.directory, 0o755)
        cls.policy = os.path.join(cls.directory, "test.policy")
        cls.audit = os.path.join(cls.directory, "audit.json")
        with open(cls.policy, "w", encoding="ascii") as file:
            file.write(POLICY)
        os.chmod(cls.policy, 0o644)
        os.chmod(cls.directory, 0o777)
        config = os.path.join(cls.directory, "asockd.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"[Audit]\nFile={cls.audit}\n")
        cls.arguments = ("--policy", cls.policy, "--config", config)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.directory)

    def test_s58_a_name_that_could_not_be_reached_is_not_asked_for(self):
        for host in ("elsewhere.test", "web.test", "x.web.test.elsewhere"):
            self.assertEqual(self.ask(host), ("ACCESS_DENIED", "no rule allows this destination"))
        self.assertEqual(self.ask("never.test"), ("ACCESS_DENIED", "ask the help desk"))
        self.assertEqual(self.error("127.0.0.8"), "ACCESS_DENIED")
        self.assertEqual(self.server.asked(), [])
        self.assertGreaterEqual(self.daemon.stats()["resolves_denied"], 5)

    def test_s58_one_port_is_enough(self):
        self.names.update({"a.web.test": Name(a=["127.0.0.2"]), "low.test": Name(a=["127.0.0.2"])})
        self.assertEqual(self.ask("a.web.test"), ["127.0.0.2"])
        self.assertEqual(self.ask("low.test"), ["127.0.0.2"], "port 1024 alone is left")
        self.assertEqual(self.ask("127.0.0.7"), ["127.0.0.7"])

    def test_s58_one_protocol_is_enough(self):
        """Of two denials the one by a rule is reported; if both are by rules, TCP's."""
        self.names["time.test"] = Name(a=["127.0.0.2", "10.0.0.1"])
        self.assertEqual(self.ask("time.test"), ["127.0.0.2"])
        self.assertEqual(self.ask("other.test"), ("ACCESS_DENIED", "no datagrams"))
        self.assertEqual(self.ask("never.test"), ("ACCESS_DENIED", "ask the help desk"))

    def test_s58_addresses_that_could_not_be_reached_are_left_out(self):
        self.names.update({"public.test": Name(a=["127.0.0.2", "8.8.8.8", "10.0.0.1"]),
                           "web.web.test": Name(a=["10.0.0.1", "10.0.0.2"])})
        self.assertEqual(self.ask("public.test"), ["8.8.8.8"])
        error, text = self.ask("web.web.test")
        self.assertEqual(error, "ACCESS_DENIED")
        self.assertIn("private address", text)

    def test_s58_a_restriction_counts_too(self):
        """On one port the policy, on another the restriction: together on none."""
        self.names["a.web.test"] = Name(a=["127.0.0.2"])
        rules = b"[Rules]\nAllow=tcp a.web.test 80 +loopback\nAllow=tcp b.web.test 443 +loopback\n"
        self.client.send(request(pb.VERB_RESTRICT, 500, payload=rules, restriction=pb.Restrict()))
        self.client.completion(500)
        self.assertEqual(self.error("a.web.test"), "ACCESS_DENIED")
        self.names["b.web.test"] = Name(a=["127.0.0.2"])
        self.assertEqual(self.ask("b.web.test"), ["127.0.0.2"])

    def test_s58_a_restriction_that_comes_while_it_resolves(self):
        self.names["held.web.test"] = Name(a=["127.0.0.2"], held=(A, AAAA))
        op = self.begin("held.web.test")
        self.server.wait_for(lambda questions: {q.type for q in questions} == {A, AAAA})
        rules = b"[Rules]\nAllow=tcp a.web.test 443 +loopback\n"
        self.client.send(request(pb.VERB_RESTRICT, 500, payload=rules, restriction=pb.Restrict()))
        self.client.completion(500)
        for kind in (A, AAAA):
            self.server.release("held.web.test", kind)
        self.assertEqual(self.end(op)[0], "ACCESS_DENIED")

    def test_s58_rules_that_tell_many_ports_apart(self):
        """A denial of each odd port and each even one, with one that is left: it is found."""
        self.names["a.web.test"] = Name(a=["127.0.0.2"])
        rules = "".join(f"Deny=tcp a.web.test {n}\n" for n in range(1, 400, 2))
        rules = f"[Rules]\n{rules}Allow=tcp a.web.test 443 +loopback\n".encode()
        self.client.send(request(pb.VERB_RESTRICT, 500, payload=rules, restriction=pb.Restrict()))
        self.assertEqual(error_name(self.client.completion(500)), "SUCCESS")
        self.assertEqual(self.ask("a.web.test"), ["127.0.0.2"])

    def test_s58_each_is_recorded(self):
        def entries(event, host):
            return [row for row in read_entries(self.audit) if row["ASOCK_EVENT"] == event and row.get("ASOCK_HOST") == host]
        self.names.update({"told.web.test": Name(a=["127.0.0.2"]), "nothing.web.test": Name(rcode=NXDOMAIN)})
        self.ask("told.web.test")
        self.ask("nothing.web.test")
        self.ask("denied.test")
        self.daemon.wait(lambda: entries("deny", "denied.test"))
        told, failed = entries("resolve", "told.web.test"), entries("resolve", "nothing.web.test")
        self.assertEqual((len(told), len(failed)), (1, 1))
        self.assertNotIn("ASOCK_ERROR", told[0])
        self.assertTrue(told[0]["ASOCK_RULE"].startswith(self.policy))
        self.assertEqual(failed[0]["ASOCK_ERROR"], "HostNotFound")
        denied = entries("deny", "denied.test")
        self.assertEqual((len(denied), denied[0]["ASOCK_REASON"]), (1, "no rule allows this destination"))
        self.assertNotIn("port", denied[0]["MESSAGE"])


class Limited(Resolving):

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp()
        os.chmod(cls.directory, 0o755)
        config = os.path.join(cls.directory, "asockd.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write("[Limits]\nResolutions=4\n")
        cls.arguments = ("--allow-any", "--config", config)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.directory)

    def test_s58_counted_as_resolutions(self):
        self.names["held.test"] = Name(a=["127.0.0.2"], held=(A, AAAA))
        most = self.client.welcome.resolutions
        ops = [self.begin("held.test", family=pb.FAMILY_INET) for _ in range(most + 1)]
        self.assertEqual(self.end(ops.pop()), ("NO_BUFFER_SPACE", "too many names are being resolved"))
        self.server.wait_for(lambda questions: {q.type for q in questions} == {A})
        self.server.release("held.test", A)
        self.assertEqual([self.end(op) for op in ops], [["127.0.0.2"]] * most)


del Resolving

if __name__ == "__main__":
    unittest.main()
