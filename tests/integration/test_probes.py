# SPDX-License-Identifier: LGPL-2.1-or-later
"""The built daemon has the static probes that asockd(8) lists, with the same numbers of arguments."""

import os
import re
import subprocess
import unittest

from asockd import binary

SRCDIR = os.environ["ASOCK_TEST_SRCDIR"]
BUILDDIR = os.environ["ASOCK_TEST_BUILDDIR"]


def documented():
    """{name: count of arguments}"""
    with open(os.path.join(SRCDIR, "man/asockd.8"), encoding="utf-8") as file:
        section = re.search(r"^\.Sh PROBES\n(.*?)^\.Sh ", file.read(), re.M | re.S).group(1)
    listed = re.findall(r"^\.It Ic (\w+)\n((?:(?!\.It|\.El).*\n)+)", section, re.M)
    return {name: len(re.sub(r"^\.Pq.*", "", text, flags=re.M).split(",")) for name, text in listed}


def noted():
    """[(provider, name, count of arguments)], from the notes of the ELF file."""
    notes = subprocess.run(["readelf", "--notes", "--wide", binary()], capture_output=True, text=True, check=True,
                           env={**os.environ, "LC_ALL": "C"}).stdout
    found = re.findall(r"Provider: (\S+)\s+Name: (\S+)\s+Location: 0x([0-9a-f]+),.*\n\s+Arguments: ?(.*)", notes)
    for _, name, location, _ in found:
        assert int(location, 16) > 0, name
    return [(provider, name, len(arguments.split())) for provider, name, _, arguments in found]


class Probes(unittest.TestCase):

    def test_they_are_the_documented_ones(self):
        with open(os.path.join(BUILDDIR, "config.h"), encoding="utf-8") as file:
            has_probes = "#define HAVE_SDT 1" in file.read()
        notes = noted()
        if not has_probes:
            self.assertEqual(notes, [])
            self.skipTest("built without sys/sdt.h")
        self.assertEqual({provider for provider, _, _ in notes}, {"asockd"})
        self.assertGreater(len(documented()), 5)
        # A compiler may put a probe into several places.
        self.assertEqual({(name, count) for _, name, count in notes}, set(documented().items()))


if __name__ == "__main__":
    unittest.main()
