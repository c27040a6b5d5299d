# SPDX-License-Identifier: LGPL-2.1-or-later
"""A network of the test's own, and what goes over it.

enter() puts this process, and every daemon that it starts, into a network and a mount namespace: loopback, a way to
two small networks without hosts, its own /etc/hosts and /etc/resolv.conf. Capture sees every packet that is sent.
"""

import ctypes
import os
import select
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from wire import DEADLINE

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
ETH_P_ALL = 3
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33

OWN4, OWN6 = "192.0.2.1", "2001:db8::1"
# There is no answer from there, not even that it is unreachable: the neighbour is known, and behind the cable is nothing.
SILENT4, SILENT6 = "192.0.2.66", "2001:db8::66"

_files = {}


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def enter():
    """Once for a process; SkipTest where the machine does not let us."""
    if _files:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() != 0 or libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        raise unittest.SkipTest("no right to make network and mount namespaces")
    run("mount", "--make-rprivate", "/")
    # Files that go with the namespace; a mount over an unlinked one would fail.
    with tempfile.TemporaryDirectory(prefix="asockd-test-files-") as folder:
        run("mount", "-t", "tmpfs", "tmpfs", folder)
        for path in ("/etc/hosts", "/etc/resolv.conf"):
            name = os.path.join(folder, os.path.basename(path))
            with open(name, "wb"):
                os.chmod(name, 0o644)
            run("mount", "--bind", name, path)
            _files[path] = path
        run("umount", "--lazy", folder)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "out", "type", "veth", "peer", "name", "nowhere")
    for link in ("out", "nowhere"):
        run("sysctl", "-q", f"net.ipv6.conf.{link}.router_solicitations=0")
        run("ip", "link", "set", link, "up")
    _await_running("out")
    run("ip", "address", "add", OWN4 + "/24", "dev", "out")
    run("ip", "address", "add", OWN6 + "/64", "dev", "out", "nodad")
    for address in (SILENT4, SILENT6):
        run("ip", "neighbour", "add", address, "lladdr", "02:00:00:00:00:66", "nud", "permanent",
            "dev", "out")


def _await_running(link):
    """The other end of the cable was set up behind it: a task of the kernel starts it later, and what is sent before is lost."""
    limit = time.monotonic() + DEADLINE
    while "state UP" not in subprocess.run(("ip", "-o", "link", "show", link), check=True, capture_output=True, text=True).stdout:
        assert time.monotonic() < limit, f"{link} does not start"
        select.select([], [], [], 0.01)


def write(path, text):
    """/etc/hosts or /etc/resolv.conf of this network, in place."""
    assert path in _files
    _write(path, text)


def set_tcp_buffers(test, sizes):
    """The least, the first and the largest size of a TCP socket's buffers here, while the test runs."""
    for name in ("tcp_rmem", "tcp_wmem"):
        path = f"/proc/sys/net/ipv4/{name}"
        with open(path, encoding="ascii") as file:
            test.addCleanup(_write, path, file.read())
        _write(path, sizes)


def _write(path, text):
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)


def half_open():
    """Connects of this network that were not answered yet."""
    count = 0
    for name in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{name}", encoding="ascii") as table:
            count += sum(line.split()[3] == "02" for line in list(table)[1:])
    return count


def socket_of(pid, *kind):
    """A socket in the network of that process."""
    def make():
        with open(f"/proc/{pid}/ns/net", "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) == 0:
                made.append(socket.socket(*kind))
    made = []
    thread = threading.Thread(target=make)  # only this thread goes there
    thread.start()
    thread.join()
    return made[0]


class Packet:
    """What was sent: by which device, addresses, ports, and for TCP the flags as letters and the bytes of payload."""

    def __init__(self, data, device):
        self.device = device
        self.flags, self.length, self.sport, self.dport = "", 0, 0, 0
        if data[0] >> 4 == 4:
            at, end = (data[0] & 15) * 4, struct.unpack_from(">H", data, 2)[0]
            self.protocol = data[9]
            self.source = socket.inet_ntop(socket.AF_INET, data[12:16])
            self.target = socket.inet_ntop(socket.AF_INET, data[16:20])
        else:
            at, end = 40, 40 + struct.unpack_from(">H", data, 4)[0]
            self.protocol = data[6]
            self.source = socket.inet_ntop(socket.AF_INET6, data[8:24])
            self.target = socket.inet_ntop(socket.AF_INET6, data[24:40])
        if self.protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            self.sport, self.dport = struct.unpack_from(">HH", data, at)
        if self.protocol == socket.IPPROTO_TCP:
            bits = data[at + 13]
            self.flags = "".join(name for bit, name in ((1, "F"), (2, "S"), (4, "R"), (16, "A"))
                                 if bits & bit)
            self.length = end - at - (data[at + 12] >> 4) * 4

    def __repr__(self):
        return f"{self.source}:{self.sport}>{self.target}:{self.dport} {self.flags} {self.length}"


class Capture:
    """Every TCP and UDP packet that this network has sent since; in order."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.packets = []

    def close(self):
        self.sock.close()

    def _read(self, timeout):
        if not select.select([self.sock], [], [], timeout)[0]:
            return False
        data, (device, protocol, kind, *_) = self.sock.recvfrom(1 << 17)
        if kind == PACKET_OUTGOING and protocol in (0x0800, 0x86dd):
            packet = Packet(data, device)
            if packet.protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
                self.packets.append(packet)
        return True

    def now(self):
        """What has been sent by now."""
        while self._read(0):
            pass
        return self.packets

    def wait(self, wanted):
        """Until there is a packet of that kind."""
        limit, seen = time.monotonic() + DEADLINE, 0
        while True:
            is_late = time.monotonic() > limit  # what has been sent by then counts, however long it takes to look at it
            for packet in self.now()[seen:]:
                if wanted(packet):
                    return packet
            if is_late:
                raise AssertionError(f"no such packet among {self.packets[:20]} … {self.packets[-20:]}")
            seen = len(self.packets)
            self._read(1)

    def to(self, port):
        """What has been sent to that port, by now."""
        return [packet for packet in self.now() if packet.dport == port]
