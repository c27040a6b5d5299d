# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lent sockets in asockctl: connect, and the proxy, which keeps them to itself."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import asockctl
import proxy
import test_proxy
from asockd import Daemon, DaemonTest
from suspend import suspend
from wire import pb

DEADLINE = asockctl.DEADLINE
MANY = 8 << 20

# Asks for the socket in the session that ASOCK_SOCKET names, and prints how that ended.
ASK = '''
import os, socket, sys
sys.path[:0] = sys.argv[2:]
from wire import Wire, endpoint, pb, request
wire = Wire(os.environ["ASOCK_SOCKET"])
wire.hello(sockets=4, ops=16)
wire.send(wire.open(1, 1), request(pb.VERB_CONNECT, 2, 1, connect=pb.Connect(
    endpoint=endpoint(("127.0.0.1", int(sys.argv[1]))), lend=int(os.environ.get("LEND", pb.LEND_HELD)))))
reply = wire.completion(2)
print(pb.Error.Name(reply.error), len(wire.descriptors))
'''


class Lent(DaemonTest):
    """127.0.0.1 may be lent, 127.0.0.4 may not."""

    RULES = "[Rules]\nAllow=tcp 127.0.0.1 * +loopback +lend +lend-given\nAllow=tcp localhost * +loopback +lend\nAllow=tcp 127.0.0.4 * +loopback\n"

    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as file:
            file.write(cls.RULES)
        os.chmod(file.name, 0o644)
        cls.addClassCleanup(os.unlink, file.name)
        cls.policy = file.name
        cls.daemon = Daemon("--policy", cls.policy)

    def states(self):
        return [row["state"] for row in self.daemon.control.inspect(list=pb.List())]

    def serve(self, host="127.0.0.1"):
        listener = self.hold(socket.socket())
        listener.settimeout(DEADLINE)
        listener.bind((host, 0))
        listener.listen(16)
        return listener

    def reset(self, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()

    def exchange(self, one, other):
        """As much as fills every buffer, both ways at the same time; each side ends its stream then."""
        def send(sock, byte):
            sock.sendall(byte * MANY)
            sock.shutdown(socket.SHUT_WR)

        got = {}

        def receive(sock):
            got[sock] = self.read_all(sock)

        threads = [threading.Thread(target=send, args=(one, b"1")), threading.Thread(target=send, args=(other, b"2")),
                   threading.Thread(target=receive, args=(one,)), threading.Thread(target=receive, args=(other,))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((got[one] == b"2" * MANY, got[other] == b"1" * MANY), (True, True))


class Proxy(Lent):

    def setUp(self):
        super().setUp()
        self.proxy = self.hold(test_proxy.Proxy(self.daemon))

    def tunnel(self, kind="socks5", tcp=True, more=b""):
        listener = self.serve()
        make, length, verdict, expected = test_proxy.TUNNELS[kind]
        client = self.hold(self.proxy.dial(tcp))
        client.sendall(make(listener.getsockname()[1]) + more)
        peer = self.accept(listener)
        self.assertEqual(test_proxy.exactly(client, length)[verdict], expected)
        return client, peer

    def test_streams_are_whole_both_ways(self):
        for kind in test_proxy.TUNNELS:
            for tcp in (True, False):
                with self.subTest(kind=kind, tcp=tcp):
                    client, peer = self.tunnel(kind, tcp)
                    self.assertEqual(self.states(), ["lent"])
                    self.exchange(client, peer)
                    client.close()
                    peer.close()
                    self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)

    def test_ends_are_passed_on_one_by_one(self):
        client, peer = self.tunnel()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_all(peer), b"question")
        peer.sendall(b"answer")
        self.assertEqual(test_proxy.exactly(client, 6), b"answer")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(client.recv(1), b"")

    def test_what_either_side_sends_ahead_is_bounded(self):
        for way in (0, 1):
            ends = self.tunnel()
            proxy.check_ahead(self, self.proxy, ends[way], ends[1 - way])
            self.proxy.send_signal(signal.SIGCONT)

    def test_many_small_messages(self):
        client, peer = self.tunnel()
        for i in range(500):
            client.sendall(b"%03d" % i)
            self.assertEqual(test_proxy.exactly(peer, 3), b"%03d" % i)
            peer.sendall(b"%03d" % i)
            self.assertEqual(test_proxy.exactly(client, 3), b"%03d" % i)

    def waits_for_room(self):
        """The proxy waits until a program can take more."""
        found = ""
        for name in os.listdir(f"/proc/{self.proxy.pid}/fdinfo"):
            with contextlib.suppress(FileNotFoundError), open(f"/proc/{self.proxy.pid}/fdinfo/{name}", encoding="ascii") as file:
                found += file.read()
        return any(int(events, 16) & select.EPOLLOUT for events in re.findall(r"tfd: .* events: *([0-9a-f]+)", found))

    def is_taken(self, peer):
        """Nothing that the peer has sent is left for the proxy to read."""
        ports = [f":{sock[1]:04X}" for sock in (peer.getpeername(), peer.getsockname())]
        with open("/proc/self/net/tcp", encoding="ascii") as table:
            rows = [row.split() for row in table]
        return any([row[1][-5:], row[2][-5:]] == ports and row[4].endswith(":00000000") for row in rows)

    def test_little_at_a_time_for_a_program_that_does_not_read(self):
        client, peer = self.tunnel(tcp=False)
        sent = b""
        while not self.waits_for_room():
            piece = os.urandom(10000)
            sent += piece
            peer.sendall(piece)
            self.daemon.wait(lambda: self.is_taken(peer) or self.waits_for_room())
        other, there = self.tunnel()
        there.sendall(os.urandom(10000))
        test_proxy.exactly(other, 10000)
        peer.shutdown(socket.SHUT_WR)
        self.assertTrue(self.read_all(client) == sent)

    def test_reset_by_the_peer_is_passed_on(self):
        client, peer = self.tunnel()
        client.sendall(b"x")
        test_proxy.exactly(peer, 1)
        self.reset(peer)
        self.assertEqual(self.reset_by(client), b"")

    def test_reset_that_a_send_finds_is_passed_on(self):
        """The kernel tells it once: who receives hears of an end, which is not that of a whole stream."""
        client, peer = self.tunnel()
        peer.sendall(b"half")
        self.assertEqual(test_proxy.exactly(client, 4), b"half")
        suspend(self.proxy.pid)
        try:
            client.sendall(b"x")
            self.reset(peer)
        finally:
            os.kill(self.proxy.pid, signal.SIGCONT)
        self.assertEqual(self.reset_by(client), b"")

    def test_reset_behind_the_end_of_the_stream_is_noticed(self):
        client, peer = self.tunnel()
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(client.recv(1), b"")
        self.reset(peer)
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)

    def test_program_that_goes_with_half_a_stream_resets_the_peer(self):
        client, peer = self.tunnel()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.assertEqual(self.reset_by(peer), b"")

    def test_killed_by_the_administrator(self):
        client, peer = self.tunnel()
        row = self.daemon.control.inspect(list=pb.List())[0]
        self.daemon.control.inspect(kill=pb.Kill(id=row["id"]))
        self.assertEqual(self.reset_by(peer), b"")
        self.assertEqual(self.reset_by(client), b"")

    def test_end_of_the_proxy_ends_them(self):
        client, peer = self.tunnel()
        client.sendall(b"half")
        self.assertEqual(test_proxy.exactly(peer, 4), b"half")
        self.proxy.stop()
        self.assertEqual(self.reset_by(peer), b"")

    def test_death_of_the_daemon_makes_no_half_stream_look_whole(self):
        """The proxy is the last that has the connection then."""
        daemon = Daemon("--policy", self.policy)
        self.addCleanup(daemon.stop, check=False)
        proxy = self.hold(test_proxy.Proxy(daemon))
        listener = self.serve()
        make, length, verdict, expected = test_proxy.TUNNELS["socks5"]
        client = self.hold(proxy.dial(True))
        client.sendall(make(listener.getsockname()[1]))
        peer = self.accept(listener)
        self.assertEqual(test_proxy.exactly(client, length)[verdict], expected)
        client.sendall(b"half")
        self.assertEqual(test_proxy.exactly(peer, 4), b"half")
        daemon.process.kill()
        self.assertEqual(self.reset_by(peer), b"")
        self.assertEqual(self.reset_by(client), b"")

    def test_data_behind_the_handshake_goes_with_the_connect(self):
        client, peer = self.tunnel(more=b"at once")
        self.assertEqual(test_proxy.exactly(peer, 7), b"at once")
        self.assertEqual(self.states(), ["connected"])
        self.exchange(client, peer)

    def test_no_descriptor_or_pipe_is_left(self):
        def count():
            return len(os.listdir(f"/proc/{self.proxy.pid}/fd"))

        client, peer = self.tunnel()
        self.exchange(client, peer)
        client.close()
        peer.close()
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)
        before = count()
        for _ in range(8):
            client, peer = self.tunnel()
            client.sendall(b"x")
            test_proxy.exactly(peer, 1)
            client.close()
            peer.close()
            self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)
        self.daemon.wait(lambda: count() <= before)


class Connect(Lent):

    def connect(self, listener, *args, **options):
        tool = self.hold(asockctl.Tool("connect", "--socket", self.daemon.path, *args, *map(str, listener.getsockname()),
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options))
        return tool, self.accept(listener)

    def test_streams_are_whole_both_ways(self):
        tool, peer = self.connect(self.serve())
        self.daemon.wait(lambda: self.states() == ["lent"])
        thread = threading.Thread(target=lambda: (peer.sendall(b"2" * MANY), peer.shutdown(socket.SHUT_WR)))
        reader = threading.Thread(target=lambda: got.append(self.read_all(peer)))
        got = []
        thread.start()
        reader.start()
        out, err = tool.communicate(b"1" * MANY, DEADLINE)
        thread.join()
        reader.join()
        self.assertEqual((tool.returncode, err), (0, b""))
        self.assertEqual((out == b"2" * MANY, got == [b"1" * MANY]), (True, True))

    def test_as_an_ordinary_socket_where_it_may_not_be_lent(self):
        tool, peer = self.connect(self.serve("127.0.0.4"))
        peer.sendall(b"there")
        self.assertEqual(tool.stdout.read(5), b"there")
        self.assertEqual(self.states(), ["connected"])
        peer.close()
        tool.communicate(b"", DEADLINE)

    def test_a_reset_is_told(self):
        tool, peer = self.connect(self.serve())
        peer.sendall(b"x")
        tool.stdout.read(1)
        self.reset(peer)
        _, err = tool.communicate(timeout=DEADLINE)
        self.assertEqual(tool.returncode, 1)
        self.assertIn(b"receiving: ", err)

    def test_a_reset_behind_the_end_of_the_stream(self):
        tool, peer = self.connect(self.serve())
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(tool.stdout.read(), b"")
        self.reset(peer)
        self.assertEqual(tool.wait(DEADLINE), 1)
        self.assertIn(b"sending: connection reset", tool.stderr.read())

    def test_killed_with_half_a_stream_it_resets(self):
        tool, peer = self.connect(self.serve())
        tool.stdin.write(b"half")
        tool.stdin.flush()
        self.assertEqual(test_proxy.exactly(peer, 4), b"half")
        tool.kill()
        self.assertEqual(self.reset_by(peer), b"")


class Run(Lent):

    def ask(self, *how, lend=pb.LEND_HELD):
        listener = self.serve()
        paths = [os.path.dirname(os.path.abspath(module.__file__)) for module in (asockctl, sys.modules["asock_pb2"])]
        done = asockctl.run("run", "--socket", self.daemon.path, *how, "--", sys.executable, "-c", ASK,
                            str(listener.getsockname()[1]), *paths, env=asockctl.environment(LEND=str(lend)))
        return done.stdout.decode().split(), done.stderr

    def test_a_command_with_a_shared_session_cannot_lend(self):
        for lend in (pb.LEND_HELD, pb.LEND_GIVEN):
            self.assertEqual(self.ask(lend=lend)[0], ["ERROR_ACCESS_DENIED", "0"])
        self.assertEqual(self.ask(lend=pb.LEND_HELD_IF_ALLOWED)[0], ["ERROR_SUCCESS", "0"])

    def test_a_command_behind_the_proxy_has_its_speed_and_not_its_right(self):
        """Its connections are lent to the gateway; it has no session, and one that it is given by another run cannot lend."""
        listener = self.serve()
        code = '''
import os, socket, sys
assert "ASOCK_SOCKET" not in os.environ and "ASOCK_FD" not in os.environ
sock = socket.create_connection(("127.0.0.1", int(os.environ["ALL_PROXY"].rpartition(":")[2])))
sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
sock.recv(1000)
sys.stdin.read()
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1]), stdin=subprocess.PIPE))
        self.accept(listener)
        self.daemon.wait(lambda: self.states() == ["lent"])
        command = asockctl.find_child(tool)
        sockets = [link for link in links(command) if link.startswith("socket:")]
        self.assertEqual(len(sockets), 1)  # to the proxy
        tool.communicate(b"", DEADLINE)

    def test_what_a_command_has_sent_arrives_although_it_ends(self):
        """Its peer reads nothing before the command has ended."""
        listener = self.serve()
        code = '''
import os, socket, sys
sock = socket.create_connection(("127.0.0.1", int(os.environ["ALL_PROXY"].rpartition(":")[2])))
sock.sendall(b"CONNECT 127.0.0.1:%s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
sock.recv(1000)
sys.stdin.read()
sock.setblocking(False)
sent = 0
try:
    while sent < 64 << 20:
        sent += sock.send(b"x" * 65536)
except BlockingIOError:
    pass
print(sent, flush=True)
'''
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--proxy", "--", sys.executable, "-c", code,
                                       str(listener.getsockname()[1]), stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        peer = self.accept(listener)
        self.daemon.wait(lambda: self.states() == ["lent"])
        tool.stdin.close()
        sent = int(tool.stdout.readline())
        self.assertEqual(len(self.read_all(peer)), sent)
        self.assertEqual(tool.wait(DEADLINE), 0)

    def test_connect_in_a_shared_session_goes_without(self):
        listener = self.serve()
        tool = self.hold(asockctl.Tool(
            "run", "--socket", self.daemon.path, "--", asockctl.TOOL, "connect", *map(str, listener.getsockname()),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        peer = self.accept(listener)
        peer.sendall(b"there")
        self.assertEqual(tool.stdout.read(5), b"there")
        self.assertEqual(self.states(), ["connected"])
        peer.close()
        tool.communicate(b"", DEADLINE)


def links(pid):
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


if __name__ == "__main__":
    unittest.main()
