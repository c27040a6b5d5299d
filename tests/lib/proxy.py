# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of asockctl proxy: the tool, and handshakes of each protocol."""

import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading

import asockctl
from asockd import DaemonTest

DEADLINE = asockctl.DEADLINE
LOOPBACK = socket.inet_aton("127.0.0.1")
KERNEL_BUFFER = 768 << 10  # of a connection within the host, for data that comes faster than it is read


class Proxy(asockctl.Tool):
    """The running proxy; .paths has the addresses at which it says that it listens."""

    def __init__(self, daemon, *args, **options):
        self.directory = tempfile.mkdtemp(prefix="asock-proxy-")
        self.path = os.path.join(self.directory, "proxy.sock")
        super().__init__("proxy", "--socket", daemon.path, "--listen", self.path, "--listen", "127.0.0.1:0", *args,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        lines = [self.stdout.readline().decode().strip() for _ in range(2)]
        self.port = int(lines[1].rpartition(":")[2] or 0) if lines[1] else 0

    def stop(self):
        self.send_signal(signal.SIGTERM)
        return self.wait(DEADLINE)

    def close(self):
        super().close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def dial(self, tcp=True):
        client = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", self.port) if tcp else self.path)
        return client


def socks5(port, host=None):
    address = b"\x01" + LOOPBACK if host is None else b"\x03" + bytes([len(host)]) + host
    return b"\x05\x01\x00\x05\x01\x00" + address + struct.pack("!H", port)


def socks4a(port):
    return b"\x04\x01" + struct.pack("!H", port) + b"\0\0\0\1me\x00localhost\0"


def connect(port):
    return f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def exactly(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


# name: the handshake for a port, the length of the whole answer, and the place and value of its status.
TUNNELS = {
    "socks5": (socks5, 12, slice(3, 4), b"\0"),
    "socks4a": (socks4a, 8, slice(1, 2), b"\x5a"),
    "connect": (connect, 39, slice(0, 12), b"HTTP/1.1 200"),
}


def kernel_row(local, remote):
    """Of an IPv4 connection between two ports, while a process has it: an orphan has no inode."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for row in map(str.split, table):
            if row[1].endswith(f":{local:04X}") and row[2].endswith(f":{remote:04X}") and row[9] != "0":
                return row
    return None


def check_ahead(test, proxy, source, sink):
    """However much source has sent through the proxy before: while that is stopped its kernel takes no more than this."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER // 2)
        if probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < KERNEL_BUFFER:
            test.skipTest("net.core.rmem_max allows no buffer of this size")
    thread = threading.Thread(target=source.sendall, args=(bytes(64 << 20),))
    thread.start()
    for _ in range(64):
        test.assertEqual(len(exactly(sink, 1 << 20)), 1 << 20)
    thread.join(DEADLINE)
    proxy.send_signal(signal.SIGSTOP)
    test.addCleanup(proxy.send_signal, signal.SIGCONT)
    os.waitid(os.P_PID, proxy.pid, os.WSTOPPED | os.WNOWAIT)
    source.setblocking(False)
    with test.assertRaises(BlockingIOError):
        while True:
            source.send(bytes(1 << 20))
    row = kernel_row(source.getpeername()[1], source.getsockname()[1])
    test.assertLessEqual(int(row[4].partition(":")[2], 16), KERNEL_BUFFER)


class ProxyTest(DaemonTest):
    proxy_arguments = ()

    def setUp(self):
        super().setUp()
        self.proxy = self.hold(Proxy(self.daemon, *self.proxy_arguments))

    def dial(self, tcp=True):
        return self.hold(self.proxy.dial(tcp))

    def tunnel(self, kind="socks5", tcp=True, listener=None, more=b""):
        """Both ends of a connection through the proxy."""
        listener = listener or self.listener()
        make, length, verdict, expected = TUNNELS[kind]
        client = self.dial(tcp)
        client.sendall(make(listener.getsockname()[1]) + more)
        peer = self.accept(listener)
        self.assertEqual(exactly(client, length)[verdict], expected)
        return client, peer


    def grows(self, peer):
        """True: it accepts more data after every process has run once."""
        other, end = self.tunnel()
        other.sendall(b"x")
        exactly(end, 1)
        try:
            return peer.send(b"") == 0 and bool(select.select([], [peer], [], 0.2)[1])
        except BlockingIOError:
            return False
