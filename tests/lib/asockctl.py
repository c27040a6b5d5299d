# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run the built asockctl."""

import os
import subprocess

BUILDDIR = os.environ.get("ASOCK_TEST_BUILDDIR", ".")
SRCDIR = os.environ.get("ASOCK_TEST_SRCDIR", ".")
TOOL = os.path.join(BUILDDIR, "asockctl")

# Long enough for anything that is alive.
DEADLINE = 60


def environment(**extra):
    """This process's, but for what would lead the tool elsewhere."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ASOCK_")}
    env["LC_ALL"] = "C.UTF-8"
    env.update(extra)
    return env


def run(*args, env=None, stdin=subprocess.DEVNULL, **options):
    """The completed tool: returncode, stdout and stderr as octets."""
    if not isinstance(stdin, (bytes, bytearray)):
        options["stdin"] = stdin
    else:
        options["input"] = stdin
    return subprocess.run([TOOL, *args], env=env or environment(), timeout=DEADLINE,
                          stdout=options.pop("stdout", subprocess.PIPE),
                          stderr=options.pop("stderr", subprocess.PIPE), **options)


def start(*args, env=None, **options):
    return subprocess.Popen([TOOL, *args], env=env or environment(), **options)
