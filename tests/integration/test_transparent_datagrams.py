# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run --transparent: datagrams of programs that know neither asockd nor proxies."""

import socket
import threading

import network
from transparent import PRELUDE, TransparentTest, setUpModule  # noqa: F401

network.enter()

UDP = """
def udp(address="", timeout=30):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    return sock
def result(sock):
    try:
        return sock.recv(100).decode()
    except OSError as error:
        return errno.errorcode.get(error.errno)
"""


class UdpEcho(threading.Thread):
    """Answers each datagram with its bytes, until it is closed. Who sent something is in sources."""

    def __init__(self, port=0):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(("::", port))
        self.port = self.socket.getsockname()[1]
        self.sources = set()
        self.start()

    def run(self):
        while True:
            data, source = self.socket.recvfrom(1 << 16)
            if data == b"the end" and source[:2] == ("::1", self.port):
                return
            self.sources.add(source)
            self.socket.sendto(data, source)

    def close(self):
        if self.is_alive():
            self.socket.sendto(b"the end", ("::1", self.port))
            self.join()
        self.socket.close()


class Datagrams(TransparentTest):

    def setUp(self):
        super().setUp()
        self.server = self.hold(UdpEcho())

    def test_names_and_addresses_of_both_families(self):
        """The answer comes from where the datagram was sent to; also to a socket that is not connected, and of many bytes."""
        code = UDP + """
for host in args[1:]:
    for family, *_, address in socket.getaddrinfo(host, int(args[0]), type=socket.SOCK_DGRAM):
        sock = udp(address[0])
        for size in (0, 1, 1200, 1201, 30000, 60000):
            data = os.urandom(size)
            sock.sendto(data, address)
            back, source = sock.recvfrom(1 << 16)
            if back != data or source[:2] != address[:2]:
                say([host, size, len(back), source])
        sock.connect(address)
        sock.send(b"connected")
        say(sock.recv(100).decode())
"""
        hosts = ("four.test", "six.test", network.OWN4, network.OWN6)
        self.assertEqual(set(self.python(code, self.server.port, *hosts)), {"connected"})

    def test_each_socket_has_its_own_answers(self):
        """More of them than there are flows at a time: those that were used least recently begin again."""
        code = UDP + """
socks = [udp() for _ in range(270)]
for turn in range(2):
    for i, sock in enumerate(socks):
        sock.sendto(b"%d" % i, (args[1], int(args[0])))
        if sock.recv(100) != b"%d" % i:
            say(i)
say("done")
"""
        self.assertEqual(self.python(code, self.server.port, network.OWN4), ["done"])
        self.assertGreater(len(self.server.sources), 270)

    def test_segments(self):
        """What a program leaves to the kernel to divide (UDP_SEGMENT, as QUIC does) comes divided."""
        code = UDP + """
for address in args[1:]:
    sock = udp(address)
    sock.setsockopt(socket.IPPROTO_UDP, 103, 1200) # UDP_SEGMENT
    sock.sendto(b"".join(bytes([i]) * 1200 for i in range(10)), (address, int(args[0])))
    say(sorted((len(data), data[0]) for data in (sock.recv(65535) for _ in range(10))))
"""
        self.assertEqual(self.python(code, self.server.port, network.OWN4, network.OWN6), [[[1200, i] for i in range(10)]] * 2)

    def test_a_burst(self):
        """Of which a few may be lost as on any network, and none is changed."""
        code = UDP + """
sock = udp()
sock.connect((args[1], int(args[0])))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
sent = {b"%d." % i * 200 for i in range(100)}
for data in sent:
    sock.send(data)
got = {sock.recv(2000) for _ in range(40)}
say(got <= sent)
"""
        self.assertEqual(self.python(code, self.server.port, network.OWN4), [True])

    def test_the_network_refuses(self):
        """Nothing listens there; then something does, and the same socket goes on."""
        self.server.close()
        code = UDP + """
sock = udp()
sock.connect((args[1], int(args[0])))
for line in sys.stdin:
    sock.send(b"ping")
    say(result(sock))
"""
        tool = self.start("python3", "-c", PRELUDE + code, str(self.server.port), network.OWN4, stdin=-1)
        for wanted in ("ECONNREFUSED", "ping"):
            tool.stdin.write(b"\n")
            tool.stdin.flush()
            self.assertEqual(tool.stdout.readline(), b'"%s"\n' % wanted.encode())
            if wanted != "ping":
                self.hold(UdpEcho(self.server.port))
        tool.stdin.close()
        tool.wait()

    def test_policy_judges_the_name(self):
        policy = self.policy(f"Allow=udp four.test {self.server.port} +local +private +special\nAllow=tcp * *\n")
        code = UDP + """
for host in args[1:]:
    sock = udp()
    sock.connect((host, int(args[0])))
    for _ in range(3):
        sock.send(b"ping")
        say(result(sock))
"""
        self.assertEqual(self.python(code, self.server.port, "four.test", network.OWN4, options=("--policy", policy)),
                         ["ping"] * 3 + ["ECONNREFUSED"] * 3)
        self.assertEqual(len(self.server.sources), 1)
