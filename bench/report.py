# SPDX-License-Identifier: LGPL-2.1-or-later
"""The results of the measurements: a table, JSON, a plot."""

import datetime
import json
import os
import platform
import statistics
import subprocess

BEGIN = "<!-- begin: bench/run --write -->"
END = "<!-- end: bench/run --write -->"
BEGIN_PROXIES = "<!-- begin: bench/run --proxies --write -->"
END_PROXIES = "<!-- end: bench/run --proxies --write -->"
BEGIN_LENT = "<!-- begin: bench/run --lent --write -->"
END_LENT = "<!-- end: bench/run --lent --write -->"
BEGIN_DATAGRAMS = "<!-- begin: bench/run --datagrams --write -->"
END_DATAGRAMS = "<!-- end: bench/run --datagrams --write -->"
BEGIN_TRANSPARENT = "<!-- begin: bench/run --transparent --write -->"
END_TRANSPARENT = "<!-- end: bench/run --transparent --write -->"
BEGIN_CROSSOVER = "<!-- begin: bench/run --crossover --write -->"
END_CROSSOVER = "<!-- end: bench/run --crossover --write -->"
BULK_CPU = "256 KiB"


def size_name(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def about(build, options, here, load):
    """The machine, by what matters to the figures; neither its name nor its paths."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    git = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True,
                         text=True, check=False)
    return {"date": datetime.date.today().isoformat(),
            "commit": git.stdout.strip() if git.returncode == 0 else "a release",
            "processor": models[0] if models else platform.machine(),
            "cores": len(models) or os.cpu_count(),
            "kernel": ".".join(platform.release().split(".")[:2]),
            "load": f"{load:.1f}",
            "compiled": compiler_flags(build),
            "seconds": 0.02 if options.quick else options.seconds}


def compiler_flags(build):
    """What configure wrote: the user's flags, and those of link-time optimisation."""
    try:
        with open(os.path.join(build, "Makefile"), encoding="utf-8") as file:
            lines = [line.partition(" = ") for line in file]
    except OSError:
        return "unknown"
    flags = [value.strip() for name, _, value in lines if name in ("CFLAGS", "LTO_CFLAGS")]
    return " ".join(filter(None, flags)) or "none"


# ---- figures: what a row's results say ----

def per_second(r):
    return r["units"] / r["seconds"]


def gigabytes(r):
    return r["bytes"] / r["seconds"] / 1e9


def cpu(r, amount):
    """CPU time of all processes for each unit of amount; None: it was not measured."""
    return (r["cpu_client"] + r["cpu_others"]) / amount if "cpu_others" in r else None


class Figure:
    """One line of the table: of a row of the results, a number per round; how it is written."""

    def __init__(self, name, row, unit, value, form, base=None):
        self.name, self.row, self.unit, self.form, self.value = name, row, unit, form, value
        self.base = base or row

    def rounds(self, data, system, row=None):
        results = data["rows"].get(row or self.row, {}).get(system, [])
        return [self.value(r) if r else None for r in results]

    def median(self, data, system):
        values = [v for v in self.rounds(data, system) if v is not None]
        return statistics.median(values) if values else None

    def ratio(self, data, system):
        """The median of the rounds' ratios to the direct socket."""
        pairs = zip(self.rounds(data, system), self.rounds(data, "direct", self.base))
        ratios = [a / b for a, b in pairs if a is not None and b]
        return statistics.median(ratios) if ratios else None


def plain_row(name):
    return name.split(", shared memory")[0].split(", errors only")[0]


def figures(data):
    names = list(data["rows"])
    for name in names:
        if name == "round trip":
            yield Figure("round trip of 64 bytes, median", name, "µs", lambda r: r["p50_us"], "{:.1f}")
            yield Figure("round trip of 64 bytes, 99th percentile", name, "µs", lambda r: r["p99_us"], "{:.1f}")
        elif name.startswith("connect alone"):
            yield Figure(f"{name}, median", name, "µs", lambda r: r["p50_us"], "{:.1f}")
        elif name.startswith(("up", "down")):
            yield Figure(name, name, "GB/s", gigabytes, "{:.2f}", plain_row(name))
        else:
            yield Figure(name, name, "per s", per_second, "{:,.0f}")
    for name in names:
        if name.startswith(("up " + BULK_CPU, "down " + BULK_CPU)):
            yield Figure(f"processor time, {name}", name, "ms per GB",
                         lambda r: cpu(r, r["bytes"] / 1e12), "{:.0f}", plain_row(name))
        elif name.startswith(("messages", "datagram")):
            yield Figure(f"processor time, {name}", name, "s per million", lambda r: cpu(r, r["units"] / 1e6),
                         "{:.1f}")


# ---- the table ----

def line(cells):
    return "| " + " | ".join(cells) + " |"


def ratio_text(ratio):
    return f"{ratio:.2f}".removeprefix("0")


def cell(figure, data, system):
    median, ratio = figure.median(data, system), figure.ratio(data, system)
    if median is None:
        return ""
    text = figure.form.format(median)
    return text if system == "direct" or ratio is None else f"**{ratio_text(ratio)}** · {text}"


def memory_lines(data):
    memory = {k: v for k, v in data["idle"].items() if v}
    if not memory:
        return
    base = memory.get("direct", {}).get("kernel")

    def cells(value):
        return [value(memory[s]) if s in memory else "" for s in data["systems"]]
    yield line(["idle connections held", ""] + cells(lambda m: f"{m['connections']:,.0f}"))
    yield line(["memory of the proxy for each", "bytes"] +
               ["" if s == "direct" or s not in memory else f"{memory[s]['user']:,.0f}" for s in data["systems"]])
    yield line(["memory of the client for each", "bytes"] + cells(lambda m: f"{m['client']:,.0f}"))
    yield line(["memory of the kernel for each", "bytes"] + cells(lambda m: f"{m['kernel']:,.0f}"))
    if base is not None:
        yield line(["of it beyond direct", "bytes"] + cells(lambda m: f"{m['kernel'] - base:,.0f}"))


def table(data):
    systems = data["systems"]
    lines = [line(["", ""] + systems), line(["---", "---"] + ["---:"] * len(systems))]
    for figure in figures(data):
        lines.append(line([figure.name, figure.unit] + [cell(figure, data, s) for s in systems]))
    lines += memory_lines(data)
    return "\n".join(lines)


def heading(data, figures_are="**Bold**: the ratio to direct."):
    a = data["about"]
    cores = "all on one core" if data["cores"] == 1 else "client and server on one core, the proxy on another"
    text = (f"{a['date']}, commit {a['commit']}, {a['processor']} ({a['cores']} cores), Linux {a['kernel']}, "
            f"CFLAGS {a['compiled']}; {cores}; medians of {data['rounds']} rounds of {a['seconds']} s for each "
            f"figure; load of the machine before {a['load']}.")
    if data["missing"]:
        text += " Not installed: " + "; ".join(data["missing"]) + "."
    return f"{text} {figures_are}"


# ---- where inline ends and shared memory begins ----

# A column: its name, the system, and the end of the row's name.
CROSSOVER = (("inline", "asockd, inline", ""), ("copied through shared memory", "asockd", ""),
             ("by reference", "asockd", ", shared memory"))


def crossover(data):
    """Heading and table."""
    found = {f.name: f for f in figures(data)}
    sizes = list(dict.fromkeys(name.split(" ", 1)[1].split(",")[0] for name in data["rows"]))
    lines = [line(["operations of"] + [f"{way}, {name}" for way in ("up", "down") for name, *_ in CROSSOVER]),
             line(["---"] + ["---:"] * 2 * len(CROSSOVER))]
    for size in sizes:
        cells = []
        for way in ("up", "down"):
            for _, system, end in CROSSOVER:
                figure = found.get(f"{way} {size}{end}")
                ratio = figure.ratio(data, system) if figure else None
                cells.append("" if ratio is None else ratio_text(ratio))
        lines.append(line([size] + cells))
    return heading(data, "Ratios to a direct socket.") + "\n\n" + "\n".join(lines)


# ---- the plot: a panel of bars for each figure ----

PANELS = ("round trip of 64 bytes, median", "messages, 64 connections", "up 64 KiB", "up 1 MiB", "down 64 KiB",
          "down 1 MiB", "connect-echo-close, one at a time", "connect-echo-close, 16 at once")
COLOURS = {"direct": "#888888", "asockd": "#c0392b", "asockd, shared": "#e67e22"}
BAR, GAP, LABEL, WIDTH, TOP = 14, 4, 160, 260, 24


def bars(figure, data):
    for system in data["systems"]:
        yield system, figure.ratio(data, system)
        if system == "asockd":
            shared = [f for f in figures(data) if f.name == f"{figure.name}, shared memory"]
            if shared:
                yield "asockd, shared", shared[0].ratio(data, system)


def panel(figure, data, x, y):
    out = [f'<text x="{x}" y="{y + 12}" font-weight="bold">{figure.name}</text>']
    y += TOP
    found = [(name, ratio) for name, ratio in bars(figure, data) if ratio is not None]
    scale = WIDTH / max(ratio for _, ratio in found)
    for name, ratio in found:
        out.append(f'<text x="{x + LABEL - 6}" y="{y + 11}" text-anchor="end">{name}</text>'
                   f'<rect x="{x + LABEL}" y="{y}" width="{ratio * scale:.1f}" height="{BAR}" '
                   f'fill="{COLOURS.get(name, "#5b8db8")}"/>'
                   f'<text x="{x + LABEL + ratio * scale + 4:.1f}" y="{y + 11}">{ratio_text(ratio)}</text>')
        y += BAR + GAP
    return out, y + GAP


def plot(data):
    """Ratios to direct; longer is slower for the round trip, faster elsewhere."""
    chosen = {f.name: f for f in figures(data)}
    out, y, bottom, column = [], 30, 30, 0
    for name in PANELS:
        if name not in chosen or chosen[name].ratio(data, "direct") is None:
            continue
        lines, end = panel(chosen[name], data, 10 + column * (LABEL + WIDTH + 60), y)
        out += lines
        bottom = max(bottom, end)
        column = 1 - column
        if column == 0:
            y = bottom
    title = "Ratio to a direct kernel socket (round trip: less is better; elsewhere: more is better)"
    width = 2 * (LABEL + WIDTH + 60) + 20
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + 10}" '
            f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="10" y="18" font-size="13">{title}</text>' + "\n".join(out) + "</svg>\n")


# ---- output ----

def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def put(page, begin, end, text):
    """Text instead of what stands between both marks."""
    with open(page, encoding="utf-8") as file:
        before, rest = file.read().split(begin, 1)
    after = rest.split(end, 1)[1]
    write(page, f"{before}{begin}\n\n{text}\n\n{end}{after}")


def write_crossover(data, here):
    put(os.path.join(here, os.pardir, "docs", "PERFORMANCE.md"), BEGIN_CROSSOVER, END_CROSSOVER, crossover(data))


def write_proxies(data, here):
    put(os.path.join(here, "README.md"), BEGIN_PROXIES, END_PROXIES, f"{heading(data)}\n\n{table(data)}")


def write_lent(data, here):
    put(os.path.join(here, "README.md"), BEGIN_LENT, END_LENT, f"{heading(data)}\n\n{table(data)}")


def write_datagrams(data, here):
    put(os.path.join(here, "README.md"), BEGIN_DATAGRAMS, END_DATAGRAMS, f"{heading(data)}\n\n{table(data)}")


def write_transparent(data, here):
    put(os.path.join(here, "README.md"), BEGIN_TRANSPARENT, END_TRANSPARENT, f"{heading(data)}\n\n{table(data)}")


def write_readme(data, here):
    put(os.path.join(here, "README.md"), BEGIN.replace("--write", f"--write --cores {data['cores']}"), END,
        f"{heading(data)}\n\n{table(data)}")


def show(data, options, here):
    print(crossover(data) if options.crossover else heading(data) + "\n\n" + table(data))
    if options.json:
        write(options.json, json.dumps(data, indent=1) + "\n")
    if options.svg:
        write(options.svg, plot(data))
    if options.write and options.crossover:
        write_crossover(data, here)
    elif options.write and options.proxies:
        write_proxies(data, here)
    elif options.write and options.lent:
        write_lent(data, here)
    elif options.write and options.datagrams:
        write_datagrams(data, here)
    elif options.write and options.transparent:
        write_transparent(data, here)
    elif options.write:
        write_readme(data, here)
