# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run the built asockctl."""

import contextlib
import os
import select
import signal
import subprocess
import sys

BUILDDIR = os.environ.get("ASOCK_TEST_BUILDDIR", ".")
SRCDIR = os.environ.get("ASOCK_TEST_SRCDIR", ".")
TOOL = os.path.join(BUILDDIR, "asockctl")

# Long enough for anything that is alive; and for a command, which may start programs by the dozen on a busy machine.
DEADLINE = 60
COMMAND_DEADLINE = 4 * DEADLINE

# For a program with a socket: sends as much as the kernel takes, prints the number of bytes, and exits with status 3.
SEND_AND_END = """
sock.setblocking(False)
count = 0
try:
    while True:
        count += sock.send(bytes(1 << 16))
except BlockingIOError:
    print(count, flush=True)
    os._exit(3)
"""


# docs/asockctl.schema.json: objects of --json, and how the names of their members begin in text.
OBJECTS = {"audit": "audit_", "connect": "connect_", "limits": "limit_", "options": "option_", "policy": "policy_", "quota": "quota_",
           "tcp": "tcp_"}


def names_in_text(told):
    """The names of an object of --json, as the text has them."""
    names = []
    for name, value in told.items():
        names += [OBJECTS[name] + each for each in value] if name in OBJECTS else [name]
    return names


def environment(**extra):
    """This process's, but for what would lead the tool elsewhere."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ASOCK_")}
    env["LC_ALL"] = "C.UTF-8"
    env.update(extra)
    return env


def run(*args, env=None, stdin=subprocess.DEVNULL, wrapper=(), **options):
    """The completed tool: returncode, stdout and stderr as bytes."""
    if not isinstance(stdin, (bytes, bytearray)):
        options["stdin"] = stdin
    else:
        options["input"] = stdin
    return subprocess.run([*wrapper, TOOL, *args], env=env or environment(), timeout=COMMAND_DEADLINE,
                          stdout=options.pop("stdout", subprocess.PIPE),
                          stderr=options.pop("stderr", subprocess.PIPE), **options)


def find_child(tool):
    """The process of the tool's command, not that which watches for signals to the group (ctl/witness.c); None: it has ended."""
    with open(f"/proc/{tool.pid}/task/{tool.pid}/children", encoding="ascii") as file:
        for child in map(int, file.read().split()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{child}/comm", "rb") as name:
                if name.read() != b"group-witness\n":
                    return child
    return None


def wait_for_child(tool):
    """Until the one child of the tool, which has begun, has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if (child := find_child(tool)) is not None:
            descriptor = os.pidfd_open(child)
            select.select([descriptor], [], [], DEADLINE)
            os.close(descriptor)


def catches(tool, number):
    with open(f"/proc/{tool.pid}/status") as file:
        caught = next(line for line in file if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> number - 1 & 1 == 1


def read_all(sock):
    """How many bytes come until the end of the stream."""
    count = 0
    while data := sock.recv(1 << 16):
        count += len(data)
    return count


class Tool(subprocess.Popen):
    """The tool while it runs."""

    def __init__(self, *args, env=None, wrapper=(), **options):
        super().__init__([*wrapper, TOOL, *args], env=env or environment(), **options)

    def close(self):
        """Ends it, if it has not ended."""
        if self.poll() is None:
            self.kill()
        self.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


# Stops itself three times, and says how often it has been continued; may leave the process group.
CONTINUED = """
import os, signal, sys
if sys.argv[1] == "own":
    os.setpgid(0, 0)
count = 0
def note(number, _):
    global count
    count += 1
signal.signal(signal.SIGCONT, note)
for _ in range(3):
    os.kill(os.getpid(), signal.SIGSTOP)
print(count, flush=True)
"""


def check_continues(test, start):
    """One SIGCONT, to the group or to asockctl alone, is one for the command."""
    for send in (os.kill, os.killpg):
        for group in ("same", "own"):
            tool = start(sys.executable, "-c", CONTINUED, group, start_new_session=True)
            for _ in range(3):
                test.assertTrue(os.WIFSTOPPED(os.waitpid(tool.pid, os.WUNTRACED)[1]))
                send(tool.pid, signal.SIGCONT)
            test.assertEqual(tool.stdout.readline(), b"3\n", (send, group))
            test.assertEqual(tool.wait(DEADLINE), 0)


# Says each signal, and may leave the process group.
COUNT = """
import os, signal, sys
if sys.argv[1] == "own":
    os.setpgid(0, 0)
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: print(signal.Signals(number).name, flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


def check_signals(test, start):
    """One to the group reaches the command once, and so does one to asockctl alone. start() takes a command and options."""
    for group in ("same", "own"):
        tool = start(sys.executable, "-c", COUNT, group, start_new_session=True)
        test.assertEqual(tool.stdout.readline(), b"ready\n")
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.killpg(tool.pid, number)
            test.assertEqual(tool.stdout.readline().decode(), number.name + "\n")
            # Another one of the first would be handled before this one.
            tool.send_signal(signal.SIGUSR2)
            test.assertEqual(tool.stdout.readline(), b"SIGUSR2\n")
        # By its name: whatever else is called so, the command gets it.
        subprocess.run(["pkill", "-USR1", "-g", str(tool.pid), "-f", "asockctl.* -- .*python"], check=True)
        test.assertEqual(tool.stdout.readline(), b"SIGUSR1\n")
        command = find_child(tool)
        tool.kill()
        test.assertEqual(tool.wait(DEADLINE), -signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(command, signal.SIGKILL)  # else it would wait for the next signal
