# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many system calls an operation costs the client and the daemon: what docs/PERFORMANCE.md says.

Counts, not times. A loaded machine may take apart what otherwise travels together, so the bound of a
pattern is what it costs when nothing does; what it costs mostly is printed. The processes count by
themselves (tests/lib/count_calls.c): under strace a turn of the daemon has time for a few calls only.
"""

import os
import shutil
import struct
import subprocess
import tempfile
import unittest

from asockd import DEADLINE, Daemon
from build import INSTRUMENTED

if INSTRUMENTED:
    raise unittest.SkipTest("instruments do calls of their own")

BUILD = os.environ.get("ASOCK_TEST_BUILDDIR", ".")
MODULE = os.path.join(BUILD, "tests", "lib", ".libs", "count-calls.so")
DOCUMENT = os.path.join(os.environ.get("ASOCK_TEST_SRCDIR", "."), "docs", "PERFORMANCE.md")
PATTERNS = {  # the name in the document: units that count, the client's arguments
    "round trip": (1000, ["--test", "round-trip"]),
    "64 connections": (6400, ["--test", "messages", "--connections", "64"]),
    "send 4 KiB": (2000, ["--test", "up", "--size", "4096"]),
    "send 64 KiB": (1000, ["--test", "up", "--size", "65536"]),
    "receive 4 KiB": (2000, ["--test", "down", "--size", "4096"]),
    "receive 64 KiB": (1000, ["--test", "down", "--size", "65536"]),
    "send 64 KiB, shared": (1000, ["--test", "up", "--size", "65536", "--shared"]),
    "receive 64 KiB, shared": (1000, ["--test", "down", "--size", "65536", "--shared"]),
    "connect, echo, close": (500, ["--test", "connect"]),
    "the same, 16 at once": (1000, ["--test", "connect", "--connections", "16"]),
}


def bounds():
    """From the document's table: pattern, and the most that client and daemon may do for a unit."""
    found = {}
    with open(DOCUMENT, encoding="utf-8") as file:
        for line in file:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if cells[0] in PATTERNS and len(cells) >= 5:
                found[cells[0]] = {"client": float(cells[2]), "daemon": float(cells[4])}
    return found


class Counter:
    """What a process that has the module preloaded counts."""

    def __init__(self, folder, module, who):
        self.path = os.path.join(folder, who)
        with open(self.path, "wb") as file:
            file.write(bytes(4096))
        os.chmod(self.path, 0o666)
        self.environment = {**os.environ, "LD_PRELOAD": module, "ASOCK_TEST_CALLS": self.path}

    def read(self):
        with open(self.path, "rb") as file:
            return {name.rstrip(b"\0").decode(): calls for name, calls in struct.iter_unpack("24sQ", file.read())
                    if name[0]}


class Calls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        module = shutil.copy(MODULE, folder.name)  # the daemon's user may read it
        os.chmod(module, 0o755)
        cls.counters = {who: Counter(folder.name, module, who) for who in ("client", "daemon")}
        cls.server = subprocess.Popen([os.path.join(BUILD, "bench", "server")], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.end_server)
        cls.port = cls.server.stdout.readline().strip()
        cls.daemon = Daemon("--allow-any", env=cls.counters["daemon"].environment)
        cls.addClassCleanup(cls.daemon.stop)
        cls.bounds = bounds()

    @classmethod
    def end_server(cls):
        cls.server.stdin.close()
        cls.server.wait(DEADLINE)
        cls.server.stdout.close()

    def count(self, pattern):
        """Calls of a unit, of the client and of the daemon."""
        units, arguments = PATTERNS[pattern]
        client = subprocess.Popen([os.path.join(BUILD, "bench", "client"), "--way", "asock", "--server", self.port,
                                   "--path", self.daemon.path, "--count", str(units), "--pause", *arguments],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  env=self.counters["client"].environment)
        try:
            self.assertEqual(client.stdout.readline(), "begin\n")
            before = {who: counter.read() for who, counter in self.counters.items()}
            client.stdin.write("\n")
            client.stdin.flush()
            self.assertEqual(client.stdout.readline(), "end\n")
            counts = {who: {name: calls - before[who][name] for name, calls in counter.read().items()}
                      for who, counter in self.counters.items()}
        finally:
            client.communicate("\n", timeout=DEADLINE)
        self.assertEqual(client.returncode, 0)
        return {who: {name: n / units for name, n in calls.items() if n > units / 100}
                for who, calls in counts.items()}

    def test_no_pattern_costs_more_than_the_document_says(self):
        self.assertEqual(set(self.bounds), set(PATTERNS), f"the table of {DOCUMENT}")
        for pattern in PATTERNS:
            with self.subTest(pattern):
                for who, calls in self.count(pattern).items():
                    total = sum(calls.values())
                    told = ", ".join(f"{name} {n:.2f}" for name, n in sorted(calls.items()))
                    print(f"# {pattern}: {who} {total:.2f} ({told})")
                    self.assertLessEqual(total, self.bounds[pattern][who], f"{pattern}: {who}: {told}")


if __name__ == "__main__":
    unittest.main()
