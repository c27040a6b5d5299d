#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The items of docs/SEMANTICS.md and the tests that carry their names.

    items.py DOCUMENT BUILD    one line per item: what became of its tests in that build

Reads the results that the TAP driver has left in the logs. Exit status 1: an item failed, or none of its tests has passed.
"""

import collections
import os
import re
import sys

Item = collections.namedtuple("Item", "number is_later")


def parse(text):
    """The items in the order in which they stand."""
    return [Item(int(number), bool(later)) for number, later in
            re.findall(r"^- \*\*S(\d+)\*\*( \(later\))?", text, re.M)]


def levels(text):
    """[(folder of tests, the numbers of the items that it owns)] of the table of levels."""
    rows = re.findall(r"^\| `(tests/\w+)` \|.*\| (S\d[^|]*) \|$", text, re.M)
    return [(folder, [number for first, last in re.findall(r"S(\d+)(?: to S(\d+))?", ranges)
                      for number in range(int(first), int(last or first) + 1)]) for folder, ranges in rows]


def number_of(test):
    """test_s25_… or Class.test_s25_…: 25; else None."""
    found = re.match(r"(?:\w+\.)?test_s(\d+)_", test)
    return int(found.group(1)) if found else None


def defined_tests(text):
    """Tests of a file in C or Python; one may name several items (test_s17_s20_…), the first is its own."""
    return re.findall(r"^(?:START_(?:LOOP_)?TEST\(| +def )(test_\w+)\(?", text, re.M)


def quoted_tests(text):
    return sorted(set(re.findall(r"`(test_\w+)`", text)))


def results(build):
    """(status, test) of each result of the suites that speak of items."""
    for suite in ("conformance", "protocol", "unit"):
        for folder, _, files in os.walk(os.path.join(build, "tests", suite)):
            for name in sorted(files):
                if name.endswith(".log"):
                    with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as log:
                        yield from re.findall(r"^([A-Z]+): \S+ \d+ - (\S+)", log.read(), re.M)


def line(item, counts):
    if item.is_later:
        return "later"
    passed, skipped = counts["PASS"], counts["SKIP"]
    failed = sum(counts.values()) - passed - skipped
    text = "FAILED" if failed else "ok" if passed else "not shown"
    parts = [f"{passed} test{'' if passed == 1 else 's'}"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{skipped} skipped"] if skipped else []
    return f"{text} {', '.join(parts)}"


def main():
    with open(sys.argv[1], encoding="utf-8") as page:
        found = parse(page.read())
    counts = collections.defaultdict(collections.Counter)
    for status, test in results(sys.argv[2]):
        counts[number_of(test)][status] += 1
    lines = {item: line(item, counts[item.number]) for item in found}
    for item, text in lines.items():
        print(f"S{item.number} {text}")
    return 0 if found and all(text.startswith(("ok", "later")) for text in lines.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
