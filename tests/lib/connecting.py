# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of asockctl connect: the tool between a program and a peer."""

import hashlib
import os
import shutil
import socket
import struct
import tempfile
import threading

import asockctl
import asockd

MEGABYTE = 1 << 20
DEADLINE = asockctl.DEADLINE


def pattern(size):
    """Bytes that show their position in the stream."""
    block = b"".join(struct.pack("<I", i) for i in range(65536))
    return (block * (size // len(block) + 1))[:size]


def read_all(read):
    digest, total = hashlib.sha256(), 0
    while True:
        data = read(MEGABYTE)
        if not data:
            return digest.hexdigest(), total
        digest.update(data)
        total += len(data)


def sha256(data):
    return hashlib.sha256(data).hexdigest(), len(data)


class Peer:
    """A server for one connection; handler(connection) runs in a thread, its result comes from result()."""

    def __init__(self, handler):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.port = str(self.listener.getsockname()[1])
        self.handler, self.value, self.error = handler, None, None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(DEADLINE)
                self.value = self.handler(connection)
        except Exception as error:  # for result()
            self.error = error

    def result(self):
        self.thread.join(DEADLINE)
        self.listener.close()
        if self.thread.is_alive():
            raise AssertionError("the peer is not done")
        if self.error:
            raise self.error
        return self.value


class ConnectCase(asockd.DaemonTest):

    def setUp(self):
        super().setUp()
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)

    def args(self, port, *more, host="127.0.0.1", path=None):
        return ("connect", host, str(port), "--socket", path or self.daemon.path, *more)

    def run_tool(self, port, *more, host="127.0.0.1", **options):
        return asockctl.run(*self.args(port, *more, host=host), **options)

    def start_tool(self, port, *more, host="127.0.0.1", path=None, **options):
        return self.hold(asockctl.Tool(*self.args(port, *more, host=host, path=path), **options))

    def check_ok(self, done):
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def make_file(self, data):
        path = os.path.join(self.dir, "file")
        with open(path, "wb") as file:
            file.write(data)
        return path


def reverse_at_end(connection):
    """Answers only after the end of the stream, so that it needs half-close."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    connection.sendall(data[::-1])
    return data
