# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of the policy in force: a daemon with files of the test's own, and one client."""

import os
import tempfile
import unittest

from asockd import Daemon
from wire import Wire


class PolicyTest(unittest.TestCase):

    def setUp(self):
        self.op = 0

    def write(self, text):
        handle, path = tempfile.mkstemp(suffix=".policy", prefix="asockd-test-")
        self.addCleanup(os.unlink, path)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return path

    def start(self, *texts):
        self.paths = [self.write(text) for text in texts]
        self.daemon = Daemon(*[argument for path in self.paths for argument in ("--policy", path)])
        self.addCleanup(self.daemon.stop)
        self.client = Wire(self.daemon.path)
        self.addCleanup(self.client.close)
        self.client.hello()

    def rules(self, *lines):
        self.start("".join(line + "\n" for line in ("[Rules]", *lines)))
