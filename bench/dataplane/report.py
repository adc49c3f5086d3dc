"""The report of one run: table, aims, list and picture."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.dataplane.measures import Samples
from bench.dataplane.site import KUBE_OVN, NO_SNAT, PLAIN, VEGD
from bench.support import machine
from bench.support.report import Figure, cell, figure, short, table, write_json

SYSTEMS = (VEGD, NO_SNAT, KUBE_OVN, PLAIN)
TITLES = {
    "first_apply": ("first apply, {n} sources", "ms"),
    "one_source": ("one source added or removed, {n} present", "ms"),
    "connections": ("new connections", "1/s"),
    "throughput": ("throughput of one TCP connection", "Gbit/s"),
    "connections_addresses": ("new connections, external addresses: {n}", "1/s"),
    "ports_in_use": ("ports in use after that, external addresses: {n}", ""),
    "rest_cpu": ("CPU of the agent at rest, policies of {n} gateways", "ms/s"),
    "scrape_ms": ("longest scrape, {n} connections tracked", "ms"),
    "scrape_pause": ("longest wait for another answer meanwhile, {n} tracked", "ms"),
    "scrape_cpu": ("CPU of the agent with a scrape every 5 s, {n} tracked", "ms/s"),
    "scrape_rss": ("resident memory of the agent after it, {n} tracked", "MB"),
    "rest_rss": ("resident memory of the agent at rest, policies of {n} gateways", "MB"),
}

Figures = dict[tuple[str, str, int], Figure]
"""By measure, system and number."""


class Results:
    """Samples of every round, and remarks."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str, int], list[list[float]]] = defaultdict(list)
        self.remarks: list[str] = []

    def add(self, system: str, n: int, samples: Samples) -> None:
        """Take what a trial has brought."""
        for name, values in samples.items():
            self._samples[name, system, n].append(values)

    def figures(self) -> Figures:
        """Everything that was measured: the median over the rounds."""
        found: Figures = {}
        for name, (_, unit) in TITLES.items():
            for (measure, system, n), rounds in sorted(self._samples.items()):
                made = figure(measure, system, n, rounds, unit) if measure == name else None
                if made is not None:
                    found[measure, system, n] = made
        return found


def rows(figures: Figures) -> Iterator[list[str]]:
    """The lines of the table; ratios are to vegd."""
    for measure, (title, unit) in TITLES.items():
        for n in sorted({n for what, _, n in figures if what == measure}):
            base = figures.get((measure, VEGD, n))
            yield [
                title.format(n=f"{n:,}") + (f", {unit}" if unit else ""),
                *(cell(figures.get((measure, system, n)), base) for system in SYSTEMS),
            ]


def aims(figures: Figures) -> Iterator[list[str]]:
    """The lines of the table of aims."""

    def at_most(text: str, measure: str, n: int, limit: float, unit: str) -> list[str]:
        ours = figures.get((measure, VEGD, n))
        return _verdict(text, ours and f"{short(ours.value)} {unit}", ours and ours.value <= limit)

    def ratio(
        text: str, measure: str, n: int, system: str, base: Figure | None, least: float
    ) -> list[str]:
        ours = figures.get((measure, system, n))
        reached = ours.value / base.value if ours and base else None
        return _verdict(text, reached and f"{reached:.2f} x", reached and reached >= least)

    yield at_most(
        "first apply of 100,000 sources: at most 1.5 s", "first_apply", 100_000, 1500, "ms"
    )
    for n in (1, 1000, 100_000):
        text = f"one source changed with {n:,} present: at most 5 ms"
        yield at_most(text, "one_source", n, 5, "ms")
    for measure, name in (("throughput", "throughput"), ("connections", "new connections")):
        kube_ovn = figures.get((measure, KUBE_OVN, 1))
        plain = figures.get((measure, PLAIN, 1))
        yield ratio(f"{name}: at least Kube-OVN's", measure, 1, VEGD, kube_ovn, 1.0)
        yield ratio(f"{name} without SNAT: at least 0.9 x plain", measure, 1, NO_SNAT, plain, 0.9)
    one = figures.get(("connections_addresses", VEGD, 1))
    for n in (2, 4, 8):
        text = f"new connections with {n} external addresses: at least 0.9 x those with one"
        yield ratio(text, "connections_addresses", n, VEGD, one, 0.9)
    yield at_most("agent at rest: at most 35 MB resident", "rest_rss", 10, 35, "MB")
    yield at_most("agent at rest: at most 2 ms/s", "rest_cpu", 10, 2, "ms/s")


def _verdict(text: str, reached: str | None, met: bool | float | None) -> list[str]:
    if reached is None:
        return [text, "not measured", "-"]
    return [text, reached, "met" if met else "**missed**"]


def write(results: Results, directory: Path, *, whole: bool) -> Path:
    """Write dataplane.md, dataplane.json and dataplane.svg."""
    figures = results.figures()
    where = machine.describe()
    size = "" if whole else " A quick run: few samples."
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "dataplane.json", figures.values(), "system", "n")
    remarks = "\n".join(f"* {line}" for line in results.remarks) or "None."
    path = directory / "dataplane.md"
    path.write_text(
        f"# The dataplane beside plain routing and Kube-OVN's rules\n\n{where}.{size}\n\n"
        f"{table(['', *SYSTEMS], rows(figures))}\n\n"
        "Each figure is the median over all rounds; in brackets the least and the greatest round;"
        " then how many times vegd's figure it is. A dash: not asked for.\n\n"
        f"## Aims\n\n{table(['aim', 'reached', ''], aims(figures))}\n\n"
        f"## Remarks\n\n{remarks}\n\n![The same as a picture](dataplane.svg)\n"
    )
    draw(directory / "dataplane.svg", figures, where + "." + size)
    return path


def draw(path: Path, figures: Figures, title: str) -> None:
    """Time over the number of sources, and bars for the traffic."""
    import matplotlib as mpl  # noqa: PLC0415 - slow, and only needed here
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    canvas = Canvas(figsize=(13, 7.5), layout="constrained")
    FigureCanvasSVG(canvas)
    grid = canvas.subplots(2, 2)
    for measure, label in (("first_apply", "first apply"), ("one_source", "one source changed")):
        line = sorted((n, each.value) for (what, _, n), each in figures.items() if what == measure)
        if line:
            grid[0][0].plot(*zip(*line, strict=True), marker="o", label=label)
            grid[0][0].set(xscale="log", yscale="log", xlabel="sources", ylabel="ms")
            grid[0][0].legend()
    for axes, measure in (
        (grid[0][1], "connections"),
        (grid[1][0], "throughput"),
        (grid[1][1], "connections_addresses"),
    ):
        bars = [each for (what, _, _), each in figures.items() if what == measure]
        names = [
            each.system if measure != "connections_addresses" else str(each.n) for each in bars
        ]
        axes.barh(names, [each.value for each in bars])
        axes.invert_yaxis()
        axes.set_xlabel("{}, {}".format(TITLES[measure][0].partition(":")[0], TITLES[measure][1]))
    canvas.suptitle(title, fontsize=10, x=0.01, ha="left")
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vegd"}):
        canvas.savefig(path, format="svg")
