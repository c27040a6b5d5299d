# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stands on a terminal after a program has written to it: as much of a VT100 as curses uses."""

import re

ESCAPE = re.compile(r"\x1b(?:\[([?>]?)([0-9;]*)([@-~])|[()].|[=>78M])")


class Screen:

    def __init__(self, rows=24, columns=80):
        self.rows, self.columns = rows, columns
        self.row = self.column = 0
        self.cells = [[" "] * columns for _ in range(rows)]

    def text(self):
        return "\n".join("".join(line).rstrip() for line in self.cells).rstrip("\n") + "\n"

    def clear(self, row, first, last):
        self.cells[row][first:last] = [" "] * (last - first)

    def control(self, numbers, final):
        n = numbers[0] if numbers else 0
        if final in "Hf":
            self.row = max(n, 1) - 1
            self.column = (numbers[1] if len(numbers) > 1 else 1) - 1
        elif final == "A":
            self.row -= max(n, 1)
        elif final == "B":
            self.row += max(n, 1)
        elif final == "C":
            self.column += max(n, 1)
        elif final == "D":
            self.column -= max(n, 1)
        elif final == "K":
            first, last = {0: (self.column, self.columns), 1: (0, self.column + 1), 2: (0, self.columns)}[n]
            self.clear(self.row, first, last)
        elif final == "J":
            if n == 0:
                self.clear(self.row, self.column, self.columns)
            for row in range(self.row + 1 if n == 0 else 0, self.rows if n != 1 else self.row):
                self.clear(row, 0, self.columns)
        elif final not in "mrlhc":
            raise AssertionError(f"a sequence that is not known here: {numbers} {final!r}")

    def put(self, character):
        if self.column >= self.columns:
            self.column = 0
            self.row = min(self.row + 1, self.rows - 1)
        self.cells[self.row][self.column] = character
        self.column += 1

    def write(self, text):
        """Whole sequences."""
        place = 0
        while place < len(text):
            character = text[place]
            found = ESCAPE.match(text, place)
            if found:
                if found[3] and not found[1]:
                    self.control([int(n) for n in found[2].split(";") if n], found[3])
                place = found.end()
                continue
            place += 1
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self.row = min(self.row + 1, self.rows - 1)
            elif character == "\b":
                self.column -= 1
            elif character >= " ":
                self.put(character)
            elif character not in "\0\x0e\x0f\x07":
                raise AssertionError(f"a character that is not known here: {character!r}")


def shown(output, rows=24, columns=80):
    """The text of a terminal of that size behind all of this output; a sequence that is cut at its end is left out."""
    text = output.decode(errors="ignore")
    cut = text.rfind("\x1b")
    if cut >= 0 and not ESCAPE.match(text, cut):
        text = text[:cut]
    screen = Screen(rows, columns)
    screen.write(text)
    return screen.text()
