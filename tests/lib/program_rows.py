# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of docs/programs.md: what the tests of tests/programs say of themselves, read without running them."""

import ast

BEGIN, END = "<!-- begin: tests/programs/write-table -->", "<!-- end: tests/programs/write-table -->"


class Row:
    """One test with the decorator @program(name, how, works)."""

    def __init__(self, test, program, how, works):
        self.test, self.program, self.how, self.works = test, program, how, works

    def cells(self):
        return [f"`{self.test}`", self.program, self.how, self.works]


def rows(sources):
    """Of all these texts."""
    found = []
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            for call in getattr(node, "decorator_list", ()):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "program":
                    found.append(Row(node.name, *(ast.literal_eval(value) for value in call.args[:3])))
    return found


def table(document):
    """Its lines, as lists of cells, without the heading."""
    _, begin, rest = document.partition(BEGIN + "\n")
    lines, end, _ = rest.partition(END)
    if not begin or not end:
        return []
    return [line.strip("|").split(" | ") for line in lines.strip().splitlines()[2:]]


def problems(wanted, document):
    """The differences between the document's table and the tests."""
    told = {cells[0].strip(): [cell.strip() for cell in cells[:4]] for cells in table(document)}
    found = [f"{row.test} is not in the table, or not as it is in the test" for row in wanted
             if told.pop(f"`{row.test}`", None) != row.cells()]
    return found + [f"there is no test {test}" for test in told]
