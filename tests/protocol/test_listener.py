# SPDX-License-Identifier: LGPL-2.1-or-later
"""LISTENER: listeners that are added and removed while the daemon runs, and which descriptors it takes."""

import array
import os
import socket
import tempfile
import unittest

from asockd import DaemonTest
from wire import DEADLINE, Wire, pb, request

LISTENERS = 64  # of a daemon, its own two included


def rights(*descriptors):
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]


class Listener(DaemonTest):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        os.chmod(directory.name, 0o755)
        self.directory = directory.name
        self.control = self.administrator()
        self.op = 100
        self.added = set()

    def administrator(self):
        return self.client(self.daemon.control_path)

    def tearDown(self):
        for name in self.added:
            self.ask(name, remove=True)
        super().tearDown()

    def socket(self, name, kind=socket.SOCK_STREAM, listens=True):
        sock = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(sock.close)
        path = os.path.join(self.directory, name)
        sock.bind(path)
        os.chmod(path, 0o666)
        if listens:
            sock.listen(16)
        return sock

    def ask(self, name, *descriptors, wire=None, remove=False):
        """Error and text."""
        wire = wire or self.control
        self.op += 1
        ask = request(pb.VERB_LISTENER, self.op, listener=pb.Listener(name=name, remove=remove))
        if descriptors:
            self.assertEqual(wire.sock.sendmsg([ask], rights(*descriptors)), len(ask))
        else:
            wire.send(ask)
        reply, text = wire.take(lambda r: r.op == self.op)
        if descriptors and reply.error == pb.ERROR_SUCCESS:
            self.added.add(name)
        return reply.error, text.rstrip(b"\0").decode()

    def add(self, name):
        with self.socket(name) as sock:
            self.assertEqual(self.ask(name, sock.fileno()), (pb.ERROR_SUCCESS, ""))
        return os.path.join(self.directory, name)

    def client(self, path):
        wire = self.hold(Wire(path))
        wire.hello()
        return wire

    def descriptors(self):
        """The daemon's, once a request has been answered that came behind all others."""
        self.control.send(Wire.sync(7))
        self.assertEqual(self.control.completion(7).error, 0)
        return self.daemon.fds()

    def test_clients_come_by_it_until_it_is_removed(self):
        before = self.descriptors()
        path = self.add("web")
        client = self.client(path)
        self.assertEqual(client.inspect(show=pb.Show())[0]["listener"], "web")
        self.assertEqual(self.ask("web", remove=True), (pb.ERROR_SUCCESS, ""))
        with self.assertRaises(ConnectionRefusedError):
            Wire(path)
        client.send(Wire.sync(1))  # its session stays
        self.assertEqual(client.completion(1).error, 0)
        os.unlink(path)
        again = self.client(self.add("web"))
        self.assertEqual(again.inspect(show=pb.Show())[0]["listener"], "web")
        self.assertEqual(self.ask("web", remove=True)[0], pb.ERROR_SUCCESS)
        client.close()
        again.close()
        self.daemon.wait(lambda: self.daemon.fds() == before)  # sessions go in steps

    def test_a_descriptor_that_is_no_listener_is_closed(self):
        reader, writer = os.pipe()
        pair = socket.socketpair()
        tcp = socket.create_server(("127.0.0.1", 0))
        others = [writer, pair[0].fileno(), tcp.fileno(),
                  self.socket("datagram", socket.SOCK_DGRAM, False).fileno(),
                  self.socket("packet", socket.SOCK_SEQPACKET).fileno(), self.socket("idle", listens=False).fileno()]
        before = self.descriptors()
        for descriptor in others:
            self.assertEqual(self.ask("web", descriptor), (
                pb.ERROR_INVALID_ARGUMENT, "the descriptor is not a listening Unix stream socket"))
        self.assertEqual(self.ask("web"), (pb.ERROR_INVALID_ARGUMENT, "the request did not include a descriptor"))
        self.assertEqual(self.descriptors(), before)
        os.close(writer)
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)
        for sock in (*pair, tcp):
            sock.close()
        self.add("web")

    def test_names(self):
        sock = self.socket("sock").fileno()
        before = self.descriptors()
        for name in ("", "control", "unknown", "a.b", "a/b", "ä", "n" * 32):
            error, text = self.ask(name, sock)
            self.assertEqual((error, text[:24]), (pb.ERROR_INVALID_ARGUMENT, "a listener's name must h"), name)
        self.assertEqual(self.ask("default", sock), (
            pb.ERROR_ADDRESS_ALREADY_IN_USE, "a listener of that name already exists"))
        self.assertEqual(self.descriptors(), before)
        self.assertEqual(self.ask("n" * 31, sock)[0], pb.ERROR_SUCCESS)

    def test_what_was_not_added_stays(self):
        self.assertEqual(self.ask("web", remove=True), (pb.ERROR_NOT_FOUND, "there is no listener of that name"))
        for name in ("default", "control"):
            error, text = self.ask(name, remove=True)
            self.assertEqual((error, text[:39]), (pb.ERROR_ACCESS_DENIED, "that listener was not added at run time"))
        self.wire()

    def test_many(self):
        sock = self.socket("sock").fileno()
        for number in range(LISTENERS - 2):
            self.assertEqual(self.ask(f"n{number}", sock)[0], pb.ERROR_SUCCESS)
        self.assertEqual(self.ask("more", sock), (
            pb.ERROR_NO_BUFFER_SPACE, "the maximum number of listeners has been reached"))
        for number in range(LISTENERS - 2):
            self.assertEqual(self.ask(f"n{number}", remove=True)[0], pb.ERROR_SUCCESS)
        self.assertEqual(self.ask("more", sock)[0], pb.ERROR_SUCCESS)

    def test_descriptors_that_nobody_asks_for(self):
        """One waits at most, and goes with its session; what else is in its message is never seen."""
        reader, writer = os.pipe()
        other = self.administrator()
        before = self.descriptors()
        for op in range(1, 51):
            self.assertGreater(other.sock.sendmsg([Wire.sync(op)], rights(writer, writer, writer)), 0)
            self.assertEqual(other.completion(op).error, 0)
        if before is not None:
            self.assertEqual(self.descriptors(), before + 1)
        self.assertEqual(self.ask("web", wire=other)[1], "the descriptor is not a listening Unix stream socket")
        self.assertEqual(self.descriptors(), before)
        self.assertGreater(other.sock.sendmsg([Wire.sync(60)[:3]], rights(writer)), 0)  # killed half-way
        other.close()
        os.close(writer)
        os.set_blocking(reader, True)
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)

    def test_in_pieces_and_behind_others(self):
        sock = self.socket("web")
        ask = Wire.sync(1) + request(pb.VERB_LISTENER, 2, listener=pb.Listener(name="web")) + Wire.sync(3)
        self.assertEqual(self.control.sock.sendmsg([ask[:1]], rights(sock.fileno())), 1)
        for at in range(1, len(ask)):
            self.control.sock.send(ask[at:at + 1])
        for op in (1, 2, 3):
            self.assertEqual(self.control.completion(op).error, 0)
        self.added.add("web")
        self.client(os.path.join(self.directory, "web"))

    def test_clients_may_not(self):
        client = self.wire()
        self.assertFalse(client.welcome.verbs >> pb.VERB_LISTENER & 1)
        self.assertTrue(self.control.welcome.verbs >> pb.VERB_LISTENER & 1)
        self.assertEqual(self.ask("web", wire=client)[0], pb.ERROR_OPERATION_NOT_SUPPORTED)


if __name__ == "__main__":
    unittest.main()
