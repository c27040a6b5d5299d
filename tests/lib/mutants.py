# SPDX-License-Identifier: LGPL-2.1-or-later
"""The mutants of tests/mutants: what a file of them says, and the source that it makes.

    What is broken, in words.

    Tests: FILE ...            where the tests are, beside those of the item that the name says (sNN-what)

    @ FILE FUNCTION
     a line that stays
    -a line that goes
    +a line that comes

Each @ is one substitution: its lines that stay and go occur once, in this order, in that function, or
initialiser, or type; without a name, in the whole file. Space at the ends of a line does not count, so that
a mutant survives a new place, new neighbours and a new indentation, and nothing else.
"""

import glob
import os
import re


class Stale(Exception):
    """A mutant that does not say exactly one thing about the source."""


class Change:
    def __init__(self, path, place):
        self.path, self.place = path, place
        self.lines = []  # (" ", "-" or "+", text)

    def __str__(self):
        return f"{self.path} {self.place}".strip()


def item_of(path):
    """The number of the promise that the mutant of this name breaks, or None."""
    found = re.match(r"s(\d+)-", os.path.basename(path))
    return int(found.group(1)) if found else None


class Mutant:
    def __init__(self, path):
        self.name = os.path.basename(path).removesuffix(".mutant")
        with open(path, encoding="utf-8") as page:
            head, *changes = re.split(r"^(?=@ )", page.read(), flags=re.M)
        tests = re.search(r"^Tests: (.+)$", head, re.M)
        self.item = item_of(path)
        self.tests = tuple(tests.group(1).split()) if tests else ()
        self.changes = [self._change(*text.rstrip("\n").split("\n")) for text in changes]

    def _change(self, head, *lines):
        found = re.fullmatch(r"@ (\S+)(?: (\w+))?", head)
        if not found:
            raise Stale(f"{head!r} is not @ FILE FUNCTION")
        change = Change(found.group(1), found.group(2) or "")
        for line in lines:
            if line and line[0] not in " -+":
                raise Stale(f"{change}: {line!r} neither stays nor goes nor comes")
            change.lines.append((line[:1] or " ", line[1:]))
        if all(kind == " " for kind, _ in change.lines):
            raise Stale(f"{change}: nothing changes")
        return change

    def apply(self, top):
        """{path: its text with the mutant}; raises Stale."""
        edits = {}
        if not self.changes:
            raise Stale("no @ line")
        for change in self.changes:
            if change.path not in edits:
                edits[change.path] = (_read(top, change.path), [])
            source, places = edits[change.path]
            places.append((_find(source, change), change))
        return {path: "\n".join(_edited(source, places)) for path, (source, places) in edits.items()}


def load(top):
    return [Mutant(path) for path in sorted(glob.glob(f"{top}/tests/mutants/*.mutant"))]


def _read(top, path):
    try:
        with open(os.path.join(top, path), encoding="utf-8") as page:
            return page.read().split("\n")
    except FileNotFoundError:
        raise Stale(f"{path} is not there") from None


def blocks(lines):
    """(head, first, end) of each function, initialiser and type of C: line numbers; head: what stands before its brace."""
    first = None
    for number, line in enumerate(lines):
        if first is None:
            if re.match(r"[A-Za-z_]", line):
                first, body = number, None
        if first is None:
            continue
        if body is None:
            if "{" in line:
                head = " ".join(lines[first:number + 1])
                body = head[:head.index("{")]
            elif line.rstrip().endswith(";") or not line:
                first = None
                continue
        if body is not None and (line.startswith("}") or (number == first and line.rstrip().endswith(("}", "};")))):
            yield body, first, number + 1
            first = None


def _find(lines, change):
    """The line of the source at which the change begins."""
    ranges = [(0, len(lines))]
    if change.place:
        ranges = [(first, end) for head, first, end in blocks(lines)
                  if re.search(rf"\b{change.place}\b\s*(\(|\[|=|$)", head)]
        if len(ranges) != 1:
            raise Stale(f"{change}: {len(ranges)} places of that name")
    old = [text.strip() for kind, text in change.lines if kind != "+"]
    if not any(old):
        raise Stale(f"{change}: no line that stays or goes")
    first, end = ranges[0]
    bare = [line.strip() for line in lines[:end]]
    hits = [at for at in range(first, end - len(old) + 1) if bare[at:at + len(old)] == old]
    if len(hits) != 1:
        raise Stale(f"{change}: {len(hits)} places of {old[0]!r}" + (" and what follows" if len(old) > 1 else ""))
    return hits[0]


def _edited(lines, places):
    result, done = [], 0
    for at, change in sorted(places, key=lambda place: place[0]):
        if at < done:
            raise Stale(f"{change}: overlaps another change")
        result += lines[done:at]
        for kind, text in change.lines:
            if kind == "+":
                result.append(text)
            else:
                result += [lines[at]] if kind == " " else []
                at += 1
        done = at
    return result + lines[done:]
