# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whom the TCP port of asockctl proxy and of asockctl run --proxy serves."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

import asockctl
from asockd import DaemonTest, usable_by_nobody
from proxy import DEADLINE, Proxy, exactly, socks5
from suspend import suspend

STRANGER, USER, FIRST, SHARED = 1234, 1001, 100000, 200000
TARGETS = {"IPv4": (socket.AF_INET, "127.0.0.1"), "IPv6": (socket.AF_INET6, "::1"),
           "IPv4 in IPv6": (socket.AF_INET6, "::ffff:127.0.0.1")}
ASSOCIATE = b"\x05\x01\x00\x05\x03\x00\x01" + b"\0" * 6
GRANTED = b"\x05\x00\x05\x00"
# Over the machine's own file, in the mount namespace of asockctl.
ENTER = 'mount --bind "$0" /etc/subuid && exec "$@"'


def socket_of(user, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    """It belongs to the user who made it, whoever uses it."""
    own = os.geteuid()
    os.seteuid(user)
    try:
        sock = socket.socket(family, kind)
    finally:
        os.seteuid(own)
    sock.settimeout(DEADLINE)
    return sock


def head(port):
    """In front of a datagram to this port."""
    return b"\0\0\0\x01" + socket.inet_aton("127.0.0.1") + struct.pack("!H", port)


@unittest.skipUnless(os.getuid() == 0, "needs root to connect as several users")
class UsersTest(DaemonTest):

    def connect(self, user, port, target="IPv4"):
        family, host = TARGETS[target]
        client = self.hold(socket_of(user, family))
        client.connect((host, port))
        return client

    def is_served(self, user, port, target="IPv4"):
        """Whether the user gets a connection through the proxy; else it is reset, perhaps while it connects."""
        listener = self.listener()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client = self.connect(user, port, target)
            client.sendall(socks5(listener.getsockname()[1]))
            answer = exactly(client, 12)
            self.assertEqual(answer[:4], GRANTED)
            return True
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()
        return False

    def udp(self, user=0, port=0):
        """Others get its port if they ask for that very one."""
        sock = self.hold(socket_of(user, kind=socket.SOCK_DGRAM))
        if not port:
            sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port:
            sock.bind(("127.0.0.1", port))
        return sock

    def associate(self, user, port):
        """The TCP connection, and the address for datagrams."""
        control = self.connect(user, port)
        control.sendall(ASSOCIATE)
        answer = exactly(control, 12)
        self.assertEqual(answer[:4], GRANTED)
        return control, ("127.0.0.1", struct.unpack("!H", answer[10:])[0])

    def echo(self, program, relay, peer, data):
        program.sendto(head(peer.getsockname()[1]) + data, relay)
        got, sender = peer.recvfrom(1000)
        self.assertEqual(got, data)
        peer.sendto(data + b"|back", sender)
        self.assertTrue(program.recv(1000).endswith(data + b"|back"))
        return sender


class Refused(UsersTest):
    """The proxy is root's."""
    arguments_of_proxy = ()

    def setUp(self):
        super().setUp()
        self.proxy = self.hold(Proxy(self.daemon, "--listen", "[::1]:0", *self.arguments_of_proxy))
        self.port6 = int(self.proxy.stdout.readline().decode().rpartition(":")[2])

    def port(self, target):
        return self.port6 if target == "IPv6" else self.proxy.port

    def said(self):
        """What the proxy has said, in the end."""
        self.assertEqual(self.proxy.stop(), 0)
        return self.proxy.stderr.read().decode().splitlines()

    def test_others_are_reset(self):
        for target in TARGETS:
            self.assertFalse(self.is_served(STRANGER, self.port(target), target), target)
            self.assertTrue(self.is_served(0, self.port(target), target), target)
        lines = self.said()  # on a slow machine also one of the first minute
        self.assertEqual((lines[0], lines[-1]), (
            f"asockctl: refused to serve a program that belongs to user {STRANGER} (--any-user serves all users)",
            f"asockctl: refused to serve programs of user {STRANGER} 3 times"))

    def test_a_standard_error_that_is_full_delays_nobody(self):
        """Strangers must not stop the proxy by the lines that are written about them."""
        full = os.open(f"/proc/{self.proxy.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while os.write(full, b"\n" * size):
                    pass
        os.close(full)
        for user in (STRANGER, STRANGER + 1):
            self.assertFalse(self.is_served(user, self.proxy.port))
            self.assertTrue(self.is_served(0, self.proxy.port))
        self.proxy.stderr.read1(1 << 20)
        self.assertFalse(self.is_served(STRANGER + 2, self.proxy.port))
        self.assertEqual([line for line in self.said() if line], [
            "log: 2 lines were lost here",
            f"asockctl: refused to serve a program that belongs to user {STRANGER + 2} (--any-user serves all users)"])

    def test_they_are_reset_before_they_say_anything(self):
        with self.assertRaises(ConnectionResetError):
            self.connect(STRANGER, self.proxy.port).recv(1)

    def test_many_users_are_not_a_line_each(self):
        for user in range(STRANGER, STRANGER + 40):
            self.assertFalse(self.is_served(user, self.proxy.port))
        lines = self.said()
        self.assertEqual(len([line for line in lines if " a program that " in line]), 16, lines)
        self.assertTrue(lines[-1].endswith("refused to serve programs of other users 25 times"), lines)

    def test_a_request_whose_program_has_gone_is_not_served(self):
        """The kernel says "root" of what nobody has any more."""
        listener = self.listener()
        for linger in (None, struct.pack("ii", 1, 0)):
            suspend(self.proxy.pid)
            client = self.connect(STRANGER, self.proxy.port)
            client.sendall(socks5(listener.getsockname()[1]))
            if linger:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
            self.proxy.send_signal(signal.SIGCONT)
            own = self.connect(0, self.proxy.port)
            own.sendall(socks5(listener.getsockname()[1]) + b"own")
            self.assertEqual(exactly(self.accept(listener), 3), b"own")
            listener.setblocking(False)
            with self.assertRaises(BlockingIOError):
                listener.accept()
            listener.setblocking(True)
        self.assertEqual(self.said(), [])

    def test_what_asockd_connects_is_its_users(self):
        """Else each of its clients could use a proxy that policy lets it reach."""
        listener = self.listener()
        client = self.connect(0, self.proxy.port)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(socks5(self.proxy.port) + socks5(listener.getsockname()[1]))
            while client.recv(100):
                pass
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()

    def test_half_of_a_connection_is_the_users_still(self):
        """It has sent its end before the proxy sees it."""
        listener = self.listener()
        suspend(self.proxy.pid)
        client = self.connect(0, self.proxy.port)
        client.sendall(socks5(listener.getsockname()[1]) + b"all")
        client.shutdown(socket.SHUT_WR)
        self.proxy.send_signal(signal.SIGCONT)
        self.assertEqual(exactly(self.accept(listener), 4), b"all")

    def test_a_connection_by_the_loopback_device(self):
        client = self.hold(socket_of(0))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        client.connect(("127.0.0.1", self.proxy.port))
        client.sendall(b"\x05\x01\x00")
        self.assertEqual(exactly(client, 2), b"\x05\x00")

    def test_datagrams_of_others_do_not_take_the_association(self):
        relay = self.associate(0, self.proxy.port)[1]
        program, stranger, peer = self.udp(), self.udp(STRANGER), self.udp()
        for _ in range(3):
            stranger.sendto(head(peer.getsockname()[1]) + b"stranger", relay)
        self.echo(program, relay, peer, b"first")
        stranger.sendto(head(peer.getsockname()[1]) + b"stranger", relay)
        self.echo(program, relay, peer, b"second")
        self.assertIn(f"user {STRANGER}", self.said()[0])

    def test_who_gets_the_programs_port_gets_none_of_its_datagrams(self):
        relay = self.associate(0, self.proxy.port)[1]
        other = self.associate(0, self.proxy.port)[1]
        program, peer, other_program, other_peer = (self.udp() for _ in range(4))
        sender = self.echo(program, relay, peer, b"first")
        port = program.getsockname()[1]
        stranger = self.udp(STRANGER, port)
        program.close()
        peer.sendto(b"secret", sender)
        stranger.sendto(head(peer.getsockname()[1]) + b"stranger", relay)
        for _ in range(2):  # what the proxy got before, it has seen to then
            self.echo(other_program, other, other_peer, b"pass")
        for sock in (stranger, peer):
            sock.setblocking(False)
            with self.assertRaises((BlockingIOError, ConnectionRefusedError)):
                sock.recv(100)
        again = self.udp(0, port)
        stranger.close()
        peer.settimeout(DEADLINE)
        self.echo(again, relay, peer, b"again")


class AnyUser(Refused):
    arguments_of_proxy = ("--any-user",)

    test_a_request_whose_program_has_gone_is_not_served = None
    test_what_asockd_connects_is_its_users = None
    test_who_gets_the_programs_port_gets_none_of_its_datagrams = None
    test_datagrams_of_others_do_not_take_the_association = None
    test_they_are_reset_before_they_say_anything = None
    test_many_users_are_not_a_line_each = None
    test_a_standard_error_that_is_full_delays_nobody = None

    def test_others_are_reset(self):
        """They are not."""
        for target in TARGETS:
            self.assertTrue(self.is_served(STRANGER, self.port(target), target), target)
        relay = self.associate(STRANGER, self.proxy.port)[1]
        self.echo(self.udp(STRANGER), relay, self.udp(), b"datagram")
        self.assertEqual(self.said(), [])


class Wrapped(UsersTest):
    """The proxy belongs to somebody else than root, or is in a user namespace."""

    def start(self, *arguments, wrapper):
        if not usable_by_nobody(asockctl.TOOL):
            self.skipTest("the build directory is its owner's alone")
        tool = self.hold(asockctl.Tool("proxy", "--socket", self.daemon.path, "--listen", "127.0.0.1:0", *arguments,
                                       wrapper=wrapper, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        line = tool.stdout.readline().decode()
        if not line:
            self.fail(tool.stderr.read().decode())
        return int(line.rpartition(":")[2])

    @staticmethod
    def become(user):
        return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")

    def test_the_user_and_root_are_served(self):
        port = self.start(wrapper=self.become(USER))
        self.assertEqual([self.is_served(user, port) for user in (USER, 0, STRANGER, 65534)], [True, True, False, False])

    @unittest.skipUnless(os.path.exists("/etc/subuid"), "there is no /etc/subuid to mount over")
    def test_so_are_the_users_subordinate_ids(self):
        with tempfile.NamedTemporaryFile("w", prefix="asock-subuid-") as file:
            file.write(f"{STRANGER}:300000:10\n{USER}:{FIRST}:1000\n{USER}:{SHARED}:10\nbroken\n{STRANGER}:{SHARED + 9}:10\n")
            file.flush()
            os.chmod(file.name, 0o644)
            port = self.start(wrapper=("unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, file.name,
                                       *self.become(USER)))
        served = [user for user in (FIRST - 1, FIRST, FIRST + 999, FIRST + 1000, SHARED, SHARED + 9, 300000)
                  if self.is_served(user, port)]
        self.assertEqual(served, [FIRST, FIRST + 999])

    def test_in_a_user_namespace_those_whom_it_lacks_are_nobody(self):
        """Also if the proxy's user is called like that there."""
        for user in (USER, 0):
            port = self.start(wrapper=("unshare", "--user", f"--map-user={user}"))
            self.assertEqual([self.is_served(user, port) for user in (0, USER, STRANGER, 65534)],
                             [True, False, False, False], user)

    def test_without_an_answer_of_the_kernel_there_is_no_port(self):
        """A user namespace that lacks the proxy's own user."""
        wrapper = ("unshare", "--user")
        where = ("--socket", self.daemon.path)
        done = asockctl.run("proxy", *where, "--listen", "127.0.0.1:0", wrapper=wrapper)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"127.0.0.1:0: the kernel does not report which user", done.stderr)
        self.assertIn(b"--any-user", done.stderr)
        done = asockctl.run("run", *where, "--proxy", "--", "echo", "ran", wrapper=wrapper)
        self.assertEqual((done.returncode, done.stdout), (125, b""))
        self.assertIn(b"--any-user", done.stderr)
        done = asockctl.run("run", *where, "--proxy", "--any-user", "--", "echo", "ran", wrapper=wrapper)
        self.assertEqual((done.returncode, done.stdout), (0, b"ran\n"), done.stderr)
        self.assertTrue(self.is_served(STRANGER, self.start("--any-user", wrapper=wrapper)))


class Around(UsersTest):
    """asockctl run --proxy."""

    def test_the_commands_user_alone(self):
        for options, is_served in ((), False), (("--any-user",), True):
            tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", *options, "--", "sh", "-c",
                                           'echo "$ALL_PROXY"; read line', stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE))
            port = int(tool.stdout.readline().decode().rpartition(":")[2])
            self.assertTrue(self.is_served(0, port))
            self.assertEqual(self.is_served(STRANGER, port), is_served)
            tool.communicate(b"\n", timeout=DEADLINE)

    def test_it_needs_proxy(self):
        done = asockctl.run("run", "--socket", self.daemon.path, "--any-user", "--", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn(b"--any-user requires --proxy", done.stderr)
