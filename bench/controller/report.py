"""The report of one run: table, aims and picture."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.controller.measures import Samples
from bench.support import machine
from bench.support.report import Figure, cell, figure, median, p99, short, table, write_json

TITLES = {
    "first_s": ("start to converged, everything to be made", "s", median),
    "first_cpu": ("CPU until then", "s", median),
    "again_s": ("start to converged, nothing to be made", "s", median),
    "again_cpu": ("CPU until then, nothing to be made", "s", median),
    "again_commits": ("transactions in OVN meanwhile", "", median),
    "change_ms": ("a pod's change to its row in OVN, median", "ms", median),
    "change_p99": ("the same, 99th percentile", "ms", p99),
    "change_cpu": ("CPU of the controller for one change", "ms", median),
    "rss": ("resident memory", "MB", median),
}

Figures = dict[tuple[str, int], Figure]
"""By measure and number of gateways."""


class Results:
    """Samples by number of gateways."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, int], list[list[float]]] = defaultdict(list)

    def add(self, gateways: int, samples: Samples) -> None:
        """Take what a measurement has brought."""
        for name, values in samples.items():
            self._samples[name, gateways].append(values)
            if name == "change_ms":
                self._samples["change_p99", gateways].append(values)

    def figures(self) -> Figures:
        """Everything that was measured."""
        found: Figures = {}
        for (name, gateways), rounds in self._samples.items():
            _, unit, summary = TITLES[name]
            made = figure(name, "controller", gateways, rounds, unit, summary)
            if made is not None:
                found[name, gateways] = made
        return found


def write(results: Results, directory: Path, pods: int, *, whole: bool) -> Path:
    """Write controller.md, controller.json and controller.svg."""
    figures = results.figures()
    sizes = sorted({n for _, n in figures})
    where = machine.describe()
    size = "" if whole else " A quick run: small numbers."
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "controller.json", figures.values(), "system", "gateways")
    header = ["", *(f"{n:,} gateways, {n * pods:,} pods" for n in sizes)]
    rows = (
        [title + (f", {unit}" if unit else ""), *(cell(figures.get((name, n))) for n in sizes)]
        for name, (title, unit, _) in TITLES.items()
    )
    path = directory / "controller.md"
    path.write_text(
        f"# The controller with many gateways\n\n{where}.{size}\n\n"
        "A real API server with etcd and a real northbound database on the same two cores as the "
        "controller; no agents, no ovn-northd. Every gateway selects the pods of one namespace "
        "and has BFD.\n\n"
        f"{table(header, rows)}\n\n"
        f"## Aims\n\n{table(['aim', 'reached', ''], _aims(figures, sizes))}\n\n"
        "![The same as a picture](controller.svg)\n"
    )
    _draw(directory / "controller.svg", figures, where + "." + size)
    return path


def _aims(figures: Figures, sizes: list[int]) -> Iterator[list[str]]:
    most = sizes[-1]
    for text, name, limit, unit in (
        ("a pod's change to its row: at most 100 ms (median)", "change_ms", 100, "ms"),
        ("restart to converged: at most 30 s", "again_s", 30, "s"),
        ("nothing written when nothing changed", "again_commits", 0, "transactions"),
    ):
        found = figures.get((name, most))
        if found is None:
            yield [text, "not measured", "-"]
            continue
        met = "met" if found.value <= limit else "**missed**"
        yield [text, f"{short(found.value)} {unit}", met]
    few, many = (figures.get(("change_cpu", n)) for n in (sizes[0], most))
    if few and many and most > sizes[0]:
        ratio = many.value / few.value
        text = f"cost of one change flat: at most 1.5 x that with {sizes[0]:,} gateways"
        yield [text, f"{ratio:.2f} x", "met" if ratio <= 1.5 else "**missed**"]


def _draw(path: Path, figures: Figures, title: str) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - slow, and only needed here
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    canvas = Canvas(figsize=(13, 4), layout="constrained")
    FigureCanvasSVG(canvas)
    grid = canvas.subplots(1, 3)
    for axes, names, unit in (
        (grid[0], ("first_s", "again_s"), "s"),
        (grid[1], ("change_ms", "change_p99"), "ms"),
        (grid[2], ("rss",), "MB"),
    ):
        for name in names:
            line = sorted((n, each.value) for (what, n), each in figures.items() if what == name)
            if line:
                axes.plot(*zip(*line, strict=True), marker="o", label=TITLES[name][0])
        axes.set(xlabel="gateways", ylabel=unit, ylim=(0, None))
        axes.legend(fontsize=8)
    canvas.suptitle(title, fontsize=10, x=0.01, ha="left")
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vegd"}):
        canvas.savefig(path, format="svg")
