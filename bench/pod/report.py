"""The report of one run: table, aims and list."""

from collections import defaultdict
from pathlib import Path

from bench.pod.measures import Load, Samples
from bench.support import machine
from bench.support.report import Figure, cell, figure, short, table, write_json

TITLES = {
    "start_live": ("from the start of the container to the first good probe", "s"),
    "start_up": ("from the start of the container to the last session Up", "s"),
    "start_held": ("memory 5 s after that", "MiB"),
    "rest_held": ("memory at rest", "MiB"),
    "rest_cpu": ("CPU at rest", "ms/s"),
    "held_changes": ("memory after {changes:,} changes in the kernel", "MiB"),
    "held_scrapes": ("memory after {scrapes:,} scrapes", "MiB"),
    "held_requests": ("memory after {requests:,} requests on the sockets, 100 at once", "MiB"),
    "held_probes": ("memory after {probes:,} probes by exec", "MiB"),
    "after_held": ("memory after {flaps:,} flaps of each session, at rest again", "MiB"),
    "after_cpu": ("CPU at rest after all that", "ms/s"),
    "most_held": ("memory at most, with what runs for a probe", "MiB"),
    "peak": ("the group's own peak", "MiB"),
    "after_file": ("pages of files charged to the group", "MiB"),
    "scrape_ms": ("a scrape, one after the other (median)", "ms"),
    "probe_ms": ("a probe by exec, a loop on each processor (median)", "ms"),
    "probe_worst": ("the longest of these", "ms"),
    "lost": ("changes of state of a session before the flaps", ""),
    "throttled": ("time that the CPU limit has denied", "s"),
}
_MEANING = """\
Memory is what the control group is charged for without the pages of files, which the kernel takes
back before the limit hurts: both processes, their shared memory, what the kernel holds for them.
Pages of files are charged to whoever has read them first, here mostly to somebody else."""
_LARGEST_MIB = 48.0
_PROBE_MS = 5_000.0


class Results:
    """Samples of every round."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], list[list[float]]] = defaultdict(list)

    def add(self, limits: str, samples: Samples) -> None:
        """Take what a trial has brought."""
        for name, values in samples.items():
            self._samples[name, limits].append(values)
            if name == "probe_ms":
                self._samples["probe_worst", limits].append([max(values)])

    def figures(self) -> list[Figure]:
        """Everything that was measured: the median over the rounds."""
        made = [
            figure(name, limits, 1, rounds, TITLES[name][1])
            for (name, limits), rounds in self._samples.items()
        ]
        return [each for each in made if each is not None]


def write(results: Results, load: Load, directory: Path, *, quick: bool) -> str:
    """Write the report and the list; returns the report."""
    figures = {(each.measure, each.system): each for each in results.figures()}
    systems = list(dict.fromkeys(system for _, system in figures))
    rows = [
        [f"{title.format(**load._asdict())}{f', {unit}' if unit else ''}"]
        + [cell(figures.get((name, system))) for system in systems]
        for name, (title, unit) in TITLES.items()
    ]
    kind = "A quick run: few samples. " if quick else ""
    text = (
        "# The main container under its limits\n\n"
        f"{machine.describe()}. {kind}Two sessions, 1000 ms x 3, both families.\n\n"
        f"{table(['', *systems], rows)}\n\n"
        f"{_MEANING}\n\n{_aims(figures, systems[0])}"
    )
    (directory / "pod.md").write_text(text)
    write_json(directory / "pod.json", figures.values(), "limits", "n")
    return text


def _aims(figures: dict[tuple[str, str], Figure], system: str) -> str:
    lines = []
    for name, aim, most in (
        ("most_held", f"at most {_LARGEST_MIB:.0f} MiB", _LARGEST_MIB),
        ("lost", "no session is lost", 0.0),
        ("probe_worst", "probes are answered within 5 s", _PROBE_MS),
    ):
        value = figures[name, system].value
        lines.append(f"- {aim}: {'met' if value <= most else 'MISSED'} ({short(value)})")
    return "\n".join(lines) + "\n"
