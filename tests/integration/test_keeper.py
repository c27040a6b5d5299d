# SPDX-License-Identifier: LGPL-2.1-or-later
"""The prototype of a keeper (docs/RESTART.md) still runs: workers that are killed lose no byte and no operation."""

import os
import re
import subprocess
import unittest

from wire import DEADLINE

KEEPER = os.path.join(os.environ.get("ASOCK_TEST_BUILDDIR", "."), "bench/keeper")


class Keeper(unittest.TestCase):
    def test_streams_continue_behind_a_killed_worker(self):
        """It compares what comes, and fails at the first wrong byte."""
        done = subprocess.run([KEEPER, "--quick"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=16 * DEADLINE, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertEqual(len(re.findall(r"^\| compared with the kernel's counts \| \d+ streams", done.stdout, re.M)), 2)
        self.assertIn("| after a reset, of 50 connections | bytes sent are exact for 50, bytes received for 50 |", done.stdout)
        self.assertIn("| bytes of the journal for an operation |", done.stdout)


if __name__ == "__main__":
    unittest.main()
