"""From samples to figures, and from figures to a table, a list and numbers with their spread."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One figure: the value over all samples, and the least and greatest value of any round."""

    measure: str
    system: str
    n: int
    value: float
    unit: str
    spread: tuple[float, float]


def median(samples: Sequence[float]) -> float:
    """The middle."""
    return statistics.median(samples)


def p99(samples: Sequence[float]) -> float:
    """The value that 99 % of the samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[-(-len(ordered) * 99 // 100) - 1]


def percent_over(limit: float) -> Callable[[Sequence[float]], float]:
    """The share of samples above a limit, in percent."""
    return lambda samples: 100 * sum(s > limit for s in samples) / len(samples)


def percent_under(limit: float) -> Callable[[Sequence[float]], float]:
    """The share of samples below a limit, in percent."""
    return lambda samples: 100 * sum(s < limit for s in samples) / len(samples)


def figure(
    measure: str,
    system: str,
    n: int,
    rounds: Iterable[Sequence[float]],
    unit: str,
    summary: Callable[[Sequence[float]], float] = median,
) -> Figure | None:
    """Summarise the samples of all rounds together, and of each; None without any sample."""
    full = [samples for samples in rounds if samples]
    if not full:
        return None
    each = [summary(samples) for samples in full]
    value = summary([sample for samples in full for sample in samples])
    return Figure(measure, system, n, value, unit, (min(each), max(each)))


def short(value: float) -> str:
    """Three digits that mean something."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def cell(found: Figure | None, base: Figure | None = None) -> str:
    """Value, spread, and how many times the value of `base` it is."""
    if found is None:
        return "-"
    low, high = found.spread
    spread = "" if short(low) == short(high) else f" ({short(low)} to {short(high)})"
    ratio = ""
    if base is not None and base is not found and base.value > 0:
        ratio = f", {found.value / base.value:.2g}x"
    return f"{short(found.value)}{spread}{ratio}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def write_json(path: Path, figures: Iterable[Figure], system: str, n: str) -> None:
    """A list of figures; `system` and `n` are the names that those two fields get."""
    rows = []
    for each in figures:
        row = asdict(each)
        row = {
            "measure": row["measure"],
            system: row["system"],
            n: row["n"],
            "value": round(row["value"], 4),
            "unit": row["unit"],
            "spread": [round(x, 4) for x in row["spread"]],
        }
        rows.append(row)
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def quote(path: Path, mark: str, text: str) -> None:
    """Replace what stands between two comments of a Markdown file, if they are there."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    old = path.read_text()
    if begin in old and end in old:
        head, _, rest = old.partition(begin)
        _, _, tail = rest.partition(end)
        path.write_text(f"{head}{begin}{text.strip()}\n{end}{tail}")
