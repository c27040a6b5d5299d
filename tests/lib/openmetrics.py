# SPDX-License-Identifier: LGPL-2.1-or-later
"""A strict parser of OpenMetrics 1.0 text: anything that the specification does not allow is a ValueError."""

import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\Z")
SUFFIXES = {"counter": ("_total", "_created"), "gauge": ("",), "info": ("_info",),
            "histogram": ("_bucket", "_count", "_sum", "_created")}


def refuse(why, line):
    raise ValueError(f"{why}: {line!r}")


class Family:
    def __init__(self, name):
        self.name, self.type, self.unit, self.help = name, "unknown", "", None
        self.samples = []  # (suffix, labels, value)


def read_labels(text, line):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match or match.group(1) in labels:
            refuse("labels", line)
        labels[match.group(1)] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m.group(1), m.group(1)), match.group(2))
        at = match.end()
        if at < len(text) and (text[at] != "," or at + 1 == len(text)):
            refuse("labels", line)
        at += 1
    return labels


def read_sample(line, family):
    match = re.match(r"([^ {]+)(?:\{(.*)\})? ([^ ]+)\Z", line)
    if not match or not NAME.match(match.group(1)) or not NUMBER.match(match.group(3)):
        refuse("not a sample", line)
    if family is None or not match.group(1).startswith(family.name):
        refuse("a sample of no family, or of one that is over", line)
    suffix = match.group(1)[len(family.name):]
    if suffix not in SUFFIXES.get(family.type, ("",)):
        refuse(f"not a sample of a {family.type}", line)
    labels = read_labels(match.group(2) or "", line)
    if any(known[:2] == (suffix, labels) for known in family.samples):
        refuse("twice", line)
    family.samples.append((suffix, labels, match.group(3)))


def check_histogram(family):
    bounds = [(labels["le"], int(value)) for suffix, labels, value in family.samples if suffix == "_bucket"]
    numbers = [float(bound.replace("+Inf", "inf")) for bound, _ in bounds]
    if not bounds or bounds[-1][0] != "+Inf" or numbers != sorted(set(numbers)):
        refuse("bounds", family.name)
    for bound, _ in bounds[:-1]:
        if "." not in bound and "e" not in bound:
            refuse("a bound that is not canonical", bound)
    counts = [count for _, count in bounds]
    if counts != sorted(counts):
        refuse("buckets that do not add up", family.name)
    totals = {suffix: value for suffix, _, value in family.samples if suffix != "_bucket"}
    if int(totals["_count"]) != counts[-1] or float(totals["_sum"]) < 0:
        refuse("count and sum", family.name)


def check(family):
    if family.unit and not family.name.endswith("_" + family.unit):
        refuse("a name without its unit", family.name)
    if family.type == "histogram":
        check_histogram(family)
    for suffix, _, value in family.samples:
        if family.type == "counter" and (suffix != "_total" or float(value) < 0):
            refuse("a counter", family.name)
        if family.type == "info" and value != "1":
            refuse("an info", family.name)


def read_meta(line, families, family):
    match = re.match(r"# (TYPE|UNIT|HELP) ([^ ]+) (.*)\Z", line)
    if not match or not NAME.match(match.group(2)):
        refuse("neither TYPE, UNIT nor HELP", line)
    key, name, text = match.groups()
    if family is None or family.name != name:
        if name in families:
            refuse("a family in two places", line)
        family = families[name] = Family(name)
    if family.samples:
        refuse("behind its samples", line)
    if key == "TYPE":
        if text not in SUFFIXES or family.type != "unknown":
            refuse("TYPE", line)
        family.type = text
    elif key == "UNIT":
        family.unit = text
    else:
        if family.help is not None or re.search(r"\\(?![n\\\"])", text):
            refuse("HELP", line)
        family.help = text
    return family


def parse(text):
    """{name: Family}, of a whole exposition."""
    if not text.endswith("\n# EOF\n"):
        refuse("no # EOF at the end", text[-40:])
    families, family = {}, None
    for line in text[:-len("# EOF\n")].splitlines():
        if line.startswith("#"):
            family = read_meta(line, families, family)
        else:
            read_sample(line, family)
    names = set()
    for each in families.values():
        check(each)
        mine = {each.name + suffix for suffix in SUFFIXES[each.type]} | {each.name}
        if names & mine:
            refuse("two families of one name", each.name)
        names |= mine
    return families
