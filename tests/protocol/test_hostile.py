# SPDX-License-Identifier: LGPL-2.1-or-later
"""One hostile client beside a quiet one: the quiet one is served, the daemon lives and stays small.

Counted, not timed; bench/hostile measures the times.
"""

import os
import socket
import unittest

from asockd import Daemon
from build import INSTRUMENTED
from hostile import ATTACKS, Echo, Hostile, Quiet

TRIPS, SESSIONS = 300, 3
HOSTILE, QUIET = 65531, 65532
CLIENTS = 64
# What a daemon has at rest, two blocks (daemon/core/limits.h) for each session that one user gets, and what
# they may queue together.
MEMORY = (8 << 20) + CLIENTS // 2 * (1 << 20) + (128 << 20)


class BesideAHostileOne(unittest.TestCase):
    """A test for each attack of tests/lib/hostile.py, made below."""

    def setUp(self):
        nameserver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # which never answers
        self.addCleanup(nameserver.close)
        nameserver.bind(("127.0.0.1", 0))
        config = "[Resolver]\nServers=127.0.0.1:%d\n[Limits]\nClients=%d\nTotalMemory=256M\n" % (
            nameserver.getsockname()[1], CLIENTS)
        self.daemon = Daemon("--allow-any", "--log-level", "error", config=config)
        self.addCleanup(self.daemon.stop)
        self.is_root = os.getuid() == 0

    def quiet_one_is_served_beside(self, name):
        echo = Echo()
        self.addCleanup(echo.stop)
        quiet = Quiet(self.daemon.path, echo.address, QUIET if self.is_root else None)
        self.addCleanup(quiet.close)
        attacker = Hostile(name, self.daemon.path, HOSTILE if self.is_root else None)
        self.addCleanup(attacker.stop)
        self.assertGreater(attacker.done(wait=True), 0)
        for _ in range(TRIPS):
            quiet.there_and_back()
        if self.is_root:  # as the same user one finds what that user has left, which may be nothing
            for _ in range(SESSIONS):
                quiet.session().close()
        attacker.done()  # still there
        if not INSTRUMENTED:
            self.assertLess(self.daemon.memory("VmHWM"), MEMORY)
        self.assertTrue(self.daemon.is_alive())


def make(name):
    def test(self):
        self.quiet_one_is_served_beside(name)
    test.__doc__ = ATTACKS[name].__doc__
    return test


for attack in ATTACKS:
    setattr(BesideAHostileOne, f"test_{attack}", make(attack))


if __name__ == "__main__":
    unittest.main()
