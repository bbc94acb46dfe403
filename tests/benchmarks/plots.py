# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw plots of what the benchmarks wrote; `make benchmark-plots` calls it.

The same results give the same files, byte for byte. A plot names the machine, the programs' versions, and the file of
results that it was drawn from, with its digest.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import textwrap
import typing as t
from pathlib import Path

import matplotlib
from ansible_collections.unshare.container.tests.benchmarks import documents
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

HERE = Path("docs/plots")
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "unshare.container",  # ids that do not differ from run to run
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
}
INCH_OF_CAPTION = 0.14
CHARACTERS_OF_CAPTION = 150
WIDTH = 9.0  # inches

NAMES = {
    "module": "this collection",
    "module, base system": "this collection, base system",
    "run-container": "this collection, run-container",
    "bwrap": "bubblewrap",
    "crun-13": "crun of Debian 13",
    "crun-13, no filter": "crun of Debian 13, no filter",
    "lxc-start": "LXC",
    "systemd-nspawn -b": "systemd-nspawn --boot",
}
"""What a plot calls subjects; others it calls as the results do."""

UNCOUNTED = ("bwrap", "podman")
"""Subjects that do not wait for what they start, so that its processor time is not known."""
NOT_COUNTED = "the processor time of what bubblewrap and podman start is not known"

OWN = ("module", "module, base system", "run-container")
OWN_COLOURS = ("#c1272d", "#e8743b", "#f0a868")
COLOURS = ("#1f4e79", "#2e86ab", "#5aa469", "#7b5ea7", "#808080", "#b8860b", "#3c3c3c", "#9fb4c7")
MARKERS = "osD^vP*X"
OPERATIONS = (
    "first start",
    "stop",
    "start",
    "removal",
    "report",
    "status",
    "refresh",
    "collection of garbage, all",
)
RUNS = ("first deployment", "nothing to do", "report", "removal")
OF_TEN = "means: of ten containers; of all for report, status and refresh; the collection is one"
OF_RUNS = "one run of Ansible each, divided by the number of containers"
DOTS = "dot: median; line: quartiles; tick: least"
WALL, PROCESSOR = "wall time", "processor time"


class Drawing(t.NamedTuple):
    """A plot before it is written."""

    title: str
    note: str
    figure: Figure


@dataclasses.dataclass(frozen=True)
class Look:
    """How one subject is drawn."""

    colour: str
    marker: str


def looks(subjects: t.Iterable[str]) -> dict[str, Look]:
    """Return how each subject is drawn, so that none looks like another."""
    found, others = {}, 0
    for subject in sorted(subjects):
        if subject in OWN:
            found[subject] = Look(OWN_COLOURS[OWN.index(subject)], "o")
        else:
            found[subject] = Look(COLOURS[others % len(COLOURS)], MARKERS[others % len(MARKERS)])
            others += 1
    return found


def new_figure(height: float, panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of this height in inches, and its panels from left to right."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def written(value: float) -> str:
    """Return a number with three digits, or all that it has before the point."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def plain_numbers(axes: Axes, *names: str) -> None:
    """Give axes logarithmic scales whose numbers are written in full."""
    for name in names:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def dots(axes: Axes, found: list[documents.Samples], order: list[str]) -> None:
    """Draw a row for each subject: the median, the quartiles, and the least."""
    for samples in found:
        row = order.index(samples.subject)
        colour = OWN_COLOURS[0] if samples.subject in OWN else COLOURS[0]
        axes.plot(samples.quartiles, [row, row], color=colour, linewidth=2, alpha=0.5)
        axes.plot([samples.least], [row], marker="|", color=colour, markersize=9)
        axes.plot([samples.median], [row], marker="o", color=colour)
        axes.annotate(
            f"{samples.median:.3g}", (samples.median, row), (0, 5), textcoords="offset points", ha="center", fontsize=7
        )
    axes.set_yticks(range(len(order)), [NAMES.get(name, name) for name in order])
    axes.set_ylim(len(order) - 0.4, -0.7)
    plain_numbers(axes, "x")
    axes.set_xlabel(found[0].unit)


def rows_of(document: documents.Document, benchmark: str, title: str) -> Drawing | None:
    """Draw a benchmark's subjects beside each other, their processor time too when that was measured."""
    wall = document.of(benchmark)
    if not wall:
        return None
    counted = [
        samples for samples in document.of(benchmark + documents.PROCESSOR_TIME) if samples.subject not in UNCOUNTED
    ]
    panels = {WALL: wall, PROCESSOR: counted} if counted else {WALL: wall}
    order = [samples.subject for samples in wall]
    figure, axes = new_figure(1.3 + 0.3 * len(order), len(panels))
    for number, (one, (name, samples)) in enumerate(zip(axes, panels.items(), strict=True)):
        dots(one, samples, order)
        one.set_title(name, loc="left", fontsize=9)
        if number:
            one.tick_params(labelleft=False)
    return Drawing(title, f"{DOTS}; {len(wall[0].values)} rounds{'; ' + NOT_COUNTED if counted else ''}", figure)


def launch(document: documents.Document) -> Drawing | None:
    """Draw what a program in a new container takes."""
    return rows_of(document, "launch", "One program in a new container")


def ready(document: documents.Document) -> Drawing | None:
    """Draw what a base system takes until it is ready."""
    return rows_of(document, "ready", "A base system with systemd, until it is ready")


def mounts(document: documents.Document) -> Drawing | None:
    """Draw what the number of mappings costs."""
    panels = {
        WALL: document.by_number_of_benchmark("mounts"),
        PROCESSOR: document.by_number_of_benchmark("mounts", documents.PROCESSOR_TIME),
    }
    if not panels[WALL]:
        return None
    shown = looks(subject for subject in panels[WALL] if not subject.endswith(", no filter"))
    figure, axes = new_figure(4.2, len(panels))
    rounds: set[int] = set()
    for one, (name, subjects) in zip(axes, panels.items(), strict=True):
        for subject, look in shown.items():
            pairs = subjects[subject]
            rounds.update(len(samples.values) for _number, samples in pairs)
            if name == WALL or subject not in UNCOUNTED:
                line(one, pairs, NAMES.get(subject, subject), look)
        finish_lines(one, name, "directories bound read-only", "ms")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    note = f"medians, of {min(rounds)} rounds at least; {NOT_COUNTED}"
    return Drawing("One program in a new container with mappings", note, figure)


def line(axes: Axes, pairs: list[tuple[int, documents.Samples]], label: str, look: Look) -> None:
    """Draw medians by a number."""
    numbers, medians = [number for number, _samples in pairs], [samples.median for _number, samples in pairs]
    axes.plot(numbers, medians, marker=look.marker, color=look.colour, label=label, markersize=5, linewidth=1.3)
    axes.set_xticks(numbers)


def finish_lines(axes: Axes, title: str, numbers: str, unit: str) -> None:
    """Name a panel's axes, both of which are logarithmic."""
    ticks = axes.get_xticks()
    plain_numbers(axes, "x", "y")
    axes.set_xticks(ticks)
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel(numbers)
    axes.set_ylabel(unit)


def scale_of(
    kind: str, title: str, operations: tuple[str, ...] = OPERATIONS, what: str = OF_TEN
) -> t.Callable[[documents.Document], Drawing | None]:
    """Return what draws an operation's cost by the number of containers that are there."""

    def draw(document: documents.Document) -> Drawing | None:
        if not document.by_number_of_subject(f"{kind}, {operations[0]}"):
            return None
        figure, axes = new_figure(3.8, 2)
        for one, (name, suffix) in zip(axes, ((PROCESSOR, ""), (WALL, ", wall")), strict=True):
            for number, operation in enumerate(operations):
                pairs = document.by_number_of_subject(f"{kind}, {operation}{suffix}")
                if pairs:
                    line(one, pairs, operation, Look(COLOURS[number], MARKERS[number]))
            finish_lines(one, name, "containers on the host", "ms")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
        return Drawing(title, what, figure)

    return draw


def archives(document: documents.Document) -> Drawing | None:
    """Draw archives and snapshots beside tar, in times of tar's median."""
    compared = [
        benchmark
        for benchmark, subjects in document.benchmarks.items()
        if {"module", "tar"} <= subjects.keys() and not benchmark.endswith(documents.PROCESSOR_TIME)
    ]
    if not compared:
        return None
    figure, axes = new_figure(1.3 + 0.3 * len(compared), 2)
    for number, (one, (name, suffix)) in enumerate(
        zip(axes, ((WALL, ""), (PROCESSOR, documents.PROCESSOR_TIME)), strict=True)
    ):
        for row, benchmark in enumerate(compared):
            subjects = document.benchmarks[benchmark + suffix]
            for subject, colour in (("tar", COLOURS[0]), ("module", OWN_COLOURS[0])):
                least, most = subjects[subject].quartiles
                base = subjects["tar"].median
                one.plot([least / base, most / base], [row, row], color=colour, linewidth=2, alpha=0.5)
                label = NAMES.get(subject, "GNU tar") if not row else None
                one.plot([subjects[subject].median / base], [row], "o", color=colour, label=label)
        one.set_yticks(range(len(compared)), compared)
        one.set_ylim(len(compared) - 0.4, -0.7)
        one.set_xlim(left=0)
        one.set_title(name, loc="left", fontsize=9)
        one.set_xlabel("times that of tar")
        if number:
            one.tick_params(labelleft=False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    rounds = len(document.benchmarks[compared[0]]["tar"].values)
    return Drawing(
        "Archives and snapshots of volumes beside tar", f"dot: median; line: quartiles; {rounds} rounds", figure
    )


PLOTS: dict[str, t.Callable[[documents.Document], Drawing | None]] = {
    "launch": launch,
    "mounts": mounts,
    "ready": ready,
    "scale-alone": scale_of("alone", "Beside containers without a network"),
    "scale-zone": scale_of("zone", "Beside containers that are all in one zone"),
    "scale-zones": scale_of("zones", "Beside containers in zones of ten"),
    "scale-deployed": scale_of("deployed", "A host of so many containers, by whole runs of the role", RUNS, OF_RUNS),
    "archives": archives,
}
"""What draws each plot of the results that have its samples."""


def caption(document: documents.Document, note: str) -> str:
    """Return what stands below a plot."""
    source = f"{document.path.name}; {note}"
    texts = [source, document.machine(), document.programs(), *document.absent()]
    return "\n".join(wrapped for text in texts for wrapped in textwrap.wrap(text, CHARACTERS_OF_CAPTION))


def write(drawing: Drawing, document: documents.Document, path: Path) -> None:
    """Write a plot as SVG, without a date."""
    text = caption(document, drawing.note)
    height = INCH_OF_CAPTION * (1 + text.count("\n")) + 0.1
    width, above = drawing.figure.get_size_inches()
    drawing.figure.set_size_inches(width, above + height)
    share = height / (above + height)
    drawing.figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))
    drawing.figure.suptitle(drawing.title, x=0.01, ha="left", fontsize=11, weight="bold")
    drawing.figure.text(0.01, 0.05 / (above + height), text, fontsize=7, va="bottom", color="#555555", linespacing=1.3)
    about = {"Title": drawing.title, "Source": f"{document.path.name} sha256:{document.digest}"}
    drawing.figure.savefig(path, format="svg", metadata={**about, "Date": None, "Creator": None})


def draw_all(files: list[Path], directory: Path) -> list[Path]:
    """Draw all plots that the files have samples for, and return their paths.

    Raises:
        documents.Unreadable: a file is not the results of a benchmark, or two have samples for the same plot.
    """
    drawn_from: dict[str, Path] = {}
    paths = []
    for file in files:
        document = documents.read(file)
        for name, draw in PLOTS.items():
            drawing = draw(document)
            if drawing is None:
                continue
            if name in drawn_from:
                raise documents.Unreadable(f"{file}: has what {drawn_from[name]} has, too: {name}; name one of them")
            drawn_from[name] = file
            paths.append(directory / f"{name}.svg")
            write(drawing, document, paths[-1])
    return paths


def main() -> int:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", nargs="*", type=Path, help=f"what benchmarks wrote ({HERE}/*.json)")
    parser.add_argument("--output", type=Path, default=HERE, help="directory for the plots (%(default)s)")
    arguments = parser.parse_args()
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    try:
        for path in draw_all(arguments.results or sorted(HERE.glob("*.json")), arguments.output):
            print(path)
    except (OSError, documents.Unreadable) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
