# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run one unittest module and print its results as TAP, one line per test method.

    tap.py FILE.py

ASOCK_TEST_ONLY: the names of the test methods to run, with commas between them.
TAP goes to standard output alone; whatever the tests print goes to standard error.
"""

import ast
import importlib.util
import os
import sys
import unittest


class TapResult(unittest.TestResult):
    """Writes each result the moment its test ends."""

    def __init__(self, out):
        super().__init__()
        self.out = out
        self.count = 0
        self.broken = None

    def line(self, ok, test, directive=""):
        self.count += 1
        name = test.id().split(".", 1)[-1]
        print(f"{'ok' if ok else 'not ok'} {self.count} - {name}{directive}",
              file=self.out, flush=True)

    def diagnose(self, test, err):
        text = self._exc_info_to_string(err, test)
        for row in text.rstrip().splitlines():
            print("# " + row, file=self.out)

    def startTest(self, test):
        super().startTest(test)
        self.broken = False
        print(f"--- {test.id()}", file=sys.stderr, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line(True, test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.diagnose(test, err)
        self.line(False, test)

    addError = None

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        one_line = " ".join(reason.split())
        print(f"SKIP {test.id()}: {one_line}", file=sys.stderr, flush=True)
        self.line(True, test, f" # SKIP {one_line}")

    # A known failure belongs into an issue, not into a green run: neither of these passes.
    def addExpectedFailure(self, test, err):
        self.addFailure(test, err)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.line(False, test)

    def addSubTest(self, test, subtest, err):
        # Each failing subtest is reported; its test then has no success of its own.
        if err is not None:
            self.addFailure(subtest, err)


TapResult.addError = TapResult.addFailure


def refuse_twins(body, of):
    """If a name is defined twice, Python keeps the second definition, and the tests of the first never run."""
    names = set()
    for one in body:
        if isinstance(one, (ast.ClassDef, ast.FunctionDef)) and not one.decorator_list:
            if one.name in names:
                raise SyntaxError(f"{of}: {one.name} is defined twice (line {one.lineno})")
            names.add(one.name)
        if isinstance(one, ast.ClassDef):
            refuse_twins(one.body, f"{of}: {one.name}")


def load(path):
    with open(path, encoding="utf-8") as source:
        refuse_twins(ast.parse(source.read()).body, path)
    name = os.path.splitext(os.path.basename(path))[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def chosen(suite, names):
    """Each test class keeps a suite of its own, so that its setUpClass() runs."""
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield unittest.TestSuite(chosen(part, names))
        elif part.id().rsplit(".", 1)[-1] in names:
            yield part


def main():
    path = sys.argv[1]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        module = load(path)
    except unittest.SkipTest as skip:
        reason = " ".join(str(skip).split())
        print(f"SKIP {path}: {reason}", file=sys.stderr)
        print(f"1..0 # SKIP {reason}", file=out)
        return 0
    only = os.environ.get("ASOCK_TEST_ONLY")
    suite = unittest.TestLoader().loadTestsFromModule(module)
    if only:
        suite = unittest.TestSuite(chosen(suite, only.split(",")))
    result = TapResult(out)
    suite.run(result)
    print(f"1..{result.count}", file=out, flush=True)
    return 0 if result.wasSuccessful() and result.count else 1


if __name__ == "__main__":
    sys.exit(main())
