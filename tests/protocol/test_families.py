# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who reaches whom, of two families: sockets that are bound to an address of one of them, to all of it, or to both (S61 to S67).
The cases are those of dotnet/runtime's tests of dual mode."""

import socket
import unittest

from test_listen import Listening
from wire import endpoint, pb

FOUR, SIX, MAPPED = "127.0.0.1", "::1", "::ffff:127.0.0.1"
# Bound to, with which family and dual mode (None: as the socket comes), and who gets through.
BOUND = [
    (FOUR, pb.FAMILY_INET, None, {FOUR}),
    ("0.0.0.0", pb.FAMILY_INET, None, {FOUR}),
    (SIX, pb.FAMILY_INET6, 0, {SIX}),
    ("::", pb.FAMILY_INET6, 0, {SIX}),
    (SIX, pb.FAMILY_INET6, 1, {SIX}),
    ("::", pb.FAMILY_INET6, 1, {FOUR, SIX}),
    (MAPPED, pb.FAMILY_INET6, 1, {FOUR}),
    ("::", pb.FAMILY_UNSPECIFIED, None, {FOUR, SIX}),
    ("0.0.0.0", pb.FAMILY_UNSPECIFIED, None, {FOUR}),
]


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Families(Listening):

    def each(self, **fields):
        """A bound socket for each row: its number, its port, and who gets through."""
        for number, (host, family, dual, through) in enumerate(BOUND, 1):
            self.open(number, family=family, **fields)
            if dual is not None:
                self.assertEqual(self.set_option(number, pb.OPTION_DUAL_MODE, dual), "SUCCESS")
            reply, text = self.ask(self.client.bind, number, (host, 0))
            self.assertEqual(reply.error, pb.ERROR_SUCCESS, (host, text))
            yield number, reply.connected.local.port, through
            self.close(number)

    def test_s62_who_connects_to_whom(self):
        for number, port, through in self.each():
            self.assertEqual(self.error(self.client.listen, number), "SUCCESS")
            for host in (FOUR, SIX):
                peer = self.hold(socket.socket(family_of(host)))
                peer.settimeout(30)
                if host not in through:
                    self.assertRaises(ConnectionRefusedError, peer.connect, (host, port))
                    continue
                peer.connect((host, port))
                reply, _ = self.ask(self.client.accept, number, 100 + number)
                self.assertEqual(reply.error, pb.ERROR_SUCCESS)
                self.assertEqual(self.address(reply.connected.remote)[1], peer.getsockname()[1])
                self.close(100 + number)

    def test_s65_who_hears_whom(self):
        for number, port, through in self.each(type=pb.SOCKET_TYPE_DATAGRAM):
            for host in (FOUR, SIX):
                peer = self.hold(socket.socket(family_of(host), socket.SOCK_DGRAM))
                peer.settimeout(30)
                peer.connect((host, port))
                peer.send(host.encode())
                if host not in through:
                    self.assertRaises(ConnectionRefusedError, peer.recv, 1)
                    continue
                reply, data = self.ask(self.client.receive, number, 100)
                self.assertEqual(data.decode(), host)
                self.assertEqual(reply.datagram.remote.port, peer.getsockname()[1])
                self.assertEqual(self.error(self.client.make_send, number, b"back", endpoint=reply.datagram.remote), "SUCCESS")
                self.assertEqual(peer.recv(10), b"back")

    def test_s64_a_dual_socket_sends_to_both(self):
        for number, (family, dual, results) in enumerate([
                (pb.FAMILY_INET, None, ["SUCCESS", "ADDRESS_FAMILY_NOT_SUPPORTED", "ADDRESS_FAMILY_NOT_SUPPORTED"]),
                (pb.FAMILY_INET6, 1, ["ADDRESS_FAMILY_NOT_SUPPORTED", "SUCCESS", "SUCCESS"]),
                (pb.FAMILY_INET6, 0, ["ADDRESS_FAMILY_NOT_SUPPORTED", "SUCCESS", "NETWORK_UNREACHABLE"]),
        ], 1):
            with self.subTest(family=family, dual=dual):
                self.open(number, family=family, type=pb.SOCKET_TYPE_DATAGRAM)
                if dual is not None:
                    self.assertEqual(self.set_option(number, pb.OPTION_DUAL_MODE, dual), "SUCCESS")
                for host, wanted in zip((FOUR, SIX, MAPPED), results):
                    peer = self.hold(socket.socket(family_of(host if host != MAPPED else FOUR), socket.SOCK_DGRAM))
                    peer.settimeout(30)
                    peer.bind((host if host != MAPPED else FOUR, 0))
                    to = endpoint((host, peer.getsockname()[1]))
                    self.assertEqual(self.error(self.client.make_send, number, b"hello", endpoint=to), wanted, host)
                    if wanted == "SUCCESS":
                        self.assertEqual(peer.recv(10), b"hello")

    def test_s15_who_can_connect(self):
        listeners = {host: self.hold(socket.create_server((host, 0), family=family_of(host))) for host in (FOUR, SIX)}
        number = 0
        for family, results in [
                (pb.FAMILY_INET, ["SUCCESS", "ADDRESS_FAMILY_NOT_SUPPORTED", "ADDRESS_FAMILY_NOT_SUPPORTED"]),
                (pb.FAMILY_INET6, ["ADDRESS_FAMILY_NOT_SUPPORTED", "SUCCESS", "SUCCESS"]),
                (pb.FAMILY_UNSPECIFIED, ["SUCCESS", "SUCCESS", "SUCCESS"]),
        ]:
            for host, wanted in zip((FOUR, SIX, MAPPED), results):
                with self.subTest(family=family, host=host):
                    number += 1
                    port = listeners[SIX if host == SIX else FOUR].getsockname()[1]
                    self.open(number, family=family)
                    self.assertEqual(self.error(self.client.connect, number, (host, port)), wanted)


class FirstSend(Listening):

    def local(self):
        row, = self.client.inspect(list=pb.List())
        return row["local"]

    def test_s67_a_send_binds_a_denied_one_does_not(self):
        """.NET's SendTo: a local address comes with the first datagram that goes."""
        peer = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        peer.settimeout(30)
        peer.bind((FOUR, 0))
        self.open(1, type=pb.SOCKET_TYPE_DATAGRAM)
        send = self.client.make_send
        self.assertEqual(self.error(send, 1, b"x", endpoint=endpoint(("255.255.255.255", 9))), "ACCESS_DENIED")
        self.assertEqual(self.local(), "")
        self.assertEqual(self.error(send, 1, b"x", endpoint=endpoint(peer.getsockname())), "SUCCESS")
        self.assertEqual(self.local().rsplit(":", 1)[1], str(peer.recvfrom(10)[1][1]))


if __name__ == "__main__":
    unittest.main()
