# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many system calls an operation costs the client and the daemon: what docs/PERFORMANCE.md says.

Counts, not times. A loaded machine may take apart what otherwise travels together, so the bound of a
pattern is what it costs when nothing does; what it costs mostly is printed.
"""

import os
import re
import shutil
import signal
import subprocess
import unittest

from asockd import DEADLINE, Daemon
from build import INSTRUMENTED

if INSTRUMENTED:
    raise unittest.SkipTest("instruments do calls of their own")

BUILD = os.environ.get("ASOCK_TEST_BUILDDIR", ".")
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


class Tracer:
    """strace of a process that runs already, from now until count()."""

    def __init__(self, pid):
        self.process = subprocess.Popen(["strace", "-f", "-c", "-U", "calls,name", "-p", str(pid)],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "attached" not in line:
            self.process.communicate()
            raise unittest.SkipTest(f"nobody may trace: {line.strip()}")

    def count(self):
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate(timeout=DEADLINE)[1]
        return {name: int(calls) for calls, name in re.findall(r"^\s*(\d+) (\w+)$", text, re.M)
                if name != "total"}


class Calls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if shutil.which("strace") is None:
            raise unittest.SkipTest("no strace")
        cls.server = subprocess.Popen([os.path.join(BUILD, "bench", "server")], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.end_server)
        cls.port = cls.server.stdout.readline().strip()
        cls.daemon = Daemon("--allow-any")
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
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(client.stdout.readline(), "begin\n")
            tracers = {"client": Tracer(client.pid), "daemon": Tracer(self.daemon.pid)}
            client.stdin.write("\n")
            client.stdin.flush()
            self.assertEqual(client.stdout.readline(), "end\n")
            counts = {who: tracer.count() for who, tracer in tracers.items()}
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
