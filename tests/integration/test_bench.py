# SPDX-License-Identifier: LGPL-2.1-or-later
"""bench/ runs, and sees every byte: a measurement that lets a wrong one pass would measure nothing."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import unittest

from asockd import DEADLINE
from build import BUILD_OPTIONS, INSTRUMENTED

BENCH = os.path.join(os.environ.get("ASOCK_TEST_SRCDIR", "."), "bench")
RUN, SCALE = os.path.join(BENCH, "run"), os.path.join(BENCH, "scale")
DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
# For each of thousands: what was measured, and something for another allocator's rounding.
IDLE_BYTES = 393
IDLE_CLIENT_BYTES = 1490
# The same through asockctl proxy, of both processes; and of one that is lent.
IDLE_PROXY_BYTES, IDLE_HELD_BYTES = 3900, 2100
# Replies and requests of all connections gather in blocks of the daemon's, more or less of them as it gets the processor, and
# it keeps these blocks (IO_BLOCKS_KEPT).
KEPT_BYTES = 512 << 10
PROXY = "/lib/systemd/systemd-socket-proxyd"
ROWS = "round trip,messages,up 64 KiB,down 64 KiB,connect,idle"


def run(*arguments, program=RUN):
    build = os.environ.get("ASOCK_TEST_BUILDDIR", ".")
    only = ["--only", "direct,asockd"] if program == RUN else []
    return subprocess.run([sys.executable, program, "--build", build, "--here", "--quick",
                           *only, *arguments], stdin=subprocess.DEVNULL,
                          env={**os.environ, "ASOCK_BENCH_OPTIONS": " ".join(BUILD_OPTIONS)},
                          capture_output=True, text=True, timeout=4 * DEADLINE, check=False)


class Bench(unittest.TestCase):
    def test_all_rows_come_out(self):
        with tempfile.TemporaryDirectory() as folder:
            results, plot = os.path.join(folder, "results"), os.path.join(folder, "plot")
            done = run("--rows", ROWS, "--json", results, "--svg", plot)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(results, encoding="utf-8") as file:
                data = json.load(file)
            with open(plot, encoding="utf-8") as file:
                self.assertIn("</svg>", file.read())
        self.assertEqual(data["systems"], ["direct", "asockd"])
        for name, row in data["rows"].items():
            for result in row["asockd"]:
                self.assertGreater(result["units"], 0, name)
        self.assertEqual(data["idle"]["asockd"]["connections"], 100)
        self.assertIn("| messages, 64 connections | per s |", done.stdout)

    def test_more_connections_than_a_session_has_operations(self):
        """4096 by default. And what docs/PERFORMANCE.md says they cost, counted by the kernel."""
        with tempfile.TemporaryDirectory() as folder:
            results = os.path.join(folder, "results")
            done = run("--rows", "idle", "--idle", "4200", "--json", results)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(results, encoding="utf-8") as file:
                idle = json.load(file)["idle"]
        for system in ("direct", "asockd"):
            self.assertGreaterEqual(idle[system]["connections"], min(4200, DESCRIPTORS // 2 - 250))
        if not INSTRUMENTED:
            self.assertLess(idle["asockd"]["user"], IDLE_BYTES + KEPT_BYTES / idle["asockd"]["connections"])
            self.assertLess(idle["asockd"]["client"], IDLE_CLIENT_BYTES)

    def test_idle_connections_of_the_proxy(self):
        """They cost what bench/README.md says: no memory for data that does not come."""
        with tempfile.TemporaryDirectory() as folder:
            results = os.path.join(folder, "results")
            done = run("--proxies", "--only", "direct,asockctl proxy", "--rows", "idle", "--idle", "1000", "--json", results)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(results, encoding="utf-8") as file:
                idle = json.load(file)["idle"]
        for system, most in (("asockctl proxy", IDLE_PROXY_BYTES), ("asockctl proxy, held", IDLE_HELD_BYTES)):
            self.assertEqual(idle[system]["connections"], 1000)
            if not INSTRUMENTED:
                self.assertLess(idle[system]["user"], most + KEPT_BYTES / 1000)

    def test_where_shared_memory_begins(self):
        done = run("--crossover", "--rows", "64 KiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        row = next(line for line in done.stdout.splitlines() if line.startswith("| 64 KiB |"))
        for ratio in row.split("|")[2:8]:
            self.assertGreater(float(ratio), 0, row)

    def test_a_proxy_behind_a_unix_socket(self):
        if not os.path.exists(PROXY):
            self.skipTest("systemd-socket-proxyd is not installed")
        done = run("--unix", "--only", "direct,systemd", "--rows", "round trip,connect")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| systemd-socket-proxyd, Unix |", done.stdout)

    def test_datagrams_by_the_proxy(self):
        """As by any proxy that knows UDP ASSOCIATE."""
        done = run("--datagrams", "--only", "direct,asockctl proxy")
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in done.stdout.splitlines():
            if line.startswith("| datagram"):
                self.assertIn("**", line.split("|")[4])

    def test_the_proxy_beside_direct(self):
        done = run("--proxies", "--only", "direct,asockctl,bare pair", "--rows", "round trip,64 KiB,at once,alone")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| asockctl proxy |", done.stdout)
        self.assertIn("| bare pair |", done.stdout)
        self.assertIn("| connect-echo-close, 1,000 at once |", done.stdout)
        self.assertIn("| connect alone, median | µs |", done.stdout)

    def test_the_least_of_a_held_connect(self):
        done = run("--transparent", "--only", "direct,cable,bare")
        if "namespace: " in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| direct | cable alone | bare held SYN |", done.stdout)
        row = next(line for line in done.stdout.splitlines() if line.startswith("| connect alone, median | µs |"))
        self.assertEqual(row.count("**") // 2, 2, row)

    def test_lent_sockets_beside_direct(self):
        """And beside the least that lending takes, which has connects only."""
        done = run("--lent", "--only", "direct,bare,asockd", "--rows", "round trip,64 KiB,at once,alone,one at a time")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| direct | bare lender | asockd | asockd, held | asockd, given |", done.stdout)
        for row, systems in (("connect-echo-close, one at a time | per s", 4), ("connect-echo-close, 16 at once | per s", 4),
                             ("connect alone, median | µs", 4), ("up 64 KiB | GB/s", 3)):
            line = next(line for line in done.stdout.splitlines() if line.startswith(f"| {row} |"))
            self.assertEqual(line.count("**") // 2, systems, line)

    def test_many_processes(self):
        done = run("--crowds")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("| ping-pong, 400 processes, an event loop | per s |", done.stdout)

    def test_datagrams_beside_direct(self):
        done = run("--datagrams")
        self.assertEqual(done.returncode, 0, done.stderr)
        for row in ("datagrams of 64 bytes, 64 sockets", "datagram stream of 1,200 bytes, GSO"):
            self.assertIn(f"| {row} | per s |", done.stdout)

    def test_as_the_work_grows(self):
        """A table for each thing that grows, with a figure at each of its points."""
        done = run(program=SCALE)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        for head, counts in (("connections of one session", (1, 64)), ("processes with a session each", (1, 4)),
                             ("rules", (10, 100)), ("new names per s", (10, 100)), ("daemons", (1, 2))):
            at = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |"))
            for line, count in zip(lines[at + 2:], counts):
                cells = [cell.strip() for cell in line.split("|")]
                self.assertEqual(cells[1], str(count), head)
                if head != "daemons" or os.cpu_count() > 1:
                    self.assertGreater(float(cells[2].replace(",", "")), 0, head)

    def test_a_wrong_byte_is_seen(self):
        """In what the client sends (round trip, up), and in what the server does (down)."""
        for row in ("round trip", "messages", "up 64 KiB", "down 64 KiB"):
            with self.subTest(row):
                done = run("--rows", row, "--spoil", "7000")
                self.assertEqual(done.returncode, 1, done.stderr)
                for system in ("direct", "asockd"):
                    self.assertIn(f"{system}: {row}", done.stderr)
                self.assertIn("wrong byte", done.stderr)


if __name__ == "__main__":
    unittest.main()
