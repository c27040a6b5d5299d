# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon that answers whatever is asked with records that the test makes up."""

import os
import shutil
import socket
import struct
import tempfile
import threading
import unittest

import asockctl
from wire import pb


WELCOME = pb.Welcome(version=1, sockets=16, ops=64, socket_ops=16, send_window=1 << 20, queued_max=1 << 20,
                     payload_max=1 << 18, head_max=4096)


def frame(payload=b"", **fields):
    head = pb.Reply(**fields).SerializeToString()
    return struct.pack("<II", len(head), len(payload)) + head + payload


def record(fields):
    made = pb.Record()
    for name, value in fields:
        if isinstance(value, int):
            made.fields.add(name=name, number=value, is_number=True)
        else:
            made.fields.add(name=name, text=value)
    return made.SerializeToString()


def requests(listener):
    """(connection, request, payload) of each request of one client, until it closes."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        while prefix := stream.read(8):
            head_len, payload_len = struct.unpack("<II", prefix)
            request = pb.Request.FromString(stream.read(head_len))
            yield connection, request, stream.read(payload_len)


def answer(listener, answers):
    """One client: answers has a frame for each verb; other requests get none."""
    for connection, request, _ in requests(listener):
        connection.sendall(answers.get(request.verb, b""))


def serve(listener, rows, asked=None):
    """One client; asked: a list that gets (request, payload)."""
    for connection, request, payload in requests(listener):
        if request.verb == pb.VERB_HELLO:
            connection.sendall(frame(kind=pb.KIND_WELCOME, welcome=WELCOME))
            continue
        if asked is not None:
            asked.append((request, payload))
        for row in rows:
            connection.sendall(frame(record(row), kind=pb.KIND_COMPLETION, op=request.op,
                                     flags=pb.REPLY_FLAG_MORE))
        connection.sendall(frame(kind=pb.KIND_COMPLETION, op=request.op))


class FakeTest(unittest.TestCase):

    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        self.asked = []

    def ask(self, rows, *args):
        """The completed asockctl, which got these rows."""
        path = os.path.join(self.dir, "sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            server = threading.Thread(target=serve, args=(listener, rows, self.asked), daemon=True)
            server.start()
            done = asockctl.run(*args, "--control", path)
            server.join(asockctl.DEADLINE)
        os.unlink(path)
        return done

    def check_ok(self, rows, *args):
        done = self.ask(rows, *args)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.decode()
