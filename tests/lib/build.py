# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the asockd of this build has to be started, whatever a test is about."""

import os

# What looks into a process, like a sanitizer, does system calls that the filter kills for.
INSTRUMENTED = os.environ.get("ASOCK_TEST_INSTRUMENTS", "no") != "no"
BUILD_OPTIONS = ["--seccomp=off"] if INSTRUMENTED else []
