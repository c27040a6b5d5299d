# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of quotas: clients of several users, and what each level has in use."""

import os
import socket
import tempfile
import unittest

from asockd import Daemon, DaemonTest
from wire import Wire, pb

GREEDY, QUIET, RETURNING = 1001, 1002, 1003


def connect_as(path, uid):
    """A connection of that user: the credentials are those of the moment of connect(2)."""
    if uid is None:
        return Wire(path)
    os.seteuid(uid)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
    finally:
        os.seteuid(0)
    return Wire(sock=sock)


def usage(text):
    """{"sockets": (16, 128), ...}; no limit is None."""
    pairs = dict(pair.split("=") for pair in text.split())
    return {name: tuple(None if n == "-" else int(n) for n in pair.split("/"))
            for name, pair in pairs.items()}


@unittest.skipUnless(os.getuid() == 0, "needs root to connect as several users")
class QuotaTest(DaemonTest):
    """Each with a configuration of its own."""

    config = ""
    prefix = ()  # what the daemon is run by

    @classmethod
    def setUpClass(cls):
        fd, path = tempfile.mkstemp(prefix="asockd-quota-")
        cls.addClassCleanup(os.unlink, path)
        with open(fd, "w", encoding="ascii") as file:
            file.write(cls.config)
        os.chmod(path, 0o644)
        cls.arguments = ("--allow-any", "--config", path)
        cls.daemon = Daemon(*cls.arguments, prefix=cls.prefix)

    def tearDown(self):
        super().tearDown()
        # Nothing of anybody stays behind.
        self.daemon.wait(lambda: not any(used for used, _ in self.quota().values()))

    def quota(self, level="daemon", number=None):
        """Of a session, as the administrator sees it; None: of the daemon."""
        if number is None:
            return usage(self.daemon.stats()["quota_daemon"])
        return usage(self.daemon.control.inspect(show=pb.Show(id=number))[0][f"quota_{level}"])

    def shown(self, wire):
        return self.daemon.control.inspect(show=pb.Show(id=wire.number))[0]

    def connect(self, uid=GREEDY):
        return self.hold(connect_as(self.daemon.path, uid))

    def client(self, uid=GREEDY, **hello):
        wire = self.connect(uid)
        wire.hello(**hello)
        wire.number = wire.inspect(show=pb.Show())[0]["id"]
        return wire

    def refused(self, wire, error=pb.ERROR_NO_BUFFER_SPACE):
        reply, text = wire.ended()
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error))
        return text.decode()
