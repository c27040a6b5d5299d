# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python package as a wheel: built as python/README.md says, installed into an empty folder, used from there."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import zipfile

import asockctl
from asockd import DaemonTest
from wire import DEADLINE

PYTHON = "/usr/bin/python3"  # Debian's, which has pip, setuptools and protobuf
PROGRAM = """
import sys, asock
assert asock.__file__.startswith(sys.argv[1]), asock.__file__
with asock.create_connection(("127.0.0.1", int(sys.argv[2]))) as sock:
    sock.sendall(b"from a wheel")
"""


def has_pip():
    return subprocess.run([PYTHON, "-m", "pip", "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


@unittest.skipUnless(has_pip(), "only --long installs pip")
class Wheel(DaemonTest):

    def run_python(self, *arguments, cwd=None, **environment):
        env = {"PATH": os.environ["PATH"], "HOME": self.directory, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
               "PIP_ROOT_USER_ACTION": "ignore", **environment}
        done = subprocess.run([PYTHON, *arguments], cwd=cwd or self.directory, env=env, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=4 * DEADLINE, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory(prefix="asockd-wheel-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def test_it_is_built_installed_and_used(self):
        with open(os.path.join(asockctl.SRCDIR, "python/README.md"), encoding="utf-8") as file:
            command = re.search(r"^    pip (wheel .* \./python)$", file.read(), re.M).group(1)
        # A build writes into the source.
        for name in ("python", "proto"):
            shutil.copytree(os.path.join(asockctl.SRCDIR, name), os.path.join(self.directory, name),
                            ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
        self.run_python("-m", "pip", *command.split())
        wheel, = glob.glob(os.path.join(self.directory, "*.whl"))
        self.assertRegex(os.path.basename(wheel), r"^asock-[0-9.]+-py3-none-any\.whl$")
        with zipfile.ZipFile(wheel) as file:
            names = {name for name in file.namelist() if ".dist-info/" not in name}
        sources = {os.path.basename(path) for path in glob.glob(os.path.join(asockctl.SRCDIR, "python/asock/*.py"))}
        self.assertEqual(names, {"asock/" + name for name in sources | {"py.typed", "asock_pb2.py"}})
        installed = os.path.join(self.directory, "installed")
        self.run_python("-m", "pip", "install", "--no-deps", "--target", installed, wheel)
        server = self.listener()
        self.run_python("-c", PROGRAM, installed, str(server.getsockname()[1]), PYTHONPATH=installed,
                        ASOCK_SOCKET=self.daemon.path)
        self.assertEqual(self.accept(server).recv(100), b"from a wheel")


if __name__ == "__main__":
    unittest.main()
