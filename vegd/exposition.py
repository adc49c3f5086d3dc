"""Prometheus' text format, version 0.0.4: families of metrics, and the page that they make.

https://prometheus.io/docs/instrumenting/exposition_formats/. The official client library would do
it as well, but brings OpenSSL and two HTTP servers along: 8 MB, a quarter of the agent.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PROC = Path("/proc")


class Family:
    """Samples of one name, told apart by labels."""

    kind = "untyped"
    suffix = ""

    def __init__(
        self, name: str, text: str, *, labels: Sequence[str] = (), value: float | None = None
    ) -> None:
        """`text` explains it; a `value` is the only sample of a family without labels."""
        self.name = name + self.suffix
        self._text = text
        self._labels = labels
        self.samples: list[tuple[Sequence[str], float]] = []
        """The values of the labels, and that of the sample."""
        if value is not None:
            self.add((), value)

    def add(self, labels: Sequence[str], value: float) -> None:
        """One more sample; its labels in the order of their names."""
        self.samples.append((labels, value))

    def lines(self) -> Iterator[str]:
        """The family as it is written."""
        text = self._text.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {self.name} {text}"
        yield f"# TYPE {self.name} {self.kind}"
        yield from self._sample_lines()

    def _sample_lines(self) -> Iterator[str]:
        for labels, value in self.samples:
            yield _sample(self.name, zip(self._labels, labels, strict=True), value)


class Gauge(Family):
    """What goes up and down."""

    kind = "gauge"


class Counter(Family):
    """What only grows; `_total` is added to the name."""

    kind = "counter"
    suffix = "_total"


class Histogram(Family):
    """Counts of values by size."""

    kind = "histogram"

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], counts: Sequence[int], total: float
    ) -> None:
        """A count for each upper bound and one for what is above all; `total` of all values."""
        super().__init__(name, text)
        self._bounds, self._counts, self._total = bounds, counts, total

    def _sample_lines(self) -> Iterator[str]:
        below = 0
        for bound, count in zip((*self._bounds, math.inf), self._counts, strict=True):
            below += count
            yield _sample(f"{self.name}_bucket", [("le", _number(bound))], below)
        yield _sample(f"{self.name}_count", (), below)
        yield _sample(f"{self.name}_sum", (), self._total)


def page(families: Iterable[Family]) -> bytes:
    """The text of a page."""
    return "".join(f"{line}\n" for family in families for line in family.lines()).encode()


def process_families() -> Iterator[Family]:
    """What client libraries tell of a process (proc_pid_stat(5)), by its usual names."""
    stat = (_PROC / "self/stat").read_text().rpartition(")")[2].split()
    user, system, start, virtual, resident = (int(stat[place]) for place in (11, 12, 19, 20, 21))
    per_s = os.sysconf("SC_CLK_TCK")
    booted = next(
        int(line.split()[1])
        for line in (_PROC / "stat").read_text().splitlines()
        if line.startswith("btime ")
    )
    files = os.sysconf("SC_OPEN_MAX")
    yield Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", value=virtual)
    yield Gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        value=resident * os.sysconf("SC_PAGE_SIZE"),
    )
    yield Gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        value=booted + start / per_s,
    )
    yield Counter(
        "process_cpu_seconds",
        "Total user and system CPU time spent in seconds.",
        value=(user + system) / per_s,
    )
    yield Gauge(
        "process_open_fds",
        "Number of open file descriptors.",
        value=len(os.listdir(_PROC / "self/fd")),  # noqa: PTH208 - the names do not matter
    )
    yield Gauge("process_max_fds", "Maximum number of open file descriptors.", value=files)


def _sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    written = ",".join(f'{key}="{_escaped(text)}"' for key, text in sorted(labels))
    return f"{name}{{{written}}} {_number(value)}" if written else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
