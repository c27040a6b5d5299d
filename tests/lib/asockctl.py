# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run the built asockctl."""

import contextlib
import os
import select
import subprocess

BUILDDIR = os.environ.get("ASOCK_TEST_BUILDDIR", ".")
SRCDIR = os.environ.get("ASOCK_TEST_SRCDIR", ".")
TOOL = os.path.join(BUILDDIR, "asockctl")

# Long enough for anything that is alive.
DEADLINE = 60

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
    return subprocess.run([*wrapper, TOOL, *args], env=env or environment(), timeout=DEADLINE,
                          stdout=options.pop("stdout", subprocess.PIPE),
                          stderr=options.pop("stderr", subprocess.PIPE), **options)


def wait_for_child(tool):
    """Until the one child of the tool, which has begun, has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{tool.pid}/task/{tool.pid}/children") as file:
            for child in file.read().split():
                descriptor = os.pidfd_open(int(child))
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
