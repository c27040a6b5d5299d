# SPDX-License-Identifier: LGPL-2.1-or-later
"""What asockd takes away from itself: the shipped filter, on the plain build."""

import os
import signal
import subprocess
import unittest

from asockd import DEADLINE, Daemon, binary
from build import INSTRUMENTED

if INSTRUMENTED:
    raise unittest.SkipTest("the filter is off in instrumented builds")


class Hardening(unittest.TestCase):
    def start(self, **options):
        daemon = Daemon("--allow-any", **options)
        self.addCleanup(daemon.stop, check=False)
        return daemon

    @staticmethod
    def status(daemon):
        with open(f"/proc/{daemon.pid}/status", encoding="ascii") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def misbehave(self, hook):
        """How asockd-hooks, which serves a client behind the same filter, ends of what it does."""
        if not os.path.exists(binary("asockd-hooks")):
            self.skipTest("no asockd-hooks was built")
        daemon = self.start(program="asockd-hooks", env={**os.environ, "ASOCKD_TEST_HOOK": hook})
        daemon.process.send_signal(signal.SIGUSR2)
        return daemon.process.wait(DEADLINE), daemon.output()

    def test_execve_kills(self):
        self.assertEqual(self.misbehave("execve")[0], -signal.SIGSYS)

    def test_ptrace_kills(self):
        self.assertEqual(self.misbehave("ptrace")[0], -signal.SIGSYS)

    def test_opening_for_writing_kills(self):
        self.assertEqual(self.misbehave("write")[0], -signal.SIGSYS)

    def test_creating_a_process_kills(self):
        self.assertEqual(self.misbehave("fork")[0], -signal.SIGSYS)

    def test_executable_memory_kills(self):
        self.assertEqual(self.misbehave("mmap")[0], -signal.SIGSYS)

    def test_listening_on_a_unix_socket_kills(self):
        """TCP may listen, for clients; what asockd itself has to serve was made before."""
        self.assertEqual(self.misbehave("listen")[0], -signal.SIGSYS)

    def test_other_sockets_kill(self):
        self.assertEqual(self.misbehave("socket")[0], -signal.SIGSYS)

    def test_signal_to_another_process_kills(self):
        self.assertEqual(self.misbehave("kill")[0], -signal.SIGSYS)

    def test_last_words_are_not_cut_off(self):
        """The C library's own complaint ends in abort(), with its message."""
        status, output = self.misbehave("free")
        self.assertEqual(status, -signal.SIGABRT)
        self.assertIn("free", output)

    def test_what_the_kernel_says(self):
        daemon = self.start()
        status = self.status(daemon)
        self.assertEqual(status["Seccomp"], "2")
        self.assertEqual(status["NoNewPrivs"], "1")
        if os.getuid() == 0:  # the files in /proc of a process that is not dumpable are root's
            self.assertEqual(os.stat(f"/proc/{daemon.pid}/fd").st_uid, 0)

    def test_filter_is_no_option(self):
        done = subprocess.run([binary(), "--seccomp=off", "--version"], capture_output=True,
                              text=True, timeout=DEADLINE, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("seccomp", done.stderr)
        helped = subprocess.run([binary(), "--help"], capture_output=True, text=True,
                                timeout=DEADLINE, check=True)
        self.assertNotIn("seccomp", helped.stdout)


if __name__ == "__main__":
    unittest.main()
