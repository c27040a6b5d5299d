# SPDX-License-Identifier: LGPL-2.1-or-later
"""CONNECT with Lend on the wire: sockets that are lent to their client, held or given (S68, S69, S71)."""

import os
import socket
import tempfile
import unittest

from asockd import Daemon, DaemonTest
from lending import GIVEN, HELD, IF_ALLOWED, Lending, connect, fill, name_of, policy
from wire import DEADLINE, Wire, pb, request


class Lend(Lending):

    def test_s68_held_socket_comes_with_the_completion(self):
        for host in ("127.0.0.1", "127.0.0.2", "::1"):
            with self.subTest(host):
                wire = self.wire()
                listener = self.serve(host)
                lent, peer = self.lend(wire, listener)
                self.assertEqual(lent.getpeername(), listener.getsockname())
                lent.sendall(b"there")
                self.assertEqual(peer.recv(16), b"there")
                peer.sendall(b"and back")
                self.assertEqual(lent.recv(16), b"and back")
                self.assertEqual(self.record(wire)["state"], "lent")

    def test_s68_given_socket_is_the_clients_alone(self):
        wire = self.wire()
        lent, peer = self.lend(wire, lend=GIVEN)
        self.assertEqual(self.record(wire)["state"], "lent")
        self.assertEqual(self.daemon.stats()["sockets"], 0)  # nothing of it is left but the id
        wire.close()
        lent.sendall(b"still")
        self.assertEqual(peer.recv(16), b"still")
        lent.close()
        self.assertEqual(peer.recv(1), b"")  # close() means close

    def test_s68_denied_without_the_flag(self):
        for host, lend in (("127.0.0.2", GIVEN), ("127.0.0.3", HELD), ("127.0.0.4", HELD), ("127.0.0.4", GIVEN)):
            with self.subTest(host=host, lend=lend):
                wire, listener = self.wire(), self.serve(host)
                reply, text = self.ask(wire, listener, lend)
                self.assertEqual((name_of(reply.error), reply.descriptors), ("ACCESS_DENIED", 0))
                self.assertIn(b"+lend", text)
                listener.settimeout(0.0)
                with self.assertRaises(BlockingIOError):
                    listener.accept()  # not a packet has left

    def test_s68_if_allowed_goes_on_without_the_flag(self):
        for host, descriptors in (("127.0.0.2", 1), ("127.0.0.3", 0), ("127.0.0.4", 0)):
            with self.subTest(host):
                wire, listener = self.wire(), self.serve(host)
                reply, text = self.ask(wire, listener, IF_ALLOWED)
                self.assertEqual((name_of(reply.error), reply.descriptors), ("SUCCESS", descriptors), text)
                peer = self.accept(listener)
                if descriptors:
                    continue
                wire.send(wire.make_send(5, 1, b"by the daemon"))
                self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
                self.assertEqual(peer.recv(32), b"by the daemon")

    def test_s68_wrong_arguments(self):
        wire, listener = self.wire(), self.serve()
        for lend in (4, 5, 1 << 30):
            reply, _ = self.ask(wire, listener, lend)
            self.assertEqual(name_of(reply.error), "INVALID_ARGUMENT")
            self.end(wire)
        for lend in (HELD, GIVEN, IF_ALLOWED):
            reply, _ = self.ask(wire, listener, lend, payload=b"data first")
            self.assertEqual((name_of(reply.error), reply.descriptors), ("INVALID_ARGUMENT", 0))
            self.end(wire)

    def test_s68_only_a_connect_lends(self):
        """Not of a socket that is bound, listens, was accepted, is connected or lent already."""
        wire, listener = self.wire(), self.serve()
        other = lambda: connect(wire.token, 1, listener.getsockname(), HELD)
        wire.send(wire.open(1, 1), wire.bind(2, 1, ("127.0.0.1", 0)))
        reply, _ = wire.whole(2)
        self.assertEqual(name_of(wire.completion(1).error), "SUCCESS")
        wire.token = 2
        for _ in range(2):
            wire.token += 1
            self.assertEqual(self.error_of(wire, other()), "OPERATION_NOT_SUPPORTED")
            wire.token += 1
            self.error_of(wire, wire.listen(wire.token, 1))
        peer = self.hold(socket.create_connection(("127.0.0.1", reply.connected.local.port), DEADLINE))
        wire.token += 1
        self.assertEqual(self.error_of(wire, wire.accept(wire.token, 1, 2)), "SUCCESS")
        for lend in (HELD, GIVEN, IF_ALLOWED):
            wire.token += 1
            self.assertEqual(self.error_of(wire, connect(wire.token, 2, peer.getsockname(), lend)), "IS_CONNECTED")
        self.assertEqual(len(wire.descriptors), 0)

    def test_s68_no_datagram_socket(self):
        """It could send to anybody. An ordinary connect of it goes on as before."""
        wire = self.wire()
        peer = self.hold(socket.socket(type=socket.SOCK_DGRAM))
        peer.bind(("127.0.0.1", 0))
        for lend in (HELD, GIVEN, IF_ALLOWED):
            wire.token += 2
            wire.send(wire.open(wire.token - 1, lend, type=pb.SOCKET_TYPE_DATAGRAM), connect(wire.token, lend, peer.getsockname(), lend))
            reply = wire.completion(wire.token)
            self.assertEqual((name_of(reply.error), reply.descriptors), ("OPERATION_NOT_SUPPORTED", 0))
            wire.token += 1
            wire.send(connect(wire.token, lend, peer.getsockname(), 0))
            self.assertEqual(name_of(wire.completion(wire.token).error), "SUCCESS")
        self.assertEqual(len(wire.descriptors), 0)

    def test_s68_welcome_says_which_kinds_there_are(self):
        self.assertEqual(self.wire().welcome.lends, 1 << HELD | 1 << GIVEN | 1 << IF_ALLOWED)
        self.assertEqual(self.daemon.control.welcome.lends, 0)

    def test_s68_a_failed_connect_lends_nothing(self):
        wire, listener = self.wire(), self.serve()
        address = listener.getsockname()
        listener.close()
        wire.send(wire.open(1, 1), connect(2, 1, address, HELD))
        reply = wire.completion(2)
        self.assertEqual((name_of(reply.error), reply.descriptors), ("CONNECTION_REFUSED", 0))

    def crowded(self):
        """A listener that answers no connect until one is accepted."""
        listener = self.hold(socket.socket())
        listener.settimeout(DEADLINE)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        self.hold(socket.create_connection(listener.getsockname(), DEADLINE))
        return listener

    def test_s68_after_a_wait(self):
        """What was watched while it connected is forgotten: nothing more is heard of it in the daemon."""
        for lend in (HELD, GIVEN, IF_ALLOWED):
            with self.subTest(lend):
                wire, listener = self.wire(), self.crowded()
                wire.send(wire.open(1, 1), connect(2, 1, listener.getsockname(), lend))
                wire.settle()
                self.assertEqual(self.record(wire)["state"], "connecting")
                self.accept(listener)
                self.assertEqual(wire.completion(2).descriptors, 1)
                lent = self.hold(socket.socket(fileno=wire.descriptors.popleft()))
                lent.settimeout(DEADLINE)
                peers = [self.accept(listener)]
                while peers[-1].getpeername() != lent.getsockname():
                    peers.append(self.accept(listener))
                lent.sendall(b"there")
                self.assertEqual(peers[-1].recv(16), b"there")
                turns = self.daemon.stats()["turns"]
                peers[-1].sendall(b"and back")  # which wakes only the client
                self.assertEqual(lent.recv(16), b"and back")
                self.assertLess(self.daemon.stats()["turns"] - turns, 8)
                self.end(wire, abort=True)

    def test_s68_cancelled_while_it_waits(self):
        wire, listener = self.wire(), self.crowded()
        wire.send(wire.open(1, 1), connect(2, 1, listener.getsockname(), HELD))
        wire.settle()
        wire.send(wire.cancel(3, 1, 2))
        reply = wire.completion(2)
        self.assertEqual((name_of(reply.error), reply.descriptors), ("OPERATION_ABORTED", 0))
        wire.send(connect(4, 1, self.serve().getsockname(), HELD))
        self.assertEqual(wire.completion(4).descriptors, 1)

    def test_s68_many_at_once(self):
        wire, listener = self.wire(), self.serve()
        numbers = range(1, 49)
        wire.send(*(frame for n in numbers
                    for frame in (wire.open(n, n), connect(100 + n, n, listener.getsockname(), HELD))))
        lent = {}
        for n in numbers:
            self.assertEqual(wire.completion(100 + n).descriptors, 1)
            lent[n] = self.hold(socket.socket(fileno=wire.descriptors.popleft()))
        peers = {}
        for n in numbers:
            peer = self.accept(listener)
            peers[peer.getpeername()] = peer
        for n in numbers:
            self.assertIn(lent[n].getsockname(), peers)
            self.assertEqual(self.record(wire, n)["local"], "{}:{}".format(*lent[n].getsockname()))


class Ops(Lending):

    def test_s69_ops_on_it_are_invalid(self):
        for lend in (HELD, GIVEN):
            with self.subTest(lend):
                wire = self.wire()
                _, peer = self.lend(wire, lend=lend)
                frames = {
                    "SEND": lambda: wire.make_send(wire.token, 1, b"x"),
                    "chain": lambda: wire.make_send(wire.token, 1, b"x", total_len=2, more=True),
                    "RECEIVE": lambda: wire.receive(wire.token, 1, 1),
                    "SHUTDOWN": lambda: wire.shutdown(wire.token, 1, pb.HOW_SEND),
                    "HANGUP": lambda: wire.hangup(wire.token, 1),
                    "CONNECT": lambda: wire.connect(wire.token, 1, peer.getsockname()),
                    "SET_OPTION": lambda: request(pb.VERB_SET_OPTION, wire.token, 1, set_option=pb.SetOption(
                        option=pb.OPTION_NO_DELAY, value=pb.OptionValue(number=0))),
                }
                for name, frame in frames.items():
                    wire.token += 1
                    self.assertEqual(self.error_of(wire, frame()), "INVALID_ARGUMENT", name)
                peer.settimeout(0.0)
                with self.assertRaises(BlockingIOError):
                    peer.recv(1)  # neither data nor FIN

    def test_s69_o_nonblock_is_the_clients_to_clear(self):
        """The flag is that of the daemon's descriptor as well, which must not wait because of it."""
        wire = self.wire()
        lent, peer = self.lend(wire)
        fill(lent)
        os.set_blocking(lent.fileno(), True)
        self.assertEqual(self.record(wire)["state"], "lent")
        wire.send(wire.make_close(1, 1, linger_ms=60000))
        peer.sendall(b"unread")  # the daemon takes it, and there is nothing behind it
        self.assertEqual(self.wire().inspect(list=pb.List()), [])
        peer.close()
        self.assertEqual(name_of(wire.completion(1).error), "CONNECTION_RESET")

    def test_s69_what_is_queued_behind_the_connect_is_invalid_too(self):
        wire, hole = self.wire(), self.blackhole()
        wire.send(wire.open(1, 1), connect(2, 1, hole.getsockname(), HELD), wire.make_send(3, 1, b"x"),
                  wire.receive(4, 1, 1), wire.shutdown(5, 1, pb.HOW_BOTH), wire.hangup(6, 1))
        wire.settle()
        self.accept_behind(hole)
        self.assertEqual(wire.completion(2).descriptors, 1)
        for op in (3, 4, 5, 6):
            self.assertEqual(name_of(wire.completion(op).error), "INVALID_ARGUMENT")

    def test_s69_options_of_a_held_one_can_be_read(self):
        wire = self.wire()
        lent, _ = self.lend(wire)
        lent.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        for option, check in ((pb.OPTION_NO_DELAY, lambda reply, _: reply.value.number == 0),
                              (pb.OPTION_LOCAL_ENDPOINT, lambda reply, _: reply.value.endpoint.port == lent.getsockname()[1]),
                              (pb.OPTION_TCP_INFO, lambda _, payload: payload[0] == 1)):
            wire.token += 1
            wire.send(request(pb.VERB_GET_OPTION, wire.token, 1, get_option=pb.GetOption(option=option)))
            reply, payload = wire.whole(wire.token)
            self.assertEqual(name_of(reply.error), "SUCCESS")
            self.assertTrue(check(reply, payload), (reply, payload))

    def test_s69_options_of_a_given_one_cannot(self):
        wire = self.wire()
        self.lend(wire, lend=GIVEN)
        wire.token += 1
        self.assertEqual(self.error_of(wire, request(pb.VERB_GET_OPTION, wire.token, 1, get_option=pb.GetOption(
            option=pb.OPTION_NO_DELAY))), "INVALID_ARGUMENT")

    def test_s69_options_that_were_set_before_hold(self):
        wire, listener = self.wire(), self.serve()
        wire.send(wire.open(1, 1), request(pb.VERB_SET_OPTION, 2, 1, set_option=pb.SetOption(
            option=pb.OPTION_KEEP_ALIVE, value=pb.OptionValue(number=1))), connect(3, 1, listener.getsockname(), HELD))
        self.assertEqual(wire.completion(3).descriptors, 1)
        lent = self.hold(socket.socket(fileno=wire.descriptors.popleft()))
        self.assertEqual(lent.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        self.assertEqual(lent.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)

    def test_s69_bytes_and_state_of_a_held_one_are_seen(self):
        wire = self.wire()
        lent, peer = self.lend(wire)
        lent.sendall(b"u" * 5000)
        self.assertEqual(self.read_all(peer, 5000), b"u" * 5000)
        peer.sendall(b"d" * 300)
        self.assertEqual(len(self.read_all(lent, 300)), 300)
        record = self.record(wire)
        self.assertEqual((record["bytes_out"], record["bytes_in"]), (5000, 300))
        shown = wire.inspect(show=pb.Show(id=record["id"]))[0]
        self.assertEqual((shown["tcp_state"], shown["lent"], shown["send_side"]), ("established", "held", "lent"))
        lent.shutdown(socket.SHUT_WR)
        self.assertEqual(peer.recv(1), b"")
        self.daemon.wait(lambda: wire.inspect(show=pb.Show(id=record["id"]))[0]["tcp_state"] == "fin_wait2")
        peer.close()
        self.daemon.wait(lambda: wire.inspect(show=pb.Show(id=record["id"]))[0]["tcp_state"] == "close")
        record = self.record(wire)
        self.assertEqual((record["bytes_out"], record["bytes_in"]), (5000, 300))


class Rights(Lending):

    def restrict(self, wire, *lines):
        wire.token += 1
        wire.send(request(pb.VERB_RESTRICT, wire.token, payload=policy(*lines).encode(), restriction=pb.Restrict()))
        self.assertEqual(wire.completion(wire.token).error, pb.ERROR_SUCCESS)

    def share(self, wire, **fields):
        directory = wire.inspect(share=pb.Share(**fields))[0]["directory"]
        sharee = self.hold(Wire(os.path.join(directory, "asock.sock")))
        sharee.hello(sockets=16, ops=64, queued_max=1 << 20)
        return sharee

    def outcomes(self, wire):
        """What HELD, GIVEN and IF_ALLOWED come to."""
        found = []
        for lend in (HELD, GIVEN, IF_ALLOWED):
            listener = self.serve()
            reply, _ = self.ask(wire, listener, lend)
            found.append(reply.descriptors if not reply.error else name_of(reply.error))
            while wire.descriptors:
                os.close(wire.descriptors.popleft())
            self.end(wire, abort=True)
        return found

    ALL, NOTHING = [1, 1, 1], ["ACCESS_DENIED", "ACCESS_DENIED", 0]

    def test_s71_restriction_takes_it_away(self):
        wire = self.wire()
        self.assertEqual(self.outcomes(wire), self.ALL)
        self.restrict(wire, "Allow=tcp 127.0.0.1 * +loopback")
        self.assertEqual(self.outcomes(wire), self.NOTHING)

    def test_s71_restriction_with_the_flag_keeps_it(self):
        wire = self.wire()
        self.restrict(wire, "Allow=tcp 127.0.0.1 * +loopback +lend +lend-given")
        self.assertEqual(self.outcomes(wire), self.ALL)
        self.restrict(wire, "Allow=tcp 127.0.0.1 * +loopback +lend")
        self.assertEqual(self.outcomes(wire), [1, "ACCESS_DENIED", 1])
        self.restrict(wire, "Allow=tcp 127.0.0.1 * +loopback +lend-given")
        self.assertEqual(self.outcomes(wire), self.NOTHING)

    def test_s71_restriction_cannot_widen(self):
        wire, listener = self.wire(), self.serve("127.0.0.4")
        self.restrict(wire, "Allow=tcp 127.0.0.4 * +loopback +lend +lend-given")
        reply, _ = self.ask(wire, listener, HELD)
        self.assertEqual((name_of(reply.error), reply.descriptors), ("ACCESS_DENIED", 0))

    def test_s71_shared_session_cannot_lend(self):
        wire = self.wire()
        sharee = self.share(wire)
        self.assertEqual(self.outcomes(sharee), self.NOTHING)
        listener = self.serve()
        _, text = self.ask(sharee, listener, HELD)
        self.assertIn(b"does not share the right to lend", text)
        self.assertEqual(self.outcomes(wire), self.ALL)

    def lends(self, wire, *fields):
        """What JUDGE says of it."""
        record = pb.Record(fields=[pb.Field(name=name, text=text) for name, text in
                                   (("protocol", "tcp"), ("host", "127.0.0.1"), ("service", "1"))] + list(fields))
        wire.token += 1
        wire.send(request(pb.VERB_JUDGE, wire.token, payload=record.SerializeToString(), judge=pb.Judge()))
        reply, payload = wire.whole(wire.token)
        self.assertEqual(name_of(reply.error), "SUCCESS", payload)
        return next(field.text for field in pb.Record.FromString(payload).fields if field.name == "lends")

    def test_s71_judge_tells_what_a_sharee_cannot_lend(self):
        wire = self.wire()
        for sharee, expected in ((wire, "held given"), (self.share(wire), "withheld"),
                                 (self.share(wire, lend=True), "held given")):
            number = pb.Field(name="id", number=sharee.inspect(show=pb.Show())[0]["id"], is_number=True)
            self.assertEqual(self.lends(sharee), expected)
            self.assertEqual(self.lends(self.daemon.control, number), expected)  # asked by the administrator

    def test_s71_sharer_may_say_so(self):
        wire = self.wire()
        sharee = self.share(wire, lend=True)
        self.assertEqual(self.outcomes(sharee), self.ALL)
        self.assertEqual(self.outcomes(self.share(sharee, lend=True)), self.ALL)
        below = self.share(sharee)
        self.assertEqual(self.outcomes(below), self.NOTHING)
        self.assertEqual(self.outcomes(self.share(below, lend=True)), self.NOTHING)  # what it has not it cannot share


class Never(DaemonTest):
    """Without a rule that says so no descriptor of a network socket leaves the daemon."""

    def descriptors(self, wire):
        data, received, _, _ = socket.recv_fds(wire.sock, 1 << 20, 253)
        wire.buffer += data
        return received

    def check_never(self, wire, listener):
        for lend in (0, HELD, GIVEN, IF_ALLOWED):
            wire.token += 3
            wire.send(wire.open(wire.token - 2, 1), connect(wire.token - 1, 1, listener.getsockname(), lend))
            reply = wire.completion(wire.token - 1)
            self.assertEqual(reply.descriptors, 0)
            self.assertEqual(name_of(reply.error), "ACCESS_DENIED" if lend in (HELD, GIVEN) else "SUCCESS")
            wire.send(wire.make_close(wire.token, 1, abort=True))
            wire.completion(wire.token)
        self.assertFalse(wire.descriptors)

    def test_s68_not_with_allow_any(self):
        self.check_never(self.wire(), self.listener())

    def test_s68_not_with_a_rule_for_everything(self):
        with tempfile.NamedTemporaryFile("w", suffix=".policy") as file:
            file.write(policy("Allow=tcp * * +loopback +private +linklocal +local +special"))
            file.flush()
            os.chmod(file.name, 0o644)
            daemon = Daemon("--policy", file.name)
            try:
                wire = self.hold(Wire(daemon.path))
                wire.hello()
                self.check_never(wire, self.listener())
            finally:
                daemon.stop()


class Unread(Lending):

    def test_s68_a_client_that_fetches_all_is_not_refused(self):
        """Whatever is still to be sent of a batch: all of the batch before was fetched."""
        wire = self.hold(Wire(self.daemon.path))
        wire.hello(sockets=16, ops=64, queued_max=1 << 20)
        listener, op = self.serve(), 0
        for _ in range(8):
            for frame in (lambda op, n: wire.open(op, n), lambda op, n: connect(op, n, listener.getsockname(), GIVEN),
                          lambda op, n: wire.make_close(op, n)):
                wire.send(*(frame(op + n, n) for n in range(1, 6)))
                for n in range(1, 6):
                    self.assertEqual(name_of(wire.completion(op + n).error), "SUCCESS")
                op += 5
            for _ in range(5):
                os.close(wire.descriptors.popleft())
                self.accept(listener)

    def test_s68_a_client_that_fetches_late_is_not_refused(self):
        """There is always one descriptor on the way to it, and never more than two."""
        wire = self.hold(Wire(self.daemon.path))
        wire.hello(sockets=16, ops=64, queued_max=1 << 20)
        listener = self.serve()
        for n in range(40):
            number, op = 1 + n % 8, 10 * n + 1
            wire.send(wire.make_close(op, number), wire.open(op + 1, number),
                      connect(op + 2, number, listener.getsockname(), GIVEN))
            self.accept(listener)
            self.daemon.stats()  # its answer comes later than the turn that the descriptor has left in
            if n > 0:
                _, fds, _, _ = socket.recv_fds(wire.sock, 1 << 16, 4)  # a descriptor ends what one call takes
                self.assertEqual(len(fds), 1)
                os.close(fds[0])

    def small(self):
        wire = self.hold(Wire(self.daemon.path))
        return wire, wire.hello(sockets=16, ops=64, queued_max=1 << 20).sockets

    def plain(self, wire, number):
        """A connection by the daemon."""
        listener = self.serve()
        wire.send(wire.open(1, number), connect(2, number, listener.getsockname(), 0))
        self.assertEqual(name_of(wire.completion(2).error), "SUCCESS")
        return self.accept(listener)

    def test_s68_a_client_that_reads_other_things_late_is_not_refused(self):
        """It has fetched every descriptor, and not the bytes that another connection has received."""
        wire, sockets = self.small()
        listener, peer, op = self.serve(), self.plain(wire, 16), 100
        for _ in range(3):
            wire.send(*(frame for n in range(1, sockets)
                        for frame in (wire.open(op + n, n), connect(op + 100 + n, n, listener.getsockname(), GIVEN))))
            for n in range(1, sockets):
                self.assertEqual(name_of(wire.completion(op + 100 + n).error), "SUCCESS")
                os.close(wire.descriptors.popleft())
                self.accept(listener)
                wire.send(wire.make_close(op + 200 + n, n))
                wire.completion(op + 200 + n)
            done = self.record(self.daemon.control, 16)["bytes_in"]
            peer.sendall(bytes(20000))
            wire.send(wire.receive(op, 16, 20000, pb.RECEIVE_FLAG_WAIT_ALL))
            self.daemon.wait(lambda: self.record(self.daemon.control, 16)["bytes_in"] == done + 20000)
            op += 1000

    def fill(self, wire, sockets, listener):
        """As many descriptors as it may have sockets are on the way to it, and their ids are free."""
        for n in range(sockets):
            wire.send(wire.open(1000 + 10 * n, 1), connect(1001 + 10 * n, 1, listener.getsockname(), GIVEN))
            self.accept(listener)
            self.daemon.stats()  # its answer comes later than the turn that the descriptor has left in
            wire.send(wire.make_close(1002 + 10 * n, 1))

    def wait_state(self, number, state):
        def states():
            return [row["state"] for row in self.daemon.control.inspect(list=pb.List()) if row["socket"] == number]
        self.daemon.wait(lambda: states() == [state])

    def test_s68_a_client_that_fetches_nothing_gets_no_more_than_its_sockets(self):
        """Descriptors on the way count for all clients of the daemon together. What is one too many waits."""
        wire, sockets = self.small()
        listener = self.serve()
        self.fill(wire, sockets, listener)
        wire.send(wire.open(1, 1), connect(2, 1, listener.getsockname(), GIVEN))
        self.wait_state(1, "connecting")
        listener.settimeout(0.0)
        with self.assertRaises(BlockingIOError):
            listener.accept()  # not a packet has left
        listener.settimeout(DEADLINE)
        for n in range(sockets):
            self.assertEqual(wire.completion(1001 + 10 * n).descriptors, 1)
        self.assertEqual(len(wire.descriptors), sockets)
        self.assertEqual(wire.completion(2).descriptors, 1)
        self.accept(listener)

    def test_s68_others_do_not_wait_with_it(self):
        wire, sockets = self.small()
        listener, peer = self.serve(), self.plain(wire, 16)
        self.fill(wire, sockets, listener)
        wire.send(wire.open(3, 1), connect(4, 1, listener.getsockname(), HELD), wire.make_send(5, 16, b"goes"))
        self.assertEqual(peer.recv(16), b"goes")
        self.wait_state(1, "connecting")
        self.assertEqual(wire.completion(4).descriptors, 1)

    def test_s68_one_that_waits_can_end(self):
        """By its time, a cancel, a close, a restriction; those that waited behind it succeed."""
        wire, sockets = self.small()
        listener = self.serve()
        self.fill(wire, sockets, listener)
        address = listener.getsockname()
        wire.send(*(wire.open(n, n) for n in range(1, 6)), connect(11, 1, address, HELD, timeout_ms=1),
                  connect(12, 2, address, HELD), connect(13, 3, address, HELD), connect(14, 4, address, HELD),
                  connect(15, 5, address, IF_ALLOWED), wire.cancel(20, 2, 12), wire.make_close(21, 3))
        self.wait_state(1, "failed")
        self.wait_state(4, "connecting")
        restriction = policy("Allow=tcp 127.0.0.1 * +loopback").encode()
        wire.send(request(pb.VERB_RESTRICT, 22, payload=restriction, restriction=pb.Restrict()))
        self.assertEqual([name_of(wire.completion(op).error) for op in (11, 12, 13, 14)],
                         ["TIMED_OUT", "OPERATION_ABORTED", "OPERATION_ABORTED", "ACCESS_DENIED"])
        reply = wire.completion(15)
        self.assertEqual((name_of(reply.error), reply.descriptors), ("SUCCESS", 0))
        self.assertEqual(name_of(wire.completion(22).error), "SUCCESS")


if __name__ == "__main__":
    unittest.main()
