# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run a program on a terminal of its own."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import asockctl


class Terminal:
    """A program on a pseudo terminal of so many columns; output gathers what it writes."""

    def __init__(self, *command, columns=80, rows=24, env=None, stdout=None, stderr=None):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave if stdout is None else stdout,
                                        stderr=slave if stderr is None else stderr, start_new_session=True,
                                        env=env or asockctl.environment(TERM="xterm"))
        os.close(slave)
        self.pid = self.process.pid
        self.output = b""

    def read(self, timeout=asockctl.DEADLINE):
        """More output; False at its end."""
        if not select.select([self.master], [], [], timeout)[0]:
            raise AssertionError(f"nothing more comes behind {self.output[-300:]}")
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # EIO: no process has the terminal open any more
            data = b""
        self.output += data
        return bool(data)

    def until(self, condition):
        """Reads until condition(self) is true."""
        limit = time.monotonic() + asockctl.DEADLINE
        while not condition(self):
            if time.monotonic() > limit or not self.read():
                raise AssertionError(f"in vain: {self.output[-2000:]}")

    def write(self, text):
        os.write(self.master, text.encode())

    def finish(self):
        """The exit status, and all output with plain newlines."""
        while self.read():
            pass
        status = self.process.wait(asockctl.DEADLINE)
        return status, self.output.decode().replace("\r\n", "\n")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


def run(*args, columns=80, **options):
    """asockctl on a terminal: its exit status and what stood there."""
    terminal = Terminal(asockctl.TOOL, *args, columns=columns, **options)
    try:
        return terminal.finish()
    finally:
        terminal.close()
