# SPDX-License-Identifier: LGPL-2.1-or-later
"""An upgrade under load, from the version before to this one, and back. Runs as root inside tests/system/box, by upgrade.test."""

import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE]
import boxed
import test_restart
from boxed import configure, prop

BEFORE = "/usr/local/sbin/asockd-before"


def setUpModule():
    test_restart.setUpModule()
    shutil.copy(os.environ["ASOCK_BEFORE"], BEFORE)


class Upgrade(test_restart.RestartTest):
    def test_every_byte_through_upgrades(self):
        """Each restart changes the version, as a package does: it replaces the program, and restarts the unit."""
        versions, used = (boxed.EXECUTABLE, BEFORE), []

        def change(number):
            used.append(os.readlink(f"/proc/{prop('asockd.service', 'MainPID')}/exe"))
            configure(executable=versions[number % 2], arguments="--allow-any")

        configure(executable=BEFORE, arguments="--allow-any")
        print(self.under_load(test_restart.RESTARTS, change), file=sys.stderr)
        self.assertEqual(used, [versions[(number + 1) % 2] for number in range(test_restart.RESTARTS)])
