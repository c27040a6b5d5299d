# SPDX-License-Identifier: LGPL-2.1-or-later
"""What pyproject.toml cannot say: asock_pb2.py is made by protoc, from the schema of the whole project."""

import os
import subprocess

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Adds asock_pb2.py to the package."""

    def run(self):
        super().run()
        here = os.path.dirname(os.path.abspath(__file__))
        schema = os.path.join(here, "..", "proto")
        subprocess.run(["protoc", "--proto_path=" + schema, "--python_out=" + os.path.join(self.build_lib, "asock"),
                        os.path.join(schema, "asock.proto")], check=True)


setup(cmdclass={"build_py": BuildPy})
