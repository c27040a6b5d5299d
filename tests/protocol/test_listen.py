# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sockets with a local address of the client's, and those that connect to them: BIND (S61), LISTEN and ACCEPT (S62)."""

import socket
import struct
import unittest

from asockd import DaemonTest
from wire import DEADLINE, pb, request

LOOPBACK = ("127.0.0.1", 0)


class Listening(DaemonTest):

    def setUp(self):
        super().setUp()
        self.client = self.wire()
        self.op = 100

    def ask(self, make, *arguments, **fields):
        """Completion and text of a request."""
        self.op += 1
        self.client.send(make(self.op, *arguments, **fields))
        return self.client.whole(self.op)

    def error(self, make, *arguments, **fields):
        return pb.Error.Name(self.ask(make, *arguments, **fields)[0].error).removeprefix("ERROR_")

    def open(self, number=1, **fields):
        self.assertEqual(self.error(self.client.open, number, **fields), "SUCCESS")

    def close(self, number=1, **fields):
        self.assertEqual(self.error(self.client.make_close, number, **fields), "SUCCESS")

    def bound(self, number=1, address=LOOPBACK, **fields):
        """A socket that is bound; where to."""
        self.open(number, **fields)
        reply, text = self.ask(self.client.bind, number, address)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS, text)
        self.assertFalse(reply.connected.HasField("remote"))
        return self.address(reply.connected.local)

    @staticmethod
    def address(endpoint):
        family = socket.AF_INET6 if len(endpoint.address) == 16 else socket.AF_INET
        return socket.inet_ntop(family, endpoint.address), endpoint.port

    def listening(self, number=1, backlog=0, **fields):
        """A listener; where it can be reached."""
        where = self.bound(number, **fields)
        self.assertEqual(self.error(self.client.listen, number, backlog), "SUCCESS")
        return where

    def dial(self, where):
        peer = self.hold(socket.create_connection(where, DEADLINE))
        peer.settimeout(DEADLINE)
        return peer

    def pending(self, *ops):
        """They have not completed, though the daemon has had a turn and more."""
        for _ in range(3):
            self.client.settle()
        self.assertFalse([reply for reply, _ in self.client.kept if reply.op in ops])

    def reply(self, op):
        """The next one, of however many."""
        return self.client.take(lambda r: r.kind == pb.KIND_COMPLETION and r.op == op)

    def set_option(self, number, option, value):
        return self.error(lambda op: request(
            pb.VERB_SET_OPTION, op, number,
            set_option=pb.SetOption(option=option, value=pb.OptionValue(number=value))))

    def option(self, number, option):
        reply, _ = self.ask(lambda op: request(pb.VERB_GET_OPTION, op, number,
                                               get_option=pb.GetOption(option=option)))
        return reply.value.number if not reply.error else pb.Error.Name(reply.error).removeprefix("ERROR_")


class Bind(Listening):

    def test_s61_port_0_tells_the_one_that_was_given(self):
        host, port = self.bound()
        self.assertEqual(host, "127.0.0.1")
        self.assertGreater(port, 0)
        with socket.socket() as other, self.assertRaises(OSError):
            other.bind((host, port))
        reply, _ = self.ask(lambda op: request(pb.VERB_GET_OPTION, op, 1, get_option=pb.GetOption(
            option=pb.OPTION_LOCAL_ENDPOINT)))
        self.assertEqual(self.address(reply.value.endpoint), (host, port))
        self.close()
        with socket.socket() as other:
            other.bind((host, port))

    def test_s61_the_port_that_was_asked_for(self):
        with socket.socket() as other:
            other.bind(LOOPBACK)
            where = other.getsockname()
            self.open()
            self.assertEqual(self.error(self.client.bind, 1, where), "ADDRESS_ALREADY_IN_USE")
        reply, _ = self.ask(self.client.bind, 1, where)
        self.assertEqual(self.address(reply.connected.local), where)

    def test_s61_what_is_no_address_of_the_socket(self):
        self.open(1, family=pb.FAMILY_INET)
        self.open(2, family=pb.FAMILY_INET6)
        for number, address, error in ((1, ("::1", 0), "ADDRESS_FAMILY_NOT_SUPPORTED"),
                                       (2, LOOPBACK, "ADDRESS_FAMILY_NOT_SUPPORTED"),
                                       (1, ("192.0.2.77", 0), "ADDRESS_NOT_AVAILABLE"),
                                       (1, ("224.0.0.1", 0), "ACCESS_DENIED"),
                                       (9, LOOPBACK, "NOT_SOCKET")):
            self.assertEqual(self.error(self.client.bind, number, address), error, address)
        for endpoint in (None, pb.Endpoint(), pb.Endpoint(address=b"123", port=1),
                         pb.Endpoint(address=b"\x7f\0\0\1", port=65536)):
            self.assertEqual(self.error(lambda op, e=endpoint: request(
                pb.VERB_BIND, op, 1, bind=pb.Bind(endpoint=e))), "INVALID_ARGUMENT")
        self.assertEqual(self.error(self.client.bind, 1, LOOPBACK), "SUCCESS")

    def test_s61_a_bound_socket_is_not_connected(self):
        where = self.bound()
        self.assertEqual(self.error(self.client.bind, 1, LOOPBACK), "INVALID_ARGUMENT")
        self.assertEqual(self.error(self.client.connect, 1, where), "OPERATION_NOT_SUPPORTED")
        for make, arguments in ((self.client.make_send, (b"x",)), (self.client.receive, (10,)),
                                (self.client.shutdown, (pb.HOW_BOTH,)), (self.client.hangup, ())):
            self.assertEqual(self.error(make, 1, *arguments), "NOT_CONNECTED")
        for option in (pb.OPTION_REMOTE_ENDPOINT, pb.OPTION_TCP_INFO):
            self.assertEqual(self.option(1, option), "NOT_CONNECTED")
        self.close(linger_ms=1000)

    def test_s61_a_socket_that_was_asked_to_connect(self):
        self.pair(self.client, 1)
        self.assertEqual(self.error(self.client.bind, 1, LOOPBACK), "INVALID_ARGUMENT")
        closed = self.listener()
        where = closed.getsockname()
        closed.close()
        self.open(2)
        self.assertEqual(self.error(self.client.connect, 2, where), "CONNECTION_REFUSED")
        self.assertEqual(self.error(self.client.bind, 2, LOOPBACK), "OPERATION_ABORTED")

    def test_s61_options_hold_for_what_is_bound(self):
        self.open()
        self.assertEqual(self.set_option(1, pb.OPTION_REUSE_ADDRESS, 0), "SUCCESS")
        self.assertEqual(self.set_option(1, pb.OPTION_KEEP_ALIVE, 1), "SUCCESS")
        self.assertEqual(self.error(self.client.bind, 1, LOOPBACK), "SUCCESS")
        self.assertEqual((self.option(1, pb.OPTION_REUSE_ADDRESS), self.option(1, pb.OPTION_KEEP_ALIVE)), (0, 1))
        self.bound(2)
        self.assertEqual(self.option(2, pb.OPTION_REUSE_ADDRESS), 1)
        self.assertEqual(self.set_option(2, pb.OPTION_KEEP_ALIVE, 1), "SUCCESS")
        self.assertEqual(self.option(2, pb.OPTION_KEEP_ALIVE), 1)

    def test_s61_dual_mode(self):
        """On where the socket has no family, off where it is IPv6, and there is none of IPv4."""
        for kind in (pb.SOCKET_TYPE_STREAM, pb.SOCKET_TYPE_DATAGRAM):
            self.open(1, type=kind)
            self.open(2, type=kind, family=pb.FAMILY_INET6)
            self.open(3, type=kind, family=pb.FAMILY_INET)
            self.assertEqual([self.option(n, pb.OPTION_DUAL_MODE) for n in (1, 2, 3)], [1, 0, "PROTOCOL_OPTION"])
            self.assertEqual(self.set_option(3, pb.OPTION_DUAL_MODE, 1), "PROTOCOL_OPTION")
            self.assertEqual(self.set_option(2, pb.OPTION_DUAL_MODE, 2), "INVALID_ARGUMENT")
            for value in (1, 0, 1):
                self.assertEqual(self.set_option(2, pb.OPTION_DUAL_MODE, value), "SUCCESS")
                self.assertEqual(self.option(2, pb.OPTION_DUAL_MODE), value)
            for number in (1, 2):
                self.assertEqual(self.error(self.client.bind, number, ("::", 0)), "SUCCESS")
                self.assertEqual(self.option(number, pb.OPTION_DUAL_MODE), 1)
            self.bound(4, ("::", 0), type=kind, family=pb.FAMILY_INET6)
            # What is bound stays as it is.
            self.assertEqual(self.set_option(4, pb.OPTION_DUAL_MODE, 1), "INVALID_ARGUMENT")
            self.assertEqual(self.option(4, pb.OPTION_DUAL_MODE), 0)
            for number in range(1, 5):
                self.close(number)

    def test_s61_it_is_shown(self):
        host, port = self.bound()
        row = self.client.inspect(list=pb.List())[0]
        self.assertEqual((row["state"], row["local"], row["remote"], row["denied"]),
                         ("bound", f"{host}:{port}", "", 0))

    def test_s61_a_restriction_ends_what_it_does_not_allow(self):
        _, port = self.bound()
        self.bound(2)
        rules = f"[Rules]\nListen=tcp 127.0.0.1 {port}\nAllow=tcp * *\n".encode()
        self.assertEqual(self.error(lambda op: request(
            pb.VERB_RESTRICT, op, payload=rules, restriction=pb.Restrict())), "SUCCESS")
        rows = {row["socket"]: row["state"] for row in self.client.inspect(list=pb.List())}
        # The first was given its port by the kernel, for which there is no rule any more either.
        self.assertEqual(rows, {1: "failed", 2: "failed"})
        self.open(3)
        self.assertEqual(self.error(self.client.bind, 3, LOOPBACK), "ACCESS_DENIED")
        self.assertEqual(self.error(self.client.bind, 3, ("127.0.0.1", port)), "SUCCESS")

    def test_s61_what_a_restriction_ends_holds_no_buffers(self):
        """Set before, and charged: given back, and charged again by the connect behind it."""
        def kernel_buffers():
            return next(word for word in self.daemon.stats()["quota_daemon"].split() if word.startswith("kernel_buffers="))
        before = kernel_buffers()
        self.bound()
        value = pb.OptionValue(number=100000)
        self.assertEqual(self.error(lambda op: request(pb.VERB_SET_OPTION, op, 1, set_option=pb.SetOption(
            option=pb.OPTION_SEND_BUFFER, value=value))), "SUCCESS")
        self.assertNotEqual(kernel_buffers(), before)
        rules = b"[Rules]\nAllow=tcp 127.0.0.1 *\n"
        self.assertEqual(self.error(lambda op: request(pb.VERB_RESTRICT, op, payload=rules, restriction=pb.Restrict())),
                         "SUCCESS")
        self.assertEqual(kernel_buffers(), before)
        listener = self.listener()
        self.assertEqual(self.error(self.client.connect, 1, listener.getsockname()), "SUCCESS")
        self.close(abort=True)
        self.assertEqual(kernel_buffers(), before)

    def test_s56_a_bound_socket_does_not_begin_to_listen_behind_it(self):
        """The first request may be read before the restriction has judged the socket again, or behind it, on a slow machine."""
        where = self.bound()
        self.client.send(request(pb.VERB_RESTRICT, 90, payload=b"[Rules]\nListen=tcp 127.0.0.2 *\n",
                                 restriction=pb.Restrict()), self.client.listen(91, 1), self.client.listen(92, 1))
        self.assertEqual(self.client.completion(90).error, pb.ERROR_SUCCESS)
        reply, text = self.client.whole(91)
        self.assertIn((reply.error, text), (
            (pb.ERROR_ACCESS_DENIED, b"no rule of this session's restriction allows this client to listen there"),
            (pb.ERROR_OPERATION_ABORTED, b"")))
        self.assertEqual(self.client.completion(92).error, pb.ERROR_OPERATION_ABORTED)
        with self.assertRaises(ConnectionRefusedError):
            self.dial(where)

    def test_s61_a_restriction_without_a_word_on_it_allows_none(self):
        self.assertEqual(self.error(lambda op: request(
            pb.VERB_RESTRICT, op, payload=b"[Rules]\nAllow=tcp * *\n", restriction=pb.Restrict())), "SUCCESS")
        self.open()
        reply, text = self.ask(self.client.bind, 1, LOOPBACK)
        self.assertEqual((reply.error, text),
                         (pb.ERROR_ACCESS_DENIED, b"no rule of this session's restriction allows this client to listen there"))

    def test_s61_the_end_of_the_session(self):
        """Nothing of it stays: tearDown looks."""
        self.bound()
        self.held.remove(self.client)
        self.client.close()

    def test_s61_killed(self):
        self.bound()
        row = self.client.inspect(list=pb.List())[0]
        self.daemon.control.send(request(pb.VERB_KILL, 7, kill=pb.Kill(id=row["id"])))
        self.assertEqual(self.daemon.control.completion(7).error, pb.ERROR_SUCCESS)
        self.client.take(lambda r: r.event.code == pb.EVENT_KILLED)
        self.assertEqual(self.error(self.client.bind, 1, LOOPBACK), "CONNECTION_ABORTED")
        self.close()


class Accept(Listening):

    def test_s62_buffers_are_set_before_it_listens(self):
        """Connections that wait have the sizes of when they came, whatever is said later."""
        self.listening()
        for option in (pb.OPTION_SEND_BUFFER, pb.OPTION_RECEIVE_BUFFER):
            self.assertEqual(self.error(lambda op, o=option: request(pb.VERB_SET_OPTION, op, 1, set_option=pb.SetOption(
                option=o, value=pb.OptionValue(number=1)))), "INVALID_ARGUMENT")

    def serve(self, number, peer):
        """An ordinary connection, both ways and to its end."""
        peer.sendall(b"ping")
        self.op += 1
        self.client.send(self.client.receive(self.op, number, 100))
        self.assertEqual(self.client.whole(self.op)[1], b"ping")
        self.assertEqual(self.error(self.client.make_send, number, b"pong"), "SUCCESS")
        self.assertEqual(self.read_all(peer, 4), b"pong")
        self.close(number)
        self.assertEqual(peer.recv(1), b"")

    def test_s62_a_connection_becomes_a_socket(self):
        where = self.listening()
        self.client.send(self.client.accept(50, 1, 7))
        self.pending(50)
        peer = self.dial(where)
        reply = self.client.completion(50)
        self.assertEqual((reply.error, reply.socket, reply.connected.socket), (0, 1, 7))
        self.assertEqual(self.address(reply.connected.local), where)
        self.assertEqual(self.address(reply.connected.remote), peer.getsockname())
        rows = {row["socket"]: row for row in self.client.inspect(list=pb.List())}
        self.assertEqual([rows[n]["state"] for n in (1, 7)], ["listening", "connected"])
        self.serve(7, peer)

    def test_s62_one_that_came_before(self):
        where = self.listening()
        peer = self.dial(where)
        reply, _ = self.ask(self.client.accept, 1, 2)
        self.assertEqual((reply.error, reply.connected.socket), (0, 2))
        self.serve(2, peer)

    def test_s62_several_pending_are_served_in_order(self):
        where = self.listening()
        self.client.send(*(self.client.accept(50 + n, 1, 10 - n) for n in range(3)))
        peers = [self.dial(where) for _ in range(3)]
        for n, peer in enumerate(peers):
            reply = self.client.completion(50 + n)
            self.assertEqual((reply.connected.socket, self.address(reply.connected.remote)),
                             (10 - n, peer.getsockname()))
        for n, peer in enumerate(peers):
            self.serve(10 - n, peer)

    def test_s62_a_range_of_ids(self):
        """Many completions with one request; the last one says so, and another range is behind it."""
        where = self.listening()
        self.client.send(self.client.accept(50, 1, 5, 3), self.client.accept(51, 1, 9, 2))
        peers = [self.dial(where) for _ in range(4)]
        for n, op, flags in ((5, 50, pb.REPLY_FLAG_MORE), (6, 50, pb.REPLY_FLAG_MORE), (7, 50, 0),
                             (9, 51, pb.REPLY_FLAG_MORE)):
            reply, _ = self.reply(op)
            self.assertEqual((reply.error, reply.flags, reply.connected.socket), (0, flags, n))
        self.assertEqual(self.error(self.client.cancel, 1, 51), "SUCCESS")
        reply = self.client.completion(51)
        self.assertEqual((reply.error, reply.connected.socket), (pb.ERROR_OPERATION_ABORTED, 0))
        for n, peer in zip((5, 6, 7, 9), peers):
            self.serve(n, peer)
        self.open(10)  # it was kept for the range, and is free

    def test_s62_ids_of_an_accept_are_taken(self):
        for make, *arguments in ((self.client.open, 6), (self.client.accept, 1, 6), (self.client.accept, 1, 1),
                                 (self.client.accept, 1, 2, 4)):
            with self.subTest(make=make.__name__, arguments=arguments):
                self.listening()
                self.client.send(self.client.accept(50, 1, 5, 2), make(60, *arguments))
                self.assertEqual(self.client.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)
                self.client = self.wire()

    def test_s62_nothing_reaches_an_id_before_its_connection(self):
        self.listening()
        self.client.send(self.client.accept(50, 1, 5))
        self.assertEqual(self.error(self.client.receive, 5, 10), "NOT_SOCKET")
        self.assertEqual(self.error(self.client.make_close, 5), "NOT_SOCKET")

    def test_s62_ids_out_of_range(self):
        self.listening()
        most = self.client.welcome.sockets
        for first, count, error in ((0, 1, "TOO_MANY_OPEN_SOCKETS"), (most + 1, 1, "TOO_MANY_OPEN_SOCKETS"),
                                    (most, 2, "TOO_MANY_OPEN_SOCKETS"), (0xffffffff, 2, "TOO_MANY_OPEN_SOCKETS"),
                                    (2, 1025, "INVALID_ARGUMENT"), (2, 0xffffffff, "INVALID_ARGUMENT")):
            self.assertEqual(self.error(self.client.accept, 1, first, count), error, (first, count))

    def test_s62_only_a_listener_accepts(self):
        self.open(1)
        self.assertEqual(self.error(self.client.listen, 1), "INVALID_ARGUMENT")
        self.assertEqual(self.error(self.client.accept, 1, 5), "INVALID_ARGUMENT")
        self.bound(2)
        self.assertEqual(self.error(self.client.accept, 2, 5), "INVALID_ARGUMENT")
        self.pair(self.client, 3)
        self.assertEqual(self.error(self.client.listen, 3), "INVALID_ARGUMENT")
        self.assertEqual(self.error(self.client.accept, 3, 5), "INVALID_ARGUMENT")
        where = self.listening(4)
        self.assertEqual(self.error(self.client.bind, 4, LOOPBACK), "INVALID_ARGUMENT")
        self.assertEqual(self.error(self.client.connect, 4, where), "OPERATION_NOT_SUPPORTED")
        self.assertEqual(self.error(self.client.receive, 4, 1), "NOT_CONNECTED")

    def test_s62_close_ends_what_is_pending(self):
        where = self.listening()
        self.client.send(self.client.accept(50, 1, 5), self.client.accept(51, 1, 6, 3))
        self.client.settle()
        self.close(1, linger_ms=1000)
        for op in (50, 51):
            self.assertEqual(self.client.completion(op).error, pb.ERROR_OPERATION_ABORTED)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(where)
        for number in (5, 6, 7, 8):
            self.open(number)

    def test_s62_deadline_and_cancel(self):
        where = self.listening()
        self.client.send(self.client.accept(50, 1, 5, timeout_ms=1), self.client.accept(51, 1, 6),
                         self.client.accept(52, 1, 7))
        self.assertEqual(self.client.completion(50).error, pb.ERROR_TIMED_OUT)
        self.assertEqual(self.error(self.client.cancel, 1, 51), "SUCCESS")
        self.assertEqual(self.client.completion(51).error, pb.ERROR_OPERATION_ABORTED)
        peer = self.dial(where)
        self.assertEqual(self.client.completion(52).connected.socket, 7)
        self.serve(7, peer)

    def test_s62_what_nobody_takes_costs_no_descriptor(self):
        where = self.listening(backlog=16)
        before = self.daemon.stats()
        peers = [self.dial(where) for _ in range(10)]
        self.client.settle()
        self.assertEqual(self.daemon.stats()["sockets"], before["sockets"])
        self.close()
        for peer in peers:
            self.reset_by(peer)

    def test_s62_the_backlog_is_charged(self):
        self.bound()
        used = lambda: self.client.inspect(show=pb.Show(id=self.client.inspect(list=pb.List())[0]["id"]))[0]
        before = used()["kernel_buffers"]
        self.assertEqual(self.error(self.client.listen, 1, 10), "SUCCESS")
        one = (used()["kernel_buffers"] - before) / 10
        self.assertGreaterEqual(one, 4096)
        for asked, backlog in ((20, 20), (5, 5), (0, 128), (0xffffffff, 256)):
            self.assertEqual(self.error(self.client.listen, 1, asked), "SUCCESS")
            row = used()
            self.assertEqual((row["backlog"], row["kernel_buffers"] - before), (backlog, backlog * one))

    def test_s62_accepted_sockets_have_the_options_of_the_listener(self):
        self.open()
        for option, value in ((pb.OPTION_NO_DELAY, 0), (pb.OPTION_KEEP_ALIVE, 1), (pb.OPTION_SEND_BUFFER, 10000),
                              (pb.OPTION_LINGER, 5000), (pb.OPTION_RECEIVE_BUFFER, 12000)):
            self.assertEqual(self.set_option(1, option, value), "SUCCESS")
        reply, _ = self.ask(self.client.bind, 1, LOOPBACK)
        where = self.address(reply.connected.local)
        self.assertEqual(self.error(self.client.listen, 1), "SUCCESS")
        self.assertEqual(self.set_option(1, pb.OPTION_RECEIVE_BUFFER, 9000), "INVALID_ARGUMENT")
        peer = self.dial(where)
        self.assertEqual(self.error(self.client.accept, 1, 2), "SUCCESS")
        self.assertEqual([self.option(2, option) for option in (
            pb.OPTION_NO_DELAY, pb.OPTION_KEEP_ALIVE, pb.OPTION_SEND_BUFFER, pb.OPTION_LINGER,
            pb.OPTION_RECEIVE_BUFFER)], [0, 1, 20000, 5000, 24000])
        self.serve(2, peer)

    def test_s62_options_that_were_set_while_a_connection_waited(self):
        options = {pb.OPTION_NO_DELAY: 0, pb.OPTION_KEEP_ALIVE: 1, pb.OPTION_KEEP_ALIVE_TIME: 77,
                   pb.OPTION_USER_TIMEOUT: 4321, pb.OPTION_LINGER: 300}
        where = self.listening()
        peers = [self.dial(where)]
        for option, value in options.items():
            self.assertEqual(self.set_option(1, option, value), "SUCCESS")
        peers.append(self.dial(where))
        for number, peer in enumerate(peers, 2):
            self.assertEqual(self.error(self.client.accept, 1, number), "SUCCESS")
            self.assertEqual({option: self.option(number, option) for option in options}, options)
            self.serve(number, peer)

    def test_s62_dual_mode_takes_both_families(self):
        _, port = self.bound(1, ("::", 0))
        self.assertEqual(self.error(self.client.listen, 1), "SUCCESS")
        for number, host in ((2, "127.0.0.1"), (3, "::1")):
            peer = self.dial((host, port))
            reply, _ = self.ask(self.client.accept, 1, number)
            self.assertEqual(len(reply.connected.remote.address), 16)
            self.serve(number, peer)

    def test_s62_a_hundred_with_one_request(self):
        where = self.listening(backlog=128)
        peers = [self.dial(where) for _ in range(100)]
        self.client.send(self.client.accept(50, 1, 5, 100))
        self.assertEqual([self.reply(50)[0].connected.socket for _ in peers], list(range(5, 105)))

    def test_s62_a_mapped_address_in_dual_mode(self):
        """An IPv6 socket at an IPv4 address: in dual mode alone."""
        self.open(1, family=pb.FAMILY_INET6)
        self.assertEqual(self.set_option(1, pb.OPTION_DUAL_MODE, 1), "SUCCESS")
        reply, text = self.ask(self.client.bind, 1, ("::ffff:127.0.0.1", 0))
        self.assertEqual(reply.error, pb.ERROR_SUCCESS, text)
        self.assertEqual(self.error(self.client.listen, 1), "SUCCESS")
        self.dial(("127.0.0.1", reply.connected.local.port))
        self.assertEqual(self.error(self.client.accept, 1, 2), "SUCCESS")
        self.assertEqual(self.set_option(1, pb.OPTION_DUAL_MODE, 0), "INVALID_ARGUMENT")
        self.open(3, family=pb.FAMILY_INET6)
        self.assertEqual(self.error(self.client.bind, 3, ("::ffff:127.0.0.1", 0)), "INVALID_ARGUMENT")

    def test_s62_one_that_was_reset_while_it_waited(self):
        where = self.listening()
        peer = self.dial(where)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        second = self.dial(where)
        self.client.send(self.client.accept(50, 1, 5, 2))
        self.assertEqual(self.reply(50)[0].error, pb.ERROR_SUCCESS)
        self.assertEqual(self.error(self.client.receive, 5, 1), "CONNECTION_RESET")
        self.assertEqual(self.address(self.reply(50)[0].connected.remote), second.getsockname())

    def test_s62_it_is_shown_and_ends_with_its_session(self):
        where = self.listening()
        self.dial(where)
        self.assertEqual(self.error(self.client.accept, 1, 2), "SUCCESS")
        self.client.send(self.client.accept(50, 1, 3, 4))
        row = self.client.inspect(show=pb.Show(id=self.client.inspect(list=pb.List())[0]["id"]))[0]
        self.assertEqual((row["state"], row["backlog"], row["accepts_pending"], row["accepted"], row["refused"]),
                         ("listening", 128, 1, 1, 0))
        self.held.remove(self.client)
        self.client.close()

    def test_an_accept_that_waits_has_opened_nothing(self):
        where = self.listening()
        before = self.daemon.stats()["sockets_total"]
        self.client.send(self.client.accept(50, 1, 3))
        self.pending(50)
        self.assertEqual(self.daemon.stats()["sockets_total"], before)
        self.dial(where)
        self.assertEqual(self.client.completion(50).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.daemon.stats()["sockets_total"], before + 1)

    def test_s62_killed(self):
        self.listening()
        self.client.send(self.client.accept(50, 1, 3, 4))
        self.client.settle()
        self.assertNotIn(" kernel_buffers=0/", " " + self.daemon.stats()["quota_daemon"])
        row = self.client.inspect(list=pb.List())[0]
        self.daemon.control.send(request(pb.VERB_KILL, 7, kill=pb.Kill(id=row["id"])))
        self.assertEqual(self.daemon.control.completion(7).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.client.completion(50).error, pb.ERROR_CONNECTION_ABORTED)
        self.assertEqual(self.error(self.client.accept, 1, 3), "CONNECTION_ABORTED")
        self.assertIn(" kernel_buffers=0/", " " + self.daemon.stats()["quota_daemon"])

    def test_s62_a_restriction_ends_what_is_pending(self):
        self.listening()
        self.client.send(self.client.accept(50, 1, 3, 4))
        self.assertEqual(self.error(lambda op: request(
            pb.VERB_RESTRICT, op, payload=b"[Rules]\nAllow=tcp * *\n", restriction=pb.Restrict())), "SUCCESS")
        self.assertEqual(self.client.completion(50).error, pb.ERROR_ACCESS_DENIED)
        self.assertEqual(self.error(self.client.accept, 1, 3), "OPERATION_ABORTED")
        self.open(3)


if __name__ == "__main__":
    unittest.main()
