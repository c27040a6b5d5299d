# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stop a process of one thread as a terminal or a debugger does."""

import os
import signal


def suspend(pid):
    """Send SIGSTOP, and return once the process stands still: until then it may go on with its work."""
    os.kill(pid, signal.SIGSTOP)
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        while stat.read().rsplit(")", 1)[1].split()[0] != "T":
            os.sched_yield()
            stat.seek(0)
