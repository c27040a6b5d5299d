# SPDX-License-Identifier: LGPL-2.1-or-later
"""Connect by name, against a name server that does what name servers do (S15, S18, S19, S21, S24)."""

import os
import socket
import unittest

import network
from asockd import Daemon, DaemonTest
from nameserver import A, AAAA, HURRIED, NXDOMAIN, PATIENT, SERVFAIL, Name, NameServer
from wire import pb, request

RESOLV_CONF = PATIENT + "search example.test\ndomain test\n"
HOSTS = "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 known.hosts.test\n"

network.enter()


class ByName(DaemonTest):

    @classmethod
    def setUpClass(cls):
        network.write("/etc/resolv.conf", RESOLV_CONF)
        network.write("/etc/hosts", HOSTS)
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.names = {}
        self.server = self.hold(NameServer(self.names))
        self.client = self.wire()
        self.op = 0

    def hurry(self):
        network.write("/etc/resolv.conf", HURRIED)
        self.addCleanup(network.write, "/etc/resolv.conf", RESOLV_CONF)

    def next(self):
        self.op += 1
        return self.op

    def begin(self, host, port, number=1, family=0, timeout_ms=0):
        """OPEN and CONNECT by name; the token of the latter."""
        self.client.send(self.client.open(self.next(), number, family=family),
                         request(pb.VERB_CONNECT, self.next(), number, timeout_ms=timeout_ms,
                                 connect=pb.Connect(host=host, service=str(port))))
        return self.op

    def finish(self, number=1):
        self.client.send(self.client.make_close(self.next(), number))
        self.client.completion(self.op)

    def fails(self, host, error, port=9, family=0):
        reply = self.client.completion(self.begin(host, port, family=family))
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error), host)
        if error != pb.ERROR_INVALID_ARGUMENT:
            self.assertEqual(reply.connected.connect_error, error)
        self.finish()

    def reaches(self, host, listener, family=0):
        address = listener.getsockname()
        reply = self.client.completion(self.begin(host, address[1], family=family))
        self.assertEqual(pb.Error.Name(reply.error), "ERROR_SUCCESS", host)
        self.assertEqual(socket.inet_ntop(listener.family, reply.connected.remote.address),
                         address[0])
        self.accept(listener)
        self.finish()

    def listen(self, address, backlog=16):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = self.hold(socket.socket(family))
        listener.settimeout(30)
        listener.bind((address, 0))
        listener.listen(backlog)
        return listener

    # ---------------------------------------------------------------------------- the server

    def test_s18_no_answer_is_try_again(self):
        self.names["quiet.test"] = Name(silent=(A, AAAA))
        self.hurry()
        self.fails("quiet.test", pb.ERROR_TRY_AGAIN)
        kinds = self.server.asked("quiet.test")
        self.assertEqual({kind for kind, _ in kinds}, {A, AAAA})
        self.assertGreater(len(kinds), 2, "a question that was not answered is repeated")

    def test_s18_no_server_is_try_again(self):
        self.server.close()
        self.fails("nobody.test", pb.ERROR_TRY_AGAIN)
        self.held.remove(self.server)

    def test_s18_what_servers_say(self):
        self.names.update({
            "servfail.test": Name(rcode=SERVFAIL), "nodata.test": Name(),
            "nxdomain.test": Name(rcode=NXDOMAIN)})
        self.fails("servfail.test", pb.ERROR_TRY_AGAIN)
        self.fails("nodata.test", pb.ERROR_NO_DATA)
        self.fails("nxdomain.test", pb.ERROR_HOST_NOT_FOUND)

    def test_s18_family_without_address_is_no_data(self):
        self.names.update({"six.test": Name(aaaa=["::1"]), "four.test": Name(a=["127.0.0.1"])})
        self.fails("six.test", pb.ERROR_NO_DATA, family=pb.FAMILY_INET)
        self.fails("four.test", pb.ERROR_NO_DATA, family=pb.FAMILY_INET6)
        self.assertEqual({kind for kind, _ in self.server.asked("six.test")}, {A})
        self.assertEqual({kind for kind, _ in self.server.asked("four.test")}, {AAAA})

    def queue_behind(self, payload, *frames):
        """A connect whose name is asked for while these come; then it is answered. The connect's token, its peer."""
        self.names["held.test"] = Name(a=["127.0.0.1"], held=(A,))
        listener = self.listen("127.0.0.1")
        self.client.send(self.client.open(self.next(), 1), request(
            pb.VERB_CONNECT, self.next(), 1, payload,
            connect=pb.Connect(host="held.test", service=str(listener.getsockname()[1]))), *frames)
        self.client.settle()
        self.server.wait_for(lambda questions: {q.type for q in questions} == {A, AAAA})
        self.server.release("held.test", A)
        return self.accept(listener)

    def test_s22_data_goes_before_what_was_sent_while_the_name_was_asked_for(self):
        peer = self.queue_behind(b"first ", self.client.make_send(10, 1, b"second "), self.client.make_send(11, 1, b"third"))
        self.assertEqual(self.read_all(peer, 18), b"first second third")
        self.assertEqual([self.client.completion(op).error for op in (2, 10, 11)], [pb.ERROR_SUCCESS] * 3)

    def test_s23_what_waits_while_the_name_is_asked_for_runs_then(self):
        peer = self.queue_behind(b"", self.client.make_send(10, 1, b"hello"))
        self.assertEqual(self.read_all(peer, 5), b"hello")
        self.assertEqual([self.client.completion(op).error for op in (2, 10)], [pb.ERROR_SUCCESS] * 2)

    def test_s23_receives_wait_while_the_name_is_asked_for(self):
        peer = self.queue_behind(b"", self.client.receive(10, 1, 3), self.client.receive(11, 1, 3))
        self.assertEqual(self.client.completion(2).error, pb.ERROR_SUCCESS)
        peer.sendall(b"onetwo")
        self.assertEqual([self.client.whole(op)[1] for op in (10, 11)], [b"one", b"two"])

    def test_s19_only_aaaa(self):
        self.names["six.test"] = Name(aaaa=["::1"])
        self.reaches("six.test", self.listen("::1"))

    def test_s19_one_family_does_not_answer(self):
        """The other one is enough."""
        self.hurry()
        self.names.update({"a.test": Name(a=["127.0.0.1"], silent=(AAAA,)),
                           "aaaa.test": Name(aaaa=["::1"], silent=(A,))})
        self.reaches("a.test", self.listen("127.0.0.1"))
        self.reaches("aaaa.test", self.listen("::1"))

    def test_s19_truncated_then_tcp(self):
        self.names["large.test"] = Name(a=["127.0.0.1"], aaaa=["::1"], truncated=True)
        self.reaches("large.test", self.listen("127.0.0.1"))
        asked = self.server.asked("large.test")
        for kind in (A, AAAA):
            self.assertIn((kind, False), asked)
            self.assertIn((kind, True), asked)

    def test_s19_a_and_aaaa_outstanding_at_once(self):
        """Neither is answered before both have been asked."""
        self.names["held.test"] = Name(a=["127.0.0.1"], aaaa=["::1"], held=(A, AAAA))
        listener = self.listen("::1")
        op = self.begin("held.test", listener.getsockname()[1])
        self.server.wait_for(lambda questions: {q.type for q in questions} == {A, AAAA})
        self.server.release("held.test", AAAA)
        self.assertEqual(self.client.completion(op).error, pb.ERROR_SUCCESS)
        self.server.release("held.test", A)
        self.accept(listener)
        self.finish()

    def test_s19_late_a(self):
        """The addresses that are there have failed; the one that comes late is tried all the same."""
        self.names["late.test"] = Name(a=["127.0.0.1"], aaaa=["::1"], held=(A,))
        listener = self.listen("127.0.0.1")  # no listener at ::1
        op = self.begin("late.test", listener.getsockname()[1])
        self.server.wait_for(lambda questions: {q.type for q in questions} == {A, AAAA})
        self.client.settle()
        self.server.release("late.test", A)
        reply = self.client.completion(op)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        self.assertEqual(reply.connected.remote.address, socket.inet_aton("127.0.0.1"))
        self.finish()

    def test_s19_twenty_addresses(self):
        """All but the last refuse; each is tried once, and the last one answers."""
        addresses = [f"127.0.1.{n}" for n in range(1, 21)]
        self.names["many.test"] = Name(a=addresses)
        capture = self.hold(network.Capture())
        for last in (addresses[-1], addresses[0]):
            listener = self.listen(last)
            self.reaches("many.test", listener)
            tried = [p.target for p in capture.to(listener.getsockname()[1]) if p.flags == "S"]
            self.assertEqual(len(tried), len(set(tried)))
            self.assertEqual(tried[-1], last)
            self.assertLessEqual(set(tried), set(addresses))

    def test_s19_twenty_addresses_all_refuse(self):
        addresses = [f"127.0.1.{n}" for n in range(1, 21)]
        self.names["many.test"] = Name(a=addresses)
        capture = self.hold(network.Capture())
        self.fails("many.test", pb.ERROR_CONNECTION_REFUSED, port=9)
        self.assertEqual(sorted(p.target for p in capture.to(9)), sorted(addresses))

    def test_s19_more_addresses_than_are_tried(self):
        self.names["very.test"] = Name(a=[f"127.0.1.{n}" for n in range(1, 61)])
        capture = self.hold(network.Capture())
        self.fails("very.test", pb.ERROR_CONNECTION_REFUSED, port=9)
        self.assertEqual(len(capture.to(9)), 32)

    # ------------------------------------------------------------------------------- the race

    def test_s19_second_family_while_the_first_is_unanswered(self):
        self.names["race.test"] = Name(a=[network.OWN4], aaaa=[network.SILENT6])
        listener = self.listen(network.OWN4)
        port = listener.getsockname()[1]
        capture = self.hold(network.Capture())
        reply = self.client.completion(self.begin("race.test", port))
        # Losers are closed before the completion.
        self.assertEqual(network.half_open(), 0)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        self.assertEqual(reply.connected.remote.address, socket.inet_aton(network.OWN4))
        sent = capture.to(port)
        syns = [packet.target for packet in sent if packet.flags == "S"]
        self.assertEqual(syns[0], network.SILENT6)
        self.assertIn(network.OWN4, syns)
        self.assertFalse([p for p in capture.now() if p.source == network.SILENT6], "it answered")
        self.accept(listener)
        self.finish()
        after = [p for p in capture.to(port) if p.target == network.SILENT6 and p.flags != "S"]
        self.assertFalse(after, "to nobody nothing but SYN is sent")

    def test_s19_black_holed_first_address(self):
        """Of one family: the second address gets its turn beside the first."""
        self.names["hole.test"] = Name(a=[network.SILENT4, network.OWN4])
        listener = self.listen(network.OWN4)
        port = listener.getsockname()[1]
        capture = self.hold(network.Capture())
        reply = self.client.completion(self.begin("hole.test", port))
        self.assertEqual(network.half_open(), 0)
        self.assertEqual(reply.connected.remote.address, socket.inet_aton(network.OWN4))
        syns = [packet.target for packet in capture.to(port) if packet.flags == "S"]
        # RFC 6724 may put the own address first; then there is nothing to wait for.
        self.assertIn(network.OWN4, syns)
        self.accept(listener)
        self.finish()

    def test_s19_answer_beats_an_earlier_attempt(self):
        """Data of CONNECT reaches the winner alone."""
        self.names["race.test"] = Name(a=[network.OWN4], aaaa=[network.SILENT6])
        listener = self.listen(network.OWN4)
        port = listener.getsockname()[1]
        capture = self.hold(network.Capture())
        self.client.send(self.client.open(self.next(), 1),
                         request(pb.VERB_CONNECT, self.next(), 1, b"first",
                                 connect=pb.Connect(host="race.test", service=str(port))))
        reply = self.client.completion(self.op)
        self.assertEqual((reply.error, reply.bytes), (pb.ERROR_SUCCESS, 5))
        self.assertEqual(self.read_all(self.accept(listener), 5), b"first")
        self.assertFalse([p for p in capture.to(port) if p.target == network.SILENT6 and p.length])
        self.finish()

    def test_s21_nothing_stays_behind(self):
        """Timeout, cancel and close with two attempts in the air; and while the names are asked for."""
        self.names["hole.test"] = Name(a=[network.SILENT4], aaaa=[network.SILENT6])
        self.names["quiet.test"] = Name(silent=(A, AAAA))
        capture = self.hold(network.Capture())
        times = {"hole.test": 400, "quiet.test": 40}
        for host in times:
            for how, error in (("cancel", pb.ERROR_OPERATION_ABORTED),
                               ("close", pb.ERROR_OPERATION_ABORTED),
                               ("timeout", pb.ERROR_TIMED_OUT)):
                op = self.begin(host, 7, timeout_ms=times[host] if how == "timeout" else 0)
                if host == "hole.test" and how != "timeout":
                    for target in (network.SILENT4, network.SILENT6):
                        capture.wait(lambda p, to=target: p.target == to and p.flags == "S")
                if how == "cancel":
                    self.client.send(self.client.cancel(self.next(), 1, op))
                elif how == "close":
                    self.client.send(self.client.make_close(self.next(), 1))
                self.assertEqual(self.client.completion(op).error, error, (host, how))
                self.assertEqual(network.half_open(), 0, (host, how))
                if how != "close":
                    self.finish()
                capture.now().clear()
        self.client.settle()
        tokens = [reply.op for reply, _ in self.client.kept]
        self.assertEqual(len(tokens), len(set(tokens)), "a completion came twice")

    # --------------------------------------------------------------------------- what is asked

    def test_s15_nothing_but_the_name_is_asked_for(self):
        """No search domain, although resolv.conf has some, and not with a dot behind it either."""
        self.fails("single", pb.ERROR_HOST_NOT_FOUND)
        self.fails("two.labels", pb.ERROR_HOST_NOT_FOUND)
        self.fails("absolute.", pb.ERROR_HOST_NOT_FOUND)
        self.assertEqual({q.name for q in self.server.questions}, {"single", "two.labels", "absolute"})

    def test_s15_names_that_are_none_are_not_asked_for(self):
        rows = ["127.1", "0x7f.1", "0x7f000001", "2130706433", "1.2.3.4.5", "127.0.0.256", "127.0.0.01",
                "example.5", "0.0.0.0", "::", "::ffff:0.0.0.0", "[::1]", "a..b", ".a", ".", "a b",
                "a/b", "*.test", "a" * 64 + ".test", "b\u00fccher.test",
                "::1%1", "fe80::1%nolink", "_.5"]
        for row in rows:
            self.fails(row, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(self.server.asked(), [])

    def test_s15_services_that_are_none(self):
        for row in ("0", "65536", "-1", "99999999999", "no-such-service", "80x", " 80"):
            self.client.send(self.client.open(self.next(), 1),
                             request(pb.VERB_CONNECT, self.next(), 1,
                                     connect=pb.Connect(host="localhost", service=row)))
            self.assertEqual(self.client.completion(self.op).error, pb.ERROR_INVALID_ARGUMENT, row)
            self.finish()

    def test_s15_names_of_every_legal_form(self):
        longest = ".".join(["a" * 63] * 3 + ["b" * 61])
        for name in ("xn--bcher-kva.test", "_service._tcp.test", "a-b.test", "1.2.3.4.test", longest):
            self.names[name] = Name(a=["127.0.0.1"])
            self.reaches(name, self.listen("127.0.0.1"))
        self.reaches("XN--Bcher-kva.TEST.", self.listen("127.0.0.1"))

    def test_s15_localhost_is_loopback_and_not_asked_for(self):
        for host in ("localhost", "LOCALHOST.", "any.localhost"):
            self.reaches(host, self.listen("::1"))
            self.reaches(host, self.listen("127.0.0.1"), family=pb.FAMILY_INET)
        for host in ("127.0.0.1", "::1"):
            self.reaches(host, self.listen(host))
        self.assertEqual(self.server.asked(), [])

    def test_s15_hosts_file_comes_first_and_its_changes_are_noticed(self):
        self.names["known.hosts.test"] = Name(rcode=NXDOMAIN)
        self.reaches("known.hosts.test", self.listen("127.0.0.1"), family=pb.FAMILY_INET)
        self.fails("new.hosts.test", pb.ERROR_HOST_NOT_FOUND)
        network.write("/etc/hosts", HOSTS + "127.0.0.1 new.hosts.test\n")
        self.reaches("new.hosts.test", self.listen("127.0.0.1"), family=pb.FAMILY_INET)
        network.write("/etc/hosts", HOSTS)
        self.fails("new.hosts.test", pb.ERROR_HOST_NOT_FOUND)

    def test_s15_hosts_file_answers_alone(self):
        """It has the name for one family: no server is asked for the other, and none is waited for."""
        self.names["known.hosts.test"] = Name(a=["127.0.0.9"], aaaa=["::1"], silent=(A, AAAA))
        self.reaches("known.hosts.test", self.listen("127.0.0.1"))
        self.reaches("KNOWN.Hosts.test.", self.listen("127.0.0.1"))
        self.fails("known.hosts.test", pb.ERROR_NO_DATA, family=pb.FAMILY_INET6)
        self.assertEqual(self.server.asked(), [])

    def test_s15_large_hosts_file_changes(self):
        lines = "".join(f"127.1.{n >> 8 & 255}.{n & 255} n{n}.example\n" for n in range(200000))
        network.write("/etc/hosts", HOSTS + lines + "127.0.0.1 last.example\n")
        try:
            self.reaches("last.example", self.listen("127.0.0.1"))
            self.reaches("n515.example", self.listen("127.1.2.3"))
        finally:
            network.write("/etc/hosts", HOSTS)
        self.fails("last.example", pb.ERROR_HOST_NOT_FOUND)

    def test_s18_identical_questions_are_one(self):
        """Of two sessions; the one that asked first cancels, and the other gets the answer."""
        self.names["held.test"] = Name(a=["127.0.0.1"], held=(A, AAAA))
        listener = self.listen("127.0.0.1")
        port = listener.getsockname()[1]
        first = self.begin("held.test", port)
        self.server.wait_for(lambda questions: {q.type for q in questions} == {A, AAAA})
        other = self.wire()
        other.send(other.open(1, 1), request(pb.VERB_CONNECT, 2, 1, connect=pb.Connect(
            host="held.test", service=str(port))))
        other.settle()
        self.client.send(self.client.cancel(self.next(), 1, first))
        self.assertEqual(self.client.completion(first).error, pb.ERROR_OPERATION_ABORTED)
        self.finish()
        self.server.release("held.test", A)
        self.server.release("held.test", AAAA)
        self.assertEqual(other.completion(2).error, pb.ERROR_SUCCESS)
        self.assertEqual(sorted(kind for kind, _ in self.server.asked("held.test")), [A, AAAA])
        other.close()

    def test_s18_change_of_resolv_conf_is_noticed(self):
        """What is under way ends with the server that it was asked of, what comes later asks the new one."""
        other = self.hold(NameServer({"moved.test": Name(a=["127.0.0.1"])}, "127.0.0.53"))
        self.names.update({"moved.test": Name(rcode=NXDOMAIN),
                           "held.test": Name(a=["127.0.0.1"], held=(A, AAAA))})
        listener = self.listen("127.0.0.1")
        port = listener.getsockname()[1]
        self.fails("moved.test", pb.ERROR_HOST_NOT_FOUND)
        held = self.begin("held.test", port, number=2)
        self.server.wait_for(
            lambda questions: sum(q.name == "held.test" for q in questions) >= 2)
        network.write("/etc/resolv.conf", RESOLV_CONF.replace("127.0.0.1", "127.0.0.53"))
        try:
            self.reaches("moved.test", listener)
            self.server.release("held.test", A)
            self.server.release("held.test", AAAA)
            self.assertEqual(self.client.completion(held).error, pb.ERROR_SUCCESS)
            self.assertEqual(other.asked("held.test"), [])
            self.finish(2)
        finally:
            network.write("/etc/resolv.conf", RESOLV_CONF)

    def test_s18_many_names_at_once(self):
        """Two hundred connects, four hundred lookups: each is answered, none for another."""
        listener = self.listen("127.0.0.1", 1024)
        port = listener.getsockname()[1]
        ops = {}
        for number in range(1, 201):
            name = f"name{number}.test"
            self.names[name] = Name(a=["127.0.0.1"]) if number % 2 else Name(rcode=NXDOMAIN)
            ops[number] = self.begin(name, port, number=number)
        for number, op in ops.items():
            expected = pb.ERROR_SUCCESS if number % 2 else pb.ERROR_HOST_NOT_FOUND
            self.assertEqual(self.client.completion(op).error, expected, number)
            self.finish(number)


class Environment(unittest.TestCase):
    """Another daemon, started as somebody might who wants to bend its names."""

    def setUp(self):
        network.write("/etc/resolv.conf", RESOLV_CONF)
        network.write("/etc/hosts", HOSTS)

    def connect(self, daemon, host, port):
        test = DaemonTest()
        test.held = []
        test.daemon = daemon
        wire = test.wire()
        self.addCleanup(wire.close)
        wire.send(wire.open(1, 1), request(pb.VERB_CONNECT, 2, 1,
                                           connect=pb.Connect(host=host, service=str(port))))
        reply = wire.completion(2)
        wire.send(wire.make_close(3, 1))
        wire.completion(3)
        return reply

    def start(self, *arguments, **environment):
        os.environ.update(environment)
        try:
            daemon = Daemon("--allow-any", *arguments)
        finally:
            for name in environment:
                del os.environ[name]
        self.addCleanup(daemon.stop)
        return daemon

    def test_s15_environment_does_not_count(self):
        aliases = self.enterContext(_Temporary("alias real.test\n"))
        server = NameServer({"real.test": Name(a=["127.0.0.1"]), "alias.test": Name()})
        self.addCleanup(server.close)
        daemon = self.start(HOSTALIASES=aliases, LOCALDOMAIN="test example.test", CARES_HOSTS=aliases,
                            RES_OPTIONS="ndots:9 debug")
        for host in ("alias", "real"):
            self.assertEqual(self.connect(daemon, host, 9).error, pb.ERROR_HOST_NOT_FOUND)
        self.assertEqual({q.name for q in server.questions}, {"alias", "real"})

    def test_s18_servers_of_the_configuration(self):
        server = NameServer({"here.test": Name(a=["127.0.0.1"])}, "127.0.0.2", 5353)
        other = NameServer({"here.test": Name(rcode=NXDOMAIN)})
        listener = socket.create_server(("127.0.0.1", 0))
        for thing in (server, other, listener):
            self.addCleanup(thing.close)
        config = self.enterContext(_Temporary("[Resolver]\nServers=127.0.0.2:5353\n"))
        daemon = self.start("--config", config)
        reply = self.connect(daemon, "here.test", listener.getsockname()[1])
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        self.assertEqual(other.asked(), [])

    def test_s18_silent_server_is_asked_last(self):
        silent = NameServer({f"n{n}.test": Name(silent=(A, AAAA)) for n in range(9)}, "127.0.0.2", 5353)
        server = NameServer({f"n{n}.test": Name(a=["127.0.0.1"]) for n in range(9)})
        listener = socket.create_server(("127.0.0.1", 0))
        for thing in (silent, server, listener):
            self.addCleanup(thing.close)
        config = self.enterContext(_Temporary("[Resolver]\nServers=127.0.0.2:5353,127.0.0.1\nTimeout=1\n"))
        daemon = self.start("--config", config)
        for number in range(9):
            reply = self.connect(daemon, f"n{number}.test", listener.getsockname()[1])
            self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        self.assertEqual({q.name for q in silent.questions}, {"n0.test"})

    def test_s18_resolution_has_an_end(self):
        """Whatever the times of one question come to: 10 tries of 1, 2, 4, ... seconds are 17 minutes."""
        server = NameServer({"quiet.test": Name(silent=(A, AAAA))})
        self.addCleanup(server.close)
        config = self.enterContext(_Temporary("[Resolver]\nTimeout=1\nTries=10\nTotalTimeout=1\n"))
        reply = self.connect(self.start("--config", config), "quiet.test", 9)
        self.assertEqual(reply.error, pb.ERROR_TRY_AGAIN)

    def test_s24_denied_name_leaves_no_packet(self):
        daemon = Daemon()
        self.addCleanup(daemon.stop)
        server = NameServer({"one.test": Name(a=["127.0.0.1"])})
        self.addCleanup(server.close)
        capture = network.Capture()
        self.addCleanup(capture.close)
        for host in ("one.test", "localhost", "127.0.0.1", network.OWN4, network.SILENT4, network.SILENT6):
            self.assertEqual(self.connect(daemon, host, 9).error, pb.ERROR_ACCESS_DENIED, host)
        self.assertEqual(capture.now(), [])


class _Temporary:
    """A file that everybody can read."""

    def __init__(self, text):
        self.path = os.path.join("/tmp", f"asockd-test-{os.getpid()}-{id(self):x}")
        with open(self.path, "w", encoding="ascii") as stream:
            stream.write(text)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        os.unlink(self.path)


if __name__ == "__main__":
    unittest.main()
