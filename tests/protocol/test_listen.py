# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sockets with a local address of the client's: BIND (S61)."""

import socket
import unittest

from asockd import DaemonTest
from wire import pb, request

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
        self.open(1)
        self.open(2, family=pb.FAMILY_INET6)
        self.open(3, family=pb.FAMILY_INET)
        self.assertEqual([self.option(n, pb.OPTION_DUAL_MODE) for n in (1, 2, 3)], [1, 0, "PROTOCOL_OPTION"])
        self.assertEqual(self.set_option(3, pb.OPTION_DUAL_MODE, 1), "PROTOCOL_OPTION")
        self.assertEqual(self.set_option(2, pb.OPTION_DUAL_MODE, 2), "INVALID_ARGUMENT")
        self.assertEqual(self.set_option(2, pb.OPTION_DUAL_MODE, 1), "SUCCESS")
        self.assertEqual(self.option(2, pb.OPTION_DUAL_MODE), 1)
        for number in (1, 2):
            self.assertEqual(self.error(self.client.bind, number, ("::", 0)), "SUCCESS")
            self.assertEqual(self.option(number, pb.OPTION_DUAL_MODE), 1)
        self.bound(4, ("::", 0), family=pb.FAMILY_INET6)
        self.assertEqual(self.option(4, pb.OPTION_DUAL_MODE), 0)

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

    def test_s61_a_restriction_without_a_word_on_it_allows_none(self):
        self.assertEqual(self.error(lambda op: request(
            pb.VERB_RESTRICT, op, payload=b"[Rules]\nAllow=tcp * *\n", restriction=pb.Restrict())), "SUCCESS")
        self.open()
        reply, text = self.ask(self.client.bind, 1, LOOPBACK)
        self.assertEqual((reply.error, text),
                         (pb.ERROR_ACCESS_DENIED, b"no rule of this session's restriction lets it listen there"))

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


if __name__ == "__main__":
    unittest.main()
