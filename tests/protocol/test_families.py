# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who reaches whom, of two families: sockets that are bound to an address of one of them, to all of it, or to both (S61 to S67).
The cases are those of dotnet/runtime's tests of dual mode."""

import socket
import unittest

from test_listen import Listening
from wire import endpoint, pb, request

FOUR, SIX, MAPPED = "127.0.0.1", "::1", "::ffff:127.0.0.1"
ALL_MAPPED = "::ffff:0.0.0.0"
# Bound to, with which family and dual mode (None: as the socket comes), and who gets through.
BOUND = [
    (FOUR, pb.FAMILY_INET, None, {FOUR}),
    ("0.0.0.0", pb.FAMILY_INET, None, {FOUR}),
    (SIX, pb.FAMILY_INET6, 0, {SIX}),
    ("::", pb.FAMILY_INET6, 0, {SIX}),
    (SIX, pb.FAMILY_INET6, 1, {SIX}),
    ("::", pb.FAMILY_INET6, 1, {FOUR, SIX}),
    (MAPPED, pb.FAMILY_INET6, 1, {FOUR}),
    (FOUR, pb.FAMILY_UNSPECIFIED, None, {FOUR}),
    ("0.0.0.0", pb.FAMILY_UNSPECIFIED, None, {FOUR}),
    (SIX, pb.FAMILY_UNSPECIFIED, None, {SIX}),
    ("::", pb.FAMILY_UNSPECIFIED, None, {FOUR, SIX}),
    ("::", pb.FAMILY_UNSPECIFIED, 0, {SIX}),
    (MAPPED, pb.FAMILY_UNSPECIFIED, None, {FOUR}),
    (ALL_MAPPED, pb.FAMILY_UNSPECIFIED, None, {FOUR}),
]
# What a peer's socket is bound to, whether that is dual mode, and who gets through.
PEERS = [
    (FOUR, False, {FOUR, MAPPED}),
    (SIX, False, {SIX}),
    ("::", False, {SIX}),
    ("::", True, {FOUR, SIX, MAPPED}),
]
# Family and dual mode of a socket of ours, and what comes of an address, unless it is the peer that refuses. Without a family a
# socket has that of its address; dual mode is what an IPv6 one may do beyond.
WRONG, NO_ROUTE = "ADDRESS_FAMILY_NOT_SUPPORTED", "NETWORK_UNREACHABLE"
KINDS = [
    (pb.FAMILY_INET, None, {SIX: WRONG, MAPPED: WRONG}),
    (pb.FAMILY_INET6, None, {FOUR: WRONG}),
    (pb.FAMILY_INET6, 0, {FOUR: WRONG, MAPPED: NO_ROUTE}),
    (pb.FAMILY_INET6, 1, {FOUR: WRONG}),
    (pb.FAMILY_UNSPECIFIED, None, {}),
    (pb.FAMILY_UNSPECIFIED, 0, {MAPPED: NO_ROUTE}),
]
# Lists of addresses to connect to: of one family, and of both.
LISTS = [[FOUR], [MAPPED], [SIX], [FOUR, SIX], [SIX, FOUR]]


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def as_seen(host, address):
    """host, as a socket that is bound to address tells of it: an IPv6 one has a mapped address."""
    return host if family_of(address) == socket.AF_INET or host == SIX else MAPPED


class Families(Listening):

    number = 0

    def made(self, family, dual, **fields):
        """A new socket; its number."""
        self.number += 1
        self.open(self.number, family=family, **fields)
        if dual is not None:
            self.assertEqual(self.set_option(self.number, pb.OPTION_DUAL_MODE, dual), "SUCCESS")
        return self.number

    def each(self, **fields):
        """A bound socket for each row: its number, its port, the address, and who gets through."""
        for host, family, dual, through in BOUND:
            number = self.made(family, dual, **fields)
            reply, text = self.ask(self.client.bind, number, (host, 0))
            self.assertEqual(reply.error, pb.ERROR_SUCCESS, (host, text))
            yield number, reply.connected.local.port, host, through
            self.close(number)

    def test_s62_who_connects_to_whom(self):
        for number, port, bound, through in self.each():
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
                seen = as_seen(host, bound)
                self.assertEqual(self.address(reply.connected.local), (seen, port))
                self.assertEqual(self.address(reply.connected.remote), (seen, peer.getsockname()[1]))
                # An accepted one is of the listener's kind.
                if bound == "::":
                    self.assertEqual(self.option(100 + number, pb.OPTION_DUAL_MODE), int(FOUR in through))
                self.close(100 + number)

    def test_s65_who_hears_whom(self):
        for number, port, bound, through in self.each(type=pb.SOCKET_TYPE_DATAGRAM):
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
                seen = as_seen(host, bound)
                self.assertEqual(self.address(reply.datagram.local), (seen, port))
                self.assertEqual(self.address(reply.datagram.remote), (seen, peer.getsockname()[1]))
                self.assertEqual(self.error(self.client.make_send, number, b"back", endpoint=reply.datagram.remote), "SUCCESS")
                self.assertEqual(peer.recv(10), b"back")

    def peers(self, kind):
        """A peer's socket for each row: its port, and who gets through."""
        for host, is_dual, through in PEERS:
            peer = self.hold(socket.socket(family_of(host), kind))
            peer.settimeout(30)
            if family_of(host) == socket.AF_INET6:
                peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
            peer.bind((host, 0))
            yield peer, through

    def test_s64_who_sends_to_whom(self):
        for peer, through in self.peers(socket.SOCK_DGRAM):
            port, heard = peer.getsockname()[1], []
            for family, dual, results in KINDS:
                for host in (FOUR, SIX, MAPPED):
                    number = self.made(family, dual, type=pb.SOCKET_TYPE_DATAGRAM)
                    word = f"{host} of {number}".encode()
                    self.assertEqual(self.error(self.client.make_send, number, word, endpoint=endpoint((host, port))),
                                     results.get(host, "SUCCESS"), (family, dual, host))
                    if host in through and host not in results:
                        heard.append(word)
            with socket.socket(peer.family, socket.SOCK_DGRAM) as last:
                last.sendto(b"no more", (FOUR if peer.family == socket.AF_INET else SIX, port))
            self.assertEqual(list(iter(lambda p=peer: p.recv(100), b"no more")), heard)

    def test_s15_who_can_connect(self):
        for peer, through in self.peers(socket.SOCK_STREAM):
            peer.listen(50)
            for family, dual, results in KINDS:
                for host in (FOUR, SIX, MAPPED):
                    number = self.made(family, dual)
                    wanted = results.get(host, "SUCCESS" if host in through else "CONNECTION_REFUSED")
                    self.assertEqual(self.error(self.client.connect, number, (host, peer.getsockname()[1])), wanted,
                                     (family, dual, host, through))

    def test_s19_whom_a_list_reaches(self):
        for peer, through in self.peers(socket.SOCK_STREAM):
            peer.listen(50)
            port = peer.getsockname()[1]
            for hosts in LISTS:
                first, *others = (endpoint((host, port)) for host in hosts)
                reply, _ = self.ask(lambda op, n, to, others=others: request(
                    pb.VERB_CONNECT, op, n, connect=pb.Connect(endpoint=to, others=others)),
                    self.made(pb.FAMILY_UNSPECIFIED, None), first)
                reached = next((host for host in hosts if host in through), None)
                if reached is None:
                    self.assertEqual(reply.error, pb.ERROR_CONNECTION_REFUSED, (hosts, through))
                else:
                    self.assertEqual(self.address(reply.connected.remote), (reached, port), (hosts, through))


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
