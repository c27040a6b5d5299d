# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of a reload: a daemon whose configuration and policy the test writes."""

import os
import shutil
import signal
import tempfile
import time

import asockd
import network
from nameserver import PATIENT
from wire import DEADLINE, pb, request


class ReloadTest(asockd.DaemonTest):
    """A daemon with a configuration that the test writes."""

    arguments = ("--allow-any",)
    config = ""

    @classmethod
    def setUpClass(cls):
        network.write("/etc/resolv.conf", PATIENT)
        cls.directory = tempfile.mkdtemp(prefix="asockd-reload-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        os.chmod(cls.directory, 0o755)
        cls.file = os.path.join(cls.directory, "asockd.conf")
        cls.write(cls.config)
        cls.policy = os.path.join(cls.directory, "test.policy")
        cls.daemon = cls.start()

    @classmethod
    def start(cls):
        return asockd.Daemon("--config", cls.file, *cls.arguments)

    @classmethod
    def write(cls, text, path=None):
        path = path or cls.file
        with open(path + ".new", "w", encoding="ascii") as stream:
            stream.write(text)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)

    def setUp(self):
        super().setUp()
        self.control = self.daemon.control
        self.addCleanup(self.reload)
        self.addCleanup(self.write, self.config)

    def reload(self, close=False, error=pb.ERROR_SUCCESS):
        """The record of its answer, or the text of its error."""
        control = self.control
        control.token += 1
        control.send(request(pb.VERB_RELOAD, control.token, reload=pb.Reload(close=close)))
        reply, payload = control.take(lambda r: r.op == control.token)
        self.assertEqual(pb.Error.Name(reply.error), pb.Error.Name(error), payload)
        if error:
            return payload.decode()
        return {f.name: f.number if f.is_number else f.text for f in pb.Record.FromString(payload).fields}

    def hang_up(self, field="reloads"):
        """Sends SIGHUP and waits until the reload is complete."""
        before = self.daemon.stats()[field]
        os.kill(self.daemon.pid, signal.SIGHUP)
        limit = time.monotonic() + DEADLINE
        while self.daemon.stats()[field] == before:
            self.assertLess(time.monotonic(), limit, self.daemon.output())

    def granted(self):
        return self.wire(hello=False).hello().sockets
