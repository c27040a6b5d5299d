# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the gates share: the tree they look at, its files, and TAP."""

import fnmatch
import os
import subprocess
import sys

ROOT = os.environ.get("ASOCK_TEST_SRCDIR") or os.getcwd()
BUILD = os.environ.get("ASOCK_TEST_BUILDDIR") or ROOT

# Without git (a release, distcheck): what configure and make leave behind.
GENERATED_DIRS = {".git", ".deps", ".libs", "autom4te.cache", "build", "__pycache__",
                  "_build", "_inst"}  # of distcheck
GENERATED = [
    "configure", "configure~", "aclocal.m4", "aminclude_static.am", "Makefile", "*Makefile.in",
    "config.h*", "config.log", "config.status", "libtool", "stamp-h1", "m4/lt*.m4",
    "m4/libtool.m4", "build-aux/ar-lib", "build-aux/compile", "build-aux/config.*",
    "build-aux/depcomp", "build-aux/install-sh", "build-aux/ltmain.sh", "build-aux/missing",
    "build-aux/tap-driver.sh", "build-aux/test-driver", "asockd", "asockctl",
    "client-lib/libasock.pc", "proto/fields.h", "*.pb-c.*", "*_pb2.py", "*.o", "*.lo", "*.la", "*.log", "*.trs",
    "*.unit", "*.int", "*.dirstamp", "*~", "*.swp", "*.orig", "*.rej", "*.gcno", "*.gcda",
]


def _from_git():
    try:
        top = subprocess.run(["git", "-C", ROOT, "rev-parse", "--show-toplevel"],
                             capture_output=True, text=True, check=True).stdout.strip()
        if os.path.realpath(top) != os.path.realpath(ROOT):
            return None  # an unpacked release inside some other repository
        names = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"],
                               capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        return None
    return [n for n in names if n and os.path.isfile(os.path.join(ROOT, n))]


def _from_disk():
    names = []
    for folder, dirs, files in os.walk(ROOT):
        base = os.path.relpath(folder, ROOT)
        dirs[:] = sorted(d for d in dirs if d not in GENERATED_DIRS and
                         not (base == "." and (d.startswith("build-") and d != "build-aux"
                                               or d.startswith("asockd-"))))
        for name in files:
            path = name if base == "." else os.path.join(base, name)
            if not any(fnmatch.fnmatch(path, pattern) for pattern in GENERATED):
                names.append(path)
    return names


def files(*patterns):
    """The project's own files, as paths from the root; all of them, or those that match."""
    names = sorted(_from_git() or _from_disk())
    if not patterns:
        return names
    return [n for n in names if any(fnmatch.fnmatch(n, p) for p in patterns)]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as stream:
        return stream.read()


def run(*command):
    """Standard output of a command that has to succeed."""
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


class Tap:
    """One result line per check; a check passes when it has no problems to tell."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def _line(self, status, text):
        self.count += 1
        print(f"{status} {self.count} - {text}", flush=True)

    def check(self, name, problems, looked_at):
        """looked_at: how many things were examined. Nothing examined is a failure."""
        if not looked_at:
            problems = list(problems) + ["nothing to look at: the gate is blind"]
        for problem in problems:
            print(f"# {name}: {problem}")
        print(f"# {name}: {looked_at} looked at, {len(problems)} wrong")
        self.failed += bool(problems)
        self._line("not ok" if problems else "ok", name)

    def skip(self, name, reason):
        print(f"SKIP {name}: {reason}", file=sys.stderr)
        self._line("ok", f"{name} # SKIP {reason}")

    def done(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failed else 0)


def exceptions(path):
    """Lines "NAME reason" of a list of exceptions; # begins a comment."""
    found = {}
    if not os.path.exists(os.path.join(ROOT, path)):
        return found
    for line in read(path).splitlines():
        words = line.split(None, 1)
        if words and not words[0].startswith("#"):
            found[words[0]] = words[1] if len(words) > 1 else ""
    return found


def judge(found, allowed, listed_in):
    """found: {name: problem}. What is not excepted, and the exceptions that are not needed any more."""
    problems = [text for name, text in sorted(found.items()) if name not in allowed]
    for name, reason in sorted(allowed.items()):
        if name not in found:
            problems.append(f"{listed_in}: {name} needs no exception any more: remove it")
        elif not reason:
            problems.append(f"{listed_in}: {name} gives no reason")
    return problems
