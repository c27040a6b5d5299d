# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl proxy: UDP ASSOCIATE of SOCKS5 (RFC 1928, section 7)."""

import contextlib
import os
import select
import signal
import socket
import struct
import tempfile

import asockctl
from asockd import DaemonTest
from proxy import DEADLINE, Proxy, exactly
from suspend import suspend
from wire import pb

GREETING = b"\x05\x01\x00"
ASSOCIATE = b"\x05\x03\x00\x01" + b"\0" * 6
HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def head(host, port, fragment=0):
    """In front of a datagram: an address, or a name."""
    for kind, family in ((1, socket.AF_INET), (4, socket.AF_INET6)):
        with contextlib.suppress(OSError):
            return struct.pack("!HBB", 0, fragment, kind) + socket.inet_pton(family, host) + struct.pack("!H", port)
    return struct.pack("!HBBB", 0, fragment, 3, len(host)) + host.encode() + struct.pack("!H", port)


def udp_queue(port):
    """Bytes that the socket's program has not read."""
    with open("/proc/net/udp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    return sum(int(row[4].split(":")[1], 16) for row in rows if int(row[1].split(":")[1], 16) == port)


class Association:
    """A program's: its TCP connection, and its socket for datagrams."""

    def __init__(self, proxy, tcp=True):
        self.control = proxy.dial(tcp)
        self.control.sendall(GREETING + ASSOCIATE)
        self.answer = exactly(self.control, 2 + 10)[2:]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.settimeout(DEADLINE)
        if self.answer[1] == 0:
            self.udp.connect((socket.inet_ntoa(self.answer[4:8]), *struct.unpack("!H", self.answer[8:])))

    def send(self, data, host, port, **options):
        self.udp.send(head(host, port, **options) + data)

    def receive(self):
        return self.udp.recv(70000)

    def close(self):
        self.control.close()
        self.udp.close()


class Udp(DaemonTest):

    def setUp(self):
        super().setUp()
        self.proxy = self.hold(Proxy(self.daemon, *self.options()))

    def options(self):
        return ()

    def association(self, **options):
        return self.hold(Association(self.proxy, **options))

    def peer(self, family=socket.AF_INET, host=None):
        peer = self.hold(socket.socket(family, socket.SOCK_DGRAM))
        peer.settimeout(DEADLINE)
        peer.bind((host or HOSTS[family], 0))
        return peer

    def echo(self, association, peer, host, data=b"ping"):
        address, port = peer.getsockname()[:2]
        association.send(data, host, port)
        got, sender = peer.recvfrom(70000)
        self.assertEqual(got, data)
        peer.sendto(data + b"|back", sender)
        self.assertEqual(association.receive(), head(address, port) + data + b"|back")
        return sender


class Associate(Udp):

    def test_addresses_and_names(self):
        association = self.association()
        self.assertEqual(association.answer[:8], b"\x05\x00\x00\x01" + socket.inet_aton("127.0.0.1"))
        for family, host in HOSTS.items():
            self.echo(association, self.peer(family), host)
        named = self.peer(socket.AF_INET6)
        self.echo(association, named, "::1", b"")
        self.echo(association, self.peer(), "127.0.0.1", os.urandom(8000))

    def test_by_name(self):
        association = self.association()
        both = self.hold(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        both.settimeout(DEADLINE)
        both.bind(("::", 0))  # of both families
        association.send(b"named", "localhost", both.getsockname()[1])
        data, sender = both.recvfrom(100)
        self.assertEqual(data, b"named")
        both.sendto(b"back", sender)
        self.assertTrue(association.receive().endswith(b"back"))

    def test_the_order_of_one_destination_is_kept(self):
        association, peer = self.association(), self.peer()
        self.echo(association, peer, "127.0.0.1")
        for i in range(10):
            association.send(b"%d" % i, *peer.getsockname())
        self.assertEqual([peer.recv(10) for _ in range(10)], [b"%d" % i for i in range(10)])

    def test_a_burst_waits_for_the_daemon(self):
        """Of which it has taken nothing yet."""
        association, peer = self.association(), self.peer()
        self.echo(association, peer, "127.0.0.1")
        self.addCleanup(self.daemon.process.send_signal, signal.SIGCONT)
        self.daemon.process.send_signal(signal.SIGSTOP)
        port = association.udp.getpeername()[1]
        for i in range(200):
            association.send(b"%d" % i, *peer.getsockname())
            if i % 50 == 49:
                self.daemon.wait(lambda: udp_queue(port) == 0)
        self.daemon.process.send_signal(signal.SIGCONT)
        self.assertEqual([peer.recv(10) for _ in range(200)], [b"%d" % i for i in range(200)])

    def test_many_destinations_take_turns(self):
        association = self.association()
        peers = [self.peer() for _ in range(40)]
        for peer in peers:
            self.echo(association, peer, "127.0.0.1")
        self.echo(association, peers[0], "127.0.0.1")
        self.daemon.wait(lambda: len(self.rows()) <= 16)

    def test_a_daemon_that_is_stopped_bounds_them(self):
        """What makes room for others counts until the daemon has ended it. Of those that come meanwhile the first ones stay."""
        association = self.association()
        old, new = [self.peer() for _ in range(16)], [self.peer() for _ in range(60)]
        for peer in old:
            self.echo(association, peer, "127.0.0.1")
        self.addCleanup(self.daemon.process.send_signal, signal.SIGCONT)
        suspend(self.daemon.pid)
        suspend(self.proxy.pid)
        for peer in new:
            association.send(b"new", *peer.getsockname())
        self.proxy.send_signal(signal.SIGCONT)
        port = association.udp.getpeername()[1]
        self.daemon.wait(lambda: udp_queue(port) == 0)
        self.daemon.process.send_signal(signal.SIGCONT)
        self.assertEqual(new[8].recv(10), b"new")
        old[0].setblocking(False)
        self.daemon.wait(lambda: self.arrives(association, old[0]))  # until the daemon has answered all, it is dropped
        self.daemon.wait(lambda: len(self.rows()) <= 16)

    @staticmethod
    def arrives(association, peer):
        """A datagram that may be dropped, as on any network; its program sends it again."""
        association.send(b"again", *peer.getsockname())
        with contextlib.suppress(BlockingIOError):
            return peer.recv(100) == b"again"
        return False

    def rows(self):
        return self.daemon.control.inspect(list=pb.List())

    def test_what_is_dropped(self):
        """Fragments, what is malformed, and what comes from another port; the association goes on."""
        association, peer = self.association(), self.peer()
        host, port = peer.getsockname()
        self.echo(association, peer, host)
        association.send(b"fragment", host, port, fragment=1)
        association.send(b"last fragment", host, port, fragment=0x81)
        for wrong in (b"", b"\0", b"\0\0\0\x01\x7f", b"\0\0\0\x09abcdef", b"\x01\0\0\x01" + b"\x7f\0\0\x01\0\x50x",
                      b"\0\0\0\x03\x00\0\x50x", b"\0\0\0\x03\x05a b\nc\0\x50x", head(host, 0) + b"port 0"):
            association.udp.send(wrong)
        other = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        other.sendto(head(host, port) + b"not the program", association.udp.getpeername())
        self.echo(association, peer, host, b"good")

    def test_a_refused_datagram_ends_nothing(self):
        association, peer = self.association(), self.peer()
        gone = self.peer()
        where = gone.getsockname()
        gone.close()
        association.send(b"x", *where)
        self.echo(association, peer, "127.0.0.1")

    def test_it_ends_with_its_connection(self):
        association, peer = self.association(), self.peer()
        self.echo(association, peer, "127.0.0.1")
        association.control.close()

        def refused():
            with contextlib.suppress(ConnectionRefusedError):
                association.udp.send(b"x")
                association.udp.send(b"x")
                return False
            return True

        self.daemon.wait(refused)
        self.daemon.wait(lambda: not self.rows())

    def test_not_over_a_unix_socket(self):
        self.assertEqual(self.association(tcp=False).answer[1], 7)

    def test_no_more_than_there_may_be(self):
        associations = [self.association() for _ in range(65)]
        self.assertEqual([association.answer[1] for association in associations], [0] * 64 + [1])
        associations[0].close()
        self.daemon.wait(lambda: self.association().answer[1] == 0)

    def test_it_ends_with_the_session(self):
        association, peer = self.association(), self.peer()
        self.echo(association, peer, "127.0.0.1")
        session = self.rows()[0]["session"]
        done = asockctl.run("kill", "--yes", "--control", self.daemon.control_path, str(session))
        self.assertEqual(done.returncode, 0, done.stderr)
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(association.control.recv(1), b"")
        again = self.association()
        peer.setblocking(False)

        # Datagrams are lost until there is another session.
        self.daemon.wait(lambda: self.arrives(again, peer))

    def test_the_proxy_ends_in_the_middle(self):
        association, peer = self.association(), self.peer()
        self.echo(association, peer, "127.0.0.1")
        for _ in range(5):
            association.send(b"x", *peer.getsockname())
        self.assertEqual(self.proxy.stop(), 0)


class Judged(Udp):
    """Each destination, by address or by name, as any other."""

    def options(self):
        with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as file:
            file.write("[Rules]\nAllow=udp 127.0.0.1 *\n")
        self.addCleanup(os.unlink, file.name)
        return ("--policy", file.name)

    def test_denied_ones_get_nothing(self):
        association, allowed = self.association(), self.peer()
        denied = self.peer(host="127.0.0.2")
        association.send(b"x", *denied.getsockname())
        association.send(b"x", "localhost", denied.getsockname()[1])
        self.echo(association, allowed, "127.0.0.1")
        denied.setblocking(False)
        with self.assertRaises(BlockingIOError):
            denied.recv(1)
