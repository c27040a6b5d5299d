# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the asockd of this build has to be started, whatever a test is about."""

import os
import re

# What looks into a process, like a sanitizer, does system calls that the filter kills for.
INSTRUMENTED = os.environ.get("ASOCK_TEST_INSTRUMENTS", "no") != "no"
BUILD_OPTIONS = ["--seccomp=off"] if INSTRUMENTED else []


def make_variable(name):
    """The words that the Makefile has for it."""
    with open(os.path.join(os.environ["ASOCK_TEST_BUILDDIR"], "Makefile"), encoding="utf-8") as makefile:
        return re.search(rf"^{name} =(.*)$", makefile.read(), re.M).group(1).split()
