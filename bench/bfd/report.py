"""The report of one run: table, aims, list and picture."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.bfd.aims import AIMS, Figures
from bench.bfd.daemons import DAEMONS
from bench.bfd.measures import QUOTA, SHARES, Trial
from bench.support import machine
from bench.support.report import (
    cell,
    figure,
    median,
    p99,
    percent_over,
    percent_under,
    quote,
    table,
    write_json,
)

ROOT = Path(__file__).parents[2]


class Row(NamedTuple):
    """How a measure is derived from samples and shown."""

    measure: str
    samples: str
    title: str
    unit: str
    summary: Callable[[Sequence[float]], float] = median


ROWS = (
    Row("cpu_100ms", "cpu_100ms", "CPU, {n} at 100 ms", "ms/s"),
    Row("cpu_10ms", "cpu_10ms", "CPU, {n} at 10 ms", "ms/s"),
    Row(
        "cpu_100ms_one_address",
        "cpu_100ms_one_address",
        "CPU, {n} at 100 ms from one address",
        "ms/s",
    ),
    Row(
        "cpu_100ms_against_bird",
        "cpu_100ms_against_bird",
        "CPU, {n} at 100 ms, BIRD as the peer",
        "ms/s",
    ),
    Row("detection_median", "detection", "detection beyond nominal, 50 ms x 3: median", "ms"),
    Row("detection_p99", "detection", "detection beyond nominal, 50 ms x 3: p99", "ms", p99),
    Row(
        "detection_against_bird_median",
        "detection_against_bird",
        "the same, BIRD as the peer: median",
        "ms",
    ),
    Row(
        "detection_against_bird_p99",
        "detection_against_bird",
        "the same, BIRD as the peer: p99",
        "ms",
        p99,
    ),
    Row("first_packet", "first_packet", "start to first packet", "ms"),
    Row("up", "up", "start to Up", "ms"),
    Row("spacing_over_100", "spacing", "packets later than 100 % of 50 ms", "%", percent_over(100)),
    Row(
        "spacing_under_75", "spacing", "packets earlier than 75 % of 50 ms", "%", percent_under(75)
    ),
    Row("flaps", "flaps", "flaps of {n} at 100 ms under pressure", "", sum),
    Row("rss", "rss", "resident memory, {n}", "MB"),
)


class Results:
    """Samples of every round, and remarks."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str, int], list[list[float]]] = defaultdict(list)
        self.remarks: list[str] = []

    def add(self, trial: Trial, samples: dict[str, list[float]], remark: str = "") -> None:
        """Take what a trial has brought."""
        for name, values in samples.items():
            self._samples[name, trial.daemon, trial.sessions].append(values)
        line = f"{trial.label}: {remark}"
        if remark and line not in self.remarks:
            self.remarks.append(line)

    def figures(self) -> Figures:
        """Everything that was measured, in the order of the rows."""
        found: Figures = {}
        for row in ROWS:
            for (name, daemon, n), rounds in sorted(
                self._samples.items(), key=lambda item: (item[0][2], _place(item[0][1]))
            ):
                if name == row.samples:
                    made = figure(row.measure, daemon, n, rounds, row.unit, row.summary)
                    if made is not None:
                        found[row.measure, daemon, n] = made
        return found


def _place(daemon: str) -> int:
    names = list(DAEMONS)
    return names.index(daemon) if daemon in names else len(names)


def systems(figures: Figures) -> list[str]:
    """The daemons of a run, vegd first."""
    return sorted({daemon for _, daemon, _ in figures}, key=_place)


def rows(figures: Figures) -> Iterable[list[str]]:
    """The lines of the big table; ratios are to vegd."""
    daemons = systems(figures)
    for row in ROWS:
        for n in sorted({n for what, _, n in figures if what == row.measure}):
            base = figures.get((row.measure, "vegd", n))
            unit = f", {row.unit}" if row.unit else ""
            yield [
                row.title.format(n=_count(n)) + unit,
                *(cell(figures.get((row.measure, d, n)), base) for d in daemons),
            ]


def _count(n: int) -> str:
    return "1 session" if n == 1 else f"{n:,} sessions"


def judged(figures: Figures) -> Iterable[list[str]]:
    """The lines of the table of aims."""
    for aim in AIMS:
        found = aim.found(figures)
        text, met = ("not measured", None) if found is None else found
        yield [aim.text, text, {True: "met", False: "**missed**", None: "-"}[met]]


def summary(figures: Figures, where: str) -> str:
    """What the README quotes."""
    more = "[All figures and the aims](bench/results/bfd.md)"
    return f"Measured {where}. {more}.\n\n" + table(
        ["", *systems(figures)],
        [
            line
            for line in rows(figures)
            if not line[0].startswith(("the same", "CPU, 16", "packets"))
        ],
    )


def write(
    results: Results, directory: Path, versions: Sequence[str], note: str = "", *, publish: bool
) -> Path:
    """Write bfd.md, bfd.json and bfd.svg; with `publish`, the README quotes them, too."""
    figures = results.figures()
    where = machine.describe() + note
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "bfd.json", figures.values(), "daemon", "sessions")
    remarks = "\n".join(f"* {line}" for line in results.remarks) or "None."
    path = directory / "bfd.md"
    path.write_text(
        f"# BFD daemons side by side\n\n{where}.\n{', '.join(versions)}.\n\n"
        f"{table(['', *systems(figures)], rows(figures))}\n\n"
        "Each figure is over all rounds (CPU, memory, times: the median); in brackets the least and"
        " the greatest of a round; then how many times vegd's figure it is. CPU is user and system"
        " time per second. Sessions have an address pair each, detection multiplier 3."
        f" Under pressure: CPU quota {QUOTA:.0%}, CPU shares {SHARES}, four busy loops on two"
        " cores. A dash: not asked for, or not possible.\n\n"
        f"## Aims\n\n{table(['aim', 'reached', ''], judged(figures))}\n\n"
        f"## Remarks\n\n{remarks}\n\n![The same as a picture](bfd.svg)\n"
    )
    draw(directory / "bfd.svg", figures, where)
    if publish:
        quote(ROOT / "README.md", "bench-bfd", summary(figures, where))
    return path


_COLOURS = ("#c03030", "#4878b0", "#5a9e6f", "#e0a030", "#8f6bb3", "#999999")


def draw(path: Path, figures: Figures, title: str) -> None:
    """CPU over sessions, and bars for what is one number each."""
    import matplotlib as mpl  # noqa: PLC0415 - slow, and only needed here
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    daemons = systems(figures)
    colours = {d: _COLOURS[n % len(_COLOURS)] for n, d in enumerate(daemons)}
    canvas = Canvas(figsize=(13, 7.5), layout="constrained")
    FigureCanvasSVG(canvas)
    grid = canvas.subplots(2, 2)
    cpu = grid[0][0]
    for daemon in daemons:
        line = _line(figures, "cpu_100ms", daemon)
        if line:
            cpu.plot(*zip(*line, strict=True), marker="o", color=colours[daemon], label=daemon)
    cpu.set(xscale="log", yscale="log", xlabel="sessions at 100 ms", ylabel="CPU, ms/s")
    cpu.legend()
    for axes, measure, label in (
        (grid[0][1], "detection_p99", "detection beyond nominal, p99, ms"),
        (grid[1][0], "up", "start to Up, ms"),
        (grid[1][1], "spacing_over_100", "packets later than the interval, %"),
    ):
        bars = [f for (what, _, _), f in figures.items() if what == measure]
        axes.barh(
            [f.system for f in bars],
            [f.value for f in bars],
            color=[colours[f.system] for f in bars],
            xerr=[
                [max(f.value - f.spread[0], 0) for f in bars],
                [max(f.spread[1] - f.value, 0) for f in bars],
            ],
        )
        axes.invert_yaxis()
        axes.set_xlabel(label)
    canvas.suptitle(title, fontsize=10, x=0.01, ha="left")
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vegd"}):
        canvas.savefig(path, format="svg")


def _line(figures: Figures, measure: str, daemon: str) -> list[tuple[int, float]]:
    return sorted(
        (n, found.value)
        for (what, who, n), found in figures.items()
        if (what, who) == (measure, daemon)
    )
