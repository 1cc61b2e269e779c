"""Line plots on logarithmic axes, as SVG, with only the standard library. They have their own background, and
another one for readers who prefer dark mode."""
import math
import statistics
from html import escape

WIDTH, HEIGHT, MARGIN = 440, 330, (76, 44, 32, 56)  # of a panel; left, top, right, bottom
# The colours of the background, the text, the grid and each series.
LIGHT = ("#ffffff", "#1f2328", "#d1d9e0", ["#0550ae", "#b35900", "#1a7f37", "#8250df", "#cf222e", "#57606a", "#bf3989"])
DARK = ("#0d1117", "#e6edf3", "#3d444d", ["#79c0ff", "#ffa657", "#56d364", "#d2a8ff", "#ff7b72", "#8b949e", "#f778ba"])


def colours(ground, text, grid, series):
    rules = [f".ground {{ fill: {ground} }} text {{ fill: {text} }} .grid {{ stroke: {grid} }}"]
    rules += [f".s{number} {{ stroke: {colour} }} .m{number} {{ fill: {colour} }}" for number, colour in enumerate(series)]
    return "\n".join(rules)


STYLE = f"""
text {{ font: 12px system-ui, sans-serif }} .title {{ font-size: 14px; font-weight: 600 }}
.middle {{ text-anchor: middle }} .end {{ text-anchor: end }}
.grid {{ fill: none }} .series {{ fill: none; stroke-width: 2 }}
{colours(*LIGHT)}
@media (prefers-color-scheme: dark) {{
{colours(*DARK)}
}}
"""
# To tell them apart without colours too.
DASHES = ["", "7 4", "2 3", "", "7 4", "2 3", ""]
MARKERS = [
    lambda x, y, css: f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
    lambda x, y, css: f'<rect class="{css}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
    lambda x, y, css: f'<path class="{css}" d="M{x:.1f} {y - 5:.1f}l5 9h-10z"/>',
    lambda x, y, css: f'<path class="{css}" d="M{x:.1f} {y + 5:.1f}l5 -9h-10z"/>',
    lambda x, y, css: f'<path class="{css}" d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z"/>',
    lambda x, y, css: f'<rect class="{css}" x="{x - 2:.1f}" y="{y - 5:.1f}" width="4" height="10"/>',
    lambda x, y, css: f'<rect class="{css}" x="{x - 5:.1f}" y="{y - 2:.1f}" width="10" height="4"/>',
]


def bytes_label(size):
    for unit, shift in [("GiB", 30), ("MiB", 20), ("KiB", 10)]:
        if size >= 1 << shift:
            return f"{size / (1 << shift):g} {unit}"
    return f"{size} B"


def seconds_label(value):
    for unit, size in [("s", 1), ("ms", 1e-3), ("µs", 1e-6)]:
        if value >= size * 0.999:
            return f"{value / size:.0f} {unit}"
    return f"{value / 1e-9:.0f} ns"


def rate_label(value):
    return f"{value / 1e9:g} GB/s" if value >= 1e9 else f"{value / 1e6:g} MB/s"


def decades(values):
    """The powers of ten that enclose all values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def place(value, low, high, start, end):
    share = (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return start + share * (end - start)


def panel(number, title, x_name, y_name, lines, x_ticks, x_label, y_ticks, y_label):
    """`lines` has the points of each series, by its number."""
    left, top, right, bottom = MARGIN
    x0, x1 = number * WIDTH + left, (number + 1) * WIDTH - right
    y0, y1 = HEIGHT - bottom, top
    out = [f'<text class="title" x="{x0}" y="{top - 16}">{escape(title)}</text>']
    for value in y_ticks:
        y = place(value, y_ticks[0], y_ticks[-1], y0, y1)
        out.append(f'<path class="grid" d="M{x0} {y:.1f}H{x1}"/>')
        out.append(f'<text class="end" x="{x0 - 6}" y="{y + 4:.1f}">{y_label(value)}</text>')
    free_from = 0
    for value in x_ticks:
        x = place(value, x_ticks[0], x_ticks[-1], x0, x1)
        out.append(f'<path class="grid" d="M{x:.1f} {y0}V{y1}"/>')
        if x < free_from:
            continue  # no room for its label
        free_from = x + 48
        out.append(f'<text class="middle" x="{x:.1f}" y="{y0 + 17}">{x_label(value)}</text>')
    out.append(f'<text class="middle" x="{(x0 + x1) / 2}" y="{y0 + 38}">{escape(x_name)}</text>')
    out.append(f'<text class="end" x="{x1}" y="{top - 16}">{escape(y_name)}</text>')
    for series, points in lines.items():
        at = [
            (place(x, x_ticks[0], x_ticks[-1], x0, x1), place(y, y_ticks[0], y_ticks[-1], y0, y1)) for x, y in sorted(points)
        ]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        dash = f' stroke-dasharray="{DASHES[series]}"' if DASHES[series] else ""
        out.append(f'<path class="series s{series}" d="M{path}"{dash}/>')
        out += [MARKERS[series](x, y, f"m{series}") for x, y in at]
    return out


def drawing(description, panels, names):
    width = WIDTH * len(panels)
    # The names stand below the panels, in as many rows as they need.
    places, x, y = [], MARGIN[0], HEIGHT + 10
    for name in names:
        if x + 44 + 7 * len(name) > width:
            x, y = MARGIN[0], y + 20
        places.append((x, y))
        x += 74 + 7 * len(name)
    height = y + 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{escape(description)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}" rx="6"/>',
    ]
    out += [element for elements in panels for element in elements]
    for series, (name, (x, y)) in enumerate(zip(names, places)):
        dash = f' stroke-dasharray="{DASHES[series]}"' if DASHES[series] else ""
        out.append(f'<path class="series s{series}" d="M{x} {y}h36"{dash}/>')
        out.append(MARKERS[series](x + 18, y, f"m{series}"))
        out.append(f'<text x="{x + 44}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def throughput(results):
    names = ["catalog stage", "openssl dgst -sha256", "cp and sync"]
    systems = results.systems()
    lines = {}
    for system in systems:
        found = {
            series: [(size, rate) for size in results.sizes(system) if (rate := results.throughput(system, size, name))]
            for series, name in enumerate(names)
        }
        lines[system] = {series: points for series, points in found.items() if points}
    rates = [rate for found in lines.values() for points in found.values() for _, rate in points]
    sizes = sorted({size for found in lines.values() for points in found.values() for size, _ in points})
    panels = [
        panel(number, system, "size of the file, a process each", "bytes a second", lines[system], sizes, bytes_label,
              decades(rates), rate_label)
        for number, system in enumerate(systems)
    ]
    return drawing("Bytes a second of catalog stage, openssl and cp with a sync, by size of the file", panels, names)


def puts(results):
    lines = {
        number: [(count, statistics.median(line["seconds"]) / count) for count, line in runs.items()]
        for number, runs in enumerate(results.puts.values())
    }
    times = [time for points in lines.values() for _, time in points]
    counts = sorted({count for points in lines.values() for count, _ in points})
    one = panel(0, "small files", "files in one call", "time of each", lines, counts, lambda count: f"{count:,}",
                decades(times), seconds_label)
    names = list(results.puts)
    return drawing("Time of one file of 10 KB, by the number of files in a call, of each program", [one], names)


def entries(results):
    names = ["catalog", "cacache, not synced", "cacache and a sync"]
    works = [
        ("get", "get, warm", ["catalog get", "cacache metadata", None]),
        ("put", "put", ["catalog put", "cacache write", "cacache write and sync"]),
        ("list", "list, warm", ["catalog list", "cacache list", None]),
    ]
    counts = results.counts()
    lines = {
        work: {
            series: [(count, median) for count in counts if (median := results.median((work, count), program))]
            for series, program in enumerate(programs) if program
        }
        for work, _, programs in works
    }
    times = [time for found in lines.values() for points in found.values() for _, time in points]
    panels = [
        panel(number, title, "entries", "time of one", lines[work], counts, lambda count: f"{count:,}", decades(times),
              seconds_label)
        for number, (work, title, _) in enumerate(works)
    ]
    return drawing("Time of get, put and list of the catalog and of cacache, by number of entries", panels, names)


# What one process of the catalog and of cacache does with one entry, and the commands that read all entries.
SCALE = [
    ("get, warm", "get, warm", "get", "cacache metadata"),
    ("put of a path, durable", "put of a path, durable", "put", "cacache write and sync"),
    ("list", "list, a process", "list", "cacache list"),
]
SCALE_ALL = ["gc --dry-run", "doctor"]


def scale(results):
    """Time against the number of entries, then time and memory of the commands that look at all of them."""
    kinds = list(results.scale)
    names = [*kinds, "cacache, a file for each, put and synced", *(f"{work}, {kind}" for work in SCALE_ALL for kind in kinds)]
    times, panels = {}, []
    for work, title, peer_work, peer in SCALE:
        lines = {series: timed(results.scale[kind].get(work, {})) for series, kind in enumerate(kinds)}
        lines[len(kinds)] = [(count, median) for count in results.counts() if (median := results.median((peer_work, count), peer))]
        times[title] = {series: points for series, points in lines.items() if points}
    every = {
        number: results.scale[kind].get(work, {})
        for number, (work, kind) in enumerate(((work, kind) for work in SCALE_ALL for kind in kinds), len(kinds) + 1)
    }
    times["gc --dry-run, doctor"] = {series: timed(lines) for series, lines in every.items()}
    memory = {
        series: [(count, line["private_bytes"]) for count, line in lines.items()]
        for series, lines in [*enumerate(results.scale[kind].get("list", {}) for kind in kinds), *every.items()]
    }
    counts = sorted({count for lines in times.values() for points in lines.values() for count, _ in points})
    seconds = decades([y for lines in times.values() for points in lines.values() for _, y in points])
    sizes = decades([y for points in memory.values() for _, y in points])
    for number, (title, lines) in enumerate(times.items()):
        panels.append(panel(number, title, "entries", "time of one", lines, counts, count_label, seconds, seconds_label))
    panels.append(panel(len(times), "list, gc, doctor", "entries", "private memory", memory, counts, count_label, sizes,
                        memory_label))
    return drawing("Time and memory by number of entries, up to a million", panels, names)


def timed(lines):
    return [(count, statistics.median(line["seconds"])) for count, line in lines.items()]


def count_label(count):
    return f"{count:,}"


def memory_label(size):
    return f"{size / 1e9:g} GB" if size >= 1e9 else f"{size / 1e6:g} MB"
